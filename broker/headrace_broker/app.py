"""Builds the broker and fixes the order in which its parts start and stop.

Start: embedded Postgres (main thread) -> migrations -> ownership, gRPC, HTTP -> ready line.
Stop, at SIGTERM or SIGINT: health NOT_SERVING -> ownership stores what is pending (drain_timeout_s) and tells agents to reconnect -> gRPC (1 s) -> HTTP (2 s) ->
pool -> embedded Postgres (20 s). A second signal ends the process at once; nothing acknowledged is lost by that.
"""

import asyncio
import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from headrace_broker import __version__, passes
from headrace_broker.actions.saved_filters import SavedFilters
from headrace_broker.advertise import advertised, web_url
from headrace_broker.config import Config, masked
from headrace_broker.duties import of_each_shard, once_for_all, rollups_of
from headrace_broker.metrics import Metrics
from headrace_broker.model.access import hash_of, new_secret
from headrace_broker.model.audit import Caller
from headrace_broker.model.job import State
from headrace_broker.oidc.settings import OidcSettings, settings_of
from headrace_broker.parts import Parts, build
from headrace_broker.rpc.access import LEAST
from headrace_broker.rpc.connections import ConnectionLimits
from headrace_broker.rpc.quotas import QuotaLimits
from headrace_broker.rpc.server import RpcServer
from headrace_broker.shards import reception
from headrace_broker.shards.balance import Balance
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.shards.type_figures import type_figures
from headrace_broker.shards.types import TypeTable
from headrace_broker.store.database import AWAY, Database
from headrace_broker.store.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.migrate import MigrationError, Phase, migrate
from headrace_broker.store.peers import Peer
from headrace_broker.store.pool import ANY_FAILURE, POOL_SIZE, durability, open_pool, open_search_pool
from headrace_broker.store.shards import shard_count
from headrace_broker.store.tokens import TokenStore
from headrace_broker.store.web_sessions import WebSessionStore
from headrace_broker.type_series import MOST_TYPES, TypeSeries

if TYPE_CHECKING:  # imported where they are started: not every broker serves pages, or speaks TLS
    from headrace_broker.listener import HttpServer
    from headrace_broker.oidc.provider import Provider
    from headrace_broker.tls import Tls
    from headrace_broker.web.manager import Manager
    from headrace_broker.web.register import Register

WATCH_EMBEDDED_S = 0.5
TYPES_REFRESH_S = 0.5
HEALTH_S = 0.25
WAIT_FOR_DATABASE_S = 1.0
SHOW_CERTIFICATE_S = 0.5
YOUNG = 20_000
"""Objects by which memory grows before the collector looks at the young ones. What waits and runs lives longer than that and is given back without it, so with Python's
700 it looks at it in vain all the time: a tenth of what a job costs the broker."""

log = structlog.get_logger("headrace.app")


def run(config: Config) -> int:
    """Runs the broker until it is told to stop; returns the exit code. Called from the main thread. Raises ConfigError for files that are no good."""
    options = config.options
    metrics = Metrics()
    tls = None
    if options.tls_cert is not None and options.tls_key is not None:
        from headrace_broker.tls import Files, Tls

        tls = Tls(Files(options.tls_cert, options.tls_key, options.tls_client_ca), metrics, http_clients=options.tls_require_client_cert == "all")
    oidc = settings_of(options)
    embedded = None
    if options.database_url is None:
        embedded = EmbeddedPostgres(options.data_dir or default_data_dir(), durable=not options.testing, say=lambda line: log.info(line))
        embedded.start()
        log.info(embedded.description)
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_App(config, embedded, metrics, tls, oidc).serve())
    finally:
        if embedded is not None:
            embedded.stop()


