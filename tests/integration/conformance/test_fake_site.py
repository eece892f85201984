"""The fake site's servers do what a case tells them, as seen by our own link layer."""

import asyncio
import time
from pathlib import Path

import pytest

from stayline.conformance import actions
from stayline.conformance.actions import Becomes
from stayline.conformance.record import Seen
from stayline.domain.errors import LinkLostError, RefusedError
from stayline.link.messages.configuration import Changes, Read
from stayline.link.messages.interaction import AgentLogin, AgentResume, MediaState, SessionOpened
from tests.integration.conformance.stage import Stage, play

A1, A2 = "IxnProxy_A_1", "IxnProxy_A_2"


def becomes(what: str, name: str = A1, **more: object) -> actions.Server:
    return actions.Server(name=name, becomes=Becomes(what), **more)  # type: ignore[arg-type]


def test_a_port_is_really_closed_and_stays_its_servers(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        port = stage.site.servers[A1].port.number
        peer = await stage.link(A1)
        stage.do(becomes("closed"))
        await asyncio.wait_for(asyncio.shield(peer.closed), 2)
        for name in (A1, "IxnProxy_B_1"):
            with pytest.raises(LinkLostError) as caught:
                await stage.link(name)
            assert caught.value.refusal.code == "link.refused"
        stage.do(becomes("open"))
        assert stage.site.servers[A1].port.number == port
        assert (await stage.link(A1)).hello.application == A1
        assert stage.seen(Seen.ATTEMPT, "IxnProxy_B_1") == 0

    play(tmp_path, story)


def test_not_listening_leaves_standing_links_alone(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        peer = await stage.link(A1)
        stage.do(becomes("not listening"))
        with pytest.raises(LinkLostError):
            await stage.link(A1)
        login = AgentLogin(place="Place_1", media=[MediaState("chat", False)])
        assert (await peer.request("agent.login", login, SessionOpened, key="k")).snapshot.agent == "jane"

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("step", "code"),
    [
        (becomes("resetting"), "link.tls"),
        (becomes("silent"), "link.timeout"),
        (becomes("frozen"), "link.timeout"),
        (becomes("refusing", code="link.not_now", retry_after=3.0), "link.not_now"),
    ],
)
def test_a_new_connection_is_received_as_told(tmp_path: Path, step: actions.Server, code: str) -> None:
    async def story(stage: Stage) -> None:
        stage.do(step)
        with pytest.raises((LinkLostError, RefusedError)) as caught:
            await stage.link(A1, hello_timeout=0.3)
        refusal = caught.value.refusal
        expected = {code, "link.unreachable", "link.lost"} if code == "link.tls" else {code}
        assert refusal.code in expected
        assert refusal.retry_after == step.retry_after
        assert stage.seen(Seen.ATTEMPT, A1) == 1
        assert stage.seen(Seen.WELCOMED, A1) == 0
        await stage.until(lambda: stage.seen(Seen.CLOSED, A1) == 1, "its end was noted")
        stage.do(becomes("open"))
        assert (await stage.link(A1)).hello.application == A1

    play(tmp_path, story)


def test_a_behaviour_for_so_many_connections(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.do(becomes("refusing", code="test.no", times=2))
        for _ in range(2):
            with pytest.raises(RefusedError):
                await stage.link(A1)
        assert (await stage.link(A1)).hello.application == A1

    play(tmp_path, story)


def test_waiting_and_dropping(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        stage.do(becomes("waiting", seconds=0.3, ahead=4))
        began = time.monotonic()
        await stage.link(A1, hello_timeout=0.1)
        assert time.monotonic() - began >= 0.29
        assert stage.seen(Seen.TOLD_TO_WAIT, A1) == 1
        stage.do(becomes("dropping", A2))
        peer = await stage.link(A2)
        await asyncio.wait_for(asyncio.shield(peer.closed), 2)
        assert stage.seen(Seen.WELCOMED, A2) == 1

    play(tmp_path, story)


def test_a_frozen_server_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        peer = await stage.link(A1)
        stage.do(becomes("frozen"))
        login = AgentLogin(place="Place_1", media=[MediaState("chat", False)])
        asking = asyncio.create_task(peer.request("agent.login", login, SessionOpened, key="k"))
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
        assert stage.seen(Seen.REQUEST, A1) == 0
        stage.do(becomes("open"))
        assert (await asking).session

    play(tmp_path, story)


def test_a_deaf_server_is_found_out_by_its_polls(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        peer = await stage.link(A1, local=0.2)
        stage.do(becomes("deaf"))
        why = await asyncio.wait_for(asyncio.shield(peer.closed), 5)
        assert stage.seen(Seen.POLL, A1) >= 1, why
        await stage.until(lambda: stage.seen(Seen.CLOSED, A1) == 1, "its end was noted")
        end = [one for one in stage.record if one.what is Seen.CLOSED and one.server == A1]
        assert end[-1].get("by") == "client"
        assert stage.ears.events == []

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("lie", "code"),
    [
        ({"application": "IxnProxy_X"}, "hello.application"),
        ({"cluster": "Cluster_B"}, "hello.cluster"),
        ({"site": "Site_B"}, "hello.site"),
        ({"version": 99}, "hello.version"),
    ],
)
def test_false_claims_are_left_to_the_client(tmp_path: Path, lie: dict[str, object], code: str) -> None:
    async def story(stage: Stage) -> None:
        stage.do(actions.IdentityOf(server=A1, **lie))  # type: ignore[arg-type]
        with pytest.raises(RefusedError) as caught:
            await stage.link(A1)
        assert caught.value.refusal.code == code
        assert stage.seen(Seen.WELCOMED, A1) == 1
        stage.do(actions.IdentityOf(server=A1))
        assert (await stage.link(A1)).hello.application == A1

    play(tmp_path, story)


def test_statements_are_signed_forged_and_told_in_polls(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        peer = await stage.link(A1, local=0.1)
        verify = stage.site.core.verifier
        first = verify.statement(peer.statement, time.time())
        assert (first.site, first.epoch) == ("Site_A", 7)
        stage.do(actions.StatementAt(at=A1, site="Site_B", epoch=8))
        await stage.until(lambda: len(stage.ears.statements) > 1, "a newer statement in a poll's answer")
        second = verify.statement(stage.ears.statements[-1], time.time())
        assert (second.site, second.epoch) == ("Site_B", 8)
        for kind, code in (("forged", "token.invalid"), ("expired", "token.expired")):
            step = actions.StatementAt(at=A2, site="Site_B", epoch=9, kind=actions.StatementKind(kind))
            stage.do(step)
            told = (await stage.link(A2)).statement
            with pytest.raises(RefusedError) as caught:
                verify.statement(told, time.time())
            assert caught.value.refusal.code == code

    play(tmp_path, story)


def test_a_probe_is_told_from_an_attempt(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        port = stage.site.servers[A1].port.number
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        await stage.until(lambda: stage.seen(Seen.PROBE, A1) == 1, "the probe")
        assert stage.seen(Seen.ATTEMPT, A1) == 0

    play(tmp_path, story)


def test_the_core_keeps_sessions_and_answers_a_key_once(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        login = AgentLogin(place="Place_1", media=[MediaState("chat", False)], workspace="w1")
        first = await stage.link(A1)
        stage.do(actions.Answer(method="agent.login", how=actions.AnswerHow.CUT, times=1))
        with pytest.raises(LinkLostError):
            await first.request("agent.login", login, SessionOpened, key="one")
        second = await stage.link(A2)
        opened = await second.request("agent.login", login, SessionOpened, key="one")
        assert len(stage.site.core.sessions) == 1
        resume = AgentResume(ticket=opened.ticket, last_seq=opened.snapshot.as_of)
        third = await stage.link(A1)
        assert (await third.request("agent.resume", resume, SessionOpened)).session == opened.session
        stage.do(actions.SessionEnds(code="session.taken"))
        await stage.until(lambda: ("session.ended", 0) in stage.ears.events, "the end was told")
        with pytest.raises(RefusedError) as caught:
            await third.request("agent.resume", resume, SessionOpened)
        assert caught.value.refusal.code == "session.closed"

    play(tmp_path, story)


def test_the_configuration_is_told_in_steps_and_kept_back_while_stale(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        peer = await stage.link("Config_A")
        whole = await peer.request("config.read", Read(subscribe=True), Changes)
        assert whole.full
        assert whole.current
        option = actions.SetOption(on="Workspace", key="disaster-recovery.eservices-site", value="Site_B")
        stage.do(option)
        news = await peer.request("config.read", Read(since=whole.revision, mark=whole.mark), Changes)
        assert [obj.name for obj in news.objects] == ["Workspace"]
        stage.do(actions.ConfigurationBecomes(becomes=actions.ConfigurationState.STALE))
        stage.do(actions.DeleteOption(on="Workspace", key="disaster-recovery.eservices-site"))
        stale = await peer.request("config.read", Read(since=news.revision, mark=news.mark), Changes)
        assert not stale.current
        assert not stale.objects
        stage.do(actions.ConfigurationBecomes(becomes=actions.ConfigurationState.CURRENT))
        after = await peer.request("config.read", Read(since=news.revision, mark=news.mark), Changes)
        assert after.current
        assert len(after.objects) == 1
        names = [name for name, _ in stage.ears.events]
        assert names == ["config.changed"] * 3

    play(tmp_path, story)


def test_failed_handshakes_take_no_descriptor_from_other_links(tmp_path: Path) -> None:
    """A socket closed under its transport would leave the next one with its number without a reader."""

    async def story(stage: Stage) -> None:
        stage.do(becomes("resetting"))

        async def fail() -> None:
            with pytest.raises(LinkLostError):
                await stage.link(A1)

        async def work() -> None:
            peer = await stage.link(A2)
            assert peer.hello.application == A2
            await peer.close()

        for _ in range(5):
            await asyncio.gather(*(one() for _ in range(8) for one in (fail, work)))

    play(tmp_path, story)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    async def story(stage: Stage) -> None:
        with pytest.raises(RefusedError) as caught:
            stage.do(becomes("closed", "IxnProxy_Z_1"))
        assert "IxnProxy_Z_1" in caught.value.refusal.reason

    play(tmp_path, story)
