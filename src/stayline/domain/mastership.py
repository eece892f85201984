"""Who may be master: epochs of the centre, terms of a pair, and where a replica must stand to be promoted."""

import enum
from dataclasses import dataclass

from stayline.domain.errors import Refusal


class PromotionMode(enum.StrEnum):
    """How mastership moved: the old site was asked first, or it could not be asked."""

    PLANNED = "planned"
    FORCED = "forced"


@dataclass(frozen=True)
class End:
    """Where a history ended: of database ``system_id`` on ``timeline`` at ``lsn`` (``"0/15D68C8"``)."""

    system_id: str
    timeline: int
    lsn: str


@dataclass(frozen=True, kw_only=True)
class Mastership:
    """One row of the record of mastership. ``at`` Unix seconds (0: the database's clock decides when written);
    ``token`` where the former master ended, None when nobody could say (first row, forced)."""

    epoch: int
    site: str
    mode: PromotionMode
    reason: str
    by: str
    at: float = 0.0
    token: End | None = None


@dataclass(frozen=True, kw_only=True)
class Term:
    """The right to write for ``pair`` as the primary of ``site``, until somebody takes the next one."""

    pair: str
    epoch: int
    term: int
    site: str

    @property
    def rank(self) -> tuple[int, int]:
        """Orders terms: the higher one is right."""
        return (self.epoch, self.term)


def may_lead(*, own_site: str, in_recovery: bool, newest: Mastership | None) -> Refusal | None:
    """Why a core of ``own_site`` may not become primary on this database; None: it may, if it gets the pair's lock."""
    if in_recovery:
        return Refusal(
            code="core.passive",
            reason=f"The database of {own_site} is a replica: the site is passive.",
            retryable=True,
        )
    if newest is None:
        return Refusal(
            code="core.no_master",
            reason="No site was ever made master of this database.",
            retryable=True,
            fix="Start the centre by 'stayline lab up', or promote a site.",
        )
    if newest.site != own_site:
        return Refusal(
            code="core.passive",
            reason=f"Epoch {newest.epoch} belongs to {newest.site}, not to {own_site}.",
            retryable=True,
            epoch=newest.epoch,
        )
    return None


def may_promote(newest: Mastership | None, epoch: int, site: str) -> Refusal | None:
    """Whether ``epoch`` for ``site`` follows the newest mastership row (or repeats it)."""
    current = 0 if newest is None else newest.epoch
    if newest is not None and newest.epoch == epoch and newest.site == site:
        return None
    if epoch == current + 1:
        return None
    holder = "no site" if newest is None else newest.site
    return Refusal(
        code="epoch.stale" if epoch <= current else "epoch.gap",
        reason=f"Epoch {epoch} for {site} does not follow epoch {current}, which belongs to {holder}.",
        fix=f"Promote with epoch {current + 1}.",
        field="epoch",
        epoch=current,
    )


def parse_lsn(text: str) -> int:
    """Byte position of a location such as ``"16/B374D848"``. Raises ValueError for anything else."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def format_lsn(position: int) -> str:
    """The inverse of :func:`parse_lsn`."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


MAX_CHECKPOINT_RECORD = 256
"""Bytes a shutdown checkpoint can take with page headers. It is the last record of a cleanly stopped primary."""


def reached(token: End, here: End) -> Refusal | None:
    """Whether a replica that replayed up to ``here`` (exclusive) stands exactly where ``token`` says; else why not.

    The token names the start of the last record, so the replica has to stand just behind it. A replica that is not
    there yet may be asked again; one of another database or history never will be right.
    """
    if here.system_id != token.system_id:
        return Refusal(
            code="database.other_system",
            reason=f"The token is of database {token.system_id}, this replica is of {here.system_id}.",
            fix="Rebuild this replica by a base backup.",
            field="token",
        )
    if here.timeline != token.timeline:
        return Refusal(
            code="database.diverged",
            reason=f"The token is of timeline {token.timeline}, this replica is on timeline {here.timeline}.",
            fix="Demote the present primary again and use its new token.",
            field="token",
        )
    behind = parse_lsn(here.lsn) - parse_lsn(token.lsn)
    if behind <= 0:
        return Refusal(
            code="database.behind",
            reason=f"The replica has replayed to {here.lsn}; the old primary ended with the record at {token.lsn}.",
            retryable=True,
            retry_after=0.2,
        )
    if behind > MAX_CHECKPOINT_RECORD:
        return Refusal(
            code="database.diverged",
            reason=f"The replica has replayed to {here.lsn}, past {token.lsn}: the old primary wrote again after that.",
            fix="Demote the present primary again and use its new token.",
            field="token",
        )
    return None
