"""Time for tests: a broker with --testing lets its clock be set forward, and no other does."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from headrace_broker.shards.clock import DatabaseClock
from headrace_client import AdminClient, Client, InvalidRequest, InvalidState, JobSpec, NotFound, State

from tests.support.processes import BrokerProcess, run_command, start_agent, start_broker, until

DAY_S = 86_400.0


@pytest.fixture
async def testing(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    process = await start_broker(directory, "--testing", "--retention-period-s", "86400", database=database)
    stack.push_async_callback(process.kill)
    return process


@pytest.fixture
async def clients(testing: BrokerProcess, stack: AsyncExitStack) -> tuple[Client, AdminClient]:
    return await stack.enter_async_context(Client(testing.address)), await stack.enter_async_context(AdminClient(testing.address))


async def test_a_broker_without_the_option_refuses(client: Client, admin: AdminClient) -> None:
    job_id = (await client.submit("t", delay_s=60)).job_id
    with pytest.raises(InvalidState, match="--testing"):
        await admin.advance_clock(3600)
    assert (await client.get(job_id)).wait_reason == "scheduled"


async def test_what_waits_for_its_time_comes_as_if_it_had_passed(clients: tuple[Client, AdminClient], directory: Path, testing: BrokerProcess) -> None:
    client, admin = clients
    near, far = [(await client.submit("echo", n, delay_s=delay_s)).job_id for n, delay_s in enumerate((3 * DAY_S, 300 * DAY_S))]
    limited = (await client.submit("echo", 2, delay_s=3 * DAY_S, limit_key="key")).job_id
    before = (await client.count()).as_of
    agent = await start_agent(directory, testing.address)
    try:
        now = await admin.advance_clock(3 * DAY_S)
        assert timedelta(days=3) <= now - before < timedelta(days=3, minutes=1)
        assert [(await client.wait(job_id, timeout_s=20)).state for job_id in (near, limited)] == [State.COMPLETED] * 2
        assert (await client.get(far)).wait_reason == "scheduled"
        failing = (await client.submit("t", None)).job_id
        assert (await client.get(failing)).created_at >= now  # ids carry the time, and there are partitions for it
        await admin.advance_clock(297 * DAY_S)
        assert (await client.wait(far, timeout_s=20)).state is State.COMPLETED
    finally:
        await agent.kill()
    with pytest.raises(InvalidRequest, match="time does not go back"):
        await admin.advance_clock(0)
    rows, _ = await admin.list_audit(action="testing.advance_clock", all_domains=True)
    assert [(row.target, row.after) for row in rows] == [("broker/clock", {"seconds": 297 * DAY_S}), ("broker/clock", {"seconds": 3 * DAY_S})]


async def test_who_has_waited_for_very_long_is_told_that_it_will_go_out_of_its_turn(clients: tuple[Client, AdminClient], directory: Path, testing: BrokerProcess) -> None:
    client, admin = clients
    agent = await start_agent(directory, testing.address, "--slots", "1")
    try:
        running = (await client.submit("gate", "open")).job_id

        async def runs() -> bool:
            return (await client.get(running)).state is State.PROCESSING

        await until(runs, what="the only slot to be taken")
        waiting = (await client.submit("echo", 1)).job_id
        texts = [(await client.explain(waiting)).text]
        await admin.advance_clock(601)
        texts.append((await client.explain(waiting)).text)
        await admin.set_type("echo", ageing_max=0)
        texts.append((await client.explain(waiting)).text)
        assert ["more than 10 minutes" in text for text in texts] == [False, True, False], texts
    finally:
        (directory / "open").touch()
        await agent.kill()


async def test_delete_dates_pass_and_jobs_of_the_shortest_class_find_their_partitions(
    clients: tuple[Client, AdminClient], directory: Path, testing: BrokerProcess
) -> None:
    client, admin = clients
    await admin.set_type("echo", delete_completed_after_s=200)
    agent = await start_agent(directory, testing.address)
    try:
        job_id = (await client.submit("echo", 1)).job_id
        await client.wait(job_id, timeout_s=20)
        await admin.advance_clock(10 * DAY_S)
        with pytest.raises(NotFound):
            await client.get(job_id)
        for _ in range(3):  # at once, and not when partitions are looked for next
            await client.submit("echo", 3, timeout_s=1.5)
            await admin.advance_clock(10 * DAY_S)
        results = await client.submit_many([JobSpec("echo", n) for n in range(100)])
        assert len({result.job_id for result in results if hasattr(result, "job_id")}) == 100
        assert (await client.wait((await client.submit("echo", 2)).job_id, timeout_s=20)).state is State.COMPLETED
    finally:
        await agent.kill()


async def test_a_broker_that_is_started_anew_goes_on_with_the_databases_clock(
    database: str, clients: tuple[Client, AdminClient], directory: Path, testing: BrokerProcess
) -> None:
    client, admin = clients
    await admin.advance_clock(2 * DAY_S)
    first = (await client.submit("t")).job_id
    await testing.kill()
    second = await start_broker(directory, database=database, name="second")
    try:
        async with Client(second.address) as after:
            assert (await after.get(first)).state is State.WAITING
            assert (await after.submit("t")).job_id > first
    finally:
        await second.kill()


async def test_by_the_command_line(clients: tuple[Client, AdminClient], testing: BrokerProcess) -> None:
    client, _ = clients
    job_id = (await client.submit("t", delay_s=7000)).job_id

    async def shell(*words: str, address: str = testing.address) -> int:
        return (await asyncio.to_thread(run_command, "headrace", *words, environment={"HEADRACE_BROKER": address})).returncode

    assert await shell("testing", "advance", "2h") == 0
    assert (await client.get(job_id)).wait_reason == "no_agent"
    assert await shell("testing", "advance", "soon") == 2
    assert await shell("testing", "advance", "0") == 4


def test_the_clock_stays_ahead_when_it_is_set_again() -> None:
    clock = DatabaseClock(lambda: 100.0)
    clock.set(1000.0, 100.0, 100.0)
    clock.advance(3600)
    assert clock.now_s() == 4600
    assert clock.set(1000.5, 100.0, 100.0) == 0.5
    assert clock.now_s() == 4600.5 and clock.monotonic_at(4600.5) == 100.0
