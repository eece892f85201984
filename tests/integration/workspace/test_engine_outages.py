"""What a Workspace must not do when servers are away or wrong: believe an old configuration, lock itself out of the
next one, promise what will not come, forget what was signed to it or what an agent has typed."""

import os
import time
from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError
from stayline.domain.objects import ApplicationType as App
from stayline.link.messages.envelope import Role
from stayline.workspace import chats as chats_module
from stayline.workspace.engine import WorkspaceEngine
from tests.integration.workspace.world import World, all_up, run, until

PROXY = App.INTERACTION_SERVER_PROXY
SITE = "disaster-recovery.eservices-site"


async def moved_by_statement(world: World, engine: WorkspaceEngine) -> None:
    """No Configuration Server answers; Site_B is master of epoch 2, and the engine works there."""
    await world.config.kill()
    await until(lambda: not engine.status().configuration.current, "configuration away")
    await world.activate("Site_B")
    for server in world.of(PROXY, "Site_B"):
        server.statement = world.state("Site_B", 2)
    await until(lambda: all_up(engine) and engine.view.site == "Site_B", "moved by the statement")


def test_who_asks_another_cluster_shows_a_ticket_and_is_let_in_before_those_who_log_in(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        await moved_by_statement(world, engine)
        hellos = [hello for server in world.of(PROXY, "Site_B") for hello in server.hellos]
        assert len(hellos) >= 2, "a question, a link"
        assert {hello.ticket for hello in hellos} == {f"ticket {world.core.sessions['agent01']}"}

    run(tmp_path, story)


def test_a_configuration_server_that_knows_an_older_epoch_moves_nobody_back(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        sites: list[object] = []
        engine = await world.ready()
        await moved_by_statement(world, engine)
        engine.trace = lambda fact: sites.append(fact.get("site")) if fact.get("part") == "choice" else None
        # It was frozen, and has not yet looked at its database: it says what it knew.
        world.config.role, world.config.epoch_said = Role.PASSIVE, 1
        await world.config.open()
        await until(lambda: engine.status().links["configuration"].works, "linked")
        assert not engine.status().configuration.current
        assert engine.status().choice.why == "signed statement of epoch 2"
        world.config.epoch_said = 2
        world.set_option(SITE, "Site_B")
        await until(lambda: engine.status().configuration.current, "it has looked")
        assert engine.status().choice.why == "option of Application Workspace"
        assert set(sites) == {"Site_B"}
        assert all_up(engine)

    run(tmp_path, story)


def test_sites_that_no_configuration_server_carries_are_said_and_can_be_mended(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        options = world.options["interaction-workspace"]
        options["disaster-recovery.enabled"] = "true"
        options["disaster-recovery.preferred-site"] = "Site-A"
        options["disaster-recovery.peer-site"] = "Site-B"
        world.servers |= {"Config_A": world.config}
        engine = await world.ready()
        await until(lambda: "Site-A" in engine.view.links.config.why, "said")
        assert engine.status().configuration.current, "how else should it hear of the correction?"
        # Also when it is started again, with this on its disk.
        await engine.close()
        again = world.engine()
        assert await again.restore()
        await until(lambda: all_up(again), "at work")
        world.set_option("disaster-recovery.preferred-site", "Site_A")
        await until(lambda: again.status().configuration.revision == world.revision, "heard of")
        await again.close()
        mended = world.engine()
        assert await mended.restore()
        await until(lambda: mended.status().configuration.current, "linked")
        assert "Site-A" not in mended.view.links.config.why

    run(tmp_path, story)


def test_that_no_cluster_answers_is_said_with_the_time_of_the_next_look(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.options["interaction-workspace"][SITE] = ""
        world.options["interaction-workspace"]["warm-standby.retry-delay"] = "20"
        for server in world.servers.values():
            await server.kill()
        engine = world.engine(login_timeout=0.1)
        await engine.login("agent01", "right", place="P")
        await until(lambda: engine.status().choice.code == "cluster.none_available", "none")
        banner, link = engine.view.banner, engine.view.links.interaction
        assert banner is not None
        assert banner.next_at == link.next_attempt_at == engine.status().choice.until
        assert 5.0 < banner.next_at - time.time() < 21.0
        assert "configuration allows" not in banner.next

    run(tmp_path, story)


def test_a_statement_once_believed_is_remembered_over_a_restart(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        await moved_by_statement(world, engine)
        await engine.close()
        before = [server.opened for server in world.of(PROXY, "Site_A")]
        for server in world.of(PROXY, "Site_A"):
            await server.open()
        again = world.engine()
        assert await again.restore()
        await until(lambda: all_up(again), "at work")
        assert again.status().choice.why == "signed statement of epoch 2"
        assert again.view.site == "Site_B"
        assert again.status().counted["lower"] == 0
        assert [server.opened for server in world.of(PROXY, "Site_A")] == before, "Site_A is over"

    run(tmp_path, story)


def test_the_copy_on_disk_says_when_it_was_last_right_also_for_a_process_that_is_killed(
    tmp_path: Path,
) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        path = engine._day.configured.client.copy.path
        assert path is not None
        await until(path.exists, "written")
        await engine._day.configured.client.copy.flush()
        os.utime(path, (1.0, 1.0))  # Nothing has changed for years.
        await world.config.kill()
        await until(lambda: not engine.status().configuration.current, "away")
        await until(lambda: time.time() - path.stat().st_mtime < 60.0, "it was right until now")

    run(tmp_path, story)


def test_a_login_that_nobody_prolongs_is_said_before_it_matters(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.token_seconds = 2.0
        engine = await world.ready()
        await world.config.kill()
        await until(lambda: engine.view.notices, "told")
        assert "Your login will not be prolonged" in engine.view.notices[0].text
        assert "Configuration Server" in engine.view.notices[0].text
        assert all_up(engine), "what stands goes on"

    run(tmp_path, story)


# -- what was typed


def test_a_reply_that_cannot_be_taken_stays_a_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        await until(lambda: (card := engine.view.card(number)) is not None and card.chat_up, "chat")
        engine.save_draft(number, "one too many")
        with pytest.raises(RefusedError) as refused:
            await engine.send(number, "one too many")
        assert refused.value.refusal.code == "chat.outbox_full"
        card = engine.view.card(number)
        assert card is not None
        assert card.draft == "one too many"

    monkeypatch.setattr(chats_module, "MAX_OUTBOX", 0)
    run(tmp_path, story)


def test_what_was_typed_is_told_also_when_the_session_was_lost_before_a_restart(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        engine.save_draft(number, "half a sentence")
        # The session is lost for good while no proxy is there to log in at; then the process is started again.
        for server in world.of(PROXY, "Site_A"):
            await server.kill()
        engine._day.parts.session.forget()
        world.core.interactions.clear()
        await engine.close()
        for server in world.of(PROXY, "Site_A"):
            await server.open()
        again = world.engine()
        assert await again.restore()
        await until(lambda: all_up(again), "at work")
        assert [notice.kept_text for notice in again.view.notices] == ["half a sentence"]

    run(tmp_path, story)


def test_a_notice_with_what_was_typed_outlives_the_process(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        engine.save_draft(number, "half a sentence")
        world.core.take(number)
        await until(lambda: engine.view.card(number) is None, "gone")
        await engine.close()
        again = world.engine()
        assert await again.restore()
        await until(lambda: all_up(again), "at work")
        kept = [notice for notice in again.view.notices if notice.kept_text]
        assert [notice.kept_text for notice in kept] == ["half a sentence"]
        again.dismiss_notice(kept[0].id)
        await again.close()
        third = world.engine()
        assert await third.restore()
        await until(lambda: all_up(third), "at work")
        assert not [notice for notice in third.view.notices if notice.kept_text]

    run(tmp_path, story)
