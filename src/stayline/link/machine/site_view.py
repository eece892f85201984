"""What is known about the choice of site and cluster, and the decision as a function of it. See ``site.py``."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from stayline.domain.errors import Refusal
from stayline.domain.options import nearest
from stayline.domain.topology import SITE_OPTION, WORKSPACE_SECTION
from stayline.link.machine.plan import ClusterPlan, Plan

FIRST_AVAILABLE = "first available cluster"
NONE_AVAILABLE = "cluster.none_available"
PROBING = "The search for the first available cluster"


class Phase(enum.StrEnum):
    """What the machine is doing."""

    STOPPED = "stopped"
    PROBING = "probing"
    CHOSEN = "chosen"
    BLOCKED = "blocked"


@dataclass(frozen=True, kw_only=True)
class SiteView:
    """Everything the machine knows; ``why``, ``refusal``, ``since`` and ``until`` are meant to be read by people.

    ``current``: a current Configuration Server is linked. ``epoch``: the highest one known. ``stated_site`` and
    ``stated_epoch``: the highest statement ever believed. ``read_epoch``: the epoch under which the configuration was
    last read. ``cluster``: the chosen one (empty: none). ``move_at``: when the links begin there (Unix seconds).
    ``probe``, ``ask``, ``timer``: numbers of what is under way (0: nothing); ``answers``: of the probe; ``asking``:
    clusters still to be asked; ``doubted``: the cluster of which a whole round has just failed, although its ports may
    accept. ``lower``, ``foreign`` and ``ignored`` count statements of a lower epoch, those that
    contradict one of the same epoch, and late answers.
    """

    phase: Phase = Phase.STOPPED
    plan: Plan = field(default_factory=Plan)
    current: bool = False
    away_why: str = ""
    epoch: int = 0
    stated_site: str = ""
    stated_epoch: int = 0
    read_epoch: int = 0
    cluster: str = ""
    why: str = ""
    refusal: Refusal | None = None
    since: float = 0.0
    until: float = 0.0
    move_at: float = 0.0
    rounds: int = 0
    number: int = 0
    probe: int = 0
    ask: int = 0
    timer: int = 0
    answers: Mapping[str, bool] = field(default_factory=dict)
    asking: tuple[str, ...] = ()
    doubted: str = ""
    lower: int = 0
    foreign: int = 0
    ignored: int = 0

    @property
    def chosen(self) -> ClusterPlan | None:
        """The chosen cluster as it is configured now."""
        return self.plan.cluster(self.cluster) if self.cluster else None

    @property
    def site(self) -> str:
        """Site tag of the chosen cluster (empty: it has none, or none is chosen)."""
        chosen = self.chosen
        return chosen.site if chosen is not None else ""

    @property
    def by_statement(self) -> bool:
        """Whether a signed statement names the site instead of the option."""
        return not self.current and self.stated_epoch > self.read_epoch


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What :func:`choose` says: a cluster, a refusal, or neither: it must be probed. ``mover`` names the cause."""

    cluster: str = ""
    why: str = ""
    mover: str = ""
    refusal: Refusal | None = None


def choose(view: SiteView) -> Choice:
    """The decision as far as it can be made from what is known; asking twice gives the same answer."""
    plan = view.plan
    if not plan.clusters:
        return Choice(refusal=_none(plan))
    if view.by_statement:
        why = f"signed statement of epoch {view.stated_epoch}"
        found = plan.cluster_of(view.stated_site)
        if found is None:
            return Choice(why=why, refusal=_unknown(plan, view.stated_site, stated=view.stated_epoch))
        return Choice(cluster=found.name, why=why, mover=f"A signed statement of epoch {view.stated_epoch}")
    if plan.wanted:
        why = f"option of {plan.wanted_by}" if plan.wanted_by else "option"
        found = plan.cluster_of(plan.wanted)
        if found is None:
            return Choice(why=why, refusal=_unknown(plan, plan.wanted))
        return Choice(cluster=found.name, why=why, mover="The configuration")
    if view.chosen is not None:
        return Choice(cluster=view.cluster, why=FIRST_AVAILABLE, mover=PROBING)
    return Choice(why=FIRST_AVAILABLE)


def _none(plan: Plan) -> Refusal:
    return Refusal(
        code="cluster.none",
        reason=plan.refusal or "The Workspace application is connected to no cluster.",
        fix="Add a connection to an Application Cluster; Workspace reads its connections when it starts.",
    )


def _unknown(plan: Plan, site: str, stated: int = 0) -> Refusal:
    known = ", ".join(f"{cluster.name} ({cluster.site or 'no site'})" for cluster in plan.clusters)
    says = f", which a signed statement of epoch {stated} names" if stated else ""
    near = nearest(site, (cluster.site for cluster in plan.clusters if cluster.site))
    fix = "Correct the option or tag a cluster."
    if stated:
        fix = f"Tag a cluster with site '{site}'."
    elif near:
        fix = f"Set the option to '{near}' or tag a cluster."
    return Refusal(
        code="cluster.site_unknown",
        reason=f"No cluster carries site '{site}'{says}; connected clusters: {known}.",
        field=f"{WORKSPACE_SECTION}/{SITE_OPTION}",
        fix=fix,
    )


def none_available(plan: Plan) -> Refusal:
    """Every cluster was probed in vain."""
    names = ", ".join(cluster.name for cluster in plan.clusters)
    return Refusal(
        code=NONE_AVAILABLE,
        reason=f"None of the clusters answers: {names}.",
        retryable=True,
        fix="Start the Interaction Server Proxies of one of them.",
    )
