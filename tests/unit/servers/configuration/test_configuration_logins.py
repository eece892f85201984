"""Logins without network: the line, the throttle, and unknown users."""

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path

import pytest

from stayline.domain.errors import Refusal, RefusedError
from stayline.domain.objects import ConfigObject, ObjectType
from stayline.domain.options import default_of
from stayline.link.messages.configuration import LoggedIn, Login
from stayline.link.messages.envelope import Identity
from stayline.link.tokens import TokenSigner, TokenVerifier, create_signing_keys
from stayline.servers.configuration.logins import (
    CHECK_SECONDS,
    LONGEST_WAIT,
    PLACES_OF_ONE_ADDRESS,
    Logins,
)

PEOPLE = {
    name: ConfigObject(
        type=ObjectType.PERSON, name=name, password_hash=f"hash of {name}", enabled=name != "gone"
    )
    for name in ("ann", "bob", "gone")
}


class Checker:
    """Stands for argon2: right when the password is the user's name; can be held up; remembers what it saw."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.seen: list[str] = []
        self.at_once = 0
        self.most = 0
        self.full = threading.Event()
        self._lock = threading.Lock()

    def __call__(self, encoded: str, password: str) -> bool:
        with self._lock:
            self.seen.append(encoded)
            self.at_once += 1
            self.most = max(self.most, self.at_once)
            if self.at_once == 2:
                self.full.set()
        assert self.open.wait(10)
        with self._lock:
            self.at_once -= 1
        return encoded == f"hash of {password}"


class Clock:
    """Seconds as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(tmp_path: Path, checker: Checker, clock: Clock, **options: float) -> Logins:
    create_signing_keys(tmp_path)

    def option(key: str) -> float:
        return options.get(key.replace("-", "_"), float(default_of("configuration-server", key) or 0))

    return Logins(PEOPLE.get, option, TokenSigner.load(tmp_path), concurrency=2, clock=clock, verify=checker)


async def refusal_of(attempt: Awaitable[LoggedIn]) -> Refusal:
    with pytest.raises(RefusedError) as caught:
        await attempt
    return caught.value.refusal


def test_unknown_disabled_and_wrong_cost_and_say_the_same(tmp_path: Path) -> None:
    async def play() -> None:
        checker = Checker()
        logins = made(tmp_path, checker, Clock())
        said = [
            await refusal_of(logins.login(Login(user=user, password=password)))
            for user, password in (("ann", "x"), ("nobody", "x"), ("gone", "gone"))
        ]
        assert len(set(said)) == 1
        assert said[0].code == "auth.failed"
        assert len(checker.seen) == 3
        assert checker.seen[1].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
        logins.close()

    asyncio.run(play())


def test_few_checks_at_a_time_and_a_line_of_bounded_length(tmp_path: Path) -> None:
    async def play() -> None:
        checker = Checker()
        checker.open.clear()
        logins = made(tmp_path, checker, Clock(), login_queue=6, login_failures=100)
        running = [asyncio.create_task(logins.login(Login(user="ann", password="ann"))) for _ in range(6)]
        assert await asyncio.to_thread(checker.full.wait, 10)
        busy = await refusal_of(logins.login(Login(user="bob", password="bob")))
        assert (busy.code, busy.retryable) == ("auth.busy", True)
        assert (busy.retry_after or 0) > 0
        checker.open.set()
        assert {r.identity.user for r in await asyncio.gather(*running)} == {"ann"}
        assert checker.most == 2
        assert (await logins.login(Login(user="bob", password="bob"))).identity.user == "bob"
        logins.close()

    asyncio.run(play())


def test_who_finds_no_room_is_told_to_come_behind_everybody_else(tmp_path: Path) -> None:
    async def play() -> None:
        checker = Checker()
        checker.open.clear()
        clock = Clock()
        logins = made(tmp_path, checker, clock, login_queue=100, login_failures=1_000)
        running = [asyncio.create_task(logins.login(Login(user="ann", password="ann"))) for _ in range(100)]
        assert await asyncio.to_thread(checker.full.wait, 10)
        each = CHECK_SECONDS / 2
        waits = [
            (await refusal_of(logins.login(Login(user="bob", password="bob")))).retry_after or 0
            for _ in range(200)
        ]
        assert waits[0] == pytest.approx(101 * each, abs=0.1)
        assert waits[-1] == pytest.approx(300 * each, abs=0.1)
        assert waits == sorted(waits)
        for _ in range(10_000):
            last = await refusal_of(logins.login(Login(user="bob", password="bob")))
        assert last.retry_after == pytest.approx(LONGEST_WAIT, abs=0.1)
        # Later there is room sooner; and what checks cost here is measured, not believed.
        clock.now += 1_000
        checker.open.set()
        await asyncio.gather(*running)
        checker.open.clear()
        checker.full.clear()
        running = [asyncio.create_task(logins.login(Login(user="ann", password="ann"))) for _ in range(100)]
        assert await asyncio.to_thread(checker.full.wait, 10)
        measured = await refusal_of(logins.login(Login(user="bob", password="bob")))
        assert 0 < (measured.retry_after or 0) < waits[0]
        checker.open.set()
        await asyncio.gather(*running)
        logins.close()

    asyncio.run(play())


