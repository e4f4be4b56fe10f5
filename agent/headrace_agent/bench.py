"""The agent that `headrace bench` starts: does what the payload says, and writes down every start for the harness.

Environment: HEADRACE_BENCH_TYPE (job type to serve), HEADRACE_BENCH_DIR (where records go). A record is RECORD: number of the job, attempt, monotonic time of the
start in seconds, 1 if this execution will fail on purpose.
"""

import asyncio
import os
import struct
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import msgspec

from headrace_agent.agent import Agent
from headrace_agent.context import JobContext
from headrace_agent.errors import Retry

RECORD = struct.Struct("<qidi")
FLUSH_S = 0.2


class Order(msgspec.Struct):
    """Payload: number of the job, how long the handler takes in seconds, and the share of executions that fail (by a fixed rule, so that it can be checked)."""

    n: int
    s: float = 0.0
    f: float = 0.0


agent = Agent("bench", slots=1000)


def fails(number: int, attempt: int, share: float) -> bool:
    """Whether this execution fails on purpose."""
    return zlib.crc32(b"%d/%d" % (number, attempt)) < share * (1 << 32)


@agent.on_start
def open_records(state: SimpleNamespace) -> None:
    """One file for each agent process."""
    state.records = open(Path(os.environ["HEADRACE_BENCH_DIR"]) / f"{os.getpid()}.bin", "ab")  # noqa: SIM115  # closed by the other hook
    state.flushed = 0.0


@agent.on_stop
def close_records(state: SimpleNamespace) -> None:
    """What is in memory goes to the file."""
    state.records.close()


@agent.job(os.environ.get("HEADRACE_BENCH_TYPE", "bench"), max_attempts=100)
async def run(ctx: JobContext, order: Order) -> None:
    """One execution."""
    now = time.monotonic()
    failing = order.f > 0 and fails(order.n, ctx.attempt, order.f)
    ctx.state.records.write(RECORD.pack(order.n, ctx.attempt, now, failing))
    if now - ctx.state.flushed > FLUSH_S:
        ctx.state.records.flush()
        ctx.state.flushed = now
    if order.s:
        await asyncio.sleep(order.s)
    if failing:
        raise Retry("on purpose", after_s=0.05)
