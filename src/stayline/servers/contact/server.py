"""The Contact Server process."""

from stayline.servers.contact.service import ContactService
from stayline.servers.core import CoreServer
from stayline.servers.process import ServerProcess


async def main(process: ServerProcess) -> None:
    """Be one of a pair of Contact Servers until stopped, or until the role is lost (the host agent starts it again)."""
    await CoreServer(process, "contact", ContactService).run()
