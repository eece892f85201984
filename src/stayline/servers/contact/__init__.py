"""Contact Server (UCS): contacts, history and transcripts; primary/backup."""

from stayline.servers.contact.server import main

__all__ = ["main"]
