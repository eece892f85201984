"""Which role a database takes at the start: never two primaries, never a silent standstill."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stayline.control.host.placement import PATIENCE, Duty, Move, RoleFile, Situation, decide
from stayline.link.messages.control import DatabaseRole, DatabaseStatus, ReplicationMode


def _role(duty: Duty, epoch: int = 1) -> RoleFile:
    return RoleFile(duty=duty, epoch=epoch, at=0.0, why="")


def _peer(role: DatabaseRole, epoch: int) -> DatabaseStatus:
    return DatabaseStatus(role=role, mode=ReplicationMode.FOLLOW, site="Site_B", epoch=epoch)


def _situation(
    own: RoleFile | None,
    peer: DatabaseStatus | None,
    *,
    asked: float = 0.0,
    running: bool = False,
    first: bool = True,
    alone: bool = False,
    peer_exists: bool = True,
) -> Situation:
    return Situation(
        own=own, peer=peer, peer_exists=peer_exists, asked=asked, running=running, first=first, alone=alone
    )


PRIMARY, REPLICA, DOWN = DatabaseRole.PRIMARY, DatabaseRole.REPLICA, DatabaseRole.DOWN


@pytest.mark.parametrize(
    ("situation", "move"),
    [
        # the first start of a centre
        (_situation(None, None, alone=True), Move.CREATE),
        (_situation(None, _peer(DOWN, 0)), Move.CREATE),
        (_situation(None, None, asked=1.0), Move.WAIT),
        (_situation(None, None, asked=PATIENCE + 1), Move.WAIT),
        (_situation(None, None, peer_exists=False), Move.CREATE),
        (_situation(None, _peer(DOWN, 0), first=False), Move.WAIT),
        (_situation(None, _peer(PRIMARY, 1), first=False), Move.CLONE),
        # this site lost its disk while the other one is master
        (_situation(None, _peer(PRIMARY, 2)), Move.CLONE),
        (_situation(None, _peer(DOWN, 2)), Move.WAIT),
        # restart of the whole centre
        (_situation(_role(Duty.PRIMARY), _peer(DOWN, 1)), Move.START_PRIMARY),
        (_situation(_role(Duty.REPLICA), _peer(DOWN, 1)), Move.START_REPLICA),
        (_situation(_role(Duty.REPLICA), None), Move.START_REPLICA),
        # the old primary comes back after a forced switch
        (_situation(_role(Duty.PRIMARY, 1), _peer(PRIMARY, 2)), Move.FOLLOW),
        (_situation(_role(Duty.PRIMARY, 1), _peer(DOWN, 2)), Move.WAIT),
        (_situation(_role(Duty.PRIMARY, 1), _peer(PRIMARY, 2), running=True), Move.FOLLOW),
        # it cannot know
        (_situation(_role(Duty.PRIMARY), None, asked=1.0), Move.WAIT),
        (_situation(_role(Duty.PRIMARY), None, asked=PATIENCE + 1), Move.WAIT),
        (_situation(_role(Duty.PRIMARY), None, asked=1.0, alone=True), Move.WAIT),
        (_situation(_role(Duty.PRIMARY), None, asked=PATIENCE + 1, alone=True), Move.START_PRIMARY),
        # the host agent alone was restarted: the database runs on
        (_situation(_role(Duty.PRIMARY), None, running=True), Move.START_PRIMARY),
        # two primaries of one epoch cannot be, but if they were, neither goes on
        (_situation(_role(Duty.PRIMARY), _peer(PRIMARY, 1)), Move.WAIT),
        # a switch-over was interrupted
        (_situation(_role(Duty.DEMOTED), _peer(REPLICA, 1)), Move.WAIT),
        (_situation(_role(Duty.DEMOTED), _peer(PRIMARY, 2)), Move.FOLLOW),
        (_situation(_role(Duty.FENCED), None, asked=PATIENCE + 1, alone=True), Move.WAIT),
        (_situation(_role(Duty.FENCED), _peer(PRIMARY, 2)), Move.FOLLOW),
        (_situation(_role(Duty.PROMOTING), _peer(DOWN, 1)), Move.START_REPLICA),
    ],
)
def test_decision(situation: Situation, move: Move) -> None:
    found = decide(situation)
    assert found.move is move, found.why
    assert found.why


_DUTIES = st.sampled_from(list(Duty))
_EPOCHS = st.integers(1, 3)


@given(_DUTIES, _EPOCHS, _DUTIES, _EPOCHS, st.booleans(), st.floats(0, 20))
def test_two_sites_that_see_each_other_never_both_start_as_primary(
    mine: Duty, my_epoch: int, theirs: Duty, their_epoch: int, first: bool, asked: float
) -> None:
    """Each decides from its own role file and the other's status, as both are before either has a database
    up."""
    if (mine, my_epoch) == (theirs, their_epoch) == (Duty.PRIMARY, my_epoch):
        return  # excluded by construction: an epoch belongs to one site
    own = decide(_situation(_role(mine, my_epoch), _peer(DOWN, their_epoch), first=first, asked=asked))
    other = decide(
        _situation(_role(theirs, their_epoch), _peer(DOWN, my_epoch), first=not first, asked=asked)
    )
    assert not (own.move is Move.START_PRIMARY and other.move is Move.START_PRIMARY)


@given(_DUTIES, _EPOCHS, st.integers(0, 4), st.booleans(), st.floats(0, 20))
def test_a_superseded_site_never_starts_as_primary(
    duty: Duty, epoch: int, ahead: int, alone: bool, asked: float
) -> None:
    for role, running in itertools.product(DatabaseRole, (False, True)):
        peer = _peer(role, epoch + 1 + ahead)
        found = decide(_situation(_role(duty, epoch), peer, alone=alone, asked=asked, running=running))
        assert found.move in (Move.FOLLOW, Move.WAIT)
