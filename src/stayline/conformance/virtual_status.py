"""What the client in virtual time shows of itself: its machines' views as a status line."""

from typing import TYPE_CHECKING

from stayline.conformance.status import (
    ChoiceStatus,
    ClientStatus,
    ConfigurationStatus,
    LinkState,
    LinkStatus,
    SessionState,
    SessionStatus,
)
from stayline.link.machine import session
from stayline.link.machine.plan import Link
from stayline.link.machine.standby import StandbyView, State

if TYPE_CHECKING:
    from stayline.conformance.virtual_client import VirtualClient

_SHOWN = (Link.INTERACTION, Link.CONTACT, Link.STATISTICS)


def status_of(client: "VirtualClient") -> ClientStatus:
    """The status line of this moment."""
    return ClientStatus(
        choice=_choice(client),
        links={link.value: _link(client.logic.links[link]) for link in _SHOWN},
        session=_session(client),
        configuration=ConfigurationStatus(
            current=client.logic.site.current, as_of=client.as_of, why=client.logic.site.away_why
        ),
        counted=dict(client.logic.counted),
    )


def _choice(client: "VirtualClient") -> ChoiceStatus:
    site = client.logic.site
    refusal = site.refusal
    if refusal is None:
        return ChoiceStatus(cluster=site.cluster, site=site.site, why=site.why, epoch=site.epoch)
    why = f"{refusal.reason} {refusal.fix}".strip()
    return ChoiceStatus(cluster=site.cluster, site=site.site, code=refusal.code, why=why, epoch=site.epoch)


def _link(view: StandbyView) -> LinkStatus:
    held = view.state is State.CONNECTING and view.held_until > 0
    state = LinkState.HELD if held else LinkState(view.state.value)
    return LinkStatus(state=state, server=view.node_name, why=view.why, until=view.until)


def _session(client: "VirtualClient") -> SessionStatus:
    view = client.session
    if not client.running:
        return SessionStatus()
    if view.state is session.State.OVER:
        code = view.over.code if view.over is not None else ""
        return SessionStatus(state=SessionState.OVER, session=view.session, code=code, why=view.why)
    if view.state is session.State.CONFIRMED:
        state = SessionState.CONFIRMED
    else:
        state = SessionState.RESTRICTED if view.session else SessionState.OPENING
    return SessionStatus(state=state, session=view.session, why=client.lost_why or view.why)
