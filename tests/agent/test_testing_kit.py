"""The testing kit as a user's tests meet it: pytest in a process of its own, with the fixtures; and `drain` through a real broker."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_agent import Agent, Backoff, JobContext
from headrace_agent.drain import _look
from headrace_agent.testing import Drained, drain
from headrace_client import Client, InvalidState, State

from tests.support.processes import BrokerProcess, run_command, start_broker

USER_TESTS = """
import asyncio
import pytest
from headrace_agent import Agent, Backoff, JobContext
from headrace_client import Client

agent = Agent("kit")
seen = []

@agent.job("work", retry=Backoff(600, jitter=0))
async def work(ctx: JobContext, n: int) -> int:
    if ctx.attempt < n:
        raise ValueError("again")
    if n == 3:
        await ctx.submit("work", 1)
    return ctx.attempt

def test_drain(headrace_client, headrace_drain, headrace_domain):
    seen.append(headrace_domain)
    headrace_client.submit("work", 1)
    job_id = headrace_client.submit("work", 3).job_id
    drained = headrace_drain(agent)
    assert (drained.completed, drained.waiting, drained.advanced_s) == (1, 1, 0)
    drained = headrace_drain(agent, advance=True)
    assert (drained.completed, drained.waiting) == (2, 0) and drained.advanced_s > 600
    assert headrace_client.get(job_id, full=True).json_result() == 3

def test_nothing_of_the_other_test_is_here(headrace_client, headrace_domain):
    assert headrace_domain not in seen and headrace_client.count().totals == {}

def test_beside(headrace_client, headrace_agent, headrace_broker):
    running = headrace_agent(agent, slots=2)
    assert headrace_client.wait(headrace_client.submit("work", 1).job_id, timeout_s=20).state == "completed"
    later = headrace_client.submit("work", 1, delay_s=5000)
    headrace_broker.advance(5000)
    assert headrace_client.wait(later.job_id, timeout_s=20).state == "completed"
    running.stop()

def test_in_a_coroutine(headrace_broker, headrace_domain, headrace_drain):
    async def go():
        async with Client(headrace_broker.address, domain=headrace_domain) as client:
            await client.submit("work", 1)
            return headrace_drain(agent).completed
    assert asyncio.run(go()) == 1

def test_an_agent_that_fails_says_so(headrace_agent, headrace_drain):
    bad = Agent("bad")
    @bad.job("t")
    async def t() -> None: ...
    @bad.on_start
    def start(state):
        raise LookupError("no database")
    with pytest.raises(LookupError):
        headrace_drain(bad)
    running = headrace_agent(bad)
    with pytest.raises(LookupError):
        running.stop()
    running.stop()  # it has said so
"""


async def test_the_fixtures_serve_a_users_tests_and_leave_nothing_behind(directory: Path) -> None:
    (directory / "test_kit.py").write_text(USER_TESTS)
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HEADRACE_BROKER": "127.0.0.1:1", "HEADRACE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    command = ("python", "-m", "pytest", "-q", "-p", "headrace_pytest", "-p", "no:cacheprovider", "test_kit.py")
    done = await asyncio.to_thread(lambda: run_command(*command, environment=environment, cwd=directory, timeout_s=110))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


async def test_the_plugin_costs_nothing_until_a_fixture_is_used(directory: Path) -> None:
    (directory / "test_nothing.py").write_text(
        "import sys\ndef test_nothing():\n    assert not [m for m in sys.modules if m.startswith(('grpc', 'headrace_client', 'headrace_agent'))]\n"
    )
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = await asyncio.to_thread(
        lambda: run_command("python", "-m", "pytest", "-q", "-p", "headrace_pytest", "test_nothing.py", environment=environment, cwd=directory)
    )
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_broker_that_does_not_start_is_shown(directory: Path) -> None:
    (directory / "test_one.py").write_text("def test_one(headrace_broker): ...\n")
    (directory / "sitecustomize.py").write_text("import sys\nsys.modules['asyncpg'] = None\n")
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(directory)}
    done = await asyncio.to_thread(lambda: run_command("python", "-m", "pytest", "-q", "-p", "headrace_pytest", "test_one.py", environment=environment, cwd=directory))
    assert done.returncode != 0 and "did not start" in done.stdout and "asyncpg" in done.stdout


def _agent() -> Agent:
    agent = Agent("drained")

    @agent.job("tree")
    async def tree(ctx: JobContext, levels: int) -> None:
        for _ in range(2 if levels else 0):
            await ctx.submit("tree", levels - 1)

    @agent.job("never", retry=Backoff(100, jitter=0), max_attempts=4)
    async def never(ctx: JobContext, data: Any) -> None:
        raise ValueError("never")

    @agent.job("hang")
    async def hang(ctx: JobContext) -> None:
        await asyncio.sleep(60)

    return agent


async def test_drain_runs_what_handlers_submit_and_leaves_what_waits(broker: BrokerProcess, client: Client) -> None:
    await client.submit("tree", 4)
    await client.submit("never", None)
    await client.submit("tree", 0, delay_s=3600)
    await client.submit("nobody.serves.it", None)
    assert await drain(_agent(), broker.address) == Drained(completed=31, error=0, aborted=0, waiting=2, advanced_s=0.0)
    with pytest.raises(InvalidState, match="--testing"):
        await drain(_agent(), broker.address, advance=True)


async def test_drain_waits_for_a_job_that_is_ready_though_none_runs() -> None:
    class Between:
        """What a client sees between one job's end and the next one's start."""

        async def count(self, _types: list[str]) -> Any:
            """One waits."""
            return SimpleNamespace(totals={State.WAITING: 1}, as_of=datetime.now(UTC))

        async def iter_jobs(self, **_filter: object) -> AsyncIterator[Any]:
            """It is ready."""
            yield SimpleNamespace(job_id=1, type="t", wait_reason="ready", available_at=None)

    busy, due, _ = await _look(Between(), ["t"], connected=True)  # type: ignore[arg-type]  # all that is asked of a client
    assert (busy, due) == ("job 1 (t) is ready", None)


async def test_drain_says_what_goes_on_when_its_time_is_over(broker: BrokerProcess, client: Client) -> None:
    await client.submit("hang")
    with pytest.raises(TimeoutError, match="1 jobs run"):
        await drain(_agent(), broker.address, timeout_s=1)


async def test_drain_with_time_under_control_ends_every_retry(database: str, directory: Path) -> None:
    testing = await start_broker(directory, "--testing", database=database)
    try:
        async with Client(testing.address) as client:
            for _ in range(20):
                await client.submit("never", None)
            drained = await drain(_agent(), testing.address, advance=True)
            assert (drained.error, drained.waiting) == (20, 0) and 690 < drained.advanced_s < 710  # 100 + 200 + 400
    finally:
        await testing.kill()
