"""Handlers that complete their jobs in transactions through a transaction pooler: no statement outlives its transaction."""

import os
from types import SimpleNamespace

import asyncpg
from headrace_agent import Agent, JobContext

agent = Agent("pooled", slots=8)


@agent.on_start
async def start(state: SimpleNamespace) -> None:
    """The pool that docs/high-availability.md shows."""
    state.pool = await asyncpg.create_pool(os.environ["DATABASE_URL"], statement_cache_size=0, min_size=0, max_size=8)


@agent.job("pooled")
async def pooled(ctx: JobContext, number: int) -> None:
    """One effect, in the transaction that completes the job."""
    async with ctx.transaction(ctx.state.pool) as con:
        await con.execute("insert into effect values ($1, $2)", number, ctx.lease_epoch)
        ctx.set_result({"effect": number})
