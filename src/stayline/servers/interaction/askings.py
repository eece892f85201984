"""When a session was asked for last, so that a request that was held up on its way takes nothing away.

A proxy that stood still for some seconds passes on what its clients had asked before they left it. By then they may
have the session on another link, which must not lose it to a link that nobody listens on any more.
"""

from stayline.domain.errors import Refusal
from stayline.link.messages.interaction import AgentLogin, AgentResume

HELD_UP_SECONDS = 60.0
"""Longest time for which a request can be held up: a proxy that stands still longer has lost its link to the core. A
request that is older by its own clock comes from a clock that was set back, and is believed."""

_ROOM = 1_000


class Askings:
    """Newest time of asking by session and installation; only times of one installation's clock are compared."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], float] = {}

    def __len__(self) -> int:
        return len(self._newest)

    def objection(self, session: str, workspace: str, asked_at: float) -> Refusal | None:
        """Why a request asked at ``asked_at`` (Unix seconds of its installation, 0: not said) comes too late."""
        newest = self._newest.get((session, workspace), 0.0)
        if not asked_at or not 0.0 < newest - asked_at < HELD_UP_SECONDS:
            return None
        # Retryable for a Workspace whose clock was set back by less than that: it is heard when its clock is there.
        return Refusal(
            code="session.superseded",
            reason=f"This Workspace asked for the session again {newest - asked_at:.3f} s later, on another link.",
            retryable=True,
            retry_after=round(newest - asked_at + 0.001, 3),
        )

    def note(self, session: str, workspace: str, asked_at: float, open_sessions: int) -> None:
        """It was carried out. ``open_sessions`` bounds what is remembered."""
        if not asked_at:
            return
        self._newest.pop((session, workspace), None)
        while len(self._newest) >= 2 * open_sessions + _ROOM:
            self._newest.pop(next(iter(self._newest)))
        self._newest[session, workspace] = asked_at


def asked_at(params: AgentLogin | AgentResume) -> float:
    """When a request was asked, as it says."""
    return max(0.0, params.asked_at)
