"""What a settled site makes of its peer: a superseded primary stops at once, and becomes a replica in the end."""

import pytest

from stayline.control.host.placement import Duty
from stayline.control.host.watching import REJOIN_PATIENCE, STREAM_PATIENCE, Act, Look, Verdict, judge_peer
from stayline.link.messages.control import DatabaseRole

PRIMARY, REPLICA, DOWN = DatabaseRole.PRIMARY, DatabaseRole.REPLICA, DatabaseRole.DOWN


def _look(
    duty: Duty,
    peer: DatabaseRole,
    epoch: int,
    *,
    writes: bool = False,
    streaming: bool = False,
    now: float = 1_000.0,
) -> Look:
    """This site acted under epoch 1."""
    return Look(
        duty=duty, epoch=1, peer_role=peer, peer_epoch=epoch, writes=writes, streaming=streaming, now=now
    )


@pytest.mark.parametrize(
    ("look", "act"),
    [
        # a partition is over: the other site was promoted meanwhile
        (_look(Duty.PRIMARY, PRIMARY, 2, writes=True), Act.STEP_ASIDE),
        (_look(Duty.PRIMARY, DOWN, 2, writes=True), Act.STEP_ASIDE),
        # its demotion began and left it running
        (_look(Duty.DEMOTED, PRIMARY, 2, writes=True), Act.STEP_ASIDE),
        # it was to be stopped, and could not be
        (_look(Duty.FENCED, PRIMARY, 2, writes=True), Act.STEP_ASIDE),
        # its promotion was not recorded: the higher epoch may be its own, replicated
        (_look(Duty.PROMOTING, REPLICA, 2, writes=True), Act.NOTHING),
        # nobody is above it
        (_look(Duty.PRIMARY, REPLICA, 1, writes=True), Act.NOTHING),
        (_look(Duty.DEMOTED, REPLICA, 1, writes=True), Act.NOTHING),
        (_look(Duty.REPLICA, PRIMARY, 1, streaming=True), Act.NOTHING),
        (_look(Duty.FENCED, REPLICA, 1), Act.NOTHING),
        (_look(Duty.PROMOTING, PRIMARY, 1), Act.NOTHING),
    ],
)
def test_at_once(look: Look, act: Act) -> None:
    assert judge_peer(look, 0.0) == Verdict(act, judge_peer(look, 0.0).why, 0.0)


@pytest.mark.parametrize(
    ("duty", "epoch", "patience"),
    [
        (Duty.REPLICA, 1, STREAM_PATIENCE),
        (Duty.FENCED, 2, REJOIN_PATIENCE),
        (Duty.DEMOTED, 2, REJOIN_PATIENCE),
    ],
)
def test_it_follows_by_itself_when_nobody_sees_to_it(duty: Duty, epoch: int, patience: float) -> None:
    began = judge_peer(_look(duty, PRIMARY, epoch), 0.0)
    assert (began.act, began.since) == (Act.NOTHING, 1_000.0)
    waiting = judge_peer(_look(duty, PRIMARY, epoch, now=1_000.0 + patience), began.since)
    assert (waiting.act, waiting.since) == (Act.NOTHING, 1_000.0)
    assert judge_peer(_look(duty, PRIMARY, epoch, now=1_000.1 + patience), waiting.since).act is Act.FOLLOW


@pytest.mark.parametrize("duty", [Duty.FENCED, Duty.REPLICA])
def test_the_clock_starts_anew_when_the_primary_is_gone_meanwhile(duty: Duty) -> None:
    assert judge_peer(_look(duty, DOWN, 2), 1.0).since == 0.0


def test_a_fenced_site_does_not_follow_one_that_has_not_replaced_it() -> None:
    look = _look(Duty.FENCED, PRIMARY, 1, now=9_000.0)
    assert judge_peer(look, 1.0).act is Act.NOTHING
