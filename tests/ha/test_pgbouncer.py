"""pgbouncer in transaction mode: it serves reads and the SQL doors; a broker behind it says what is wrong and ends."""

import asyncio
from pathlib import Path

import asyncpg
import psycopg
import pytest
from headrace_broker.store.ledger import SETTINGS
from headrace_client import Client, State

from tests.support import needs
from tests.support.bouncer import PROGRAM, bouncer
from tests.support.processes import run_command, running, start_agent, start_broker, until

CALLERS, EACH = 8, 25
SESSION = ",".join(["extra_float_digits", "statement_timeout", "max_parallel_workers_per_gather", *SETTINGS])


@pytest.fixture(autouse=True)
def pgbouncer() -> None:
    """The program."""
    needs.need(PROGRAM is not None, "pgbouncer (Debian: pgbouncer)")


@pytest.mark.timeout(180)
async def test_doors_and_reads_go_through_a_transaction_pooler(database: str, directory: Path) -> None:
    """Eight submitters and eight handlers share three connections to Postgres; each third transaction rolls back."""
    con = await asyncpg.connect(database)
    await con.execute("create table effect (id int primary key, epoch int)")
    async with bouncer(directory, database) as pooled:
        broker = await start_broker(directory, database=database)
        async with running(broker):
            agent = await start_agent(directory, broker.address, agent="tests.support.pooled_handlers:agent", environment={"DATABASE_URL": pooled})
            async with running(agent), Client(broker.address, timeout_s=20) as client, asyncio.TaskGroup() as callers:
                for caller in range(CALLERS):
                    callers.create_task(_submit(pooled, caller) if caller % 2 else asyncio.to_thread(_submit_blocking, pooled, caller))
                wanted = CALLERS * len([n for n in range(EACH) if n % 3 != 2])

                async def completed() -> bool:
                    return (await client.count(types=["pooled"])).totals.get(State.COMPLETED, 0) == wanted

                await until(completed, timeout_s=90, what=f"the completion of {wanted} jobs")
                assert await con.fetchval("select count(*) from effect") == wanted
                reader = await asyncpg.connect(pooled, statement_cache_size=0)
                async with reader.transaction(readonly=True):
                    assert await reader.fetchval("select count(*) from headrace.job_state where state = 'completed'") == wanted
                await reader.close()
    await con.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ignored", ["extra_float_digits", SESSION], ids=["as it is", "parameters ignored"])
async def test_a_broker_behind_a_transaction_pooler_says_so_and_ends(ignored: str, database: str, directory: Path) -> None:
    """Whether pgbouncer refuses the settings of the broker's session or was told to pass over them."""
    async with bouncer(directory, database, ignored=ignored) as pooled:
        for command in (["run", "--listen", "127.0.0.1:0", "--http-listen", "off"], ["doctor"]):
            ended = await asyncio.to_thread(run_command, "headrace-broker", *command, "--database-url", pooled)
            assert ended.returncode == 1, ended
            assert "pooler" in ended.stderr + ended.stdout, ended
    con = await asyncpg.connect(database)
    assert await con.fetchval("select count(*) from headrace.life") == 0, "it began nothing"
    await con.close()


async def _submit(url: str, caller: int) -> None:
    con = await asyncpg.connect(url, statement_cache_size=0)
    for n in range(EACH):
        transaction = con.transaction()
        await transaction.start()
        await con.fetchval("select headrace.submit_job('pooled', $1)", str(caller * EACH + n))
        await (transaction.rollback() if n % 3 == 2 else transaction.commit())
    await con.close()


def _submit_blocking(url: str, caller: int) -> None:
    with psycopg.connect(url, prepare_threshold=None) as con:
        for n in range(EACH):
            with con.transaction() as transaction:
                con.execute("select headrace.submit_job('pooled', %s::jsonb)", (str(caller * EACH + n),))
                if n % 3 == 2:
                    raise psycopg.Rollback(transaction)
