"""Which site, which cluster: a pure machine (ADR 5 §3 and §6).

``step(view, event, now, random) -> (view, actions)``. The decision itself is :func:`choose`, a function of the view
alone. With a site named (by the option, or by a signed statement while no current Configuration Server is linked) it is
the first cluster of that site or an explicit refusal; with none named the first *available* cluster of the list, found
by probing. The client never changes site by itself: only the option or a signed statement of a higher epoch does.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from stayline.link.machine.plan import ClusterPlan, Link
from stayline.link.machine.pool import Pool, Random, shuffled
from stayline.link.machine.site_events import (
    Ask,
    Asked,
    ConfigurationAway,
    EpochHeard,
    Planned,
    Probe,
    Probed,
    RoundFailed,
    SiteAction,
    SiteDue,
    SiteWait,
    Standing,
    StatementHeard,
)
from stayline.link.machine.site_view import (
    FIRST_AVAILABLE,
    NONE_AVAILABLE,
    Choice,
    Phase,
    SiteView,
    choose,
    none_available,
)
from stayline.link.machine.standby_events import Stop, Woke

__all__ = ["Choice", "Phase", "Result", "SiteEvent", "SiteView", "choose", "step"]

SiteEvent = (
    Planned
    | ConfigurationAway
    | StatementHeard
    | EpochHeard
    | Probed
    | Asked
    | RoundFailed
    | Standing
    | SiteDue
    | Woke
    | Stop
)


Result = tuple[SiteView, list[SiteAction]]


def step(view: SiteView, event: SiteEvent, now: float, random: Random) -> Result:
    """The next view and what to do now. Late answers and timers are ignored and counted."""
    rule = _TABLE.get((view.phase, type(event)))
    if rule is None:
        return replace(view, ignored=view.ignored + 1), []
    return rule(view, event, now, random)


# -- what the site depends on
# --------------------------------------------------------------------------------------


def _planned(view: SiteView, event: Planned, now: float, random: Random) -> Result:
    epoch = max(view.epoch, event.epoch)
    read = max(view.read_epoch, epoch if event.current else event.epoch)
    before = view
    view = replace(view, plan=event.plan, current=event.current, epoch=epoch, read_epoch=read)
    if view.phase is Phase.PROBING and before.plan.clusters != view.plan.clusters:
        view = replace(view, probe=0)  # The answers are about servers that may be gone.
    if event.current:
        view = replace(view, ask=0, asking=(), away_why="")
    return _settle(view, now, random)


def _away(view: SiteView, event: ConfigurationAway, now: float, random: Random) -> Result:
    return _settle(replace(view, current=False, away_why=event.why), now, random)


def _away_early(view: SiteView, event: ConfigurationAway, now: float, random: Random) -> Result:
    return replace(view, current=False, away_why=event.why), []


def _stated(view: SiteView, event: StatementHeard, now: float, random: Random) -> Result:
    believed = _believed(view, event.site, event.epoch)
    if believed.stated_epoch == view.stated_epoch or view.phase is Phase.STOPPED:
        return believed, []
    return _settle(believed, now, random)


def _believed(view: SiteView, site: str, epoch: int) -> SiteView:
    """The highest epoch ever signed is believed; a lower one, or another site for the same epoch, only counted."""
    if epoch < max(view.epoch, view.stated_epoch):
        return replace(view, lower=view.lower + 1)
    if epoch == view.stated_epoch:
        return view if site == view.stated_site else replace(view, foreign=view.foreign + 1)
    view = replace(view, stated_site=site, stated_epoch=epoch, epoch=epoch)
    # While the option is current and agrees, it is as new as the statement.
    return replace(view, read_epoch=epoch) if view.current and site == view.site else view


def _epoch(view: SiteView, event: EpochHeard, now: float, random: Random) -> Result:
    return (replace(view, epoch=event.epoch) if event.epoch > view.epoch else view), []


# -- settling
# -----------------------------------------------------------------------------------------------------


def _settle(view: SiteView, now: float, random: Random) -> Result:
    """Make the choice that the view demands the one in force."""
    choice = choose(view)
    if choice.refusal is not None:
        return _block(view, choice, now), []
    if not choice.cluster:
        return (view, []) if view.probe else _begin_probe(view, now, random)
    if choice.cluster == view.cluster and view.phase is Phase.CHOSEN:
        named = view.by_statement or view.plan.wanted
        kept = replace(view, probe=0, refusal=None) if named and view.probe else view
        return replace(kept, why=choice.why), []
    spread = 0.0 if view.phase is Phase.STOPPED else view.plan.spread
    return _chosen(view, choice.cluster, choice.why, now + spread * random(), now), []


def _chosen(view: SiteView, cluster: str, why: str, move_at: float, now: float) -> SiteView:
    return replace(
        view,
        phase=Phase.CHOSEN,
        cluster=cluster,
        why=why,
        refusal=None,
        since=now,
        until=0.0,
        move_at=move_at,
        rounds=0,
        probe=0,
        ask=0,
        asking=(),
        doubted="",
        timer=0,
    )


def _block(view: SiteView, choice: Choice, now: float) -> SiteView:
    """Nothing may be used until the configuration (or a statement) says otherwise."""
    same = view.phase is Phase.BLOCKED and view.refusal == choice.refusal
    return replace(
        view,
        phase=Phase.BLOCKED,
        cluster="",
        why=choice.why,
        refusal=choice.refusal,
        since=view.since if same else now,
        until=0.0,
        probe=0,
        ask=0,
        asking=(),
        timer=0,
    )


# -- probing
# ------------------------------------------------------------------------------------------------------


def _begin_probe(view: SiteView, now: float, random: Random) -> Result:
    """All clusters at the same time, each one's servers in random order; a chosen one is kept meanwhile."""
    number = view.number + 1
    actions: list[SiteAction] = []
    answers: dict[str, bool] = {}
    for cluster in view.plan.clusters:
        pool = _interaction(cluster)
        if pool is None or not pool.nodes:
            answers[cluster.name] = False
            continue
        nodes = tuple(shuffled(list(pool.nodes), random))
        timeout = max(node.open_timeout for node in nodes)
        actions.append(Probe(number, cluster.name, nodes, timeout))
    view = replace(view, number=number, probe=number, answers=answers, timer=0, until=0.0)
    if view.chosen is None:
        # That none answers stays said until one does: looking again is no news.
        known = view.refusal is not None and view.refusal.code == NONE_AVAILABLE
        first = view.phase is not Phase.PROBING and not known
        view = replace(
            view,
            phase=Phase.PROBING,
            cluster="",
            ask=0,
            asking=(),
            why=FIRST_AVAILABLE,
            refusal=view.refusal if known else None,
            since=now if first else view.since,
        )
    if actions:
        return view, actions
    return _judge(view, now, random)


