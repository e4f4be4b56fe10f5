"""Worker processes by themselves, without an agent: what their handlers leave behind."""

import array
import contextlib
import fcntl
import math
import os
import signal
import termios
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import pytest
from headrace_agent import AgentError, JobContext
from headrace_agent.errors import LeaseLost, ProcessDied
from headrace_agent.job import Job, Terms
from headrace_agent.leases import clock_s
from headrace_agent.processes import WorkerPool, WorkerProcess

from tests.support.processes import alive


def leave_a_child(directory: str, *, daemon: bool) -> None:
    """Comes back when there is a child, which has all that this process has open; a daemon is in no group that is ended with its parent."""
    told, tell = os.pipe()
    if os.fork() == 0:
        if daemon:
            os.setsid()
        (Path(directory) / "child.new").write_text(str(os.getpid()))
        (Path(directory) / "child.new").rename(Path(directory) / "child")
        signal.alarm(60)  # it is no longer there than a test could be
        os.write(tell, b"1")
        go_on()
    os.read(told, 1)


def go_on() -> NoReturn:
    """Until it is killed: a signal that is handled ends nothing."""
    while True:
        signal.pause()


def leave_a_daemon(directory: str) -> None:
    """Leaves a child that outlives its group."""
    leave_a_child(directory, daemon=True)


def fork_and(directory: str) -> None:
    """Leaves a child; then ends, or not."""
    leave_a_child(directory, daemon=False)
    if not (Path(directory) / "hang").exists():
        os._exit(3)
    go_on()


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


def leave_a_daemon_and_talk(ctx: JobContext, directory: str) -> bytes:
    """The result is more than a pipe holds."""
    leave_a_daemon(directory)
    ctx.progress(1.0, "it is there")
    return bytes(64 << 20)


def test_a_worker_that_dies_in_the_middle_of_a_message_is_noticed_although_a_daemon_holds_its_pipe(directory: Path) -> None:
    worker, failed, nothing = WorkerProcess(None, {}), list[BaseException](), Any

    class Killer:
        """Reads no more until its worker is dead, which is in the middle of its result by then."""

        def progress(self, *_: object) -> None:
            unread, end = array.array("i", [0]), time.monotonic() + 10
            while unread[0] < 4096 and time.monotonic() < end:
                fcntl.ioctl(worker._pipe.fileno(), termios.FIONREAD, unread)
                time.sleep(0.01)
            assert worker._process.pid is not None
            os.kill(worker._process.pid, signal.SIGKILL)

    def run() -> None:
        job = Job((1, 1), f'"{directory}"'.encode(), Terms("talk", 0, 60.0, 1, 100, 100_000))
        try:
            worker.run(leave_a_daemon_and_talk, (True, True), job, Killer(), nothing)  # type: ignore[arg-type]  # as much of a sink as is asked for
        except ProcessDied as error:
            failed.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(20)
    noticed = not running.is_alive()
    os.kill(int((directory / "child").read_text()), signal.SIGKILL)
    assert noticed and failed


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


@pytest.mark.parametrize("daemon", [False, True])
def test_a_worker_that_does_not_read_is_ended_all_the_same(directory: Path, daemon: bool) -> None:
    """Its job is larger than what its pipe holds. `daemon`: the attempt before has left one, which holds the pipe open."""
    pool, nothing, failed = WorkerPool({}), Any, list[BaseException]()
    worker = pool.take(None, (1, 1))
    job = Job((1, 1), f'"{directory}"'.encode(), Terms("t", 0, 60.0, 1, 100, 100_000))
    worker.run(leave_a_daemon if daemon else is_to_stop, (not daemon, daemon), job, nothing, nothing)  # type: ignore[arg-type]  # nothing is said
    pid = worker._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    worker.begin((2, 1))

    def run() -> None:
        try:
            worker.run(is_to_stop, (True, False), Job((2, 1), bytes(8 << 20), job.terms), nothing, nothing)  # type: ignore[arg-type]
        except ProcessDied as error:
            failed.append(error)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    end = time.monotonic() + 10
    while not worker._sending.locked():
        assert time.monotonic() < end
        time.sleep(0.01)
    stopping = threading.Thread(target=worker.stop, args=((2, 1),), daemon=True)
    stopping.start()
    stopping.join(10)
    running.join(10)
    ended = not worker.alive
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    if daemon:
        os.kill(int((directory / "child").read_text()), signal.SIGKILL)
    assert failed and ended


def never_ends(directory: str) -> None:
    """Says that it has begun."""
    (Path(directory) / "begun").touch()
    threading.Event().wait()


def test_a_worker_ends_by_itself_when_its_lease_is_over(directory: Path) -> None:
    """Its agent was stopped, say, and cannot end it, and somebody else runs the job by then."""
    pool, nothing, ends = WorkerPool({}), Any, [clock_s() + 1e9]

    def lease_end() -> float:
        if (directory / "begun").exists():
            ends[0] = min(ends[0], clock_s() + 0.5)
        return ends[0]

    worker = pool.take(None, (1, 1))
    job = Job((1, 1), f'"{directory}"'.encode(), Terms("t", 0, 60.0, 1, 100, 100_000))
    with pytest.raises(LeaseLost):
        worker.run(never_ends, (False, True), job, nothing, nothing, lease_end)  # type: ignore[arg-type]  # nothing is said
    assert clock_s() >= ends[0] and not worker.alive


def test_a_worker_goes_on_when_its_lease_is_renewed_and_lives_on_when_the_lease_of_an_attempt_that_has_ended_is_over() -> None:
    pool, nothing, terms = WorkerPool({}), Any, Terms("t", 0, 60.0, 1, 100, 100_000)
    worker = pool.take(None, (1, 1))
    answers = [worker.run(sleeps, (False, True), Job((1, 1), b"0", terms), nothing, nothing)]  # type: ignore[arg-type]  # it has started
    answers.append(worker.run(sleeps, (False, True), Job((1, 2), b"3", terms), nothing, nothing, lambda: clock_s() + 2))  # type: ignore[arg-type]
    worker._send(("lease", (1, 2), 0.0))  # it was under way when the attempt ended
    worker._process.join(0.5)
    assert worker.alive
    answers.append(worker.run(sleeps, (False, True), Job((1, 3), b"1.5", terms), nothing, nothing, lambda: math.inf))  # type: ignore[arg-type]
    worker.stop((1, 1))
    assert answers == [b"0.0", b"3.0", b"1.5"]


def sleeps(seconds: float) -> float:
    """A handler."""
    time.sleep(seconds)
    return seconds


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
