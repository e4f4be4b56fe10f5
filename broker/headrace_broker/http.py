"""The HTTP listener: /metrics for Prometheus, /healthz (the process lives), /readyz (calls are best made here), and the manager's pages.

`/readyz?standby=ok` is for whoever replaces brokers one by one: calls can be made here, if only to be passed on.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from headrace_broker.metrics import Metrics
from headrace_broker.proxied import Proxied
from headrace_broker.shards.ownerships import Ownerships


def http_app(
    metrics: Metrics, ownerships: Ownerships, pages: Sequence[BaseRoute], *, nothing: Callable[[Request, Exception], Awaitable[Response]] | None = None,
    behind_proxy: bool = False,
) -> Starlette:  # fmt: skip
    """The application; `pages` are the routes of the manager, `nothing` answers where there is none. `behind_proxy`: what a proxy says of the request is believed."""

    async def scrape(_request: Request) -> Response:
        return PlainTextResponse(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def healthz(_request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        ready = ownerships.answering if request.query_params.get("standby") == "ok" else ownerships.serving
        several = {"shards": len(ownerships.owned())} if len(ownerships.each) > 1 else {}
        failing = {str(one.shard.number): one.stumbles for one in ownerships.each if one.stumbles}
        told = {"failing": failing} if failing else {}
        return JSONResponse({"ready": ready, "role": ownerships.role, **several, **told}, status_code=200 if ready else 503)

    return Starlette(
        routes=[Route("/metrics", scrape), Route("/healthz", healthz), Route("/readyz", readyz), *pages],
        middleware=[Middleware(Proxied)] if behind_proxy else [],
        exception_handlers={404: nothing} if nothing is not None else {},
    )


class HttpServer(uvicorn.Server):
    """Uvicorn inside a loop that is not its own: signals are the broker's business. `tls` None: it is not encrypted."""

    def __init__(self, app: Starlette, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", proxy_headers=False, timeout_graceful_shutdown=2))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind((host.strip("[]"), port))
        self.address = f"{host}:{self.socket.getsockname()[1]}"
        self.url = f"{'https' if tls is not None else 'http'}://{self.address}"
        self._tls = tls

    def install_signal_handlers(self) -> None:
        """None: see the class."""
        return

    async def run_until_told(self) -> None:
        """Serves until `should_exit` is set."""
        config = self.config
        if not config.loaded:
            config.load()
        config.ssl = self._tls
        self.lifespan = config.lifespan_class(config)
        await self.startup(sockets=[self.socket])
        try:
            await self.main_loop()
        finally:
            await self.shutdown(sockets=[self.socket])
