"""A bulk restore's answer fits into one frame, whatever its sessions hold."""

import msgspec

from stayline.link.messages.envelope import MAX_FRAME_BYTES
from stayline.link.messages.interaction import (
    InteractionView,
    Ownership,
    RestoredChannel,
    SessionOpened,
    Snapshot,
)
from stayline.servers.interaction.resumption import _fitting


def opened(size: int) -> SessionOpened:
    view = InteractionView(
        id="i",
        tenant="T",
        media="chat",
        state=Ownership.OWNED,
        version=1,
        queue="q",
        properties={"note": "x" * size},
    )
    snapshot = Snapshot(
        session="s", agent="a", place="p", media=[], interactions=[view], as_of=1, epoch=1, term=1
    )
    return SessionOpened(session="s", ticket="t", restore_timeout=60.0, snapshot=snapshot)


def test_what_does_not_fit_is_left_to_its_own_resume() -> None:
    answers = [RestoredChannel(channel=n, opened=opened(30_000)) for n in range(50)]
    fitted = _fitting(list(answers)).channels
    assert len(msgspec.json.encode(fitted)) < MAX_FRAME_BYTES
    assert [a.channel for a in fitted] == list(range(50))
    kept = [a for a in fitted if a.opened is not None]
    assert 25 < len(kept) < 50
    assert {a.code for a in fitted if a.opened is None} == {"channels.too_large"}


def test_what_fits_is_unchanged() -> None:
    answers = [RestoredChannel(channel=n, opened=opened(1_000)) for n in range(200)]
    assert all(a.opened is not None for a in _fitting(list(answers)).channels)
