"""Who has an interaction next: the step function over the life cycle's table.

:func:`step` says what a command makes of an interaction (the new record, its journal entry and what must be done once
both are committed) or raises a typed refusal and leaves everything as it was. No clock, no database.
"""

import msgspec

from stayline.domain.errors import RefusedError, refuse
from stayline.domain.interaction import (
    TRANSITIONS,
    Action,
    Command,
    Event,
    Guard,
    Interaction,
    JournalEntry,
    State,
    Transition,
)


class Step(msgspec.Struct, frozen=True):
    """The outcome of a legal command: persist ``after`` and ``entry`` together, then do ``actions``."""

    before: Interaction | None
    after: Interaction
    entry: JournalEntry
    actions: tuple[Action, ...]


def submit(new: Interaction, command: Command, now: float) -> Step:
    """Begin the life of ``new`` (as its submitter described it) at ``now``: queued, version 1."""
    transition = TRANSITIONS[None, Event.SUBMIT]
    after = msgspec.structs.replace(
        new,
        state=transition.new,
        version=1,
        epoch=command.epoch,
        term=command.term,
        created_at=now,
        queued_at=now,
    )
    return Step(None, after, _entry(None, after, command, transition, now), transition.actions)


def step(interaction: Interaction, command: Command, now: float) -> Step:
    """What ``command`` makes of ``interaction`` at ``now`` (Unix seconds).

    Raises RefusedError: ``interaction.term_stale`` (an older primary decides), ``interaction.state`` (the event is
    illegal in this state), ``interaction.offer_gone``, ``interaction.not_yours``. Nothing has changed then.
    """
    if (command.epoch, command.term) < (interaction.epoch, interaction.term):
        raise _stale(interaction, command)
    transition = TRANSITIONS.get((interaction.state, command.event))
    if transition is None:
        raise _illegal(interaction, command)
    _check(transition.guard, interaction, command)
    after = msgspec.structs.replace(
        _effect(interaction, command, now, transition.new),
        state=transition.new,
        version=interaction.version + 1,
        epoch=command.epoch,
        term=command.term,
    )
    return Step(interaction, after, _entry(interaction, after, command, transition, now), transition.actions)


def whereabouts(interaction: Interaction) -> str:
    """Where the interaction is, as the end of a sentence: what a late owner is told."""
    match interaction.state:
        case State.QUEUED:
            return f"waiting in queue {interaction.queue}"
        case State.OFFERED:
            return f"being offered to {interaction.owner}"
        case State.OWNED:
            return f"with {interaction.owner}"
        case State.WORKBIN:
            return f"in the workbin of {interaction.workbin}"
        case State.STOPPED:
            return "ended"


def _effect(interaction: Interaction, command: Command, now: float, new: State) -> Interaction:
    replace = msgspec.structs.replace
    if command.event is Event.CHANGE:
        return _changed(interaction, command, now)
    match new:
        case State.OFFERED:
            return replace(
                interaction,
                owner=command.agent,
                session=command.session,
                offered_at=now,
                offer_version=interaction.version + 1,
                offer_deadline=command.deadline,
            )
        case State.OWNED:
            return replace(
                interaction,
                owner=command.agent or interaction.owner,
                session=command.session,
                last_owner=command.agent or interaction.owner,
                workbin="",
                owned_at=now,
                handled_at=now,
                handling_timeout=command.handling,
                offer_deadline=0.0,
            )
        case State.QUEUED:
            # Only a transfer goes to the end of a line: a customer does not lose the place for an agent's silence.
            moved = command.event is Event.TRANSFER
            return replace(
                interaction,
                owner="",
                session="",
                queue=command.queue if moved else interaction.queue,
                queued_at=now if moved else interaction.queued_at,
                offer_deadline=0.0,
            )
        case State.WORKBIN:
            return replace(interaction, owner="", session="", workbin=interaction.owner)
        case State.STOPPED:
            disposition = interaction.disposition if command.disposition is None else command.disposition
            return replace(
                interaction,
                owner="",
                session="",
                workbin="",
                offer_deadline=0.0,
                ended_at=now,
                online=False,
                disposition=disposition,
            )


