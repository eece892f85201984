"""What every response carries and every POST must prove: headers, size limit, forgery token."""

from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stayline.domain.errors import refuse

MAX_BODY_BYTES = 65_536
"""Largest form a page may post: a message, a draft or a few fields."""

MAX_FIELDS = 32

POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; frame-ancestors 'none'; form-action 'self'; "
    "img-src 'self'"
)
"""Content security policy: nothing inline, nothing from elsewhere."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class SecurityHeaders:
    """ASGI middleware: adds :data:`HEADERS`; pages are never cached, files are revalidated."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, with headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        files = scope["path"].startswith("/static/")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers["Cache-Control"] = "no-cache" if files else "no-store"
            await send(message)

        await self._app(scope, receive, with_headers)


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a posted form (the last of each name).

    Raises RefusedError ``page.form`` when it is too large, not UTF-8 or not a form.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip()
    if content_type != "application/x-www-form-urlencoded":
        raise refuse("page.form", f"A form was expected, not {content_type or 'nothing'}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise refuse("page.form", f"More than {MAX_BODY_BYTES} bytes were posted.", fix="Send less text.")
    try:
        text = body.decode()
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="strict"))
    except ValueError as error:
        raise refuse("page.form", "The posted form cannot be read.") from error


def is_same_site(request: Request) -> bool:
    """Whether a POST comes from our own page, as far as the browser says (the token is checked as well)."""
    said = request.headers.get("sec-fetch-site")
    if said is not None:
        return said in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin == str(request.base_url).rstrip("/")


def cookie_arguments(*, secure: bool, lasts: float | None) -> dict[str, Any]:
    """Attributes of our cookies: not readable by scripts, not sent from other sites' forms."""
    arguments: dict[str, Any] = {"httponly": True, "samesite": "lax", "secure": secure, "path": "/"}
    if lasts is not None:
        arguments["max_age"] = int(lasts)
    return arguments
