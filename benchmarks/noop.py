"""Handlers that do nothing, for benchmarks of the library itself: the full context is made, the payload decoded, the result encoded."""

from typing import Any

from headrace_agent import Agent, JobContext

agent = Agent("noop", slots=1000)


@agent.job("bench.async")
async def run_async(ctx: JobContext, data: Any) -> Any:
    """In the event loop."""
    return None


@agent.job("bench.thread")
def run_thread(ctx: JobContext, data: Any) -> Any:
    """In a thread."""
    return None
