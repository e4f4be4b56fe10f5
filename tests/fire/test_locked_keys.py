"""The table of keys is locked by somebody else between the two statements of a keyed submit: the broker reads its ledger again, and nobody is left waiting."""

import asyncio
from contextlib import AsyncExitStack

import asyncpg
from headrace_client import Client

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, until


async def test_a_keyed_submit_whose_holder_cannot_be_read_is_answered(broker: BrokerProcess, client: Client, database: str, stack: AsyncExitStack) -> None:
    first = await client.submit("t", 1, key="a")
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    await con.execute("create function headrace.linger() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return new; end $$")
    await con.execute("create trigger linger before insert on headrace.idempotency_key for each row execute function headrace.linger()")
    again = asyncio.create_task(client.submit("t", 1, key="a", timeout_s=15))

    async def lingers() -> bool:
        return bool(await con.fetchval("select exists (select from pg_stat_activity where wait_event = 'PgSleep')"))

    await until(lingers, what="the insert of the key")
    async with con.transaction():
        await con.execute("lock table headrace.idempotency_key in access exclusive mode")  # granted when the insert commits, before the holder is read

        async def gave_up() -> bool:
            return "database not available" in broker.log.read_text()

        await until(gave_up, what="the lock timeout of the broker's read")
        await con.execute("drop trigger linger on headrace.idempotency_key")
    answer = await again
    assert (answer.job_id, answer.existing) == (first.job_id, True)
    await agree(client, database)
