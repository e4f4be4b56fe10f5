"""Removing what is gone, beside what stays."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance import retention as retention_duty
from headrace_broker.maintenance.retention import MOST_KEPT, Retention, due_from
from headrace_broker.metrics import Metrics
from headrace_broker.model.ids import DEFAULT_CLASS, class_for, lowest_id_at
from headrace_broker.store import ledger as ledgers
from headrace_broker.store import partitions, retire
from headrace_broker.store.batch import Batch
from headrace_broker.store.ledger import SLOT_S, Ledger
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.pool import open_pool
from headrace_broker.store.retire import LockBusy, Looked, Retirement
from structlog.testing import capture_logs

from tests.support.databases import clone
from tests.support.processes import until

OLD_S = 1_750_000_000
RANGE = FactRange(DEFAULT_CLASS, lowest_id_at(OLD_S), lowest_id_at(OLD_S + 86_400))
DUE = 30_000_000  # minutes since 1970
BOUNDS = {"due_minute": DUE, "keyed_from": lowest_id_at(OLD_S + 43_200)}
WAITING, PROCESSING, COMPLETED, ERROR, GONE = 1, 2, 3, 4, 6
STORIES: dict[str, tuple[list[tuple[int, int, int | None]], bool]] = {
    # name: ((kind, state, delete minute) of each event, whether it stays)
    "waits since its submission": ([], True),
    "runs": ([(1, PROCESSING, None)], True),
    "waits for a retry": ([(1, PROCESSING, None), (3, WAITING, None)], True),
    "completed, due": ([(1, PROCESSING, None), (2, COMPLETED, DUE - 1)], False),
    "completed, not due": ([(1, PROCESSING, None), (2, COMPLETED, DUE)], True),
    "error, kept for ever": ([(1, PROCESSING, None), (3, ERROR, None)], True),
    "error, due": ([(1, PROCESSING, None), (3, ERROR, 5)], False),
    "completed long ago, then requeued": ([(1, PROCESSING, None), (2, COMPLETED, 5), (10, WAITING, None)], True),
    "purged": ([(1, PROCESSING, None), (3, ERROR, None), (11, GONE, None)], False),
}


class Store:
    """A database with one old range that holds each story once, and once more with a young and an old key."""

    def __init__(self, dsn: str, pool: Any) -> None:
        self.dsn = dsn
        self.pool = pool
        self.retirement = Retirement(pool)
        self.stays: set[int] = set()
        self.goes: set[int] = set()

    async def fill(self) -> None:
        await self.pool.execute("insert into headrace.domain (name) values ('d')")
        await self.pool.execute("insert into headrace.job_type (domain_id, name) values (1, 't')")
        await self.pool.fetchval("select headrace.add_range($1, $2, $3, 'old')", RANGE.class_, RANGE.lo, RANGE.hi)
        await self.set_floor("infinity")
        for number, (events, stays) in enumerate(STORIES.values()):
            await self._add(number, events, stays, None)
            await self._add(1000 + number, events, stays, f"old {number}")
            await self._add(2000 + number, events, True, f"young {number}", BOUNDS["keyed_from"] - RANGE.lo)

    async def _add(self, number: int, events: list[tuple[int, int, int | None]], stays: bool, key: str | None, offset: int = 0) -> None:
        job_id = RANGE.lo + offset + (number << 9) + RANGE.class_
        (self.stays if stays else self.goes).add(job_id)
        await self.pool.execute("insert into headrace.job (job_id, type_id, priority, payload, idempotency_key) values ($1, 1, 0, 'x', $2)", job_id, key)
        if key is not None:
            await self.pool.execute("insert into headrace.idempotency_key values (1, $1, $2, '')", key, job_id)
        for seq, (kind, state, minute) in enumerate(events, 1):
            await self.pool.execute(
                "insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, delete_minute) values ($1, $2, 1, $3, $4, 1, 1, 0, $5)",
                job_id, seq, kind, state, minute,
            )  # fmt: skip
        await self.pool.execute("insert into headrace.note (job_id, lease_epoch, kind) values ($1, 1, 2)", job_id)
        await self.pool.execute("insert into headrace.log_line values ($1, now(), 1, 1, 1, 'x')", job_id)

    async def set_floor(self, floor: str | None) -> None:
        """Stands in for a checkpoint, since which no event is earlier."""
        await self.pool.execute("delete from headrace.checkpoint")
        if floor is not None:
            await self.pool.execute(f"insert into headrace.checkpoint (life_id, n, side, chunks, max_id, floor) values (1, 1, 0, 0, 0, '{floor}')")

    async def look(self) -> Looked:
        """What is found in the range."""
        return await self.retirement.look(RANGE, most_kept=MOST_KEPT, **BOUNDS)

    async def retire(self) -> tuple[int, int]:
        """Looks, and removes what is gone: (jobs that stay, jobs that are gone)."""
        found = await self.look()
        await self.retirement.retire(RANGE, found)
        return len(found.kept), found.gone

    async def ids(self, table: str) -> set[int]:
        """Ids of the jobs that a table still knows."""
        return {row["job_id"] for row in await self.pool.fetch(f"select distinct job_id from headrace.{table}")}


@pytest.fixture
async def store(postgres: Any, stack: AsyncExitStack) -> Store:
    """On a database of its own: its facts are not possible histories of a running broker."""
    admin = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
    stack.push_async_callback(admin.close)
    await admin.execute("drop database if exists retiring with (force)")
    await admin.execute(clone("retiring"))
    dsn = postgres.dsn.replace("/headrace?", "/retiring?")
    pool = await open_pool(dsn)
    stack.push_async_callback(pool.close)
    made = Store(dsn, pool)
    await made.fill()
    return made


async def test_what_is_gone_goes_with_everything_and_the_rest_stays_as_it_was(store: Store) -> None:
    before = {
        table: await store.pool.fetch(f"select * from headrace.{table} where job_id = any ($1) order by 1, 2, 3, 4", list(store.stays)) for table in ("job", "event")
    }
    assert await store.retire() == (len(store.stays), len(store.goes))
    for table in ("job", "note", "log_line"):
        assert await store.ids(table) == store.stays, table
    assert await store.ids("event") <= store.stays
    for table, rows in before.items():
        assert await store.pool.fetch(f"select * from headrace.{table} order by 1, 2, 3, 4") == rows
    keys = {row["job_id"] for row in await store.pool.fetch("select job_id from headrace.idempotency_key")}
    assert keys <= store.stays and len(keys) == len([job_id for job_id in store.stays if (job_id - RANGE.lo >> 9) >= 1000])
    assert await store.retire() == (len(store.stays), 0)


async def test_what_the_newest_checkpoint_may_say_waits_stays(store: Store) -> None:
    """A job that was purged a moment ago: whoever takes over reads of the checkpoint that it waits, and of its events that it does not."""
    everything = (len(store.stays | store.goes), 0)
    await store.set_floor(None)
    assert await store.retire() == everything, "one may be under way"
    last = await store.pool.fetchval("select min(last) from (select max(at) as last from headrace.event where job_id = any ($1) group by job_id) e", list(store.goes))
    await store.set_floor(str(last))
    assert await store.retire() == everything
    await store.set_floor("infinity")
    life = "insert into headrace.life (backend_pid, backend_start, dead, address, version, shard) values (0, now(), false, '', '', 0) returning life_id"
    flush = (
        "insert into headrace.flush (life_id, slot, n, at, max_id, count_type, count_state, count_minute, count_delta) values ($1, 0, 2, $2, 0, '{}', '{}', '{}', '{}')"
    )
    await store.pool.execute(flush, await store.pool.fetchval(life), last)
    assert await store.retire() == everything, "the clock was set back, and events since the checkpoint may be as old as this flush"
    await store.pool.execute("delete from headrace.flush")
    assert await store.retire() == (len(store.stays), len(store.goes))


def note_reads(store: Store, monkeypatch: pytest.MonkeyPatch, most: int = 1000) -> list[str]:
    """The names of what is read of ranges, as it happens; an error when there are more than so many."""
    names: list[str] = []
    read = store.retirement._read

    async def noted(name: str, *parameters: object) -> Any:
        names.append(name)
        assert len(names) <= most, "a look that does not end"
        return await read(name, *parameters)

    monkeypatch.setattr(store.retirement, "_read", noted)
    return names


async def test_a_look_ends_however_long_each_piece_takes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a piece takes longer than it should, however narrow it is."""
    monkeypatch.setattr(retire, "PIECE_S", 0.0)
    monkeypatch.setattr(retire, "PIECES", 4)
    monkeypatch.setattr(retire, "NARROWEST", 4)
    names = note_reads(store, monkeypatch)
    found = await store.retirement.look(RANGE, most_kept=MOST_KEPT, **BOUNDS)
    assert found.gone == len(store.goes)
    assert 4 < names.count("range_gone") <= 16 and names.count("range_floors") == 2


