"""The rules of the field, pure: no socket, clock, random source or database. Tables and frozen values."""
