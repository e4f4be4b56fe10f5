"""Worker processes by themselves, without an agent: what their handlers leave behind."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from headrace_agent import AgentError, JobContext
from headrace_agent.errors import ProcessDied
from headrace_agent.job import Job, Terms
from headrace_agent.processes import WorkerPool, WorkerProcess

from tests.support.processes import alive


def fork_and(directory: str) -> None:
    """Leaves a child, which has all that this process has open; then ends, or not."""
    if os.fork() == 0:
        (Path(directory) / "child.new").write_text(str(os.getpid()))
        (Path(directory) / "child.new").rename(Path(directory) / "child")
        time.sleep(60)
        os._exit(0)
    while not (Path(directory) / "child").exists():
        time.sleep(0.01)
    if not (Path(directory) / "hang").exists():
        os._exit(3)
    time.sleep(60)


def _run(worker: WorkerProcess, directory: Path) -> None:
    job = Job((1, 1), f'"{directory}"'.encode(), Terms("fork", 0, 60.0, 1, 100, 100_000))
    nothing: Any = None
    worker.run(fork_and, (False, True), job, nothing, nothing)


def _ended(directory: Path) -> bool:
    end = time.monotonic() + 10
    while alive(int((directory / "child").read_text())):
        assert time.monotonic() < end, "the child lives on"
        time.sleep(0.02)
    return True


def test_a_worker_that_died_is_noticed_although_its_child_holds_the_pipe_and_the_child_ends_too(directory: Path) -> None:
    with pytest.raises(ProcessDied, match="exit code 3"):
        _run(WorkerProcess(None, {}), directory)
    assert _ended(directory)


def test_a_worker_that_is_stopped_takes_its_children_with_it(directory: Path) -> None:
    (directory / "hang").touch()
    worker = WorkerPool({}).take(None, (1, 1))

    def stop() -> None:
        while not (directory / "child").exists():
            time.sleep(0.01)
        worker.stop((1, 1))

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(ProcessDied):
        _run(worker, directory)
    stopping.join()
    assert _ended(directory)


def is_to_stop(ctx: JobContext) -> bool:
    """Whether it was told so, as it begins."""
    return ctx.aborted


def test_an_order_to_stop_is_for_the_attempt_that_it_names_and_no_other_that_runs_in_its_process() -> None:
    pool = WorkerPool({})
    terms, nothing = Terms("t", 0, 60.0, 1, 100, 100_000), Any
    worker = pool.take(None, (1, 1))
    pool.give_back(worker)
    assert pool.take(None, (2, 5)) is worker
    worker.stop((1, 1))  # it was under way when its attempt ended
    worker.ask_to_stop((1, 1))
    assert worker.alive
    answers = [worker.run(is_to_stop, (True, False), Job((2, 5), b"", terms), nothing, nothing)]  # type: ignore[arg-type]  # nothing is said
    worker.begin((2, 7))
    worker.ask_to_stop((2, 7))  # before its handler has begun
    answers.append(worker.run(is_to_stop, (True, False), Job((2, 7), b"", terms), nothing, nothing))  # type: ignore[arg-type]
    worker.stop((2, 7))
    assert answers == [b"false", b"true"] and not worker.alive


def saves_and_hangs(ctx: JobContext) -> None:
    """A checkpoint."""
    ctx.save_checkpoint(b"x" * 100)
    time.sleep(60)


class Refusing:
    """Takes no checkpoint."""

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        raise AgentError(f"{len(data)} bytes are too many")


def test_a_process_whose_checkpoint_is_not_taken_fails_and_is_not_used_again() -> None:
    pool, nothing = WorkerPool({}), Any
    worker = pool.take(None, (1, 1))
    job = Job((1, 1), b"", Terms("t", 0, 60.0, 1, 100, 100_000))
    with pytest.raises(AgentError, match="100 bytes are too many"):
        worker.run(saves_and_hangs, (True, False), job, Refusing(), nothing)  # type: ignore[arg-type]  # nothing else is said
    pool.give_back(worker)
    assert not worker.alive
