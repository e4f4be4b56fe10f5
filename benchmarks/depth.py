"""What backlog and history cost: a broker on a full database (1 M jobs ready, 1 M scheduled, 5 M settled, one ready since the first day) beside one on an empty database.

    empty, full    jobs/s of the bare driver of capacity.py, in turn within each round on the same server, and CPU per job of broker and Postgres
    ratio          full : empty
    start          from the start of the process on the full database to its ready line, and to the first grant to an agent that waits for it
    first start    the same without a checkpoint, when all events are read; once
    memory         resident memory of a broker on an empty database, and on one with 5 M jobs ready: after its start, and the most it ever had

The database is filled by fill.py and warm: what the server reads at the start lies in the memory of the machine.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from headrace_broker.store.migrate import migrate

from benchmarks import support
from benchmarks.capacity import run_driver
from benchmarks.fill import Plan, fill
from benchmarks.stream import first_grant, free_port

MILLION = 1_000_000


def peak_mb(pid: int) -> float:
    """The most resident memory that a process ever had, in MB."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def start(directory: Path, dsn: str, types: list[str]) -> tuple[support.Broker, support.Figures]:
    """A broker on the full database, and how long it took."""
    port = free_port()

    async def both() -> tuple[support.Broker, float]:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(first_grant(f"127.0.0.1:{port}", types))
            broker = await asyncio.to_thread(support.Broker, directory, dsn, listen=f"127.0.0.1:{port}")
        return broker, waiting.result()

    broker, granted = asyncio.run(both())
    return broker, {"ready_s": broker.ready_s, "first_grant_s": granted - broker.began}


def drive(broker: support.Broker, postgres: int, jobs: int) -> support.Figures:
    """One run of the driver."""
    cpu = support.Cpu(broker=broker.pid, postgres=postgres)
    return {"jobs_per_s": jobs / run_driver(broker.address, jobs), **cpu.us_per(jobs)}


def memory(directory: Path, dsn: str) -> tuple[float, float]:
    """Resident memory after the start, and the most it was."""
    with support.Broker(directory, dsn) as broker:
        time.sleep(3)
        return support.rss_mb(broker.pid), peak_mb(broker.pid)


def main() -> None:
    """Fills, then measures."""
    parser = support.options(__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000, help="of each run of the driver: enough for a checkpoint to weigh about as it does all day")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the millions")
    arguments = parser.parse_args()
    million = int(MILLION * arguments.scale)
    plan = Plan(7 * million, waiting=million, scheduled=million, stuck=1)
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        empty, full, deep = (asyncio.run(support.make_database(server.dsn, name)) for name in ("empty", "full", "deep"))
        asyncio.run(migrate(empty))
        for dsn, wanted in ((full, plan), (deep, Plan(5 * million, waiting=5 * million))):
            print(f"filling {wanted.jobs:,} jobs ...", file=sys.stderr)
            asyncio.run(fill(dsn, wanted))
        busy, first = start(directory, full, list(plan.types))
        with busy:
            print(f"first start, without a checkpoint: {first}", file=sys.stderr)
        for number in range(arguments.rounds):
            busy, took = start(directory, full, list(plan.types))
            with busy, support.Broker(directory, empty) as idle:
                if not number:
                    for broker in (idle, busy):
                        drive(broker, server.pid, arguments.jobs // 4)
                figures = {"empty": drive(idle, server.pid, arguments.jobs), "full": drive(busy, server.pid, arguments.jobs)}
            (base, _), (rss, peak) = memory(directory, empty), memory(directory, deep)
            ratio = {"full_of_empty": figures["full"]["jobs_per_s"] / figures["empty"]["jobs_per_s"]}
            rounds.append({**figures, "ratio": ratio, "start": took, "memory": {"empty_mb": base, "waiting_mb": rss, "waiting_peak_mb": peak}})
    more: dict[str, Any] = {"waiting": million, "scheduled": million, "settled": plan.settled, "deep": 5 * million, "jobs": arguments.jobs}
    more["first_start"] = {name: round(seconds, 2) for name, seconds in first.items()}
    support.report(support.outcome("depth", facts, rounds, **more), arguments.json)


if __name__ == "__main__":
    main()
