"""The product's flush against the least that any durable queue must do, in one run on one server.

    bare      one statement inserts jobs into (id, payload) and events into (id, seq, kind, at): two tables, two primary keys, nothing else
    plain     the broker's own statement, with all its columns, counters and fence, on tables that have primary keys but no partitions and no other indexes
    product   the broker's own statement on its own tables
    keyed     the same with an idempotency key on every tenth job; those ride in a statement of their own

Each job is submitted, granted and completed: three facts, the last one of a job rides with later submissions. The kinds take turns within a round, so that noise of the
machine hits all; ratios are taken within a round.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
from headrace_broker.model.ids import DEFAULT_CLASS, TICK_SHIFT, lowest_id_at
from headrace_broker.model.job import Kind, State
from headrace_broker.store import partitions
from headrace_broker.store.batch import Batch
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.migrate import migrate
from headrace_broker.store.settings import SettingsStore
from headrace_broker.store.statements import sql

from benchmarks import support

SIZES = {1: 600, 20: 200, 200: 60, 1000: 20}  # jobs per flush -> flushes in a round
ROUNDS = 5
PAYLOAD = b"x" * 200
BARE = """
with j as (insert into bare_job select * from unnest($1::bigint[], $2::bytea[]))
insert into bare_event (job_id, seq, kind) select * from unnest($3::bigint[], $4::int[], $5::smallint[])
"""


class Product:
    """The broker's flush, driven without a broker."""

    def __init__(self, ledger: Ledger, type_id: int, domain_id: int, now_s: float, keyed_every: int = 0) -> None:
        self._ledger = ledger
        self._type_id = type_id
        self._domain_id = domain_id
        self._tick = lowest_id_at(now_s) >> TICK_SHIFT
        self._granted: list[int] = []
        self._keyed_every = keyed_every
        self._keyed = 0

    async def flush(self, jobs: int) -> None:
        """Submits and grants `jobs`, and completes those of the flush before."""
        batch = Batch()
        counts, type_id = batch.counts, self._type_id
        ids = [self._next_id() for _ in range(jobs)]
        keyed = ids[:: self._keyed_every] if self._keyed_every else []
        if keyed:
            await self._flush_keyed(keyed)
        with_key = set(keyed)
        for job_id in ids:
            if job_id not in with_key:
                batch.add_job(job_id, type_id, 0, PAYLOAD)
            batch.add_event(job_id, 1, type_id, Kind.GRANTED, State.PROCESSING, 1, 1, 0, 1)
        for job_id in self._granted:
            batch.add_event(job_id, 2, type_id, Kind.COMPLETED, State.COMPLETED, 1, 1, 0, 1, delete_minute=30_000_000)
        counts[type_id, State.PROCESSING, 0] += jobs - len(self._granted)
        counts[type_id, State.COMPLETED, 30_000_000] += len(self._granted)
        batch.max_id = ids[-1]
        self._granted = ids
        await self._ledger.flush(batch)

    async def _flush_keyed(self, ids: list[int]) -> None:
        batch = Batch()
        for job_id in ids:
            batch.add_job(job_id, self._type_id, 0, PAYLOAD)
        batch.max_id = ids[-1]
        keys = []
        for _ in ids:
            self._keyed += 1
            keys.append((self._domain_id, f"key-{self._keyed:012}", b"0123456789abcdef"))
        await self._ledger.flush_keyed(batch, keys)

    def _next_id(self) -> int:
        self._tick += 1
        return (self._tick << TICK_SHIFT) | DEFAULT_CLASS


async def open_plain(dsn: str) -> Ledger:
    """A life whose flush goes to tables of the same columns without partitions and secondary indexes."""
    ledger = await Ledger.open(dsn, address="bench plain", version="0")
    con = ledger._con
    await con.execute("create schema plain")
    for table, key in (("job", "job_id"), ("event", "job_id, seq"), ("note", ""), ("alert", "")):
        await con.execute(f"create table plain.{table} (like headrace.{table} including defaults)")
        if key:
            await con.execute(f"alter table plain.{table} add primary key ({key})")
    text = sql("flush")
    for table in ("job", "event", "note", "alert"):
        text = text.replace(f"into headrace.{table} ", f"into plain.{table} ")
    ledger._flush = await con.prepare(text)
    return ledger


