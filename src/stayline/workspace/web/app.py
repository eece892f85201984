"""The web application: addresses, files, errors. Made once per process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import stayline
from stayline.domain.errors import RefusedError, refuse
from stayline.workspace.web.context import Context, NoSessionError
from stayline.workspace.web.cookies import CookieSigner, load_key
from stayline.workspace.web.desk_page import DeskPage
from stayline.workspace.web.fragments import make_environment
from stayline.workspace.web.guard import SecurityHeaders
from stayline.workspace.web.login_page import LoginPage
from stayline.workspace.web.sessions import Sessions
from stayline.workspace.web.settings import WebSettings

log = structlog.get_logger(__name__)

STATIC = Path(__file__).parent / "static"
VENDOR = Path(stayline.__file__).parent / "web" / "vendor"
LIBRARIES = ("htmx.min.js", "hx-sse.min.js")


def check_libraries() -> None:
    """Raises RefusedError when the browser libraries were not brought (see ``scripts/vendor_web.py``)."""
    missing = [name for name in LIBRARIES if not (VENDOR / name).is_file()]
    if missing:
        reason = f"The browser libraries {', '.join(missing)} are missing."
        raise refuse("web.libraries", reason, fix="Run `make env`, or `python scripts/vendor_web.py`.")


def create_app(settings: WebSettings) -> Starlette:
    """The application; its ``state.sessions`` is the :class:`Sessions` of the process.

    Raises RefusedError when the browser libraries are missing.
    """
    check_libraries()
    signer = CookieSigner(load_key(settings.state_dir / "web-cookie.key"))
    context = Context(settings, Sessions(settings), signer, make_environment())

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await context.sessions.restore()
        yield
        await context.sessions.close()

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        refusal = error.refusal
        log.info("refused", path=request.url.path, code=refusal.code, why=refusal.reason)
        text = f"{refusal.reason} {refusal.fix}".strip()
        html = context.environment.get_template("said.html").render(kind="warning", text=text)
        return HTMLResponse(html, status_code=503 if refusal.retryable else 409)

    async def no_session(request: Request, error: Exception) -> Response:
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Trigger": "stayline:leave"})
        return RedirectResponse("/login", status_code=303)

    async def health(request: Request) -> Response:
        return PlainTextResponse("ok")

    login, desk = LoginPage(context), DeskPage(context)
    middleware = [Middleware(SecurityHeaders)]
    if settings.hosts:
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts)))
    app = Starlette(
        routes=[
            Route("/", login.home),
            Route("/login", login.show),
            Route("/login", login.login, methods=["POST"]),
            Route("/logout", login.logout, methods=["POST"]),
            Route("/desk", desk.show),
            Route("/desk/stream", desk.stream),
            Route("/desk/dialog/{name}", desk.dialog),
            Route("/desk/{action}", desk.act, methods=["POST"]),
            Route("/health", health),
            Mount("/static/vendor", StaticFiles(directory=VENDOR)),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=middleware,
        exception_handlers={RefusedError: refused, NoSessionError: no_session},
        lifespan=lifespan,
    )
    app.state.sessions = context.sessions
    return app