def test_a_token_is_renewed_with_the_roles_of_now_and_without_a_password(tmp_path: Path) -> None:
    async def play() -> None:
        clock, checker = Clock(), Checker()
        people = dict(PEOPLE)
        create_signing_keys(tmp_path)
        logins = Logins(
            people.get,
            lambda key: float(default_of("configuration-server", key) or 0),
            TokenSigner.load(tmp_path),
            clock=clock,
            verify=checker,
            standing=lambda: (7, "1-a"),
        )
        first = (await logins.login(Login(user="ann", password="ann"))).identity
        assert (first.revision, first.mark, first.roles) == (7, "1-a", [])
        people["ann"] = ConfigObject(type=ObjectType.PERSON, name="ann", roles=["supervisor"])
        clock.now += 600
        again = logins.renew(first)
        assert (again.identity.roles, again.identity.expires) == (["supervisor"], first.expires + 600)
        assert TokenVerifier.load(tmp_path).identity(again.token, clock.now) == again.identity
        assert len(checker.seen) == 1

        def code_of(identity: Identity) -> tuple[str, bool]:
            with pytest.raises(RefusedError) as caught:
                logins.renew(identity)
            return caught.value.refusal.code, caught.value.refusal.retryable

        del people["ann"]
        assert code_of(first) == ("auth.disabled", False)
        people["ann"] = ConfigObject(type=ObjectType.PERSON, name="ann", enabled=False)
        assert code_of(first) == ("auth.disabled", False)
        newer = Identity(user="new", tenant="", roles=[], expires=first.expires, revision=8, mark="1-b")
        assert code_of(newer) == ("config.behind", True)
        clock.now = first.expires
        people["ann"] = PEOPLE["ann"]
        assert code_of(first) == ("token.expired", False)
        logins.close()

    asyncio.run(play())


def test_failures_pause_a_user_for_a_while_guesses_side_by_side_count(tmp_path: Path) -> None:
    async def play() -> None:
        clock = Clock()
        checker = Checker()
        logins = made(tmp_path, checker, clock)
        guesses = [logins.login(Login(user="ann", password=f"guess {i}")) for i in range(20)]
        results = await asyncio.gather(*guesses, return_exceptions=True)
        codes = [r.refusal.code for r in results if isinstance(r, RefusedError)]
        assert sorted(codes) == ["auth.failed"] * 5 + ["auth.throttled"] * 15
        assert len(checker.seen) == 5
        paused = await refusal_of(logins.login(Login(user="ann", password="ann")))
        assert paused.retry_after == 60.0
        assert (await logins.login(Login(user="bob", password="bob"))).identity.user == "bob"
        clock.now += 60
        assert (await logins.login(Login(user="ann", password="ann"))).identity.expires == clock.now + 43_200
        # A right password forgets the failures before it.
        for i in range(4):
            await refusal_of(logins.login(Login(user="ann", password=f"wrong {i}")))
            clock.now += 1
        await logins.login(Login(user="ann", password="ann"))
        assert (await refusal_of(logins.login(Login(user="ann", password="x")))).code == "auth.failed"
        logins.close()

    asyncio.run(play())


def test_failures_elsewhere_do_not_lock_anybody_out(tmp_path: Path) -> None:
    async def play() -> None:
        logins = made(tmp_path, Checker(), Clock())
        for address, source in (("192.0.2.1", ""), ("192.0.2.2", "198.51.100.7")):
            for i in range(5):
                guess = Login(user="ann", password=f"guess {i}", source=source)
                assert (await refusal_of(logins.login(guess, address))).code == "auth.failed"
            more = Login(user="ann", password="ann", source=source)
            assert (await refusal_of(logins.login(more, address))).code == "auth.throttled"
        # Ann herself, from her own machine, and at another browser of the same Workspace process.
        for address, source in (("192.0.2.3", ""), ("192.0.2.2", "198.51.100.8")):
            right = Login(user="ann", password="ann", source=source)
            assert (await logins.login(right, address)).identity.user == "ann"
        logins.close()

    asyncio.run(play())


def test_who_invents_places_is_stopped_by_the_address(tmp_path: Path) -> None:
    async def play() -> None:
        checker = Checker()
        logins = made(tmp_path, checker, Clock())
        for i in range(5 * PLACES_OF_ONE_ADDRESS):
            await refusal_of(
                logins.login(Login(user="ann", password="?", source=f"invented {i}"), "192.0.2.1")
            )
        assert len(checker.seen) == 5 * PLACES_OF_ONE_ADDRESS
        last = Login(user="ann", password="?", source="invented again")
        assert (await refusal_of(logins.login(last, "192.0.2.1"))).code == "auth.throttled"
        assert len(checker.seen) == 5 * PLACES_OF_ONE_ADDRESS
        logins.close()

    asyncio.run(play())


def test_a_password_is_in_no_repr() -> None:
    assert "hunter2" not in repr(Login(user="ann", password="hunter2"))


def test_nobody_checks_the_password_of_somebody_who_has_left(tmp_path: Path) -> None:
    async def play() -> None:
        checker, left = Checker(), False
        checker.open.clear()
        logins = made(tmp_path, checker, Clock(), login_failures=2, login_queue=10)
        running = [asyncio.create_task(logins.login(Login(user="ann", password="ann"))) for _ in range(2)]
        assert await asyncio.to_thread(checker.full.wait, 10)
        waiting = [
            asyncio.create_task(logins.login(Login(user="bob", password="bob"), "host", lambda: left))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        left = True
        checker.open.set()
        await asyncio.gather(*running)
        assert [(await refusal_of(one)).code for one in waiting] == ["auth.abandoned"] * 2
        assert checker.seen == ["hash of ann"] * 2
        # Those were no failures: bob, who has two, is not throttled.
        assert (await logins.login(Login(user="bob", password="bob"), "host")).identity.user == "bob"
        logins.close()

    asyncio.run(play())
