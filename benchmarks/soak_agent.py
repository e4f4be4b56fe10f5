"""The agent of soak.py: handlers that are quick, slow or fail now and then. Short retention, so that partitions come and go within the soak."""

import asyncio
import random
from typing import Any

from headrace_agent import Agent, Backoff, JobContext, Retry

KEPT_S = 60.0
agent = Agent("soak", slots=400)


@agent.job("soak.quick", delete_completed_after_s=KEPT_S, delete_error_after_s=KEPT_S, alert_on_error=False, max_losses=100)
async def quick(ctx: JobContext, payload: bytes) -> None:
    """Nothing."""


@agent.job("soak.mixed", retry=Backoff(1, max_s=5), delete_completed_after_s=KEPT_S, delete_error_after_s=KEPT_S, alert_on_error=False, max_losses=100)
async def mixed(ctx: JobContext, payload: bytes) -> dict[str, Any]:
    """Takes up to 50 ms, logs a line now and then, and fails one time in twenty."""
    chance = random.random()
    await asyncio.sleep(0.05 * chance)
    if chance > 0.98:
        ctx.log.info("still here")
    if chance < 0.05:
        raise Retry("on purpose")
    return {"bytes": len(payload)}


@agent.job("soak.keyed", max_losses=100)
async def keyed(ctx: JobContext, payload: bytes) -> None:
    """Submitted with an idempotency key; kept for the default time."""
