"""A handler's effects and the completion of its job in one transaction, under kills, lost leases and transactions that stay open."""

import json
import signal
from collections.abc import Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance.watch_doors import WatchDoors
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.pool import open_pool
from headrace_client import AdminClient, Client, State

from tests.support.agreement import agree, history
from tests.support.processes import ROOT, BrokerProcess, Process, run_command, start_agent, start_broker, until
from tests.support.scripted_agent import ScriptedAgent

AGENT = "tests.support.door_handlers:agent"


@pytest.fixture
async def con(database: str, stack: AsyncExitStack) -> "asyncpg.Connection[Any]":
    """A connection to the queue's database, which has a table for effects."""
    found = await asyncpg.connect(database)
    stack.push_async_callback(found.close)
    await found.execute("create table effect (id int, epoch int)")
    await found.execute((ROOT / "agent/headrace_agent/doors.py").read_text().split('ONCE_TABLE = """\\\n')[1].split('"""')[0])
    return found


@pytest.fixture
def start(database: str, directory: Path, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Starts an agent with the handlers of tests.support.door_handlers."""
    monkeypatch.setenv("DATABASE_URL", database)

    async def go(broker: str, name: str = "agent", *options: str) -> Process:
        process = await start_agent(directory, broker, *options, agent=AGENT, name=name)
        stack.push_async_callback(process.kill)
        return process

    return go


async def effects(con: "asyncpg.Connection[Any]") -> list[tuple[int, int]]:
    """(id, lease epoch) of all effects that are committed."""
    return [(row["id"], row["epoch"]) for row in await con.fetch("select * from effect order by id, epoch")]


async def ran(directory: Path, what: str, job_id: int) -> int:
    """How often a handler has written that line."""
    path = directory / "ran.txt"
    return path.read_text().count(f"{what} {job_id} ") if path.exists() else 0


@pytest.mark.parametrize("type_", ["door", "door.thread", "door.process", "door.psycopg", "door.own"])
async def test_effects_and_completion_are_one_commit(client: Client, broker: BrokerProcess, database: str, con: Any, start: Any, type_: str) -> None:
    agent = await start(broker.address)
    ids = [(await client.submit(type_, {"id": n})).job_id for n in range(5)]
    for number, job_id in enumerate(ids):
        job = await client.wait(job_id, timeout_s=30)
        assert (job.state, job.attempt) == (State.COMPLETED, 1)
        assert job.json_result() == {"door": {"effect": number}, "door.own": "own"}.get(type_, number)
    assert await effects(con) == [(n, 1) for n in range(5)]
    await agree(client, database)
    assert await agent.stop() == 0  # nothing waits for an acknowledgement
    assert "took" not in broker.log.read_text().partition("serving")[2]  # and nobody had to read the ledger again


async def test_an_exception_rolls_both_back_and_is_the_failure(client: Client, broker: BrokerProcess, database: str, con: Any, start: Any) -> None:
    agent = await start(broker.address)
    job = await client.wait((await client.submit("door", {"id": 1, "how": "raise"})).job_id, timeout_s=30)
    assert (job.state, job.attempt, job.json_result()) == (State.COMPLETED, 2, {"effect": 1})
    assert await effects(con) == [(1, 3)]
    assert [attempt.ending for attempt in await client.attempts(job.job_id)] == ["failed", "completed"]
    job = await client.wait((await client.submit("door", {"id": 2, "how": "raise after"})).job_id, timeout_s=30)
    assert (job.state, job.attempt) == (State.COMPLETED, 1)
    other = await client.wait((await client.submit("door", {"id": 3})).job_id, timeout_s=30)
    assert await agent.stop() == 0  # its outcomes were acknowledged
    for job_id in (job.job_id, other.job_id):
        assert await history(client, job_id) == ["granted", "completed"], "nothing is kept as evidence against the transaction"
    await agree(client, database)


@pytest.mark.parametrize("how", ["die before", "die after"])
async def test_an_agent_killed_on_either_side_of_its_commit(client: Client, broker: BrokerProcess, database: str, con: Any, start: Any, how: str) -> None:
    await start(broker.address)
    job_id = (await client.submit("door", {"id": 1, "how": how})).job_id
    await start(broker.address, "other")
    job = await client.wait(job_id, timeout_s=30)
    before = how == "die before"
    assert (job.state, job.losses) == (State.COMPLETED, int(before))
    assert await effects(con) == [(1, 3 if before else 1)]
    await agree(client, database)


async def _inside(client: Client, directory: Path, number: int = 1) -> int:
    """A job whose handler is inside its transaction."""
    job_id = (await client.submit("door", {"id": number, "how": "wait"})).job_id

    async def inside() -> bool:
        return await ran(directory, "inside", job_id) == 1

    await until(inside, what="the transaction")
    return job_id


async def test_a_forgotten_lease_whose_transaction_is_open_waits_for_its_end(
    client: Client, broker: BrokerProcess, database: str, con: Any, start: Any, directory: Path, stack: AsyncExitStack
) -> None:
    """Somebody else's program holds the lock of a job that is lost: the job stays as it is, others go on over many flushes, and the end of the transaction decides."""
    agent = await start(broker.address)
    jobs = {ends: (await client.submit("door", {"id": int(ends), "how": "wait"})).job_id for ends in (True, False)}

    async def inside() -> bool:
        return all([await ran(directory, "inside", job_id) for job_id in jobs.values()])

    await until(inside, what="the transactions")
    doors, pids = {}, []
    await agent.kill()  # its transactions go with it; those that follow are of a program without an agent
    for ends, job_id in jobs.items():
        holder = await asyncpg.connect(database)
        stack.push_async_callback(holder.close)
        transaction = holder.transaction()
        await transaction.start()
        await holder.execute("insert into effect values ($1, 1)", int(ends))
        await holder.execute("select headrace.complete_job($1, 1)", job_id)
        doors[ends] = transaction
        pids.append(holder.get_server_pid())
    other = await start(broker.address, "other")

    rows = json.loads(run_command("headrace", "doors", "list", "-o", "json", "--broker", broker.address).stdout)
    assert {int(row["job_id"]) for row in rows} == set(jobs.values())
    assert {row["pid"] for row in rows} == set(pids)
    await _alert_once(database, broker, con, jobs.values())
    flushes = "select count(*) from headrace.flush"
    before = await con.fetchval(flushes)
    for number in range(40):
        assert (await client.wait((await client.submit("door", {"id": 100 + number})).job_id, timeout_s=20)).state is State.COMPLETED
    assert await con.fetchval(flushes) >= before + 80
    for job_id in jobs.values():
        assert (await client.get(job_id)).state is State.PROCESSING
    (directory / "open").touch()
    await doors[True].commit()
    await doors[False].rollback()
    for job_id in jobs.values():
        assert (await client.wait(job_id, timeout_s=30)).state is State.COMPLETED
    assert [(n, epoch) for n, epoch in await effects(con) if n < 100] == [(0, 3), (1, 1)]
    assert (await client.get(jobs[True])).losses == 0
    assert (await client.get(jobs[False])).losses == 1
    await agree(client, database)
    assert await other.stop() == 0


async def _alert_once(database: str, broker: BrokerProcess, con: Any, job_ids: Iterable[int]) -> None:
    """A transaction that is open for too long raises an alert, one for each lease, also when another broker looks."""
    types = {row["job_id"]: row["type_id"] for row in await con.fetch("select job_id, type_id from headrace.job where job_id = any ($1::bigint[])", list(job_ids))}

    def live(job_id: int) -> Any:
        return SimpleNamespace(entry=SimpleNamespace(type_id=types[job_id]), seq=1) if job_id in types else None

    pool = await open_pool(database)
    try:
        assert await WatchDoors(Inbox(pool), live, too_long_s=3600.0).run_once() == {}
        watch = WatchDoors(Inbox(pool), live, too_long_s=0.0)
        assert await watch.run_once() == {"alerts": len(types)}
        assert await watch.run_once() == {}
        assert await WatchDoors(Inbox(pool), live, too_long_s=0.0).run_once() == {}
    finally:
        await pool.close()
    async with AdminClient(broker.address) as admin:
        alerts, _ = await admin.list_alerts()
    assert sorted(alert.job_id for alert in alerts if alert.kind == "door_open") == sorted(types)


async def test_a_lost_lease_rolls_back_and_ends_quietly(
    client: Client, admin: AdminClient, broker: BrokerProcess, database: str, con: Any, start: Any, directory: Path
) -> None:
    agent = await start(broker.address)
    job_id = await _inside(client, directory)
    agent.signal(signal.SIGSTOP)
    await start(broker.address, "other")

    async def granted_again() -> bool:
        return (await client.get(job_id)).lease_epoch == 3

    await until(granted_again, what="the second lease")
    with pytest.raises(asyncpg.PostgresError, match="LEASE_LOST"):
        await con.execute("select headrace.complete_job($1, 1)", job_id)
    (directory / "open").touch()
    assert (await client.wait(job_id, timeout_s=30)).state is State.COMPLETED
    agent.signal(signal.SIGCONT)

    async def rolled_back() -> bool:
        return not await con.fetchval("select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()")

    await until(rolled_back, what="the end of the first transaction")
    assert await effects(con) == [(1, 3)]
    await agree(client, database)
    assert await agent.stop() == 0


async def test_a_broker_killed_before_it_hears_of_the_completion(database: str, directory: Path, con: Any, start: Any, stack: AsyncExitStack) -> None:
    first = await start_broker(directory, database=database)
    stack.push_async_callback(first.kill)
    agent = await start(first.address)
    client = await stack.enter_async_context(Client(first.address, timeout_s=20))
    job_id = await _inside(client, directory)
    first.signal(signal.SIGSTOP)
    (directory / "open").touch()

    async def committed() -> bool:
        return await effects(con) == [(1, 1)]

    await until(committed, what="the handler's commit")
    await first.kill()
    second = await start_broker(directory, database=database, listen=first.address, name="second")
    stack.push_async_callback(second.kill)
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.attempt, job.losses, job.json_result()) == (State.COMPLETED, 1, 0, {"effect": 1})
    await agree(client, database)
    assert await ran(directory, "start", job_id) == 1
    assert await agent.stop() == 0


