"""The Solution Control Server of a site: what an operator talks to."""

from stayline.servers.process import ServerProcess
from stayline.servers.solution.server import SolutionControlServer


async def main(process: ServerProcess) -> None:
    """Serve until stopped."""
    await SolutionControlServer(process).run()
