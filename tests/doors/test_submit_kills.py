"""The broker dies between a caller's commit and its own, on either side of its commit, and at random: what was committed is one job, what was rolled back is none."""

import asyncio
import random
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_client import Client, State

from tests.support.agreement import agree
from tests.support.pg_proxy import Fate, PgProxy, Request
from tests.support.processes import start_broker, until

COUNT = "select payload, count(*) as n from headrace.job group by 1"


async def payloads(con: "asyncpg.Connection[Any]") -> Counter[str]:
    """How many jobs there are of each payload."""
    return Counter({row["payload"].decode(): row["n"] for row in await con.fetch(COUNT)})


async def test_killed_between_the_callers_commit_and_its_own(database: str, directory: Path, stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    first = await start_broker(directory, database=database)
    stack.push_async_callback(first.kill)
    first.signal(signal.SIGSTOP)
    async with con.transaction():
        inbox_id = await con.fetchval("select headrace.submit_job('t', '1')")
        keyed = await con.fetchval("select headrace.submit_job('t', '2', idempotency_key => 'k')")
    await first.kill()
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)

    async def taken() -> bool:
        return bool(await con.fetchval("select count(*) = 2 from headrace.inbox_result where inbox_id in ($1, $2) and job_id is not null", inbox_id, keyed))

    await until(taken, what="the jobs")
    assert await payloads(con) == {"1": 1, "2": 1}
    await agree(await stack.enter_async_context(Client(second.address, timeout_s=20)), database)


@pytest.mark.parametrize("fate", [Fate.STALL, Fate.STALL_ANSWER], ids=["before its commit", "after its commit"])
async def test_killed_on_either_side_of_its_commit(database: str, directory: Path, stack: AsyncExitStack, fate: Fate) -> None:
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    proxy = await stack.enter_async_context(PgProxy(database))
    taking = False

    def hold(request: Request) -> Fate:
        nonlocal taking
        if request.application != "headrace flush":
            return Fate.PASS
        if taking and request.statement.lower().startswith("commit"):
            return fate
        taking = taking or "insert into headrace.inbox_cursor" in request.statement
        return Fate.PASS

    proxy.fate = hold
    first = await start_broker(directory, database=proxy.dsn)
    stack.push_async_callback(first.kill)
    async with con.transaction():
        for number in range(3):
            await con.fetchval("select headrace.submit_job('t', to_jsonb($1::int))", number)
        await con.fetchval("select headrace.submit_job('t', '\"keyed\"', idempotency_key => 'k')")
        await con.fetchval('select headrace.submit_job(\'t\', \'"unique"\', more => \'{"unique_key": "u", "on_conflict": "UNIQUE_CONFLICT_REJECT"}\')')

    async def held() -> bool:
        return proxy.stalled == 1

    await until(held, what="the commit")
    assert bool(await con.fetchval("select count(*) from headrace.inbox_result")) is (fate is Fate.STALL_ANSWER)
    await first.kill()
    proxy.cut_all()
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)

    async def taken() -> bool:
        return bool(await con.fetchval("select count(*) = 5 from headrace.inbox_result where job_id is not null"))

    await until(taken, what="the jobs")
    client = await stack.enter_async_context(Client(second.address, timeout_s=20))
    await client.submit("t", "after")  # whatever would be read again has been, by then
    await until(taken, what="the jobs")
    assert await payloads(con) == {"0": 1, "1": 1, "2": 1, '"keyed"': 1, '"unique"': 1, '"after"': 1}
    await agree(client, database)


@pytest.mark.timeout(180)
async def test_killed_again_and_again_under_load(database: str, directory: Path, stack: AsyncExitStack) -> None:
    """Three programs commit and roll back all the time; the broker is killed at random moments, six times."""
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    stop = asyncio.Event()
    committed: set[str] = set()

    async def program(name: str) -> None:
        con = await asyncpg.connect(database)
        number = 0
        while not stop.is_set():
            transaction = con.transaction()
            await transaction.start()
            mine = []
            for _ in range(random.randint(1, 5)):
                number += 1
                mine.append(f'"{name}{number}"')
                key = f"{name}{number}" if number % 4 == 0 else None
                await con.fetchval("select headrace.submit_job('t', $1::jsonb, idempotency_key => $2)", mine[-1], key)
            if random.random() < 0.3:
                await transaction.rollback()
            else:
                await transaction.commit()
                committed.update(mine)
        await con.close()

    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    async with asyncio.TaskGroup() as tasks:
        for name in "abc":
            tasks.create_task(program(name))
        for life in range(6):
            before = await con.fetchval("select count(*) from headrace.inbox_result")

            async def goes_on(before: int = before) -> bool:
                return bool(await con.fetchval("select count(*) > $1 from headrace.inbox_result", before + random.randint(20, 200)))

            await until(goes_on, what="jobs")
            await broker.kill()
            broker = await start_broker(directory, database=database, name=f"broker{life}")
            stack.push_async_callback(broker.kill)
        stop.set()

    async def all_taken() -> bool:
        return len(await payloads(con)) >= len(committed)

    await until(all_taken, what="all jobs")
    assert await payloads(con) == dict.fromkeys(committed, 1)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    assert (await client.count()).totals == {State.WAITING: len(committed)}
