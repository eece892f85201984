"""A fault of ours in the middle of an attempt: the link tries again, and says so."""

import time
from typing import Any

import msgspec
import structlog

from stayline.domain.errors import Refusal
from stayline.link.lone_link import LoneLink
from stayline.link.machine.pool import Assignment, Node, Pool
from stayline.link.machine.standby import State
from stayline.link.peer import Peer
from tests.integration.link.material import HOST, Material, Recorder, person_hello, until
from tests.integration.link.rig import listening, run


class User:
    """Notes the links it gets."""

    def __init__(self) -> None:
        self.up: list[Peer] = []

    def link_up(self, peer: Peer) -> None:
        """Note it."""
        self.up.append(peer)

    def link_down(self, why: str) -> None:
        """Not of interest."""

    def link_event(self, name: str, payload: msgspec.Raw, seq: int) -> None:
        """Not of interest."""

    def link_refused(self, refusal: Refusal) -> None:
        """Not of interest."""

    def link_changed(self) -> None:
        """Not of interest."""


def nobody(fact: str, **details: Any) -> None:
    """Not of interest."""


def test_an_attempt_that_ends_in_a_fault_is_not_the_last(material: Material) -> None:
    async def scenario() -> None:
        prepared: list[Peer] = []

        async def prepare(peer: Peer) -> None:
            prepared.append(peer)
            if len(prepared) == 1:
                raise ZeroDivisionError

        async with listening(material, Recorder()) as listener:
            user = User()
            link = LoneLink(
                "Server",
                user,
                lambda: person_hello(material.token()),
                material.tls(),
                random=lambda: 0.0,
                clock=time.time,
                report=nobody,
                prepare=prepare,
                in_cluster=False,
            )
            node = Node(application="S1", cluster="Pool", site="", host=HOST, port=listener.port)
            pool = Pool(cluster="Pool", site="", nodes=(node,), retry_delays=(0.2,))
            with structlog.testing.capture_logs() as lines:
                link.assign(Assignment(pool=pool, move_range=0.0))
                await until(lambda: user.up, "the second attempt succeeds")
            assert link.view.state is State.UP
            assert [line["event"] for line in lines if line["log_level"] == "error"] == ["link.fault"]
            await link.stop()

    run(scenario())
