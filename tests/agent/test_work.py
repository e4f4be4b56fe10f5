"""Attempts in the thread that runs them, without a session: those that are stopped before they have begun, and those that still run when the agent ends."""

import asyncio
import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_agent import Agent, Fail, JobContext, Retry, Snooze
from headrace_agent.context import CaptureHandler, current
from headrace_agent.job import Job, Terms
from headrace_agent.processes import WorkerPool, WorkerProcess
from headrace_agent.testing import run_job
from headrace_agent.work import Stop, Work
from headrace_client.codecs import About, AesGcm, Codecs
from headrace_proto.v1 import agents_pb2, types_pb2

PATIENCE_S = 20.0
TERMS = Terms("t", 0, 60.0, 5, 100, 1000)


class Told:
    """What the session's thread would hear: how each attempt ended, in order."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, Any]] = []
        self.going_on = threading.Event()
        self._news = threading.Condition()

    def ended(self, job: Job, outcome: Any) -> None:
        """An attempt is over."""
        with self._news:
            self.outcomes.append((job.job_id, outcome))
            self._news.notify_all()

    def unstoppable(self, job: Job, *, aborted: bool) -> None:
        """Some do not stop."""
        self.going_on.set()

    def lease_end(self, key: tuple[int, int]) -> float:
        """Not soon."""
        return math.inf

    def until(self, count: int) -> list[tuple[int, Any]]:
        """The first outcomes."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.outcomes) >= count, PATIENCE_S), f"only {self.outcomes}"
        return self.outcomes[:count]


class Scene:
    """An agent whose handlers tell when they begin, and when they have been stopped."""

    def __init__(self) -> None:
        self.told = Told()
        self.begun = threading.Event()
        self.stopped: list[tuple[str, str]] = []  # (handler, name of its thread)
        self.may_end = threading.Event()
        agent = Agent("work")

        @agent.job("async")
        async def forever(ctx: JobContext) -> None:
            self.begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped.append(("async", threading.current_thread().name))

        @agent.job("thread")
        def blocked(ctx: JobContext) -> None:
            self.begun.set()
            self.may_end.wait(PATIENCE_S)

        self.work = Work(agent.handlers, middleware=[], lifespans=[], threads=2, reports=self.told, client_options={})  # type: ignore[arg-type]  # no logs, no progress
        self.work.start()

    def assign(self, type_: str, job_id: int = 1) -> None:
        """One job."""
        self.work.assign([Job((job_id, 1), b"", Terms(type_, 0, 60.0, 5, 100, 1000))])


def writes(path: str) -> None:
    """A handler in a process."""
    Path(path).touch()


