"""Runs an agent through a real broker until nothing waits that could run."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from headrace_client import AdminClient, Client, State

from headrace_agent.agent import Agent

LOOK_S = 0.02
CONNECT_S = 5.0  # how long "no agent" is taken for "no agent yet"
MOMENT_S = 0.001  # the clock goes that much beyond what is due


@dataclass(frozen=True, slots=True)
class Drained:
    """Jobs of the agent's types that settled meanwhile, by state; those still `waiting`, for their time or something else; by how much the clock was advanced."""

    completed: int
    error: int
    aborted: int
    waiting: int
    advanced_s: float


async def drain(
    agent: Agent, broker: str | None = None, *, domain: str | None = None, token: str | None = None, advance: bool = False, timeout_s: float = 60.0,
) -> Drained:  # fmt: skip
    """Runs `agent` until no job of its types runs or could run now, those included that its handlers submit; then stops it.

    Jobs that are put off or scheduled stay waiting, unless `advance` is set: then the clock of the broker, which must run with --testing, is set forward to each of them
    in turn. What other agents serve is not waited for.

    Raises:
        TimeoutError: jobs are still running, or ready, after `timeout_s`. Whatever the agent's start hooks raise.
    """
    types = list(agent.handlers)
    stop = asyncio.Event()
    try:
        async with AdminClient(broker, domain=domain, token=token) as admin, Client(broker, domain=domain, token=token) as client, asyncio.TaskGroup() as tasks:
            before = (await client.count(types)).totals
            running = tasks.create_task(agent.run(broker, domain=domain, token=token, drain=stop, drain_timeout_s=5.0))
            try:
                advanced_s = await _until_idle(client, admin, types, advance=advance, timeout_s=timeout_s)
            finally:
                stop.set()
            await running
            after = (await client.count(types)).totals
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    completed, error, aborted = (after.get(state, 0) - before.get(state, 0) for state in (State.COMPLETED, State.ERROR, State.ABORTED))
    return Drained(completed, error, aborted, after.get(State.WAITING, 0), advanced_s)


async def _until_idle(client: Client, admin: AdminClient, types: list[str], *, advance: bool, timeout_s: float) -> float:
    """Returns by how much the clock was advanced."""
    loop = asyncio.get_running_loop()
    began, advanced_s = loop.time(), 0.0
    while True:
        busy, due, now = await _look(client, types, connected=loop.time() - began > CONNECT_S)
        if not busy and (due is None or not advance):
            return advanced_s
        if not busy and due is not None:
            by_s = max(0.0, (due - now).total_seconds()) + MOMENT_S
            await admin.advance_clock(by_s)
            advanced_s += by_s
        if loop.time() - began > timeout_s:
            raise TimeoutError(f"not drained after {timeout_s:g} s: {busy or 'jobs keep coming'}")
        await asyncio.sleep(LOOK_S)


async def _look(client: Client, types: list[str], *, connected: bool) -> tuple[str, datetime | None, datetime]:
    """(what runs or could run, or nothing; when the next job that waits for its time may start; the broker's time)."""
    counts = await client.count(types)
    if counts.totals.get(State.PROCESSING):
        return f"{counts.totals[State.PROCESSING]} jobs run", None, counts.as_of
    due: datetime | None = None
    waiting = counts.totals.get(State.WAITING, 0)
    seen = 0
    if waiting:
        async for job in client.iter_jobs(types=types, states=[State.WAITING]):
            seen += 1
            if job.wait_reason == "ready" or (job.wait_reason == "no_agent" and not connected):
                return f"job {job.job_id} ({job.type}) is ready", None, counts.as_of
            if job.wait_reason in ("scheduled", "retry") and job.available_at is not None:
                due = min(due or job.available_at, job.available_at)
    return "" if seen >= waiting else "a job began in between", due, counts.as_of
