"""Two owners beside each other on one database, each of a shard of its own: what one does, or what becomes of it, is nothing to the other."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.job import Kind, State
from headrace_broker.model.shard import Shard, all_of
from headrace_broker.shards import doors
from headrace_broker.store import inbox as inboxes
from headrace_broker.store.breakers import BreakerStore
from headrace_broker.store.checkpoints import CheckpointStore
from headrace_broker.store.inbox import Cursor, Inbox
from headrace_broker.store.pool import open_pool
from headrace_broker.store.statements import sql

from tests.fire.steps import granted
from tests.property.machine import TESTER, Machine
from tests.property.test_doors import Doors
from tests.support.ledger import check_ledger
from tests.support.processes import until
from tests.support.shards import make_domains, run_owner, set_shards

SHARDS = 2


@pytest.fixture
async def domains(database: str) -> dict[int, str]:
    """A queue of two shards with a domain in each, by the shard's number."""
    return await make_domains(database, "north", "south")


@pytest.fixture
async def machines(database: str, domains: dict[int, str], stack: AsyncExitStack) -> list[Machine]:
    """An owner of each shard."""
    made = []
    for shard in all_of(SHARDS):
        machine = Machine(database, domains[shard.number], shard)
        stack.push_async_callback(machine.close)
        await machine.open()
        made.append(machine)
    return made


async def _work(machine: Machine) -> None:
    """Jobs of every kind: they wait, are under way, are completed, have failed, and wait again."""
    await machine.submit(6)
    await machine.grant(4)
    granted = [job_id for job_id, job in machine.jobs.items() if job.state is State.PROCESSING]
    for job_id, kind in zip(granted, (Kind.COMPLETED, Kind.FAILED), strict=False):
        await machine.report(job_id, machine.jobs[job_id].seq, kind)
    machine.check_memory()


async def _agree(database: str, machines: list[Machine]) -> None:
    """The ledger, its counts and each model say the same, and no id was given twice."""
    con = await asyncpg.connect(database)
    try:
        heads = await check_ledger(con)
    finally:
        await con.close()
    jobs = [(job_id, job) for machine in machines for job_id, job in machine.jobs.items()]
    assert len(heads) == len(jobs) == len(dict(jobs))
    for job_id, job in jobs:
        assert (heads[job_id].state, heads[job_id].seq) == (job.state, job.seq)


@pytest.mark.parametrize("full", [False, True], ids=["from its checkpoint", "from all of history"])
async def test_an_owner_dies_and_its_successor_reads_what_is_its_own(database: str, machines: list[Machine], full: bool) -> None:
    for machine in machines:
        await _work(machine)
        await machine.checkpoint(store=True, publish=True)
    for machine in machines:
        await _work(machine)
    for dying, beside in (machines, machines[::-1]):
        await dying.crash(full=full)  # each job that waits is in one lane, once, and no other shard's is
        assert {live.entry.domain for live in dying.owner.live_jobs.values()} == {dying.domain}
        dying.check_memory()
        await beside.submit(1)  # goes on with the life that it had
        beside.check_memory()
        await dying.wait_for_orphans()
        await _work(dying)
    await _agree(database, machines)


async def test_a_type_that_another_owner_makes_meanwhile_is_passed_over(database: str, machines: list[Machine]) -> None:
    first, second = machines
    await first.submit(2)
    await second.submit(2)
    second.type = await second.add_type("new")  # the first one's table of types does not have it
    await second.submit(1)
    await first.crash(full=True)
    assert second.type.type_id not in first.types.by_id
    first.check_memory()
    assert [type_id for type_id, _, _ in first.owner.lanes.copies()] == [first.type.type_id]


async def test_each_owner_has_the_breakers_of_its_own_types(machines: list[Machine]) -> None:
    first, second = machines
    for machine in machines:
        await machine.types.override(machine.type, {"breaker_share": 1.0, "breaker_minimum": 1, "breaker_open_s": 600.0}, [], caller=TESTER)
        machine.owner.breakers.review()
    [job_id] = await granted(first)
    await first.report(job_id, 1, Kind.FAILED)
    for machine in machines:
        await machine.types.load(everything=True)
        await machine.owner.breakers.run_once(BreakerStore(machine.pool, machine.shard))
        await machine.crash()
    for machine, holds in ((first, True), (second, False)):
        assert [(guard.entry, guard.holds) for guard in machine.owner.breakers.guards()] == [(machine.type, holds)]
    assert await first.pool.fetchval("select count(*) from headrace.breaker") == 1


