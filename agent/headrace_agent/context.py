"""What a handler sees of its job. All methods may be called from the event loop and from threads; none of them blocks, but `submit_blocking`."""

import asyncio
import contextlib
import contextvars
import functools
import logging
import threading
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from headrace_client import BatchStatus, Dependency, Submitted
from headrace_client.codecs import aside
from headrace_proto.v1 import jobs_pb2
from headrace_proto.wire import to_timestamp

from headrace_agent import codec, doors
from headrace_agent.errors import Aborted, AgentError
from headrace_agent.job import Job

MAX_LINE = 16 * 1024  # characters of one line
LEVELS = {"debug": 1, "info": 2, "warning": 3, "error": 4}

_numbering = threading.RLock()  # of lines, and of who waits: threads of one handler may log at the same time; sending one may log
current: "contextvars.ContextVar[JobContext | None]" = contextvars.ContextVar("headrace_job", default=None)


class Sink(Protocol):
    """Where a context's reports go: the session, a pipe to the parent process, or a test."""

    def log(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
        """One line."""

    def progress(self, job_id: int, epoch: int, percent: float, text: str) -> None:
        """How far the attempt has come."""

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        """State that the next attempt should get."""

    def submit(self, *args: Any, **kwargs: Any) -> Coroutine[Any, Any, Submitted]:
        """Submits a child job; to be awaited in any event loop."""

    def submit_blocking(self, *args: Any, **kwargs: Any) -> Submitted:
        """The same for threads and processes."""

    def ask(self, method: str, *args: Any) -> Coroutine[Any, Any, Any]:
        """Calls a method of the client that reads; to be awaited in any event loop."""

    def ask_blocking(self, method: str, *args: Any) -> Any:
        """The same for threads and processes."""


class JobLog:
    """Lines that are stored with the attempt. Python's own `logging` inside a handler ends up here too, and the methods take what its take: `info("sent %d", count)`."""

    def __init__(self, write: Callable[[int, str], None]) -> None:
        self._write = write

    def debug(self, text: str, *args: object) -> None:
        """For the developer of the handler."""
        self._write(1, _filled(text, args))

    def info(self, text: str, *args: object) -> None:
        """Normal."""
        self._write(2, _filled(text, args))

    def warning(self, text: str, *args: object) -> None:
        """Something to look at."""
        self._write(3, _filled(text, args))

    def error(self, text: str, *args: object) -> None:
        """Something failed."""
        self._write(4, _filled(text, args))

    def exception(self, text: str, *args: object) -> None:
        """The same, with the traceback of the exception that is being handled."""
        self._write(4, f"{_filled(text, args)}\n{traceback.format_exc().rstrip()}")


def _filled(text: str, args: tuple[object, ...]) -> str:
    """The text with its arguments in their places; behind it where they do not fit: a wrong call ends no job."""
    try:
        return text % args if args else text
    except (TypeError, ValueError):
        return f"{text} {args!r}"


class JobContext:
    """One attempt of one job. `lease_epoch` rises with every lease of the job: hand it to other systems as a fencing token.

    Made for every job, so it makes nothing that a handler may not ask for.
    """

    __slots__ = (
        "_aborted", "_bytes", "_children", "_door", "_full_at", "_job", "_lines", "_log", "_log_full", "_raises", "_waiters", "job_id", "lease_epoch", "sink", "state",
    )  # fmt: skip

    def __init__(self, job: Job, sink: Sink, state: Any) -> None:
        self._job = job
        self.sink = sink
        self._log: JobLog | None = None
        self._aborted = False
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] | None = None
        self._raises = False  # whether calls raise Aborted: in threads and processes
        self._lines = self._bytes = 0
        self._log_full = False
        self._door: doors.Door | None = None
        self._children: Counter[str] | None = None  # by type: how many were submitted without a key
        self._full_at = 0  # number of the first line beyond the limit
        self.state = state
        self.job_id, self.lease_epoch = job.key

    @property
    def type(self) -> str:
        """Job type."""
        return self._job.type

    @property
    def run(self) -> int:
        """Run, from 1; a requeue begins the next."""
        return self._job.run

    @property
    def attempt(self) -> int:
        """Attempt within the run, from 1."""
        return self._job.attempt

    @property
    def max_attempts(self) -> int:
        """Attempts that the type allows in a run."""
        return self._job.terms.max_attempts

    @property
    def losses(self) -> int:
        """Attempts of this run whose agent was lost."""
        return self._job.losses

    @property
    def instance_id(self) -> str:
        """Business case; may be empty."""
        return self._job.instance_id

    @property
    def priority(self) -> int:
        """The job's own part of its score."""
        return self._job.terms.priority

    @property
    def labels(self) -> dict[str, str]:
        """Labels given at submission."""
        return dict(self._job.labels)

    @property
    def payload(self) -> bytes:
        """The input as it was submitted."""
        return self._job.payload

    @property
    def content_type(self) -> str:
        """Media type of the payload."""
        return self._job.content_type or "application/json"

    @property
    def trace_context(self) -> str:
        """W3C traceparent given at submission; may be empty."""
        return self._job.trace_context

    @property
    def checkpoint(self) -> bytes | None:
        """What an earlier attempt of this run saved last."""
        return self._job.checkpoint

    @property
    def log(self) -> JobLog:
        """Lines that are stored with the attempt."""
        if self._log is None:
            self._log = JobLog(self._line)
        return self._log

    @property
    def aborted(self) -> bool:
        """Whether the handler should stop: somebody asked for the job's end, or its lease is over."""
        return self._aborted

    async def wait_aborted(self) -> None:
        """Returns once `aborted` is true; in any event loop, such as one that a handler runs in its thread."""
        waiter = asyncio.get_running_loop(), asyncio.Event()
        with _numbering:
            self._waiters = [*(self._waiters or ()), waiter]
        try:
            if not self._aborted:  # who sets it looks for waiters afterwards
                await waiter[1].wait()
        finally:
            with _numbering:
                self._waiters = [other for other in self._waiters if other is not waiter]

    def progress(self, percent: float, text: str = "") -> None:
        """Says how far the attempt has come: 0 to 100, and a text for people. Kept in memory, not stored."""
        self._check()
        self.sink.progress(self.job_id, self.lease_epoch, float(percent), codec.words(text))

    def save_checkpoint(self, data: bytes) -> None:
        """Stores state that the next attempt of this run finds in `checkpoint`, if this one does not complete. The newest counts.

        Raises AgentError when it is no bytes, or more than the broker keeps, which is as much as of a payload; in a worker process the attempt fails with that. More than
        64 KiB that codecs encode, saved in the event loop, go through a thread: the next call raises what was wrong with them, or the attempt fails with it.
        """
        self._check()
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise AgentError(f"a checkpoint is bytes, found {type(data).__name__}: encode it, as by json.dumps(...).encode()")
        self.sink.checkpoint(self.job_id, self.lease_epoch, bytes(data))

    async def submit(self, type: str, data: Any = None, **options: Any) -> Submitted:  # noqa: A002
        """Submits a child of this job, with the options of `Client.submit`. From a thread or process use `submit_blocking`.

        A handler that is tried again does not submit its children twice: the n-th child of a type that an attempt submits is that of every other attempt of the run, or,
        with a `key`, the child of that key. Its body is then that of the first time. A child belongs to the parent's business case unless it names another.
        """
        return await self.sink.submit(type, data, **self._child(type, options))

    def submit_blocking(self, type: str, data: Any = None, **options: Any) -> Submitted:  # noqa: A002
        """Submits another job from a thread or process."""
        self._check()
        return self.sink.submit_blocking(type, data, **self._child(type, options))

    async def dependencies(self) -> list[Dependency]:
        """The jobs that this one depends on, in the order of its submission, with their results (8 MiB of them at most; see `left_out`). Read when it is called."""
        found: list[Dependency] = await self.sink.ask("dependencies", self.job_id)
        return found

    def dependencies_blocking(self) -> list[Dependency]:
        """The same from a thread or process."""
        self._check()
        found: list[Dependency] = self.sink.ask_blocking("dependencies", self.job_id)
        return found

    async def batch(self) -> BatchStatus:
        """For the callback of a batch: how many members ended how, and the ids of those that failed. Read when it is called."""
        found: BatchStatus = await self.sink.ask("batch_status", self.job_id)
        return found

    def batch_blocking(self) -> BatchStatus:
        """The same from a thread or process."""
        self._check()
        found: BatchStatus = self.sink.ask_blocking("batch_status", self.job_id)
        return found

    def _child(self, type_: str, options: dict[str, Any]) -> dict[str, Any]:
        """The options that make a job a child of this one."""
        name = options.get("key") or ""
        if not name:
            with _numbering:
                self._children = self._children or Counter()
                self._children[type_] += 1
                name = f"{type_}#{self._children[type_]}"
        return {"instance_id": self.instance_id, **options, "parent_id": self.job_id, "key": f"{self.job_id}.{self.run}.{name}"}

    def transaction(self, source: Any) -> AbstractAsyncContextManager[Any]:
        """`async with ctx.transaction(source) as con:` the handler's effects and the job's completion in one transaction of the queue's own database.

        `source`: a pool or connection of asyncpg or psycopg. The end of the block completes the job and commits; an exception rolls both back, and is how the attempt
        ends when it leaves the handler. After the block the job is completed, whatever the handler does or returns: give its result to `set_result` inside.

        Raises:
            LeaseLost: at the end of the block, when the lease is somebody else's by now; all is rolled back. AgentError: the connection does not fit.
        """
        return doors.transaction(self, source)

    def transaction_blocking(self, source: Any) -> AbstractContextManager[Any]:
        """The same for threads and processes: `with ctx.transaction_blocking(source) as con:` with a connection or pool of psycopg."""
        return doors.transaction_blocking(self, source)

    def completing(self) -> AbstractContextManager[None]:
        """`with ctx.completing():` around a transaction of any library, in threads and in the event loop, in which the handler itself calls headrace.complete_job.

        Its arguments are `ctx.job_id`, `ctx.lease_epoch` and the result. The transaction must be committed when the block ends. Raises LeaseLost as `transaction` does.
        """
        return doors.completing(self)

    def set_result(self, result: Any) -> None:
        """The job's result, inside of `transaction`; the newest counts."""
        if self._door is None or self._door.committed:
            raise AgentError("set_result belongs inside of ctx.transaction(); elsewhere return the result")
        self._door.result = result

    async def once(self, source: Any, effect: Callable[[Any], Awaitable[Any]], *, step: str = "") -> Any:
        """Runs `effect(con)` in a transaction of a database of yours, at most once for this run of the job, and returns its result, which must be JSON.

        The job may run twice (its agent dies after the commit, say); the second time finds what the first has done and returns its result. `source`: as for
        `transaction`. `step` tells effects of one job apart. The database needs the table that `headrace-agent once-table` prints.
        """
        return await doors.once(self, source, effect, step)

    def once_blocking(self, source: Any, effect: Callable[[Any], Any], *, step: str = "") -> Any:
        """The same for threads and processes, with psycopg."""
        return doors.once_blocking(self, source, effect, step)

    @property
    def door(self) -> "doors.Door | None":
        """For the runner: the transaction that may have completed the job; None: there is none."""
        return self._door

    def open_door(self) -> "doors.Door":
        """For `completing`: from now on the job may be completed by a transaction, whatever is known of its commit."""
        self._check()
        if self._door is not None and self._door.committed:
            raise AgentError("the job is completed: its transaction was committed")
        self._door = doors.Door()
        self._tell_door(committed=False)
        return self._door

    def close_door(self, door: "doors.Door") -> None:
        """For `completing`: the transaction was committed."""
        door.committed = True
        self._tell_door(committed=True)

    def set_door(self, committed: bool) -> None:
        """For the runner of a process, whose handler has a context of its own."""
        self._door = self._door or doors.Door()
        self._door.committed = committed

    def door_result(self) -> bytes | None:
        """For `transaction`: what `set_result` said, encoded."""
        encoded, seal = self._door_bytes(), getattr(self.sink, "seal_result", None)
        return encoded if encoded is None or seal is None else bytes(seal(encoded, self.type))

    def _door_bytes(self) -> bytes | None:
        assert self._door is not None
        return None if self._door.result is None else codec.encode(self._door.result)

    async def kept_door_result(self) -> bytes | None:
        """The same, as it travels: a large one is kept outside by now, where claims are set up. Raises ResultNotKept."""
        encoded, seal, keep = self._door_bytes(), getattr(self.sink, "seal_result", None), getattr(self.sink, "keep_result", None)
        if encoded is None:
            return None
        if seal is not None:
            encoded = bytes(await aside(encoded, functools.partial(seal, encoded, self.type)))
        return encoded if keep is None else bytes(await keep(encoded))

    def kept_door_result_blocking(self) -> bytes | None:
        """The same for threads and processes."""
        result, keep = self.door_result(), getattr(self.sink, "keep_result_blocking", None)
        return result if result is None or keep is None else bytes(keep(result))

    def _tell_door(self, *, committed: bool) -> None:
        tell = getattr(self.sink, "door", None)  # only processes have to tell somebody
        if tell is not None:
            tell(self.job_id, self.lease_epoch, committed)

    def mark_aborted(self) -> None:
        """For the runner: from now on `aborted` is true. Called in any thread."""
        self._aborted = True
        for loop, event in self._waiters or ():
            with contextlib.suppress(RuntimeError):  # it was closed, and nobody waits in it
                loop.call_soon_threadsafe(event.set)

    def raise_when_aborted(self) -> None:
        """For executors: calls of this context raise Aborted from now on, once `aborted` is true."""
        self._raises = True

    def _check(self) -> None:
        if self._raises and self._aborted:
            raise Aborted("the job is to stop")

    def end_log(self) -> None:
        """For executors, when the attempt is over: lines beyond the limit were counted, and the last of them is sent, so that the broker knows how many there were."""
        if self._log_full and self._lines > self._full_at:
            self._send_line(2, "")

    def _line(self, level: int, text: str) -> None:
        self._check()
        text = codec.words(str(text)[:MAX_LINE])
        with _numbering:  # until it is sent, since lines travel in the order of their numbers
            self._lines += 1
            if self._log_full:
                return
            terms = self._job.terms
            self._bytes += len(text.encode())
            if self._lines > terms.log_limit_lines or self._bytes > terms.log_limit_bytes:
                self._log_full, self._full_at = True, self._lines
            self._send_line(level, text)

    def _send_line(self, level: int, text: str) -> None:
        line = jobs_pb2.LogLine(line_no=self._lines, at=to_timestamp(time.time()), level=level, text=text)  # type: ignore[arg-type]  # enum numbers
        self.sink.log(self.job_id, self.lease_epoch, line)


class CaptureHandler(logging.Handler):
    """Sends records that are logged inside a handler to its job's log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`."""
        ctx = current.get()
        if ctx is None or record.name.startswith(("headrace", "grpc")):
            return
        level = 4 if record.levelno >= logging.ERROR else 3 if record.levelno >= logging.WARNING else 2 if record.levelno >= logging.INFO else 1
        try:
            ctx._line(level, self.format(record))  # the context's own helper
        except Aborted:
            return
        except Exception:  # a wrong call of `logging` ends no job: it is told as every handler of `logging` tells it
            self.handleError(record)
