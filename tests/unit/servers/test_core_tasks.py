"""A primary does not outlive its own tasks."""

import asyncio

import structlog

from stayline.servers.core import CoreServer


class Core(CoreServer):
    """As much of a core as its tasks need."""

    def __init__(self) -> None:
        self.log = structlog.get_logger()
        self._down = asyncio.get_running_loop().create_future()


async def _fail() -> None:
    raise TypeError("a fault of ours")


async def _wait() -> None:
    await asyncio.Event().wait()


def test_a_primary_whose_task_failed_steps_down_and_says_which() -> None:
    async def scenario() -> None:
        core = Core()
        core.guard(asyncio.create_task(_fail(), name="contact-ticks"))
        assert "contact-ticks" in await asyncio.wait_for(core._down, 5)

    asyncio.run(scenario())


def test_a_task_that_was_cancelled_is_no_fault() -> None:
    async def scenario() -> None:
        core = Core()
        task = core.guard(asyncio.create_task(_wait(), name="contact-ticks"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0)
        assert not core._down.done()

    asyncio.run(scenario())
