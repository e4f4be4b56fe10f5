"""The outbox of a service with another database: every committed row becomes one job, whoever is killed when."""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import Client, Conflict, State
from headrace_client.outbox import TABLE, Relay

from tests.support.processes import BrokerProcess, Process, run_command, start_broker, until

_number = 0


@pytest.fixture
async def service(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The database of a service, which knows nothing of the queue but the outbox."""
    global _number
    _number += 1
    admin = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
    await admin.execute(f"create database service_{_number}")
    dsn = postgres.dsn.replace("/headrace?", f"/service_{_number}?")
    con = await asyncpg.connect(dsn)
    await con.execute(run_command("headrace", "outbox", "table").stdout)
    await con.close()
    yield dsn
    await admin.execute(f"drop database service_{_number} with (force)")
    await admin.close()


@pytest.fixture
async def con(service: str, stack: AsyncExitStack) -> "asyncpg.Connection[Any]":
    """The service's connection."""
    found = await asyncpg.connect(service)
    stack.push_async_callback(found.close)
    return found


async def start_relay(directory: Path, broker: str, service: str, name: str = "relay") -> Process:
    """`headrace outbox relay`."""
    log = directory / f"{name}.log"
    with open(log, "ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_client.cli.main", "outbox", "relay", "--database-url", service, "--broker", broker, "--poll-s", "0.02",
            stdout=output, stderr=output, env={**os.environ},
        )  # fmt: skip
    return Process(process, log)


async def empty(con: "asyncpg.Connection[Any]") -> bool:
    """Whether the outbox holds nothing that is due."""
    return not await con.fetchval("select count(*) from headrace_outbox where refused is null")


async def test_rows_become_jobs_with_everything_they_say(client: Client, broker: BrokerProcess, service: str, con: Any) -> None:
    async with con.transaction():
        await con.execute(
            "insert into headrace_outbox (type, payload, instance_id, priority, labels, trace_context, start_at)"
            " values ('mail', '{\"to\": 1}', 'case', 7, '{\"a\": \"b\"}', 'trace', now() + interval '1 hour')"
        )
        await con.execute("insert into headrace_outbox (type, payload_bytes, content_type) values ('raw', '\\x00ff', 'image/png')")
    done = run_command("headrace", "outbox", "relay", "--once", "-o", "json", "--database-url", service, "--broker", broker.address)
    assert (done.returncode, done.stdout.split()) == (0, ["{", '"submitted":', "2,", '"refused":', "0,", '"left":', "0", "}"])
    jobs = {job.type: await client.get(job.job_id, full=True) async for job in client.iter_jobs()}
    mail = jobs["mail"]
    assert (mail.payload, mail.instance_id, mail.priority, mail.labels, mail.trace_context, mail.wait_reason) == (
        b'{"to": 1}',
        "case",
        7,
        {"a": "b"},
        "trace",
        "scheduled",
    )
    assert (jobs["raw"].payload, jobs["raw"].content_type) == (b"\x00\xff", "image/png")
    assert await con.fetchval("select count(*) from headrace_outbox") == 0


async def test_a_row_submitted_twice_is_one_job_and_a_refused_one_stays(client: Client, service: str, con: Any) -> None:
    """The relay dies between the submit and its commit: what it deleted is there again."""

    async def connect() -> Any:
        return await asyncpg.connect(service)

    relay = Relay(client, connect)
    await con.execute("insert into headrace_outbox (key, type, payload) values ('k', 't', '1')")
    transaction = con.transaction()
    await transaction.start()
    assert (await relay.run_once(con)).submitted == 1
    await transaction.rollback()
    await con.execute("insert into headrace_outbox (key, type, payload) values ('k', 't', '2'), ('other', 't', '3')")
    done = await Relay(client, connect).run_once(con)
    assert (done.submitted, done.refused, done.left) == (2, 1, 0)
    assert (await client.count()).totals == {State.WAITING: 2}
    assert "IDEMPOTENCY_CONFLICT" in await con.fetchval("select refused from headrace_outbox where payload = '2'")
    assert (await relay.run_once(con)).submitted == 0
    with pytest.raises(Conflict):
        await client.submit("t", 4, key="outbox:k")


@pytest.mark.timeout(180)
async def test_relays_and_brokers_killed_again_and_again(database: str, service: str, con: Any, directory: Path, stack: AsyncExitStack) -> None:
    """Programs commit and roll back all the time; two relays and the broker are killed at random moments."""
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    relays = [await start_relay(directory, broker.address, service, f"relay{n}") for n in range(2)]
    for relay in relays:
        stack.push_async_callback(relay.kill)
    stop = asyncio.Event()
    committed: set[str] = set()

    async def program(name: str) -> None:
        own = await asyncpg.connect(service)
        number = 0
        while not stop.is_set():
            transaction = own.transaction()
            await transaction.start()
            mine = []
            for _ in range(random.randint(1, 4)):
                number += 1
                mine.append(f'"{name}{number}"')
                await own.execute("insert into headrace_outbox (type, payload) values ('t', $1::jsonb)", mine[-1])
            if random.random() < 0.3:
                await transaction.rollback()
            else:
                await transaction.commit()
                committed.update(mine)
        await own.close()

    queue = await asyncpg.connect(database)
    stack.push_async_callback(queue.close)
    async with asyncio.TaskGroup() as tasks:
        for name in "ab":
            tasks.create_task(program(name))
        for step in range(6):
            before = await queue.fetchval("select count(*) from headrace.job")

            async def goes_on(before: int = before) -> bool:
                return bool(await queue.fetchval("select count(*) > $1 from headrace.job", before + random.randint(5, 60)))

            await until(goes_on, what="jobs")
            await relays[step % 2].kill()
            if step == 3:
                await broker.kill()
                broker = await start_broker(directory, database=database, listen=broker.address, name="second")
                stack.push_async_callback(broker.kill)
            relays[step % 2] = await start_relay(directory, broker.address, service, f"relay{step % 2}")
            stack.push_async_callback(relays[step % 2].kill)
        stop.set()

    async def relayed() -> bool:
        return await empty(con)

    await until(relayed, what="an empty outbox")
    for relay in relays:
        assert await relay.stop() == 0
    rows = await queue.fetch("select convert_from(payload, 'UTF8') as payload from headrace.job")
    assert Counter(row["payload"] for row in rows) == dict.fromkeys(committed, 1)


async def test_rows_of_a_transaction_that_ends_late_are_found(
    broker: BrokerProcess, client: Client, service: str, con: Any, directory: Path, stack: AsyncExitStack
) -> None:
    relay = await start_relay(directory, broker.address, service)
    stack.push_async_callback(relay.kill)
    holder = await asyncpg.connect(service)
    stack.push_async_callback(holder.close)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("insert into headrace_outbox (type, payload) values ('t', '\"late\"')")
    await con.execute("insert into headrace_outbox (type, payload) select 't', to_jsonb(n) from generate_series(1, 1200) n")

    async def counted(jobs: int) -> bool:
        return (await client.count()).totals == {State.WAITING: jobs}

    await until(lambda: counted(1200), what="the others")
    await transaction.commit()
    await until(lambda: counted(1201), what="the late one")
    assert TABLE.count("create table") == 1
