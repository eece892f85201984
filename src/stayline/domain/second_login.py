"""What becomes of a login while the agent has open sessions, and of a ticket once somebody else has its session.

Decided on the server under the agent's lock, so that of two logins at the very same time one comes first. The rules, in
this order: the link's own session; the session of the same installation (a Workspace that comes back before its old
link is known dead is no second login); a session whose link is lost (its interactions are the agent's, so it is never
left to die beside a new one); else the policy of ``allow-multiple-agent-connections``.
"""

import enum
from collections.abc import Sequence
from typing import NamedTuple

from stayline.domain.errors import Refusal, refuse
from stayline.domain.session import AgentSession, SessionEvent, SessionState


class Policy(enum.StrEnum):
    """Values of ``allow-multiple-agent-connections``: what a second login does."""

    SECOND_SESSION = "true"
    REFUSED = "false"
    TAKES_OVER = "force-logout"


class Opening(NamedTuple):
    """What a login does: ``event`` to ``session`` (None: it opens one)."""

    session: AgentSession | None
    event: SessionEvent


def opening_of(existing: Sequence[AgentSession], carried: str, workspace: str, policy: Policy) -> Opening:
    """What a login of an agent with the open sessions ``existing`` does.

    ``carried``: session of the link that it comes on; ``workspace``: the installation it comes from (both may be
    empty). Raises RefusedError ``session.exists``.
    """
    own = next((s for s in existing if s.id == carried), None)
    if own is not None:
        return Opening(own, SessionEvent.TAKE)
    same = next((s for s in existing if workspace and s.workspace == workspace), None)
    if same is not None:
        return Opening(same, SessionEvent.RETURN)
    lost = next((s for s in existing if s.state is SessionState.LOST), None)
    if lost is not None:
        return Opening(lost, SessionEvent.TAKE)
    if not existing or policy is Policy.SECOND_SESSION:
        return Opening(None, SessionEvent.LOGIN)
    if policy is Policy.REFUSED:
        raise refuse(
            "session.exists",
            f"{existing[0].agent} is logged in at place {existing[0].place} already.",
            fix="Log out there first.",
        )
    return Opening(existing[0], SessionEvent.TAKE)


def ticket_objection(session: AgentSession, workspace: str, policy: Policy) -> Refusal | None:
    """Why a ticket that was given to the installation ``workspace`` no longer resumes ``session``.

    Another installation's login took the session over, perhaps without the first one hearing of it: whoever came last
    keeps it. Where an agent may have several sessions the first one's answer is that its own is closed, so it logs in
    anew beside the other. An installation without a name on either side is not judged.
    """
    if not workspace or not session.workspace or session.workspace == workspace:
        return None
    reason = f"Session {session.id} was taken over by a login at place {session.place}."
    if policy is Policy.SECOND_SESSION:
        return Refusal(code="session.closed", reason=reason, fix="Log in again.")
    return Refusal(code="session.taken", reason=reason, fix="Log in again, if you want it back.")
