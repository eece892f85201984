"""A centre whose PostgreSQL the operator runs: served by DSN, never started, stopped or promoted by Stayline."""

import asyncio
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.lab.centre import Centre
from stayline.lab.layout import lay_out, remove
from stayline.link.messages.control import ReplicationMode
from tests.integration.postgres.sites import two_sites

pytestmark = [pytest.mark.postgres, pytest.mark.drill]


def test_a_centre_on_the_operators_databases(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path / "databases") as sites:
            async with sites.a.admin() as conn:
                await conn.execute("GRANT pg_monitor TO stayline")  # the status of replication needs it
            layout = lay_out(
                tmp_path / "lab",
                databases={"Site_A": sites.a.dsn, "Site_B": sites.b.dsn},
                replication=ReplicationMode.ASYNC,
            )
            async with Centre(layout) as centre:
                await centre.wait_ready(60.0)
                assert await centre.active() == "Site_A"
                assert centre.database_pid("Site_A") == 0, "the lab must not run one itself"
                with pytest.raises(RefusedError, match="run by the operator") as refused:
                    await centre.client("Site_A").demote("a test")
                assert "administrator" in refused.value.refusal.fix
            assert sites.a.running
            assert sites.b.running
            remove(layout.state)

    asyncio.run(play())