@pytest.mark.parametrize("grace_s", [0.0, PATIENCE_S])
@pytest.mark.parametrize(("why", "kind"), [(Stop.ABORT, agents_pb2.OUTCOME_KIND_ABORTED), (Stop.LEASE, None)])
def test_a_job_that_is_stopped_while_its_process_is_started_does_not_begin(
    why: Stop, kind: Any, grace_s: float, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    """Meanwhile there is no process that could be told, and another agent may have the lease."""
    starting, started, take = threading.Event(), threading.Event(), WorkerPool.take

    def slowly(pool: WorkerPool, memory_bytes: int | None, key: tuple[int, int]) -> WorkerProcess:
        worker = take(pool, memory_bytes, key)
        starting.set()
        assert started.wait(PATIENCE_S)
        return worker

    monkeypatch.setattr(WorkerPool, "take", slowly)
    agent, told = Agent("work"), Told()
    agent.job("process", executor="process")(writes)
    work = Work(agent.handlers, middleware=[], lifespans=[], threads=1, reports=told, client_options={})  # type: ignore[arg-type]  # no logs, no progress
    work.start()
    work.assign([Job((1, 1), f'"{directory}/begun"'.encode(), Terms("process", 0, 60.0, 5, 100, 1000))])
    assert starting.wait(PATIENCE_S)
    work.stop_attempt(1, 1, why, grace_s)
    handed_over = threading.Event()
    work.ping(handed_over.set)
    assert handed_over.wait(PATIENCE_S)
    started.set()
    [(job_id, outcome)] = told.until(1)
    assert job_id == 1 and (outcome is None if kind is None else outcome.kind == kind)
    work.close()
    assert not (directory / "begun").exists()


@pytest.mark.parametrize(("why", "kind"), [(Stop.ABORT, agents_pb2.OUTCOME_KIND_ABORTED), (Stop.DRAIN, agents_pb2.OUTCOME_KIND_RELEASED), (Stop.LEASE, None)])
@pytest.mark.parametrize("type_", ["async", "thread"])
def test_a_job_that_is_stopped_before_it_has_begun_ends_all_the_same(type_: str, why: Stop, kind: Any) -> None:
    """An assignment and its abort may come in one message."""
    scene = Scene()
    handed_over = threading.Event()
    scene.work.ping(lambda: handed_over.wait(PATIENCE_S))  # the thread of the handlers is busy: it finds both of them at once
    scene.assign(type_)
    scene.work.stop_attempt(1, 1, why, 0.0)
    handed_over.set()
    [(job_id, outcome)] = scene.told.until(1)
    assert job_id == 1 and (outcome is None if kind is None else outcome.kind == kind)
    assert not scene.begun.is_set(), "nothing of it has begun"
    scene.work.close()


def test_a_handler_that_runs_when_the_agent_ends_is_stopped_in_its_own_thread() -> None:
    scene = Scene()
    scene.assign("async")
    assert scene.begun.wait(PATIENCE_S)
    scene.work.close()
    assert scene.stopped == [("async", "headrace-work")] and scene.told.outcomes == [(1, None)], "it says nothing about a job that it did not finish"
    assert scene.work._loop.is_closed()


def test_a_handler_that_goes_on_after_its_time_is_told_of() -> None:
    told, may_end, agent = Told(), threading.Event(), Agent("work")

    @agent.job("t")
    async def goes_on(ctx: JobContext) -> None:
        while not may_end.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    work = Work(agent.handlers, middleware=[], lifespans=[], threads=1, reports=told, client_options={})  # type: ignore[arg-type]  # no logs, no progress
    work.start()
    work.assign([Job((1, 1), b"", Terms("t", 0, 0.05, 5, 100, 1000))])
    assert told.going_on.wait(PATIENCE_S)
    may_end.set()
    assert told.until(1)[0][1] == b""
    work.close()


def test_a_thread_that_does_not_stop_does_not_hold_the_end_up(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace_agent import work

    monkeypatch.setattr(work, "END_S", 0.05)
    scene = Scene()
    scene.assign("thread")
    assert scene.begun.wait(PATIENCE_S)
    scene.work.close()
    assert scene.told.outcomes == []
    scene.may_end.set()
    assert scene.told.until(1) == [(1, None)]
    scene.work._thread.join(PATIENCE_S)
    assert not scene.work._thread.is_alive(), "it was left to end by itself"


async def test_a_run_of_a_handler_that_is_given_up_ends_it() -> None:
    agent, loop = Agent("given up"), asyncio.get_running_loop()
    running, stopped = asyncio.Event(), asyncio.Event()

    @agent.job("t")
    async def forever(ctx: JobContext) -> None:
        loop.call_soon_threadsafe(running.set)
        try:
            await asyncio.Event().wait()
        finally:
            loop.call_soon_threadsafe(stopped.set)

    task = asyncio.ensure_future(run_job(agent, "t"))
    await asyncio.wait_for(running.wait(), PATIENCE_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(stopped.wait(), PATIENCE_S)


class Mute(Exception):
    """Has no words."""

    def __str__(self) -> str:
        raise ValueError("no words")


class Odd(BaseException):
    """No Exception, as those by which some libraries leave through everything."""


def run_raising(error: BaseException, **options: Any) -> Any:
    """The outcome of a job whose handler raises."""
    agent, told = Agent("work"), Told()

    @agent.job("t")
    async def raises(_ctx: JobContext) -> None:
        raise error

    work = Work(agent.handlers, middleware=[], lifespans=[], threads=1, reports=told, client_options={}, **options)  # type: ignore[arg-type]  # no logs, no progress
    work.start()
    work.assign([Job((1, 1), b"", TERMS)])
    [(_, outcome)] = told.until(1)
    assert not work._attempts, "its slot is free"
    work.close()
    return outcome


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (Mute(), "untold_error", "Mute of the handler cannot be told: ValueError, see the traceback"),
        (Retry("later", after_s=timedelta(seconds=5)), "untold_error", "Retry of the handler cannot be told: TypeError, see the traceback"),  # type: ignore[arg-type]
        (Snooze(math.inf), "untold_error", "Snooze of the handler cannot be told: ValueError, see the traceback"),
        (Snooze(4e8), "untold_error", "Snooze of the handler cannot be told: ValueError, see the traceback"),
        (Retry("later", after_s=1e300), "untold_error", "Retry of the handler cannot be told: ValueError, see the traceback"),
        (Fail("no", code=5), "5", "no"),  # type: ignore[arg-type]
        (Odd("out"), "Odd", "out"),
        (FileNotFoundError("caf\udce9"), "FileNotFoundError", "caf?"),
    ],
    ids=["no words", "no number", "for ever", "12 years", "ages", "no text", "no exception", "no utf-8"],
)
def test_an_attempt_ends_whatever_its_handler_raises(error: BaseException, code: str, message: str) -> None:
    """One that did not would keep its slot, and its lease would be renewed for ever."""
    outcome = run_raising(error)
    assert (outcome.kind, outcome.error.code, outcome.error.message) == (agents_pb2.OUTCOME_KIND_FAILED, code, message)
    assert type(error).__name__ in outcome.error.traceback and outcome.error.fingerprint


class Jammed(AesGcm):
    """Has lost its key."""

    def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
        """Never."""
        raise OSError("no key")


def test_an_error_that_cannot_be_encoded_is_not_told_and_the_attempt_ends() -> None:
    outcome = run_raising(ValueError("4111-1111"), codecs=Codecs([Jammed({"k": b"k" * 32})], "default"), encode_errors=True)
    assert (outcome.kind, outcome.error.code, outcome.error.message) == (
        agents_pb2.OUTCOME_KIND_FAILED,
        "ValueError",
        "ValueError: the message cannot be encoded (OSError)",
    )
    assert not outcome.error.traceback


class Heard:
    """Where a context's reports go."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def log(self, job_id: int, epoch: int, line: Any) -> None:
        """One line."""
        self.texts.append(line.text)

    def progress(self, job_id: int, epoch: int, percent: float, text: str) -> None:
        """In the session's thread a message is made of it."""
        self.texts.append(types_pb2.Progress(percent=percent, text=text).text)


def test_words_of_a_handler_that_are_no_text_are_sent_as_far_as_they_are() -> None:
    """What failed in the session's thread would hold up the outcomes of other jobs."""
    heard = Heard()
    ctx = JobContext(Job((1, 1), b"", TERMS), heard, None)  # type: ignore[arg-type]  # nothing else is said
    ctx.progress(5, "caf\udce9")
    ctx.progress(6, 7)  # type: ignore[arg-type]
    ctx.log.info("caf\udce9")
    assert heard.texts == ["caf?", "7", "caf?"]


def test_a_wrong_call_of_logging_does_not_end_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong: list[logging.LogRecord] = []
    monkeypatch.setattr(CaptureHandler, "handleError", lambda _self, record: wrong.append(record))
    token = current.set(JobContext(Job((1, 1), b"", TERMS), Heard(), None))  # type: ignore[arg-type]
    record = logging.LogRecord("library", logging.INFO, __file__, 1, "%d", ("no number",), None)
    CaptureHandler().emit(record)
    current.reset(token)
    assert wrong == [record]


class Waiting:
    """Waits for its abort in an event loop of its own thread, as a plain function or a worker process may."""

    def __init__(self, ctx: JobContext) -> None:
        self._ctx = ctx
        self._waits = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._wait()), daemon=True)
        self._thread.start()
        assert self._waits.wait(PATIENCE_S)

    async def _wait(self) -> None:
        asyncio.get_running_loop().call_soon(self._waits.set)
        await self._ctx.wait_aborted()

    def ends(self, within_s: float) -> bool:
        """Whether it does."""
        self._thread.join(within_s)
        return not self._thread.is_alive()


def test_an_abort_wakes_who_waits_for_it_in_whatever_event_loop() -> None:
    nobody: Any = None
    ctx = JobContext(Job((1, 1), b"", TERMS), nobody, None)
    waiting = [Waiting(ctx) for _ in range(2)]
    ctx.mark_aborted()
    assert all(one.ends(PATIENCE_S) for one in waiting)
    assert Waiting(ctx).ends(PATIENCE_S), "who comes later does not wait"


async def test_who_looks_again_and_again_for_an_abort_leaves_nothing_behind() -> None:
    nobody: Any = None
    ctx = JobContext(Job((1, 1), b"", TERMS), nobody, None)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await ctx.wait_aborted()
    assert not ctx._waiters


async def test_a_checkpoint_is_bytes() -> None:
    agent = Agent("saves")

    @agent.job("t")
    def saves(ctx: JobContext) -> None:
        ctx.save_checkpoint(5)  # type: ignore[arg-type]  # which bytes() takes for five zeros

    done = await run_job(agent, "t")
    assert (done.outcome, done.checkpoint) == ("failed", None) and "a checkpoint is bytes, found int" in done.error_message


async def test_a_start_hook_that_fails_leaves_nothing_open() -> None:
    agent, closed, handlers = idle(), [], list(logging.getLogger().handlers)

    @agent.on_stop
    def close(_state: SimpleNamespace) -> None:
        closed.append(threading.current_thread())

    @agent.on_start
    def fail(_state: SimpleNamespace) -> None:
        raise OSError("no database")

    for go in (lambda: agent.run("127.0.0.1:1"), lambda: run_job(agent, "t")):
        with pytest.raises(OSError, match="no database"):
            await go()
    assert len(closed) == 2 and logging.getLogger().handlers == handlers
    for thread in closed:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


async def test_an_agent_that_is_to_end_does_not_wait_for_a_start_hook() -> None:
    """Its database, say, is not there: whoever runs the agent would have to kill it."""
    agent, begun, stopped, drain = idle(), threading.Event(), threading.Event(), asyncio.Event()

    @agent.on_start
    async def wait(_state: SimpleNamespace) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    running = asyncio.ensure_future(agent.run("127.0.0.1:1", drain=drain, drain_timeout_s=0.1))
    assert await asyncio.to_thread(begun.wait, PATIENCE_S)
    drain.set()
    await asyncio.wait_for(running, PATIENCE_S)
    assert stopped.is_set()


def idle() -> Agent:
    """Serves something."""
    agent = Agent("idle")

    @agent.job("t")
    async def work(_ctx: JobContext) -> None:
        pass

    return agent


def test_a_stop_hook_that_does_not_end_is_named_and_not_waited_for(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from headrace_agent import work

    monkeypatch.setattr(work, "CLOSE_S", 0.05)
    may_end = threading.Event()

    @contextlib.asynccontextmanager
    async def life(_state: SimpleNamespace) -> AsyncIterator[None]:
        yield
        while not may_end.is_set():
            await asyncio.sleep(0.01)

    at_work = Work(idle().handlers, middleware=[], lifespans=[life], threads=1, reports=Told(), client_options={})  # type: ignore[arg-type]  # no logs, no progress
    at_work.start()
    at_work.close()
    may_end.set()
    assert "stop hooks have not ended within 0.05 s" in caplog.text


def test_an_order_to_stop_does_not_hold_up_the_handlers_when_a_process_does_not_read(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    asked, may_go_on, answered = threading.Event(), threading.Event(), threading.Event()

    def ask(_worker: WorkerProcess, _key: tuple[int, int]) -> None:
        asked.set()
        may_go_on.wait(PATIENCE_S)

    monkeypatch.setattr(WorkerProcess, "ask_to_stop", ask)
    agent, told = Agent("work"), Told()
    agent.job("process", executor="process")(hangs)
    at_work = Work(agent.handlers, middleware=[], lifespans=[], threads=1, reports=told, client_options={})  # type: ignore[arg-type]  # no logs, no progress
    at_work.start()
    at_work.assign([Job((1, 1), f'"{directory}/begun"'.encode(), Terms("process", 0, 60.0, 5, 100, 1000))])
    end = time.monotonic() + PATIENCE_S
    while not (directory / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    at_work.stop_attempt(1, 1, Stop.ABORT, 0.0)
    assert asked.wait(PATIENCE_S)
    at_work.ping(answered.set)
    assert answered.wait(PATIENCE_S / 2)
    may_go_on.set()
    [(_, outcome)] = told.until(1)
    assert outcome.kind == agents_pb2.OUTCOME_KIND_ABORTED and outcome.killed
    at_work.close()


def test_a_process_is_ended_although_other_handlers_have_all_threads_of_the_loop(directory: Path) -> None:
    agent, told, may_end, busy = Agent("work"), Told(), threading.Event(), threading.Semaphore(0)
    agent.job("process", executor="process")(hangs)

    def hold() -> None:
        busy.release()
        may_end.wait(60)

    @agent.job("async")
    async def occupies(_ctx: JobContext) -> None:
        await asyncio.to_thread(hold)

    at_work = Work(agent.handlers, middleware=[], lifespans=[], threads=1, reports=told, client_options={})  # type: ignore[arg-type]  # no logs, no progress
    at_work.start()
    threads = min(32, (os.cpu_count() or 1) + 4)  # of an event loop
    at_work.assign([Job((2 + number, 1), b"", Terms("async", 0, 60.0, 5, 100, 1000)) for number in range(threads)])
    at_work.assign([Job((1, 1), f'"{directory}/begun"'.encode(), Terms("process", 0, 60.0, 5, 100, 1000))])
    for _ in range(threads):
        assert busy.acquire(timeout=PATIENCE_S)
    end = time.monotonic() + PATIENCE_S
    while not (directory / "begun").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    at_work.stop_attempt(1, 1, Stop.ABORT, 0.0)
    [(job_id, outcome)] = told.until(1)
    assert (job_id, outcome.kind, outcome.killed) == (1, agents_pb2.OUTCOME_KIND_ABORTED, True)
    may_end.set()
    told.until(1 + threads)
    at_work.close()


def hangs(path: str) -> None:
    """A handler in a process."""
    Path(path).touch()
    time.sleep(60)
