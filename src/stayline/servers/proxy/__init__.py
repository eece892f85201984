"""Interaction Server Proxy and Contact Server (UCS) Proxy: one program, see :mod:`.profile` for the differences."""

from stayline.servers.process import ServerProcess
from stayline.servers.proxy.profile import profile_of
from stayline.servers.proxy.server import Proxy


async def main(process: ServerProcess) -> None:
    """Be the proxy ``process.name`` until stopped."""
    await Proxy(process, profile_of(process.app_type)).run()