async def test_wrong_and_stale_calls_are_refused(client: Client, database: str, con: Any) -> None:
    job_id = (await client.submit("t", 1)).job_id
    for arguments in ("null, 1", "1, 0", f"{job_id}, 1, '1', '\\x00'"):
        with pytest.raises(asyncpg.InvalidParameterValueError):
            await con.execute(f"select headrace.complete_job({arguments})")
    for arguments in (f"{job_id}, 1", "77, 1"):
        with pytest.raises(asyncpg.PostgresError, match="LEASE_LOST") as refused:
            await con.execute(f"select headrace.complete_job({arguments})")
        assert refused.value.sqlstate == "HR001"
    await agree(client, database)


@pytest.mark.parametrize("how", ["raise", "die"])
async def test_an_effect_elsewhere_happens_once(client: Client, broker: BrokerProcess, con: Any, start: Any, how: str) -> None:
    await start(broker.address)
    job_id = (await client.submit("once", {"id": 1, "how": how})).job_id
    await start(broker.address, "other")
    job = await client.wait(job_id, timeout_s=30)
    assert (job.state, job.lease_epoch, job.json_result()) == (State.COMPLETED, 3, {"epoch": 1})
    assert await effects(con) == [(1, 1)]
    job = await client.wait((await client.submit("once.thread", {"id": 2})).job_id, timeout_s=30)
    assert job.json_result() == [1, 1, 1]
    assert await effects(con) == [(1, 1), (2, 1), (2, 1)]


