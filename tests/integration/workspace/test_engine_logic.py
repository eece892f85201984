"""The connection logic as a whole Workspace lives it: statements, waits, drains, sleeps, sessions and tokens."""

import asyncio
import time
from pathlib import Path

from stayline.domain.errors import refuse
from stayline.domain.objects import ApplicationType as App
from stayline.domain.objects import Connection
from stayline.link.messages.interaction import Gone, Leaving, TicketRenewed
from stayline.workspace.engine import WorkspaceEngine
from stayline.workspace.settings import ServerAddress
from stayline.workspace.status import LinkState, SessionState
from stayline.workspace.view import Phase
from tests.integration.workspace.world import HOST, Server, World, all_up, run, until

PROXY = App.INTERACTION_SERVER_PROXY
SITE = "disaster-recovery.eservices-site"


def server_of(engine: WorkspaceEngine) -> str:
    """The Interaction Server Proxy that an engine is connected to or tries."""
    return engine.status().links["interaction"].server


# -- statements


def test_a_signed_statement_moves_the_site_while_no_configuration_server_answers(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        await world.config.kill()
        await until(lambda: not engine.status().configuration.current, "configuration away")
        await world.activate("Site_B")
        for server in world.of(PROXY, "Site_B"):
            server.statement = world.state("Site_B", 2)
        # Nobody tells it: when its own pool has failed, it asks the other cluster.
        await until(lambda: all_up(engine), "moved by the statement")
        status = engine.status()
        assert (status.choice.site, status.choice.why) == ("Site_B", "signed statement of epoch 2")
        assert status.choice.epoch == 2
        assert all(status.links[link].site == "Site_B" for link in ("interaction", "contact", "chat"))
        # The option says Site_A still; a Configuration Server that is back decides.
        await world.activate("Site_A")
        await world.config.open()
        await until(lambda: engine.status().configuration.current, "configuration back", timeout=15.0)
        await until(lambda: all_up(engine) and engine.view.site == "Site_A", "moved back by the option")
        assert engine.status().choice.why == "option of Application Workspace"

    run(tmp_path, story)


def test_statements_that_are_forged_expired_or_lower_move_nobody_and_are_counted(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.core.epoch = 5
        engine = await world.ready()
        await world.config.kill()
        await until(lambda: not engine.status().configuration.current, "configuration away")
        bad = [
            ("forged", world.state("Site_B", 9, forged=True)),
            ("expired", world.state("Site_B", 9, life=-1.0)),
            ("lower", world.state("Site_B", 3)),
        ]
        for kind, statement in bad:
            for server in world.of(PROXY, "Site_A"):
                server.statement = statement
            await world.serving(PROXY).kill()
            await until(lambda kind=kind: engine.status().counted[kind] >= 1, kind)  # type: ignore[misc]
            for server in world.of(PROXY, "Site_A"):
                await server.open()
            await until(lambda: all_up(engine), "up again")
            assert engine.view.site == "Site_A"
        assert engine.status().choice.why == "option of Application Workspace"

    run(tmp_path, story)


# -- waits


def test_who_is_told_to_wait_says_until_when_and_gets_in(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for server in world.of(PROXY, "Site_A"):
            server.wait = 1.0
        engine = world.engine(login_timeout=0.2)
        await engine.login("agent01", "right", place="P")
        await until(lambda: engine.status().links["interaction"].state is LinkState.HELD, "held")
        held = engine.status().links["interaction"]
        assert 0 < held.until - time.time() < 1.5
        assert held.why == "Others are let in first."
        banner = engine.view.banner
        assert banner is not None
        assert (banner.turn, banner.next_at) == (True, held.until)
        first = held.server
        await until(lambda: all_up(engine), "let in")
        assert server_of(engine) == first, "it stayed where it was promised a place"
        assert sum(server.opened for server in world.of(PROXY, "Site_A")) == 1

    run(tmp_path, story)


def test_no_more_than_two_links_are_set_up_at_a_time(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for server in world.site("Site_A"):
            server.wait = 0.3
        engine = world.engine(login_timeout=0.1)
        await engine.login("agent01", "right", place="P")
        most = 0
        while not all_up(engine):
            held = [server for server in world.site("Site_A") if server.listener.waiting]
            most = max(most, len(held))
            await asyncio.sleep(0.005)
        assert most == 2

    run(tmp_path, story)


def test_a_drained_proxy_is_left_at_its_slot_and_not_before(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        proxy = world.serving(PROXY)
        told = time.time()
        proxy.tell("server.leaving", Leaving(why="drained", retry_after=60.0, slot=0.6))
        await until(lambda: engine.status().links["interaction"].leaving_at > 0, "the slot is known")
        status = engine.status().links["interaction"]
        assert status.state is LinkState.UP
        assert 0.3 < status.leaving_at - told < 0.9
        assert engine.view.phase is Phase.READY
        await until(lambda: server_of(engine) not in ("", proxy.name), "elsewhere")
        assert time.time() - told >= 0.6
        await until(lambda: all_up(engine), "restored")
        assert proxy.opened == 1

    run(tmp_path, story)


def test_a_sleep_of_the_machine_is_noticed_and_what_was_waited_for_is_tried_at_once(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.options["interaction-workspace"]["warm-standby.retry-delay"] = "60"
        slept = [0.0]
        engine = await world.ready(clock=lambda: time.time() + slept[0])
        for server in world.of(PROXY, "Site_A"):
            await server.kill()
        await until(lambda: engine.status().links["interaction"].until > time.time() + 25, "a long wait")
        for server in world.of(PROXY, "Site_A"):
            await server.open()
        slept[0] = 20.0
        await until(lambda: all_up(engine), "tried at once", timeout=5.0)

    run(tmp_path, story)


# -- the configuration


def test_a_workspace_started_during_an_outage_works_and_says_how_old_its_configuration_is(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        assert engine.view.links.config.as_of == 0.0
        before = time.time()
        await engine.close()
        await world.config.kill()
        again = world.engine()
        assert await again.restore()
        await until(lambda: all_up(again), "restored")
        configuration = again.status().configuration
        assert not configuration.current
        assert before - 1.0 < configuration.from_disk_since <= time.time()
        assert again.view.links.config.as_of == configuration.as_of == configuration.from_disk_since
        assert again.view.links.config.until > 0
        await world.config.open()
        await until(lambda: again.status().configuration.current, "back", timeout=10.0)
        assert again.view.links.config.as_of == 0.0
        assert again.status().configuration.from_disk_since == 0.0

    run(tmp_path, story)


def test_the_peer_configuration_server_takes_over_when_the_preferred_site_is_lost(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = world.options["interaction-workspace"]
        options["disaster-recovery.enabled"] = "true"
        options["disaster-recovery.preferred-site"] = "Site_A"
        options["disaster-recovery.peer-site"] = "Site_B"
        options["disaster-recovery.timeout"] = "1"
        peer = Server(world, "Config_B", App.CONFIGURATION_SERVER, "Site_B")
        await peer.open()
        world.servers |= {"Config_A": world.config, "Config_B": peer}
        both = tuple(ServerAddress(one.name, HOST, one.port) for one in (peer, world.config))
        engine = await world.ready(configuration=both)
        # Though it is not the first of the list, which is all that was known at first.
        await until(lambda: engine.view.links.config.application == "Config_A", "the preferred one")
        # A link that stood for less than a second does not end the loss of its site.
        await until(lambda: time.time() - engine.view.links.config.since > 1.1, "it has stood for a while")
        lost = time.time()
        await world.config.kill()
        await until(lambda: engine.status().links["configuration"].server == "Config_B", "the peer")
        assert time.time() - lost >= 1.0
        await until(lambda: engine.status().configuration.current, "current again")
        assert engine.view.phase is Phase.READY

    run(tmp_path, story)


def test_a_wrong_site_is_said_with_what_mends_it(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        world.set_option(SITE, "Site_C")
        await until(lambda: engine.status().choice.code == "cluster.site_unknown", "refused")
        choice = engine.status().choice
        assert "Site_C" in choice.why
        assert choice.fix
        assert engine.status().links["interaction"].state is LinkState.BLOCKED
        assert choice.fix in engine.view.links.interaction.why

    run(tmp_path, story)


def test_a_removed_proxy_is_left_only_when_nothing_is_owned(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        proxy = world.serving(PROXY)
        del world.servers[proxy.name]
        world.set_option("warm-standby.retry-delay", "0.2")
        await until(
            lambda: engine.status().choice.cluster and len(engine.view.interactions) == 1,
            "configuration taken",
        )
        assert server_of(engine) == proxy.name
        await engine.transfer(number, "chat.support")
        await until(lambda: server_of(engine) not in ("", proxy.name), "left")
        await until(lambda: all_up(engine), "restored")
        world.servers[proxy.name] = proxy

    run(tmp_path, story)


def test_a_stat_server_is_connected_to_and_shown(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        stat = world.servers["Stat_A"] = Server(world, "Stat_A", App.STAT_SERVER, "Site_A")
        await stat.open()
        world.workspace_connections.append(Connection(server="Stat_A", local_timeout=2, remote_timeout=2))
        engine = await world.ready()
        await until(lambda: engine.status().links["statistics"].state is LinkState.UP, "connected")
        shown = engine.view.links.statistics
        assert shown is not None
        assert (shown.application, shown.up) == ("Stat_A", True)
        await stat.kill()
        await until(lambda: engine.status().links["statistics"].until > 0, "lost, and tried again")
        assert engine.view.phase is Phase.READY

    run(tmp_path, story)


def test_without_a_stat_server_there_is_no_such_link(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        assert engine.view.links.statistics is None
        assert "statistics" not in engine.status().links

    run(tmp_path, story)


# -- the session


def test_a_login_names_its_installation_and_media_and_a_resume_shows_its_ticket_at_the_door(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        world.options["interaction-workspace"]["eservices.session-restore-mediatype"] = "chat,email"
        engine = await world.ready()
        first = world.core.logins[0]
        assert first.restore == ["chat", "email"]
        assert len(first.workspace) == 32
        proxy = world.serving(PROXY)
        assert proxy.hellos[0].ticket == ""
        assert proxy.hellos[0].expect_site == "Site_A"
        ticket = f"ticket {world.core.sessions['agent01']}"
        await proxy.kill()
        await until(lambda: all_up(engine), "restored")
        assert world.serving(PROXY).hellos[-1].ticket == ticket
        assert world.core.resumes[-1].restore == ["chat", "email"]
        # The same installation after a restart of the process, and after a logout.
        await engine.logout()
        await world.ready()
        assert world.core.logins[-1].workspace == first.workspace

    run(tmp_path, story)


def test_a_renewed_ticket_is_the_one_that_resumes(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        session = world.core.sessions["agent01"]
        world.serving(PROXY).tell("session.ticket", TicketRenewed(session=session, ticket="a newer ticket"))
        await until(lambda: engine._day.parts.session.ticket == "a newer ticket", "taken")
        await world.serving(PROXY).kill()
        await until(lambda: world.core.resumes, "resumed")
        assert world.core.resumes[0].ticket == "a newer ticket"

    run(tmp_path, story)


def test_a_session_that_is_not_confirmed_in_time_is_given_up_and_said(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.options["interaction-workspace"]["eservices.session-restore-timeout"] = "1"
        engine = await world.ready()
        world.core.refusing["agent.resume"] = refuse("core.busy", "Not now.", retryable=True)
        await world.serving(PROXY).kill()
        await until(lambda: engine.status().session.given_up_at > 0, "a deadline is known")
        assert engine.status().session.state is SessionState.RESTRICTED
        await until(lambda: len(world.core.logins) == 2, "logged in anew")
        await until(lambda: all_up(engine), "at work")
        notice = engine.view.notices[-1].text
        assert "given up" in notice
        assert "logged in anew" in notice

    run(tmp_path, story)


def test_what_was_not_restored_is_said_with_where_it_is(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01", customer="Ada")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        view = world.core.interactions.pop(number)
        why = "the agent's link was lost, and interactions of this medium are not restored"
        gone = Gone(interaction=number, version=view.version + 1, event="not-restored", why=why)
        world.serving(PROXY).tell("interaction.gone", gone)
        await until(lambda: engine.view.card(number) is None, "gone")
        assert "Ada is no longer on your desk" in engine.view.notices[-1].text
        assert "It waits in queue 'chat.support'" in engine.view.notices[-1].text

    run(tmp_path, story)


def test_a_token_is_renewed_before_it_expires_and_the_new_one_is_shown(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.token_seconds = 2.0
        engine = await world.ready()
        first = world.serving(PROXY).hellos[0].token
        world.token_seconds = 3600.0
        await until(lambda: world.renewals == 1, "renewed")
        await until(lambda: engine._day.keeper.expires > time.time() + 60, "taken")
        await asyncio.to_thread(time.sleep, max(0.0, engine._day.keeper.issued + 2.1 - time.time()))
        await world.serving(PROXY).kill()
        await until(lambda: all_up(engine), "let in with the new token")
        assert world.serving(PROXY).hellos[-1].token != first
        assert world.renewals == 1

    run(tmp_path, story)


def test_every_change_of_the_status_is_a_fact(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        facts: list[dict[str, object]] = []
        engine = world.engine()
        engine.trace = facts.append
        await engine.login("agent01", "right", place="P")
        await until(lambda: all_up(engine), "up")
        told = [fact for fact in facts if fact["fact"] == "status"]
        parts = {fact["part"] for fact in told}
        assert {"choice", "link interaction", "link contact", "link chat", "session"} <= parts
        states = [fact.get("state") for fact in told if fact["part"] == "link interaction"]
        assert states[-2:] == ["connecting", "up"]
        assert [fact["state"] for fact in told if fact["part"] == "session"][-1] == "confirmed"

    run(tmp_path, story)
