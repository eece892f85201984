"""A site switch's change while no Configuration Server runs: into the database itself, in the same form."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from stayline.control.switch import centre as centre_module
from stayline.control.switch.centre import LiveCentre
from stayline.domain.errors import RefusedError
from stayline.servers.solution.direct_change import DirectChange
from tests.integration.configuration.harness import Desk, set_option, site_of, until
from tests.integration.conftest import Database

pytestmark = pytest.mark.postgres

MOVE = [
    set_option("Site_B"),
    set_option("12", key="disaster-recovery.eservices-spread-window"),
]


def directly(desk: Desk, site: str = "Site_A") -> DirectChange:
    """As the Solution Control Server of Site_A has it."""
    return DirectChange(desk.dsns["A"], site, "SCS_A", "a-test")


async def rows(dsn: str) -> list[asyncpg.Record]:
    """The history as it is stored."""
    conn = await asyncpg.connect(dsn)
    try:
        return list(
            await conn.fetch("SELECT revision, mark, by, reason, key FROM config_change ORDER BY revision")
        )
    finally:
        await conn.close()


def test_with_no_server_the_change_is_in_the_database_and_once_only(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(centre_module, "CHANGE_SECONDS", 0.5)

    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        client = desk.client("SCS_A")
        centre = LiveCentre(client, directly(desk))
        written = await centre.change(MOVE, "site switch", "switch:p:option")
        assert written.revision == 2
        assert "no Configuration Server made it" in written.how
        again = await centre.change(MOVE, "site switch", "switch:p:option")
        assert again.revision == 2
        first, made = await rows(database.dsn)
        assert (made["by"], made["reason"], made["key"]) == ("SCS_A", "site switch", "switch:p:option")
        assert made["mark"] != first["mark"]
        # A Configuration Server that comes back tells it like any other change, history included.
        async with desk.server("A"):
            await client.start()
            try:
                await until(lambda: site_of(client) == "Site_B", "the move is known")
                newest = (await client.history(limit=1))[0]
                assert (newest.revision, newest.by) == (2, "SCS_A")
                assert [one.value for one in newest.operations] == ["Site_B", "12"]
                # The plan that repeats its step over the server finds what it wrote without one.
                repeated = await LiveCentre(client).change(MOVE, "site switch", "switch:p:option")
                assert (repeated.revision, repeated.how) == (2, "")
            finally:
                await client.stop()

    asyncio.run(play())


def test_a_site_without_the_mastership_does_not_write(tmp_path: Path, database: Database) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        with pytest.raises(RefusedError) as refused:
            await directly(desk, "Site_B")(MOVE, "site switch", "k")
        assert refused.value.refusal.code == "config.read_only"
        assert len(await rows(database.dsn)) == 1

    asyncio.run(play())


def test_it_is_judged_like_any_other_change(tmp_path: Path, database: Database) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, database.dsn)
        await desk.provision()
        with pytest.raises(RefusedError) as refused:
            await directly(desk)([set_option("not-a-site!")], "site switch", "k")
        assert refused.value.refusal.code.startswith("option.")
        assert len(await rows(database.dsn)) == 1

    asyncio.run(play())


def test_a_database_that_is_away_is_said(tmp_path: Path) -> None:
    async def play() -> None:
        desk = Desk(tmp_path, "postgresql://nobody@127.0.0.1:1/none")
        with pytest.raises(RefusedError) as refused:
            await directly(desk)(MOVE, "site switch", "k")
        assert refused.value.refusal.code == "database.unreachable"
        assert refused.value.refusal.retryable

    asyncio.run(play())
