"""Handlers in processes of their own: killable one by one, with a memory cap. Workers are spawned, never forked, and used again; one that is killed or dies is replaced.

A worker ends by itself when its agent dies: its end of the pipe closes. It leads a session of its own, so what its handler has started ends with it, when it is killed,
dies, or is not needed any more; only who leaves the process group, as a daemon does, escapes.

It knows until when its lease may be trusted, which it is told with each renewal, and ends by itself then: its agent may have been stopped, or be held up, and the job run
elsewhere. Both read the same clock, that of their machine.
"""

import contextlib
import hashlib
import importlib
import inspect
import logging
import math
import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from typing import Any

from headrace_client import Submitted, SyncClient
from headrace_client.channel import metadata
from headrace_client.codecs import Codecs
from headrace_proto.v1 import jobs_pb2
from headrace_proto.wire import DOMAIN_KEY

from headrace_agent import codec, leases
from headrace_agent._fork import end_child
from headrace_agent.context import CaptureHandler, JobContext, Sink, current
from headrace_agent.errors import Aborted, Fail, InvalidPayload, LeaseLost, ProcessDied, Retry, Snooze
from headrace_agent.job import Job
from headrace_agent.outcomes import alone, untold
from headrace_agent.sealing import keep_result

KILL_AFTER_S = 1.0
LOOK_S = 1.0  # a worker that died is noticed by then, although a child that its handler has forked holds its pipe open
LEAST_LOOK_S = 0.01
TELL_AT = 0.25  # of what is left of a lease: so soon at the latest its worker hears that it was renewed
SIZE_BYTES = 8  # before each message of a worker
PART_BYTES = 1 << 18
_spawn = multiprocessing.get_context("spawn")


def _never() -> float:
    """The end of a lease that has none."""
    return math.inf


