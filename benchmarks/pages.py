"""How long the pages of the manager take on a full database: the first and the last page of every list, and every other page; on 200,000 jobs, or as many as --jobs says.

    page       time of the answer, by one browser on this machine, one page after the other: p50 and p99 of all requests of a round
    raw        the page's main statement alone, on a connection with the settings of the pages' own, p50; for a list of jobs the statement that reads the jobs it shows
    page : raw how many times as long the page takes, session, rights, other statements and HTML included
    rows read  by that statement, those that its filters remove included; "reads most" in the JSON names the node of its plan that reads most

The database is filled by fill.py, and by pages.sql with what a fill lacks: 100,000 groups of alerts and their notices, a million rows of the audit, 5,000 operations,
1,000 schedules, 3,000 tokens and users, a week of statistics by type and agent. --data-dir or --database-url name one that is filled already (make fill N=10000000
DATA_DIR=...). The broker is a process of its own with default settings. Ends with 1 when a page of a list takes 200 ms or more (p50).
"""

import argparse
import asyncio
import html
import json
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg
import httpx
from headrace_broker.model.ids import class_of
from headrace_broker.store.migrate import migrate
from headrace_broker.store.statements import sql

from benchmarks import support
from benchmarks.search import filled

REQUESTS, WARM_UP = 30, 3
RAW = 20
LIMIT_MS = 200.0
"""Of every page of a list."""
NEWEST = (1 << 63) - 1
LONG_AGO, LATE = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
MORE = Path(__file__).with_name("pages.sql")
SETTINGS = {"jit": "off", "max_parallel_workers_per_gather": "0"}
JOBS = "select sum(reltuples)::bigint from pg_class where relnamespace = 'headrace'::regnamespace and relkind = 'r' and relname ~ '^job_[0-9]'"
IDS = re.compile(r'name="job_id" value="(\d+)"')


@dataclass(frozen=True, slots=True)
class Case:
    """One page. `statement` and `arguments`: its main statement; "jobs": job_get of the ids that it shows; empty: it needs none. `is_list`: LIMIT_MS holds."""

    path: str
    statement: str = ""
    arguments: tuple[Any, ...] = ()
    is_list: bool = True


async def furnish(dsn: str) -> None:
    """Adds what a fill lacks, unless it is there."""
    await migrate(dsn)
    con = await asyncpg.connect(dsn)
    try:
        if not await con.fetchval("select exists (select from headrace.alert_channel where name = 'team-1')"):
            for piece in MORE.read_text().split("-- name: ")[1:]:
                name, _, statement = piece.partition("\n")
                print(f"pages.sql: {name.strip()}", file=sys.stderr)
                await con.execute(statement, timeout=1200)
            await con.execute("vacuum (analyze)", timeout=1200)
    finally:
        await con.close()


