"""What the engine does when servers refuse, drop, die or move."""

import asyncio
import time
from pathlib import Path

import pytest

from stayline.domain.errors import LinkLostError, RefusedError, refuse
from stayline.domain.objects import ApplicationType as App
from stayline.link.messages.configuration import Changes
from stayline.link.messages.interaction import CoreAway, CoreBack, Leaving
from stayline.workspace.engine import WorkspaceEngine
from stayline.workspace.view import BannerKind, EntryState, InteractionCard, Phase
from tests.integration.workspace.world import World, all_up, run, until

PROXY = App.INTERACTION_SERVER_PROXY


def card_of(engine: WorkspaceEngine, number: str) -> InteractionCard:
    card = engine.view.card(number)
    assert card is not None
    return card


async def chatting(world: World, engine: WorkspaceEngine) -> str:
    number = world.core.offer("agent01")
    await until(lambda: engine.view.card(number), "offer")
    await engine.accept(number)
    await until(lambda: card_of(engine, number).chat_up, "joined")
    return number


def test_a_closed_node_is_passed_over(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        await world.servers["IxnProxy_A_1"].kill()
        await world.servers["IxnProxy_A_3"].kill()
        engine = await world.ready()
        assert engine.view.links.interaction.application == "IxnProxy_A_2"

    run(tmp_path, story)


def test_a_node_that_accepts_and_drops_is_passed_over(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for name in ("IxnProxy_A_1", "IxnProxy_A_2"):
            world.servers[name].drops = True
        engine = await world.ready()
        assert engine.view.links.interaction.application == "IxnProxy_A_3"
        assert world.servers["IxnProxy_A_1"].opened <= 2

    run(tmp_path, story)


def test_a_node_that_refuses_with_a_time_is_asked_again_only_then(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        for server in world.of(PROXY, "Site_A"):
            server.refuses = refuse("link.full", "Full.", retryable=True, retry_after=0.6)
        engine = world.engine(login_timeout=0.3)
        started = time.time()
        await engine.login("agent01", "right", place="P")
        assert engine.view.phase is Phase.CONNECTING
        banner = engine.view.banner
        assert banner is not None
        assert "Full." in banner.detail
        assert started + 0.5 < banner.next_at < started + 2.0
        for server in world.of(PROXY, "Site_A"):
            server.refuses = None
        await until(lambda: all_up(engine), "up")
        assert time.time() - started >= 0.6

    run(tmp_path, story)


def test_a_killed_proxy_is_replaced_and_restricted_mode_ends_with_the_snapshot(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        world.core.hold_sessions.clear()
        killed = world.serving(PROXY)
        session = world.core.sessions["agent01"]
        await killed.kill()
        await until(lambda: engine.view.phase is Phase.RESTRICTED, "restricted")
        await until(lambda: "agent.resume" in world.core.asked, "resume asked")
        # The link stands again, but the core has said nothing yet: still restricted.
        assert engine.view.links.interaction.up
        assert engine.view.phase is Phase.RESTRICTED
        card = card_of(engine, number)
        assert not card.confirmed
        for control in ("end", "transfer", "case-information", "disposition", "assign-contact"):
            assert not card.controls[control].enabled, control
        assert card.controls["send"].enabled
        with pytest.raises(RefusedError, match="Interaction Server link"):
            await engine.transfer(number, "chat.support")
        banner = engine.view.banner
        assert banner is not None
        assert banner.kind is BannerKind.WARNING
        assert banner.since == engine.view.restricted_since > 0
        assert "read only" in banner.text
        assert "confirming" in banner.next
        await engine.send(number, "still here")
        await until(lambda: len(world.core.chats[number].entries) == 1, "sent while restricted")
        world.core.hold_sessions.set()
        await until(lambda: engine.view.phase is Phase.READY, "restored")
        assert engine.view.banner is None
        assert card_of(engine, number).controls["transfer"].enabled
        assert world.core.sessions["agent01"] == session
        assert engine.view.links.interaction.application != killed.name

    run(tmp_path, story)


def test_the_whole_pool_down_then_back(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        for server in world.of(PROXY, "Site_A"):
            await server.kill()
        await until(lambda: engine.view.links.interaction.next_attempt_at > 0, "waiting for the next round")
        banner = engine.view.banner
        assert banner is not None
        assert banner.next_at == engine.view.links.interaction.next_attempt_at
        await until(lambda: "closed" in (engine.view.banner.detail if engine.view.banner else ""), "says why")
        await world.servers["IxnProxy_A_2"].open()
        await until(lambda: engine.view.phase is Phase.READY, "restored")
        assert card_of(engine, number).confirmed

    run(tmp_path, story)


def test_a_core_failover_needs_no_new_link(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        proxy = world.serving(PROXY)
        opened = proxy.opened
        proxy.tell("core.away", CoreAway(since=time.time(), why="Ixn_A_1 was killed"))
        await until(lambda: engine.view.phase is Phase.RESTRICTED, "restricted")
        assert not engine.view.links.interaction.up
        banner = engine.view.banner
        assert banner is not None
        assert "Ixn_A_1 was killed" in banner.detail
        world.core.interactions.pop(number)
        peer = world.core.peers["agent01"]
        proxy.tell("core.back", CoreBack(epoch=1, term=2, opened=world.core.opened("agent01", peer)))
        await until(lambda: engine.view.phase is Phase.READY, "restored")
        assert engine.view.card(number) is None, "the snapshot is the truth"
        assert proxy.opened == opened

    run(tmp_path, story)


def test_a_core_that_could_not_restore_gets_a_new_login(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        await engine.set_ready(True)
        number = await chatting(world, engine)
        proxy = world.serving(PROXY)
        proxy.tell("core.away", CoreAway(since=time.time(), why="gone"))
        await until(lambda: engine.view.phase is Phase.RESTRICTED, "restricted")
        world.core.sessions.clear()
        world.core.interactions.clear()
        world.core.media.clear()
        lost = CoreBack(epoch=1, term=2, code="session.closed", reason="The restore timeout was over.")
        proxy.tell("core.back", lost)
        await until(lambda: engine.view.phase is Phase.READY, "logged in anew")
        assert engine.view.card(number) is None
        assert any("logged in anew" in notice.text for notice in engine.view.notices)
        assert world.core.media["agent01"][0].ready, "as ready as before"

    run(tmp_path, story)


def test_a_leaving_proxy_is_left_at_once_and_not_asked_again(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        proxy = world.serving(PROXY)
        opened = proxy.opened
        proxy.tell("server.leaving", Leaving(why="stopped on command", retry_after=30.0))
        await until(lambda: engine.view.links.interaction.application != proxy.name, "elsewhere")
        await until(lambda: engine.view.phase is Phase.READY, "restored")
        assert proxy.opened == opened

    run(tmp_path, story)


def test_a_killed_chat_server_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        killed = world.serving(App.CHAT_SERVER)
        # Stored, but the acknowledgement never comes: the message must not become two.
        world.core.silent.add("chat.send")
        await engine.send(number, "once")
        await until(lambda: len(world.core.chats[number].entries) == 1, "stored")
        await engine.send(number, "twice")
        world.core.silent.clear()
        await killed.kill()
        world.core.says(number, "while you were away")
        await until(lambda: len(card_of(engine, number).transcript) == 3, "all shown")
        await until(lambda: card_of(engine, number).unsent == 0, "all acknowledged")
        texts = [line.text for line in card_of(engine, number).transcript]
        assert texts[0] == "once"
        assert sorted(texts) == ["once", "twice", "while you were away"]
        assert [line.seq for line in card_of(engine, number).transcript] == [1, 2, 3]
        assert all(line.state is EntryState.SENT for line in card_of(engine, number).transcript)
        assert engine.view.phase is Phase.READY

    run(tmp_path, story)


def test_without_a_chat_server_send_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        for server in world.of(App.CHAT_SERVER, "Site_A"):
            await server.kill()
        await until(lambda: not card_of(engine, number).controls["send"].enabled, "send disabled")
        with pytest.raises(RefusedError, match="media server"):
            await engine.send(number, "hello?")
        banner = engine.view.banner
        assert banner is not None
        assert "cannot be sent" in banner.text

    run(tmp_path, story)


def test_a_site_switch_while_connected(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        await world.activate("Site_B")
        await until(lambda: engine.view.phase is Phase.RESTRICTED, "restricted")
        world.set_option("disaster-recovery.eservices-site", "Site_B")
        await until(lambda: all_up(engine), "moved")
        assert engine.view.links.interaction.site == "Site_B"
        assert engine.view.links.contact.site == "Site_B"
        assert engine.view.links.chats[0].site == "Site_B"
        assert engine.view.epoch == 2
        assert engine.view.place == "Place agent01", "the place never changes"
        await until(lambda: card_of(engine, number).chat_up, "chat goes on")
        await engine.send(number, "we moved")
        await until(lambda: card_of(engine, number).unsent == 0, "delivered")

    run(tmp_path, story)


def test_a_site_switch_interrupts_the_retry_delay(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.options["interaction-workspace"]["warm-standby.retry-delay"] = "60"
        engine = await world.ready()
        await world.activate("Site_B")
        await until(lambda: engine.view.links.interaction.next_attempt_at > 0, "waiting")
        assert engine.view.links.interaction.next_attempt_at > time.time() + 30
        world.set_option("disaster-recovery.eservices-site", "Site_B")
        await until(lambda: all_up(engine), "moved at once", timeout=5.0)

    run(tmp_path, story)


def test_a_switch_made_while_the_configuration_link_was_cut(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        await world.config.kill()
        await until(lambda: not engine.view.links.config.up, "configuration link down")
        await world.activate("Site_B")
        world.set_option("disaster-recovery.eservices-site", "Site_B")
        await until(lambda: engine.view.phase is Phase.RESTRICTED, "restricted")
        await world.config.open()
        await until(lambda: all_up(engine), "moved after the link came back", timeout=10.0)
        assert engine.view.site == "Site_B"

    run(tmp_path, story)


def test_a_site_that_no_cluster_carries_is_an_error_not_a_fallback(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        world.set_option("disaster-recovery.eservices-site", "Site_C")
        await until(lambda: not engine.view.links.interaction.up, "disconnected")
        banner = engine.view.banner
        assert banner is not None
        assert "Site_C" in banner.detail
        assert engine.view.links.interaction.next_attempt_at == 0
        world.set_option("disaster-recovery.eservices-site", "Site_A")
        await until(lambda: all_up(engine), "back")

    run(tmp_path, story)


def test_unset_takes_the_first_available_cluster(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.options["interaction-workspace"]["disaster-recovery.eservices-site"] = ""
        await world.activate("Site_B")
        engine = await world.ready()
        assert engine.view.links.interaction.site == "Site_B"

    run(tmp_path, story)


def test_a_server_of_an_older_epoch_is_refused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.core.epoch = 5
        engine = await world.ready()
        await until(lambda: engine.view.epoch == 5, "epoch known")
        world.servers["IxnProxy_A_1"].epoch_said = 4
        world.servers["IxnProxy_A_2"].epoch_said = 4
        world.servers["IxnProxy_A_3"].epoch_said = 4
        killed = world.serving(PROXY)
        await killed.kill()
        await until(lambda: "epoch 4" in engine.view.links.interaction.why, "refused")
        assert engine.view.phase is Phase.RESTRICTED
        next(server for server in world.of(PROXY, "Site_A") if server is not killed).epoch_said = None
        await until(lambda: engine.view.phase is Phase.READY, "the one of the right epoch is taken")

    run(tmp_path, story)


def test_a_server_with_another_name_is_refused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        # The configuration gives one proxy the port of another: it is not the application that was meant.
        first, second = world.servers["IxnProxy_A_1"], world.servers["IxnProxy_A_2"]
        await first.kill()
        await world.servers["IxnProxy_A_3"].kill()
        first.listener.port = second.port
        engine = await world.ready()
        assert engine.view.links.interaction.application == "IxnProxy_A_2"

    run(tmp_path, story)


def test_an_unanswered_action_is_repeated_with_its_key_on_the_next_link(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        world.core.silent.add("interaction.accept")
        accepting = asyncio.create_task(engine.accept(number))
        await until(lambda: world.core.executed, "accept had its effect")
        assert card_of(engine, number).busy == "accepting"
        world.core.silent.clear()
        await world.serving(PROXY).kill()
        await accepting
        assert [method for method, _ in world.core.executed] == ["interaction.accept"]
        await until(lambda: card_of(engine, number).state == "owned", "owned")
        assert card_of(engine, number).busy == ""

    run(tmp_path, story)


def test_a_restart_of_the_process_keeps_session_draft_outbox_and_actions(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        session = world.core.sessions["agent01"]
        engine.save_draft(number, "not finished")
        world.core.silent.add("chat.send")
        message = await engine.send(number, "sent but not acknowledged")
        engine.save_draft(number, "not finished")
        world.core.silent.add("interaction.change")
        saving = asyncio.create_task(engine.change(number, {"Order": "1"}))
        await until(lambda: len(world.core.executed) == 2, "change had its effect")
        await engine.close()
        with pytest.raises(LinkLostError):
            await saving
        world.core.silent.clear()
        again = world.engine()
        assert await again.restore()
        await until(lambda: all_up(again), "restored")
        await until(lambda: card_of(again, number).chat_up, "joined again")
        assert world.core.sessions["agent01"] == session
        await until(lambda: card_of(again, number).unsent == 0, "acknowledged")
        card = card_of(again, number)
        assert card.draft == "not finished"
        assert [line.id for line in card.transcript] == [message]
        assert card.properties == {"Order": "1"}
        assert len(world.core.executed) == 2, "nothing was done twice"
        assert world.core.asked.count("agent.login") == 1

    run(tmp_path, story)


def test_restore_without_a_file_says_no(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = world.engine()
        assert not await engine.restore()
        assert engine.view.phase is Phase.OFFLINE

    run(tmp_path, story)


def test_a_gap_in_the_transcript_is_filled_before_anything_later_is_shown(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = await chatting(world, engine)
        transcript = world.core.chats[number]
        joined, transcript.joined = transcript.joined, []
        world.core.says(number, "one (its event is lost)")
        transcript.joined = joined
        world.core.says(number, "two")
        await until(lambda: len(card_of(engine, number).transcript) == 2, "both shown")
        assert [line.seq for line in card_of(engine, number).transcript] == [1, 2]

    run(tmp_path, story)


def test_facts_of_a_failure_are_traced(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        facts: list[dict[str, object]] = []
        engine = world.engine()
        engine.trace = facts.append
        await engine.login("agent01", "right", place="P")
        await until(lambda: all_up(engine), "up")
        number = await chatting(world, engine)
        await world.serving(PROXY).kill()
        await until(
            lambda: engine.view.phase is Phase.READY and engine.view.restricted_since == 0, "restored"
        )
        await until(lambda: [f["fact"] for f in facts].count("restored") == 2, "restored told")
        names = [str(fact["fact"]) for fact in facts]
        down = names.index("link.down")
        assert names.index("restricted") > names.index("owned")
        assert names.index("restored", down) > names.index("restricted", down - 1)
        owned = next(fact for fact in facts if fact["fact"] == "owned")
        assert owned["interaction"] == number
        assert owned["version"] == 3
        assert all(fact["agent"] == "agent01" for fact in facts)

    run(tmp_path, story)


def test_a_disk_that_refuses_does_not_stop_the_agent(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where a folder should be")
        engine = await world.ready(state_dir=blocked, user="agent01")
        number = await chatting(world, engine)
        await engine.send(number, "hello")
        await until(lambda: card_of(engine, number).unsent == 0, "delivered")
        told = [notice for notice in engine.view.notices if "cannot be kept" in notice.text]
        assert len(told) == 1

    run(tmp_path, story)


def test_a_workspace_application_that_vanishes_leaves_everybody_at_work(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        objects = world.objects()
        world.objects = lambda: [o for o in objects if o.name != "Workspace"]  # type: ignore[method-assign]
        world.revision += 1
        gone = Changes(revision=world.revision, full=True, objects=world.objects())
        world.config.tell("config.changed", gone)
        await until(lambda: engine._day.configuration.revision == world.revision, "configuration taken")
        killed = world.serving(PROXY)
        await killed.kill()
        await until(lambda: engine.view.links.interaction.application not in ("", killed.name), "elsewhere")
        await until(lambda: engine.view.phase is Phase.READY, "restored")

    run(tmp_path, story)
