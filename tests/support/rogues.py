"""Handlers that do what handlers must not."""

import os
import signal
import sys
import time
from pathlib import Path

from headrace_agent import Agent, JobContext

from tests.support.handlers import note

agent = Agent("rogue", slots=30)
MEMORY_BYTES = 1500 << 20  # of address space; a worker has about half a GiB of it from the start
LINES = 100_000
LINE_LIMIT = 1000


def _place(name: str) -> Path:
    return Path(os.environ["HEADRACE_TEST_DIR"]) / name


@agent.job("rogue.poison", max_losses=2)
async def poison(ctx: JobContext) -> None:
    """Kills its agent."""
    note(ctx)
    os.kill(os.getpid(), signal.SIGKILL)


@agent.job("rogue.block")
async def block(ctx: JobContext, seconds: float) -> int:
    """Blocks the event loop of the others."""
    note(ctx)
    time.sleep(seconds)  # noqa: ASYNC251  # that is its fault
    return ctx.lease_epoch


@agent.job("rogue.deaf")
async def deaf(ctx: JobContext) -> None:
    """Takes no notice of its cancellation until a file is there."""
    import asyncio

    note(ctx)
    while not _place("heard").exists():
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            note(ctx, "stopped")


@agent.job("rogue.deaf_thread")
def deaf_thread(ctx: JobContext) -> None:
    """The same in a thread."""
    note(ctx)
    while not _place("heard").exists():
        time.sleep(0.05)


@agent.job("rogue.deaf_process", executor="process")
def deaf_process(ctx: JobContext) -> None:
    """The same in a process, which takes no notice of SIGTERM either."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(ctx)
    while True:
        time.sleep(0.05)


@agent.job("rogue.leak", executor="process", memory_bytes=MEMORY_BYTES, max_attempts=1)
def leak(ctx: JobContext) -> None:
    """Takes memory without end."""
    note(ctx)
    kept = []
    while True:
        kept.append(bytearray(16 << 20))


@agent.job("rogue.flood_output", executor="process")
def flood_output(ctx: JobContext, megabytes: int) -> int:
    """Writes to standard output and standard error."""
    note(ctx)
    for _ in range(megabytes):
        sys.stdout.write("o" * (1 << 20) + "\n")
        sys.stderr.write("e" * (1 << 20) + "\n")
    return ctx.lease_epoch


@agent.job("rogue.flood_log", log_limit_lines=LINE_LIMIT)
def flood_log(ctx: JobContext) -> int:
    """Logs far more lines than are kept."""
    note(ctx)
    for number in range(LINES):
        ctx.log.info(f"line {number} of a flood")
    return ctx.lease_epoch


@agent.job("rogue.fork", executor="process", max_attempts=1)
def fork(ctx: JobContext, then: str) -> int:
    """Leaves a child behind that holds all that its parent had open, and then returns, dies, or hangs."""
    note(ctx)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        _place(f"child-{then}").write_text(str(os.getpid()))
        time.sleep(600)
        os._exit(0)
    while not _place(f"child-{then}").exists():
        time.sleep(0.01)
    if then == "die":
        os._exit(3)
    while then == "hang":
        time.sleep(0.05)
    return child


@agent.job("rogue.innocent")
async def innocent(ctx: JobContext, data: int) -> int:
    """Wants to work beside them."""
    note(ctx)
    return data
