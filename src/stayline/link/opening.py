"""What both sides of an opening link read: the other's certificate, address and hello."""

import asyncio

import msgspec

from stayline.domain.errors import Refusal, RefusedError
from stayline.link.frames import UNREADABLE, malformed
from stayline.link.handshake import Certificate
from stayline.link.messages.envelope import Frame, Hello, Kind


def certificate_of(transport: asyncio.BaseTransport) -> Certificate | None:
    """Name and type in the other side's verified certificate; None when it showed none."""
    shown = transport.get_extra_info("peercert")
    if not shown:
        return None
    names = {key: value for part in shown.get("subject", ()) for key, value in part}
    return Certificate(names.get("commonName", ""), names.get("organizationalUnitName", ""))


def address_of(transport: asyncio.BaseTransport) -> str:
    name = transport.get_extra_info("peername")
    return f"{name[0]}:{name[1]}" if name else ""


def read_hello(frame: Frame, expected: Kind) -> Hello:
    """The hello in an opening frame. Raises RefusedError."""
    if frame.t is not expected:
        reason = f"The link must be opened with a {expected} frame, not {frame.t}."
        raise RefusedError(Refusal(code="frame.unexpected", reason=reason, field="t"))
    try:
        return msgspec.json.decode(frame.p, type=Hello)
    except UNREADABLE as error:
        raise RefusedError(malformed(error, "hello.malformed", str(expected))) from error
