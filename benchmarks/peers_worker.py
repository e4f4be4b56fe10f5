"""One worker process of another queue, for peers.py; runs in an environment of its own that has these queues. Prints seconds from the first handler to the last
settled job.

Each is run as its documentation recommends for throughput: batches and concurrency well above the defaults, COPY where there is one, uvloop.
"""

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import Any

PAYLOAD = b'{"n": 1}'
started = 0.0
done = 0


def count() -> None:
    """A handler ran."""
    global started, done
    if not started:
        started = time.perf_counter()
    done += 1


async def pgqueuer(dsn: str, jobs: int) -> float:
    """PgQueuer in drain mode."""
    import asyncpg
    from pgqueuer import PgQueuer
    from pgqueuer.db import AsyncpgDriver
    from pgqueuer.queries import Queries
    from pgqueuer.types import QueueExecutionMode

    driver = AsyncpgDriver(await asyncpg.connect(dsn))
    queries = Queries(driver)
    await queries.install()
    for first in range(0, jobs, 1000):
        size = min(1000, jobs - first)
        await queries.enqueue(["bench"] * size, [PAYLOAD] * size, [0] * size)
    queue = PgQueuer(driver)

    @queue.entrypoint("bench")  # type: ignore[untyped-decorator]  # not installed where types are checked
    async def bench(_job: Any) -> None:
        count()

    await queue.qm.run(batch_size=int(sys.argv[4]), mode=QueueExecutionMode.drain)
    return time.perf_counter() - started


async def procrastinate(dsn: str, jobs: int) -> float:
    """Procrastinate without waiting for further jobs."""
    from procrastinate import App, PsycopgConnector

    app = App(connector=PsycopgConnector(conninfo=dsn, min_size=4, max_size=8))

    @app.task(name="bench")  # type: ignore[untyped-decorator]
    async def bench(n: int) -> None:
        count()

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        for first in range(0, jobs, 1000):
            await bench.batch_defer_async(*({"n": 1} for _ in range(min(1000, jobs - first))))
        await app.run_worker_async(wait=False, concurrency=int(sys.argv[4]), listen_notify=False, install_signal_handlers=False)
    return time.perf_counter() - started


@dataclass
class Bench:
    """Awa's argument."""

    n: int


async def awa(dsn: str, jobs: int) -> float:
    """Awa with its queue storage and COPY."""
    from awa import AsyncClient

    client = AsyncClient(dsn)
    await client.migrate()
    await client.install_queue_storage()

    @client.task(Bench, queue="bench")  # type: ignore[untyped-decorator]
    async def bench(_job: Any) -> None:
        count()

    for first in range(0, jobs, 5000):
        await client.enqueue_many_copy([Bench(1) for _ in range(min(5000, jobs - first))], queue="bench")
    await client.start([("bench", int(sys.argv[4]))], poll_interval_ms=10)
    while done < jobs:
        await asyncio.sleep(0.01)
    await client.shutdown()
    return time.perf_counter() - started


def main() -> None:
    """NAME DSN JOBS CONCURRENCY"""
    import uvloop

    name, dsn, jobs = sys.argv[1], sys.argv[2], int(sys.argv[3])
    seconds = uvloop.run({"pgqueuer": pgqueuer, "procrastinate": procrastinate, "awa": awa}[name](dsn, jobs))
    assert done >= jobs, f"{done} of {jobs} ran"
    print(seconds)


if __name__ == "__main__":
    main()
