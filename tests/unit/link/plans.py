"""Plans for tests of the connection logic: clusters A and B with numbered servers, as in the specification."""

from stayline.link.machine.plan import ClusterPlan, Link, Plan
from stayline.link.machine.pool import Node, Pool

KINDS = {Link.INTERACTION: "IxnProxy", Link.CONTACT: "UCS_Proxy", Link.CHAT: "Chat"}

ALMOST_ONE = 1.0 - 2**-53


def low() -> float:
    return 0.0


def high() -> float:
    return ALMOST_ONE


def cluster(
    letter: str,
    *,
    site: str | None = None,
    interaction: int = 3,
    contact: int = 2,
    retry: tuple[float, ...] = (10.0,),
    spread: float = 2.0,
) -> ClusterPlan:
    """Cluster_A with its pools; ``site`` is its tag (None: Site_A)."""
    name, tag = f"Cluster_{letter}", f"Site_{letter}" if site is None else site
    counts = {Link.INTERACTION: interaction, Link.CONTACT: contact, Link.CHAT: 1}
    pools = {
        link: Pool(
            cluster=name,
            site=tag,
            nodes=tuple(
                Node(application=f"{KINDS[link]}_{letter}_{n}", cluster=name, site=tag, host="h", port=n)
                for n in range(1, count + 1)
            ),
            retry_delays=retry,
            reconnect_range=spread,
        )
        for link, count in counts.items()
    }
    return ClusterPlan(name=name, site=tag, pools=pools)


def plan(wanted: str = "", *clusters: ClusterPlan, move: float = 5.0, window: float = 0.0) -> Plan:
    """The plan of an agent; without clusters those of both sites."""
    return Plan(
        wanted=wanted,
        wanted_by="Application Workspace" if wanted else "",
        clusters=clusters or (cluster("A"), cluster("B")),
        move_range=move,
        window=window,
    )
