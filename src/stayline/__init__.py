"""Stayline: a contact-centre platform that keeps agents at work."""

__version__ = "0.1.0"
