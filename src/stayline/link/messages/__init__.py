"""What is said on the links, by subject: one module for each server that answers."""