async def test_an_abort_by_force_does_not_wait_for_an_open_transaction(
    client: Client, broker: BrokerProcess, database: str, con: Any, start: Any, directory: Path
) -> None:
    await start(broker.address)
    job_id = await _inside(client, directory)
    async with con.transaction():
        await con.execute("select pg_advisory_xact_lock($1)", job_id)  # as complete_job does
        [result] = await client.abort([job_id], reason="now", force=True)
        assert (result.ok, result.state) == (False, State.PROCESSING)
        await client.submit("t", 1)  # nobody waits
    [result] = await client.abort([job_id], reason="now", force=True)
    assert (result.ok, result.state) == (True, State.ABORTED)
    (directory / "open").touch()

    async def rolled_back() -> bool:
        return not await con.fetchval("select count(*) from pg_stat_activity where state like 'idle in transaction%' and datname = current_database()")

    await until(rolled_back, what="the end of the handler's transaction")
    assert await effects(con) == []
    await agree(client, database)


async def test_an_attempt_that_took_too_long_is_taken_back_once_on_each_stream_while_a_transaction_may_complete_its_job(
    client: Client, admin: AdminClient, broker: BrokerProcess, con: Any, stack: AsyncExitStack
) -> None:  # fmt: skip
    hand = ScriptedAgent(broker.address)
    stack.push_async_callback(hand.close)
    await hand.connect()
    await admin.set_type("t", timeout_s=0.5)
    await client.submit("t", 1)
    [job] = await hand.take(1)
    key = job.job_id, job.lease_epoch
    async with con.transaction():
        await con.execute("select pg_advisory_xact_lock($1)", job.job_id)  # as complete_job does
        for times in (1, 2):
            await hand.until(lambda: len(hand.revoked) == times, "the revocation")  # noqa: B023
            hand.held[job.job_id] = job  # its handler does not stop
            proven = hand.proven_no
            await hand.until(lambda: hand.proven_no > proven + 3, "some heartbeats: the broker has looked again and again")  # noqa: B023
            assert hand.revoked == [key] * times
            if times == 1:
                await hand.connect()

    async def ended() -> bool:
        return [attempt.ending for attempt in await client.attempts(job.job_id)] == ["timed_out"]

    await until(ended, what="the end of the attempt")


