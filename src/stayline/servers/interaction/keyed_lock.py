"""Locks by name: work on one interaction or session is serialised, work on different ones is not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class KeyedLock:
    """A lock for each key that is in use; keys that nobody holds or waits for cost nothing.

    Several keys are always taken in the same order, so two holders never wait for each other. Whoever holds keys
    must not take further ones inside, except interactions' after sessions'.
    """

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    def is_held(self, key: str) -> bool:
        """Whether somebody holds or waits for ``key``."""
        return key in self._locks

    @asynccontextmanager
    async def hold(self, *keys: str) -> AsyncIterator[None]:
        """Hold all ``keys`` (each once) for the time of the ``async with``."""
        taken: list[str] = []
        try:
            for key in sorted(set(keys)):
                await self._take(key)
                taken.append(key)
            yield
        finally:
            for key in reversed(taken):
                self._give(key)

    async def _take(self, key: str) -> None:
        lock, users = self._locks.get(key) or (asyncio.Lock(), 0)
        self._locks[key] = (lock, users + 1)
        try:
            await lock.acquire()
        except asyncio.CancelledError:
            self._forget(key)
            raise

    def _give(self, key: str) -> None:
        self._locks[key][0].release()
        self._forget(key)

    def _forget(self, key: str) -> None:
        lock, users = self._locks[key]
        if users == 1:
            del self._locks[key]
        else:
            self._locks[key] = (lock, users - 1)
