"""What a user builds: an agent with its handlers; and how it runs.

Three threads: this one keeps the sessions with brokers (heartbeats, leases, outcomes), the work thread runs async handlers, a pool runs the others. A handler can hold
up the work thread, which a warning then names, but never the heartbeats.
"""

import asyncio
import contextlib
import functools
import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import grpc
from headrace_client import Client, HeadraceError, RateLimit
from headrace_client.channel import Stubs, addresses, metadata, open_channel
from headrace_client.claims import ClaimCheck
from headrace_client.codecs import Codec, Codecs
from headrace_client.credentials import Metadata, Token
from headrace_client.tls import Tls
from headrace_proto.v1 import agents_pb2
from headrace_proto.wire import DOMAIN_KEY

from headrace_agent import leases
from headrace_agent.desk import Desk, DeskReports
from headrace_agent.errors import AgentError
from headrace_agent.metrics import AgentMetrics
from headrace_agent.outbox import Room
from headrace_agent.registry import Backoff, Handler, make_handler
from headrace_agent.session import FINAL, Session
from headrace_agent.work import Lifespan, Middleware, Stop, Work

F = TypeVar("F", bound=Callable[..., Any])
LEASE_CHECK_S = 0.1
PING_S = 1.0
BLOCKED_S = 2.0
DELIVERY_S = 5.0  # at the end: for outcomes that wait for their acknowledgement

log = logging.getLogger("headrace.agent")


