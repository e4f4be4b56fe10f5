"""Transactions that have completed a job and are not committed, as operators see them: whoever's they are, and whatever else is locked."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance.watch_doors import WatchDoors
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.migrate import make_roles
from headrace_broker.store.pool import open_pool
from headrace_client import AdminClient, Client, State

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.scripted_agent import ScriptedAgent
from tests.support.servers import Server, server

COMPLETE = "select headrace.complete_job($1, $2, wake => false)"


async def _running(client: Client, address: str, stack: AsyncExitStack) -> tuple[int, int]:
    """A job that an agent runs: (job_id, lease epoch)."""
    hand = ScriptedAgent(address)
    stack.push_async_callback(hand.close)
    await hand.connect()
    await client.submit("t", 1)
    [job] = await hand.take(1)
    return job.job_id, job.lease_epoch


async def _connect(dsn: str, stack: AsyncExitStack) -> "asyncpg.Connection[Any]":
    con = await asyncpg.connect(dsn)
    stack.push_async_callback(con.close)
    return con


async def _alert(pool: "asyncpg.Pool[Any]", job_id: int) -> str:
    """What is said of the job's door by a watch for which every one is open for too long."""
    live: Any = SimpleNamespace(entry=SimpleNamespace(type_id=await pool.fetchval("select type_id from headrace.job where job_id = $1", job_id)), seq=1)
    assert await WatchDoors(Inbox(pool), lambda found: live if found == job_id else None, too_long_s=0.0).run_once() == {"alerts": 1}
    return str(await pool.fetchval("select error ->> 'message' from headrace.alert where job_id = $1 and kind = 'door_open'", job_id))


async def test_locks_of_other_programs_hide_no_door(client: Client, broker: BrokerProcess, admin: AdminClient, database: str, stack: AsyncExitStack) -> None:
    job_id, epoch = await _running(client, broker.address, stack)
    other, door = await _connect(database, stack), await _connect(database, stack)
    async with other.transaction(), door.transaction():
        await other.execute("select pg_advisory_xact_lock(n) from generate_series(-100, 200) n")
        await door.execute(COMPLETE, job_id, epoch)
        assert [found.job_id for found in await admin.list_doors()] == [job_id]
    await agree(client, database)


async def test_a_broker_that_may_not_see_the_sessions_of_others_shows_their_doors_all_the_same(database: str, directory: Path, stack: AsyncExitStack) -> None:
    """As on a server where its user is no superuser and the programs have users of their own: since when their transactions are open it is not told."""
    await make_roles(database)
    con = await _connect(database, stack)
    await con.execute("revoke pg_read_all_stats from headrace_broker")
    try:
        plain = database.replace("//headrace@", "//headrace_broker@")
        broker = await start_broker(directory, database=plain)
        stack.push_async_callback(broker.kill)
        client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
        admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
        job_id, epoch = await _running(client, broker.address, stack)
        pool = await open_pool(plain)
        stack.push_async_callback(pool.close)
        async with con.transaction():
            await con.execute(COMPLETE, job_id, epoch)
            [door] = await admin.list_doors()
            assert (door.job_id, door.pid, door.opened_at, door.state) == (job_id, con.get_server_pid(), None, "")
            [later] = await admin.list_doors()
            assert later.open_s > door.open_s, "it counts from when it was first seen"
            assert f"backend {con.get_server_pid()} (" in await _alert(pool, job_id)
        await agree(client, database)
    finally:
        await con.execute("grant pg_read_all_stats to headrace_broker")


@pytest.fixture
def two_phases(directory: Path) -> Iterator[Server]:
    """A server that lets transactions be prepared."""
    with server(directory / "data", max_prepared_transactions="5") as made:
        yield made


async def test_a_prepared_transaction_that_completes_a_job_is_shown(two_phases: Server, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=two_phases.dsn)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
    job_id, epoch = await _running(client, broker.address, stack)
    con, pool = await _connect(two_phases.dsn, stack), await open_pool(two_phases.dsn)
    stack.push_async_callback(pool.close)
    await con.execute("begin")
    await con.execute(COMPLETE, job_id, epoch)
    await con.execute("prepare transaction 'books 7'")
    [door] = await admin.list_doors()
    assert (door.job_id, door.pid, door.application, door.state) == (job_id, 0, "prepared transaction books 7", "prepared") and door.opened_at is not None
    assert (await _alert(pool, job_id)).startswith("the prepared transaction books 7 that is open for ")
    await con.execute("commit prepared 'books 7'")

    async def completed() -> bool:
        return (await client.get(job_id)).state is State.COMPLETED

    await until(completed, what="the job's end")
    await agree(client, two_phases.dsn)
