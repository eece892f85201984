"""Who owns the interactions of chats, as far as this Chat Server has heard. Pure.

A grant is believed by its signature alone, so that agents can chat while the Interaction Server is away; but what was
heard later than the grant was made outranks it.
"""

from stayline.domain.errors import Refusal
from stayline.link.messages.interaction import OwnerChanged, Ownership
from stayline.link.tokens import Grant

MAX_REMEMBERED = 20_000
"""Sessions remembered; the one heard of longest ago is forgotten first."""


class Owners:
    """The newest word on each chat session."""

    def __init__(self) -> None:
        self._newest: dict[str, OwnerChanged] = {}

    def heard(self, event: OwnerChanged) -> bool:
        """Take an event; False when something newer was heard before."""
        known = self._newest.get(event.chat_session)
        if known is not None and known.version > event.version:
            return False
        self._newest.pop(event.chat_session, None)
        self._newest[event.chat_session] = event
        if len(self._newest) > MAX_REMEMBERED:
            del self._newest[next(iter(self._newest))]
        return True

    def owner(self, session: str) -> str | None:
        """User name of the owner, "" for nobody, None when nothing was heard."""
        known = self._newest.get(session)
        if known is None:
            return None
        return known.agent if known.state is Ownership.OWNED else ""

    def objection(self, grant: Grant) -> Refusal | None:
        """Why a grant does not count any more."""
        known = self._newest.get(grant.chat_session)
        if known is None or known.version <= grant.version:
            return None
        if known.state is Ownership.OWNED and known.agent == grant.agent:
            return None
        return Refusal(
            code="chat.not_owner",
            reason=f"{grant.agent} does not own interaction {grant.interaction} any more.",
        )
