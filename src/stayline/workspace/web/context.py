"""What every request handler needs, and what it learns from a request."""

import functools
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse

from stayline.domain.errors import RefusedError, refuse
from stayline.workspace.web.cookies import CookieSigner
from stayline.workspace.web.guard import is_same_site
from stayline.workspace.web.sessions import Session, Sessions
from stayline.workspace.web.settings import WebSettings

THEMES = ("auto", "light", "dark")
ZONE_COOKIE = "stayline-zone"
THEME_COOKIE = "stayline-theme"


class NoSessionError(Exception):
    """The request carries no session of this process: the person must log in."""


@dataclass
class Context:
    """Shared by all handlers of one application."""

    settings: WebSettings
    sessions: Sessions
    signer: CookieSigner
    environment: Environment
    base: Mapping[str, object] = field(default_factory=dict)

    def session(self, request: Request) -> Session:
        """The session of the request's cookie. Raises :class:`NoSessionError`."""
        value = request.cookies.get(self.settings.cookie, "")
        key = self.signer.session(value, self.settings.clock()) if value else ""
        session = self.sessions.get(key) if key else None
        if session is None:
            raise NoSessionError
        return session

    def check_post(self, request: Request, binding: str, token: str) -> None:
        """Raises RefusedError ``page.forged`` unless the POST comes from a page of ours made for ``binding``."""
        if not is_same_site(request) or not binding or not self.signer.is_genuine(binding, token):
            raise forged()

    def html(self, name: str, request: Request, status: int = 200, **values: object) -> HTMLResponse:
        """A whole page from a template."""
        theme = request.cookies.get(THEME_COOKIE, "auto")
        values["theme"] = theme if theme in THEMES else "auto"
        return HTMLResponse(self.environment.get_template(name).render(**values), status_code=status)


def forged() -> RefusedError:
    """The refusal of a POST that no page of ours made."""
    fix = "Reload the page and try again."
    return refuse("page.forged", "This request does not come from this page.", fix=fix)


def new_page_id() -> str:
    """An id for a page that is being opened."""
    return secrets.token_urlsafe(12)


def zone_of(request: Request) -> tzinfo | None:
    """The reader's time zone from the cookie that the page's script sets; None: the machine's."""
    return _zone(request.cookies.get(ZONE_COOKIE, "").replace("%2F", "/")[:64])


@functools.lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo | None:
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