async def test_outcomes_that_meet_an_open_transaction_wait_for_it(client: Client, broker: BrokerProcess, database: str, con: Any, start: Any, directory: Path) -> None:
    """The agent drains while the handler is in its transaction: it is cancelled, and what it reports counts once the transaction has ended."""
    agent = await start(broker.address, "agent", "--drain-timeout-s", "0.2")
    job_id = await _inside(client, directory)
    assert await agent.stop() == 0
    await start(broker.address, "other")
    (directory / "open").touch()
    assert (await client.wait(job_id, timeout_s=30)).state is State.COMPLETED
    assert len(await effects(con)) == 1
    await agree(client, database)


async def test_a_completion_in_a_transaction_releases_what_depends_on_it(client: Client, broker: BrokerProcess, database: str, con: Any, start: Any) -> None:
    """Both come through doors: the second job, which depends on the first, and the first one's completion."""
    first = (await client.submit("door", {"id": 1})).job_id
    entry = await con.fetchval("select headrace.submit_job('door', '{\"id\": 2}', more => $1::jsonb)", json.dumps({"depends_on": [str(first)]}))

    async def taken() -> Any:
        return await con.fetchval("select headrace.submitted_job($1)", entry)

    second = await until(taken, what="the second job")
    assert (await client.get(second)).wait_reason == "dependency"
    await start(broker.address)
    assert (await client.wait(second, timeout_s=30)).state is State.COMPLETED
    assert await effects(con) == [(1, 1), (2, 2)]  # being released is an event of its own
    await agree(client, database)