async def cases(dsn: str) -> dict[str, Case]:
    """All pages, by what they are called in the table."""
    con = await asyncpg.connect(dsn)
    try:
        types = [row["type_id"] for row in await con.fetch("select type_id from headrace.job_type t join headrace.domain d using (domain_id) where d.name = 'default'")]
        busiest = await con.fetchrow("select t.name, t.type_id from headrace.job_type t order by type_id limit 1")
        instance = await con.fetchval("select instance_id from headrace.job where instance_id is not null order by job_id limit 1")
        failed = await con.fetchval("select job_id from headrace.event where state in (4, 5) and state = 4 order by job_id desc limit 1")
        fingerprint = await con.fetchval("select error ->> 'fingerprint' from headrace.event where job_id = $1 and error is not null limit 1", failed)
        audit = await con.fetchrow("select at, audit_id from headrace.audit where domain = 'default' order by at, audit_id offset 50 limit 1")
        group = await con.fetchval("select group_id from headrace.alert_group where domain = 'default' and resolved_at is not null order by group_id offset 25 limit 1")
        operation = await con.fetchval("select operation_id from headrace.operation order by operation_id offset 50 limit 1")
        schedule = await con.fetchval("select name from headrace.schedule order by name desc offset 50 limit 1")
    finally:
        await con.close()
    minute = int(time.time() // 60) + 1
    found = {}
    queries: dict[str, dict[str, str]] = {
        "jobs": {}, "jobs waiting": {"state": "waiting"}, "jobs completed": {"state": "completed"}, "jobs in error": {"state": "error"},
        "jobs of a type": {"type": busiest["name"]}, "jobs of an instance": {"instance": instance}, "jobs with a fingerprint": {"fingerprint": fingerprint},
        "jobs oldest first": {"order": "oldest"},
    }  # fmt: skip
    for name, query in queries.items():
        found[name] = Case("/jobs?" + urlencode(query), "jobs")
        found[f"{name}, last page"] = Case("/jobs?" + urlencode({**query, "dir": "back"}), "jobs")
    found["jobs by score"] = Case("/jobs?state=waiting&order=score", "jobs")
    job = f"/jobs/{failed}"
    trend = ("stat_list", 1, minute - 1440, minute, types)
    before = f"{audit['at'].isoformat()}/{audit['audit_id']}"
    audits = ("default", None, None, None, LONG_AGO, LATE)
    return found | {
        "overview": Case("/", "alert_list", (types, NEWEST, 8), False),
        "job: details": Case(job, "jobs", (failed,), False),
        "job: log": Case(f"{job}?tab=log", "log_last", (failed, class_of(failed), 0, 0, 1 << 30, 0, 500), False),
        "job: data": Case(f"{job}?tab=data", "jobs", (failed,), False),
        "job: graph": Case(f"{job}?tab=graph", "jobs", (failed,), False),
        "types": Case("/types", "stat_list", (1, minute - 60, minute, types)),
        "type": Case("/types/" + quote(busiest["name"]), "error_groups", (busiest["type_id"], 5000, float(minute), 50), False),
        "agents": Case("/agents"),
        "operations": Case("/operations", "operation_list", ("default", NEWEST, 50)),
        "operations, last page": Case(f"/operations?below={operation}", "operation_list", ("default", operation, 50)),
        "schedules": Case("/schedules"),
        "schedules, last page": Case("/schedules?" + urlencode({"after": schedule})),
        "alerts": Case("/alerts", "alert_groups_page", ("default", False, NEWEST, 25)),
        "alerts, last page": Case(f"/alerts?before={group}", "alert_groups_page", ("default", False, group, 25)),
        "trend, an hour": Case("/trend?period=1h", "stat_list", (1, minute - 60, minute, types), False),
        "trend, a day": Case("/trend?period=1d", trend[0], trend[1:], False),
        "trend, a week by type": Case("/trend?period=7d&by=type", "stat_list", (60, minute - 10080, minute, types), False),
        "trend, a day by agent": Case("/trend?period=1d&by=agent", "stat_list_agents", trend[1:], False),
        "capacity": Case("/capacity", "stat_list", (1, minute - 60, minute, types), False),
        "audit": Case("/audit", "audit_list_domain", (*audits, LATE, NEWEST, 51)),
        "audit, last page": Case(f"/audit?{urlencode({'before': before})}", "audit_list_domain", (*audits, audit["at"], audit["audit_id"], 51)),
        "audit of a person": Case("/audit?actor=user/person-7", "audit_list_actor", ("default", "user/person-7", *audits[2:], LATE, NEWEST, 51)),
        "access: tokens": Case("/access?ended=true", "token_of_domain", ("default", True, 1000)),
        "access: users": Case("/access?tab=users", "user_of_domain", ("default", True, 1000)),
        "account": Case("/account", is_list=False),
    }


async def raw(con: "asyncpg.Connection[Any]", statement: str, arguments: tuple[Any, ...]) -> tuple[support.Figures, str]:
    """(raw_ms and rows_read of a statement; the node of its plan that reads most)."""
    if statement == "jobs":
        statement, arguments = "job_get", (list(arguments), sorted({class_of(job_id) for job_id in arguments}), False)
    prepared = await con.prepare(sql(statement))
    times = []
    for _ in range(RAW):
        began = time.perf_counter()
        await prepared.fetch(*arguments)
        times.append(time.perf_counter() - began)
    [plan] = json.loads(await con.fetchval(f"explain (analyze, format json) {sql(statement)}", *arguments))
    read = [
        (round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]), _named(node))
        for node in _nodes(plan["Plan"])
        if "Relation Name" in node
    ]
    most = max(read, default=(0, "nothing"))
    return {"raw_ms": support.percentiles(times)["p50_ms"], "rows_read": float(sum(rows for rows, _ in read))}, f"{most[1]}: {most[0]:,} rows"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def _rows(node: dict[str, Any]) -> int:
    return int((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])


