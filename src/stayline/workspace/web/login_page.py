"""Logging in and out."""

import secrets

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from stayline.domain.errors import LinkLostError, RefusedError
from stayline.workspace.web.context import Context, NoSessionError
from stayline.workspace.web.guard import cookie_arguments, read_form

log = structlog.get_logger(__name__)


class LoginPage:
    """Handlers of ``/login`` and ``/logout``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def _visit_cookie(self) -> str:
        return self._context.settings.cookie + "-visit"

    async def home(self, request: Request) -> Response:
        """``GET /``."""
        return RedirectResponse("/desk", status_code=303)

    async def show(self, request: Request) -> Response:
        """``GET /login``: the form, or the desk for who is logged in."""
        try:
            if not self._context.session(request).is_over():
                return RedirectResponse("/desk", status_code=303)
        except NoSessionError:
            pass
        return self._form(request, 200)

    def _form(self, request: Request, status: int, **values: str) -> HTMLResponse:
        visit = request.cookies.get(self._visit_cookie, "") or secrets.token_urlsafe(16)
        token = self._context.signer.forgery_token("login:" + visit)
        shown = {"user": "", "place": "", "error": "", "fix": "", "field": "", **values}
        response = self._context.html("login.html", request, status, token=token, **shown)
        secure = self._context.settings.secure
        response.set_cookie(self._visit_cookie, visit, **cookie_arguments(secure=secure, lasts=None))
        return response

    async def login(self, request: Request) -> Response:
        """``POST /login``: to the desk, or the form again with what is wrong."""
        form = await read_form(request)
        user, place = form.get("user", "").strip(), form.get("place", "").strip()
        said = {"user": user, "place": place}
        visit = request.cookies.get(self._visit_cookie, "")
        try:
            self._context.check_post(request, visit and "login:" + visit, form.get("token", ""))
        except RefusedError:
            return self._form(
                request, 403, error="This page was open for too long.", fix="Try again.", **said
            )
        if not user:
            return self._form(request, 422, error="Enter your user name.", field="user", **said)
        if not form.get("password"):
            return self._form(request, 422, error="Enter your password.", field="password", **said)
        try:
            source = request.client.host if request.client is not None else ""
            session = await self._context.sessions.login(user, form["password"], place, source)
        except (RefusedError, LinkLostError) as error:
            refusal = error.refusal
            log.info("login refused", agent=user[:64], why=refusal.reason, code=refusal.code)
            status = 503 if refusal.retryable else 401
            wrong = refusal.field or ("place" if refusal.code.startswith("place.") else "")
            return self._form(request, status, error=refusal.reason, fix=refusal.fix, field=wrong, **said)
        log.info("login", agent=user, why="password accepted")
        settings = self._context.settings
        response = RedirectResponse("/desk", status_code=303)
        lasts = settings.cookie_seconds
        cookie = self._context.signer.sign(session.id, settings.clock() + lasts)
        response.set_cookie(settings.cookie, cookie, **cookie_arguments(secure=settings.secure, lasts=lasts))
        return response

    async def logout(self, request: Request) -> Response:
        """``POST /logout`` (from the desk, by htmx)."""
        session = self._context.session(request)
        self._context.check_post(request, session.id, request.headers.get("x-csrf-token", ""))
        form = await read_form(request)
        await self._context.sessions.logout(session, requeue=form.get("requeue") == "yes")
        log.info("logout", agent=session.user, why="asked by the agent")
        response = Response(status_code=204, headers={"HX-Trigger": "stayline:leave"})
        response.delete_cookie(self._context.settings.cookie, path="/")
        return response
