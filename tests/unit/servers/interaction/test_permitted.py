"""The server refuses by the same table by which the Workspace shows its buttons."""

import pytest

from stayline.domain.controls import Control
from stayline.domain.errors import RefusedError
from stayline.domain.interaction import Interaction, State
from stayline.servers.interaction.permitted import check_control


def interaction(*, online: bool, media: str = "chat", state: State = State.OWNED) -> Interaction:
    return Interaction(
        id="i",
        tenant="T",
        media=media,
        queue="q",
        state=state,
        version=3,
        epoch=1,
        term=1,
        owner="a",
        session="s",
        online=online,
    )


@pytest.mark.parametrize(
    ("control", "online", "allowed"),
    [
        (Control.TRANSFER, True, True),
        (Control.TRANSFER, False, False),
        (Control.DONE, True, False),
        (Control.DONE, False, True),
    ],
)
def test_chat_by_its_stage(control: Control, online: bool, allowed: bool) -> None:
    if allowed:
        check_control(interaction(online=online), control, "s")
        return
    with pytest.raises(RefusedError) as caught:
        check_control(interaction(online=online), control, "s")
    refusal = caught.value.refusal
    assert (refusal.code, refusal.field) == ("control.unavailable", control.value)
    assert refusal.retryable == (control is Control.DONE)


def test_what_is_not_this_sessions_or_not_in_the_table_is_left_to_others() -> None:
    check_control(interaction(online=True), Control.DONE, "other")
    check_control(interaction(online=True, media="fax"), Control.DONE, "s")
    check_control(interaction(online=True, state=State.QUEUED), Control.DONE, "s")