async def test_a_clock_that_is_set_back_while_a_range_is_looked_at_has_it_looked_at_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored from then on looks as if it had been stored before the checkpoint."""
    await store.set_floor("2100-01-01")
    names = note_reads(store, monkeypatch)
    read = store.retirement._read

    async def set_back(name: str, *parameters: object) -> Any:
        found = await read(name, *parameters)
        if name == "range_gone" and names.count(name) == 1:
            await store.set_floor("2020-01-01")
        return found

    monkeypatch.setattr(store.retirement, "_read", set_back)
    with pytest.raises(LockBusy, match="set back"):
        await store.retirement.look(RANGE, most_kept=MOST_KEPT, **BOUNDS)


async def test_what_takes_too_long_to_be_put_back_while_jobs_live_is_left_as_it_was(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as millions of log lines: a flush would wait for them."""
    tables = ("job", "event", "note", "log_line")
    before = {table: await store.pool.fetchval(f"select count(*) from headrace.{table}") for table in tables}
    monkeypatch.setattr(retire, "LOCKED_S", 0.0)
    with pytest.raises(LockBusy, match="too long"):
        await store.retire()
    assert {table: await store.pool.fetchval(f"select count(*) from headrace.{table}") for table in tables} == before
    monkeypatch.undo()
    assert await store.retire() == (len(store.stays), len(store.goes))


