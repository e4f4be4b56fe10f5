"""Handlers of an agent whose large payloads and results are kept outside the broker, in the directory HEADRACE_TEST_CLAIMS (bytes above 1,000)."""

import os
from types import SimpleNamespace
from typing import Any

import asyncpg
import psycopg
from headrace_agent import Agent, Backoff, JobContext
from headrace_client import AesGcm, ClaimCheck, DirectoryStore, Zstd
from headrace_client.codecs import Codec

from tests.support.handlers import note

codecs: list[Codec] = [Zstd(), AesGcm({"k": b"k" * 32})] if "HEADRACE_TEST_ENCRYPT" in os.environ else []
claims = ClaimCheck(DirectoryStore(os.environ["HEADRACE_TEST_CLAIMS"]), 1000)
agent = Agent("claimer", slots=8, claims=claims, codecs=codecs)


@agent.on_start
async def start(state: SimpleNamespace) -> None:
    """A pool for the transactions of the event loop."""
    state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=2)


@agent.job("claim.async", max_attempts=5, retry=Backoff(0.2, factor=1, jitter=0))
async def in_loop(ctx: JobContext, data: Any) -> Any:
    """Gives it back."""
    note(ctx)
    return data


@agent.job("claim.thread")
def in_thread(ctx: JobContext, data: Any) -> Any:
    """Gives it back."""
    return data


@agent.job("claim.process", executor="process")
def in_process(ctx: JobContext, data: Any) -> Any:
    """Gives it back, and submits a child from the other process."""
    child = ctx.submit_blocking("claim.async", f"child {data}")
    return {"data": data, "child": str(child.job_id)}


@agent.job("claim.parent")
async def parent(ctx: JobContext, data: Any) -> str:
    """Submits another job."""
    return str((await ctx.submit("claim.async", f"child {data}")).job_id)


@agent.job("claim.after")
async def after(ctx: JobContext) -> list[int]:
    """How long the results are of the jobs before it."""
    return [len(dependency.json_result()) if not dependency.left_out else -1 for dependency in await ctx.dependencies()]


@agent.job("claim.door")
async def door(ctx: JobContext, data: Any) -> None:
    """Completes in a transaction of its own."""
    async with ctx.transaction(ctx.state.pool):
        ctx.set_result(data)


@agent.job("claim.door.thread")
def door_in_thread(ctx: JobContext, data: Any) -> None:
    """The same in a thread."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as con, ctx.transaction_blocking(con):
        ctx.set_result(data)


@agent.job("claim.door.process", executor="process")
def door_in_process(ctx: JobContext, data: Any) -> None:
    """The same in a process."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as con, ctx.transaction_blocking(con):
        ctx.set_result(data)
