"""Handlers of an agent with codecs. Its keys come from HEADRACE_TEST_KEYS."""

import os
from typing import Any

from headrace_agent import Agent, Backoff, JobContext
from headrace_client import AesGcm, Zstd

agent = Agent(
    "sealed", codecs=[Zstd(min_bytes=10), AesGcm.from_text(os.environ["HEADRACE_TEST_KEYS"])], encode_errors=True,
    on_undecodable=os.environ.get("HEADRACE_TEST_UNDECODABLE", "fail"),
)  # fmt: skip


class Leak(Exception):
    """Its message holds what nobody should see."""


@agent.job("sealed.async")
async def in_loop(ctx: JobContext, data: Any) -> str:
    """Gives it back."""
    return f"got {data}"


@agent.job("sealed.thread")
def in_thread(ctx: JobContext, data: Any) -> str:
    """Gives it back."""
    return f"got {data}"


@agent.job("sealed.process", executor="process")
def in_process(ctx: JobContext, data: Any) -> str:
    """Gives it back, and saves a checkpoint from the other process."""
    ctx.save_checkpoint(str(data).encode())
    return f"got {data}"


@agent.job("sealed.fail", max_attempts=1)
async def fail(ctx: JobContext, data: Any) -> None:
    """Says too much."""
    raise Leak(f"{data} is wrong")


@agent.job("sealed.twice", retry=Backoff(0.01, jitter=0))
async def twice(ctx: JobContext, data: Any) -> str:
    """Needs its checkpoint."""
    if ctx.checkpoint is None:
        ctx.save_checkpoint(str(data).encode())
        raise ValueError("once more")
    return f"got {ctx.checkpoint.decode()}"


@agent.job("sealed.child")
async def child(ctx: JobContext, data: Any) -> int:
    """Submits another job."""
    return (await ctx.submit("sealed.async", f"child {data}")).job_id
