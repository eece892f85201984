"""The signed statement of who is master: from the core to a proxy's hello and polls."""

import time
from pathlib import Path

import pytest

from stayline.link.messages.interaction import Statement as StatementEvent
from stayline.link.tokens import Statement, TokenSigner, TokenVerifier, create_signing_keys
from stayline.servers.proxy.statements import Statements
from tests.integration.link.material import until
from tests.integration.servers.proxy.scripted_core import Bench, bench
from tests.integration.servers.proxy.steps import primary, run


def signed(folder: Path, epoch: int, *, valid: float = 3600.0, site: str = "Site_A") -> str:
    """What an Interaction Server signs."""
    now = time.time()
    statement = Statement(site=site, epoch=epoch, issued=now, expires=now + valid)
    return TokenSigner.load(folder).sign_statement(statement)


def say(b: Bench, token: str) -> None:
    """The core sends it."""
    link = b.cores[0].link
    assert link is not None
    link.event("server.mastership", StatementEvent(statement=token))


def test_the_welcome_carries_what_the_core_signed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            assert (await b.client("early")).link.hello.statement == ""
            token = signed(tmp_path, 3)
            say(b, token)
            await until(lambda: b.proxy.statements.current() == token, "heard")
            assert (await b.client("anna")).link.hello.statement == token

    run(scenario())


def test_a_poll_brings_a_newer_one(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as b:
            await primary(b)
            anna = await b.client("anna")
            token = signed(tmp_path, 4)
            say(b, token)
            await until(lambda: anna.link.statement == token, "heard in the answer to a poll")

    run(scenario())


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Keys of one centre."""
    create_signing_keys(tmp_path)
    return tmp_path


def test_the_highest_epoch_is_kept_then_the_longest_validity(keys: Path) -> None:
    kept = Statements(TokenVerifier.load(keys))
    three, four = signed(keys, 3), signed(keys, 4, valid=60.0)
    kept.heard(three)
    kept.heard(four)
    assert kept.current() == four
    kept.heard(three)
    assert kept.current() == four, "an older epoch changes nothing, however long it is valid"
    renewed = signed(keys, 4)
    kept.heard(renewed)
    assert kept.current() == renewed
    kept.heard(four)
    assert kept.current() == renewed


def test_forged_ones_are_not_carried(keys: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    others = tmp_path_factory.mktemp("others")
    create_signing_keys(others)
    kept = Statements(TokenVerifier.load(keys))
    kept.heard(signed(others, 9))
    kept.heard("nonsense")
    assert kept.current() == ""


def test_an_expired_one_is_dropped(keys: Path) -> None:
    now = time.time()
    clock = [now]
    kept = Statements(TokenVerifier.load(keys), lambda: clock[0])
    token = signed(keys, 3, valid=100.0)
    kept.heard(token)
    assert kept.current() == token
    clock[0] = now + 101.0
    assert kept.current() == ""
    kept.heard(token)
    assert kept.current() == "", "nor taken again"
