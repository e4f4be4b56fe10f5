"""The shape of every duty: one pass after another, while this broker owns the queue; a pass that fails is logged and tried again.

A process that is stopped and goes on believes for a moment what it believed before. So the database is asked before each pass, and nothing is done by an owner that
has been succeeded. (Schedules and bulk operations are flushes, and fenced as such; alerts have terms of their own.)
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

import structlog

from headrace_broker.shards.ownership import Ownership

log = structlog.get_logger("headrace.maintenance")


async def repeat(name: str, run_once: Callable[[], Awaitable[object]], *, period_s: float, ownership: Ownership) -> None:
    """Runs passes about every `period_s` seconds (spread by a tenth, so that duties do not march in step) until cancelled."""
    while True:
        await asyncio.sleep(period_s * random.uniform(0.9, 1.1))
        if not ownership.ready.is_set():
            continue
        try:
            if not await ownership.owns():
                log.info("not done: another broker owns the queue", duty=name)
                continue
            began = time.monotonic()
            done = await run_once()
        except Exception as error:
            log.warning("a pass failed; it will be tried again", duty=name, reason=f"{type(error).__name__}: {error}")
        else:
            if done:
                log.info("done", duty=name, what=done, seconds=round(time.monotonic() - began, 3))
