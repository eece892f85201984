"""The customers' port: the sample page, the widget's script and the WebSocket of the chat."""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from stayline.domain.errors import refuse
from stayline.servers.chat import page, protocol
from stayline.servers.chat.customers import CustomerConnection, Services
from stayline.servers.chat.protection import Protection
from stayline.servers.chat.starts import source_of

log = structlog.get_logger(__name__)

PING_SECONDS = 5.0
"""WebSocket pings; a page that does not answer within as many seconds again is gone."""

FULL_RETRY_SECONDS = 3.0


class WebSettings(NamedTuple):
    """Options, read when needed. ``servers``: base addresses of all Chat Servers; ``origins``: further web origins
    that may embed the widget ("*": any); ``protection``: of this server's port."""

    servers: Callable[[], Sequence[str]]
    origins: Callable[[], Sequence[str]]
    max_connections: Callable[[], int]
    protection: Callable[[], Protection]


class PageChannel:
    """A WebSocket as :class:`stayline.servers.chat.customers.Channel`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._sending = asyncio.Lock()

    async def receive(self) -> str | None:
        """The next text; None when the page is gone. Binary messages are none of ours: an empty text."""
        try:
            message = await self._websocket.receive()
        except RuntimeError:  # closed by ourselves
            return None
        if message["type"] == "websocket.disconnect":
            return None
        return message.get("text") or ""

    async def send(self, text: str) -> None:
        """Send; raises ConnectionError when the page is gone."""
        async with self._sending:
            if self._websocket.application_state is not WebSocketState.CONNECTED:
                raise ConnectionError("closed")
            try:
                await self._websocket.send_text(text)
            except (WebSocketDisconnect, RuntimeError) as error:
                raise ConnectionError("gone") from error

    async def close(self, code: int, why: str) -> None:
        """Hang up."""
        async with self._sending:
            if self._websocket.application_state is WebSocketState.CONNECTED:
                with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                    await self._websocket.close(code, why[:120])


class CustomerWeb:
    """The web application and everybody connected to it."""

    def __init__(self, services: Services, settings: WebSettings) -> None:
        self._services = services
        self._settings = settings
        self.connections: set[CustomerConnection] = set()
        self.application = Starlette(
            routes=[
                Route("/", self._page),
                Route("/widget.js", self._script),
                Route("/shop.css", self._style),
                WebSocketRoute("/chat", self._chat),
            ]
        )

    async def _page(self, request: Request) -> Response:
        servers = self._settings.servers()
        queue = request.query_params.get("queue", "chat.support")
        return HTMLResponse(page.render_page(servers, queue), headers=page.security_headers(servers))

    async def _script(self, request: Request) -> Response:
        return _file("widget.js", page.SCRIPT_TYPE)

    async def _style(self, request: Request) -> Response:
        return _file("shop.css", page.STYLE_TYPE)

    async def _chat(self, websocket: WebSocket) -> None:
        origin = websocket.headers.get("origin", "")
        if not self._origin_allowed(origin, websocket.headers.get("host", "")):
            log.warning("customer.origin", origin=origin[:200], why="not in allowed-origins")
            await websocket.close(1008)  # before accepting: the browser sees HTTP 403
            return
        await websocket.accept()
        channel = PageChannel(websocket)
        if len(self.connections) >= self._settings.max_connections():
            await self._full(channel)
            return
        connection = CustomerConnection(channel, self._services, self._source(websocket))
        self.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self.connections.discard(connection)
            await channel.close(1011, "done")

    def _source(self, websocket: WebSocket) -> str:
        peer = websocket.client.host if websocket.client is not None else ""
        forwarded = websocket.headers.getlist("x-forwarded-for")
        return source_of(peer, forwarded, behind_proxy=self._settings.protection().proxied)

    async def _full(self, channel: PageChannel) -> None:
        limit = self._settings.max_connections()
        error = refuse(
            "chat.server_full",
            f"This Chat Server has its {limit} customers already.",
            retryable=True,
            retry_after=FULL_RETRY_SECONDS,
        )
        with contextlib.suppress(ConnectionError):
            await channel.send(protocol.encode(protocol.error_of(error.refusal, "")))
        await channel.close(1013, "full")

    def _origin_allowed(self, origin: str, host: str) -> bool:
        """A program has no origin; the browser's is our own, another Chat Server's or a configured one."""
        if not origin:
            return True
        asked = origin.lower()
        ours = {f"https://{host}".lower()}
        if not self._settings.protection().secure:  # else a page that came without TLS is not ours
            ours.add(f"http://{host}".lower())
        if asked in ours:
            return True
        own = {page.origin_of(server) for server in self._settings.servers()}
        configured = {item if item == "*" else page.origin_of(item) for item in self._settings.origins()}
        return asked in own or asked in configured or "*" in configured

    def refresh(self) -> None:
        """The state of the server's links changed: tell everybody."""
        for connection in self.connections:
            connection.refresh()

    async def send_away(self, why: str, retry_after: float) -> None:
        """Tell every page to resume elsewhere, then hang up."""
        leaving = [connection.leave(why, retry_after) for connection in list(self.connections)]
        if leaving:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2.0):
                    await asyncio.gather(*leaving, return_exceptions=True)


def _file(name: str, media_type: str) -> Response:
    headers = {"x-content-type-options": "nosniff", "cache-control": "no-cache"}
    return Response(page.static_text(name), media_type=media_type, headers=headers)


class _QuietServer(uvicorn.Server):
    """Signals belong to the process, not to its web listener."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class WebListener:
    """The HTTP or HTTPS port, opened and closed as often as needed."""

    def __init__(self, web: CustomerWeb, host: str, port: int) -> None:
        self._web = web
        self._host = host
        self.port = port
        self._server: _QuietServer | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the port accepts connections."""
        return self._server is not None

    async def open(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, with TLS when a context is given. Port 0 takes a free one. Raises OSError when the port is
        taken."""
        if self._server is not None:
            return
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)  # a line for each page is no decision
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        sock = socket.create_server((self._host, self.port), family=family, backlog=1_024)
        self.port = sock.getsockname()[1]
        config = uvicorn.Config(
            self._web.application,
            log_config=None,
            access_log=False,
            lifespan="off",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=protocol.MAX_FRAME_BYTES,
            ws_ping_interval=PING_SECONDS,
            ws_ping_timeout=PING_SECONDS,
            ws_per_message_deflate=False,
            server_header=False,
            proxy_headers=False,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            timeout_graceful_shutdown=1,
        )
        self._server = _QuietServer(config)
        self._task = asyncio.create_task(self._server.serve([sock]), name="customer-web")
        while not self._server.started:
            if self._task.done():
                self._server = None
                self._task.result()
                raise OSError("the web listener ended while it was starting")
            await asyncio.sleep(0.002)

    async def close(self, why: str, retry_after: float = 0.0) -> None:
        """Close the port at once, then send everybody away."""
        server, self._server = self._server, None
        task, self._task = self._task, None
        if server is None or task is None:
            return
        for listener in server.servers:
            listener.close()
        await self._web.send_away(why, retry_after)
        server.should_exit = True
        await task