class Agent:
    """A named set of handlers.

    agent = Agent("mailer")

    @agent.job("mail.send", timeout_s=30, retry=Backoff(5))
    async def send(ctx: JobContext, mail: Mail) -> Sent: ...
    """

    def __init__(
        self, name: str, *, slots: int = 10, labels: dict[str, str] | None = None, build: str = "", codecs: Sequence[Codec] = (),
        on_undecodable: str = "fail", encode_errors: bool = False, claims: ClaimCheck | None = None,
    ) -> None:  # fmt: skip
        """`slots`: jobs at the same time, all types together. `labels` and `build` are shown to people.

        `codecs`: what payloads and checkpoints came through, and what results and checkpoints go through; those of the clients. `on_undecodable`: a job for which a
        codec or a key is missing here may "fail" for good or "wait", uncharged, for an agent that has it. `encode_errors`: messages and tracebacks of failures go through
        the codecs too. `claims`: where payloads are read that are kept outside the broker, and where large results are kept, and large payloads of child jobs.
        """
        if on_undecodable not in ("fail", "wait"):
            raise AgentError(f'on_undecodable is "fail" or "wait", found {on_undecodable!r}')
        if not isinstance(slots, int) or slots < 1:
            raise AgentError(f"slots is how many jobs an agent runs at the same time, at least 1, found {slots!r}")
        self.name = name
        self.slots = slots
        self.labels = dict(labels or {})
        self.build = build
        self.codecs = list(codecs)
        self.on_undecodable = on_undecodable
        self.encode_errors = encode_errors
        self.claims = claims
        self.handlers: dict[str, Handler] = {}
        self.middlewares: list[Middleware] = []
        self.lifespans: list[Lifespan] = []
        self.metrics = AgentMetrics()

    def job(
        self, type: str, *, executor: str | None = None, slots: int = 0, timeout_s: float | None = None, max_attempts: int | None = None,  # noqa: A002
        retry: Backoff | None = None, retry_on: tuple[type[BaseException], ...] = (), fail_on: tuple[type[BaseException], ...] = (),
        priority: int | None = None, max_losses: int | None = None, exhausted_state: str | None = None,
        on_dependency_failed: str | None = None, delete_completed_after_s: float | None = None,
        delete_aborted_after_s: float | None = None, delete_error_after_s: float | None = None, alert_on_error: bool | None = None,
        alert_on_abort: bool | None = None, alert_channels: str | None = None, alert_group_wait_s: float | None = None, alert_group_interval_s: float | None = None,
        alert_repeat_interval_s: float | None = None, alert_resolve_after_s: float | None = None, log_limit_lines: int | None = None, log_limit_bytes: int | None = None,
        memory_bytes: int | None = None, attempts_per_process: int | None = None,
        payload_schema: dict[str, Any] | str | bool | None = None,
        ageing_s: float | None = None, ageing_max: int | None = None, start_within_s: float | None = None, concurrency: int | None = None,
        concurrency_per_key: int | None = None, rate_limit: RateLimit | None = None, depth_limit: int | None = None,
        fairness_weights: Mapping[str, float] | None = None, breaker_share: float | None = None, breaker_minimum: int | None = None,
        breaker_window_s: float | None = None, breaker_open_s: float | None = None, breaker_open_max_s: float | None = None, breaker_canaries: int | None = None,
        breaker_at_once: int | None = None,
    ) -> Callable[[F], F]:  # fmt: skip
        """Registers the function below it for a job type.

        `executor`: "async" (the default for async functions), "thread" (for plain ones) or "process" (own interpreter, killable, capped at `memory_bytes`,
        replaced after `attempts_per_process`, which is for handlers that leak).
        `slots`: jobs of this type at the same time, 0: as many as the agent has. `retry_on`: only these exceptions are tried again. `fail_on`: these are not.
        `payload_schema`: the JSON Schema that payloads must meet when they are submitted; True makes it of the annotation of the function's argument.
        The other arguments are the type's settings; what a person set for the type wins over them.

        Raises:
            AgentError: the function or an argument does not fit.
        """
        settings = {
            "timeout_s": timeout_s, "max_attempts": max_attempts, "priority": priority, "max_losses": max_losses, "exhausted_state": exhausted_state,
            "on_dependency_failed": on_dependency_failed,
            "delete_completed_after_s": delete_completed_after_s, "delete_aborted_after_s": delete_aborted_after_s,
            "delete_error_after_s": delete_error_after_s, "alert_on_error": alert_on_error, "alert_on_abort": alert_on_abort,
            "alert_channels": alert_channels, "alert_group_wait_s": alert_group_wait_s, "alert_group_interval_s": alert_group_interval_s,
            "alert_repeat_interval_s": alert_repeat_interval_s, "alert_resolve_after_s": alert_resolve_after_s,
            "log_limit_lines": log_limit_lines, "log_limit_bytes": log_limit_bytes, "payload_schema": payload_schema,
            "ageing_s": ageing_s, "ageing_max": ageing_max, "start_within_s": start_within_s, "concurrency": concurrency,
            "concurrency_per_key": concurrency_per_key, "rate_limit": rate_limit, "depth_limit": depth_limit, "fairness_weights": fairness_weights,
            "breaker_share": breaker_share, "breaker_minimum": breaker_minimum, "breaker_window_s": breaker_window_s, "breaker_open_s": breaker_open_s,
            "breaker_open_max_s": breaker_open_max_s, "breaker_canaries": breaker_canaries, "breaker_at_once": breaker_at_once,
        }  # fmt: skip

        def register(function: F) -> F:
            self._add(
                make_handler(
                    type, function, executor=executor, slots=slots, retry_on=retry_on, fail_on=fail_on, memory_bytes=memory_bytes,
                    attempts_per_process=attempts_per_process, settings=settings, retry=retry,
                )
            )  # fmt: skip
            return function

        return register

    def middleware(self, layer: Middleware) -> Middleware:
        """Registers `async def layer(ctx, call_next)`, which runs around every attempt; the first registered is the outermost."""
        self.middlewares.append(layer)
        return layer

    def lifespan(self, function: Callable[[SimpleNamespace], AsyncIterator[None]]) -> Callable[[SimpleNamespace], AsyncIterator[None]]:
        """Registers an async generator `async def life(state): open(); yield; close()`: what it puts on `state` handlers find in `ctx.state`."""
        self.lifespans.append(contextlib.asynccontextmanager(function))
        return function

    def on_start(self, function: Callable[[SimpleNamespace], Awaitable[None] | None]) -> Callable[[SimpleNamespace], Awaitable[None] | None]:
        """Registers a function that runs before the first job; what it puts on `state` handlers find in `ctx.state`. Its error ends the agent."""
        _refuse_generator(function)

        @contextlib.asynccontextmanager
        async def life(state: SimpleNamespace) -> AsyncIterator[None]:
            await _maybe(function(state))
            yield

        self.lifespans.append(life)
        return function

    def on_stop(self, function: Callable[[SimpleNamespace], Awaitable[None] | None]) -> Callable[[SimpleNamespace], Awaitable[None] | None]:
        """Registers a function that runs after the last job."""
        _refuse_generator(function)

        @contextlib.asynccontextmanager
        async def life(state: SimpleNamespace) -> AsyncIterator[None]:
            yield
            await _maybe(function(state))

        self.lifespans.append(life)
        return function

    def codecs_for(self, domain: str | None) -> Codecs | None:
        """The agent's codecs for jobs of a domain; None: it has none."""
        return Codecs(self.codecs, dict(metadata(domain, None, None)())[DOMAIN_KEY]) if self.codecs else None

    def include(self, other: "Agent") -> None:
        """Takes over the handlers, hooks and middleware of another agent, from another module. Raises AgentError when both have codecs, or claims, and not the same."""
        if other.codecs and other.codecs != self.codecs:
            if self.codecs:
                raise AgentError(f"agents {self.name!r} and {other.name!r} have codecs of their own: give both the same list, or run them apart")
            self.codecs, self.on_undecodable, self.encode_errors = other.codecs, other.on_undecodable, other.encode_errors
        if other.claims is not None and self.claims is not None and other.claims != self.claims:
            raise AgentError(f"agents {self.name!r} and {other.name!r} have claims of their own: give both the same ClaimCheck, or run them apart")
        self.claims = self.claims or other.claims
        for handler in other.handlers.values():
            self._add(handler)
        self.middlewares += other.middlewares
        self.lifespans += other.lifespans

    def _add(self, handler: Handler) -> None:
        if handler.name in self.handlers and self.handlers[handler.name] is not handler:
            raise AgentError(f"job type {handler.name!r} has two handlers: {self.handlers[handler.name].function.__qualname__} and {handler.function.__qualname__}")
        self.handlers[handler.name] = handler

    async def run(
        self, broker: str | Sequence[str] | None = None, *, slots: int | None = None, domain: str | None = None, token: Token | None = None,
        tls_ca: str | Path | None = None, tls_client_cert: str | Path | None = None, tls_client_key: str | Path | None = None,
        drain: asyncio.Event | None = None, drain_timeout_s: float = 30.0,
    ) -> None:  # fmt: skip
        """Serves jobs until `drain` is set or every broker tells it to stay away; then finishes what runs, within `drain_timeout_s`, and gives back the rest. Start hooks
        that have not ended by then are cancelled too.
        `token`: the secret, or a function that gives it, such as a TokenFile; one that can be pickled, where handlers run in processes. `tls_ca`, `tls_client_cert`,
        `tls_client_key`: as those of `Client`.

        Cancellation: stops at once; what ran is lost to its leases' end.

        Raises:
            AgentError: there are no handlers, a name is no text, or every broker refuses what the agent says of itself. InvalidRequest: files of
            certificates cannot be used. Whatever a start hook raises.
        """
        if not self.handlers:
            raise AgentError(f"agent {self.name!r} has no handlers: register some with @agent.job(...)")
        loop = asyncio.get_running_loop()
        desk = Desk(self.handlers, slots or self.slots, loop, self.metrics)
        options = {
            "domain": domain, "token": token, "tls_ca": tls_ca, "tls_client_cert": tls_client_cert, "tls_client_key": tls_client_key, "actor": f"agent {self.name}",
        }  # fmt: skip
        brokers = addresses(broker)
        work = desk.work = Work(
            self.handlers, middleware=self.middlewares, lifespans=self.lifespans, threads=desk.slots, reports=DeskReports(desk),
            client_options={"broker": brokers, **options, "codecs": self.codecs, "claims": self.claims}, codecs=self.codecs_for(domain),
            on_undecodable=self.on_undecodable, encode_errors=self.encode_errors, claims=self.claims,
        )  # fmt: skip
        drain = drain or asyncio.Event()
        try:
            if not await _started(work, drain, drain_timeout_s):
                return
            async with Client(brokers, codecs=self.codecs, claims=self.claims, **options) as desk.client:  # type: ignore[arg-type]  # options by name
                await self._serve(desk, brokers, options, drain, drain_timeout_s)
        finally:
            await asyncio.to_thread(work.close)

    async def _serve(self, desk: Desk, brokers: list[str], options: dict[str, Any], drain: asyncio.Event, drain_timeout_s: float) -> None:
        incarnation_id = uuid.uuid4().hex
        pairs, tls = metadata(options["domain"], options["token"], options["actor"]), Tls.of(options["tls_ca"], options["tls_client_cert"], options["tls_client_key"])
        if tls.encrypted:
            tls.credentials()  # files that cannot be read are told at once; later they may be put right
        try:
            desk.sessions = [
                Session(desk, address, name=self.name, incarnation_id=incarnation_id, build=self.build, labels=self.labels, metadata=pairs, tls=tls)
                for address in brokers
            ]
        except (TypeError, ValueError) as error:
            raise AgentError(f"agent {self.name!r} cannot be announced: its name, build, labels and job types are text ({error})") from error
        try:
            await self._serve_brokers(desk, brokers, pairs, incarnation_id, tls, drain, drain_timeout_s)
        except BaseExceptionGroup as group:
            raise next((error for error in group.exceptions if isinstance(error, AgentError)), group) from None

    async def _serve_brokers(
        self, desk: Desk, brokers: list[str], pairs: Metadata, incarnation_id: str, tls: Tls, drain: asyncio.Event, drain_timeout_s: float
    ) -> None:  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            watching = [tasks.create_task(self._watch_leases(desk)), tasks.create_task(self._watch_work(desk))]
            sessions = [tasks.create_task(session.run()) for session in desk.sessions]
            told = tasks.create_task(drain.wait())
            away = tasks.create_task(_all_done(sessions))
            await asyncio.wait([told, away], return_when=asyncio.FIRST_COMPLETED)
            await self._drain(desk, drain_timeout_s)
            await self._deliver(desk, brokers, pairs, incarnation_id, tls)
            for task in [*watching, *sessions, told, away]:
                task.cancel()

    async def _drain(self, desk: Desk, timeout_s: float) -> None:
        """Finishes what runs; what does not finish in time is stopped and given back."""
        desk.draining = True
        desk.wake()
        try:
            async with asyncio.timeout(timeout_s):
                await desk.idle.wait()
            return
        except TimeoutError:
            log.warning("giving back %d jobs that did not finish within %g s", desk.leases.running, timeout_s)
        for held in desk.leases.all():
            desk.stop(held, Stop.DRAIN, 0.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_S):
                await desk.idle.wait()

    async def _deliver(self, desk: Desk, brokers: list[str], pairs: Metadata, incarnation_id: str, tls: Tls) -> None:
        """Waits for acknowledgements; what the streams do not get rid of goes by unary calls."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_S):
                await desk.delivered.wait()
                while len(desk.logs):
                    await asyncio.sleep(0.02)
        for address in brokers:
            if not len(desk.outbox) and not len(desk.logs):
                return
            channel = open_channel(address, tls)
            with contextlib.suppress(grpc.aio.AioRpcError, HeadraceError):
                stubs = Stubs(channel).agents
                desk.outbox.send_again()
                while outcomes := desk.outbox.take_one_by_one():
                    request = agents_pb2.ReportOutcomesRequest(incarnation_id=incarnation_id, outcomes=outcomes)
                    acks = (await stubs.ReportOutcomes(request, timeout=DELIVERY_S, metadata=pairs())).acks
                    desk.acknowledged((ack.job_id, ack.lease_epoch) for ack in acks if ack.disposition in FINAL)  # about the others another broker is asked
                desk.logs.send_all_again()
                while lines := desk.logs.take(address, 0, Room()):
                    await stubs.UploadLogs(agents_pb2.UploadLogsRequest(incarnation_id=incarnation_id, logs=lines), timeout=DELIVERY_S, metadata=pairs())
                    desk.logs.stored(address, 0)
            await channel.close()

    async def _watch_leases(self, desk: Desk) -> None:
        """Stops handlers whose leases may not be trusted any more."""
        while True:
            await asyncio.sleep(LEASE_CHECK_S)
            self.metrics.slots_in_use.set(desk.leases.running)
            for held in desk.leases.expired(leases.clock_s()):
                log.warning("lease of job %s (%s) was not renewed in time: stopping its handler", held.job.job_id, held.job.type)
                self.metrics.leases_lost.inc()
                desk.stop(held, Stop.LEASE, 0.0)

    async def _watch_work(self, desk: Desk) -> None:
        """Names the handler that blocks the event loop of the others."""
        loop = asyncio.get_running_loop()
        assert desk.work is not None
        while True:
            answered = asyncio.Event()
            desk.work.ping(functools.partial(loop.call_soon_threadsafe, answered.set))
            try:
                async with asyncio.timeout(BLOCKED_S):
                    await answered.wait()
            except TimeoutError:
                self.metrics.blocked.inc()
                log.warning("a handler blocks the event loop for more than %g s: %s; make it a plain function, and it runs in a thread", BLOCKED_S, desk.work.blocking())
                await answered.wait()
            await asyncio.sleep(PING_S)


def _refuse_generator(function: Callable[..., object]) -> None:
    """Called, it would do nothing."""
    if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
        raise AgentError(f"{function.__qualname__} yields: register it with @agent.lifespan")


async def _started(work: Work, drain: asyncio.Event, drain_timeout_s: float) -> bool:
    """Runs the start hooks, whose errors it raises; False: the agent is to end, and they did not within its time for that: they may wait for what never comes."""
    starting, told = asyncio.ensure_future(asyncio.to_thread(work.start)), asyncio.ensure_future(drain.wait())
    try:
        await asyncio.wait([starting, told], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait([starting], timeout=drain_timeout_s)
        if starting.done():
            starting.result()
        return starting.done()
    finally:
        for task in (starting, told):
            task.cancel()  # a thread that starts goes on, until the work is closed


async def _all_done(tasks: "list[asyncio.Task[None]]") -> None:
    await asyncio.wait(tasks)


async def _maybe(result: Awaitable[None] | None) -> None:
    if inspect.isawaitable(result):
        await result
