"""What a site's database does about what its peer says, once its role is settled: pure, so that every case can be
tested. The epoch decides who is master; time only decides how long a running plan is given to do it in order."""

import enum

import msgspec

from stayline.control.host.placement import Duty
from stayline.link.messages.control import DatabaseRole

STREAM_PATIENCE = 15.0
"""Seconds that a replica may be without its primary's stream, although the primary answers, before it is
repaired."""

REJOIN_PATIENCE = 30.0
"""Seconds that a primary which gave way waits for somebody to make it a replica before it becomes one by itself."""


class Act(enum.StrEnum):
    """What is to be done."""

    NOTHING = "nothing"
    STEP_ASIDE = "stop: the other site is master"
    FOLLOW = "follow the other site"


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is known at ``now`` (seconds). ``duty`` and ``epoch`` are recorded here; ``writes``: a server runs here
    that is no replica; ``streaming``: it is a replica and receives."""

    duty: Duty
    epoch: int
    peer_role: DatabaseRole
    peer_epoch: int
    writes: bool
    streaming: bool
    now: float


class Verdict(msgspec.Struct, frozen=True):
    """``since``: from when on it has had to be without a primary that answers (0: it has not); to be given to the
    next look."""

    act: Act
    why: str
    since: float


def judge_peer(look: Look, since: float) -> Verdict:
    """What follows from one look at a peer that answers; ``since`` is that of the verdict before."""
    superseded = look.peer_epoch > look.epoch
    gave_way = look.duty in (Duty.FENCED, Duty.DEMOTED)
    if superseded and (look.duty is Duty.PRIMARY or (gave_way and look.writes)):
        why = f"the other site acts under epoch {look.peer_epoch}, this one under {look.epoch}"
        return Verdict(Act.STEP_ASIDE, why, 0.0)
    if look.peer_role is not DatabaseRole.PRIMARY:
        return Verdict(Act.NOTHING, "there is no primary to follow", 0.0)
    if look.duty is Duty.REPLICA and not look.streaming:
        patience = STREAM_PATIENCE
        why = f"the replica got no stream for {patience:.0f} s although the primary answers"
    elif superseded and gave_way:
        patience = REJOIN_PATIENCE
        why = f"it gave way to the other site {patience:.0f} s ago and nobody told it to follow"
    else:
        return Verdict(Act.NOTHING, "as it should be", 0.0)
    since = since or look.now
    if look.now - since <= patience:
        return Verdict(Act.NOTHING, "waiting for it to be put right in order", since)
    return Verdict(Act.FOLLOW, why, 0.0)