class WorkerProcess:
    """One worker, used by one attempt at a time. `run` blocks its thread; `stop` and `ask_to_stop` may be called from any other.

    They name the attempt, by (job_id, lease epoch): an order may come when it has just ended and another one runs here, which it is not for.
    """

    def __init__(self, memory_bytes: int | None, client_options: dict[str, Any]) -> None:
        self.memory_bytes = memory_bytes
        self.attempts = 0
        """How many have ended here."""
        self._pipe, theirs = _spawn.Pipe()
        self._process = _spawn.Process(target=_serve, args=(theirs, memory_bytes, client_options), daemon=True)
        self._process.start()
        theirs.close()
        self._stopping = False
        self._attempt: tuple[int, int] | None = None  # that it is for now
        self._turn = threading.Lock()  # of `_attempt`
        self._sending = threading.Lock()  # of what is sent, which may take for as long as the worker reads nothing
        self._lease_end = math.inf  # as the worker knows it; written by `run`
        self._parts = bytearray()  # what has come of its messages; written by `run`

    @property
    def alive(self) -> bool:
        """Whether it may be used again."""
        return self._process.is_alive() and not self._stopping

    def begin(self, attempt: tuple[int, int] | None) -> None:
        """From now on it is for this attempt; None: for none."""
        with self._turn:
            self._attempt = attempt

    def run(
        self, function: Callable[..., Any], how: tuple[bool, bool], job: Job, sink: Sink, door: Callable[[bool], None], lease_end: Callable[[], float] = _never,
    ) -> bytes:  # fmt: skip
        """Runs one attempt; returns its encoded result. `door` hears of transactions that may complete the job: False begun, True committed. `lease_end`: until when it
        may run, by `leases.clock_s`, as far as is known now.

        Raises:
            ProcessDied: the process ended. LeaseLost: it did so since its lease was over, or when it was. Otherwise what the handler raised, or its likeness when it
            cannot be sent.
        """
        self._lease_end = lease_end()
        self._send(("run", function.__module__, function.__qualname__, how, job, self._lease_end))
        while True:
            try:
                kind, attempt, *rest = self._receive(job.key, lease_end)
            except (EOFError, OSError):
                self._process.join(5)
                self._signal(signal.SIGKILL)  # what it has left
                if leases.clock_s() >= self._lease_end:
                    raise LeaseLost("its lease was not renewed in time, and the process that ran its handler has ended") from None
                cap = "" if self.memory_bytes is None else f"; it may use {self.memory_bytes} bytes of memory"
                raise ProcessDied(f"the process that ran the handler ended with exit code {self._process.exitcode}{cap}") from None
            if attempt != job.key:  # a thread that an earlier attempt has left there
                continue
            if kind == "result":
                return bytes(rest[0])
            if kind == "error":
                error = _likeness(*rest)
                if "MemoryError" in getattr(error, "remote_classes", ()):  # its memory may be full of what handlers have left: the next one gets a new process
                    self._end()
                raise error
            if kind == "log":
                line = jobs_pb2.LogLine()
                line.ParseFromString(rest[0])
                sink.log(job.job_id, job.lease_epoch, line)
            elif kind == "progress":
                sink.progress(job.job_id, job.lease_epoch, *rest)
            elif kind == "checkpoint":
                try:
                    sink.checkpoint(job.job_id, job.lease_epoch, *rest)
                except Exception:  # it is not taken, and its handler goes on in there
                    self._end()
                    raise
            elif kind == "door":
                door(*rest)

    def ask_to_stop(self, attempt: tuple[int, int]) -> None:
        """Sets `aborted` in the handler's context, if it is for this attempt, also when that only begins."""
        if self._attempt == attempt:
            self._send(("abort", attempt))

    def stop(self, attempt: tuple[int, int]) -> None:
        """Ends the process, if it is for this attempt: SIGTERM, then SIGKILL after a second."""
        with self._turn:
            if self._attempt != attempt:
                return
            self._stopping = True
        self._signal(signal.SIGTERM)
        self._process.join(KILL_AFTER_S)
        self._signal(signal.SIGKILL)
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(self._pipe.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)  # `run` may be in the middle of sending it a job, and a daemon hold its end open

    def close(self) -> None:
        """Lets an idle worker end."""
        self._pipe.close()

    def _end(self) -> None:
        """It is not used again."""
        self._stopping = True
        self._signal(signal.SIGKILL)

    def _tell(self, attempt: tuple[int, int], lease_end: float) -> float:
        """Tells the worker until when it may run, if that is another time by now; returns for how long to wait before that is looked at again, in seconds."""
        if lease_end != self._lease_end:
            self._lease_end = lease_end
            self._send(("lease", attempt, lease_end))
        return min(LOOK_S, max(LEAST_LOOK_S, (lease_end - leases.clock_s()) * TELL_AT))

    def _receive(self, attempt: tuple[int, int], lease_end: Callable[[], float]) -> Any:
        """The next message. It comes in parts: of one that its worker could not send to the end nobody waits for the rest, whoever holds the pipe open."""
        while (message := self._next()) is None:
            if self._pipe.poll(self._tell(attempt, lease_end())):
                part = os.read(self._pipe.fileno(), PART_BYTES)
                if not part:
                    raise EOFError
                self._parts += part
            elif not self._process.is_alive() and not self._pipe.poll():
                raise EOFError
        return message

    def _next(self) -> Any:
        """The message that has come as a whole, if there is one."""
        end = SIZE_BYTES + int.from_bytes(self._parts[:SIZE_BYTES])
        if len(self._parts) < end:
            return None
        message = ForkingPickler.loads(bytes(self._parts[SIZE_BYTES:end]))
        del self._parts[:end]
        return message

    def _signal(self, number: signal.Signals) -> None:
        """To the worker and all that its handler has started."""
        pid = self._process.pid
        assert pid is not None  # it was started
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
            return
        if self._process.is_alive():  # it has no session of its own yet; or another thread has just found out that it ended
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _send(self, message: tuple[Any, ...]) -> None:
        with self._sending, contextlib.suppress(OSError, ValueError):  # a dead worker is noticed by `run`
            self._pipe.send(message)


