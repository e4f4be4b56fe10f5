"""The clock of the database, of the broker or of the agent is set an hour forward or back while jobs run.

Leases are durations on monotonic clocks, so none ends early and none is prolonged; ids go on rising; stored times and schedules follow the database's clock, as
docs/schedules.md says; the clocks of brokers and agents decide nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path

import asyncpg
import pytest
from headrace_client import AdminClient, Client, ScheduleSpec, State

from tests.support.processes import BrokerProcess, start_agent, start_broker, until
from tests.support.scene import Scene
from tests.support.servers import Server, server
from tests.support.stepped_clock import SteppedClock
from tests.support.verdict import read_starts

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
HOUR_S = 3600
LEASES_S = 8.0  # longer than two leases of 3 s
NOTICED_S = 90.0  # the broker asks for the database's time once a minute


@pytest.fixture
def clock(directory: Path) -> SteppedClock:
    """Of whoever is named by the test."""
    return SteppedClock(directory / "clock")


@pytest.fixture
def postgres(who: str, clock: SteppedClock, directory: Path) -> Iterator[Server]:
    """A server, with the stepped clock if the test is about the database's."""
    with server(directory / "data", clock.environment if who == "database" else None) as made:
        yield made


@pytest.mark.parametrize("step_s", [HOUR_S, -HOUR_S], ids=["forward", "back"])
@pytest.mark.parametrize("who", ["database", "broker", "agent"])
async def test_a_step_of_an_hour(
    who: str, step_s: int, postgres: Server, clock: SteppedClock, directory: Path, stack: AsyncExitStack, record_property: Callable[[str, object], None]
) -> None:
    broker = await start_broker(directory, database=postgres.dsn, environment=clock.environment if who == "broker" else None)
    stack.push_async_callback(broker.kill)
    agent = await start_agent(directory, broker.address, "--slots", "40", environment=clock.environment if who == "agent" else None)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, actor="tester", timeout_s=20))
    scene = Scene(broker.address, directory)
    stack.push_async_callback(scene.stop)
    con = await asyncpg.connect(postgres.dsn)
    stack.push_async_callback(con.close)
    await scene.start()

    held = (await client.submit("gate", "open")).job_id
    await _started(directory, held)
    done = await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)
    await admin.put_schedule("often", ScheduleSpec("echo", interval_s=2, missed="once"), reason="test")
    await _fired(con, 2)
    before = await _newest(con)
    later = (await client.submit("echo", 2, delay_s=HOUR_S / 2)).job_id

    clock.step(step_s)
    passing = (await client.submit("thread", LEASES_S)).job_id  # takes longer than two leases
    after = (await client.submit("echo", 3)).job_id
    assert after > before
    job = await client.wait(passing, timeout_s=40)
    assert (job.state, job.lease_epoch, job.losses) == (State.COMPLETED, 1, 0)
    held_job = await client.get(held)
    assert (held_job.state, held_job.lease_epoch, len(read_starts(directory / "ran.txt")[held])) == (State.PROCESSING, 1, 1)
    assert "was not renewed" not in agent.log.read_text()

    if who == "database":
        await _noticed(broker)
        ticks = await _ticks(con)
        assert len(set(ticks)) == len(ticks)  # none came twice
        if step_s > 0:
            await _fired(con, len(ticks) + 2)
            kinds = [row["outcome"] for row in await con.fetch("select outcome from headrace.schedule_fire")]
            assert len(kinds) < 200, "an hour of ticks is not made up for, unless its schedule says so"
        else:
            assert max(await _ticks(con)) <= max(ticks), "a tick that was decided does not come again, and the next one is waited for"
    else:
        await _fired(con, 5)
        assert "was stepped" not in broker.log.read_text()
    await scene.acknowledged(100)
    assert await _newest(con) > after > before

    assert (await client.get(later)).state is State.WAITING  # what remained of its delay remains, until another owner reads when it is due

    (directory / "open").touch()
    held_job = await client.wait(held, timeout_s=20)
    assert (held_job.state, held_job.lease_epoch, held_job.losses) == (State.COMPLETED, 1, 0)
    assert (await client.get(done.job_id)).state is State.COMPLETED  # kept for seven days, and an hour is none
    await admin.delete_schedule("often", reason="test")
    await admin.abort([later], reason="test")
    verdict = await scene.end(postgres.dsn, f"the {who}'s clock {step_s:+d} s", others=True)
    record_property("jobs", verdict.jobs)
    assert set(verdict.again) <= {"after a failure"}, "a step of a clock is no reason to run a job again"


async def _started(directory: Path, job_id: int) -> None:
    async def check() -> bool:
        return bool(read_starts(directory / "ran.txt").get(job_id))

    await until(check, what="the start of a handler")


async def _ticks(con: "asyncpg.Connection[object]") -> list[datetime]:
    return [row["nominal_at"] for row in await con.fetch("select nominal_at from headrace.schedule_fire where outcome = 'fired' order by nominal_at")]


async def _fired(con: "asyncpg.Connection[object]", wanted: int) -> None:
    async def check() -> bool:
        return len(await _ticks(con)) >= wanted

    await until(check, what=f"{wanted} ticks")


async def _newest(con: "asyncpg.Connection[object]") -> int:
    return int(await con.fetchval("select max(job_id) from headrace.job"))


async def _noticed(broker: BrokerProcess) -> None:
    async def check() -> bool:
        return "clock was stepped" in broker.log.read_text()

    await until(check, timeout_s=NOTICED_S, what="the broker's notice of the step")
