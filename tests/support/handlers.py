"""Handlers that tests use. Each start of a handler is written to a file in HEADRACE_TEST_DIR: the outside's own record of what ran."""

import asyncio
import os
import threading
import time
import zlib
from pathlib import Path
from typing import Any

from headrace_agent import Agent, Backoff, Fail, JobContext, Retry, Snooze

agent = Agent("tester", slots=8)


def note(ctx: JobContext, what: str = "start") -> None:
    """Adds a line to the record: what, job, epoch, pid, time."""
    directory = os.environ.get("HEADRACE_TEST_DIR")
    if directory:
        with open(Path(directory) / "ran.txt", "a") as file:
            file.write(f"{what} {ctx.job_id} {ctx.lease_epoch} {os.getpid()} {time.time():.3f}\n")


@agent.job("echo")
async def echo(ctx: JobContext, data: Any) -> Any:
    """Gives back what it gets."""
    note(ctx)
    ctx.log.info("echo")
    return data


@agent.job("gate")
async def gate(ctx: JobContext, name: str) -> str:
    """Runs until the file `name` exists in the test's directory."""
    note(ctx)
    try:
        while not (Path(os.environ["HEADRACE_TEST_DIR"]) / name).exists():
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(ctx, "stopped")
        raise
    note(ctx, "end")
    return name


@agent.job("talk", log_limit_lines=5)
async def talk(ctx: JobContext, lines: int) -> None:
    """Logs as many lines as it is told."""
    for number in range(lines):
        ctx.log.info(f"Line {number} of the talk")


@agent.job("fail", max_attempts=3, retry=Backoff(0.05, jitter=0))
async def fail(ctx: JobContext, data: Any) -> None:
    """Raises always."""
    note(ctx)
    ctx.log.error("about to fail")
    raise ValueError(f"attempt {ctx.attempt} failed")


@agent.job("flaky", retry=Backoff(0.05, jitter=0))
async def flaky(ctx: JobContext, succeed_at: int) -> int:
    """Raises until the given attempt."""
    note(ctx)
    if ctx.attempt < succeed_at:
        raise Retry("not yet", after_s=0.02)
    return ctx.attempt


@agent.job("permanent")
async def permanent(ctx: JobContext, data: Any) -> None:
    """Fails for good at once."""
    raise Fail("never", code="never_again")


@agent.job("snooze")
async def snooze(ctx: JobContext, data: Any) -> int:
    """Puts itself off once."""
    if ctx.lease_epoch == 1:
        raise Snooze(0.05)
    return ctx.attempt


@agent.job("poison", max_losses=2)
async def poison(ctx: JobContext, data: Any) -> None:
    """Ends its agent's process."""
    note(ctx)
    os._exit(7)


@agent.job("checkpoint", retry=Backoff(0.01, jitter=0))
async def checkpoint(ctx: JobContext, data: Any) -> str:
    """Saves a checkpoint, fails, and finds it again."""
    if ctx.checkpoint is None:
        ctx.save_checkpoint(b"half way")
        raise ValueError("once more")
    return ctx.checkpoint.decode()


@agent.job("thread")
def in_thread(ctx: JobContext, seconds: float) -> str:
    """Waits in a thread until it is aborted or the time is over."""
    note(ctx)
    end = time.monotonic() + seconds
    never = threading.Event()
    while time.monotonic() < end:
        ctx.progress(50, "waiting")
        never.wait(0.01)  # libfaketime 0.9.10 lets time.sleep fail
    return threading.current_thread().name


@agent.job("process", executor="process")
def in_process(ctx: JobContext, what: str) -> int:
    """Runs in another process: returns its pid, or ends it, or hangs."""
    note(ctx)
    ctx.log.info(f"in process {os.getpid()}")
    if what == "die":
        os._exit(3)
    if what == "raise":
        raise LookupError("raised in the other process")
    while what == "hang":
        time.sleep(0.01)
    return os.getpid()


@agent.job("slow", timeout_s=0.3, max_attempts=1)
async def slow(ctx: JobContext, data: Any) -> None:
    """Takes longer than its timeout."""
    await asyncio.sleep(30)


LEAK = "hunter2-and-more"


@agent.job("leaky", max_attempts=1)
async def leaky(ctx: JobContext, name: str) -> None:
    """Tells a secret in its log and its progress, waits until the file `name` exists, and tells it in its error."""
    ctx.log.info(f"login of ada with password={LEAK}")
    ctx.progress(50, f"token: {LEAK}")
    while not (Path(os.environ["HEADRACE_TEST_DIR"]) / name).exists():
        await asyncio.sleep(0.02)
    raise ValueError(f'{{"user": "ada", "password": "{LEAK}"}} was refused')


@agent.job("spin")
def spin(ctx: JobContext, seconds: float) -> int:
    """Pure Python that never gives the interpreter away by itself."""
    end = time.monotonic() + seconds
    count = 0
    while time.monotonic() < end:
        count += 1
    return count


@agent.job("child")
async def child(ctx: JobContext, data: Any) -> int:
    """Submits another job."""
    submitted = await ctx.submit("echo", data, key=f"child-of-{ctx.job_id}")
    return submitted.job_id


@agent.job("chaos", max_attempts=5, max_losses=1000, retry=Backoff(0.05, jitter=0))
async def chaos(ctx: JobContext, name: str) -> int:
    """Works for a moment; one job in sixteen fails at first. Its result is the lease under which it came to its end; the record tells of every start and end."""
    note(ctx)
    number = zlib.crc32(name.encode())
    try:
        await asyncio.sleep(0.01 + number % 90 / 1000)
    except asyncio.CancelledError:
        note(ctx, "stopped")
        raise
    if number % 16 == 0 and ctx.attempt == 1:
        note(ctx, "fail")
        raise Retry("on purpose", after_s=0.02)
    note(ctx, "end")
    return ctx.lease_epoch
