"""What the configuration of a primary database needs at each start of its host agent."""

from pathlib import Path

import msgspec

from stayline.control.host.lab_changes import apply_differences
from stayline.control.host.plan import HostPlan, Provision
from stayline.store.configuration import provision
from stayline.store.database import connect, hang_up


async def bring_configuration(plan: HostPlan, dsn: str) -> None:
    """Fill an empty configuration from the plan's file, and adapt a lab's to its ports and synthetic agents.

    Harmless when there is nothing to do. Raises what the store raises.
    """
    if not plan.provision:
        return
    content = _read(Path(plan.provision))
    conn = await connect(dsn, f"stayline-host {plan.host}")
    try:
        await provision(conn, [content.with_hash(one) for one in content.objects])
        if plan.lab:
            await apply_differences(conn, plan.site, plan.host, content)
    finally:
        await hang_up(conn)


def _read(path: Path) -> Provision:
    return msgspec.json.decode(path.read_bytes(), type=Provision)
