"""Whatever happens in whatever order, all of a Workspace's connection machines together keep their promises."""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stayline.link.machine.logic import (
    Ask,
    Asked,
    ConfigurationAway,
    Event,
    Idle,
    LinkDo,
    LogicView,
    OnLink,
    Planned,
    Probe,
    Probed,
    StatementHeard,
    Timer,
    TimerAt,
    TimerDue,
    Woke,
    step,
)
from stayline.link.machine.plan import POOLED, ClusterPlan, Link, PairPlan, Plan
from stayline.link.machine.pool import Node, Pool
from stayline.link.machine.site import Phase, choose
from stayline.link.machine.standby import (
    Connect,
    Disconnect,
    Due,
    Failed,
    Held,
    Lame,
    Lost,
    Opened,
    Proven,
    State,
    Wait,
)

ALMOST_ONE = 1.0 - 2**-53
SPREAD = 4.0
LONGEST = 5.0
"""Longest time that a server names here."""


def cluster(letter: str, interaction: int, contact: int) -> ClusterPlan:
    name, site = f"Cluster_{letter}", f"Site_{letter}"

    def pool(kind: str, count: int) -> Pool:
        nodes = tuple(
            Node(application=f"{kind}_{letter}_{n}", cluster=name, site=site, host="h", port=n)
            for n in range(1, count + 1)
        )
        return Pool(cluster=name, site=site, nodes=nodes, retry_delays=(1.0, 3.0), reconnect_range=1.0)

    counts = {Link.INTERACTION: interaction, Link.CONTACT: contact, Link.CHAT: 1}
    return ClusterPlan(name=name, site=site, pools={link: pool(link, n) for link, n in counts.items()})


def pair() -> PairPlan:
    nodes = tuple(
        Node(application=f"Stat_{letter}", cluster="", site=f"Site_{letter}", host="h", port=1)
        for letter in "AB"
    )
    return PairPlan(nodes=nodes, enabled=True, preferred="Site_A", peer="Site_B", timeout=5.0)


plans = st.builds(
    lambda wanted, a, b, spread: Plan(
        wanted=wanted,
        wanted_by="Application Workspace" if wanted else "",
        clusters=(cluster("A", a, 2), cluster("B", b, 2)),
        move_range=spread,
        statistics=pair(),
    ),
    st.sampled_from(["", "Site_A", "Site_B", "Site_X"]),
    st.integers(0, 3),
    st.integers(0, 3),
    st.floats(0, SPREAD),
)
pooled = st.sampled_from(list(Link))
seconds = st.floats(0, LONGEST)


