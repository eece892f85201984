"""What an agent may do at this stage of an interaction: the one table of ``domain/controls.py``, at the server."""

from stayline.domain.controls import Control, Link, Media, control_state, stage_of
from stayline.domain.errors import refuse
from stayline.domain.interaction import Interaction, State

_ALL_LINKS = frozenset(Link)
"""The server is reached, and whether a Workspace has its other links is not the server's to judge."""

SOON_SECONDS = 0.3


def check_control(interaction: Interaction, control: Control, session: str) -> None:
    """Raises RefusedError ``control.unavailable`` when the table has no such control at this stage.

    Whether the interaction is this session's at all is the life cycle's to refuse, in better words. "Done" while the
    session lives is retryable: the agent may have seen its end before the Chat Server told it here.
    """
    if interaction.session != session or interaction.media not in list(Media):
        return
    if interaction.state not in (State.OFFERED, State.OWNED):
        return
    media = Media(interaction.media)
    stage = stage_of(media, owned=interaction.state is State.OWNED, online=interaction.online)
    state = control_state(media, control, stage, _ALL_LINKS)
    if state.enabled:
        return
    soon = control is Control.DONE and interaction.state is State.OWNED
    raise refuse(
        "control.unavailable",
        f"'{control.value}' is not possible for {media.value} interaction {interaction.id} while it is "
        f"{stage.value}: {state.why}",
        retryable=soon,
        retry_after=SOON_SECONDS if soon else None,
        field=control.value,
    )
