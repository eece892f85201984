"""Which role a site's database takes when its host agent starts: pure, so that every case can be tested.

The danger is two primaries. What protects: a role file that is written before and after each change of role,
the epoch (which grows with each promotion), and the other host agent, which is asked first. Where these
cannot tell, the database stays as it is and an operator is told why.
"""

import enum

import msgspec

from stayline.link.messages.control import DatabaseRole, DatabaseStatus


class Duty(enum.StrEnum):
    """What the role file says this node is."""

    PRIMARY = "primary"
    REPLICA = "replica"
    DEMOTED = "demoted"
    """Stopped cleanly for a switch-over that is not finished."""
    FENCED = "fenced"
    """Stopped by force, because another site takes over."""
    PROMOTING = "promoting"
    """A promotion began and its end was not recorded."""


class RoleFile(msgspec.Struct, frozen=True, kw_only=True):
    """``run/database-role.json``. ``epoch`` is the highest this node acted under or followed; ``at`` Unix
    seconds."""

    duty: Duty
    epoch: int
    at: float
    why: str


class Move(enum.StrEnum):
    """What to do with the database now."""

    CREATE = "create"
    CLONE = "clone"
    START_PRIMARY = "start as primary"
    START_REPLICA = "start as replica"
    FOLLOW = "follow the peer"
    WAIT = "wait"


class Decision(msgspec.Struct, frozen=True):
    """The move and its reason. :attr:`Move.WAIT` means: ask the peer again in a moment."""

    move: Move
    why: str


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known. ``own`` None: this node never had a database. ``peer`` None: it did not
    answer for ``asked`` seconds; otherwise its database's status (role ``down`` with the epoch of its own
    role file while it decides itself). ``running`` the database runs already (left by the host agent
    before). ``first`` this is the site that makes the database. ``alone`` the operator, or a lab that starts
    both, allows to go on without the peer."""

    own: RoleFile | None
    peer: DatabaseStatus | None
    peer_exists: bool
    asked: float
    running: bool
    first: bool
    alone: bool


PATIENCE = 5.0
"""Seconds to ask a peer that does not answer before going on alone is considered."""


def decide(now: Situation) -> Decision:
    """What to do; see :class:`Situation`."""
    if now.own is None:
        return _decide_new(now)
    if now.peer is not None and now.peer.epoch > now.own.epoch:
        return _follow_higher(now, now.own, now.peer)
    rule = _RULES[now.own.duty]
    return rule(now, now.own)


def _decide_new(now: Situation) -> Decision:
    peer = now.peer
    if peer is not None and peer.role is DatabaseRole.PRIMARY:
        return Decision(Move.CLONE, "there is no database here and the peer is primary")
    if not now.first:
        return Decision(Move.WAIT, "there is no database here yet: waiting for the peer to be primary")
    if peer is not None and peer.epoch > 0:
        return Decision(Move.WAIT, f"the peer had epoch {peer.epoch} already: waiting for it to be primary")
    if peer is None and now.peer_exists and now.asked < PATIENCE and not now.alone:
        return Decision(Move.WAIT, "asking the peer whether it has a database")
    if peer is None and now.peer_exists and not now.alone:
        return Decision(
            Move.WAIT,
            "there is no database here and the peer does not answer; it may have one "
            "(start with --alone if it certainly has none)",
        )
    return Decision(Move.CREATE, "first start: this site makes the database")


def _follow_higher(now: Situation, own: RoleFile, peer: DatabaseStatus) -> Decision:
    what = f"the peer has epoch {peer.epoch}, this node {own.epoch}"
    if peer.role is DatabaseRole.PRIMARY:
        return Decision(Move.FOLLOW, f"{what}: it became primary while this node was away")
    return Decision(Move.WAIT, f"{what}, but it is not primary yet: waiting for it")


def _was_primary(now: Situation, own: RoleFile) -> Decision:
    if now.running:
        return Decision(
            Move.START_PRIMARY, "the database was left running as primary and no higher epoch is known"
        )
    if now.peer is not None:
        if now.peer.role is DatabaseRole.PRIMARY:
            return Decision(
                Move.WAIT,
                f"both sites claim to be primary of epoch {own.epoch}: neither may go on before an operator decides",
            )
        return Decision(Move.START_PRIMARY, f"primary of epoch {own.epoch}; the peer knows of no higher one")
    if not now.peer_exists:
        return Decision(Move.START_PRIMARY, f"primary of epoch {own.epoch}; there is no other site")
    if now.asked < PATIENCE:
        return Decision(Move.WAIT, "was primary; asking the peer whether it took over")
    if now.alone:
        return Decision(
            Move.START_PRIMARY, f"primary of epoch {own.epoch}; the peer does not answer, alone is allowed"
        )
    return Decision(
        Move.WAIT,
        f"was primary of epoch {own.epoch}, but the peer does not answer and may have taken over "
        "(start with --alone if it certainly has not)",
    )


def _was_replica(now: Situation, own: RoleFile) -> Decision:
    # A replica harms nobody: it starts and serves reads, whether or not its primary is there.
    return Decision(Move.START_REPLICA, f"replica under epoch {own.epoch}")


def _was_demoted(now: Situation, own: RoleFile) -> Decision:
    return Decision(
        Move.WAIT,
        f"stopped for a switch-over from epoch {own.epoch} that is not finished: "
        "run the same `stayline site switch` again",
    )


def _was_fenced(now: Situation, own: RoleFile) -> Decision:
    return Decision(
        Move.WAIT,
        f"fenced under epoch {own.epoch} for a forced switch-over: waiting for the new primary, which does not "
        "answer yet",
    )


def _was_promoting(now: Situation, own: RoleFile) -> Decision:
    return Decision(
        Move.START_REPLICA,
        f"a promotion to epoch {own.epoch + 1} was interrupted: started as it is; "
        "run the same `stayline site switch` again",
    )


_RULES = {
    Duty.PRIMARY: _was_primary,
    Duty.REPLICA: _was_replica,
    Duty.DEMOTED: _was_demoted,
    Duty.FENCED: _was_fenced,
    Duty.PROMOTING: _was_promoting,
}
