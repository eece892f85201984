"""Processes that a benchmark starts beside itself."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


async def start(*command: str, ready: str = "") -> asyncio.subprocess.Process:
    """Start a program; wait until it prints ``ready``, if given. Raises RuntimeError when it ends before that."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    if ready:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            while ready not in (line := (await process.stdout.readline()).decode()):
                if not line:
                    raise RuntimeError(f"{command[0]} ended before it was ready")
    return process


@contextlib.asynccontextmanager
async def ended() -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """A list for started processes, which are ended with the block."""
    started: list[asyncio.subprocess.Process] = []
    try:
        yield started
    finally:
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        await asyncio.gather(*(process.wait() for process in started))