class WorkerPool:
    """Idle workers by memory cap. Used by the threads that wait for workers."""

    def __init__(self, client_options: dict[str, Any]) -> None:
        self._client_options = client_options
        self._idle: dict[int | None, list[WorkerProcess]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def take(self, memory_bytes: int | None, attempt: tuple[int, int]) -> WorkerProcess:
        """An idle worker, or a new one, for an attempt."""
        worker = self._find(memory_bytes) or WorkerProcess(memory_bytes, self._client_options)
        worker.begin(attempt)
        return worker

    def _find(self, memory_bytes: int | None) -> WorkerProcess | None:
        with self._lock:
            idle = self._idle.get(memory_bytes, [])
            while idle:
                worker = idle.pop()
                if worker.alive:
                    return worker
        return None

    def give_back(self, worker: WorkerProcess, most_attempts: int | None = None) -> None:
        """Keeps a worker that may be used again: one that has not run `most_attempts` yet, where that is a number."""
        worker.begin(None)
        worker.attempts += 1
        with self._lock:
            if worker.alive and not self._closed and (most_attempts is None or worker.attempts < most_attempts):
                self._idle.setdefault(worker.memory_bytes, []).append(worker)
                return
        worker.close()

    def close(self) -> None:
        """Ends all idle workers."""
        with self._lock:
            self._closed = True
            idle = [worker for workers in self._idle.values() for worker in workers]
            self._idle.clear()
        for worker in idle:
            worker.close()


def _likeness(kind: str, code: str, message: str, options: dict[str, Any], text: str, fingerprint: str) -> BaseException:
    """The exception of the other process, or one that reports the same."""
    error: Any  # an exception that carries where it was raised in the other process
    if kind == "Retry":
        error = Retry(message, after_s=options["after_s"])
        error.remote_code = code
    elif kind == "Snooze":
        error = Snooze(options["after_s"])
    elif kind == "InvalidPayload":
        error = InvalidPayload(message)
    elif kind == "Aborted":
        error = Aborted(message)
    elif kind == "LeaseLost":
        error = LeaseLost(message)
    else:
        error = Fail(message, permanent=options["permanent"], code=code)
        if "Fail" not in options["classes"]:
            error.remote_classes = options["classes"]
    error.remote_traceback, error.remote_fingerprint = text, fingerprint
    assert isinstance(error, BaseException)
    return error


# In the worker ---------------------------------------------------------------------------------------------------------------------------------


class _Lease:
    """Until when the attempt that runs may go on. The thread that hears the agent begins, renews and looks at it; the one that runs the handler ends it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._attempt: tuple[int, int] | None = None
        self._end = math.inf

    def begin(self, attempt: tuple[int, int], end: float) -> None:
        """An attempt is about to run."""
        with self._turn:
            self._attempt, self._end = attempt, end

    def renew(self, attempt: tuple[int, int], end: float) -> None:
        """It may go on for longer. Of one that has ended it says nothing."""
        with self._turn:
            if self._attempt == attempt:
                self._end = end

    def end(self, attempt: tuple[int, int]) -> None:
        """It has ended."""
        with self._turn:
            if self._attempt == attempt:
                self._attempt = None

    def left_s(self) -> float | None:
        """For how long it may go on, in seconds, a second at most, since timers stand still while a machine is suspended; 0: it may not. None: nothing runs."""
        with self._turn:
            return None if self._attempt is None else min(LOOK_S, max(0.0, self._end - leases.clock_s()))


class _PipeSink:
    """Reports through the pipe. The handler and its threads may report at the same time."""

    def __init__(self, pipe: "Connection[Any, Any]", client_options: dict[str, Any]) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._options = client_options
        self._client: SyncClient | None = None

    def send(self, kind: str, attempt: tuple[int, int], *what: Any) -> None:
        data = ForkingPickler.dumps((kind, attempt, *what))  # what cannot be sent leaves the pipe as it is
        size = len(data).to_bytes(SIZE_BYTES)
        with self._lock:
            for piece in (size + data.tobytes(),) if len(data) < PART_BYTES else (size, data):
                left = memoryview(piece)
                while left:
                    left = left[os.write(self._pipe.fileno(), left) :]

    def log(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
        self.send("log", (job_id, epoch), line.SerializeToString())

    def progress(self, job_id: int, epoch: int, percent: float, text: str) -> None:
        self.send("progress", (job_id, epoch), percent, text)

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        self.send("checkpoint", (job_id, epoch), data)

    def seal_result(self, data: bytes, type_: str) -> bytes:
        codecs = self._options.get("codecs")
        domain = dict(metadata(self._options.get("domain"), None, None)())[DOMAIN_KEY]
        return Codecs(codecs, domain).encode(data, type_, "result") if codecs else data

    async def keep_result(self, data: bytes) -> bytes:
        claims = self._options.get("claims")
        return await keep_result(data, claims) if claims is not None else data

    def keep_result_blocking(self, data: bytes) -> bytes:
        import asyncio

        return asyncio.run(self.keep_result(data))

    def door(self, job_id: int, epoch: int, committed: bool) -> None:
        self.send("door", (job_id, epoch), committed)

    async def submit(self, *args: Any, **kwargs: Any) -> Submitted:
        import asyncio

        return await asyncio.to_thread(self.submit_blocking, *args, **kwargs)

    def submit_blocking(self, *args: Any, **kwargs: Any) -> Submitted:
        if self._client is None:
            self._client = SyncClient(**self._options)
        return self._client.submit(*args, **kwargs)

    async def ask(self, method: str, *args: Any) -> Any:
        import asyncio

        return await asyncio.to_thread(self.ask_blocking, method, *args)

    def ask_blocking(self, method: str, *args: Any) -> Any:
        if self._client is None:
            self._client = SyncClient(**self._options)
        return getattr(self._client, method)(*args)


def _serve(pipe: "Connection[Any, Any]", memory_bytes: int | None, client_options: dict[str, Any]) -> None:
    """The worker's main: one attempt after the other, until the pipe closes."""
    os.setsid()
    multiprocessing.current_process().daemon = False  # its handlers may start processes, which end with it all the same: they are of its group
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the agent's business
    if memory_bytes is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    sink = _PipeSink(pipe, client_options)
    logging.getLogger().addHandler(CaptureHandler())
    logging.getLogger().setLevel(logging.INFO)
    running: list[JobContext] = []
    lease = _Lease()
    asked: set[tuple[int, int]] = set()  # attempts that are to stop
    tasks: list[tuple[Any, ...]] = []
    more = threading.Semaphore(0)

    def listen() -> None:
        while True:
            try:
                while not pipe.poll(lease.left_s()):
                    if lease.left_s() == 0:  # whoever should have stopped this attempt cannot, and its job may run elsewhere by now
                        os.killpg(0, signal.SIGKILL)
                message = pipe.recv()
            except BaseException:  # the agent is gone, and nobody waits for this attempt; or there is no memory for what it sends
                os.killpg(0, signal.SIGKILL)
            if message[0] == "abort":
                asked.add(message[1])
                for ctx in tuple(running):  # which the other thread empties
                    if (ctx.job_id, ctx.lease_epoch) in asked:
                        ctx.mark_aborted()
            elif message[0] == "lease":
                lease.renew(*message[1:])
            else:
                lease.begin(message[4].key, message[5])
                tasks.append(message)
                more.release()

    threading.Thread(target=listen, name="headrace-pipe", daemon=True).start()
    while True:
        more.acquire()
        _, module, qualname, how, job, _ = tasks.pop(0)
        ctx = JobContext(job, sink, None)
        ctx.raise_when_aborted()
        running.append(ctx)
        asked.intersection_update({job.key})
        if job.key in asked:
            ctx.mark_aborted()
        token = current.set(ctx)
        try:
            result = _call(module, qualname, how, ctx)
            ctx.end_log()
            sink.send("result", job.key, result)
        except BaseException as error:
            ctx.end_log()
            try:
                sink.send("error", job.key, *_portable(error, module, qualname))
            except Exception as problem:  # it has no words, say, or carries what cannot be sent
                sink.send("error", job.key, *_untold(job, problem, error))
        finally:
            current.reset(token)
            running.clear()
            lease.end(job.key)


def _call(module: str, qualname: str, how: tuple[bool, bool], ctx: JobContext) -> bytes:
    from headrace_agent.registry import _parameters

    function: Any = importlib.import_module(module)
    for part in qualname.split("."):
        function = getattr(function, part)
    takes_ctx, takes_argument = how
    arguments: list[Any] = [ctx] if takes_ctx else []
    if takes_argument:
        arguments.append(codec.decode(ctx.payload, _parameters(ctx.type, function)[2]))
    pid = os.getpid()
    try:
        result = function(*arguments)
        if inspect.iscoroutine(result):
            import asyncio

            result = asyncio.run(result)
    finally:
        end_child(pid)
    return codec.encode_result(result)


def _portable(error: BaseException, module: str, qualname: str) -> tuple[str, str, str, dict[str, Any], str, str]:
    error = alone(error)
    kind = next((class_.__name__ for class_ in (Retry, Snooze, InvalidPayload, Aborted, LeaseLost) if isinstance(error, class_)), "Fail")
    code = error.code if isinstance(error, Fail) and error.code else type(error).__name__
    options = {"after_s": getattr(error, "after_s", None), "permanent": isinstance(error, Fail) and error.permanent, "classes": [c.__name__ for c in type(error).__mro__]}
    fingerprint = hashlib.sha256(f"{code} {module}:{qualname}".encode()).hexdigest()[:16]
    return kind, code, str(error), options, "".join(traceback.format_exception(error)), fingerprint


def _untold(job: Job, problem: Exception, error: BaseException) -> tuple[str, str, str, dict[str, Any], str, str]:
    """The same of an exception that cannot be put into a message; `problem` says why. It counts as its classes say."""
    told = untold(job, problem, error).error
    options = {"after_s": None, "permanent": False, "classes": [c.__name__ for c in type(error).__mro__]}
    return "Fail", told.code, told.message, options, told.traceback, told.fingerprint
