"""Where Postgres's microseconds go: the driver of capacity.py against a server with pg_stat_statements and auto_explain (both come with Postgres's own packages).

Printed: what each statement cost per job (time, write-ahead log, blocks found and read), and the share of each step in the plan of the flush, from the plans of some
of its executions. Measuring a plan costs time itself, so that part runs by itself afterwards and only shares are told.
"""

import asyncio
import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres

from benchmarks import support
from benchmarks.capacity import run_driver

MOST = 6  # statements and steps that are told
SAMPLE = 0.1  # share of statements whose plan is measured
PLAN = re.compile(r"duration: [0-9.]+ ms  plan:\n((?:\t.*\n)+)")
TOP = """select left(regexp_replace(query, '^\\s*--.*?$|\\s+', ' ', 'gn'), 60) as query, calls, total_exec_time as ms, wal_bytes, shared_blks_hit, shared_blks_read
from pg_stat_statements s join pg_database d on d.oid = s.dbid where d.datname = current_database() order by total_exec_time desc limit 6"""


async def settings(dsn: str, *statements: str) -> None:
    """Runs statements one by one, outside transactions."""
    con = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await con.execute(statement)
    finally:
        await con.close()


async def top(dsn: str) -> list[Any]:
    """The costliest statements."""
    con = await asyncpg.connect(dsn)
    try:
        return list(await con.fetch(TOP))
    finally:
        await con.close()


def steps(plan: dict[str, Any], found: "Counter[str]") -> float:
    """Adds the time of each step without that of the steps below it; returns the time of all of them, in milliseconds."""
    inner = sum(steps(child, found) for child in plan.get("Plans", ()))
    whole = plan.get("Actual Total Time", 0.0) * plan.get("Actual Loops", 1)
    name = " ".join(filter(None, (plan["Node Type"], plan.get("Relation Name") or plan.get("CTE Name") or plan.get("Subplan Name", ""))))
    found[name.replace("ModifyTable", "Insert")] += max(0.0, whole - inner)
    return float(max(whole, inner))


def flush_steps(log: Path) -> "Counter[str]":
    """Time by step over all plans of flushes in the server's log."""
    found: Counter[str] = Counter()
    for match in PLAN.finditer(log.read_text()):
        entry = json.loads(match[1])
        if "headrace.flush" in entry["Query Text"] and "fence as materialized" in entry["Query Text"]:
            steps(entry["Plan"], found)
    return found


def measure(directory: Path, server: EmbeddedPostgres, jobs: int) -> None:
    """Both parts."""
    asyncio.run(settings(server.dsn, "alter system set shared_preload_libraries = 'pg_stat_statements', 'auto_explain'"))
    server.stop()
    server.start()
    asyncio.run(settings(server.dsn, "create extension pg_stat_statements"))
    with support.Broker(directory, server.dsn) as broker:
        run_driver(broker.address, jobs)  # warms up
        asyncio.run(settings(server.dsn, "select pg_stat_statements_reset()"))
        run_driver(broker.address, jobs)
        for row in asyncio.run(top(server.dsn))[:MOST]:
            print(
                f"  {row['ms'] * 1000 / jobs:8.2f} us a job  {row['calls']:8,} calls  {row['wal_bytes'] / jobs:7.0f} B of WAL  "
                f"{row['shared_blks_hit'] / jobs:6.2f} blocks found  {row['shared_blks_read'] / jobs:6.3f} read   {row['query'].strip()}"
            )
    plans = [f"alter system set auto_explain.{name} = {value}" for name, value in (
        ("log_min_duration", 0), ("sample_rate", SAMPLE), ("log_analyze", "on"), ("log_format", "json"), ("log_timing", "on"),
    )]  # fmt: skip
    asyncio.run(settings(server.dsn, *plans, "select pg_reload_conf()"))
    with support.Broker(directory, server.dsn) as broker:
        run_driver(broker.address, jobs)
    found = flush_steps(server.data_dir / "pg.log")
    whole = sum(found.values())
    if not whole:
        raise SystemExit("no plan of a flush was logged")
    print("steps of the flush, share of its time")
    for name, ms in found.most_common(MOST * 2):
        print(f"  {ms / whole:6.1%}  {name}")


def main() -> None:
    """Measures."""
    parser = support.options(__doc__, rounds=1)
    parser.add_argument("--jobs", type=int, default=200_000)
    arguments = parser.parse_args()
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        print(f"statements: {facts['cpu']}, Postgres {facts['postgres']}", file=sys.stderr)
        measure(directory, server, arguments.jobs)


if __name__ == "__main__":
    main()
