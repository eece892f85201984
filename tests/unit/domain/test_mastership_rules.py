"""Epochs, the right to lead, and where a replica must stand."""

import pytest

from stayline.domain.mastership import (
    MAX_CHECKPOINT_RECORD,
    End,
    Mastership,
    PromotionMode,
    Term,
    format_lsn,
    may_lead,
    may_promote,
    parse_lsn,
    reached,
)


def _row(epoch: int, site: str) -> Mastership:
    return Mastership(epoch=epoch, site=site, mode=PromotionMode.PLANNED, reason="", by="")


@pytest.mark.parametrize(
    ("in_recovery", "newest", "code"),
    [
        (False, _row(1, "Site_A"), None),
        (True, _row(1, "Site_A"), "core.passive"),
        (False, _row(2, "Site_B"), "core.passive"),
        (False, None, "core.no_master"),
    ],
)
def test_who_may_lead(in_recovery: bool, newest: Mastership | None, code: str | None) -> None:
    refusal = may_lead(own_site="Site_A", in_recovery=in_recovery, newest=newest)
    assert (refusal.code if refusal else None) == code
    if refusal is not None:
        assert refusal.retryable, "mastership may come back"


@pytest.mark.parametrize(
    ("newest", "epoch", "site", "code"),
    [
        (None, 1, "Site_A", None),
        (_row(1, "Site_A"), 2, "Site_B", None),
        (_row(2, "Site_B"), 2, "Site_B", None),
        (_row(2, "Site_B"), 2, "Site_A", "epoch.stale"),
        (_row(2, "Site_B"), 1, "Site_A", "epoch.stale"),
        (_row(2, "Site_B"), 4, "Site_A", "epoch.gap"),
        (None, 2, "Site_A", "epoch.gap"),
    ],
)
def test_epoch_grows_by_one(newest: Mastership | None, epoch: int, site: str, code: str | None) -> None:
    refusal = may_promote(newest, epoch, site)
    assert (refusal.code if refusal else None) == code
    if refusal is not None:
        assert str(epoch) in refusal.reason
        assert not refusal.retryable


END = End("77", 3, "0/3000028")


@pytest.mark.parametrize(
    ("here", "code", "retryable"),
    [
        (End("77", 3, "0/30000A0"), None, False),
        (End("77", 3, "0/3000029"), None, False),
        (End("77", 3, "0/3000028"), "database.behind", True),
        (End("77", 3, "0/2FFFFFF"), "database.behind", True),
        (End("77", 3, format_lsn(0x3000028 + MAX_CHECKPOINT_RECORD + 1)), "database.diverged", False),
        (End("77", 4, "0/30000A0"), "database.diverged", False),
        (End("78", 3, "0/30000A0"), "database.other_system", False),
    ],
)
def test_replica_stands_exactly_at_the_token(here: End, code: str | None, retryable: bool) -> None:
    refusal = reached(END, here)
    assert (refusal.code if refusal else None) == code
    if refusal is not None:
        assert refusal.retryable is retryable


@pytest.mark.parametrize(("text", "value"), [("0/0", 0), ("1/0", 1 << 32), ("16/B374D848", 0x16B374D848)])
def test_locations(text: str, value: int) -> None:
    assert parse_lsn(text) == value
    assert format_lsn(value) == text


@pytest.mark.parametrize("text", ["", "5", "0/x", "0/1/2"])
def test_location_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever int() says
        parse_lsn(text)


def test_terms_are_ordered_by_epoch_first() -> None:
    old = Term(pair="interaction", epoch=1, term=9, site="Site_A")
    new = Term(pair="interaction", epoch=2, term=1, site="Site_B")
    assert old.rank < new.rank
