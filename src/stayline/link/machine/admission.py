"""Who is set up when: the machine behind a listener's door. Pure: no clock, no sockets; chance is an argument.

Two lanes, resumes before logins; logins also pay from a token bucket; at most ``setups`` at a time. Everybody who is
not let in at once is told a time: in the lane by :class:`Wait`, sent away by :class:`Refuse`, behind everything
that was promised before. Who was sent away and comes at its time finds its slot kept.
"""

import enum
import itertools
from collections.abc import Hashable
from dataclasses import dataclass

from stayline.link.machine.admission_lane import Lane, Waiter
from stayline.link.machine.setup_cost import SetupCost

LOGIN_SHARE = 0.6
"""Part of what was measured that logins may take, when no rate is configured."""

JITTER_SECONDS = 0.5
"""Upper bound of the random part of a promise."""

LOOK_SECONDS = 1.0
"""Between two looks at whether those who wait were told the truth."""

_LEAST_RATE = 0.1


class Kind(enum.StrEnum):
    """The lanes, in their order."""

    RESUME = "resume"
    LOGIN = "login"


@dataclass(frozen=True, kw_only=True)
class AdmissionSettings:
    """``setups`` at a time, ``queue`` who may wait, ``longest_wait`` seconds in the lane, ``login_rate`` per second (0:
    :data:`LOGIN_SHARE` of what was measured), ``setup_timeout`` seconds after which a set-up that was not finished
    frees its place."""

    setups: int = 8
    queue: int = 2_000
    longest_wait: float = 8.0
    login_rate: float = 0.0
    setup_timeout: float = 10.0


@dataclass(frozen=True)
class Enter:
    """Let it in: its set-up begins now."""

    id: Hashable


@dataclass(frozen=True)
class Wait:
    """Tell it to wait about ``seconds``, after ``ahead`` others."""

    id: Hashable
    seconds: float
    ahead: int


@dataclass(frozen=True)
class Refuse:
    """Send it away: it shall come again in ``retry_after`` seconds."""

    id: Hashable
    retry_after: float
    why: str


Decision = Enter | Wait | Refuse


@dataclass(slots=True)
class _Setup:
    """A set-up under way. ``fair``: what it takes is the server's own time."""

    began: float
    fair: bool = True


