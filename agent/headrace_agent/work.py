"""Where handlers run: a thread with an event loop of its own, so that nothing a handler does can hold up the session and its heartbeats.

The session thread hands over batches of jobs and orders to stop; this side hands back outcomes, log lines and progress (`Reports`). Neither waits for the other.
"""

import asyncio
import contextvars
import functools
import inspect
import logging
import os
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from enum import Enum
from types import SimpleNamespace
from typing import Any, Protocol

import uvloop
from headrace_client import tracing
from headrace_client.claims import ClaimCheck
from headrace_client.codecs import Codecs, encoded_aside
from headrace_proto.claim import CLAIM
from headrace_proto.encoding import MAGIC
from headrace_proto.v1 import agents_pb2

from headrace_agent import codec, outcomes
from headrace_agent._fork import end_child
from headrace_agent.context import CaptureHandler, JobContext, Sink, current
from headrace_agent.errors import Aborted, LeaseLost, PayloadUnavailable, ResultNotKept, Snooze, UndecodablePayload
from headrace_agent.job import Job
from headrace_agent.processes import WorkerPool, WorkerProcess
from headrace_agent.registry import Handler
from headrace_agent.sealing import SealedSink, fetch_payload, keep_result, open_job, seal_error

Middleware = Callable[[JobContext, Callable[[JobContext], Awaitable[Any]]], Awaitable[Any]]
Lifespan = Callable[[SimpleNamespace], Any]


HANDLER_THREADS = "headrace-handler"
"""How the names of threads begin that run handlers."""
SWEEP_S = 0.05  # how late a timeout may be noticed
SHORT_S = 1.0  # attempts with a shorter timeout get a timer of their own
END_S = 2.0  # how long handlers that still run when the agent ends are waited for
CLOSE_S = 30.0  # the same of all that ends then, stop hooks included


log = logging.getLogger("headrace.agent")


class Stop(Enum):
    """Why a handler is stopped."""

    ABORT = "abort"  # somebody asked: the outcome says aborted
    LEASE = "lease"  # the lease is over: there is no outcome
    DRAIN = "drain"  # the agent ends: the job is given back


class Reports(Sink, Protocol):
    """What the work thread tells the session thread; all may be called from any thread."""

    def ended(self, job: Job, outcome: outcomes.Ended) -> None:
        """An attempt is over."""

    def unstoppable(self, job: Job, *, aborted: bool) -> None:
        """A handler that was told to stop goes on; its slot stays taken. `aborted`: because somebody asked for the job's end."""

    def lease_end(self, key: tuple[int, int]) -> float:
        """Until when a process may run under the lease (job_id, lease epoch), by `leases.clock_s`, as far as is known now."""


class _Attempt:
    __slots__ = ("ctx", "deadline", "handler", "job", "killed", "sealed", "started", "stop", "task", "timed_out", "worker")

    def __init__(self, job: Job, handler: Handler, ctx: JobContext, sealed: SealedSink | None) -> None:
        self.job = job
        self.handler = handler
        self.ctx = ctx
        self.sealed = sealed  # the sink of its context, where there are codecs or claims
        self.task: asyncio.Task[None] | None = None
        self.worker: WorkerProcess | None = None
        self.stop: Stop | None = None
        self.deadline = 0.0  # loop's clock
        self.started = False
        self.timed_out = False
        self.killed = False  # its process was ended

    def cancel(self) -> None:
        """Stops its task. One that has not begun is not cancelled, which would skip its outcome: it sees that it is to stop when it begins."""
        if self.started and self.task is not None:
            self.task.cancel()


