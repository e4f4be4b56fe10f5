"""Handlers of an agent whose jobs have children, dependencies and batches."""

import asyncio
from pathlib import Path
from typing import Any

from headrace_agent import Agent, JobContext, Retry

agent = Agent("family", slots=20)


@agent.job("family.parent", max_attempts=5)
async def parent(ctx: JobContext, data: dict[str, Any]) -> list[str]:
    """Submits children, also at the same time, and fails until its last attempt."""
    first = await ctx.submit("family.child", {"n": 1, "attempt": ctx.attempt})
    named = await ctx.submit("family.child", {"n": 2}, key="named")
    others = await asyncio.gather(*(ctx.submit("family.child", {"n": n}) for n in range(3, 6)))
    if ctx.attempt < data["attempts"]:
        raise Retry("once more", after_s=0.05)
    return [str(child.job_id) for child in (first, named, *others)]


@agent.job("family.child")
async def child(ctx: JobContext, data: Any) -> Any:
    """Gives back what it got."""
    return data


@agent.job("family.thread", executor="thread")
def in_thread(ctx: JobContext, data: Any) -> dict[str, Any]:
    """The same from a thread."""
    made = ctx.submit_blocking("family.child", data)
    return {"child": str(made.job_id), "results": [other.json_result() for other in ctx.dependencies_blocking()]}


@agent.job("family.process", executor="process")
def in_process(ctx: JobContext, data: Any) -> dict[str, Any]:
    """The same from a process."""
    made = ctx.submit_blocking("family.child", data)
    return {"child": str(made.job_id), "results": [other.json_result() for other in ctx.dependencies_blocking()]}


@agent.job("family.sum")
async def add_up(ctx: JobContext) -> dict[str, Any]:
    """Reads what it depends on."""
    found = await ctx.dependencies()
    return {"ids": [str(other.job_id) for other in found], "left_out": [other.left_out for other in found], "sum": sum(other.json_result() or 0 for other in found)}


@agent.job("family.member", max_attempts=1)
async def member(ctx: JobContext, data: dict[str, Any]) -> None:
    """A member of a batch: adds another one, waits for a file, or fails."""
    if "add" in data:
        await ctx.submit("family.member", {}, batch_id=int(data["add"]))
    while "gate" in data and not Path(data["gate"]).exists():
        await asyncio.sleep(0.02)
    if data.get("fail"):
        raise ValueError("as it was asked to")


@agent.job("family.report")
async def report(ctx: JobContext) -> dict[str, Any]:
    """The callback of a batch."""
    status = await ctx.batch()
    return {"total": status.total, "completed": status.completed, "failed": [str(job_id) for job_id in status.failed_ids], "open": status.open}
