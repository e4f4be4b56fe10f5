"""Single submits: callers that each submit one job after another with `Client.submit`, from one process; jobs per second, latency, and CPU per job."""

import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import uvloop
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import Client

from benchmarks.capacity import cpu_s, family, start_broker

CALLERS = (1, 64, 512)
SECONDS = 4.0


async def measure(address: str, callers: int, broker: int, postgres: int) -> dict[str, Any]:
    """One number of callers."""
    taken: list[float] = []
    async with Client(address) as client, asyncio.TaskGroup() as tasks:
        await client.submit("bench", {"a": 1})
        end = time.perf_counter() + SECONDS
        before = (time.process_time(), cpu_s(broker), sum(map(cpu_s, family(postgres))))

        async def call() -> None:
            while (started := time.perf_counter()) < end:
                await client.submit("bench", {"a": 1})
                taken.append(time.perf_counter() - started)

        running = [tasks.create_task(call()) for _ in range(callers)]
        await asyncio.wait(running)
    taken.sort()
    after = (time.process_time(), cpu_s(broker), sum(map(cpu_s, family(postgres))))
    us = [round((late - early) / len(taken) * 1e6, 1) for late, early in zip(after, before, strict=True)]
    percentiles = {name: round(taken[int(len(taken) * share)] * 1000, 2) for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99))}
    return {"callers": callers, "per_s": round(len(taken) / SECONDS), **percentiles, "client_us": us[0], "broker_us": us[1], "postgres_us": us[2]}


def main() -> None:
    """On a Postgres and a broker of its own."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(directory / "data")
        server.start()
        try:
            broker, address = start_broker(directory, server.dsn)
            for callers in CALLERS:
                print(json.dumps(uvloop.run(measure(address, callers, broker.pid, server.pid))), flush=True)
            broker.terminate()
            broker.wait()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
