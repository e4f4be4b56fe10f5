"""What survives when a process dies, stops or loses its way at the wrong moment."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
from headrace_client import Client, JobSpec, State

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, alive, children, start_agent, start_broker, until


async def _processing(client: Client, job_id: int) -> None:
    async def check() -> bool:
        return (await client.get(job_id)).state is State.PROCESSING

    await until(check, what="processing")


def _starts(directory: Path, job_id: int) -> int:
    ran = directory / "ran.txt"
    return ran.read_text().count(f"start {job_id} ") if ran.exists() else 0


async def test_jobs_of_a_killed_agent_are_done_by_another(
    client: Client, database: str, broker: BrokerProcess, agent: Process, directory: Path, stack: AsyncExitStack
) -> None:
    ids = [(await client.submit("gate", "open")).job_id for _ in range(4)]
    for job_id in ids:
        await _processing(client, job_id)
    other = await start_agent(directory, broker.address, name="other")
    stack.push_async_callback(other.kill)
    await agent.kill()
    (directory / "open").touch()
    for job_id in ids:
        job = await client.wait(job_id, timeout_s=30)
        assert (job.state, job.losses, job.attempt) == (State.COMPLETED, 1, 1)
        assert [attempt.ending for attempt in await client.attempts(job_id)] == ["lost", "completed"]
    await agree(client, database)


async def test_a_poison_job_ends_when_its_losses_are_spent(client: Client, database: str, broker: BrokerProcess, directory: Path, stack: AsyncExitStack) -> None:
    job_id = (await client.submit("poison", 1)).job_id
    for number in range(2):
        agent = await start_agent(directory, broker.address, name=f"victim-{number}")
        stack.push_async_callback(agent.kill)
        await asyncio.wait_for(agent.process.wait(), 30)
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.losses, job.error and job.error.code) == (State.ERROR, 2, "lost")
    assert _starts(directory, job_id) == 2
    await agree(client, database)


async def test_running_work_survives_a_killed_broker(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database)
    stack.push_async_callback(first.kill)
    agent = await start_agent(directory, first.address)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(first.address, timeout_s=20))
    job_id = (await client.submit("gate", "open")).job_id
    waiting = [(await client.submit("echo", n, delay_s=0.01, key=f"k{n}")).job_id for n in range(20)]
    await _processing(client, job_id)
    await first.kill()
    (directory / "open").touch()
    second = await start_broker(directory, database=database, listen=first.address, name="second")
    stack.push_async_callback(second.kill)
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.losses, job.attempt, _starts(directory, job_id)) == (State.COMPLETED, 0, 1, 1)
    for other in waiting:
        assert (await client.wait(other, timeout_s=30)).state is State.COMPLETED
    for n, other in enumerate(waiting):
        again = await client.submit("echo", n, delay_s=0.01, key=f"k{n}")
        assert (again.job_id, again.existing) == (other, True)
    await agree(client, database)


async def test_a_lease_nobody_claims_after_a_takeover_is_given_back_uncharged(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database)
    stack.push_async_callback(first.kill)
    agent = await start_agent(directory, first.address)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(first.address, timeout_s=20))
    job_id = (await client.submit("gate", "open")).job_id
    await _processing(client, job_id)
    await first.kill()
    await agent.kill()
    second = await start_broker(directory, database=database, listen=first.address, name="second")
    stack.push_async_callback(second.kill)
    other = await start_agent(directory, second.address, name="other")
    stack.push_async_callback(other.kill)
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.losses, job.attempt) == (State.COMPLETED, 0, 1)
    assert [attempt.ending for attempt in await client.attempts(job_id)] == ["owner_changed", "completed"]
    await agree(client, database)


async def test_a_standby_takes_over_and_the_agent_goes_on_with_what_it_holds(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database, name="first")
    stack.push_async_callback(first.kill)
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    assert (first.ready["role"], second.ready["role"]) == ("active", "standby")
    both = f"{first.address},{second.address}"
    agent = await start_agent(directory, both)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(both, timeout_s=20))
    job_id = (await client.submit("gate", "open")).job_id
    await _processing(client, job_id)
    await first.kill()
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.losses, job.attempt, _starts(directory, job_id)) == (State.COMPLETED, 0, 1, 1)
    await agree(client, database)


async def test_an_agent_stopped_past_its_lease_settles_nothing_afterwards(
    client: Client, database: str, broker: BrokerProcess, agent: Process, directory: Path, stack: AsyncExitStack
) -> None:
    job_id = (await client.submit("gate", "open")).job_id
    await _processing(client, job_id)
    agent.signal(signal.SIGSTOP)
    other = await start_agent(directory, broker.address, name="other")
    stack.push_async_callback(other.kill)

    async def granted_again() -> bool:
        return (await client.get(job_id)).lease_epoch == 3

    await until(granted_again, what="the second lease")
    agent.signal(signal.SIGCONT)

    async def noticed() -> bool:
        return "stopping its handler" in agent.log.read_text()

    await until(noticed, what="the stopped agent to give its lease up")
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.lease_epoch, job.losses) == (State.COMPLETED, 3, 1)
    assert [(a.ending, a.lease_epoch) for a in await client.attempts(job_id)] == [("lost", 1), ("completed", 3)]
    await agree(client, database)


async def test_a_broken_stream_loses_no_outcome(client: Client, database: str, broker: BrokerProcess, agent: Process, directory: Path) -> None:
    ids = [(await client.submit("gate", "open")).job_id for _ in range(5)]
    for job_id in ids:
        await _processing(client, job_id)
    broker.signal(signal.SIGSTOP)
    (directory / "open").touch()

    async def ended() -> bool:
        return all(f"end {job_id} " in (directory / "ran.txt").read_text() for job_id in ids)

    await until(ended, what="the handlers' end")
    broker.signal(signal.SIGCONT)
    for job_id in ids:
        job = await client.wait(job_id, timeout_s=30)
        assert (job.state, _starts(directory, job_id)) == (State.COMPLETED, 1)
    await agree(client, database)


async def test_the_flush_connection_cut_again_and_again_loses_and_doubles_nothing(client: Client, agent: Process, database: str) -> None:
    """Its backend is ended by the database while jobs are submitted, granted and settled."""
    con = await asyncpg.connect(database)
    stop, was_cut = asyncio.Event(), asyncio.Event()

    async def cut() -> None:
        while not stop.is_set():
            if await con.fetch("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'headrace flush' and datname = current_database()"):
                was_cut.set()
            try:
                await asyncio.wait_for(stop.wait(), 0.1)
            except TimeoutError:
                continue

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(cut())
        ids: list[int] = []
        for start in range(0, 600, 50):
            was_cut.clear()
            await was_cut.wait()
            results = await client.submit_many([JobSpec("echo", n, key=f"cut-{n}") for n in range(start, start + 50)])
            for n, result in enumerate(results, start):
                ids.append((await client.submit("echo", n, key=f"cut-{n}")).job_id if isinstance(result, Exception) else result.job_id)
        stop.set()
    assert len(set(ids)) == len(ids)
    for job_id in ids:
        assert (await client.wait(job_id, timeout_s=30)).state is State.COMPLETED
    assert await con.fetchval("select count(*) from headrace.job") == len(ids)
    await con.close()
    await agree(client, database)


async def test_an_embedded_database_is_started_again_and_leaves_nothing_behind(directory: Path, stack: AsyncExitStack) -> None:
    data = directory / "data"
    broker = await start_broker(directory, "--data-dir", str(data))
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    kept = await client.submit("echo", 1, key="kept")
    [postgres] = [child for child in children(broker.pid) if "postgres" in Path(f"/proc/{child}/cmdline").read_text()]
    os.kill(postgres, signal.SIGKILL)
    assert (await client.submit("echo", 1, key="kept")).job_id == kept.job_id

    async def replaced() -> int | None:
        return next((child for child in children(broker.pid) if child != postgres and "postgres" in Path(f"/proc/{child}/cmdline").read_text()), None)

    server = await until(replaced, what="a new server")
    await broker.kill()

    async def gone() -> bool:
        return not alive(server)

    await until(gone, what="the end of the orphaned server")
    again = await start_broker(directory, "--data-dir", str(data), listen=broker.address, name="again")
    stack.push_async_callback(again.kill)
    assert (await client.submit("echo", 1, key="kept")).existing
    assert (await client.count()).totals == {State.WAITING: 1}
    assert await again.stop() == 0


async def test_a_drained_agent_finishes_what_runs_and_gives_back_the_rest(
    client: Client, database: str, broker: BrokerProcess, directory: Path, stack: AsyncExitStack
) -> None:
    agent = await start_agent(directory, broker.address, "--drain-timeout-s", "0.5")
    stack.push_async_callback(agent.kill)
    stuck = (await client.submit("gate", "never")).job_id
    await _processing(client, stuck)
    assert await agent.stop() == 0
    job = await client.get(stuck)
    assert (job.state, job.attempt, job.losses) == (State.WAITING, 0, 0)
    assert [attempt.ending for attempt in await client.attempts(stuck)] == ["released"]
    other = await start_agent(directory, broker.address, name="other")
    stack.push_async_callback(other.kill)

    async def started_again() -> bool:
        return _starts(directory, stuck) == 2

    await until(started_again, what="the second start")
    stopping = asyncio.ensure_future(other.stop())

    async def drains() -> bool:
        return (await client.get(stuck)).state is State.PROCESSING

    assert await drains()
    (directory / "never").touch()
    assert await stopping == 0
    assert (await client.get(stuck)).state is State.COMPLETED
    await agree(client, database)


async def test_a_broker_that_drains_exits_with_zero_and_the_work_goes_on(database: str, directory: Path, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, "--lease-s", "20", database=database)
    stack.push_async_callback(first.kill)
    agent = await start_agent(directory, first.address)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(first.address, timeout_s=20))
    job_id = (await client.submit("gate", "open")).job_id
    await _processing(client, job_id)
    assert await first.stop() == 0
    second = await start_broker(directory, "--lease-s", "20", database=database, listen=first.address, name="second")
    stack.push_async_callback(second.kill)
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, _starts(directory, job_id)) == (State.COMPLETED, 1)
    await agree(client, database)


async def test_a_broker_that_the_schema_has_left_behind_ends_and_says_why(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    con = await asyncpg.connect(database)
    await con.execute("insert into headrace.migration values (999, 'later', 'x', '99', now(), 'post')")
    await con.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'headrace flush' and datname = current_database()")
    await con.close()
    assert await asyncio.wait_for(broker.process.wait(), 30) == 1
    said = broker.log.read_text()
    assert "headrace-broker: the database was migrated to a schema that this broker is too old for" in said and "Traceback" not in said


async def test_log_lines_that_cannot_be_stored_hold_up_neither_heartbeats_nor_outcomes(client: Client, database: str, broker: BrokerProcess, agent: Process) -> None:
    con = await asyncpg.connect(database)
    async with con.transaction():
        await con.execute("lock table headrace.log_line in exclusive mode")
        for _ in range(20):  # one message each
            assert (await client.wait((await client.submit("echo", 1)).job_id, timeout_s=30)).state is State.COMPLETED
    await con.close()
    assert broker.log.read_text().count("agent connected") == 1, "its stream was read all the time"