class _App:
    """The parts of one broker process."""

    def __init__(self, config: Config, embedded: EmbeddedPostgres | None, metrics: Metrics, tls: "Tls | None", oidc: OidcSettings | None) -> None:
        self._config = config
        self._tls = tls
        self._embedded = embedded
        self._dsn = embedded.dsn if embedded is not None else config.options.database_url or ""
        self._servers = Database(self._dsn)
        self._database = embedded.description if embedded is not None else masked(self._dsn)
        self._stopping = asyncio.Event()
        self._metrics = metrics
        self._oidc = oidc

    async def serve(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        if not await self._migrate():
            return 0
        pool, searching = await open_pool(self._servers), await open_search_pool(self._servers)
        try:
            shards = await shard_count(pool)
            if shards > 1:  # a broker may take all of them over at once, each with a connection that it holds and others that it needs for moments
                await pool.close()
                pool = await open_pool(self._servers, size=POOL_SIZE + shards)
            await self._serve(pool, searching, shards)
        except BaseExceptionGroup as group:  # what one task could not deal with, such as a port that is taken
            error = first_of(group)
            log.error("the broker ends, since it cannot go on", reason=f"{type(error).__name__}: {error}")
            raise error from group
        finally:
            for each in (searching, pool):
                try:
                    await asyncio.wait_for(each.close(), 3)
                except TimeoutError:
                    each.terminate()
        return 0

    async def _serve(self, pool: "asyncpg.Pool[Any]", searching: "asyncpg.Pool[Any]", shards: int) -> None:
        options = self._config.options
        version, off = await durability(pool)
        if off and not options.testing:
            log.error("the database can lose acknowledged jobs in a crash: these settings are off", settings=off)
        parts = build(options, self._servers, pool, searching, shards, self._metrics)
        ownerships = parts.ownerships
        self._metrics.gauges(lambda: _gauges(ownerships, pool))
        self._metrics.registry.register(TypeSeries(lambda: type_figures([ownership.owner for ownership in ownerships.owned()], MOST_TYPES)))
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as exits:
            exits.callback(parts.passwords.close)
            server = self._rpc_server(parts, version, tasks)
            exits.push_async_callback(server.stop, 0)
            bound = await server.start(options.listen)
            passing_on = tasks.create_task(server.keep_routes())
            http, web, side = None, None, list[Coroutine[Any, Any, None]]()
            if options.http_listen != "off":
                http, web, register = self._open_pages(parts)
                tasks.create_task(http.run_until_told())
                side.append(register.keep_fresh())
            for ownership in ownerships.each:
                ownership.peer = self._peer(parts.key, bound, http)
            if shards > 1:
                side.append(Balance(parts.id, ownerships.each, parts.brokers).run())
            owning = tasks.create_task(ownerships.run())
            if options.auth == "required":
                await self._first_token(pool)
            rollups = rollups_of(parts)
            side += [
                _report_health(server, ownerships),
                *self._kept_fresh(parts),
                *once_for_all(parts, self._metrics, retention_period_s=options.retention_period_s),
                *of_each_shard(parts, rollups, self._metrics),
                self._watch_embedded(self._embedded) if self._embedded is not None else self._servers.follow(),
            ]
            beside = [tasks.create_task(work) for work in side]
            await self._first(ownerships.listening(), self._stopping.wait())
            gc.freeze()  # what was imported and built stays: a full pass of the collector, which is the longest step of the event loop, need not look at it each time
            gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
            if not self._stopping.is_set():
                await server.serving(ownerships.serving)
                self._say_ready(bound, http, web, ownerships)
            await self._stopping.wait()
            for task in beside:
                task.cancel()
            for rollup in rollups:
                rollup.before_the_end()
            await self._drain(server, ownerships, owning)
            passing_on.cancel()
            with contextlib.suppress(*ANY_FAILURE):
                async with asyncio.timeout(1.0):
                    for rollup in rollups:
                        await rollup.write_last()
            if http is not None:
                http.should_exit = True
        log.info("stopped")

    def _rpc_server(self, parts: Parts, postgres_version: str, tasks: asyncio.TaskGroup) -> RpcServer:
        options = self._config.options
        return RpcServer(
            ownerships=parts.ownerships, reads=parts.reads, finder=parts.finder, graph=parts.graph, settings=parts.settings, statistics=parts.statistics,
            logs=LogWriter(parts.pool, parts.types.log_limits, self._metrics), audit=parts.audit, metrics=self._metrics,
            payload_limit=options.payload_limit_bytes, version=__version__, postgres_version=postgres_version, tasks=tasks, tokens=parts.tokens, users=parts.users,
            auth=options.auth == "required", grants=parts.grants, revocations=parts.revocations, certificates=options.tls_client_ca is not None,
            connections=ConnectionLimits(**{name: getattr(options, name) for name in ConnectionLimits.__slots__}),
            quotas=QuotaLimits(**{name: getattr(options, f"quota_{name}") for name in QuotaLimits.__slots__}),
            alerts=parts.desks, tls=_keys(self._tls) if self._tls is not None else None, key=parts.key, named=parts.address, brokers=parts.brokers,
            saved_filters=parts.saved_filters,
        )  # fmt: skip

    def _open_pages(self, parts: Parts) -> tuple["HttpServer", str, "Register"]:
        """(the HTTP listener with the manager's pages, where they are, their sessions)."""
        from headrace_broker.web.manager import Manager
        from headrace_broker.web.register import Register
        from headrace_broker.web.sessions import Sessions
        from headrace_broker.web.visit import Services

        options, ownerships, monotonic = self._config.options, parts.ownerships, asyncio.get_running_loop().time
        register = Register(
            Sessions(monotonic, provider_s=options.oidc_session_s), WebSessionStore(parts.pool), parts.users, parts.tokens, refresh_tokens=options.auth != "required"
        )
        services = [
            Services(
                ownership, parts.reads, parts.statistics, parts.audit, parts.finder, parts.graph, parts.users, parts.tokens, options.payload_limit_bytes, desk,
                parts.grants, SavedFilters(parts.saved_filters, ownership),
            )
            for ownership, desk in zip(ownerships.each, parts.desks, strict=True)
        ]  # fmt: skip
        manager = Manager(lambda domain: services[ownerships.known(domain) or 0], register, __version__, LEAST, monotonic, self._provider(monotonic))
        http = self._open_http(ownerships, manager)
        return http, self._web_address(http, manager), register

    def _provider(self, monotonic: Callable[[], float]) -> "Provider | None":
        """By which people may log in to the manager. It need not answer yet."""
        if self._oidc is None:
            return None
        from headrace_broker.oidc.provider import Provider  # a tenth of a second, which only brokers with a provider pay

        return Provider(self._oidc, monotonic)

    def _peer(self, key: bytes, bound: list[str], http: "HttpServer | None") -> Peer:
        """How other brokers, and the browsers that they send here, reach this one."""
        options = self._config.options
        web = options.advertise_http or (web_url(http.url) if http is not None else "")
        certificate = self._tls.loaded.chain.decode() if self._tls is not None else ""
        return Peer(socket.gethostname(), options.advertise or advertised(bound), web, key, certificate)

    def _kept_fresh(self, parts: Parts) -> Iterator[Coroutine[Any, Any, None]]:
        """What is read again and again, since other brokers, people and other programs change it."""
        yield _refresh(parts.types, parts.ownerships)
        yield parts.grants.keep_fresh()
        if self._config.options.auth == "required":
            yield parts.tokens.keep_fresh()
        if self._config.options.tls_client_ca is not None:
            yield parts.revocations.keep_fresh()
        if self._tls is not None:
            yield self._tls.keep_fresh()
            yield _show_certificate(parts.ownerships, self._tls)

    async def _first_token(self, pool: "asyncpg.Pool[Any]") -> None:
        """Where nobody else can make the first token, since the database is this broker's own, it is made and shown once."""
        if self._embedded is None:
            return
        secret = new_secret()
        if await TokenStore(pool).add_first("first", hash_of(secret), caller=Caller("headrace-broker", "", uuid.uuid4().hex)):
            print(f"headrace-broker: the first token, an administrator's named first, shown this once: {secret}", file=sys.stderr, flush=True)

    async def _drain(self, server: RpcServer, ownerships: Ownerships, owning: "asyncio.Task[None]") -> None:
        """Ends gently: health first, then what is pending, then the streams."""
        log.info("draining")
        await server.serving(False)
        await ownerships.drain()
        try:
            async with asyncio.timeout(self._config.options.drain_timeout_s):
                await asyncio.wait([owning])
        except TimeoutError:
            owning.cancel()
        await server.stop(1.0)

    def _open_http(self, ownerships: Ownerships, manager: "Manager") -> "HttpServer":
        """The HTTP listener. Where nobody chose the port and it is taken, as by another broker on this machine, a free one serves."""
        from headrace_broker.http import http_app
        from headrace_broker.listener import HttpServer

        host, _, port = self._config.options.http_listen.rpartition(":")
        app = http_app(self._metrics, ownerships, manager.routes, nothing=manager.nothing, behind_proxy=self._config.options.behind_proxy)
        tls = self._tls.context if self._tls is not None and self._config.options.http_tls == "on" else None

        def ended(why: str) -> None:
            self._metrics.http_connections_ended.labels(why).inc()

        try:
            return HttpServer(app, host, int(port), tls, ended=ended)
        except OSError as error:
            if self._config.origins["http_listen"] != "default":
                raise OSError(f"cannot listen on {self._config.options.http_listen} (--http-listen): {error.strerror}") from error
            http = HttpServer(app, host, 0, tls, ended=ended)
            log.warning("the default HTTP port is taken; serving on another one", http=http.address)
            return http

    async def _migrate(self) -> bool:
        """Brings the schema up to date, however long the database takes to appear; False: told to stop meanwhile.

        Nobody else uses an embedded database, so nothing has to wait there for older brokers to go.
        """
        phase, look_only = None if self._embedded is not None else Phase.PRE, self._config.options.migrate == "off"
        while not self._stopping.is_set():
            try:
                if self._embedded is None:
                    await self._servers.refuse_pooler()
                found = await migrate(self._servers, version=__version__, phase=phase, dry_run=look_only)
                if found and look_only:
                    missing = ", ".join(f"{migration.version} ({migration.name})" for migration in found)
                    raise MigrationError(f"the schema lacks {missing}: run headrace-broker migrate --phase pre, or this broker without --migrate off")
                for migration in found:
                    log.info("migrated", version=migration.version, name=migration.name)
                return True
            except AWAY as error:
                log.warning("waiting for the database", database=self._database, reason=f"{type(error).__name__}: {error}")
                await self._first(self._stopping.wait(), asyncio.sleep(WAIT_FOR_DATABASE_S))
        return False

    async def _first(self, *waits: Any) -> None:
        """Returns when the first of these is done; the others are cancelled."""
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    async def _watch_embedded(self, embedded: EmbeddedPostgres) -> None:
        """Starts the server again when it has ended. Runs on the main thread, as it must."""

        async def look() -> None:
            try:
                if embedded.ensure_running():
                    log.warning("the embedded Postgres had ended; it was started again")
            except (EmbeddedError, subprocess.SubprocessError) as error:
                raise OSError(str(error)) from error  # as usual as what the system refuses

        await passes.keep(look, "the embedded Postgres has ended and does not start; trying again", log.error, period_s=WATCH_EMBEDDED_S)

    def _web_address(self, http: "HttpServer", manager: "Manager") -> str:
        """Where the pages are; with a link that logs in once, where this broker is tried out or its operator asked for it."""
        address = f"{http.url}/"
        if self._embedded is None and not self._config.options.login_link:
            return address
        link = f"{http.url}{manager.link()}"
        log.info("the manager, with a link that logs in once", manager=link)
        return link

    def _say_ready(self, bound: list[str], http: "HttpServer | None", web: str | None, ownerships: Ownerships) -> None:
        several = {"shards": {"owned": len(ownerships.owned()), "of": len(ownerships.each)}} if len(ownerships.each) > 1 else {}
        line = {
            "event": "ready", "grpc": bound, "http": http.address if http is not None else None, "web": web, "database": self._database, "pid": os.getpid(),
            "version": __version__, "role": ownerships.role, **several,
        }  # fmt: skip
        print(json.dumps(line), flush=True)

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            log.warning("second signal: stopping at once")
            if self._embedded is not None:
                self._embedded.stop()
            os._exit(1)
        self._stopping.set()


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of those that ended the tasks of a group, however deep it lies."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _report_health(server: RpcServer, ownerships: Ownerships) -> None:
    """Says by the health service whether this broker serves, until cancelled."""
    said = False

    async def look() -> None:
        nonlocal said
        serving = ownerships.serving
        if serving != said:
            await server.serving(serving)
            said = serving

    await passes.keep(look, "health not told", log.warning, period_s=HEALTH_S)


async def _refresh(types: TypeTable, ownerships: Ownerships) -> None:
    """Reads settings and pauses that another broker or a person changed in the database, until cancelled."""

    async def look() -> None:
        if await types.load():
            for ownership in ownerships.owned():
                reception.review_pauses(ownership.owner)

    await passes.keep(look, "settings not read; what is known stays in force", log.debug, period_s=TYPES_REFRESH_S)


async def _show_certificate(ownerships: Ownerships, tls: "Tls") -> None:
    """Tells brokers that stand by which certificate they meet here, until cancelled."""

    async def look() -> None:
        for ownership in ownerships.each:
            await ownership.show_certificate(tls.loaded.chain.decode())

    await passes.keep(look, "other brokers do not know the new certificate yet", log.debug, period_s=SHOW_CERTIFICATE_S)


def _gauges(ownerships: Ownerships, pool: "asyncpg.Pool[Any]") -> dict[str, float]:
    process = {"tasks": len(asyncio.all_tasks()), "pool_connections": pool.get_size(), "shards": len(ownerships.each)}
    owners = [ownership.owner for ownership in ownerships.owned()]
    if not owners:
        return {"active": 0, "shards_owned": 0, **process}
    connected = [session for owner in owners for session in owner.sessions() if session.stream is not None]
    return {
        "active": 1,
        "shards_owned": len(owners),
        **process,
        "sessions": sum(len(owner.by_incarnation) for owner in owners),
        "jobs_waiting": sum(sum(owner.counted.unsettled(State.WAITING).values()) for owner in owners),
        "jobs_processing": sum(sum(owner.counted.unsettled(State.PROCESSING).values()) for owner in owners),
        "agents_connected": len(connected),
        "slots": sum(session.slots for session in connected),
        "slots_in_use": sum(len(session.leases) for session in connected),
        "body_cache_bytes": sum(owner.bodies.used_bytes for owner in owners),
    }


def _keys(tls: "Tls") -> Callable[[], tuple[bytes, bytes, bytes | None]]:
    def now() -> tuple[bytes, bytes, bytes | None]:
        loaded = tls.loaded
        return loaded.key, loaded.chain, loaded.client_ca

    return now