def handling_ends(interaction: Interaction) -> float:
    """When (Unix seconds) its owner has been silent for too long; 0: never.

    A chat that goes on is not judged here: what is said in it does not pass the Interaction Server, and a customer's
    absence ends it. Its time begins when the customer has gone.
    """
    in_chat = interaction.online and interaction.chat_session != ""
    if interaction.state is not State.OWNED or not interaction.handling_timeout or in_chat:
        return 0.0
    return interaction.handled_at + interaction.handling_timeout


def routing_ends(interaction: Interaction, timeout: float, now: float) -> float:
    """When (Unix seconds, after ``now``) the routing of a queued interaction counts as failed the next time.

    It does at each multiple of ``timeout`` (seconds) since it was queued, so that a new primary finds the same times
    without a record of them. Seed facts 1.3: the longest stay with the router before routing counts as failed.
    """
    rounds = int(max(0.0, now - interaction.queued_at) // timeout)
    return interaction.queued_at + (rounds + 1) * timeout


def _changed(interaction: Interaction, command: Command, now: float) -> Interaction:
    properties = {**interaction.properties, **command.set}
    for name in command.delete:
        properties.pop(name, None)
    went_offline = interaction.online and command.online is False
    return msgspec.structs.replace(
        interaction,
        properties=properties,
        handled_at=now if command.session or went_offline else interaction.handled_at,
        disposition=interaction.disposition if command.disposition is None else command.disposition,
        online=interaction.online if command.online is None else command.online,
    )


def _check(guard: Guard, interaction: Interaction, command: Command) -> None:
    match guard:
        case Guard.NONE:
            return
        case Guard.OFFER:
            if command.session != interaction.session or not (
                interaction.offer_version <= command.version <= interaction.version
            ):
                raise refuse(
                    "interaction.offer_gone",
                    f"This offer of interaction {interaction.id} no longer stands: it is {whereabouts(interaction)}.",
                )
        case Guard.HOLDER:
            if command.session != interaction.session:
                raise _not_yours(interaction)
        case Guard.HOLDER_IF_AGENT:
            if command.session and (
                command.session != interaction.session or interaction.state is not State.OWNED
            ):
                raise _not_yours(interaction)
        case Guard.WORKBIN:
            if command.agent != interaction.workbin:
                raise _not_yours(interaction)


def _not_yours(interaction: Interaction) -> RefusedError:
    return refuse(
        "interaction.not_yours",
        f"Interaction {interaction.id} is not yours: it is {whereabouts(interaction)}.",
        epoch=interaction.epoch,
        term=interaction.term,
    )


def _illegal(interaction: Interaction, command: Command) -> RefusedError:
    return refuse(
        "interaction.state",
        f"Interaction {interaction.id} cannot take {command.event.value!r}: it is {whereabouts(interaction)}.",
        epoch=interaction.epoch,
        term=interaction.term,
    )


def _stale(interaction: Interaction, command: Command) -> RefusedError:
    return refuse(
        "interaction.term_stale",
        f"Interaction {interaction.id} was last written in epoch {interaction.epoch} term {interaction.term}; "
        f"epoch {command.epoch} term {command.term} is older and decides nothing any more.",
        epoch=interaction.epoch,
        term=interaction.term,
    )


def _entry(
    before: Interaction | None, after: Interaction, command: Command, transition: Transition, now: float
) -> JournalEntry:
    return JournalEntry(
        interaction=after.id,
        version=after.version,
        event=command.event,
        from_state="" if before is None else before.state.value,
        to_state=after.state,
        agent=after.owner,
        session=after.session,
        previous_agent="" if before is None else before.owner,
        previous_session="" if before is None else before.session,
        queue=after.queue,
        actor=command.actor,
        key=command.key,
        why=command.why or transition.why,
        epoch=command.epoch,
        term=command.term,
        at=now,
    )