def _interaction(cluster: ClusterPlan) -> Pool | None:
    return cluster.pools.get(Link.INTERACTION)


def _probed(view: SiteView, event: Probed, now: float, random: Random) -> Result:
    if event.number != view.probe or event.cluster in view.answers:
        return _ignore(view, event, now, random)
    return _judge(replace(view, answers={**view.answers, event.cluster: event.available}), now, random)


def _judge(view: SiteView, now: float, random: Random) -> Result:
    """The first of the list that is available, as soon as those before it have said no. The cluster that has just
    failed a whole round comes last: the ports of a frozen host accept, and nothing comes of it."""
    for cluster in sorted(view.plan.clusters, key=lambda one: one.name == view.doubted):
        answer = view.answers.get(cluster.name)
        if answer is None:
            return view, []
        if answer:
            return _found(view, cluster.name, now, random)
    return _nothing(view, now, random)


def _found(view: SiteView, cluster: str, now: float, random: Random) -> Result:
    if cluster == view.cluster:
        return replace(view, probe=0, refusal=None), []
    # Who loses its cluster loses it together with others: spread as at any move.
    spread = view.plan.spread if view.cluster else 0.0
    return _chosen(view, cluster, FIRST_AVAILABLE, now + spread * random(), now), []


def _nothing(view: SiteView, now: float, random: Random) -> Result:
    refusal = none_available(view.plan)
    if view.cluster:
        # Its links go on trying at their own pace; each failed round of theirs probes again.
        return replace(view, probe=0, refusal=refusal), []
    since = view.since if view.refusal == refusal else now
    number, at = view.number + 1, now + _retry_delay(view) * (0.5 + 0.5 * random())
    blocked = replace(
        view,
        phase=Phase.BLOCKED,
        refusal=refusal,
        since=since,
        until=at,
        rounds=view.rounds + 1,
        number=number,
        timer=number,
        probe=0,
    )
    return blocked, [SiteWait(number, at)]


def _retry_delay(view: SiteView) -> float:
    pools = [pool for cluster in view.plan.clusters if (pool := _interaction(cluster)) is not None]
    delays = pools[0].retry_delays if pools and pools[0].retry_delays else (10.0,)
    return max(LEAST_RETRY, delays[min(view.rounds, len(delays) - 1)])


