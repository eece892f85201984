"""The sample customer page of a lab, served by a process that no drill kills: the widget does the rest."""

import asyncio
import contextlib
from collections.abc import Generator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from stayline.servers.chat import page

QUEUE = "chat.support"


def shop_application(servers: Sequence[str]) -> Starlette:
    """The page with the widget; ``servers`` are the base addresses of the Chat Servers of both sites."""
    headers = page.security_headers(servers)

    async def customer(request: Request) -> Response:
        queue = request.query_params.get("queue", QUEUE)
        return HTMLResponse(page.render_page(servers, queue), headers=headers)

    async def widget(request: Request) -> Response:
        return Response(page.static_text("widget.js"), headers={"content-type": page.SCRIPT_TYPE})

    async def style(request: Request) -> Response:
        return Response(page.static_text("shop.css"), headers={"content-type": page.STYLE_TYPE})

    return Starlette(routes=[Route("/", customer), Route("/widget.js", widget), Route("/shop.css", style)])


class Shop:
    """The page's server inside the lab's event loop."""

    def __init__(self, servers: Sequence[str], port: int) -> None:
        """``port`` on 127.0.0.1."""
        config = uvicorn.Config(
            shop_application(servers),
            host="127.0.0.1",
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
        )
        self._server = _QuietServer(config)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Serve, once."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._server.serve())

    async def stop(self) -> None:
        """Close the port and wait for the end."""
        task, self._task = self._task, None
        if task is not None:
            self._server.should_exit = True
            await asyncio.gather(task, return_exceptions=True)


class _QuietServer(uvicorn.Server):
    """uvicorn takes over SIGINT and SIGTERM; here they belong to the lab."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield
