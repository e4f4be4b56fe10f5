"""Attempts in the thread that runs them, without a session: those that are stopped before they have begun, and those that still run when the agent ends."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from headrace_agent import Agent, JobContext
from headrace_agent.job import Job, Terms
from headrace_agent.processes import WorkerPool, WorkerProcess
from headrace_agent.testing import run_job
from headrace_agent.work import Stop, Work
from headrace_proto.v1 import agents_pb2

PATIENCE_S = 20.0


class Told:
    """What the session's thread would hear: how each attempt ended, in order."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, Any]] = []
        self._news = threading.Condition()

    def ended(self, job: Job, outcome: Any) -> None:
        """An attempt is over."""
        with self._news:
            self.outcomes.append((job.job_id, outcome))
            self._news.notify_all()

    def unstoppable(self, job: Job, *, aborted: bool) -> None:
        """Some do not stop."""

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

    def slowly(pool: WorkerPool, memory_bytes: int | None) -> WorkerProcess:
        worker = take(pool, memory_bytes)
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
