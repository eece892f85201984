"""An agent's ordinary day, over real links to scripted servers."""

from pathlib import Path

import pytest

from stayline.domain.errors import RefusedError, refuse
from stayline.link.messages.contact import EntryKind
from stayline.link.messages.interaction import Ownership, SessionEnded
from stayline.workspace.view import EntryState, Phase
from tests.integration.workspace.world import World, run, until


def test_login_opens_every_link_and_says_so_in_words(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        view = engine.view
        assert view.phase is Phase.READY
        assert view.banner is None
        assert view.place == "Place agent01"
        assert view.display_name == "Agent01"
        words = view.links.words()
        assert words.startswith("Site_A · IxnProxy_A_")
        assert "UCS_Proxy_A_" in words
        assert "Chat_A_" in words
        assert view.queues == {"chat": ["chat.support"]}
        assert view.dispositions == {"solved": "Solved"}

    run(tmp_path, story)


def test_a_wrong_password_is_refused_with_its_reason(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = world.engine()
        with pytest.raises(RefusedError) as error:
            await engine.login("agent01", "wrong", place="P")
        assert error.value.refusal.code == "auth.failed"
        assert engine.view.phase is Phase.OFFLINE

    run(tmp_path, story)


def test_a_login_that_the_core_refuses_is_refused(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        world.core.refusing["agent.login"] = refuse("place.unknown", "There is no place 'P'.")
        engine = world.engine()
        with pytest.raises(RefusedError) as error:
            await engine.login("agent01", "right", place="P")
        assert error.value.refusal.code == "place.unknown"
        assert engine.view.phase is Phase.ENDED

    run(tmp_path, story)


def test_a_chat_from_offer_to_done(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        await engine.set_ready(True)
        assert world.core.media["agent01"][0].ready
        assert engine.view.media[0].ready
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        card = engine.view.card(number)
        assert card is not None
        assert card.state is Ownership.OFFERED
        assert card.controls["accept"].enabled
        assert not card.controls["send"].enabled
        await engine.accept(number)
        await until(lambda: engine.view.card(number).chat_up, "joined")  # type: ignore[union-attr]
        world.core.says(number, "Good morning")
        message = await engine.send(number, "How can I help?")
        await until(lambda: len(world.core.chats[number].entries) == 2, "delivered")
        await until(lambda: len(engine.view.card(number).transcript) == 2, "shown")  # type: ignore[union-attr]
        card = engine.view.card(number)
        assert card is not None
        assert [line.text for line in card.transcript] == ["Good morning", "How can I help?"]
        assert card.transcript[1].id == message
        assert card.transcript[1].mine
        assert card.transcript[1].state is EntryState.SENT
        assert card.unread == 1
        engine.mark_read(number)
        assert engine.view.card(number).unread == 0  # type: ignore[union-attr]
        with pytest.raises(RefusedError, match="End the chat first"):
            await engine.done(number)
        await engine.end_chat(number)
        card = engine.view.card(number)
        assert card is not None
        assert not card.online
        await until(
            lambda: engine.view.card(number).transcript[-1].kind is EntryKind.ENDED,  # type: ignore[union-attr]
            "end shown",
        )
        await engine.done(number, disposition="solved")
        assert engine.view.card(number) is None
        assert engine.view.notices == []
        assert world.core.interactions == {}

    run(tmp_path, story)


def test_case_information_contact_and_history(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        await until(lambda: engine.view.card(number).contact, "contact read")  # type: ignore[union-attr]
        await engine.change(number, {"Order": "4711"}, disposition="solved")
        await until(lambda: engine.view.card(number).properties == {"Order": "4711"}, "saved")  # type: ignore[union-attr]
        assert engine.view.card(number).disposition == "solved"  # type: ignore[union-attr]
        await engine.load_history(number)
        assert engine.view.card(number).history == []  # type: ignore[union-attr]
        await engine.update_contact(number, {"LastName": "Lovelace"})
        contact = engine.view.card(number).contact  # type: ignore[union-attr]
        assert contact is not None
        assert contact.attributes == {"FirstName": "Ada", "LastName": "Lovelace"}

    run(tmp_path, story)


def test_an_interaction_taken_away_is_told_with_what_was_typed(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        engine.save_draft(number, "half a sentence")
        world.core.take(number, "revoked by a supervisor")
        await until(lambda: engine.view.card(number) is None, "gone")
        texts = [notice.text for notice in engine.view.notices]
        assert "revoked by a supervisor" in texts[0]
        assert engine.view.notices[1].kept_text == "half a sentence"
        engine.dismiss_notice(engine.view.notices[0].id)
        assert len(engine.view.notices) == 1

    run(tmp_path, story)


def test_logout_is_refused_with_open_interactions_and_ends_the_session(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        number = world.core.offer("agent01")
        await until(lambda: engine.view.card(number), "offer")
        await engine.accept(number)
        with pytest.raises(RefusedError, match="still have interactions"):
            await engine.logout()
        await engine.logout(requeue=True)
        assert engine.view.phase is Phase.OFFLINE
        assert world.core.sessions == {}
        assert not list((tmp_path / "state").glob("agent-*"))

    run(tmp_path, story)


def test_a_session_taken_elsewhere_ends_this_one(tmp_path: Path) -> None:
    async def story(world: World) -> None:
        engine = await world.ready()
        ended = SessionEnded(
            session=world.core.sessions["agent01"], code="session.taken", why="Logged in at another place."
        )
        world.core.peers["agent01"].event("session.ended", ended)
        await until(lambda: engine.view.phase is Phase.ENDED, "ended")
        banner = engine.view.banner
        assert banner is not None
        assert "Logged in at another place." in banner.text
        await until(lambda: world.core.peers["agent01"].is_closed, "links closed")

    run(tmp_path, story)