async def test_a_piece_that_takes_too_long_is_done_in_smaller_ones(store: Store) -> None:
    """However many keys lie close together: what is cancelled at each try would never be given back."""
    await store.pool.execute(
        "create function headrace.too_long() returns trigger language plpgsql as"
        " $$ begin if (select count(*) from gone) > 1 then raise exception 'two at once' using errcode = 'query_canceled'; end if; return null; end $$;"
        " create trigger too_long after delete on headrace.idempotency_key referencing old table as gone for each statement execute function headrace.too_long()"
    )
    assert await store.retire() == (len(store.stays), len(store.goes))
    assert {row["job_id"] for row in await store.pool.fetch("select job_id from headrace.idempotency_key")} <= store.stays


async def test_a_flush_does_not_wait_long_for_keys_that_are_taken_back(store: Store) -> None:
    """Nor would it: its locks have two seconds."""
    await store.pool.execute(
        "create table headrace.noted (limits text); create function headrace.note() returns trigger language plpgsql as"
        " $$ begin insert into headrace.noted values (current_setting('statement_timeout')); return old; end $$;"
        " create trigger note before delete on headrace.idempotency_key for each row execute function headrace.note()"
    )
    await store.retire()
    assert {row["limits"] for row in await store.pool.fetch("select limits from headrace.noted")} == {"1s"}
    assert ledgers.SETTINGS["lock_timeout"] == "2s"


async def test_a_range_where_too_much_stays_is_not_looked_through_to_its_end(store: Store) -> None:
    early = [job_id for job_id in store.stays if job_id < BOUNDS["keyed_from"]]
    found = await store.retirement.look(RANGE, most_kept=len(early) - 1, **BOUNDS)
    assert len(found.kept) == len(early) < len(store.stays)


async def test_what_a_live_job_depends_on_stays_and_the_ties_of_what_is_gone_go(store: Store) -> None:
    due = sorted(store.goes)
    waits = min(store.stays)  # since its submission
    await store.pool.executemany(
        "insert into headrace.edge (parent_id, child_id, kind) values ($1, $2, $3)",
        [(due[0], waits, 1), (due[1], waits, 3), (due[2], waits, 2), (due[3], due[4], 1), (waits, due[4], 1)],
    )
    await store.pool.execute("insert into headrace.unique_key select 1, 'u' || j, j from unnest($1::bigint[]) j", [due[0], due[2], waits])
    assert await store.retire() == (len(store.stays) + 2, len(due) - 2)
    assert await store.ids("job") == store.stays | {due[0], due[1]}
    left = {(row["parent_id"], row["child_id"]) for row in await store.pool.fetch("select parent_id, child_id from headrace.edge")}
    assert left == {(due[0], waits), (due[1], waits)}
    assert {row["job_id"] for row in await store.pool.fetch("select job_id from headrace.unique_key")} == {due[0], waits}


