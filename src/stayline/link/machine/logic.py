"""All of a Workspace's connection machines together, as one pure machine.

``step(view, event, now, random) -> (view, actions)``. What belongs to one link is wrapped: :class:`OnLink` and
:class:`LinkDo`. The parts: ``site.py`` decides for all pooled links at once which cluster they use, ``standby.py``
keeps each of them, ``preferred.py`` says which Stat Servers are current, ``setups.py`` lets at most two of them (and of
the questions to other clusters) be set up at a time. No machine knows of another; what they have to tell each other is
told here.
"""

from collections.abc import Callable, Mapping

from stayline.link.machine import preferred, site, standby
from stayline.link.machine.logic_view import (
    FOREIGN,
    QUESTION,
    SETUP_SECONDS,
    STALE,
    Action,
    Bad,
    Event,
    LinkDo,
    LogicView,
    OnLink,
    StatementBad,
    Timer,
    TimerAt,
    TimerDue,
    assignment_of,
    link_of,
    question_id,
    setup_id,
)
from stayline.link.machine.plan import POOLED, Link
from stayline.link.machine.pool import Random
from stayline.link.machine.preferred import PairDown, PairDue, PairEvent, PairPlanned, PairUp, PairWait
from stayline.link.machine.setups import Setups
from stayline.link.machine.site import Phase, SiteEvent, SiteView
from stayline.link.machine.site_events import (
    Ask,
    Asked,
    ConfigurationAway,
    EpochHeard,
    Planned,
    Probe,
    Probed,
    RoundFailed,
    SiteDue,
    SiteWait,
    Standing,
    StatementHeard,
)
from stayline.link.machine.standby import StandbyView, State
from stayline.link.machine.standby_events import (
    Assigned,
    Connect,
    Disconnect,
    Failed,
    Granted,
    Held,
    Idle,
    Lost,
    Opened,
    Stop,
    Woke,
)

__all__ = [
    "SETUP_SECONDS",
    "Action",
    "Ask",
    "Asked",
    "Bad",
    "ConfigurationAway",
    "EpochHeard",
    "Event",
    "Idle",
    "LinkDo",
    "LogicView",
    "OnLink",
    "Planned",
    "Probe",
    "Probed",
    "Result",
    "StatementBad",
    "StatementHeard",
    "Stop",
    "Timer",
    "TimerAt",
    "TimerDue",
    "Woke",
    "assignment_of",
    "step",
]

Result = tuple[LogicView, list[Action]]


def step(view: LogicView, event: Event, now: float, random: Random) -> Result:
    """The next view and what to do now, in this order."""
    turn = _Turn(view, now, random)
    _RULES[type(event)](turn, event)
    turn.follow()
    turn.watch_setups()
    return turn.result(), turn.actions


