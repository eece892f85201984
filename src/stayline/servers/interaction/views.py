"""How an interaction and a session look to an agent's Workspace, with the signed grant and ticket in them."""

from collections.abc import Callable, Iterable

from stayline.domain.interaction import Interaction, State
from stayline.domain.session import AgentSession, offer_ends
from stayline.link.messages.interaction import (
    InteractionView,
    MediaState,
    OwnerChanged,
    Snapshot,
)
from stayline.link.tokens import Grant, Ticket, TokenSigner

GRANT_SECONDS = 86_400.0
"""How long grants are valid: longer than a shift; they are renewed with every view of the interaction."""


class Views:
    """Builds the messages of one term. ``clock`` gives Unix seconds, ``ticket_validity`` for how many seconds a
    ticket is good."""

    def __init__(
        self,
        signer: TokenSigner,
        epoch: int,
        term: int,
        clock: Callable[[], float],
        ticket_validity: Callable[[], float],
    ) -> None:
        self._signer = signer
        self._ticket_validity = ticket_validity
        self._epoch = epoch
        self._term = term
        self._clock = clock

    def interaction(self, it: Interaction, session: AgentSession | None) -> InteractionView:
        """For the session that it is with; the grant is only in an owned chat."""
        offered = it.state is State.OFFERED
        return InteractionView(
            id=it.id,
            tenant=it.tenant,
            media=it.media,
            state=it.state,
            version=it.version,
            queue=it.queue,
            owner=it.owner,
            subject=it.subject,
            contact=it.contact,
            customer=it.customer,
            chat_session=it.chat_session,
            online=it.online,
            created_at=it.created_at,
            owned_at=it.owned_at,
            offer_seconds=self._offer_seconds(it, session) if offered else 0.0,
            properties=dict(it.properties),
            disposition=it.disposition,
            grant=self._grant(it) if it.state is State.OWNED and it.chat_session else "",
            epoch=self._epoch,
            term=self._term,
        )

    def snapshot(
        self, session: AgentSession, held: Iterable[Interaction], as_of: int, limit: int
    ) -> Snapshot:
        """Everything true of a session at journal position ``as_of``; at most ``limit`` interactions."""
        return Snapshot(
            session=session.id,
            agent=session.agent,
            place=session.place,
            media=media_states(session),
            interactions=[self.interaction(it, session) for it in list(held)[:limit]],
            as_of=as_of,
            epoch=self._epoch,
            term=self._term,
        )

    @property
    def ticket_seconds(self) -> float:
        """How long a ticket of now is valid."""
        return self._ticket_validity()

    def ticket(self, session: AgentSession) -> str:
        """What resumes ``session`` on any proxy of the active site."""
        return self._signer.sign_ticket(
            Ticket(
                session=session.id,
                agent=session.agent,
                tenant=session.tenant,
                place=session.place,
                epoch=self._epoch,
                expires=self._clock() + self.ticket_seconds,
                media=[m.media for m in session.media],
                restore=None if session.restore is None else list(session.restore),
                workspace=session.workspace,
            )
        )

    def _grant(self, it: Interaction) -> str:
        return self._signer.sign_grant(
            Grant(
                interaction=it.id,
                chat_session=it.chat_session,
                agent=it.owner,
                version=it.version,
                expires=self._clock() + GRANT_SECONDS,
            )
        )

    def _offer_seconds(self, it: Interaction, session: AgentSession | None) -> float:
        return round(max(0.0, offer_ends(it.offer_deadline, session) - self._clock()), 3)


def owner_changed(it: Interaction) -> OwnerChanged:
    """Who owns it now, for media servers; an offer is not ownership."""
    return OwnerChanged(
        interaction=it.id,
        chat_session=it.chat_session,
        agent=it.owner if it.state is State.OWNED else "",
        version=it.version,
        state=it.state,
    )


def media_states(session: AgentSession) -> list[MediaState]:
    """The readiness of a session as message."""
    return [MediaState(m.media, m.ready, m.reason) for m in session.media]