LEAST_RETRY = 0.1
"""Seconds between two searches, whatever the configuration says."""


def _due(view: SiteView, event: SiteDue, now: float, random: Random) -> Result:
    if event.number != view.timer:
        return _ignore(view, event, now, random)
    return _begin_probe(view, now, random)


def _woke(view: SiteView, event: Woke, now: float, random: Random) -> Result:
    return _begin_probe(view, now, random) if view.timer else (view, [])


def _woke_probing(view: SiteView, event: Woke, now: float, random: Random) -> Result:
    return _begin_probe(view, now, random)


# -- a failed round
# -----------------------------------------------------------------------------------------------


def _round_failed(view: SiteView, event: RoundFailed, now: float, random: Random) -> Result:
    if not (view.by_statement or view.plan.wanted):
        view = replace(view, doubted="" if event.busy else view.cluster)
        return (view, []) if view.probe else _begin_probe(view, now, random)
    if view.current or view.ask:
        return view, []
    others = [
        cluster.name
        for cluster in view.plan.clusters
        if cluster.name != view.cluster and (pool := _interaction(cluster)) is not None and pool.nodes
    ]
    return _ask_next(replace(view, asking=tuple(others)), random)


def _ask_next(view: SiteView, random: Random) -> Result:
    """The other clusters one after the other, only for their statement."""
    cluster = view.plan.cluster(view.asking[0]) if view.asking else None
    pool = _interaction(cluster) if cluster is not None else None
    if cluster is None or pool is None:
        return replace(view, ask=0, asking=()), []
    number = view.number + 1
    nodes = tuple(shuffled(list(pool.nodes), random))
    view = replace(view, number=number, ask=number, asking=view.asking[1:])
    return view, [Ask(number, cluster.name, nodes)]


def _asked(view: SiteView, event: Asked, now: float, random: Random) -> Result:
    if event.number != view.ask:
        return _ignore(view, event, now, random)
    actions: list[SiteAction] = []
    if event.stated is not None:
        before = view.cluster
        view, actions = _stated(view, StatementHeard(*event.stated), now, random)
        if view.cluster != before or view.phase is not Phase.CHOSEN:
            return view, actions
    view, more = _ask_next(view, random)
    return view, [*actions, *more]


def _standing(view: SiteView, event: Standing, now: float, random: Random) -> Result:
    """While the link stands nothing is searched, and nobody is pulled back."""
    return replace(view, probe=0, ask=0, asking=(), doubted="", refusal=None, rounds=0), []


def _stop(view: SiteView, event: Stop, now: float, random: Random) -> Result:
    kept = SiteView(
        epoch=view.epoch,
        stated_site=view.stated_site,
        stated_epoch=view.stated_epoch,
        read_epoch=view.read_epoch,
        number=view.number,
        lower=view.lower,
        foreign=view.foreign,
        ignored=view.ignored,
        why="Stopped.",
        since=now,
    )
    return kept, []


def _ignore(view: SiteView, event: SiteEvent, now: float, random: Random) -> Result:
    return replace(view, ignored=view.ignored + 1), []


def _nothing_to_do(view: SiteView, event: SiteEvent, now: float, random: Random) -> Result:
    return view, []


_Rule = Callable[..., Result]

_ALWAYS: Mapping[type[SiteEvent], _Rule] = {
    Planned: _planned,
    StatementHeard: _stated,
    EpochHeard: _epoch,
    Probed: _ignore,
    Asked: _ignore,
    SiteDue: _ignore,
    RoundFailed: _nothing_to_do,
    Standing: _nothing_to_do,
    Woke: _nothing_to_do,
}
_RUNNING: Mapping[type[SiteEvent], _Rule] = {**_ALWAYS, ConfigurationAway: _away, Stop: _stop}

_TABLE: Mapping[tuple[Phase, type[SiteEvent]], _Rule] = {
    **{(Phase.STOPPED, kind): rule for kind, rule in _ALWAYS.items()},
    **{(phase, kind): rule for phase in set(Phase) - {Phase.STOPPED} for kind, rule in _RUNNING.items()},
    (Phase.STOPPED, ConfigurationAway): _away_early,
    (Phase.PROBING, Probed): _probed,
    (Phase.PROBING, Woke): _woke_probing,
    (Phase.BLOCKED, SiteDue): _due,
    (Phase.BLOCKED, Woke): _woke,
    (Phase.CHOSEN, Probed): _probed,
    (Phase.CHOSEN, Asked): _asked,
    (Phase.CHOSEN, RoundFailed): _round_failed,
    (Phase.CHOSEN, Standing): _standing,
}
