"""The desk: the page, its stream, its actions and its dialogs."""

import asyncio
import re
from contextlib import aclosing

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from stayline.domain.errors import LinkLostError, refuse
from stayline.workspace.web import models
from stayline.workspace.web.actions import ACTIONS, Asked
from stayline.workspace.web.context import Context, NoSessionError, new_page_id, zone_of
from stayline.workspace.web.fragments import desk_models, render
from stayline.workspace.web.guard import read_form
from stayline.workspace.web.page import Page

log = structlog.get_logger(__name__)

_LONGEST_ID = 200
_PAGE_ID = re.compile(r"[A-Za-z0-9_-]{8,40}")


class EventStream(StreamingResponse):
    """A page's stream. A page that reads nothing for ``stall`` seconds is hung up on; it reconnects."""

    def __init__(self, page: Page, context: Context) -> None:
        self._messages = page.stream(context.environment, context.settings)
        self._stall = context.settings.stall_seconds
        super().__init__(self._messages, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until either side ends it."""

        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self._stall):
                await send(message)

        async with aclosing(self._messages):  # type: ignore[type-var]
            try:
                await super().__call__(scope, receive, send_in_time)
            except TimeoutError:
                log.info("page dropped", why="it read nothing for too long", seconds=self._stall)


class DeskPage:
    """Handlers below ``/desk``."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def show(self, request: Request) -> Response:
        """``GET /desk``: the whole page as it is now."""
        try:
            session = self._context.session(request)
        except NoSessionError:
            return RedirectResponse("/login", status_code=303)
        settings = self._context.settings
        page = session.page(new_page_id(), zone_of(request), settings.max_pages_per_session)
        view = session.engine.view
        wanted = request.query_params.get("i", "")
        page.chosen = wanted if view.card(wanted) is not None else ""
        page.choose_first(view)
        card = view.card(page.chosen)
        reader = page.reader(settings)
        shown = {
            name: render(self._context.environment, name, model, card, reader)
            for name, model in desk_models(view, page.chosen).items()
        }
        token = self._context.signer.forgery_token(session.id)
        title = models.title(view).title
        return self._context.html(
            "desk.html", request, page=page, token=token, fragments=shown, title=title, now=reader.now
        )

    async def stream(self, request: Request) -> Response:
        """``GET /desk/stream?page=ID``: server-sent events. 401 tells the page to log in."""
        try:
            session = self._context.session(request)
        except NoSessionError:
            return Response(status_code=401)
        key = request.query_params.get("page", "")
        if _PAGE_ID.fullmatch(key) is None:
            return Response(status_code=400)
        settings = self._context.settings
        page = session.page(key, zone_of(request), settings.max_pages_per_session)
        # Taken even if it is not on the desk (yet): after a restart the core may still have to confirm it.
        page.chosen = page.chosen or request.headers.get("last-event-id", "")[:_LONGEST_ID]
        return EventStream(page, self._context)

    async def act(self, request: Request) -> Response:
        """``POST /desk/ACTION``."""
        session = self._context.session(request)
        self._context.check_post(request, session.id, request.headers.get("x-csrf-token", ""))
        action = ACTIONS.get(request.path_params["action"])
        if action is None:
            raise refuse("page.action", f"There is no action {request.path_params['action']!r}.")
        page = session.pages.get(request.headers.get("x-page", ""))
        try:
            await action(Asked(session.engine, page, await read_form(request)))
        except LinkLostError:
            # The engine keeps the action and repeats it with its key: nothing for the agent to do again.
            return self._said("info", "No answer yet. This is kept and repeated until it is answered.", 202)
        finally:
            if page is not None:
                page.hurry()
        return Response(status_code=204)

    def _said(self, kind: str, text: str, status: int) -> HTMLResponse:
        template = self._context.environment.get_template("said.html")
        return HTMLResponse(template.render(kind=kind, text=text), status_code=status)

    async def dialog(self, request: Request) -> Response:
        """``GET /desk/dialog/NAME``: the content of a dialog, as the desk is now."""
        session = self._context.session(request)
        name = request.path_params["name"]
        view = session.engine.view
        if name not in ("transfer", "logout", "keys"):
            raise refuse("page.dialog", f"There is no dialog {name!r}.")
        card = view.card(request.query_params.get("i", ""))
        if name == "transfer" and card is None:
            raise refuse("interaction.unknown", "This interaction is no longer on your desk.")
        queues = view.queues.get(card.media, []) if card is not None else []
        # The queue it came from is rarely where it should go.
        others = [queue for queue in queues if card is not None and queue != card.queue]
        first = next(iter(others or queues), "")
        owned = models.agent(view).owned
        template = self._context.environment.get_template(f"dialogs/{name}.html")
        return HTMLResponse(template.render(card=card, queues=queues, first=first, owned=owned))
