"""A client that a person starts and ends by hand while ``stayline conformance serve`` plays the servers."""

from collections.abc import Callable

from stayline.conformance.client import Desk
from stayline.domain.errors import refuse


class ManualClient:
    """Says what is to be done, and waits until it can be seen to have been done."""

    abilities: frozenset[str] = frozenset()
    takes_time = False

    def __init__(self, desk: Desk, say: Callable[[str], None]) -> None:
        self._desk = desk
        self._say = say
        self._told = False
        self._begun = False

    async def start(self) -> None:
        """Ask for the client to be started, and wait for its first connection."""
        if not self._told:
            self._told = True
            for name, value in self._desk.environment.items():
                self._say(f"export {name}={value}")
        self._say("==> Start the client now, with these variables in its environment.")
        await self._desk.until_connected(True)
        self._begun = True

    async def stop(self) -> None:
        """Ask for the client to be ended, and wait until all its connections are gone."""
        if not self._begun:
            return
        self._begun = False
        self._say("==> End the client now.")
        await self._desk.until_connected(False)

    def wake_up(self, slept: float) -> None:
        """Not asked of a person."""
        raise refuse("conformance.ability", f"Nobody lets a machine sleep {slept:g} s for one case.")
