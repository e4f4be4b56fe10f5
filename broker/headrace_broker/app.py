"""Builds the broker and fixes the order in which its parts start and stop.

Start: embedded Postgres (main thread) -> migrations -> ownership, gRPC, HTTP -> ready line.
Stop, at SIGTERM or SIGINT: health NOT_SERVING -> ownership stores what is pending (drain_timeout_s) and tells agents to reconnect -> gRPC (1 s) -> HTTP (2 s) ->
pool -> embedded Postgres (20 s). A second signal ends the process at once; nothing acknowledged is lost by that.
"""

import asyncio
import contextlib
import functools
import gc
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from headrace_broker import __version__
from headrace_broker.actions.certificates import Revocations
from headrace_broker.actions.grants import GrantTable
from headrace_broker.actions.passwords import Passwords
from headrace_broker.actions.search import Search
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.advertise import advertised, web_url
from headrace_broker.alerts.desk import AlertDesk
from headrace_broker.alerts.duty import Alerting
from headrace_broker.alerts.facts import Watch
from headrace_broker.config import Config, masked
from headrace_broker.maintenance import tidy_inbox, tidy_operations
from headrace_broker.maintenance.index_logs import IndexLogs
from headrace_broker.maintenance.loop import repeat
from headrace_broker.maintenance.retention import Retention
from headrace_broker.maintenance.rollup import PERIOD_S as ROLLUP_PERIOD_S
from headrace_broker.maintenance.rollup import Rollup
from headrace_broker.maintenance.tidy_inbox import TidyInbox
from headrace_broker.maintenance.tidy_operations import TidyOperations
from headrace_broker.maintenance.watch_doors import WatchDoors
from headrace_broker.metrics import Metrics
from headrace_broker.model.access import hash_of, new_secret
from headrace_broker.model.audit import Caller
from headrace_broker.model.job import State
from headrace_broker.model.redaction import secret_names
from headrace_broker.model.shard import Shard
from headrace_broker.rpc.access import LEAST
from headrace_broker.rpc.attest import KEY_BYTES
from headrace_broker.rpc.connections import ConnectionLimits
from headrace_broker.rpc.doors import DoorReader
from headrace_broker.rpc.peers import identity_of
from headrace_broker.rpc.quotas import QuotaLimits
from headrace_broker.rpc.server import RpcServer
from headrace_broker.shards import reception
from headrace_broker.shards.balance import Balance
from headrace_broker.shards.owner import OwnerLimits
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.shards.type_figures import type_figures
from headrace_broker.shards.types import TypeTable
from headrace_broker.store import partitions
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.certificates import CertificateStore
from headrace_broker.store.database import AWAY, Database
from headrace_broker.store.embedded import EmbeddedError, EmbeddedPostgres, default_data_dir
from headrace_broker.store.grants import GrantStore
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.log_index import LogIndexes
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.migrate import MigrationError, Phase, migrate
from headrace_broker.store.peers import Peer
from headrace_broker.store.pool import ANY_FAILURE, POOL_SIZE, durability, open_pool, open_search_pool
from headrace_broker.store.reads import Reads
from headrace_broker.store.retire import Retirement
from headrace_broker.store.search import Finder
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.shards import shard_count
from headrace_broker.store.statistics import Statistics
from headrace_broker.store.tokens import TokenStore
from headrace_broker.store.users import UserStore
from headrace_broker.store.web_sessions import WebSessionStore
from headrace_broker.type_series import MOST_TYPES, TypeSeries

if TYPE_CHECKING:  # imported where they are started: not every broker serves pages, or speaks TLS
    from headrace_broker.http import HttpServer
    from headrace_broker.tls import Tls
    from headrace_broker.web.manager import Manager

WATCH_EMBEDDED_S = 0.5
TYPES_REFRESH_S = 0.5
HEALTH_S = 0.25
INDEX_LOGS_S = 60.0
WAIT_FOR_DATABASE_S = 1.0
SHOW_CERTIFICATE_S = 0.5

log = structlog.get_logger("headrace.app")


