"""The status of an engine, made from its parts; a fact for each part of it that changed."""

from collections.abc import Callable, Mapping

import msgspec

from stayline.link.configuration import ConfigurationClient
from stayline.link.machine.logic import LogicView
from stayline.link.machine.plan import Link
from stayline.link.machine.session import SessionView, State
from stayline.link.standby_link import Report, StandbyLink
from stayline.workspace.links import link_status, refusal_text, status_of
from stayline.workspace.status import (
    ChoiceStatus,
    ConfigurationStatus,
    EngineStatus,
    LinkStatus,
    SessionState,
    SessionStatus,
)


def engine_status(
    logic: LogicView,
    links: Mapping[Link, StandbyLink],
    session: SessionView,
    client: ConfigurationClient,
) -> EngineStatus:
    """Everything, as it is now."""
    named: dict[str, LinkStatus] = {str(link): link_status(shell) for link, shell in links.items()}
    if logic.plan.statistics is None:
        named.pop(str(Link.STATISTICS), None)
    named["configuration"] = status_of(client.view, works=client.link.up, why=client.link.why)
    wrong = client.pair_refusal
    return EngineStatus(
        choice=_choice(logic, session),
        links=named,
        session=_session(session),
        configuration=ConfigurationStatus(
            current=client.is_current,
            revision=client.revision,
            as_of=0.0 if client.is_current else client.copy.as_of,
            from_disk_since=client.from_disk_since,
            why=client.link.why if wrong is None else refusal_text(wrong),
        ),
        counted=dict(logic.counted),
    )


def _choice(logic: LogicView, session: SessionView) -> ChoiceStatus:
    site = logic.site
    refusal = site.refusal
    return ChoiceStatus(
        cluster=site.cluster,
        site=site.site,
        wanted=site.plan.wanted,
        code=refusal.code if refusal is not None else "",
        why=refusal.reason if refusal is not None else site.why,
        fix=refusal.fix if refusal is not None else "",
        since=site.since,
        until=site.until,
        epoch=max(logic.epoch, session.epoch),
    )


def _session(view: SessionView) -> SessionStatus:
    return SessionStatus(
        state=_session_state(view),
        session=view.session,
        place=view.place,
        code=view.over.code if view.over is not None else "",
        why=view.why,
        until=view.until,
        given_up_at=0.0 if view.confirmed else view.given_up_at,
    )


def _session_state(view: SessionView) -> SessionState:
    if view.state is State.OVER:
        return SessionState.OVER
    if view.confirmed:
        return SessionState.CONFIRMED
    if view.session:
        return SessionState.RESTRICTED
    # Who has said where he works wants a session, also while there is no server to ask for one.
    return SessionState.OPENING if view.place else SessionState.NONE


class Standing:
    """Reports a fact ``status`` for each part of the status that is otherwise than when it was last looked at."""

    def __init__(self, make: Callable[[], EngineStatus], report: Report) -> None:
        self._make = make
        self._report = report
        self._told = EngineStatus()

    def look(self) -> None:
        """Report what changed. Counters and moments alone are no change."""
        now, before = self._make(), self._told
        self._told = now
        if now.choice != before.choice:
            self._report("status", part="choice", **msgspec.to_builtins(now.choice))
        for name, link in now.links.items():
            if link != before.links.get(name):
                self._report("status", part=f"link {name}", **msgspec.to_builtins(link))
        if now.session != before.session:
            self._report("status", part="session", **msgspec.to_builtins(now.session))
        if now.configuration.current != before.configuration.current:
            self._report("status", part="configuration", **msgspec.to_builtins(now.configuration))
        if now.counted != before.counted:
            self._report("status", part="counted", **now.counted)
