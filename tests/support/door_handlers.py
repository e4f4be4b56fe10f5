"""Handlers that complete their jobs in transactions. Payload: {"id": n, "how": ...}; `how` says what happens beside the effect, a row (id, epoch) of `effect`."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import psycopg
from headrace_agent import Agent, Backoff, JobContext

from tests.support.handlers import note

agent = Agent("doors", slots=8)
INSERT = "insert into effect values ($1, $2)"


@agent.on_start
async def start(state: SimpleNamespace) -> None:
    """A pool for the handlers of the event loop."""
    state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=0, max_size=8)


async def wait_for(name: str) -> None:
    """Until the file is in the test's directory."""
    while not (Path(os.environ["HEADRACE_TEST_DIR"]) / name).exists():
        await asyncio.sleep(0.02)


@agent.job("door", max_attempts=2, retry=Backoff(0.05, jitter=0))
async def door(ctx: JobContext, data: dict[str, Any]) -> str:
    """One effect, in the transaction that completes the job."""
    how = data.get("how", "")
    note(ctx)
    async with ctx.transaction(ctx.state.pool) as con:
        await con.execute(INSERT, data["id"], ctx.lease_epoch)
        ctx.set_result({"effect": data["id"]})
        if how == "raise" and ctx.attempt == 1:
            raise ValueError("after the effect")
        if how == "wait":
            note(ctx, "inside")
            await wait_for("open")
        if how == "die before" and ctx.losses == 0:
            os._exit(9)
    if how == "die after":
        os._exit(9)
    if how == "raise after":
        raise ValueError("after the commit")
    note(ctx, "end")
    return "what is returned after the commit is not kept"


@agent.job("door.thread", max_attempts=1)
def in_thread(ctx: JobContext, data: dict[str, Any]) -> None:
    """The same in a thread."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as con, ctx.transaction_blocking(con):
        con.execute("insert into effect values (%s, %s)", (data["id"], ctx.lease_epoch))
        ctx.set_result(data["id"])


@agent.job("door.process", executor="process", max_attempts=1)
def in_process(ctx: JobContext, data: dict[str, Any]) -> None:
    """The same in a process."""
    with psycopg.connect(os.environ["DATABASE_URL"]) as con, ctx.transaction_blocking(con):
        con.execute("insert into effect values (%s, %s)", (data["id"], ctx.lease_epoch))
        ctx.set_result(data["id"])


@agent.job("door.psycopg", max_attempts=1)
async def with_psycopg(ctx: JobContext, data: dict[str, Any]) -> None:
    """The same with psycopg's asynchronous connections."""
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as con, ctx.transaction(con):
        await con.execute("insert into effect values (%s, %s)", (data["id"], ctx.lease_epoch))
        ctx.set_result(data["id"])


@agent.job("door.own", max_attempts=1)
async def with_own_call(ctx: JobContext, data: dict[str, Any]) -> None:
    """A transaction of the handler's own."""
    async with ctx.state.pool.acquire() as con:
        with ctx.completing():
            async with con.transaction():
                await con.execute(INSERT, data["id"], ctx.lease_epoch)
                await con.execute("select headrace.complete_job($1, $2, '\"own\"')", ctx.job_id, ctx.lease_epoch)


@agent.job("once", max_attempts=2, retry=Backoff(0.05, jitter=0))
async def once(ctx: JobContext, data: dict[str, Any]) -> Any:
    """An effect in another database, once although the job runs twice."""

    async def effect(con: Any) -> Any:
        await con.execute(INSERT, data["id"], ctx.lease_epoch)
        return {"epoch": ctx.lease_epoch}

    result = await ctx.once(ctx.state.pool, effect)
    if data.get("how") == "die" and ctx.losses == 0:
        os._exit(9)
    if data.get("how") == "raise" and ctx.attempt == 1:
        raise ValueError("after the effect")
    return result


@agent.job("once.thread")
def once_in_thread(ctx: JobContext, data: dict[str, Any]) -> Any:
    """The same in a thread, twice in one attempt."""

    def effect(con: Any) -> Any:
        con.execute("insert into effect values (%s, %s)", (data["id"], ctx.lease_epoch))
        return ctx.lease_epoch

    with psycopg.connect(os.environ["DATABASE_URL"]) as con:
        return [ctx.once_blocking(con, effect), ctx.once_blocking(con, effect), ctx.once_blocking(con, effect, step="other")]
