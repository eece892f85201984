"""The leading Interaction Server signs who is master, and only while it leads."""

import asyncio
import time
from pathlib import Path

import asyncpg
import msgspec
import pytest

from stayline.link.messages.interaction import Statement
from stayline.link.tokens import Statement as Signed
from stayline.link.tokens import TokenVerifier
from stayline.servers.interaction import mastership

from ..conftest import SITE, Database
from .centre import Client, centre, until

pytestmark = pytest.mark.postgres


def heard(client: Client, verifier: TokenVerifier) -> list[Signed]:
    """The statements that came to a client, checked."""
    return [
        verifier.statement(msgspec.json.decode(payload, type=Statement).statement, time.time())
        for name, channel, _, payload in client.events
        if name == "server.mastership" and not channel
    ]


def test_a_proxy_is_told_when_it_comes_and_again_and_others_are_not(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mastership, "RENEW_SECONDS", 0.2)

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary()
            verifier = TokenVerifier.load(place.base / "keys")
            async with place.proxy() as proxy, place.media() as media:
                await until(lambda: len(heard(proxy, verifier)) >= 3)
                said = heard(proxy, verifier)
                assert {(s.site, s.epoch) for s in said} == {(SITE, 1)}
                assert all(s.expires == s.issued + 3600 for s in said)
                assert [s.issued for s in said] == sorted({s.issued for s in said})
                assert not heard(media, verifier)

    asyncio.run(scenario())


def test_the_next_primary_tells_the_proxies_that_waited_for_it(database: Database, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            await place.start_primary("Ixn_1")
            await place.start("Ixn_2")
            verifier = TokenVerifier.load(place.base / "keys")
            async with place.proxy() as proxy:
                await until(lambda: len(proxy.pair.connected_to) == 2 and len(heard(proxy, verifier)) == 1)
                await place.stop("Ixn_1")
                await until(lambda: len(heard(proxy, verifier)) == 2)

    asyncio.run(scenario())


def test_who_lost_its_term_without_noticing_signs_nothing_more(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mastership moves in the database; the server hears nothing until it proves its term for the next statement."""
    monkeypatch.setattr(mastership, "RENEW_SECONDS", 0.5)

    async def scenario() -> None:
        async with centre(tmp_path, database.dsn) as place:
            core = await place.start_primary()
            verifier = TokenVerifier.load(place.base / "keys")
            async with place.proxy() as proxy:
                await until(lambda: heard(proxy, verifier))
                connection = await asyncpg.connect(database.dsn)
                await connection.execute(
                    "insert into mastership (epoch, site, mode, reason, by) values (2, 'Site_B', 'forced', '', 't')"
                )
                moved = time.time()
                await connection.close()
                _, task = place.running.pop("Ixn_1")
                await asyncio.wait_for(task, 15)
                assert not core.is_primary
                assert all(s.issued <= moved for s in heard(proxy, verifier))

    asyncio.run(scenario())
