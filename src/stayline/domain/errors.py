"""The one shape of an error between parts: a small typed value that says what to do next."""

import msgspec


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why a request had no effect. Travels on links and reaches logs and people unchanged.

    ``code`` is stable and machine-readable (``"session.unknown"``); ``reason`` is one sentence for a person;
    ``retryable`` says whether the same request may succeed later, ``retry_after`` when (seconds);
    ``fix`` what mends it; ``field`` the offending field or option; ``epoch``/``term`` who refused.
    """

    code: str
    reason: str
    retryable: bool = False
    retry_after: float | None = None
    fix: str = ""
    field: str = ""
    epoch: int = 0
    term: int = 0


class StaylineError(Exception):
    """Base of every error of ours; carries a :class:`Refusal`."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


class RefusedError(StaylineError):
    """The other side (or a rule here) refused a request; nothing was changed by it."""


class LinkLostError(StaylineError):
    """The link went away before an answer came: the request may or may not have had effect.

    Always retryable with the same idempotency key.
    """


def refuse(
    code: str,
    reason: str,
    *,
    retryable: bool = False,
    retry_after: float | None = None,
    fix: str = "",
    field: str = "",
    epoch: int = 0,
    term: int = 0,
) -> RefusedError:
    """Build the error to raise for a refusal (``raise refuse("queue.unknown", ...)``)."""
    return RefusedError(
        Refusal(
            code=code,
            reason=reason,
            retryable=retryable,
            retry_after=retry_after,
            fix=fix,
            field=field,
            epoch=epoch,
            term=term,
        )
    )
