"""Chat Server: customers' pages on one side, agents' Workspaces on the other, the transcript in the Contact Server."""

from stayline.servers.chat.server import main

__all__ = ["main"]
