"""What a handler sees of its job. All methods may be called from the event loop and from threads; none of them blocks, but `submit_blocking`."""

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from headrace_client import Submitted
from headrace_proto.v1 import agents_pb2, jobs_pb2
from headrace_proto.wire import to_timestamp

from headrace_agent.errors import Aborted

MAX_LINES = 10_000
MAX_BYTES = 4 * 1024 * 1024
MAX_LINE = 16 * 1024  # characters of one line
LEVELS = {"debug": 1, "info": 2, "warning": 3, "error": 4}

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


class JobLog:
    """Lines that are stored with the attempt. Python's own `logging` inside a handler ends up here too."""

    def __init__(self, write: Callable[[int, str], None]) -> None:
        self._write = write

    def debug(self, text: str) -> None:
        """For the developer of the handler."""
        self._write(1, text)

    def info(self, text: str) -> None:
        """Normal."""
        self._write(2, text)

    def warning(self, text: str) -> None:
        """Something to look at."""
        self._write(3, text)

    def error(self, text: str) -> None:
        """Something failed."""
        self._write(4, text)


class JobContext:
    """One attempt of one job. `lease_epoch` rises with every lease of the job: hand it to other systems as a fencing token."""

    def __init__(self, job: agents_pb2.AssignedJob, sink: Sink, state: Any) -> None:
        self.job_id = job.job_id
        self.type = job.type
        self.run = job.run
        self.attempt = job.attempt
        self.max_attempts = job.max_attempts
        self.losses = job.losses
        self.lease_epoch = job.lease_epoch
        self.instance_id = job.instance_id
        self.priority = job.priority
        self.labels = dict(job.labels)
        self.payload = job.payload
        self.content_type = job.content_type or "application/json"
        self.trace_context = job.trace_context
        self.checkpoint = job.checkpoint if job.HasField("checkpoint") else None
        self.state = state
        self.log = JobLog(self._line)
        self._sink = sink
        self._aborted = threading.Event()
        self._waiters: list[asyncio.Future[None]] = []
        self._lock = threading.Lock()
        self._most_lines = job.log_limit_lines if job.HasField("log_limit_lines") else MAX_LINES
        self._most_bytes = job.log_limit_bytes if job.HasField("log_limit_bytes") else MAX_BYTES
        self._lines = 0
        self._bytes = 0
        self._log_full = False
        self._raises = False  # whether calls raise Aborted: in threads and processes

    @property
    def aborted(self) -> bool:
        """Whether the handler should stop: somebody asked for the job's end, or its lease is over."""
        return self._aborted.is_set()

    async def wait_aborted(self) -> None:
        """Returns once `aborted` is true."""
        if self.aborted:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def progress(self, percent: float, text: str = "") -> None:
        """Says how far the attempt has come: 0 to 100, and a text for people. Kept in memory, not stored."""
        self._check()
        self._sink.progress(self.job_id, self.lease_epoch, float(percent), text)

    def save_checkpoint(self, data: bytes) -> None:
        """Stores state that the next attempt of this run finds in `checkpoint`, if this one does not complete. The newest counts."""
        self._check()
        self._sink.checkpoint(self.job_id, self.lease_epoch, bytes(data))

    async def submit(self, type: str, data: Any = None, **options: Any) -> Submitted:  # noqa: A002
        """Submits another job, with the options of `Client.submit`. From a thread or process use `submit_blocking`."""
        return await self._sink.submit(type, data, **options)

    def submit_blocking(self, type: str, data: Any = None, **options: Any) -> Submitted:  # noqa: A002
        """Submits another job from a thread or process."""
        self._check()
        return self._sink.submit_blocking(type, data, **options)

    def mark_aborted(self) -> None:
        """For the runner: from now on `aborted` is true. Called in the event loop of `wait_aborted`, or where nobody waits."""
        self._aborted.set()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def raise_when_aborted(self) -> None:
        """For executors: calls of this context raise Aborted from now on, once `aborted` is true."""
        self._raises = True

    def _check(self) -> None:
        if self._raises and self._aborted.is_set():
            raise Aborted("the job is to stop")

    def _line(self, level: int, text: str) -> None:
        self._check()
        text = str(text)[:MAX_LINE]
        with self._lock:
            if self._log_full:
                return
            self._lines += 1
            self._bytes += len(text)
            number = self._lines
            if number > self._most_lines or self._bytes > self._most_bytes:
                self._log_full = True
                text, level = f"log limit reached: {self._most_lines} lines and {self._most_bytes} bytes are kept of one attempt", 3
        line = jobs_pb2.LogLine(line_no=number, at=to_timestamp(time.time()), level=level, text=text)  # type: ignore[arg-type]  # enum numbers
        self._sink.log(self.job_id, self.lease_epoch, line)


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
