"""Tickets are renewed in time, spread out, and only for sessions that somebody is linked to."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stayline.link.messages.envelope import Identity
from stayline.servers.interaction.channels import Channel, Channels
from stayline.servers.interaction.model import Model
from stayline.servers.interaction.tickets import Tickets
from stayline.servers.interaction.timers import Timers

from .desk import EMPTY

LIFE = 1_000.0


class FakeTimers:
    """Remembers what was armed; ``fire`` does it."""

    def __init__(self) -> None:
        self.armed: dict[str, tuple[float, Callable[[], None]]] = {}

    def arm(self, name: str, at: float, action: Callable[[], None]) -> None:
        self.armed[name] = (at, action)

    def disarm(self, name: str) -> None:
        self.armed.pop(name, None)

    def fire(self, name: str) -> None:
        self.armed.pop(name)[1]()


class Rig:
    """Tickets of one session that is linked."""

    def __init__(self, chance: float) -> None:
        self.told: list[tuple[str, Any]] = []
        self.timers = FakeTimers()
        self.channels = Channels()
        self.now = 5_000.0
        model = Model(EMPTY)
        model.sessions["s"] = cast(Any, SimpleNamespace(id="s"))
        peer = SimpleNamespace(event=lambda name, params, **_: self.told.append((name, params)))
        identity = Identity(user="ann", tenant="T", roles=[], expires=9e9)
        self.channels.bind(Channel(cast(Any, peer), 1, identity, "Workspace"), "s")
        views = SimpleNamespace(ticket_seconds=LIFE, ticket=lambda session: f"ticket at {self.now}")
        self.tickets = Tickets(
            model,
            self.channels,
            cast(Any, views),
            cast(Timers, self.timers),
            lambda: self.now,
            lambda: chance,
        )
        self.tickets.watch("s")


@pytest.mark.parametrize(("chance", "due"), [(0.0, 600.0), (0.5, 700.0), (0.999_999, 800.0)])
def test_a_ticket_is_renewed_before_four_fifths_of_its_life(chance: float, due: float) -> None:
    rig = Rig(chance)
    at, _ = rig.timers.armed["ticket:s"]
    assert at == pytest.approx(rig.now + due, abs=0.01)
    rig.now = at
    rig.timers.fire("ticket:s")
    assert [(name, renewed.session, renewed.ticket) for name, renewed in rig.told] == [
        ("session.ticket", "s", f"ticket at {at}")
    ]
    assert rig.timers.armed["ticket:s"][0] == pytest.approx(at + due, abs=0.01)


def test_nobody_is_told_of_a_session_that_nobody_carries() -> None:
    rig = Rig(0.5)
    rig.channels.unbind("s")
    rig.timers.fire("ticket:s")
    assert rig.told == []
    assert rig.timers.armed == {}
    other = Rig(0.5)
    other.tickets.forget("s")
    assert other.timers.armed == {}
