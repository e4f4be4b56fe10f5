"""A transaction that somebody left open: 3,000 jobs/s through the real SDK while another connection holds a REPEATABLE READ transaction that has read all tables.
Queues that update or delete rows get slower for as long as it is open, since nothing dead can be removed.

    free, held     without and with that transaction, in turn within each round, each on a database of its own: p50 from due to handler start in the first and in the
                   last 10 s and their ratio; Postgres's CPU per job in both; and dead tuples when the load has ended, while the transaction is still open: of the fact
                   tables and of all others, as pg_stat_user_tables has them, and as pgstattuple counts them in the fact tables where the server has it
"""

import asyncio
import sys
import threading
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres

from benchmarks import support

WINDOW_S = 10.0
FACTS = r"^(job|event|note|log_line|flush)_\d"
DEAD = "select coalesce(sum(n_dead_tup) filter (where relname ~ $1), 0)::int, coalesce(sum(n_dead_tup) filter (where relname !~ $1), 0)::int from pg_stat_user_tables"
COUNTED = "select coalesce(sum(t.dead_tuple_count), 0)::int from pg_class c, lateral pgstattuple(c.oid) t where c.relkind = 'r' and c.relname ~ $1"
STATISTICS_S = 1.5  # until the statistics of other backends are there


class PostgresCpu(threading.Thread):
    """CPU seconds of Postgres at the ends of the first and of the last window of a load that begins when this is made."""

    def __init__(self, pid: int, duration_s: float, window_s: float) -> None:
        super().__init__(daemon=True)
        self._times = [time.monotonic() + after for after in (0.0, window_s, duration_s - window_s, duration_s)]
        self._pid = pid
        self.seen: list[float] = []
        self.start()

    def run(self) -> None:
        """Looks four times."""
        for at in self._times:
            time.sleep(max(0.0, at - time.monotonic()))
            self.seen.append(support.family_cpu_s(self._pid))


async def measure(directory: Path, server: EmbeddedPostgres, name: str, held: bool, rate: int, duration_s: float) -> support.Figures:
    """One run on a database of its own."""
    dsn = await support.make_database(server.dsn, name)
    window_s = min(WINDOW_S, duration_s / 3)
    async with AsyncExitStack() as exits:
        broker = await asyncio.to_thread(support.Broker, directory, dsn)
        exits.push_async_callback(asyncio.to_thread, broker.stop)
        await asyncio.to_thread(support.load, broker.address, "--rate", str(rate), "--duration", "2")  # warms up
        if held:
            holder = await asyncpg.connect(dsn)
            exits.push_async_callback(holder.close)
            await _hold(holder)
        watch: list[PostgresCpu] = []
        words = ("--rate", str(rate), "--duration", str(duration_s), "--window-s", str(window_s))
        result = await asyncio.to_thread(support.load, broker.address, *words, began=lambda: watch.append(PostgresCpu(server.pid, duration_s, window_s)))
        watch[0].join()
        await asyncio.sleep(STATISTICS_S)
        dead = await _dead(dsn)
    first, last = result["windows"][0]["p50"], result["windows"][-1]["p50"]
    a, b, c, d = watch[0].seen
    jobs = rate * window_s
    us = {"postgres_first_us": (b - a) / jobs * 1e6, "postgres_last_us": (d - c) / jobs * 1e6}
    return {"first_p50_ms": first, "last_p50_ms": last, "last_of_first": last / first, "p99_ms": result["start_ms"]["p99"], **us, **dead}


async def _hold(con: Any) -> None:
    """Begins the transaction and reads every table."""
    await con.execute("begin isolation level repeatable read")
    for row in await con.fetch("select relname from pg_stat_user_tables where schemaname = 'headrace'"):
        await con.fetchval(f'select count(*) from headrace."{row["relname"]}"')


async def _dead(dsn: str) -> support.Figures:
    con = await asyncpg.connect(dsn)
    try:
        facts, others = await con.fetchrow(DEAD, FACTS)
        found = {"dead_facts": facts, "dead_others": others}
        if await con.fetchval("select exists (select from pg_available_extensions where name = 'pgstattuple')"):
            await con.execute("create extension pgstattuple")
            found["dead_facts_counted"] = await con.fetchval(COUNTED, FACTS)
        return found
    finally:
        await con.close()


def main() -> None:
    """Measures."""
    parser = support.options(__doc__)
    parser.add_argument("--rate", type=int, default=3000)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds of each run")
    arguments = parser.parse_args()
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        for number in range(arguments.rounds):
            print(f"round {number + 1}", file=sys.stderr)
            cases = {"free": False, "held": True}
            rounds.append({case: asyncio.run(measure(directory, server, f"{case}_{number}", held, arguments.rate, arguments.duration)) for case, held in cases.items()})
    support.report(support.outcome("held", facts, rounds, rate=arguments.rate, duration_s=arguments.duration), arguments.json)


if __name__ == "__main__":
    main()
