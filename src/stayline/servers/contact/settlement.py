"""Telling the Interaction Server that chats have ended, until it knows. Pure: time is an argument.

The end of a chat is committed here; the interaction lives elsewhere. So the end is a debt, kept in the database
(``chat_session.settled``), that any Chat Server can pay: it is asked, and after a while another one is.
"""

from collections.abc import Iterable

from stayline.link.messages.contact import ChatState

REPEAT = 3.0
"""Seconds until another Chat Server is asked."""


class Settlement:
    """Ended chats that the Interaction Server may not know of."""

    def __init__(self) -> None:
        self._owed: dict[str, ChatState] = {}
        self._ask_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._owed)

    def owe(self, states: Iterable[ChatState], now: float) -> None:
        """These have ended; ask for them at ``now`` (seconds) or later."""
        for state in states:
            self._owed[state.session] = state
            self._ask_at[state.session] = now

    def asked(self, session: str, now: float) -> None:
        """A Chat Server was asked just now."""
        if session in self._owed:
            self._ask_at[session] = now + REPEAT

    def settled(self, session: str) -> None:
        """The Interaction Server knows."""
        self._owed.pop(session, None)
        self._ask_at.pop(session, None)

    def due(self, now: float, limit: int = 200) -> list[ChatState]:
        """For which a Chat Server is to be asked now: at most ``limit``, in the order of their end."""
        due: list[ChatState] = []
        for session, at in self._ask_at.items():
            if at <= now:
                due.append(self._owed[session])
                if len(due) == limit:
                    break
        return due