class LogicMachine(RuleBasedStateMachine):
    """Plays the servers, the configuration and the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.view = LogicView()
        self.now = 1_000.0
        self.random = 0.0
        self.attempts: dict[Link, Connect] = {}
        self.open: dict[Link, Node] = {}
        self.timers: dict[Link | Timer, tuple[int, float]] = {}
        self.probes: list[Probe] = []
        self.asks: list[Ask] = []

    # -- what the shell does

    def feed(self, event: Event) -> None:
        before = self.view
        self.view, actions = step(before, event, self.now, lambda: self.random)
        for action in actions:
            if isinstance(action, LinkDo):
                self.do(action)
            elif isinstance(action, Probe):
                self.probes.append(action)
            elif isinstance(action, Ask):
                self.asks.append(action)
            else:
                assert isinstance(action, TimerAt)
                self.timers[action.timer] = (action.number, action.at)
        assert self.view.epoch >= before.epoch, "an epoch is never forgotten"
        assert self.view.site.stated_epoch >= before.site.stated_epoch

    def do(self, told: LinkDo) -> None:
        link, action = told.link, told.action
        if isinstance(action, Disconnect):
            self.attempts.pop(link, None)
            self.open.pop(link, None)
            self.timers.pop(link, None)
        elif isinstance(action, Wait):
            assert link not in self.attempts
            self.timers[link] = (action.generation, action.at)
        else:
            assert link not in self.attempts, "never two attempts on a link"
            assert link not in self.open, "never an attempt beside a link that stands"
            self.timers.pop(link, None)
            self.attempts[link] = action

    def opens(self, link: Link, epoch: int = 0) -> None:
        attempt = self.attempts.pop(link)
        self.open[link] = attempt.node
        self.feed(OnLink(link, Opened(attempt.generation, epoch)))

    def fails(self, link: Link, retry_after: float | None) -> None:
        attempt = self.attempts.pop(link)
        self.feed(OnLink(link, Failed(attempt.generation, "it happened", retry_after)))

    def rings(self) -> bool:
        """The next timer rings."""
        if not self.timers:
            return False
        key, (number, at) = min(self.timers.items(), key=lambda item: item[1][1])
        del self.timers[key]
        self.now = max(self.now, at)
        if isinstance(key, Timer):
            self.feed(TimerDue(key, number))
        else:
            self.feed(OnLink(key, Due(number)))
        return True

    # -- what happens

    @initialize(plan=plans, current=st.booleans(), random=st.sampled_from([0.0, 0.3, ALMOST_ONE]))
    def begin(self, plan: Plan, current: bool, random: float) -> None:
        self.random = random
        self.feed(Planned(plan, current))

    @rule(plan=plans, current=st.booleans())
    def configured(self, plan: Plan, current: bool) -> None:
        self.feed(Planned(plan, current))

    @rule()
    def configuration_away(self) -> None:
        self.feed(ConfigurationAway("it is down"))

    @rule(site=st.sampled_from(["Site_A", "Site_B", "Site_X"]), epoch=st.integers(1, 9))
    def stated(self, site: str, epoch: int) -> None:
        before = self.view
        self.feed(StatementHeard(site, epoch))
        if epoch < before.epoch:
            assert self.view.site == replace(before.site, lower=before.site.lower + 1), "never acted on"

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), epoch=st.integers(0, 9))
    def opened(self, data: st.DataObject, epoch: int) -> None:
        link = data.draw(st.sampled_from(sorted(self.attempts)))
        self.opens(link, 0 if link is Link.STATISTICS else epoch)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), retry_after=st.none() | seconds)
    def failed(self, data: st.DataObject, retry_after: float | None) -> None:
        self.fails(data.draw(st.sampled_from(sorted(self.attempts))), retry_after)

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), wait=seconds)
    def held(self, data: st.DataObject, wait: float) -> None:
        link = data.draw(st.sampled_from(sorted(self.attempts)))
        self.feed(OnLink(link, Held(self.attempts[link].generation, self.now + wait, "others come first")))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), retry_after=st.none() | seconds)
    def lost(self, data: st.DataObject, retry_after: float | None) -> None:
        link = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[link]
        self.timers.pop(link, None)
        self.feed(OnLink(link, Lost(self.view.links[link].generation, "it happened", retry_after)))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), proven=st.booleans(), slot=seconds)
    def works_or_drains(self, data: st.DataObject, proven: bool, slot: float) -> None:
        link = data.draw(st.sampled_from(sorted(self.open)))
        generation = self.view.links[link].generation
        event = Proven(generation) if proven else Lame(generation, self.now + slot, "drained", slot)
        self.feed(OnLink(link, event))

    @precondition(lambda self: self.probes)
    @rule(data=st.data(), available=st.booleans())
    def probed(self, data: st.DataObject, available: bool) -> None:
        probe = self.probes.pop(data.draw(st.integers(0, len(self.probes) - 1)))
        self.feed(Probed(probe.number, probe.cluster, available))

    @precondition(lambda self: self.asks)
    @rule(site=st.sampled_from(["", "Site_A", "Site_B"]), epoch=st.integers(1, 9))
    def asked(self, site: str, epoch: int) -> None:
        ask = self.asks.pop(0)
        self.feed(Asked(ask.number, ask.cluster, (site, epoch) if site else None))

    @rule()
    def next_timer(self) -> None:
        self.rings()

    @rule(later=seconds)
    def time_passes(self, later: float) -> None:
        until = min((at for _, at in self.timers.values()), default=self.now + later)
        self.now = max(self.now, min(self.now + later, until))

    @rule(event=st.sampled_from([Woke(), Idle(), Idle(False)]))
    def machine_wide(self, event: Event) -> None:
        self.feed(event)

    @rule(link=pooled, kind=st.sampled_from([Opened, Due, Proven]), behind=st.integers(1, 5))
    def late(self, link: Link, kind: type[Opened], behind: int) -> None:
        before = self.view
        self.feed(OnLink(link, kind(before.links[link].generation - behind)))
        assert self.view == replace(
            before,
            links={
                **before.links,
                link: replace(before.links[link], ignored=before.links[link].ignored + 1),
            },
        )

    @rule(timer=st.sampled_from(list(Timer)))
    def late_timer(self, timer: Timer) -> None:
        before = self.view
        self.feed(TimerDue(timer, -1))
        assert self.view.counted["ignored"] == before.counted["ignored"] + 1
        assert self.view.links == before.links

    # -- what must hold

    @invariant()
    def only_the_chosen_cluster(self) -> None:
        site = self.view.site
        for link, node in [*self.open.items(), *((k, v.node) for k, v in self.attempts.items())]:
            if link in POOLED:
                assert site.phase is Phase.CHOSEN
                assert node.cluster == site.cluster
        if site.phase is Phase.CHOSEN and site.by_statement:
            assert site.site == site.stated_site
        elif site.phase is Phase.CHOSEN and site.plan.wanted:
            assert site.site == site.plan.wanted

    @invariant()
    def one_epoch(self) -> None:
        epochs = {epoch for link, epoch in self.view.epochs.items() if epoch and link in POOLED}
        assert len(epochs) <= 1
        assert set(self.view.epochs) <= set(self.open)

    @invariant()
    def at_most_two_set_ups(self) -> None:
        assert len(self.view.setups.running) <= 2
        running = [id for id in self.view.setups.running if not id.startswith("question")]
        assert sorted(running) == sorted(f"{link}:{a.generation}" for link, a in self.attempts.items())

    @invariant()
    def the_machine_knows_what_is_open(self) -> None:
        for link, view in self.view.links.items():
            assert (link in self.open) == (view.state is State.UP)
            if view.state is State.WAITING:
                assert view.why
                assert self.timers[link] == (view.generation, view.until)
            if view.state is State.CONNECTING and link not in self.attempts:
                assert any(w.id == f"{link}:{view.generation}" for w in self.view.setups.waiting)
                assert view.why
                assert view.until
            if view.state is State.BLOCKED:
                assert view.why

    @invariant()
    def a_choice_says_why(self) -> None:
        site = self.view.site
        assert choose(site) == choose(site)
        if site.phase is Phase.BLOCKED:
            assert site.refusal is not None
            assert site.refusal.reason
            assert site.refusal.fix
        if site.phase is Phase.CHOSEN:
            assert site.why
        if site.phase is Phase.PROBING:
            assert any(probe.number == site.probe for probe in self.probes)
        if site.timer:
            assert self.timers[Timer.SITE][0] == site.timer

    def teardown(self) -> None:
        """When everything answers, everybody is at work in time: the spread and ten seconds more."""
        if self.view.site.phase is Phase.STOPPED:
            return
        plan = Plan(
            wanted="Site_B",
            wanted_by="Person agent01",
            clusters=(cluster("A", 2, 2), cluster("B", 2, 2)),
            move_range=SPREAD,
            statistics=pair(),
        )
        self.feed(Planned(plan, current=True))
        begun = self.now
        for _ in range(200):
            if all(view.state is State.UP for view in self.view.links.values()):
                break
            if self.attempts:
                self.opens(min(self.attempts), self.view.epoch)
            elif self.probes:
                probe = self.probes.pop()
                self.feed(Probed(probe.number, probe.cluster, True))
            elif self.asks:
                ask = self.asks.pop()
                self.feed(Asked(ask.number, ask.cluster, None))
            else:
                assert self.rings(), self.view
        assert {link: view.state for link, view in self.view.links.items()} == dict.fromkeys(Link, State.UP)
        assert {self.open[link].site for link in POOLED} == {"Site_B"}
        assert self.now <= begun + SPREAD + 10.0


LogicMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestLogicMachine = LogicMachine.TestCase