def run(config: Config) -> int:
    """Runs the broker until it is told to stop; returns the exit code. Called from the main thread. Raises TlsError for files that are no good."""
    options = config.options
    metrics = Metrics()
    tls = None
    if options.tls_cert is not None and options.tls_key is not None:
        from headrace_broker.tls import Files, Tls

        tls = Tls(Files(options.tls_cert, options.tls_key, options.tls_client_ca), metrics, http_clients=options.tls_require_client_cert == "all")
    embedded = None
    if options.database_url is None:
        embedded = EmbeddedPostgres(options.data_dir or default_data_dir(), durable=not options.testing, say=lambda line: log.info(line))
        embedded.start()
        log.info(embedded.description)
    try:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_App(config, embedded, metrics, tls).serve())
    finally:
        if embedded is not None:
            embedded.stop()


class _App:
    """The parts of one broker process."""

    def __init__(self, config: Config, embedded: EmbeddedPostgres | None, metrics: Metrics, tls: "Tls | None") -> None:
        self._config = config
        self._tls = tls
        self._embedded = embedded
        self._dsn = embedded.dsn if embedded is not None else config.options.database_url or ""
        self._servers = Database(self._dsn)
        self._database = embedded.description if embedded is not None else masked(self._dsn)
        self._stopping = asyncio.Event()
        self._metrics = metrics

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
            raise group.exceptions[0] from group
        finally:
            for each in (searching, pool):
                try:
                    await asyncio.wait_for(each.close(), 3)
                except TimeoutError:
                    each.terminate()
        return 0

    async def _serve(self, pool: "asyncpg.Pool[Any]", searching: "asyncpg.Pool[Any]", of: int) -> None:
        options = self._config.options
        version, off = await durability(pool)
        if off and not options.testing:
            log.error("the database can lose acknowledged jobs in a crash: these settings are off", settings=off)
        settings, auth, token_store, user_store = SettingsStore(pool), options.auth == "required", TokenStore(pool), UserStore(pool)
        grants = GrantTable(GrantStore(pool), token_store, user_store, identity_of, secret_names(options.redact))
        tokens, passwords = TokenTable(token_store, grants.check_token), Passwords()
        users = Users(user_store, passwords, grants.check_user)
        statistics, reads, finder, audit = Statistics(pool), Reads(pool), Finder(searching), AuditStore(pool)
        types, revocations = TypeTable(settings), Revocations(CertificateStore(pool))
        limits = OwnerLimits(
            lease_s=options.lease_s, heartbeat_s=options.heartbeat_s, disconnect_grace_s=options.disconnect_grace_s, accept_timeout_s=options.accept_timeout_s,
            payload_limit_bytes=options.payload_limit_bytes, cache_bytes=options.cache_bytes,
        )  # fmt: skip
        address = f"{socket.gethostname()} pid {os.getpid()} {','.join(options.listen)}"
        broker = uuid.uuid4().hex
        limits = replace(limits, cache_bytes=limits.cache_bytes // of)
        ownerships = Ownerships(
            [
                Ownership(
                    dsn=self._servers, pool=pool, types=types, limits=limits, metrics=self._metrics, address=address, version=__version__, shard=Shard(number, of),
                    broker=broker,
                )
                for number in range(of)
            ],
            types, settings,
        )  # fmt: skip
        for ownership in ownerships.each:
            ownership.testing = options.testing
            ownership.reader = DoorReader(options.payload_limit_bytes)
            ownership.find_ids = lambda owner: Search(owner, finder).ids
        first, key = ownerships.first, secrets.token_bytes(KEY_BYTES)
        self._metrics.gauges(lambda: _gauges(ownerships, pool))
        desks = [AlertDesk(AlertStore(pool), ownership) for ownership in ownerships.each]
        self._metrics.registry.register(TypeSeries(lambda: type_figures([ownership.owner for ownership in ownerships.owned()], MOST_TYPES)))
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as exits:
            exits.callback(passwords.close)
            server = RpcServer(
                ownerships=ownerships, reads=reads, finder=finder, graph=GraphReads(pool), settings=settings, statistics=statistics,
                logs=LogWriter(pool, types.log_limits, self._metrics), audit=audit, metrics=self._metrics,
                payload_limit=options.payload_limit_bytes, version=__version__, postgres_version=version, tasks=tasks, tokens=tokens, users=users, auth=auth,
                grants=grants, revocations=revocations, certificates=options.tls_client_ca is not None,
                connections=ConnectionLimits(**{name: getattr(options, name) for name in ConnectionLimits.__slots__}),
                quotas=QuotaLimits(**{name: getattr(options, f"quota_{name}") for name in QuotaLimits.__slots__}),
                alerts=desks, tls=_keys(self._tls) if self._tls is not None else None, key=key, named=address,
                brokers=BrokerStore(pool),
            )  # fmt: skip
            exits.push_async_callback(server.stop, 0)
            bound = await server.start(options.listen)
            http, web, side = None, None, list[asyncio.Task[None]]()
            passing_on = tasks.create_task(server.keep_routes())
            if options.http_listen != "off":
                from headrace_broker.web.manager import Manager, Services
                from headrace_broker.web.register import Register
                from headrace_broker.web.sessions import Sessions

                monotonic = asyncio.get_running_loop().time
                register = Register(Sessions(monotonic), WebSessionStore(pool), users, tokens, refresh_tokens=not auth)
                services = [
                    Services(ownership, reads, statistics, audit, finder, GraphReads(pool), users, tokens, options.payload_limit_bytes, desk, grants)
                    for ownership, desk in zip(ownerships.each, desks, strict=True)
                ]
                manager = Manager(lambda domain: services[ownerships.known(domain) or 0], register, __version__, LEAST, monotonic)
                side.append(tasks.create_task(register.keep_fresh()))
                http = self._open_http(ownerships, manager)
                web = self._web_address(http, manager)
                tasks.create_task(http.run_until_told())
            peer = Peer(
                socket.gethostname(), options.advertise or advertised(bound), options.advertise_http or (web_url(http.url) if http is not None else ""), key,
                self._tls.loaded.chain.decode() if self._tls is not None else "",
            )  # fmt: skip
            for ownership in ownerships.each:
                ownership.peer = peer
            if of > 1:
                side.append(tasks.create_task(Balance(broker, ownerships.each, BrokerStore(pool)).run()))
            owning = tasks.create_task(ownerships.run())
            retention = Retention(Retirement(pool), functools.partial(partitions.ranges, pool), lambda: first.owner.clock.now_s(), self._metrics)
            index_logs = IndexLogs(LogIndexes(pool), lambda: first.owner.clock.now_s())
            rollups = [_rollup(statistics, ownership) for ownership in ownerships.each]
            forget = TidyOperations(first.operation_store)
            tidy = TidyInbox(first.inbox, first.inbox.done if of > 1 else _taken(first))
            side += [
                tasks.create_task(repeat("inbox", tidy.run_once, period_s=tidy_inbox.PERIOD_S, ownership=first)),
                tasks.create_task(repeat("operations", forget.run_once, period_s=tidy_operations.PERIOD_S, ownership=first)),
                tasks.create_task(self._report_health(server, ownerships)),
                tasks.create_task(self._refresh(types, ownerships)),
                tasks.create_task(repeat("retention", retention.run_once, period_s=options.retention_period_s, ownership=first)),
                tasks.create_task(repeat("log index", index_logs.run_once, period_s=INDEX_LOGS_S, ownership=first)),
            ]
            for ownership, rollup in zip(ownerships.each, rollups, strict=True):
                watch_doors, watched = _watch_doors(ownership), Watch(statistics, ownership.inbox, ownership.health, asyncio.get_running_loop().time)
                side += [
                    tasks.create_task(Alerting(AlertStore(pool, ownership.shard), ownership, watched, self._metrics).run()),
                    tasks.create_task(repeat("doors", watch_doors.run_once, period_s=10.0, ownership=ownership)),
                    tasks.create_task(repeat("statistics", rollup.run_once, period_s=ROLLUP_PERIOD_S, ownership=ownership)),
                ]
            if self._tls is not None:
                side += [tasks.create_task(self._tls.keep_fresh()), tasks.create_task(self._show_certificate(ownerships, self._tls))]
            if options.tls_client_ca is not None:
                side.append(tasks.create_task(revocations.keep_fresh()))
            side.append(tasks.create_task(grants.keep_fresh()))
            if auth:
                await self._first_token(pool)
                side.append(tasks.create_task(tokens.keep_fresh()))
            if self._embedded is not None:
                side.append(tasks.create_task(self._watch_embedded(self._embedded)))
            else:
                side.append(tasks.create_task(self._servers.follow()))
            await self._first(ownerships.listening(), self._stopping.wait())
            gc.freeze()  # what was imported and built stays: a full pass of the collector, which is the longest step of the event loop, need not look at it each time
            if not self._stopping.is_set():
                await server.serving(ownerships.serving)
                self._say_ready(bound, http, web, ownerships)
            await self._stopping.wait()
            for task in side:
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
        from headrace_broker.http import HttpServer, http_app

        host, _, port = self._config.options.http_listen.rpartition(":")
        app = http_app(self._metrics, ownerships, manager.routes, behind_proxy=self._config.options.behind_proxy)
        tls = self._tls.context if self._tls is not None and self._config.options.http_tls == "on" else None
        try:
            return HttpServer(app, host, int(port), tls)
        except OSError as error:
            if self._config.origins["http_listen"] != "default":
                raise OSError(f"cannot listen on {self._config.options.http_listen} (--http-listen): {error.strerror}") from error
            http = HttpServer(app, host, 0, tls)
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

    async def _report_health(self, server: RpcServer, ownerships: Ownerships) -> None:
        said = False
        while True:
            serving = ownerships.serving
            if serving != said:
                await server.serving(serving)
                said = serving
            await asyncio.sleep(HEALTH_S)

    async def _refresh(self, types: TypeTable, ownerships: Ownerships) -> None:
        """Settings and pauses that another broker or a person changed in the database."""
        while True:
            await asyncio.sleep(TYPES_REFRESH_S)
            try:
                if await types.load():
                    for ownership in ownerships.owned():
                        reception.review_pauses(ownership.owner)
            except ANY_FAILURE as error:
                log.debug("settings not refreshed", reason=str(error))

    async def _show_certificate(self, ownerships: Ownerships, tls: "Tls") -> None:
        """Tells brokers that stand by which certificate they meet here."""
        while True:
            await asyncio.sleep(SHOW_CERTIFICATE_S)
            try:
                for ownership in ownerships.each:
                    await ownership.show_certificate(tls.loaded.chain.decode())
            except ANY_FAILURE as error:
                log.debug("other brokers do not know the new certificate yet", reason=str(error))

    async def _watch_embedded(self, embedded: EmbeddedPostgres) -> None:
        """Starts the server again when it has ended. Runs on the main thread, as it must."""
        while True:
            await asyncio.sleep(WATCH_EMBEDDED_S)
            try:
                if embedded.ensure_running():
                    log.warning("the embedded Postgres had ended; it was started again")
            except (EmbeddedError, OSError, subprocess.SubprocessError) as error:
                log.error("the embedded Postgres has ended and does not start; trying again", reason=str(error))

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


def _rollup(statistics: Statistics, ownership: Ownership) -> Rollup:
    return Rollup(statistics, lambda: ownership.owner, sums=ownership.shard.number == 0)


def _watch_doors(ownership: Ownership) -> WatchDoors:
    return WatchDoors(ownership.inbox, lambda job_id: ownership.owner.live(job_id))


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
        "jobs_waiting": sum(n for owner in owners for (_, state, _), n in owner.counted.items() if state is State.WAITING),
        "jobs_processing": sum(n for owner in owners for (_, state, _), n in owner.counted.items() if state is State.PROCESSING),
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


def _taken(ownership: Ownership) -> Callable[[], Awaitable[list[str]]]:
    """How far the inbox is taken up, where one owner takes all of it: its memory knows more than what is stored."""

    async def done() -> list[str]:
        return [ownership.owner.doors.cursor.done]

    return done
