"""The HTTP listener: /metrics for Prometheus, /healthz (the process lives), /readyz (calls are best made here), and the manager's pages.

`/readyz?standby=ok` is for whoever replaces brokers one by one: calls can be made here, if only to be passed on.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
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

    async def left(_request: Request, _error: Exception) -> Response:
        return Response(status_code=400)  # which nobody reads

    handlers: dict[Any, Callable[[Request, Exception], Awaitable[Response]]] = {ClientDisconnect: left}
    if nothing is not None:
        handlers[404] = nothing
    return Starlette(
        routes=[Route("/metrics", scrape), Route("/healthz", healthz), Route("/readyz", readyz), *pages],
        middleware=[Middleware(Proxied)] if behind_proxy else [],
        exception_handlers=handlers,
    )
