"""Agents for recovery.py: each start of a handler is a line of JSON on standard output, with the monotonic time."""

import asyncio
import json
import time
from typing import Any

from headrace_agent import Agent, JobContext

holder = Agent("holder", slots=20)
starter = Agent("starter", slots=200)


def say(ctx: JobContext) -> None:
    """Tells that a handler started."""
    print(json.dumps({"job": ctx.job_id, "at": time.monotonic()}), flush=True)


@holder.job("recovery.hold", max_losses=1000, timeout_s=86_400)
async def hold(ctx: JobContext, data: Any) -> None:
    """Runs until its process ends."""
    say(ctx)
    await asyncio.sleep(86_400)


@starter.job("recovery.due", max_losses=1000)
async def start(ctx: JobContext, data: Any) -> None:
    """Only starts."""
    say(ctx)
