"""A link as the status bar shows it, and as the status of the engine says it."""

from stayline.domain.errors import Refusal
from stayline.link.configuration import ConfigurationClient
from stayline.link.machine.site import Phase, SiteView
from stayline.link.machine.standby import StandbyView, State
from stayline.link.standby_link import StandbyLink
from stayline.workspace.status import LinkState, LinkStatus
from stayline.workspace.view import LinkView

_STATES = {
    State.STOPPED: LinkState.STOPPED,
    State.BLOCKED: LinkState.BLOCKED,
    State.WAITING: LinkState.WAITING,
    State.CONNECTING: LinkState.CONNECTING,
    State.UP: LinkState.UP,
}


def shown(link: StandbyLink, site: SiteView | None = None) -> LinkView:
    """A link for the status bar; ``site``: the choice of cluster that it follows (None: it follows none)."""
    view = link.view
    # What waits for a cluster comes with the next look for one.
    follows = site is not None and view.state is State.BLOCKED
    look_at = site.until if site is not None and follows else 0.0
    return LinkView(
        name=link.name,
        up=link.up,
        connected=link.peer is not None,
        application=view.node_name,
        site=link.site,
        since=link.changed_at,
        why=_why(link),
        next_attempt_at=view.next_attempt_at if view.state is State.WAITING else look_at,
        attempts=view.failures,
        held_until=view.held_until if view.state is State.CONNECTING else 0.0,
        searching=site is not None and follows and site.phase is Phase.PROBING,
        leaving_at=view.leaving_at if view.state is State.UP else 0.0,
    )


def _why(link: StandbyLink) -> str:
    if link.core_away is not None:
        return f"connected, but its core is away: {link.core_away.why}"
    return link.view.leaving_why or link.view.why


def configuration_shown(client: ConfigurationClient) -> LinkView:
    """The link to a Configuration Server, with the age of what is used while none confirms it."""
    link, wrong = client.link, client.pair_refusal
    return LinkView(
        name="Configuration Server",
        up=link.up,
        connected=link.up,
        application=link.application,
        site=link.site,
        since=link.since,
        why=link.why if wrong is None else wrong.reason,
        fix="" if wrong is None else wrong.fix,
        next_attempt_at=link.next_attempt_at,
        attempts=client.view.failures,
        held_until=link.held_until,
        as_of=link.as_of,
    )


def status_of(view: StandbyView, *, works: bool, why: str) -> LinkStatus:
    """A link for the status of the engine; ``works``: requests are answered."""
    held = view.state is State.CONNECTING and view.held_until > 0
    node = view.node
    return LinkStatus(
        state=LinkState.HELD if held else _STATES[view.state],
        server=view.node_name,
        cluster=node.cluster if node is not None else "",
        site=node.site if node is not None else "",
        works=works,
        why=why,
        since=view.since,
        until=view.until,
        leaving_at=view.leaving_at if view.state is State.UP else 0.0,
        failures=view.failures,
    )


def link_status(link: StandbyLink) -> LinkStatus:
    """As :func:`status_of`, of a link with its shell."""
    return status_of(link.view, works=link.up, why=_why(link))


def refusal_text(refusal: Refusal) -> str:
    """What is wrong and what mends it, in one line."""
    return f"{refusal.reason} {refusal.fix}".strip()
