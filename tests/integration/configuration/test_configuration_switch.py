"""Configuration Servers of two sites while mastership moves between two real, replicating databases."""

import asyncio
import time
from pathlib import Path

import asyncpg
import pytest

from stayline.domain.errors import RefusedError
from stayline.link.configuration import ConfigurationClient
from stayline.link.messages.configuration import Change, ChangeMade
from stayline.store.migrate import migrate
from tests.integration.configuration.harness import Desk, set_option, site_of, until
from tests.integration.postgres.sites import Sites, order, two_sites

pytestmark = pytest.mark.postgres


async def laid(tmp_path: Path, sites: Sites) -> Desk:
    """The sample centre in the primary."""
    conn = await asyncpg.connect(sites.a.dsn)
    await migrate(conn)
    await conn.close()
    desk = Desk(tmp_path / "desk", sites.a.dsn, sites.b.dsn)
    await desk.provision()
    return desk


async def refused(client: ConfigurationClient, site: str) -> str:
    """Why the server that the client is linked to refuses a change."""
    peer = client.peer
    assert peer is not None

    with pytest.raises(RefusedError) as caught:
        await peer.request(
            "config.change", Change(operations=[set_option(site)], reason="t"), ChangeMade, key="x"
        )
    return caught.value.refusal.reason


def test_a_planned_switch_and_back_without_restarting_any_configuration_server(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            desk = await laid(tmp_path, sites)
            async with desk.server("A") as a, desk.server("B") as b:
                near, far = desk.client("SCS_A"), desk.client("SCS_B", side="B")
                await near.start()
                await far.start()
                assert (near.link.application, far.link.application) == ("Config_A", "Config_B")
                assert "replica" in await refused(far, "Site_B")
                # The sample's site is Site_A; a change there is known at the replica's site at once.
                await near.change([set_option("5", key="warm-standby.retry-delay")], "a change at A")
                await until(lambda: far.revision == 2, "B knows")
                # Nobody restarts anything while the database changes hands.
                token = await sites.a.demote("planned switch")
                await until(lambda: not near.link.writable, "A says that it cannot write")
                assert site_of(near) == "Site_A"
                await sites.b.promote(order(2, "Site_B", token))
                begun = time.monotonic()
                made = await far.change([set_option("Site_B")], "step 8 of the plan")
                assert made.revision == 3
                # Agents that are linked to A's server, whose database is down, learn it all the same.
                await until(lambda: site_of(near) == "Site_B", "A's clients know")
                assert time.monotonic() - begun < 2.0
                assert near.link.application == "Config_A"
                assert near.link.current
                assert (a.hello().role, b.hello().role) == ("passive", "active")
                assert b.hello().epoch == 2
                # A's database follows; its server takes part again, reading only.
                await sites.a.follow(sites.upstream(sites.b))
                await until(lambda: a.follower.availability.active_site == "Site_B", "A sees the new master")
                assert "Site_B, the active site" in await refused(near, "Site_A")
                await far.change([set_option("6", key="warm-standby.retry-delay")], "at B")
                await until(lambda: near.revision == 4, "A follows B")
                # And back.
                await sites.a.promote(order(3, "Site_A", await sites.b.demote("back")))
                await near.change([set_option("Site_A")], "home")
                await until(lambda: site_of(far) == "Site_A", "B's clients know")
                assert [r.revision for r in await near.history(limit=5)] == [5, 4, 3, 2, 1]
                await near.stop()
                await far.stop()

    asyncio.run(play())


def test_what_a_forced_switch_lost_is_replaced_everywhere(tmp_path: Path) -> None:
    async def play() -> None:
        async with two_sites(tmp_path) as sites:
            desk = await laid(tmp_path, sites)
            async with desk.server("A"), desk.server("B") as b:
                near, far = desk.client("SCS_A"), desk.client("SCS_B", side="B")
                await near.start()
                await far.start()
                # The replica stops receiving; a change is made that it never gets.
                conn = await sites.b.admin_connect()
                await conn.execute("ALTER SYSTEM SET primary_conninfo = ''")
                await conn.execute("SELECT pg_reload_conf()")
                await until(
                    lambda: not b.follower._standing or not b.follower._standing.follows, "B is alone"
                )
                await conn.close()
                await near.change([set_option("5", key="warm-standby.retry-delay")], "never replicated")
                await sites.a.kill()
                await sites.b.promote(order(2, "Site_B"))
                await far.change([set_option("Site_B")], "forced switch")
                # Everybody ends with what B's database says, and with nothing else.
                await until(lambda: site_of(near) == site_of(far) == "Site_B", "everybody knows")
                await until(lambda: (near.revision, near.mark) == (far.revision, far.mark), "one history")
                assert near.mark.startswith("2-")
                assert near.snapshot.objects == far.snapshot.objects
                await near.stop()
                await far.stop()

    asyncio.run(play())