class _Turn:
    """One step: the parts are told what concerns them, in the order in which it follows."""

    def __init__(self, view: LogicView, now: float, random: Random) -> None:
        self.choice = view.site
        self.links = dict(view.links)
        self.pairs = view.statistics
        self.setups = view.setups
        self.setups_timer = view.setups_timer
        self.setups_number = view.setups_number
        self.epochs = dict(view.epochs)
        self.waiting_ask = view.waiting_ask
        self.counts = dict(view.counts)
        self.now = now
        self.random = random
        self.actions: list[Action] = []
        self._followed = view.site

    def result(self) -> LogicView:
        """What is known now."""
        return LogicView(
            site=self.choice,
            links=self.links,
            statistics=self.pairs,
            setups=self.setups,
            setups_timer=self.setups_timer,
            setups_number=self.setups_number,
            epochs=self.epochs,
            waiting_ask=self.waiting_ask,
            counts=self.counts,
        )

    # -- the parts

    def site(self, event: SiteEvent) -> None:
        """Tell the choice of site."""
        after, actions = site.step(self.choice, event, self.now, self.random)
        self.choice = after
        for action in actions:
            if isinstance(action, SiteWait):
                self.actions.append(TimerAt(Timer.SITE, action.number, action.at))
            elif isinstance(action, Ask):
                self._ask(action)
            else:
                self.actions.append(action)
        self._drop_ask()

    def pair(self, event: PairEvent) -> None:
        """Tell the choice of Stat Servers."""
        after, actions = preferred.step(self.pairs, event, self.now, self.random)
        self.pairs = after
        for action in actions:
            if isinstance(action, PairWait):
                self.actions.append(TimerAt(Timer.STATISTICS, action.number, action.at))
            else:
                self.link(Link.STATISTICS, Assigned(action.assignment))

    def link(self, link: Link, event: standby.Event) -> None:
        """Tell a link's machine, and the others what follows from it."""
        before = self.links[link]
        after, actions = standby.step(before, event, self.now, self.random)
        self.links[link] = after
        attempt = (State.CONNECTING, before.generation)
        if before.state is State.CONNECTING and (after.state, after.generation) != attempt:
            self._release(setup_id(link, before.generation))
        for action in actions:
            if isinstance(action, Connect):
                self._connect(link, action)
            else:
                self.actions.append(LinkDo(link, action))
        self._tell(link, before, after)

    def _tell(self, link: Link, before: StandbyView, after: StandbyView) -> None:
        was_up, is_up = before.state is State.UP, after.state is State.UP
        if was_up and not is_up:
            self.epochs.pop(link, None)
        if link is Link.STATISTICS and was_up is not is_up:
            self.pair(PairUp() if is_up else PairDown())
        if link is Link.INTERACTION:
            if is_up and not was_up:
                self.site(Standing())
            elif after.rounds > before.rounds and after.state is State.WAITING:
                busy = any(at > self.now for at in after.not_before.values())
                self.site(RoundFailed(busy))

    def count(self, kind: str) -> None:
        """One more of a kind."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    # -- at most so many set-ups

    def _connect(self, link: Link, action: Connect) -> None:
        deadline = self.now + SETUP_SECONDS
        self.setups, granted = self.setups.request(setup_id(link, action.generation), self.now, deadline)
        if granted:
            self.actions.append(LinkDo(link, action))
            return
        why = f"{action.node.application} is next; {len(self.setups.running)} other connections are set up first."
        held = Held(action.generation, deadline, why)
        self.links[link], _ = standby.step(self.links[link], held, self.now, self.random)

    def _ask(self, action: Ask) -> None:
        deadline = self.now + SETUP_SECONDS
        self.setups, granted = self.setups.request(question_id(action.number), self.now, deadline)
        self.waiting_ask = None if granted else action
        if granted:
            self.actions.append(action)

    def _drop_ask(self) -> None:
        """A question that is not wanted any more gives its place back."""
        current = question_id(self.choice.ask) if self.choice.ask else ""
        setups = self.setups
        for id in [*setups.running, *(waiter.id for waiter in setups.waiting)]:
            if id.startswith(QUESTION) and id != current:
                self._release(id)

    def _release(self, id: str) -> None:
        self.setups, begun = self.setups.release(id)
        for next_id in begun:
            self._begin(next_id)

    def _begin(self, id: str) -> None:
        ask = self.waiting_ask
        if id.startswith(QUESTION):
            if ask is not None and question_id(ask.number) == id:
                self.waiting_ask = None
                self.actions.append(ask)
            return
        link, generation = link_of(id)
        view = self.links[link]
        if view.node is None or view.generation != generation:
            self._release(id)
            return
        self.links[link], _ = standby.step(view, Granted(generation), self.now, self.random)
        self.actions.append(LinkDo(link, Connect(generation, view.node)))

    def expire_setups(self) -> None:
        """Who has waited too long has failed."""
        self.setups, late = self.setups.expire(self.now)
        self.setups_timer = 0
        for id, refusal in late:
            if id.startswith(QUESTION):
                ask, self.waiting_ask = self.waiting_ask, None
                if ask is not None:
                    self.site(Asked(ask.number, ask.cluster, None))
                continue
            link, generation = link_of(id)
            self.link(link, Failed(generation, refusal.reason, code=refusal.code))

    def watch_setups(self) -> None:
        """Keep the timer of the first deadline."""
        due = self.setups.due
        if due and not self.setups_timer:
            self.setups_number += 1
            self.setups_timer = self.setups_number
            self.actions.append(TimerAt(Timer.SETUPS, self.setups_timer, due))
        elif not due:
            self.setups_timer = 0

    # -- one decision for all links

    def follow(self) -> None:
        """Give every pooled link what the choice of site allows now."""
        for _ in range(_CONSEQUENCES):
            if self.choice is self._followed:
                return
            self._followed = self.choice
            if self.choice.phase is not Phase.STOPPED:
                self._assign(self.choice)

    def _assign(self, chosen: SiteView) -> None:
        at = chosen.move_at if chosen.move_at >= self.now else None
        for link in POOLED:
            assignment = assignment_of(chosen, link)
            view = self.links[link]
            if view.state is State.STOPPED or view.assignment != assignment:
                self.link(link, Assigned(assignment, at))

    def opened(self, link: Link, event: Opened) -> None:
        """A server that acts under an epoch that is over is left; one of a higher epoch makes the others' stale."""
        view = self.links[link]
        if event.generation != view.generation or view.state is not State.CONNECTING:
            self.link(link, event)
            return
        if link in POOLED and 0 < event.epoch < self.choice.epoch:
            self.count("stale")
            why = f"{view.node_name} acts under epoch {event.epoch}, but {self.choice.epoch} is known."
            self.actions.append(LinkDo(link, Disconnect(why)))
            self.link(link, Failed(event.generation, why, code="epoch.stale"))
            return
        self.link(link, event)
        if event.epoch:
            self.epoch(event.epoch, link)
            for other, epoch in list(self.epochs.items()):
                if other in POOLED and 0 < epoch < event.epoch:
                    self._leave_stale(other, epoch, event.epoch)

    def epoch(self, epoch: int, link: Link | None) -> None:
        """A server says under which epoch it acts."""
        if link is not None and self.links[link].state is State.UP:
            self.epochs[link] = epoch
        self.site(EpochHeard(epoch))

    def _leave_stale(self, link: Link, epoch: int, newer: int) -> None:
        view = self.links[link]
        if view.state is not State.UP:
            return
        self.count("stale")
        why = f"{view.node_name} acts under epoch {epoch}, but {newer} is known."
        self.actions.append(LinkDo(link, Disconnect(why)))
        self.link(link, Lost(view.generation, why, code="epoch.stale"))