async def test_a_reader_is_not_disturbed_and_no_one_queues_behind_the_lock(store: Store, stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(store.dsn)
    stack.push_async_callback(con.close)
    reading = con.transaction(isolation="repeatable_read")
    await reading.start()
    await con.fetch("select * from headrace.job")
    with pytest.raises(LockBusy):
        await store.retire()
    assert await store.ids("job") == store.stays | store.goes
    await reading.rollback()
    assert await store.retire() == (len(store.stays), len(store.goes))


async def test_nobody_waits_while_a_range_goes_of_which_nothing_stays(store: Store, stack: AsyncExitStack) -> None:
    """A reader that has its leaves open holds up the dropping, and the dropping holds up neither reads nor flushes."""
    for job_id in store.stays:
        await store.pool.execute("insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses) values ($1, 99, 1, 11, 6, 1, 1, 0)", job_id)
    await store.pool.execute("delete from headrace.idempotency_key")
    await store.pool.execute("update headrace.job set idempotency_key = null")
    con = await asyncpg.connect(store.dsn)
    stack.push_async_callback(con.close)
    reading = con.transaction(isolation="repeatable_read")
    await reading.start()
    await con.fetch("select * from headrace.job")
    assert await store.retire() == (0, len(store.stays | store.goes))
    dropping = asyncio.create_task(store.retirement.drop(RANGE))
    waits = "select count(*) from pg_stat_activity where query like 'alter table headrace.job_2 detach%' and wait_event_type = 'Lock'"
    await until(lambda: store.pool.fetchval(waits), what="the dropping waits for the reader")
    assert await asyncio.wait_for(store.ids("note"), 20) == store.stays | store.goes
    await asyncio.wait_for(store.pool.execute("insert into headrace.note (job_id, lease_epoch, kind) values ($1, 2, 2)", RANGE.lo + RANGE.class_), 20)
    assert not dropping.done()
    await reading.rollback()
    await dropping
    assert await partitions.ranges(store.pool) == []


EVENT = "insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses) values ($1, 99, 1, 10, 1, 2, 1, 0)"
JOB = "insert into headrace.job (job_id, type_id, priority) values ($1, 1, 0)"


@pytest.mark.parametrize("statement", [EVENT, JOB], ids=["about a job that was gone", "a new job"])
@pytest.mark.parametrize("while_untied", [False, True])
async def test_what_is_stored_after_the_look_stays(store: Store, monkeypatch: pytest.MonkeyPatch, statement: str, while_untied: bool) -> None:
    """Nobody does that to a range whose time is over; if somebody did all the same, nothing may be lost."""
    found, keys = await store.look(), await store.ids("idempotency_key")
    job_id = min(store.goes) if statement == EVENT else RANGE.hi - 8 + RANGE.class_
    if while_untied:  # after the first of the two looks, before the lock
        rewrite = store.retirement._rewrite

        async def late(*arguments: Any) -> None:
            await store.pool.execute(statement, job_id)
            await rewrite(*arguments)

        monkeypatch.setattr(store.retirement, "_rewrite", late)
    else:
        await store.pool.execute(statement, job_id)
    with pytest.raises(LockBusy, match="stored in the range"):
        await store.retirement.retire(RANGE, found)
    assert await store.ids("job") == store.stays | store.goes | {job_id}
    assert while_untied or await store.ids("idempotency_key") == keys


@pytest.mark.parametrize("statement", [EVENT, JOB], ids=["about a job that was gone", "a new job"])
async def test_what_is_under_way_when_the_range_is_locked_stays(store: Store, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
    """The lock is granted when it is stored, and not before."""
    monkeypatch.setattr(retire, "LOCK_TIMEOUT", "10s")
    monkeypatch.setattr(retire, "LOCKED_S", 10.0)
    found = await store.look()
    job_id = min(store.goes) if statement == EVENT else RANGE.hi - 8 + RANGE.class_
    con = await asyncpg.connect(store.dsn)
    stack.push_async_callback(con.close)
    flush = con.transaction()
    await flush.start()
    await con.execute(statement, job_id)
    retiring = asyncio.create_task(store.retirement.retire(RANGE, found))
    waits = "select count(*) from pg_stat_activity where query like 'lock table%' and wait_event_type = 'Lock' and datname = current_database()"
    await until(lambda: store.pool.fetchval(waits), what="the retirement waits for the flush")
    await flush.commit()
    with pytest.raises(LockBusy, match="stored in the range"):
        await retiring
    assert await store.ids("job") == store.stays | store.goes | {job_id}


async def test_an_empty_range_is_dropped_also_when_a_run_was_interrupted(store: Store) -> None:
    before = await store.pool.fetchval("show statement_timeout")
    await store.pool.execute("delete from headrace.job; delete from headrace.event; delete from headrace.note; delete from headrace.log_line")
    await store.pool.execute("alter table headrace.job_2 detach partition headrace.job_2_old concurrently")  # and then the broker died
    await store.pool.execute("drop table headrace.note_2_old")
    await store.retirement.drop(RANGE)
    assert await partitions.ranges(store.pool) == []
    assert await store.pool.fetchval("select count(*) from pg_class where relname like '%\\_2\\_old'") == 0
    await store.retirement.drop(RANGE)
    assert await store.pool.fetchval("show statement_timeout") == before


async def test_a_pass_removes_what_is_due_when_its_time_has_come(store: Store) -> None:
    now = [due_from(RANGE) - 1]

    async def ranges() -> list[FactRange]:
        return await partitions.ranges(store.pool)

    retention = Retention(store.retirement, ranges, lambda: now[0], Metrics())
    assert await retention.run_once() == {}
    now[0] = DUE * 60 + 601.0
    done = await retention.run_once()
    assert done["jobs"] == 3 * sum(not stays for _, stays in STORIES.values()) and done["dropped"] == 0  # the keys are old by now, too
    assert await retention.run_once() == {}
    await store.pool.execute("delete from headrace.job; delete from headrace.event")
    now[0] += 6 * 3600
    assert (await retention.run_once())["dropped"] == 1
    assert await partitions.ranges(store.pool) == []


async def test_few_jobs_are_put_aside_while_some_of_them_live(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flush that moves one of them would wait until all are back."""
    monkeypatch.setattr(retention_duty, "MOST_BESIDE_LIVE", len(store.stays) // 2)
    now = [DUE * 60 + 601.0]

    async def ranges() -> list[FactRange]:
        return [RANGE]

    retention = Retention(store.retirement, ranges, lambda: now[0], Metrics())
    assert await retention.run_once() == {}
    for job_id in store.stays:
        await store.pool.execute("insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses) values ($1, 98, 1, 3, 4, 1, 1, 0)", job_id)
    now[0] += 6 * 3600
    assert (await retention.run_once())["jobs"] > 0


async def test_a_range_that_somebody_is_at_is_looked_at_less_and_less_often_and_it_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks, busy, look = [DUE * 60 + 601.0], 0, True, store.retirement.look

    async def ranges() -> list[FactRange]:
        return [RANGE]

    async def looked(*args: Any, **named: Any) -> Looked:
        nonlocal looks
        looks += 1
        if busy:
            raise LockBusy("a backup is at it")
        return await look(*args, **named)

    monkeypatch.setattr(store.retirement, "look", looked)
    retention = Retention(store.retirement, ranges, lambda: now[0], Metrics())
    with capture_logs() as logs:
        for wait_s in (30.0, 60.0, 120.0, 240.0, 480.0):
            assert await retention.run_once() == {}
            seen = looks
            now[0] += wait_s - 1
            assert await retention.run_once() == {}
            assert looks == seen
            now[0] += 1
    assert looks == 5
    assert [(entry["log_level"], entry["tries"], entry["again_in_s"]) for entry in logs] == [
        ("info", 1, 30.0), ("info", 2, 60.0), ("info", 3, 120.0), ("info", 4, 240.0), ("warning", 5, 480.0),
    ]  # fmt: skip
    for _ in range(10):
        await retention.run_once()
        now[0] += 3600
    assert looks == 15
    busy = False
    assert (await retention.run_once())["jobs"] > 0
    busy, now[0] = True, now[0] + 6 * 3600
    with capture_logs() as logs:
        await retention.run_once()
    assert [(entry["log_level"], entry["tries"]) for entry in logs] == [("info", 1)]


async def test_the_shortest_class_is_emptied_and_looked_at_again_within_minutes(store: Store) -> None:
    short = FactRange(class_for(60), lowest_id_at(OLD_S), lowest_id_at(OLD_S + 300))
    await store.pool.fetchval("select headrace.add_range($1, $2, $3, 'short')", short.class_, short.lo, short.hi)
    settled, waiting = (short.lo + (number << 9) + short.class_ for number in (1, 2))
    await store.pool.executemany("insert into headrace.job (job_id, type_id, priority) values ($1, 1, 0)", [(settled,), (waiting,)])
    await store.pool.execute(
        "insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses, delete_minute) values ($1, 1, 1, 9, 5, 1, 0, 0, $2)",
        settled,
        OLD_S // 60 + 1,
    )
    now = [OLD_S + 300 + 899.0]

    async def ranges() -> list[FactRange]:
        return [short] if short in await partitions.ranges(store.pool) else []

    retention = Retention(store.retirement, ranges, lambda: now[0], Metrics())
    assert await retention.run_once() == {}
    now[0] += 1
    assert (await retention.run_once())["jobs"] == 1
    await store.pool.execute("delete from headrace.job where job_id = $1", waiting)
    assert await retention.run_once() == {}
    now[0] += 600
    assert (await retention.run_once())["dropped"] == 1


async def _age(store: Store, slot: int, seconds: float) -> None:
    """All flush rows that there are lie in this slot, and were stored so long ago."""
    await store.pool.execute("update headrace.flush set slot = $1, at = at - make_interval(secs => $2)", slot, seconds)


async def _slots(store: Store) -> dict[int, set[tuple[int, int]]]:
    """(life_id, n) of the flush rows, by slot."""
    found: dict[int, set[tuple[int, int]]] = {}
    for row in await store.pool.fetch("select slot, life_id, n from headrace.flush"):
        found.setdefault(row["slot"], set()).add((row["life_id"], row["n"]))
    return found


async def _lives(store: Store, stack: AsyncExitStack, count: int) -> list[Ledger]:
    lives = [await Ledger.open(store.dsn, address="test", version="0", shard=number) for number in range(count)]
    for ledger in lives:
        stack.push_async_callback(ledger.close)
    return lives


async def test_flushes_of_the_same_time_share_a_slot_whosever_they_are(store: Store, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = await store.pool.fetchval("select extract(epoch from now())::bigint")
    monkeypatch.setattr(ledgers, "SLOT_S", now_s // 7)  # so that it is the eighth of them since 1970
    busy, idle = await _lives(store, stack, 2)
    for _ in range(5):
        await busy.flush(Batch())
    await idle.flush(Batch())
    assert await _slots(store) == {3: {*((busy.life_id, n) for n in range(1, 6)), (idle.life_id, 1)}}


async def test_an_idle_life_holds_no_flush_rows_of_a_busy_one(store: Store, stack: AsyncExitStack) -> None:
    busy, idle = await _lives(store, stack, 2)
    for _ in range(5):
        await busy.flush(Batch())
    await idle.flush(Batch())
    await _age(store, 2, SLOT_S + 10)
    for ledger in (busy, idle):
        await ledger.flush(Batch())
    await _age(store, 3, 0)
    await store.pool.execute("update headrace.flush set slot = 2 where at < now() - interval '10 minutes'")
    await busy.base_counts({}, 0, absorb=False)
    assert await store.retirement.trim_flushes() == 0, "the counts of the other one are not based on its rows"
    await idle.base_counts({}, 0, absorb=False)
    assert await store.retirement.trim_flushes() == 1
    assert await _slots(store) == {3: {(busy.life_id, 6), (idle.life_id, 2)}}
    assert await busy.landed(busy.life_id, 6) is not None
    assert await store.retirement.trim_flushes() == 0, "an empty one is not emptied"


async def test_flush_rows_that_nobody_needs_are_emptied_and_no_others(store: Store, stack: AsyncExitStack) -> None:
    [ledger] = await _lives(store, stack, 1)
    for _ in range(3):
        await ledger.flush(Batch())
    await _age(store, 1, SLOT_S + 10)
    assert await store.retirement.trim_flushes() == 0, "the counts are based on none of them"
    await ledger.base_counts({}, 0, absorb=False)
    assert await store.retirement.trim_flushes() == 0, "the newest one of a life that lives tells what was stored"
    await ledger.flush(Batch())
    await store.pool.execute("update headrace.flush set slot = 0 where n = 4")
    await ledger.base_counts({}, 0, absorb=False)
    await store.pool.execute("update headrace.flush set at = now() - interval '1 minute' where n = 3")
    assert await store.retirement.trim_flushes() == 0, "it was written to a moment ago"
    await store.pool.execute("update headrace.flush set at = now() + interval '9 days' where n = 3")
    assert await store.retirement.trim_flushes() == 1, "what a clock said that was set back since holds nothing"
    assert await _slots(store) == {0: {(ledger.life_id, 4)}}


async def test_flush_rows_of_a_dead_life_stay_until_the_counts_hold_them(store: Store, stack: AsyncExitStack) -> None:
    dead, heir = [await Ledger.open(store.dsn, address="test", version="0") for _ in range(2)]
    for ledger in (dead, heir):
        stack.push_async_callback(ledger.close)
    await dead.flush(Batch())
    await _age(store, 2, SLOT_S + 10)
    await store.pool.execute("update headrace.life set dead = true where life_id = $1", dead.life_id)
    assert await store.retirement.trim_flushes() == 0
    await heir.base_counts({}, 0, absorb=True)
    assert await store.retirement.trim_flushes() == 1


async def test_a_slot_is_looked_at_again_under_its_lock(store: Store, stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A life whose clock, or its server's, was set back begins to write there when it has just been found that nobody needs it."""
    dead, heir = [await Ledger.open(store.dsn, address="test", version="0") for _ in range(2)]
    for ledger in (dead, heir):
        stack.push_async_callback(ledger.close)
    await dead.flush(Batch())
    await _age(store, 2, SLOT_S + 10)
    await store.pool.execute("update headrace.life set dead = true where life_id = $1", dead.life_id)
    await heir.base_counts({}, 0, absorb=True)
    writer: Any = await asyncpg.connect(store.dsn)
    stack.push_async_callback(writer.close)
    writing = writer.transaction()
    await writing.start()
    await writer.execute(
        "insert into headrace.flush (life_id, slot, n, max_id, count_type, count_state, count_minute, count_delta) values ($1, 2, 1, 0, '{}', '{}', '{}', '{}')",
        heir.life_id,
    )
    monkeypatch.setattr(retire, "LOCK_TIMEOUT", "30s")
    trimming = asyncio.create_task(store.retirement.trim_flushes())
    await until(lambda: store.pool.fetchval("select count(*) from pg_locks where not granted and relation = 'headrace.flush_2'::regclass"), what="the wait for the lock")
    await writing.commit()
    assert await trimming == 0
    assert await _slots(store) == {2: {(dead.life_id, 1), (heir.life_id, 1)}}


async def test_flushes_go_on_beside_a_retirement(store: Store, stack: AsyncExitStack) -> None:
    """Two retirements and many inserts at once, in the order in which the flush locks: no deadlock, nothing lost."""
    extra = [RANGE.lo + (number << 9) + RANGE.class_ for number in range(5000, 5200)]

    async def insert() -> None:
        for job_id in extra:
            await store.pool.execute(
                "with j as (insert into headrace.job (job_id, type_id, priority) values ($1, 1, 0))"
                " insert into headrace.event (job_id, seq, type_id, kind, state, run, attempt, losses) values ($1, 1, 1, 1, 2, 1, 1, 0)",
                job_id,
            )

    async def retire() -> None:
        for _ in range(10):
            try:
                await store.retire()
            except LockBusy:
                continue

    await asyncio.gather(insert(), retire(), retire())
    assert set(extra) <= await store.ids("job") and set(extra) <= await store.ids("event")