class Admission:
    """See the module. ``id`` is any hashable handle of one opener, new for each connection; ``who`` recognises the same
    opener when it comes again. Every method returns what is to be done now, in order. ``now`` never runs backwards.

    Counted since the start: ``entered``, ``finished``, ``abandoned`` (left while waiting: cost nothing), ``wasted``
    (set-ups begun and not finished), ``refused``.
    """

    def __init__(self, settings: AdmissionSettings) -> None:
        self.settings = settings
        self.cost = SetupCost()
        self.entered = self.finished_count = self.abandoned = self.wasted = self.refused = 0
        self._lanes = {kind: Lane() for kind in Kind}
        self._running: dict[Hashable, _Setup] = {}
        self._numbers = itertools.count(1)
        self._tokens = 1.0
        self._filled_at: float | None = None
        self._saturated_at: float | None = None
        self._look_at: float | None = None

    @property
    def waiting(self) -> int:
        """Openers held in both lanes."""
        return sum(len(lane) for lane in self._lanes.values())

    @property
    def running(self) -> int:
        """Set-ups under way."""
        return len(self._running)

    @property
    def login_rate(self) -> float:
        """Logins per second that are let in."""
        rate = self.settings.login_rate or LOGIN_SHARE / self.cost.seconds
        return max(rate, _LEAST_RATE)

    # -- what happens

    def arrive(
        self, id: Hashable, kind: Kind, now: float, *, chance: float = 0.0, who: str = ""
    ) -> list[Decision]:
        """Somebody is at the door. ``chance`` is drawn from [0, 1). An empty ``who`` is nobody known."""
        lane = self._lanes[kind]
        promised = lane.promised(who) if who else None
        if self._place_free(kind, now) and not self._ahead(kind, len(lane)):
            lane.redeem(who)
            return [self._enter(id, kind, now)]
        slot = self._slot(kind, now) if promised is None else promised
        if slot - now > self.settings.longest_wait:
            why = f"it would wait longer than {self.settings.longest_wait:g} s"
            return [self._refuse(id, kind, who, slot, now, chance, why)]
        decisions: list[Decision] = []
        if self.waiting >= self.settings.queue:
            why = f"{self.waiting} others wait already"
            logins = self._lanes[Kind.LOGIN]
            if kind is Kind.LOGIN or not logins:
                behind = self._slot(kind, now)
                return [self._refuse(id, kind, who, behind, now, chance, why)]
            last = logins.last()
            behind = self._slot(Kind.LOGIN, now)
            decisions.append(self._refuse(last.id, Kind.LOGIN, last.who, behind, now, chance, why))
        lane.redeem(who)
        waiter = Waiter(slot, next(self._numbers), id, who)
        position = lane.join(waiter)
        decisions.append(self._tell(waiter, kind, position, now))
        if self._look_at is None:
            self._look_at = now + LOOK_SECONDS
        return decisions

    def left(self, id: Hashable, now: float) -> list[Decision]:
        """It has gone, while waiting or while being set up; unknown ones are ignored."""
        if any(lane.leave(id) for lane in self._lanes.values()):
            self.abandoned += 1
            return []
        if self._running.pop(id, None) is None:
            return []
        self.wasted += 1
        self._saturated_at = None
        return self._advance(now)

    def finished(self, id: Hashable, now: float, *, measured: bool = True) -> list[Decision]:
        """Its set-up has ended well. ``measured`` false: the time says nothing of this server's cost."""
        setup = self._running.pop(id, None)
        if setup is None:
            return []
        self.finished_count += 1
        saturated = len(self._running) + 1 >= self.settings.setups and self._somebody_could(now)
        if not (measured and setup.fair):
            self._saturated_at = None
        elif saturated and self._saturated_at is not None:
            self.cost.spaced(now - self._saturated_at)
            self._saturated_at = now
        else:
            self.cost.took(now - setup.began, self.settings.setups)
            self._saturated_at = now if saturated else None
        return self._advance(now)

    def disturbed(self) -> None:
        """Something held all set-ups up that is no cost of this server: those under way are not measured."""
        for setup in self._running.values():
            setup.fair = False
        self._saturated_at = None

    def tick(self, now: float) -> list[Decision]:
        """Time has passed: to be called at :meth:`wake_at` (more often is harmless)."""
        late = [id for id, setup in self._running.items() if now - setup.began >= self.settings.setup_timeout]
        for id in late:
            del self._running[id]
            self.wasted += 1
            self._saturated_at = None
        decisions = self._advance(now)
        if self._look_at is not None and now >= self._look_at:
            decisions += self._tell_again(now)
            self._look_at = now + LOOK_SECONDS if self.waiting else None
        return decisions

    def configure(self, settings: AdmissionSettings, now: float) -> list[Decision]:
        """Other limits from now on."""
        self.settings = settings
        self._tokens = min(self._tokens, self._burst)
        return self._advance(now)

    def send_away(self) -> list[Hashable]:
        """The door closes: forget all who wait, and say who they are."""
        gone: list[Hashable] = []
        for lane in self._lanes.values():
            while lane:
                gone.append(lane.first().id)
        return gone

    def wake_at(self, now: float) -> float | None:
        """When :meth:`tick` has something to do; None: not before something else happens."""
        times: list[float] = []
        if self._running:
            # Set-ups end in any order, but begin in this one.
            first = next(iter(self._running.values()))
            times.append(first.began + self.settings.setup_timeout)
        if self._look_at is not None:
            times.append(self._look_at)
        logins = self._lanes[Kind.LOGIN]
        if logins and not self._lanes[Kind.RESUME] and len(self._running) < self.settings.setups:
            times.append(now + self._until_token(now))
        return min(times, default=None)

    # -- inside

    @property
    def _burst(self) -> float:
        return max(1.0, self.login_rate)

    def _fill(self, now: float) -> None:
        if self._filled_at is None:
            self._tokens = self._burst
        else:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self.login_rate)
        self._filled_at = now

    def _until_token(self, now: float) -> float:
        """Seconds until a login may be let in."""
        self._fill(now)
        # A hair more than needed, so that the token is whole when the timer says so.
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / self.login_rate + 1e-6

    def _place_free(self, kind: Kind, now: float) -> bool:
        if len(self._running) >= self.settings.setups:
            return False
        return kind is Kind.RESUME or self._until_token(now) == 0.0

    def _somebody_could(self, now: float) -> bool:
        """Whether somebody waits for nothing but a place."""
        if self._lanes[Kind.RESUME]:
            return True
        return bool(self._lanes[Kind.LOGIN]) and self._until_token(now) == 0.0

    def _ahead(self, kind: Kind, position: int) -> int:
        """How many are let in before the one at ``position`` of its lane."""
        return position + (len(self._lanes[Kind.RESUME]) if kind is Kind.LOGIN else 0)

    def _seconds(self, kind: Kind, position: int, now: float) -> float:
        """How long the one at ``position`` of its lane waits, if nobody else comes."""
        places = (self._ahead(kind, position) + 1) * self.cost.seconds
        if kind is Kind.RESUME:
            return places
        self._fill(now)
        return max(places, (position + 1 - self._tokens) / self.login_rate)

    def _slot(self, kind: Kind, now: float) -> float:
        """When a newcomer would have its turn: behind who waits, and behind everything promised."""
        lane = self._lanes[kind]
        slot = now + self._seconds(kind, len(lane), now)
        if kind is Kind.LOGIN and self._lanes[Kind.RESUME].outstanding(now):
            slot = max(slot, self._lanes[Kind.RESUME].last_slot)
        if lane.outstanding(now):
            cost = self.cost.seconds
            spacing = cost if kind is Kind.RESUME else max(cost, 1.0 / self.login_rate)
            slot = max(slot, lane.last_slot + spacing)
        return slot

    def _enter(self, id: Hashable, kind: Kind, now: float) -> Enter:
        if kind is Kind.LOGIN:
            self._tokens -= 1.0
        self.entered += 1
        self._running[id] = _Setup(now)
        return Enter(id)

    def _refuse(
        self, id: Hashable, kind: Kind, who: str, slot: float, now: float, chance: float, why: str
    ) -> Refuse:
        self.refused += 1
        lane = self._lanes[kind]
        if lane.promised(who) != slot:
            lane.redeem(who)  # A new promise goes behind the others.
            lane.promise(who or f"?{next(self._numbers)}", slot)
        return Refuse(id, max(0.0, slot - now) + chance * JITTER_SECONDS, why)

    def _advance(self, now: float) -> list[Decision]:
        """Let in whoever may come in now."""
        decisions: list[Decision] = []
        for kind, lane in self._lanes.items():
            while lane and self._place_free(kind, now):
                decisions.append(self._enter(lane.first().id, kind, now))
        return decisions

    def _tell(self, waiter: Waiter, kind: Kind, position: int, now: float) -> Wait:
        seconds = self._seconds(kind, position, now)
        waiter.told_until = now + seconds
        return Wait(waiter.id, seconds, self._ahead(kind, position))

    def _tell_again(self, now: float) -> list[Decision]:
        """New times for those whose old ones are over, or far from what is expected now."""
        decisions: list[Decision] = []
        for kind, lane in self._lanes.items():
            for position, waiter in enumerate(lane):
                seconds = self._seconds(kind, position, now)
                wrong = abs(now + seconds - waiter.told_until)
                if waiter.told_until <= now + LOOK_SECONDS / 2 or wrong > max(1.0, 0.3 * seconds):
                    decisions.append(self._tell(waiter, kind, position, now))
        return decisions
