"""Handlers as nobody should write them: what they do ends their own attempt, and touches no other."""

import asyncio
import functools
import multiprocessing
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from headrace_agent import Agent, AgentError, Fail, JobContext, ProcessDied, Retry, Snooze
from headrace_agent.job import Job, Terms
from headrace_agent.processes import WorkerPool, WorkerProcess
from headrace_agent.testing import JobRun, run_job

from tests.support.processes import run_command

PATIENCE_S = 20.0
MIB = 1 << 20


class Full(Snooze):
    """A word of the handler's own."""

    def __init__(self) -> None:
        super().__init__(33)


class Throttled(Retry):
    """Another one."""


agent = Agent("odd", slots=2)
left: list[bytearray] = []


@agent.job("fine")
async def fine(ctx: JobContext) -> str:
    return "fine"


@agent.job("next")
def take_next(ctx: JobContext) -> Any:
    return next(iter([]))


@agent.job("exit-in-task")
async def exit_in_task(ctx: JobContext) -> None:
    async def leave() -> None:
        sys.exit(3)

    await asyncio.gather(leave())


@agent.job("stop-loop")
async def stop_loop(ctx: JobContext) -> str:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)
    return "went on"


def plain(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that does not know of async functions."""

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        return function(*args)

    return call


@agent.job("decorated")
@plain
async def decorated(ctx: JobContext) -> str:
    return "awaited"


@agent.job("group-process", executor="process")
@agent.job("group-async")
async def group(ctx: JobContext) -> None:
    async def full() -> None:
        raise Full

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(full())


@agent.job("talk")
async def talk(ctx: JobContext) -> None:
    ctx.log.info("sent %d of %s", 3, "four")
    ctx.log.warning("100 %")
    ctx.log.info("%d", "three")
    try:
        [].pop()
    except IndexError:
        ctx.log.exception("no %s", "mail")


@agent.job("snooze", executor="process")
def snooze(ctx: JobContext) -> None:
    raise Full


@agent.job("retry", executor="process")
def retry(ctx: JobContext) -> None:
    raise Throttled("later", after_s=77)


class Mute(OSError):
    """Has no words."""

    def __str__(self) -> str:
        raise ValueError("no words")


@agent.job("mute", executor="process", retry_on=(OSError,))
@agent.job("mute-for-good", executor="process", fail_on=(Mute,))
def mute(ctx: JobContext) -> None:
    raise Mute


@agent.job("no-number", executor="process")
def no_number(ctx: JobContext) -> None:
    raise Retry("later", after_s=lambda: 5)  # type: ignore[arg-type]


@agent.job("object", executor="process")
def unencodable(ctx: JobContext) -> Any:
    return object()


@agent.job("children", executor="process")
def with_children(ctx: JobContext) -> int | None:
    child = multiprocessing.get_context("spawn").Process(target=print)
    child.start()
    child.join()
    return child.exitcode


FORKS = """
import asyncio, os, sys
from headrace_agent import Agent
from headrace_agent.testing import run_job

agent = Agent("forks")

@agent.job("thread")
@agent.job("process", executor="process")
def fork(ctx):
    child = os.fork()
    if child == 0:
        sys.exit(7)  # as people let a child end
    return f"the child of a handler in {ctx.type} ended with {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"

@agent.job("async")
async def fork_async(ctx):
    return fork(ctx)

if __name__ == "__main__":
    for type_ in ("async", "thread", "process"):
        print(asyncio.run(run_job(agent, type_)).value, flush=True)  # else a child has it in its buffer, too, and says it once more
"""


async def _run(type_: str) -> JobRun:
    async with asyncio.timeout(PATIENCE_S):
        return await run_job(agent, type_)


async def test_a_plain_handler_that_raises_stop_iteration_ends() -> None:
    done = await _run("next")
    assert (done.outcome, done.error_code) == ("failed", "RuntimeError") and "take_next" in done.error_traceback


@pytest.mark.parametrize(("type_", "outcome"), [("exit-in-task", "failed"), ("stop-loop", "completed")])
async def test_what_leaves_the_event_loop_of_the_handlers_ends_its_own_attempt_alone(type_: str, outcome: str) -> None:
    other = Agent("both")
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()

    @other.job("waits")
    async def waits(ctx: JobContext) -> str:
        loop.call_soon_threadsafe(entered.set)
        ended = await exiting(agent.handlers[type_].function(ctx))
        await asyncio.sleep(0)
        return ended

    async def exiting(coroutine: Any) -> str:
        try:
            return str(await asyncio.create_task(coroutine))
        except SystemExit as error:
            return f"exit {error.code}"

    async with asyncio.timeout(PATIENCE_S):
        assert (await run_job(other, "waits")).value == {"failed": "exit 3", "completed": "went on"}[outcome]
    assert (await _run(type_)).outcome == outcome
    assert entered.is_set()


async def test_an_async_function_below_a_plain_decorator_is_awaited() -> None:
    assert (await _run("decorated")).value == "awaited"


@pytest.mark.parametrize("executor", ["async", "process"])
async def test_what_one_task_of_a_group_raises_counts_as_if_there_were_no_group(executor: str) -> None:
    done = await _run(f"group-{executor}")
    assert (done.outcome, done.retry_after_s) == ("released", 33)


async def test_a_jobs_log_takes_what_logging_takes_and_a_wrong_call_ends_no_job() -> None:
    done = await _run("talk")
    assert done.outcome == "completed" and done.logs[:3] == [("info", "sent 3 of four"), ("warning", "100 %"), ("info", "%d ('three',)")]
    [(level, text)] = done.logs[3:]
    assert level == "error" and text.startswith("no mail\nTraceback") and text.endswith("IndexError: pop from empty list")


async def test_words_of_ones_own_count_in_a_process_too() -> None:
    done = await _run("snooze")
    assert (done.outcome, done.retry_after_s) == ("released", 33)
    done = await _run("retry")
    assert (done.outcome, done.error_code, done.error_message, done.retry_after_s) == ("failed", "Throttled", "later", 77)


@pytest.mark.parametrize(
    ("type_", "cause", "permanent"), [("mute", "Mute", False), ("mute-for-good", "Mute", True), ("no-number", "Retry", False)], ids=["retried", "for good", "a lambda"]
)  # fmt: skip
async def test_what_a_process_raises_and_cannot_send_fails_the_attempt_and_not_the_process(type_: str, cause: str, permanent: bool) -> None:
    done = await _run(type_)
    assert (done.outcome, done.error_code, done.permanent) == ("failed", "untold_error", permanent)
    assert done.error_message.startswith(f"{cause} of the handler cannot be told: ") and cause in done.error_traceback


async def test_a_result_of_a_process_that_cannot_be_sent_is_a_permanent_failure() -> None:
    done = await _run("object")
    assert (done.outcome, done.error_code, done.permanent) == ("failed", "invalid_result", True)


async def test_a_handler_in_a_process_may_start_processes() -> None:
    assert (await _run("children")).value == 0


def test_a_child_that_a_handler_has_forked_is_no_agent(directory: Path) -> None:
    """In a process of its own: gRPC may be at work in this one, and crash the child."""
    (directory / "forks.py").write_text(FORKS)
    done = run_command("python", str(directory / "forks.py"))
    assert done.stdout.splitlines() == [f"the child of a handler in {type_} ended with 7" for type_ in ("async", "thread", "process")], done.stderr


class Heard:
    """What is reported of attempts, by job."""

    def __init__(self) -> None:
        self.checkpoints: list[tuple[int, bytes]] = []

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        """As the agent hears it."""
        self.checkpoints.append((job_id, data))


waiting: list[threading.Thread] = []
go_on = threading.Event()


def leave_a_thread(ctx: JobContext) -> None:
    """It reports later. The next attempt here lets it, and waits for it."""

    def report() -> None:
        go_on.wait()
        ctx.save_checkpoint(b"of the first")

    if not waiting:
        waiting.append(threading.Thread(target=report))
        waiting[0].start()
        return
    go_on.set()
    waiting[0].join()
    ctx.save_checkpoint(b"of the second")


def test_what_a_thread_that_was_left_in_a_process_reports_is_not_of_the_attempt_that_runs_there() -> None:
    worker, heard, nothing = WorkerPool({}).take(None, (1, 1)), Heard(), lambda committed: None
    for job_id in (1, 2):
        job = Job((job_id, 1), b"", Terms("leave", 0, 60.0, 1, 100, 100_000))
        assert worker.run(leave_a_thread, (True, False), job, heard, nothing) == b""  # type: ignore[arg-type]  # no more is reported
    assert heard.checkpoints == [(2, b"of the second")]
    worker.stop((1, 1))


def keep(count: int) -> int:
    """Leaves memory behind."""
    left.append(bytearray(count))
    return len(left)


def _attempt(worker: WorkerProcess, payload: bytes) -> bytes:
    nothing: Any = None
    return worker.run(keep, (False, True), Job((1, 1), payload, Terms("keep", 0, 60.0, 1, 100, 100_000)), nothing, nothing)


def test_a_process_whose_memory_is_full_is_not_used_again() -> None:
    pool = WorkerPool({})
    worker = pool.take(800 * MIB, (1, 1))
    assert _attempt(worker, b"%d" % (300 * MIB)) == b"1"
    with pytest.raises(Fail, match=r"^$") as failed:
        _attempt(worker, b"%d" % (600 * MIB))
    assert failed.value.code == "MemoryError"
    pool.give_back(worker)
    other = pool.take(800 * MIB, (1, 1))
    assert other is not worker and _attempt(other, b"%d" % (600 * MIB)) == b"1"
    other.stop((1, 1))


@agent.job("pid", executor="process", attempts_per_process=2)
def pid(ctx: JobContext) -> int:
    return os.getpid()


def test_a_process_is_replaced_after_so_many_attempts() -> None:
    pool, pids, nothing = WorkerPool({}), [], Any
    for number in range(4):
        worker = pool.take(None, (number, 1))
        job = Job((number, 1), b"", Terms("pid", 0, 60.0, 1, 100, 100_000))
        pids.append(worker.run(pid, (True, False), job, nothing, nothing))  # type: ignore[arg-type]  # nothing is said
        pool.give_back(worker, agent.handlers["pid"].attempts_per_process)
    pool.close()
    assert pids[0] == pids[1] != pids[2] == pids[3]


def test_a_process_that_has_no_memory_for_its_job_ends() -> None:
    worker = WorkerPool({}).take(400 * MIB, (1, 1))
    with pytest.raises(ProcessDied, match="it may use 419430400 bytes"):
        _attempt(worker, b" " * (500 * MIB) + b"1")


def test_what_cannot_be_a_handler_is_refused_with_what_to_do() -> None:
    class Called:
        def __call__(self, ctx: JobContext) -> None: ...

    def generator(ctx: JobContext) -> Iterator[int]:
        yield 1

    async def async_generator(ctx: JobContext) -> AsyncIterator[int]:
        yield 1

    def by_name(ctx: JobContext, *, data: int) -> None: ...

    def by_default(ctx: JobContext, data: int = 0) -> None: ...

    def whatever(ctx: JobContext, *, loud: bool = False) -> None: ...

    bad: list[tuple[Any, dict[str, Any], str]] = [
        (functools.partial(whatever), {}, "a handler is a function"),
        (Called(), {}, "a handler is a function"),
        (dict, {}, "cannot be told"),
        (generator, {}, "this function yields"),
        (async_generator, {}, "this function yields"),
        (by_name, {}, "data can be given by name only"),
        (by_default, {}, "data has a default, so the handler would be called without its payload"),
        (whatever, {"slots": -1}, "slots is a whole number"),
        (whatever, {"slots": "3"}, "slots is a whole number"),
        (whatever, {"memory_bytes": "1G"}, "memory_bytes is a whole number of bytes"),
        (whatever, {"memory_bytes": 0}, "memory_bytes is a whole number of bytes"),
        (whatever, {"attempts_per_process": 0}, "attempts_per_process is a whole number"),
        (whatever, {"retry_on": ["OSError"]}, "retry_on names classes of exceptions"),
        (whatever, {"fail_on": 5}, "fail_on names classes of exceptions"),
    ]
    for function, options, message in bad:
        with pytest.raises(AgentError, match=message):
            Agent("x").job("t", **options)(function)
    for hook in (Agent("x").on_start, Agent("x").on_stop):
        with pytest.raises(AgentError, match=r"register it with @agent\.lifespan"):
            hook(async_generator)  # type: ignore[arg-type]  # what somebody may give
    for slots in (0, -1, "3", 2.5):
        with pytest.raises(AgentError, match="slots is how many jobs"):
            Agent("x", slots=slots)  # type: ignore[arg-type]  # what somebody may give
    one = Agent("x")
    one.job("t", retry_on=OSError)(whatever)  # type: ignore[arg-type]  # one class for itself
    assert one.handlers["t"].retry_on == (OSError,)


async def test_an_agent_that_cannot_be_announced_says_why() -> None:
    async def nothing(ctx: JobContext) -> None: ...

    for odd, type_ in ((Agent("x", labels={"site": 5}), "t"), (Agent(5), "t"), (Agent("x"), 7)):  # type: ignore[dict-item, arg-type]
        odd.job(type_)(nothing)  # type: ignore[arg-type]  # what somebody may give
        with pytest.raises(AgentError, match="name, build, labels and job types are text"):
            await odd.run("127.0.0.1:9")