class Work:
    """Runs attempts. `start` and `close` block; the other methods may be called from any thread and do not."""

    def __init__(
        self, handlers: dict[str, Handler], *, middleware: list[Middleware], lifespans: list[Lifespan], threads: int, reports: Reports,
        client_options: dict[str, Any], codecs: Codecs | None = None, on_undecodable: str = "fail", encode_errors: bool = False,
        claims: ClaimCheck | None = None,
    ) -> None:  # fmt: skip
        self._handlers = handlers
        self._lifespans = lifespans
        self._reports = reports
        self._codecs = codecs
        self._claims = claims
        self._sealed = codecs is not None or claims is not None
        self._wait_for_codecs = on_undecodable == "wait"
        self._encode_errors = encode_errors and codecs is not None
        self._attempts: dict[tuple[int, int], _Attempt] = {}
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=HANDLER_THREADS)
        self._workers = WorkerPool(client_options)
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._run_loop, name="headrace-work", daemon=True)
        self._hooks = AsyncExitStack()
        self._capture = CaptureHandler()
        self._sweeping = False
        self._leaving = self._left = False
        self._turn = threading.Lock()  # of who starts and who closes: an agent that is cancelled at once has both done at the same time
        self._closed = False
        self._pid = os.getpid()
        self._entering: Future[None] | None = None
        self.state = SimpleNamespace()
        self.payload_limit_bytes = 1024 * 1024
        call: Callable[[JobContext], Awaitable[Any]] = self._execute
        for layer in reversed([trace_attempts, *middleware] if tracing.enabled() else middleware):
            call = functools.partial(_layered, layer, call)
        self._call = call

    def start(self) -> None:
        """Starts the thread and runs the start hooks, whose errors it raises. What was closed before does not start."""
        with self._turn:
            if self._closed:
                return
            if any(handler.executor == "thread" for handler in self._handlers.values()):
                sys.setswitchinterval(0.0005)  # pure Python in many threads: the session thread gets its turn 10 times sooner than by default
            root = logging.getLogger()
            root.addHandler(self._capture)
            if root.level in (logging.NOTSET, logging.WARNING):
                root.setLevel(logging.INFO)
            self._thread.start()
            entering = self._entering = asyncio.run_coroutine_threadsafe(self._enter(), self._loop)
        entering.result()

    def assign(self, jobs: list[Job]) -> None:
        """Starts attempts: one crossing into the work thread for the whole batch."""
        self._loop.call_soon_threadsafe(self._begin, jobs)

    def stop_attempt(self, job_id: int, epoch: int, why: Stop, grace_s: float) -> None:
        """Asks a handler to stop; `grace_s` later it is forced to, as far as that is possible."""
        self._loop.call_soon_threadsafe(self._stop, job_id, epoch, why, grace_s)

    def ping(self, answer: Callable[[], object]) -> None:
        """Calls `answer` in the work thread: it tells that no handler blocks the event loop."""
        self._loop.call_soon_threadsafe(answer)

    def blocking(self) -> str:
        """What the work thread is doing now: the job's name, and where in its code."""
        task = asyncio.current_task(self._loop)
        name = next((f"{attempt.job.type} {attempt.job.job_id}" for attempt in list(self._attempts.values()) if attempt.task is task), "?")
        frame = sys._current_frames().get(self._thread.ident or 0)
        where = traceback.extract_stack(frame)[-1] if frame is not None else None
        place = f"{where.filename}:{where.lineno} in {where.name}" if where is not None else "?"
        return f"{name} at {place}"

    def close(self) -> None:
        """Stops what still runs, without an outcome, runs the stop hooks, and ends the thread; where a handler's own thread does not stop, both are left to end later."""
        with self._turn:
            self._closed = True
        if self._entering is None:  # it was never started
            self._pool.shutdown(wait=False)
            self._loop.close()
            return
        self._entering.cancel()  # unless it is done
        try:
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(CLOSE_S)
        except TimeoutError:
            log.warning("the stop hooks have not ended within %g s: %s", CLOSE_S, self.blocking())
        finally:
            logging.getLogger().removeHandler(self._capture)
            self._workers.close()
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._loop.call_soon_threadsafe(self._leave)
            if not self._attempts:
                self._thread.join(5)
                if not self._thread.is_alive():
                    self._loop.close()

    # In the work thread ------------------------------------------------------------------------------------------------------------------------

    def _run_loop(self) -> None:
        """Runs the loop until the agent ends. asyncio's loops pass on a SystemExit of a task that a handler has made, and a handler may stop its loop: others go on."""
        while not self._left:
            try:
                self._loop.run_forever()
            except BaseException as error:
                log.warning("%s left the handlers' event loop, as that of a task which a handler made does; the loop goes on", type(error).__name__)

    async def _enter(self) -> None:
        for lifespan in self._lifespans:
            await self._hooks.enter_async_context(lifespan(self.state))

    async def _end(self) -> None:
        """No handler outlives the agent: one that was dropped with its loop would end whenever, and in whatever thread, it is collected."""
        running = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        for job_id, epoch in list(self._attempts):
            self._stop(job_id, epoch, Stop.LEASE, 0.0)
        if running:
            await asyncio.wait(running, timeout=END_S)
        await self._hooks.aclose()

    def _leave(self) -> None:
        """Ends the loop, once nothing runs in it any more."""
        self._leaving = True
        if not self._attempts:
            self._left = True
            self._loop.stop()

    def _begin(self, jobs: list[Job]) -> None:
        now = self._loop.time()
        for job in jobs:
            handler = self._handlers[job.type]
            sealed = SealedSink(self._reports, self._codecs, self._claims, job.type, self._loop) if self._sealed else None
            attempt = self._attempts[job.key] = _Attempt(job, handler, JobContext(job, sealed or self._reports, self.state), sealed)
            timeout_s = job.terms.timeout_s
            attempt.deadline = now + timeout_s
            if timeout_s < SHORT_S:
                self._loop.call_later(timeout_s, self._end_overdue)
            attempt.task = self._loop.create_task(self._run(attempt))
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Looks for attempts that take too long: once for all of them, since a timer for each would cost more than most jobs."""
        self._end_overdue()
        self._sweeping = bool(self._attempts)
        if self._sweeping:
            self._loop.call_later(SWEEP_S, self._sweep)

    def _end_overdue(self) -> None:
        now = self._loop.time()
        for attempt in list(self._attempts.values()):
            if now >= attempt.deadline and not attempt.timed_out and attempt.stop is None and attempt.task is not None:
                attempt.timed_out = True
                attempt.cancel()
                if attempt.handler.executor == "async":  # of threads it is told where they are waited for
                    self._loop.call_later(1.0, self._report_unstoppable, attempt)

    async def _run(self, attempt: _Attempt) -> None:
        """One attempt from its start to its outcome. It is reported whatever comes of it: else its slot would be taken, and its lease renewed, for ever."""
        job = attempt.job
        attempt.started = True
        try:
            outcome = await self._outcome(attempt)
        except BaseException as error:
            log.warning("job %s (%s): what its handler raised cannot be told: %s", job.job_id, job.type, type(error).__name__)
            outcome = outcomes.untold(job, error)
        if attempt.sealed is not None and attempt.sealed.checkpoints is not None:
            await attempt.sealed.checkpoints.end()
        if attempt.ctx.door is not None:
            outcome = outcomes.after_door(job, outcome, committed=attempt.ctx.door.committed)
        self._attempts.pop(job.key, None)
        attempt.ctx.end_log()
        if self._encode_errors and self._codecs is not None and isinstance(outcome, agents_pb2.Outcome) and outcome.HasField("error"):
            self._seal(job, outcome, self._codecs)
        self._reports.ended(job, outcome)
        if self._leaving:
            self._leave()

    async def _outcome(self, attempt: _Attempt) -> outcomes.Ended:
        """Runs the handler; how it ended. Raises what it meets when it puts that into a message."""
        job = attempt.job
        outcome: outcomes.Ended
        try:
            current.set(attempt.ctx)
            if attempt.stop is not None or attempt.timed_out:
                raise asyncio.CancelledError
            if job.payload.startswith(CLAIM):
                await fetch_payload(job, self._claims, wait=self._wait_for_codecs)
            if self._codecs is not None or job.payload.startswith(MAGIC) or job.checkpoint is not None:
                await open_job(job, self._codecs, wait=self._wait_for_codecs)
            result = await self._call(attempt.ctx)
            if attempt.sealed is None:
                outcome = outcomes.completed(job, result, self.payload_limit_bytes)
            else:
                outcome = await self._sealed_result(attempt.sealed, job, result)
        except asyncio.CancelledError as error:
            outcome = self._stopped(attempt, error)
        except Aborted as error:
            outcome = self._stopped(attempt, error)
        except LeaseLost as error:
            log.warning("job %s (%s) ends without an outcome: %s", job.job_id, job.type, error)
            outcome = None
        except UndecodablePayload as error:
            outcome = outcomes.undecodable(job, error)
        except PayloadUnavailable as error:
            outcome = outcomes.unavailable(job, error)
        except ResultNotKept as error:
            outcome = outcomes.not_kept(job, error)
        except Exception as error:
            outcome = self._stopped(attempt, error) if attempt.stop in (Stop.LEASE, Stop.DRAIN) else outcomes.raised(job, attempt.handler, error)
        except BaseException as error:  # SystemExit, and whatever else a library makes of one
            outcome = outcomes.raised(job, attempt.handler, error)
        return outcome

    async def _sealed_result(self, sealed: SealedSink, job: Job, result: Any) -> agents_pb2.Outcome | bytes:
        """The handler returned: its result, encoded, and kept outside when it is large. Raises ResultNotKept, and what came of its last checkpoints."""
        if sealed.checkpoints is not None:
            await sealed.checkpoints.saved()
        outcome = outcomes.result_bytes(job, result)
        if not isinstance(outcome, bytes):
            return outcome
        if self._codecs is not None and outcome:
            outcome = await encoded_aside(self._codecs, outcome, job.type, "result")
        if self._claims is not None:
            outcome = await keep_result(outcome, self._claims)
        return outcomes.fitting(job, outcome, self.payload_limit_bytes)

    def _seal(self, job: Job, outcome: agents_pb2.Outcome, codecs: Codecs) -> None:
        """Encodes the error of an outcome. One that cannot be encoded is not told."""
        try:
            seal_error(outcome, codecs)
        except Exception as error:
            log.warning("job %s (%s): its error cannot be encoded, and is not told: %s", job.job_id, job.type, type(error).__name__)
            outcome.error.message, outcome.error.traceback = f"{outcome.error.code}: the message cannot be encoded ({type(error).__name__})", ""

    def _stopped(self, attempt: _Attempt, error: BaseException) -> agents_pb2.Outcome | None:
        if attempt.stop is Stop.ABORT:
            return outcomes.aborted(attempt.job, killed=attempt.killed)
        if attempt.stop is Stop.DRAIN:
            return outcomes.released(attempt.job)
        if attempt.stop is Stop.LEASE:
            return None
        if attempt.timed_out:
            return outcomes.timed_out(attempt.job)
        return outcomes.raised(attempt.job, attempt.handler, error)  # the handler cancelled itself

    async def _execute(self, ctx: JobContext) -> Any:
        attempt = self._attempts[ctx.job_id, ctx.lease_epoch]
        handler = attempt.handler
        if handler.executor == "process":
            return await self._in_process(attempt)
        arguments: list[Any] = [ctx] if handler.takes_ctx else []
        if handler.takes_argument:
            arguments.append(codec.decode(ctx.payload, handler.argument))
        if handler.executor == "async":
            try:
                return await handler.function(*arguments)
            finally:
                end_child(self._pid)
        ctx.raise_when_aborted()
        result = await self._in_thread(attempt, functools.partial(contextvars.copy_context().run, handler.function, *arguments))
        return await result if inspect.iscoroutine(result) else result  # an async function below a plain decorator

    async def _in_thread(self, attempt: _Attempt, call: Callable[[], Any]) -> Any:
        """A thread cannot be killed."""

        def stop() -> None:
            attempt.ctx.mark_aborted()
            if attempt.stop is None:
                self._loop.call_later(1.0, self._report_unstoppable, attempt)

        return await self._to_its_end(call, stop)

    async def _in_process(self, attempt: _Attempt) -> Any:
        handler = attempt.handler

        def run() -> bytes:
            worker = attempt.worker = self._workers.take(handler.memory_bytes, attempt.job.key)
            try:
                if attempt.stop is not None or attempt.timed_out:  # while the worker was started: there was none yet to be told
                    raise Aborted
                return worker.run(
                    handler.function, (handler.takes_ctx, handler.takes_argument), attempt.job, attempt.ctx.sink, attempt.ctx.set_door,
                    functools.partial(self._reports.lease_end, attempt.job.key),
                )  # fmt: skip
            finally:
                attempt.worker = None
                self._workers.give_back(worker, handler.attempts_per_process)

        def stop() -> None:
            if attempt.worker is not None:
                attempt.killed = True
                _aside(attempt.worker.stop, attempt.job.key)

        return await self._to_its_end(run, stop)

    async def _to_its_end(self, call: Callable[[], Any], stop: Callable[[], None]) -> Any:
        """Waits for a call in a thread of the pool even when the attempt is cancelled, which `stop` is to hasten: its slot is taken until it ends."""
        future = self._loop.run_in_executor(self._pool, _told, self._pid, call)
        cancelled: asyncio.CancelledError | None = None
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError as error:
                cancelled = error
                stop()
        if cancelled is not None:
            future.exception()  # it is looked at: the attempt's end is that of the cancellation
            raise cancelled
        return future.result()

    def _stop(self, job_id: int, epoch: int, why: Stop, grace_s: float) -> None:
        attempt = self._attempts.get((job_id, epoch))
        if attempt is None or attempt.task is None:
            return
        first = attempt.stop is None
        attempt.stop = why if first or why is Stop.LEASE else attempt.stop
        attempt.ctx.mark_aborted()
        if attempt.worker is not None:
            _aside(attempt.worker.ask_to_stop, attempt.job.key)  # it may wait until a large payload was taken
        if attempt.handler.executor == "async" or grace_s <= 0:
            attempt.cancel()
        if first or why is Stop.LEASE:
            self._loop.call_later(max(0.0, grace_s), self._force, attempt)

    def _force(self, attempt: _Attempt) -> None:
        """The grace is over."""
        if attempt.task is None or attempt.task.done():
            return
        attempt.cancel()
        if attempt.handler.executor != "process":
            self._loop.call_later(1.0, self._report_unstoppable, attempt)

    def _report_unstoppable(self, attempt: _Attempt) -> None:
        if attempt.task is not None and not attempt.task.done():
            self._reports.unstoppable(attempt.job, aborted=attempt.stop is Stop.ABORT)


def _aside(order: Callable[[tuple[int, int]], None], attempt: tuple[int, int]) -> None:
    """Gives an order that may take a while, in a thread of its own: handlers may have all of the loop's, and keep them."""
    threading.Thread(target=order, args=(attempt,), name="headrace-order", daemon=True).start()


def _told(pid: int, call: Callable[[], Any]) -> Any:
    """Calls it, in the agent's process of this id.

    A future takes no StopIteration, and whoever awaits it would wait for ever: it is a RuntimeError, as that of a coroutine is (PEP 479).
    """
    try:
        return call()
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration").with_traceback(error.__traceback__) from error
    finally:
        end_child(pid)


async def trace_attempts(ctx: JobContext, call_next: Callable[[JobContext], Awaitable[Any]]) -> Any:
    """The middleware around all others where spans are wanted."""
    attributes: dict[str, str | int] = {"messaging.message.id": str(ctx.job_id), "headrace.attempt": ctx.attempt, "headrace.lease_epoch": ctx.lease_epoch}
    with tracing.handling(ctx.type, ctx.trace_context, attributes, harmless=Snooze):
        return await call_next(ctx)


async def _layered(layer: Middleware, inner: Callable[[JobContext], Awaitable[Any]], ctx: JobContext) -> Any:
    return await layer(ctx, inner)