# -- what each event means
# ----------------------------------------------------------------------------------------


def _planned(turn: _Turn, event: Planned) -> None:
    turn.site(event)
    turn.pair(PairPlanned(event.plan.statistics))


def _to_site(turn: _Turn, event: SiteEvent) -> None:
    turn.site(event)


def _bad(turn: _Turn, event: StatementBad) -> None:
    turn.count(event.kind)


def _epoch(turn: _Turn, event: EpochHeard) -> None:
    turn.epoch(event.epoch, Link(event.link) if event.link else None)


def _on_link(turn: _Turn, event: OnLink) -> None:
    told = event.event
    if isinstance(told, Opened):
        turn.opened(event.link, told)
        return
    if isinstance(told, Failed | Lost) and told.generation == turn.links[event.link].generation:
        if told.code in FOREIGN:
            turn.count("foreign")
        elif told.code in STALE:
            turn.count("stale")
    turn.link(event.link, told)


def _due(turn: _Turn, event: TimerDue) -> None:
    if event.timer is Timer.SITE:
        turn.site(SiteDue(event.number))
    elif event.timer is Timer.STATISTICS:
        turn.pair(PairDue(event.number))
    elif event.number == turn.setups_timer:
        turn.expire_setups()
    else:
        turn.count("ignored")


def _all_links(turn: _Turn, event: Idle | Woke) -> None:
    if isinstance(event, Woke):
        turn.site(event)
    for link in Link:
        turn.link(link, event)


def _stop(turn: _Turn, event: Stop) -> None:
    turn.site(event)
    turn.pair(event)
    turn.setups, turn.waiting_ask = Setups(limit=turn.setups.limit), None
    for link, view in list(turn.links.items()):
        if view.state is not State.STOPPED:
            turn.link(link, event)


_CONSEQUENCES = 4
"""What the links are given may change the choice once (a round that fails at once); the rest is for a fault of ours."""


_RULES: Mapping[type[Event], Callable[..., None]] = {
    Planned: _planned,
    ConfigurationAway: _to_site,
    StatementHeard: _to_site,
    StatementBad: _bad,
    EpochHeard: _epoch,
    Probed: _to_site,
    Asked: _to_site,
    OnLink: _on_link,
    TimerDue: _due,
    Idle: _all_links,
    Woke: _all_links,
    Stop: _stop,
}
