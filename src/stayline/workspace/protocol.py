"""What a user interface may ask of an agent's engine (implemented by ``engine.WorkspaceEngine``).

Every method that changes something raises :class:`~stayline.domain.errors.RefusedError` with a sentence when
the rules (``domain/controls.py``) or a server refuse it, and :class:`~stayline.domain.errors.LinkLostError`
when no answer came in time: the action is then kept and repeated with the same key until it is answered, so
the user must not be asked to do it again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from stayline.workspace.view import WorkspaceView

Subscriber = Callable[[frozenset[str]], None]
"""Called (in the event loop, must not block) with the names of what changed: "status", "links", "banner",
"list", "notices", "catalogue", and "card:<interaction id>"."""

Trace = Callable[[dict[str, Any]], None]
"""Receives one fact at a time: ``{"fact", "at" (Unix s), "agent", ...}``."""


class Workspace(Protocol):
    """One agent's desk."""

    trace: Trace | None

    @property
    def view(self) -> WorkspaceView:
        """The desk as it is now; a new value after every change."""
        ...

    @property
    def revision(self) -> int:
        """Grows by one with each new view."""
        ...

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Be told about changes until the returned function is called."""
        ...

    async def login(
        self,
        user: str,
        password: str,
        place: str = "",
        media: Sequence[str] = ("chat",),
        source: str = "",
    ) -> None:
        """Check the password, then open the agent session. ``place`` empty: the person's default place.
        ``source``: the address of the person's browser, for which wrong passwords are counted.

        Returns as soon as the core confirmed the session, or with the phase still ``connecting`` when no
        proxy could be reached within the login timeout (the engine goes on trying)."""
        ...

    async def restore(self) -> bool:
        """After a restart of this process: continue from the saved file. False when there is nothing to
        restore."""
        ...

    async def set_ready(self, ready: bool, reason: str = "", media: Sequence[str] = ()) -> None:
        """Ready or not ready (``media`` empty: for all of the session)."""
        ...

    async def accept(self, interaction: str) -> None:
        """Accept an offer."""
        ...

    async def reject(self, interaction: str, reason: str = "") -> None:
        """Reject an offer."""
        ...

    async def send(self, interaction: str, text: str) -> str:
        """Send a message; returns its id at once, delivery is shown in the transcript. Clears the draft."""
        ...

    def typing(self, interaction: str) -> None:
        """The agent is typing (sent at most every two seconds)."""
        ...

    async def end_chat(self, interaction: str) -> None:
        """End the chat session; the interaction stays with the agent until done."""
        ...

    async def transfer(self, interaction: str, queue: str, reason: str = "") -> None:
        """Give the interaction to a queue."""
        ...

    async def done(self, interaction: str, disposition: str = "") -> None:
        """Finish the interaction (``disposition`` empty: the one chosen before)."""
        ...

    async def change(
        self,
        interaction: str,
        set: Mapping[str, str] = ...,
        delete: Sequence[str] = (),
        *,
        disposition: str | None = None,
    ) -> None:
        """Change case information and, if given, the disposition code."""
        ...

    async def update_contact(
        self, interaction: str, set: Mapping[str, str], delete: Sequence[str] = ()
    ) -> None:
        """Change attributes of the interaction's contact."""
        ...

    async def load_history(self, interaction: str) -> None:
        """Load contact and history of the interaction into its card."""
        ...

    def save_draft(self, interaction: str, text: str) -> None:
        """Keep what is typed but not sent; survives restarts of the process."""
        ...

    def mark_read(self, interaction: str) -> None:
        """The agent has seen the transcript."""
        ...

    def dismiss_notice(self, notice: str) -> None:
        """Remove a notice."""
        ...

    async def logout(self, requeue: bool = False) -> None:
        """End the session; ``requeue`` gives owned interactions back to their queues."""
        ...

    async def close(self) -> None:
        """Stop this engine without ending the agent session (the process stops); the file stays."""
        ...
