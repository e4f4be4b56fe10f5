"""The real SDK with real handlers that do nothing, beside other Postgres queues for Python and Node: same server, one worker process each, in turn within each round.

Counted from the first handler to the last settled job, over jobs that were submitted before. headrace has its broker as one more process; the others put that work into
their worker and into Postgres. Which others, and with which settings: peers_others.py. One that is not installed here is left out, and named.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, HeadraceError, JobSpec, State, __version__

from benchmarks.capacity import start_broker
from benchmarks.peers_others import Peer, known_peers

JOBS = 60_000


async def make_database(server: EmbeddedPostgres, name: str) -> str:
    """A fresh database; its DSN."""
    con = await asyncpg.connect(server.dsn)
    await con.execute(f"create database {name}")
    await con.close()
    return server.dsn.replace("/headrace?", f"/{name}?")


def theirs(peer: Peer, server: EmbeddedPostgres, number: int, jobs: int) -> float:
    """Jobs per second of another queue."""
    dsn = asyncio.run(make_database(server, f"{peer.name.replace('-', '_')}_{number}"))
    done = subprocess.run(peer.command(dsn, jobs), capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.name} failed:\n{done.stderr[-2000:]}")
    return jobs / float(done.stdout)


def ours(directory: Path, server: EmbeddedPostgres, number: int, jobs: int) -> float:
    """Jobs per second of headrace."""
    dsn = asyncio.run(make_database(server, f"headrace_{number}"))
    broker, address = start_broker(directory, dsn)
    try:
        return jobs / asyncio.run(_drain(address, jobs))
    finally:
        broker.terminate()
        broker.wait()


async def _drain(address: str, jobs: int) -> float:
    async with Client(address) as client, AdminClient(address) as admin:
        for result in await client.submit_many([JobSpec("bench.async", payload=b'{"n": 1}') for _ in range(jobs)]):
            if isinstance(result, HeadraceError):
                raise result
        command = [sys.executable, "-m", "headrace_agent", "run", "benchmarks.noop:agent", "--broker", address, "--log-level", "error"]
        agent = await asyncio.create_subprocess_exec(*command, env={**os.environ, "PYTHONPATH": "."})
        try:
            while not await admin.list_agents():
                await asyncio.sleep(0.002)
            started = time.perf_counter()
            while (await client.count()).totals.get(State.COMPLETED, 0) < jobs:
                await asyncio.sleep(0.01)
            return time.perf_counter() - started
        finally:
            agent.terminate()
            await agent.wait()


def main() -> None:
    """Medians of the rounds, and ratios within a round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, default=Path(".venv-peers/bin/python"), help="Python of the environment with the other queues")
    parser.add_argument("--node", type=Path, default=None, help="Node 22 or newer; the packages are those of benchmarks/node")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--share", type=float, default=1.0, help="of the usual number of jobs: less for a quick look")
    parser.add_argument("--only", nargs="*", help="these queues alone, by name; headrace always runs")
    parser.add_argument("--json", type=Path, help="writes the rates of each round there")
    arguments = parser.parse_args()
    peers = []
    for peer in known_peers(arguments.python, arguments.node):
        if arguments.only is not None and peer.name not in arguments.only:
            continue
        if peer.missing is None:
            peers.append(peer)
        else:
            print(f"{peer.name} left out: {peer.missing}", file=sys.stderr)
    rates = measure(peers, arguments.rounds, arguments.share)
    rows = [{"name": name, "version": version, "jobs_per_s": [round(rate) for rate in values]} for (name, version), values in rates.items()]
    if arguments.json is not None:
        arguments.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=2) + "\n")
    [mine, *_] = rates.values()
    result = {}
    for (name, _), values in rates.items():
        ratios = [ours / theirs for ours, theirs in zip(mine, values, strict=True)]
        result[name] = {
            "jobs_per_s": round(statistics.median(values)), "headrace_times": round(statistics.median(ratios), 2), "spread": f"{min(ratios):.2f}-{max(ratios):.2f}"
        }  # fmt: skip
    print(json.dumps(result, indent=2))


def measure(peers: list[Peer], rounds: int, share: float) -> dict[tuple[str, str], list[float]]:
    """Jobs per second of each round by (name, version), headrace first."""
    rates: dict[tuple[str, str], list[float]] = {("headrace", __version__): [], **{(peer.name, peer.version): [] for peer in peers}}
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(directory / "data")
        server.start()
        try:
            for number in range(rounds):
                for (_, values), peer in zip(rates.items(), [None, *peers], strict=True):
                    values.append(ours(directory, server, number, round(JOBS * share)) if peer is None else theirs(peer, server, number, round(peer.jobs * share)))
        finally:
            server.stop()
    return rates


def machine() -> dict[str, str | int]:
    """Where this ran."""
    cpu = next((line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), platform.machine())
    return {
        "cpu": cpu,
        "cores": os.cpu_count() or 0,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "date": time.strftime("%Y-%m-%d"),
    }


if __name__ == "__main__":
    main()
