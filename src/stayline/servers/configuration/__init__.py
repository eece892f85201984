"""The Configuration Server."""

from stayline.servers.configuration.server import main

__all__ = ["main"]
