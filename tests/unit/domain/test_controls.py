"""The one table of controls against the specification, sentence by sentence."""

import itertools

import pytest

from stayline.domain.controls import (
    TABLE,
    Control,
    Link,
    Media,
    Stage,
    control_state,
    controls,
    published,
    stage_of,
)

ALL = frozenset(Link)
RESTRICTED = ALL - {Link.INTERACTION}
"""The link to Interaction Server (Proxy) is lost; contact and media links are up."""

OWNED = {
    Media.CHAT: (Stage.ACTIVE, Stage.ENDED),
    Media.EMAIL: (Stage.INBOUND, Stage.OUTBOUND),
    Media.SMS: (Stage.ACTIVE, Stage.ENDED, Stage.PAGED),
}


def enabled(media: Media, stage: Stage, up: frozenset[Link]) -> set[Control]:
    return {control for control in TABLE[media] if control_state(media, control, stage, up).enabled}


def each_owned() -> list[tuple[Media, Stage]]:
    return [(media, stage) for media, stages in OWNED.items() for stage in stages]


# "The following general restrictions apply"


@pytest.mark.parametrize(("media", "stage"), each_owned())
@pytest.mark.parametrize(
    "control",
    [
        Control.CASE_INFORMATION,  # Case Information is read only
        Control.ASSIGN_CONTACT,  # It is not possible to assign a contact to the interaction
        Control.DISPOSITION,  # Disposition code is read only
        Control.RECORD_INFORMATION,  # Record Information is read only
    ],
)
def test_general_restrictions(media: Media, stage: Stage, control: Control) -> None:
    assert control_state(media, control, stage, ALL).enabled
    state = control_state(media, control, stage, RESTRICTED)
    assert not state.enabled
    assert state.shown
    assert "Interaction Server link" in state.why


# "For SMS interactions, the following restrictions apply"


@pytest.mark.parametrize("stage", OWNED[Media.SMS])
def test_sms_transfer_done_and_delete_are_disabled(stage: Stage) -> None:
    assert not enabled(Media.SMS, stage, RESTRICTED) & {Control.TRANSFER, Control.DONE, Control.DELETE}
    assert {Control.TRANSFER, Control.DONE} <= enabled(Media.SMS, stage, ALL)


def test_sms_delete_exists_in_page_mode() -> None:
    assert Control.DELETE in enabled(Media.SMS, Stage.PAGED, ALL)


def test_sms_send_is_active_only_in_session_mode() -> None:
    assert control_state(Media.SMS, Control.SEND, Stage.ACTIVE, RESTRICTED).enabled
    assert not control_state(Media.SMS, Control.SEND, Stage.PAGED, RESTRICTED).enabled
    assert control_state(Media.SMS, Control.SEND, Stage.PAGED, ALL).enabled


# "For email interactions, the following restrictions apply"


def test_email_all_actions_except_for_print_preview_are_disabled() -> None:
    assert enabled(Media.EMAIL, Stage.INBOUND, RESTRICTED) == {Control.PRINT_PREVIEW}


def test_email_fields_can_be_edited_in_outbound_email_only() -> None:
    assert enabled(Media.EMAIL, Stage.OUTBOUND, RESTRICTED) == {Control.PRINT_PREVIEW, Control.EDIT_FIELDS}
    assert not control_state(Media.EMAIL, Control.EDIT_FIELDS, Stage.INBOUND, ALL).enabled


# "For chat interactions, the following restrictions apply"


def test_chat_end_transfer_and_conference_are_disabled() -> None:
    pressed = {Control.END, Control.TRANSFER, Control.CONFERENCE}
    assert pressed <= enabled(Media.CHAT, Stage.ACTIVE, ALL)
    assert not enabled(Media.CHAT, Stage.ACTIVE, RESTRICTED) & pressed


def test_chat_done_is_disabled_if_the_session_is_already_ended() -> None:
    assert Control.DONE in enabled(Media.CHAT, Stage.ENDED, ALL)
    assert Control.DONE not in enabled(Media.CHAT, Stage.ENDED, RESTRICTED)
    assert (
        control_state(Media.CHAT, Control.DONE, Stage.ACTIVE, ALL).why
        == "End the chat first, then mark it done."
    )


@pytest.mark.parametrize(
    ("stage", "media_up", "expected"),
    [(Stage.ACTIVE, True, True), (Stage.ACTIVE, False, False), (Stage.ENDED, True, False)],
)
@pytest.mark.parametrize("interaction_up", [True, False])
def test_chat_send_needs_a_live_session_and_the_chat_server_link(
    stage: Stage, media_up: bool, expected: bool, interaction_up: bool
) -> None:
    up = {Link.MEDIA} if media_up else set()
    if interaction_up:
        up.add(Link.INTERACTION)
    assert control_state(Media.CHAT, Control.SEND, stage, frozenset(up)).enabled is expected


# What must hold of the table as a whole


def test_a_lost_link_never_enables_anything() -> None:
    for media, stages in OWNED.items():
        for stage in (Stage.OFFERED, *stages):
            for size in range(len(Link) + 1):
                for up in itertools.combinations(Link, size):
                    for more in Link:
                        less_enabled = enabled(media, stage, frozenset(up))
                        assert less_enabled <= enabled(media, stage, frozenset({*up, more}))


def test_whatever_is_disabled_says_why_and_whatever_is_enabled_does_not() -> None:
    for _, _, _, _, state in published():
        assert bool(state.why) is not state.enabled
        assert state.why.endswith(".") or state.enabled


def test_every_control_of_a_medium_can_be_used_somewhere() -> None:
    for media, rows in TABLE.items():
        usable = {control for stage in Stage for control in enabled(media, stage, ALL)}
        assert usable == set(rows)


def test_offers_can_only_be_accepted_or_rejected_and_only_with_the_link() -> None:
    for media in Media:
        pressed = enabled(media, Stage.OFFERED, ALL)
        assert pressed == {Control.ACCEPT, Control.REJECT, Control.HISTORY}
        assert not enabled(media, Stage.OFFERED, RESTRICTED) & {Control.ACCEPT, Control.REJECT}


def test_all_links_up_restricts_nothing() -> None:
    for media, stages in OWNED.items():
        for stage in stages:
            for control, row in TABLE[media].items():
                assert control_state(media, control, stage, ALL).enabled is (stage in row)


@pytest.mark.parametrize(
    ("media", "owned", "online", "outbound", "expected"),
    [
        (Media.CHAT, False, True, False, Stage.OFFERED),
        (Media.CHAT, True, True, False, Stage.ACTIVE),
        (Media.CHAT, True, False, False, Stage.ENDED),
        (Media.EMAIL, True, True, False, Stage.INBOUND),
        (Media.EMAIL, True, False, True, Stage.OUTBOUND),
        (Media.SMS, True, True, False, Stage.ACTIVE),
        (Media.SMS, True, False, False, Stage.PAGED),
    ],
)
def test_stages(media: Media, owned: bool, online: bool, outbound: bool, expected: Stage) -> None:
    assert stage_of(media, owned=owned, online=online, outbound=outbound) is expected


def test_controls_are_named_as_in_the_table() -> None:
    assert set(controls(Media.CHAT, Stage.ACTIVE, ALL)) == {control.value for control in TABLE[Media.CHAT]}