class Bare:
    """Two tables."""

    def __init__(self, con: Any) -> None:
        self._con = con
        self._last = 0
        self._granted: list[int] = []

    async def prepare(self) -> None:
        """Makes the tables and the statement."""
        await self._con.execute("create table bare_job (job_id bigint primary key, payload bytea)")
        await self._con.execute("create table bare_event (job_id bigint, seq int, kind smallint, at timestamptz default now(), primary key (job_id, seq))")
        self._statement = await self._con.prepare(BARE)

    async def flush(self, jobs: int) -> None:
        """As `Product.flush`."""
        ids = list(range(self._last + 1, self._last + jobs + 1))
        self._last += jobs
        before, self._granted = self._granted, ids
        await self._statement.fetch(ids, [PAYLOAD] * jobs, ids + before, [1] * jobs + [2] * len(before), [1] * jobs + [2] * len(before))


async def measure(flush: Callable[[int], Awaitable[None]], jobs: int, flushes: int, con: Any) -> tuple[float, float]:
    """(jobs per second, WAL bytes per job) of one round."""
    before = await con.fetchval("select pg_current_wal_lsn()")
    started = time.perf_counter()
    for _ in range(flushes):
        await flush(jobs)
    seconds = time.perf_counter() - started
    wal = await con.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), $1)", before)
    return jobs * flushes / seconds, float(wal) / (jobs * flushes)


async def rate(dsn: str, jobs: int, flushes: int) -> float:
    """Jobs per second of the product's flush alone, on a schema that is there; for other benchmarks to compare with. Its facts lie an hour ahead of all others."""
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
    row = await SettingsStore(pool).add_type("default", "flush")
    now_s = float(await pool.fetchval("select extract(epoch from now())::float8"))
    ledger = await Ledger.open(dsn, address="bench", version="0")
    product = Product(ledger, row.type_id, row.domain_id, now_s + 7200)
    per_s, _ = await measure(product.flush, jobs, flushes, pool)
    await ledger.close()
    await pool.close()
    return per_s


async def make_schema(dsn: str) -> None:
    """The broker's tables, and partitions for now."""
    await migrate(dsn)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=1)
    await partitions.ensure(pool, {DEFAULT_CLASS}, float(await pool.fetchval("select extract(epoch from now())::float8")))
    await pool.close()


async def run(dsn: str, rounds: int) -> list[support.Round]:
    """All measurements; the first round warms up."""
    await make_schema(dsn)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=3)
    row = await SettingsStore(pool).add_type("default", "bench")
    now_s = float(await pool.fetchval("select extract(epoch from now())::float8"))
    ledgers = [await Ledger.open(dsn, address="bench", version="0"), await Ledger.open(dsn, address="bench keyed", version="0"), await open_plain(dsn)]
    con = await asyncpg.connect(dsn)
    bare = Bare(con)
    await bare.prepare()
    kinds: dict[str, Callable[[int], Awaitable[None]]] = {
        "bare": bare.flush,
        "plain": Product(ledgers[2], row.type_id, row.domain_id, now_s).flush,
        "product": Product(ledgers[0], row.type_id, row.domain_id, now_s).flush,
        "keyed": Product(ledgers[1], row.type_id, row.domain_id, now_s + 3600, keyed_every=10).flush,
    }
    found = [{f"{jobs} jobs a flush": await _in_turn(kinds, jobs, flushes, con) for jobs, flushes in SIZES.items()} for _ in range(rounds + 1)]
    for ledger in ledgers:
        await ledger.close()
    await con.close()
    await pool.close()
    return found[1:]


async def _in_turn(kinds: dict[str, Callable[[int], Awaitable[None]]], jobs: int, flushes: int, con: Any) -> support.Figures:
    """Every kind once, and their ratios."""
    rates, wal = {}, {}
    for name, flush in kinds.items():
        rates[name], wal[name] = await measure(flush, jobs, flushes, con)
    return {
        **{f"{name}_per_s": rate for name, rate in rates.items()},
        "product_of_bare": rates["product"] / rates["bare"], "product_of_plain": rates["product"] / rates["plain"], "keyed_of_product": rates["keyed"] / rates["product"],
        "wal_bytes_per_job": wal["product"], "bare_wal_bytes_per_job": wal["bare"],
    }  # fmt: skip


def main() -> None:
    """Measures on a Postgres of its own, with fsync on."""
    arguments = support.options(__doc__, rounds=ROUNDS).parse_args()
    with support.own_server() as (_, server):
        facts = support.machine_of(server)
        rounds = asyncio.run(run(server.dsn, arguments.rounds))
    support.report(support.outcome("flush", facts, rounds), arguments.json)


if __name__ == "__main__":
    main()
