"""How long a filter takes on a full database: its first page of 50, and until everything was searched; on 200,000 jobs and lines, or as many as --jobs and --lines say.

    first page     from the call to its answer, at most about 2 s by promise, whatever the filter
    searched       share of the time since the first job that this page came through
    the end        until everything was searched, page after page, and how many pages that were
    indexed        the same for log texts after all ranges have their trigram index; the case "index" tells what building it cost, and its size beside the lines

Two texts are looked for: one that is put into a line of the oldest attempt, once, and one that stands nowhere. The database is filled by fill.py; --database-url or
--data-dir name one that is filled already (make fill N=10000000 LINES=10000000 DATA_DIR=...), which only gets that line and the indexes. The broker is a process of its
own with default settings.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
from headrace_broker.maintenance.index_logs import IndexLogs
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.log_index import LOCK, LogIndexes
from headrace_broker.store.pool import open_pool
from headrace_client import Client, JobFilter, State

from benchmarks import support
from benchmarks.fill import Plan, fill, lines_of_an_attempt

NEEDLE = "needle-5f1c09aa"
OLDEST = "select job_id, lease_epoch from headrace.log_line order by job_id, lease_epoch limit 1"
PLANT = "insert into headrace.log_line (job_id, at, lease_epoch, line_no, level, text) values ($1, now(), $2, 9999, 4, $3) on conflict do nothing"
SIZES = """select coalesce(sum(pg_table_size('headrace.log_line_' || name)), 0)::float8 / 1e6 as lines_mb,
coalesce(sum(pg_relation_size(to_regclass('headrace.log_line_' || name || '_trgm'))), 0)::float8 / 1e6 as index_mb,
(select count(*) from headrace.log_line)::float8 as lines from headrace.fact_range where to_regclass('headrace.log_line_' || name || '_trgm') is not null"""
INDEXES = "select 'log_line_' || name || '_trgm' as index from headrace.fact_range where to_regclass('headrace.log_line_' || name || '_trgm') is not null"
LONGEST_S = 120.0
"""After which the end of a case is not awaited any more."""


def filters(first: datetime, fingerprint: str, instance: str) -> dict[str, JobFilter]:
    """The cases. `first`: creation of the oldest job."""
    now = datetime.now(UTC)
    middle = first + (now - first) / 2
    hour = timedelta(hours=1)
    return {
        "all": JobFilter(),
        "type": JobFilter(types=["report.build"]),
        "waiting": JobFilter(states=[State.WAITING]),
        "completed": JobFilter(states=[State.COMPLETED]),
        "error": JobFilter(states=[State.ERROR]),
        "instance": JobFilter(instance_id=instance),
        "fingerprint": JobFilter(fingerprint=fingerprint),
        "agent": JobFilter(agent="worker-3"),
        "agent that never was": JobFilter(agent="nobody"),
        "label": JobFilter(labels={"source": "shop"}),
        "label of no job": JobFilter(labels={"source": "nowhere"}),
        "created within an hour": JobFilter(created_from=middle, created_to=middle + hour),
        "started within an hour": JobFilter(started_from=middle, started_to=middle + hour),
        "settled within an hour": JobFilter(settled_from=middle, settled_to=middle + hour),
        "settled, label, agent": JobFilter(settled_from=middle, settled_to=middle + hour, labels={"source": "shop"}, agent="worker-3"),
        **texts(),
        "text and type": JobFilter(types=["mail.send"], log_text="no such text anywhere"),
    }


def texts() -> dict[str, JobFilter]:
    """Those that an index can help."""
    return {
        "text of many lines": JobFilter(log_text="TRY"),
        "text of the oldest line": JobFilter(log_text=NEEDLE.upper()),
        "text of no line": JobFilter(log_text="no such text anywhere"),
    }


async def measure(client: Client, where: JobFilter, first: datetime, *, to_the_end: bool) -> support.Figures:
    """One case."""
    began = time.monotonic()
    page = await client.list(where=where)
    figures = {"first_page_s": time.monotonic() - began, "found": len(page.jobs)}
    now = datetime.now(UTC)
    figures["searched_percent"] = 100.0 if page.complete else 100 * min(1.0, (now - page.searched_until) / (now - first))
    if to_the_end:
        pages, found = 1, len(page.jobs)
        while page.next_page_token and time.monotonic() - began < LONGEST_S:
            page = await client.list(where=where, page_size=1000, page_token=page.next_page_token)
            pages, found = pages + 1, found + len(page.jobs)
        if page.complete:
            figures |= {"end_s": time.monotonic() - began, "pages": pages, "all_found": found}
    return figures


async def prepare(dsn: str) -> tuple[datetime, dict[str, JobFilter]]:
    """Takes the indexes away and puts the one line in; the creation of the first job, and the cases."""
    con = await asyncpg.connect(dsn)
    try:
        for row in await con.fetch(INDEXES):
            await con.execute(f"drop index headrace.{row['index']}")
        oldest = await con.fetchrow(OLDEST)
        await con.execute(PLANT, oldest["job_id"], oldest["lease_epoch"], f"the one line with {NEEDLE} in it")
        first = await con.fetchval("select headrace.created_at(min(job_id)) from headrace.job")
        fingerprint = await con.fetchval("select error ->> 'fingerprint' from headrace.event where error is not null order by job_id desc limit 1")
        instance = await con.fetchval("select instance_id from headrace.job where instance_id is not null order by job_id limit 1")
        return first, filters(first, fingerprint, instance)
    finally:
        await con.close()


async def build(dsn: str) -> support.Figures:
    """Builds the indexes of all ranges that have ended; what they cost."""
    pool = await open_pool(dsn)
    con = await asyncpg.connect(dsn)
    try:
        began = time.monotonic()
        await IndexLogs(LogIndexes(pool), time.time).run_once()
        took_s = time.monotonic() - began
        await con.execute("analyze headrace.log_line")
        sizes = await con.fetchrow(SIZES)
        return {"build_s": took_s, "us_per_line": took_s * 1e6 / max(1.0, sizes["lines"]), "lines_mb": sizes["lines_mb"], "index_mb": sizes["index_mb"]}
    finally:
        await con.close()
        await pool.close()


async def rounds_of(address: str, cases: dict[str, JobFilter], first: datetime, rounds: int) -> list[support.Round]:
    """Each case once in each round."""
    measured: list[support.Round] = []
    async with Client(address, timeout_s=30) as client:
        for number in range(rounds):
            measured.append({name: await measure(client, where, first, to_the_end=_selective(name)) for name, where in cases.items()})
            print(f"round {number + 1}: slowest first page {max(figures['first_page_s'] for figures in measured[-1].values()):.2f} s", file=sys.stderr)
    return measured


async def without_indexes(dsn: str, address: str, cases: dict[str, JobFilter], first: datetime, rounds: int) -> list[support.Round]:
    """The rounds while the broker is kept from building any."""
    con = await asyncpg.connect(dsn)
    try:
        assert await con.fetchval("select pg_try_advisory_lock($1::int, 0)", LOCK)
        return await rounds_of(address, cases, first, rounds)
    finally:
        await con.close()


def _selective(name: str) -> bool:
    """Whether the end of a case is worth waiting for: it finds little."""
    return name not in ("all", "type", "completed", "agent", "label", "text of many lines", "waiting", "error")


async def sizes(dsn: str) -> dict[str, int]:
    """How much is in the database."""
    con = await asyncpg.connect(dsn)
    try:
        return {"jobs": await con.fetchval("select count(*) from headrace.job"), "lines": await con.fetchval("select count(*) from headrace.log_line")}
    finally:
        await con.close()


@contextlib.contextmanager
def filled(arguments: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """The database that was named, or one of its own."""
    if arguments.database_url:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name), arguments.database_url
    elif arguments.data_dir:
        server = EmbeddedPostgres(arguments.data_dir)
        server.start()
        try:
            with tempfile.TemporaryDirectory() as name:
                yield Path(name), server.dsn
        finally:
            server.stop()
    else:
        with support.own_server() as (directory, server):
            plan = Plan(arguments.jobs, waiting=arguments.jobs // 50, scheduled=arguments.jobs // 100)
            asyncio.run(fill(server.dsn, replace(plan, log_lines=lines_of_an_attempt(arguments.lines, plan)), lambda line: print(line, file=sys.stderr)))
            yield directory, server.dsn


def main() -> None:
    """Fills, unless a database is named, then measures."""
    parser = support.options(__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--lines", type=int, default=200_000, help="log lines, about")
    parser.add_argument("--database-url", help="of a filled database that no broker serves")
    parser.add_argument("--data-dir", type=Path, help="of an embedded Postgres that was filled")
    arguments = parser.parse_args()
    with filled(arguments) as (directory, dsn):
        facts = asyncio.run(support.machine(dsn))
        first, cases = asyncio.run(prepare(dsn))
        with support.Broker(directory, dsn) as broker:
            rounds = asyncio.run(without_indexes(dsn, broker.address, cases, first, arguments.rounds))
        rounds[0]["index"] = asyncio.run(build(dsn))
        with support.Broker(directory, dsn) as broker:
            for round_, indexed in zip(rounds, asyncio.run(rounds_of(broker.address, texts(), first, arguments.rounds)), strict=True):
                round_ |= {f"indexed: {name}": figures for name, figures in indexed.items()}
        counted = asyncio.run(sizes(dsn))
    support.report(support.outcome("search", facts, rounds, **counted), arguments.json)


if __name__ == "__main__":
    main()
