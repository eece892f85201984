"""A token is renewed in time, again and again, until somebody says no or it has expired."""

import asyncio
import time
from collections.abc import Callable

import pytest

from stayline.domain.errors import LinkLostError, Refusal, refuse
from stayline.link.messages.configuration import LoggedIn
from stayline.link.messages.envelope import Identity
from stayline.workspace import renewal as renewal_module
from stayline.workspace.renewal import Renewal

AWAY = LinkLostError(Refusal(code="config.unreachable", reason="Nobody answers.", retryable=True))


def token(name: str, life: float) -> LoggedIn:
    expires = time.time() + life
    return LoggedIn(token=name, identity=Identity(user="ann", tenant="T", roles=[], expires=expires))


class Story:
    """Gives ``answers`` in order, each made when it is asked for; notes when."""

    def __init__(self, *answers: Callable[[], LoggedIn] | Exception) -> None:
        self.asked: list[float] = []
        self.got: list[str] = []
        self.refused: list[str] = []
        self.over = asyncio.Event()
        self._answers = list(answers)

    async def renew(self) -> LoggedIn:
        self.asked.append(time.time())
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer()

    def renewed(self, answer: LoggedIn) -> None:
        self.got.append(answer.token)
        if not self._answers:
            self.over.set()

    def no(self, refusal: Refusal) -> None:
        self.refused.append(refusal.code)
        self.over.set()


def play(life: float, *answers: Callable[[], LoggedIn] | Exception, wait: float = 5.0) -> tuple[Story, float]:
    """Renew a token of ``life`` seconds; the story, and when the token was issued."""

    async def run() -> tuple[Story, float]:
        story = Story(*answers)
        renewal = Renewal(story.renew, story.renewed, story.no, clock=time.time, random=lambda: 0.0)
        issued = time.time()
        renewal.start(issued, issued + life)
        await asyncio.wait_for(story.over.wait(), wait)
        await renewal.stop()
        return story, issued

    return asyncio.run(run())


def test_a_token_is_renewed_at_four_fifths_of_its_life() -> None:
    story, issued = play(1.0, lambda: token("second", 60.0))
    assert story.got == ["second"]
    assert 0.75 <= story.asked[0] - issued < 1.0


def test_the_new_token_is_renewed_as_well() -> None:
    story, _ = play(1.0, lambda: token("second", 1.0), lambda: token("third", 60.0))
    assert story.got == ["second", "third"]


def test_while_nobody_answers_it_is_asked_again_before_the_token_expires() -> None:
    story, issued = play(4.0, AWAY, lambda: token("second", 60.0))
    assert story.got == ["second"]
    assert len(story.asked) == 2
    assert story.asked[1] - issued < 4.0


def test_a_refusal_ends_it_and_is_told() -> None:
    story, _ = play(1.0, refuse("auth.disabled", "The person is disabled."))
    assert (story.got, story.refused) == ([], ["auth.disabled"])


def test_a_machine_that_slept_renews_as_soon_as_it_is_awake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal_module, "LOOK_SECONDS", 0.05, raising=False)

    async def run() -> None:
        story, now = Story(lambda: token("second", 40_000.0)), [1_000.0]
        renewal = Renewal(story.renew, story.renewed, story.no, clock=lambda: now[0], random=lambda: 0.0)
        renewal.start(now[0], now[0] + 43_200.0)
        await asyncio.sleep(0)
        assert story.got == []
        now[0] += 36_000.0  # Ten hours, of which the event loop's clock knows nothing.
        await asyncio.wait_for(story.over.wait(), 5.0)
        assert story.got == ["second"]
        await renewal.stop()

    asyncio.run(run())