def _named(node: dict[str, Any]) -> str:
    return f"{node['Node Type']} on {node['Relation Name']}" + (f" by {node['Index Name']}" if "Index Name" in node else "")


async def measure(client: httpx.AsyncClient, con: "asyncpg.Connection[Any]", case: Case) -> tuple[support.Figures, str]:
    """One page in one round."""
    for _ in range(WARM_UP):
        answer = await client.get(case.path)
        if answer.status_code != 200:
            raise SystemExit(f"{case.path} gave {answer.status_code}: {re.sub('<[^>]*>', ' ', answer.text)[:1500]}")
    times = []
    for _ in range(REQUESTS):
        began = time.perf_counter()
        answer = await client.get(case.path)
        times.append(time.perf_counter() - began)
    figures = {name: value for name, value in support.percentiles(times).items() if name != "max_ms"} | {"kilobytes": len(answer.content) / 1000}
    if not case.statement:
        return figures, "memory alone"
    shown = case.arguments or tuple(int(found) for found in IDS.findall(html.unescape(answer.text)))
    told, most = await raw(con, case.statement, shown)
    return figures | told | {"page_of_raw": figures["p50_ms"] / told["raw_ms"]}, f"{case.statement}, {most}"


async def rounds_of(dsn: str, broker: support.Broker, rounds: int) -> tuple[list[support.Round], dict[str, str], dict[str, Case]]:
    """(each page once in each round; what its statement reads most; the pages)."""
    pages, most, measured = await cases(dsn), dict[str, str](), list[support.Round]()
    con = await asyncpg.connect(dsn, server_settings=SETTINGS)
    async with httpx.AsyncClient(base_url=f"http://{broker.ready['http']}", timeout=60) as client:
        await client.get(broker.ready["web"])
        for number in range(rounds):
            round_: support.Round = {}
            for name, case in pages.items():
                round_[name], most[name] = await measure(client, con, case)
            measured.append(round_)
            slowest = max(round_, key=lambda name: round_[name]["p50_ms"])
            print(f"round {number + 1}: slowest {slowest}, {round_[slowest]['p50_ms']:.0f} ms", file=sys.stderr)
    await con.close()
    return measured, most, pages


async def counted(dsn: str) -> int:
    """How many jobs there are, about, as the planner knows."""
    con = await asyncpg.connect(dsn)
    try:
        return int(
            await con.fetchval("select sum(reltuples)::bigint from pg_class where relnamespace = 'headrace'::regnamespace and relkind = 'r' and relname ~ '^job_[0-9]'")
        )
    finally:
        await con.close()


def main() -> None:
    """Fills, unless a database is named, then measures."""
    parser = support.options(__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--lines", type=int, default=200_000, help="log lines, about")
    parser.add_argument("--database-url", help="of a filled database that no broker serves")
    parser.add_argument("--data-dir", type=Path, help="of an embedded Postgres that was filled")
    arguments: argparse.Namespace = parser.parse_args()
    with filled(arguments) as (directory, dsn):
        asyncio.run(furnish(dsn))
        facts = asyncio.run(support.machine(dsn))
        with support.Broker(directory, dsn, "--login-link") as broker:
            rounds, most, pages = asyncio.run(rounds_of(dsn, broker, arguments.rounds))
        jobs = asyncio.run(counted(dsn))
    result = support.outcome("pages", facts, rounds, jobs=jobs, reads_most=most)
    support.report(result, arguments.json)
    slow = [name for name, case in pages.items() if case.is_list and result["median"][name]["p50_ms"] >= LIMIT_MS]
    for name in slow:
        print(f"too slow: {name}, {result['median'][name]['p50_ms']:g} ms; {most[name]}", file=sys.stderr)
    raise SystemExit(1 if slow else 0)


if __name__ == "__main__":
    main()
