"""The real SDK with real handlers that do nothing, beside other Postgres queues for Python: same server, one worker process each, in turn within each round.

Counted from the first handler to the last settled job, over jobs that were submitted before. headrace has its broker as one more process; the others put that work into
their worker and into Postgres. Settings of the others: see peers_worker.py; each was tried with several batch sizes and runs here with the best.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, HeadraceError, JobSpec, State

from benchmarks.capacity import start_broker

PEERS = {"pgqueuer": (30_000, 500), "awa": (20_000, 500), "procrastinate": (2_000, 100)}
"""Jobs of a round, and batch size or concurrency."""
JOBS = 60_000


async def make_database(server: EmbeddedPostgres, name: str) -> str:
    """A fresh database; its DSN."""
    con = await asyncpg.connect(server.dsn)
    await con.execute(f"create database {name}")
    await con.close()
    return server.dsn.replace("/headrace?", f"/{name}?")


def peer(python: Path, name: str, server: EmbeddedPostgres, number: int) -> float:
    """Jobs per second of another queue."""
    jobs, size = PEERS[name]
    dsn = asyncio.run(make_database(server, f"{name}_{number}"))
    if name == "awa":  # its driver wants a host before the path, and then takes that of the query all the same
        dsn = dsn.replace("@/", "@localhost/")
    command = [str(python), str(Path(__file__).with_name("peers_worker.py")), name, dsn, str(jobs), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return jobs / float(done.stdout)


def ours(directory: Path, server: EmbeddedPostgres, number: int) -> float:
    """Jobs per second of headrace."""
    dsn = asyncio.run(make_database(server, f"headrace_{number}"))
    broker, address = start_broker(directory, dsn)
    try:
        return JOBS / asyncio.run(_drain(address))
    finally:
        broker.terminate()
        broker.wait()


async def _drain(address: str) -> float:
    async with Client(address) as client, AdminClient(address) as admin:
        for result in await client.submit_many([JobSpec("bench.async", payload=b'{"n": 1}') for _ in range(JOBS)]):
            if isinstance(result, HeadraceError):
                raise result
        command = [sys.executable, "-m", "headrace_agent", "run", "benchmarks.noop:agent", "--broker", address, "--log-level", "error"]
        agent = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PYTHONPATH": "."})
        try:
            while not await admin.list_agents():
                await asyncio.sleep(0.002)
            started = time.perf_counter()
            while (await client.count()).totals.get(State.COMPLETED, 0) < JOBS:
                await asyncio.sleep(0.01)
            return time.perf_counter() - started
        finally:
            agent.terminate()
            await agent.wait()


def main() -> None:
    """Medians of the rounds, and ratios within a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path(".venv-peers/bin/python"), help="Python of the environment with the other queues")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[float]] = {name: [] for name in ("headrace", *PEERS)}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(directory / "data")
        server.start()
        try:
            for number in range(arguments.rounds):
                rates["headrace"].append(ours(directory, server, number))
                for other in PEERS:
                    rates[other].append(peer(arguments.python, other, server, number))
        finally:
            server.stop()
    result = {}
    for other, values in rates.items():
        ratios = [mine / theirs for mine, theirs in zip(rates["headrace"], values, strict=True)]
        result[other] = {
            "jobs_per_s": round(statistics.median(values)), "headrace_times": round(statistics.median(ratios), 2), "spread": f"{min(ratios):.2f}-{max(ratios):.2f}"
        }  # fmt: skip
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
