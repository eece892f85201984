"""The sample customer page and the widget's files, for a Chat Server and for any other web server (the lab's)."""

import html
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

STATIC = Path(__file__).parent / "static"
"""Folder of ``widget.js``, ``customer.html`` and ``shop.css``."""

SCRIPT_TYPE = "text/javascript; charset=utf-8"
STYLE_TYPE = "text/css; charset=utf-8"


@cache
def static_text(name: str) -> str:
    """The text of a file of :data:`STATIC`."""
    return (STATIC / name).read_text(encoding="utf-8")


def render_page(servers: Sequence[str], queue: str = "chat.support") -> str:
    """The sample page with the widget on it. ``servers`` are the base addresses of all Chat Servers
    (``http://host:port``); the widget is loaded from ``widget.js`` beside the page."""
    values = {
        "{{servers}}": html.escape(",".join(servers)),
        "{{queue}}": html.escape(queue),
    }
    page = static_text("customer.html")
    for mark, value in values.items():
        page = page.replace(mark, value)
    return page


def security_headers(servers: Sequence[str]) -> dict[str, str]:
    """Headers of the page: own scripts and styles only, connections to the Chat Servers only."""
    sockets = " ".join(_socket_origin(server) for server in servers)
    policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cache-control": "no-store",
    }


def _socket_origin(server: str) -> str:
    parts = urlsplit(server)
    return f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"


def origin_of(address: str) -> str:
    """Scheme, host and port of an address, as browsers say it in ``Origin``."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}".lower()
