"""A database run by the operator: what we may do with it, and what we ask its administrator to do."""

import asyncio
from pathlib import Path

import pytest

from stayline.control.postgres import ExternalDatabase
from stayline.control.postgres.promotion import ensure_slot
from stayline.control.postgres.settings import upstream_settings, write_auto_conf
from stayline.domain.errors import RefusedError
from stayline.link.messages.control import DatabaseRole, ReplicationMode
from tests.integration.conftest import until
from tests.integration.postgres.sites import Sites, order, session, two_sites

pytestmark = pytest.mark.postgres


async def _asks(work: object) -> str:
    with pytest.raises(RefusedError) as caught:
        await work  # type: ignore[misc]
    refusal = caught.value.refusal
    assert (refusal.code, refusal.retryable) == ("database.external", True)
    assert "administrator" in refusal.fix
    return refusal.fix


async def _attach_by_hand(sites: Sites) -> None:
    """What the administrator does with the old primary; it was stopped cleanly and has its standby.signal."""
    async with sites.b.admin() as conn:
        await ensure_slot(conn, "replica_site_a")
    settings = upstream_settings(sites.a.config, sites.a.files, sites.upstream(sites.b))
    write_auto_conf(sites.a.files, sites.a.account, settings)
    await sites.a.start()
    async with sites.a.admin() as conn:

        async def streaming() -> bool:
            return bool(await conn.fetchval("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"))

        await until(streaming)


def test_switch_over_with_the_administrators_help(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            # The administrator's servers are a and b; we only have their DSNs.
            ours_a = ExternalDatabase(
                "Site_A", "Site_B", sites.a.admin_dsn(sites.a.files.run), ReplicationMode.ASYNC
            )
            ours_b = ExternalDatabase(
                "Site_B", "Site_A", sites.b.admin_dsn(sites.b.files.run), ReplicationMode.ASYNC
            )
            await ours_a.establish("again", "test")
            status = await ours_a.status()
            assert (status.role, status.epoch, status.replica) == (DatabaseRole.PRIMARY, 1, "streaming")
            assert status.why == "Run by the operator: commits do not wait for a replica."
            assert (await ours_b.status()).streaming
            assert "switch the primary over" in await _asks(ours_a.demote("planned"))
            assert "promote it" in await _asks(ours_b.promote(order(2, "Site_B")))
            await _asks(ours_a.stop())
            await sites.a.demote("by the administrator")
            assert (await ours_a.status()).role is DatabaseRole.DOWN
            assert "start it" in await _asks(ours_a.start())
            async with sites.b.admin() as conn:
                await conn.execute("SELECT pg_promote(true)")
            await _asks(ours_a.follow(sites.upstream(sites.b)))
            await _attach_by_hand(sites)
            token = await ours_a.demote("planned")
            status = await ours_b.promote(order(2, "Site_B", token))
            assert (status.role, status.epoch, status.master_site) == (DatabaseRole.PRIMARY, 2, "Site_B")
            assert (await ours_b.promote(order(2, "Site_B", token))).epoch == 2
            assert not (await ours_a.follow(sites.upstream(sites.b))).rewound
            await ours_a.start()
            async with session(sites.b) as conn:
                assert await conn.fetchval("SELECT count(*) FROM mastership") == 2

    asyncio.run(play())