async def test_each_shard_has_a_checkpoint_of_its_own(machines: list[Machine]) -> None:
    for _ in range(3):  # more often than there are sides
        for machine in machines:
            await machine.submit(2)
            await machine.checkpoint(store=True, publish=True)
    for machine in machines:
        assert machine.ledger is not None
        stored = await CheckpointStore(machine.pool, machine.shard.number).find()
        assert stored is not None
        assert (stored.life_id, stored.side // 2) == (machine.ledger.life_id, machine.shard.number)
        await machine.crash()


async def test_a_takeover_reads_its_checkpoint_while_another_owner_writes_one(database: str, machines: list[Machine], stack: AsyncExitStack) -> None:
    first, second = machines
    await first.submit(2)
    await first.checkpoint(store=True, publish=True)
    await second.submit(2)
    await second.checkpoint(store=True, publish=True)
    con: Any = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    writing = con.transaction()
    await writing.start()  # as long as it takes to write millions of jobs
    assert await con.fetchval("select headrace.clear_checkpoint_side((5 - side)::smallint) from headrace.checkpoint where shard = 1")
    async with asyncio.timeout(20):
        store = CheckpointStore(first.pool, 0)
        for _ in range(8):  # more often than a statement is planned for its parameters unless one says so
            stored = await store.find()
            assert stored is not None and len([chunk async for chunk in store.chunks(stored)]) > 0
        await first.crash()
    await writing.rollback()
    await second.crash()


# Doors ---------------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "size"), [(100, 1 << 20), (2, 1 << 20), (100, 1)], ids=["as many as there are", "two at a time", "one at a time"])
async def test_an_owner_reads_of_the_inbox_what_is_its_own(
    database: str, domains: dict[int, str], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, rows: int, size: int
) -> None:
    monkeypatch.setattr(inboxes, "LOOK_AT", 3)
    pool = await open_pool(database, size=2)
    stack.push_async_callback(pool.close)
    order = [0, 1, 1, 1, 1, 1, 1, 1, None, 0, 1]
    for number, of in enumerate(order):
        name = "new" if of is None else domains[of]
        await pool.execute("select headrace.submit_job('work', $1, domain => $2)", str(number), name)
    for shard in all_of(SHARDS):
        inbox, cursor, found, passed = Inbox(pool, shard), Cursor(), [], 0
        while True:
            taken, cursor = await inbox.read(cursor, rows, size)
            assert len(taken) <= rows
            found += [int(row.payload) for row in taken]
            if not taken and cursor.upto is None:
                break
            passed += not taken
        assert found == [number for number, of in enumerate(order) if of in (None, shard.number)], "each once, in order"
        assert passed > 0 or shard.number == 1, "it goes on where others have much"


async def _complete(machine: Doors, job_id: int) -> None:
    transaction = await machine.begin()
    assert await machine.complete_through_door(transaction, job_id, machine.jobs[job_id].seq)
    await machine.end(transaction, commit=True)


@pytest.fixture
async def at_doors(database: str, domains: dict[int, str], stack: AsyncExitStack) -> list[Doors]:
    """An owner of each shard, and what comes to it from outside."""
    made = []
    for shard in all_of(SHARDS):
        machine = Doors(database, domains[shard.number], shard)
        stack.push_async_callback(machine.close)
        await machine.open()
        made.append(machine)
    return made


FAR = 800_000_000


async def test_an_inbox_from_another_server_is_adopted_once_for_all_shards(database: str, at_doors: list[Doors], stack: AsyncExitStack) -> None:
    con: Any = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    late: dict[int, int] = {}
    for machine in at_doors:
        early, late[machine.shard.number] = await granted(machine, 2)
        await _complete(machine, early)
        await machine.take_inbox()
        await _complete(machine, late[machine.shard.number])
    inboxes_of = [Inbox(machine.pool, machine.shard) for machine in at_doors]
    for number, inbox in enumerate(inboxes_of):
        found, _ = await inbox.read(await inbox.cursor(), 100, 1 << 20)
        assert [row.job_id for row in found] == [late[number]], "not those of the other shard"
    await con.execute("update headrace.inbox set xid = (xid::text::bigint + $1)::text::xid8", FAR)
    for row in await con.fetch("select cursor_no, done::text from headrace.inbox_cursor"):
        low, high, going = row["done"].split(":")
        there = ",".join(str(int(xid) + FAR) for xid in going.split(",") if xid)
        await con.execute(
            "update headrace.inbox_cursor set done = $1::text::pg_snapshot where cursor_no = $2", f"{int(low) + FAR}:{int(high) + FAR}:{there}", row["cursor_no"]
        )
    busy = con.transaction()
    await busy.start()
    await con.execute(sql("inbox_lock"))
    adopting = [asyncio.create_task(inbox.cursor()) for inbox in inboxes_of]
    waiting = "select count(*) = 2 from pg_locks where not granted and relation = 'headrace.inbox_cursor'::regclass"
    await until(lambda: at_doors[0].pool.fetchval(waiting), what="both owners, which have found that it is another server's")
    await busy.commit()
    assert [await task for task in adopting] == [Cursor()] * SHARDS
    assert await con.fetchval("select count(*) from headrace.inbox_cursor where done::text = '1:1:'") == SHARDS, "what one has taken since would come again"
    assert await con.fetchval("select count(*) from headrace.inbox") == len(late)
    for shard in all_of(SHARDS):
        assert not (await con.fetchrow(sql("inbox_cursor"), shard.number))["foreign"]
    for machine in at_doors:
        await machine.take_inbox()
        machine.check_memory()


async def test_completions_that_were_taken_up_are_not_counted_again_by_new_shards(database: str, at_doors: list[Doors]) -> None:
    for machine in at_doors:
        early, late = await granted(machine, 2)
        await _complete(machine, early)
        await machine.take_inbox()
        await _complete(machine, late)
        await machine.close()
    await set_shards(database, 3)
    for machine in at_doors:
        machine.shard = Shard(machine.type.domain_id % 3, 3)
        await machine.open()
        await machine.take_inbox()
        machine.check_memory()


async def test_an_owner_sees_the_open_doors_of_its_own_jobs_however_many_others_there_are(at_doors: list[Doors]) -> None:
    opened = {}
    for machine in at_doors:
        opened[machine.shard.number] = await granted(machine, 2)
    for number in (1, 1, 0):  # those of the second shard are open for longer
        transaction, machine = await at_doors[number].begin(), at_doors[number]
        job_id = opened[number].pop()
        assert await machine.complete_through_door(transaction, job_id, machine.jobs[job_id].seq)
    for machine in at_doors:
        [door] = await Inbox(machine.pool, machine.shard).open_doors(1)
        assert machine.owner.live(door.job_id) is not None
    for machine in at_doors:
        for transaction in list(machine.open_ones):
            await machine.end(transaction, commit=False)


async def test_what_comes_through_a_door_is_taken_by_the_owner_of_its_domain(
    database: str, domains: dict[int, str], stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "STORE_S", 0.0)
    monkeypatch.setattr(doors, "POLL_S", 600.0)  # what is left is looked for at once, and what comes is heard of
    monkeypatch.setattr(inboxes, "LOOK_AT", 2)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    owners = [await run_owner(database, shard, stack) for shard in all_of(SHARDS)]
    rows: dict[int, str] = {}
    async with con.transaction():
        for domain in (domains[0], domains[1], "new", "newer", domains[0], domains[0], domains[1], domains[1]):
            rows[await con.fetchval("select headrace.submit_job('work', '1', domain => $1)", domain)] = domain

    async def taken() -> dict[int, Any] | None:
        found = {row["inbox_id"]: row["job_id"] for row in await con.fetch("select inbox_id, job_id from headrace.inbox_result where reason is null")}
        return found if found.keys() == rows.keys() else None

    found = await until(taken, what="the jobs of all rows")
    named = {row["name"]: row["domain_id"] for row in await con.fetch("select name, domain_id from headrace.domain")}
    for ownership in owners:
        mine = {job_id for inbox_id, job_id in found.items() if ownership.shard.holds(named[rows[inbox_id]])}
        assert {job_id for _, _, ids in ownership.owner.lanes.copies() for job_id in ids} == mine and len(mine) >= 2
    assert len(set(found.values())) == len(rows) and await con.fetchval("select count(*) from headrace.job") == len(rows)
    inbox = owners[0].inbox
    assert (await inbox.trim([*await inbox.done(), "1:1:"], (0, 0), 100))[0] == 0, "a shard that has said nothing yet may need them"

    async def tidied() -> bool:
        await inbox.trim(await inbox.done(), (0, 0), 100)
        return not await con.fetchval("select count(*) from headrace.inbox")

    await until(tidied, what="the end of rows that all shards have taken up or passed over")


async def test_a_domain_that_cannot_be_is_refused_by_one_owner_and_holds_up_none(database: str, domains: dict[int, str], stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    for shard in all_of(SHARDS):
        await run_owner(database, shard, stack)
    async with con.transaction():  # one read sees all of them
        add = 'insert into headrace.inbox (kind, domain, spec) values (1, $1, \'{"type": "work"}\') returning inbox_id'
        nowhere, *others = [await con.fetchval(add, domain) for domain in ("", domains[0], domains[1])]

    async def taken() -> list[tuple[object, ...]]:
        rows = await con.fetch("select inbox_id, job_id is not null, reason from headrace.inbox_result order by inbox_id")
        return [tuple(row) for row in rows] if len(rows) == len(others) + 1 else []

    assert await until(taken, what="all rows taken up") == [(nowhere, False, "INVALID_FIELD"), *((inbox_id, True, None) for inbox_id in others)]
