"""Roles of least privilege: a broker does all its work under its own, and the others may do what they are for and nothing else."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.store import partitions
from headrace_broker.store.inbox import Cursor, Inbox
from headrace_broker.store.inspection import look
from headrace_broker.store.log_index import LogIndexes
from headrace_broker.store.migrate import MigrationError, load, make_roles, migrate
from headrace_broker.store.pool import open_pool
from headrace_broker.store.retire import Retirement
from headrace_client import AdminClient, Client, State

from tests.support.processes import run_command, start_agent, start_broker

NOT_ALLOWED = asyncpg.InsufficientPrivilegeError


def as_role(dsn: str, role: str) -> str:
    """The same database, as somebody else."""
    return dsn.replace("//headrace@", f"//{role}@")


@pytest.fixture
async def roles(database: str) -> str:
    """A database in which the roles are in use."""
    done = await asyncio.to_thread(run_command, "headrace-broker", "migrate", "--roles", "--database-url", database)
    assert done.returncode == 0 and "headrace_broker" in done.stdout, done.stderr
    return database


async def test_a_broker_works_under_its_role(roles: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, "--retention-period-s", "1", database=as_role(roles, "headrace_broker"))
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, actor="tester", timeout_s=20))
    agent = await start_agent(directory, broker.address)
    stack.push_async_callback(agent.kill)
    submitted = [await client.submit("echo", number, key=f"k{number}", unique_key=f"u{number}") for number in range(3)]
    assert [(await client.wait(job.job_id, timeout_s=30)).state for job in submitted] == [State.COMPLETED] * 3
    assert [result.ok for result in await admin.requeue([submitted[0].job_id], include_completed=True)] == [True]
    door: Any = await asyncpg.connect(as_role(roles, "headrace_door"))
    stack.push_async_callback(door.close)
    inbox_id = await door.fetchval("select headrace.submit_job('echo', '7')")
    job_id = None
    async with asyncio.timeout(30):
        while job_id is None:
            job_id = await door.fetchval("select headrace.submitted_job($1)", inbox_id)
    assert (await client.wait(job_id, timeout_s=30)).state is State.COMPLETED
    for text in ("select * from headrace.job", "select * from headrace.job_state", "insert into headrace.inbox (kind) values (1)", "select headrace.set_shards(2)"):
        with pytest.raises(NOT_ALLOWED):
            await door.execute(text)
    assert await broker.stop() == 0
    log = broker.log.read_text()
    assert "permission denied" not in log and "must be owner" not in log, log


async def test_partitions_are_made_retired_and_dropped_under_the_brokers_role(roles: str, stack: AsyncExitStack) -> None:
    pool = await open_pool(as_role(roles, "headrace_broker"))
    stack.push_async_callback(pool.close)
    con: Any = await asyncpg.connect(roles)
    stack.push_async_callback(con.close)
    assert await partitions.ensure(pool, {2}, 1_800_000_000.0) > 0
    range_ = min((found for found in await partitions.ranges(pool) if found.class_ == 2), key=lambda found: found.lo)
    job_id = range_.lo + 2
    await con.execute("insert into headrace.domain (name) values ('d') on conflict do nothing")
    type_id = await con.fetchval("insert into headrace.job_type (domain_id, name) select domain_id, 't' from headrace.domain limit 1 returning type_id")
    await con.execute("insert into headrace.job (job_id, type_id, priority) values ($1, $2, 0)", job_id, type_id)
    await con.execute(
        "insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, delete_minute) values ($1, 1, $2, 2, 3, 1, 1, 0, 1)", job_id, type_id
    )
    checkpoint = "insert into headrace.checkpoint (life_id, n, side, chunks, max_id, floor) values (1, 1, 0, 0, 0, 'infinity')"
    await con.execute(f"{checkpoint} on conflict (shard) do update set floor = 'infinity'")
    retirement = Retirement(pool)
    found = await retirement.look(range_, due_minute=100, keyed_from=0, most_kept=10)
    assert (found.kept, found.gone) == ([], 1)
    await retirement.retire(range_, found)
    indexes = LogIndexes(pool)
    schema = await indexes.trigrams()
    leaves = await indexes.missing(lowest_id_at(1_900_000_000))
    assert leaves and schema is not None and await indexes.build(leaves[0], schema)
    dead = await con.fetchval("insert into headrace.life (backend_pid, backend_start, dead, address, version) values (0, now(), true, 'dead', '0') returning life_id")
    await con.execute(
        "insert into headrace.flush (life_id, slot, n, at, max_id, count_type, count_state, count_minute, count_delta)"
        " values ($1, 3, 1, '2020-01-01', 0, '{}', '{}', '{}', '{}')",
        dead,
    )
    await con.execute(
        "insert into headrace.count_base (life_id, n, max_id, count_type, count_state, count_minute, count_value) values ($1, 1, 0, '{}', '{}', '{}', '{}')", dead
    )
    assert await retirement.trim_flushes() == 1
    await con.execute("insert into headrace.inbox_cursor (done) values ('900000000:900000000:')")
    assert await Inbox(pool).cursor() == Cursor(), "an inbox of another server is adopted"
    await retirement.drop(range_)
    assert range_ not in await partitions.ranges(pool)
    _, facts = await look(as_role(roles, "headrace_broker"))
    assert facts is not None and facts.missing_rights == ()
    _, facts = await look(as_role(roles, "headrace_reader"))
    assert facts is not None and facts.missing_rights


async def test_each_role_may_do_what_it_is_for_and_no_more(roles: str, stack: AsyncExitStack) -> None:
    broker: Any = await asyncpg.connect(as_role(roles, "headrace_broker"))
    stack.push_async_callback(broker.close)
    for text in (
        "update headrace.audit set actor = ''", "delete from headrace.audit", "delete from headrace.access_grant",
        "update headrace.access_grant_end set ended_by = ''", "alter table headrace.audit disable trigger all", "delete from headrace.migration",
        "drop table headrace.token", "create or replace view headrace.job_state as select 1 as a", "set role headrace_owner", "create table public.t ()",
    ):  # fmt: skip
        with pytest.raises(NOT_ALLOWED):
            await broker.execute(text)
    reader: Any = await asyncpg.connect(as_role(roles, "headrace_reader"))
    stack.push_async_callback(reader.close)
    views = [row["relname"] for row in await reader.fetch("select relname from pg_class where relnamespace = 'headrace'::regnamespace and relkind = 'v'")]
    assert "job_state" in views
    for view in views:
        await reader.fetch(f"select * from headrace.{view}")
    tables = await reader.fetch("select oid::regclass::text as name from pg_class where relnamespace = 'headrace'::regnamespace and relkind in ('r', 'p')")
    for table in tables:
        with pytest.raises(NOT_ALLOWED):
            await reader.fetch(f"select * from {table['name']}")
    for text in ("select headrace.submit_job('t')", "create table headrace.t ()"):
        with pytest.raises(NOT_ALLOWED):
            await reader.execute(text)


async def test_the_migrator_migrates_and_the_broker_is_told_that_it_may_not(roles: str, directory: Path) -> None:
    for migration in load():
        (directory / f"{migration.version:04}_{migration.name}.sql").write_text(migration.text)
    text = "create table headrace.later (a int); alter table headrace.event add column later int; create table headrace.later_fact (a int) partition by list (a)"
    (directory / f"{len(load()) + 1:04}_later.sql").write_text(text)
    with pytest.raises(MigrationError, match="may not change it, for it belongs to headrace_owner"):
        await migrate(as_role(roles, "headrace_broker"), directory=directory)
    assert [done.name for done in await migrate(as_role(roles, "headrace_migrator"), directory=directory)] == ["later"]
    con: Any = await asyncpg.connect(as_role(roles, "headrace_broker"))
    try:
        await con.execute("insert into headrace.later values (1)")
    finally:
        await con.close()
    await make_roles(roles)  # again, as the administrator
