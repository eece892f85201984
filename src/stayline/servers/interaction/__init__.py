"""The Interaction Server: life cycle, ownership, queues, routing and agent sessions (primary/backup)."""

from stayline.servers.core import CoreServer
from stayline.servers.interaction.service import InteractionService
from stayline.servers.process import ServerProcess

PAIR = "interaction"
"""The pair's key in the election."""


async def main(process: ServerProcess) -> None:
    """Be one of a pair of Interaction Servers until stopped, or until the role is lost."""
    await CoreServer(process, PAIR, InteractionService).run()
