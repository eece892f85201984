"""The operator's command to switch the site, given as an operator gives it."""

import asyncio
import sys
from pathlib import Path

import msgspec
import structlog

from stayline.domain.errors import refuse
from stayline.lab.attendant import environment
from stayline.link.messages.control import SwitchSummary

log = structlog.get_logger("stayline.lab")


async def switch_site(
    state: Path, target: str, *, forced: bool = False, reason: str = "drill", seconds: float = 120.0
) -> SwitchSummary:
    """Run ``stayline site switch``. Raises RefusedError ``switch.late`` when it has not ended after ``seconds``,
    ``switch.failed`` with the end of what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "stayline.cli.main", "site", "switch", target),
        *("--forced" if forced else "--planned", "--reason", reason, "--by", reason, "--json"),
        *("--state", str(state)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        raise refuse("switch.late", f"the switch to {target} did not end within {seconds:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for line in err.decode().splitlines():
        log.info("switch", target=target, why=line.strip())
    if process.returncode:
        why = " ".join(err.decode().split())[-400:]
        raise refuse("switch.failed", f"the switch to {target} failed: {why}")
    return msgspec.json.decode(out, type=SwitchSummary)
