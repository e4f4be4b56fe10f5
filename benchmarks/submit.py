"""Single submits: callers that each submit one job after another with `Client.submit`, from one process; jobs per second, latency, and CPU per job."""

import asyncio
import os
import time

import uvloop
from headrace_client import Client

from benchmarks import support

CALLERS = (1, 64, 512)


async def measure(address: str, callers: int, seconds: float, broker: int, postgres: int) -> support.Figures:
    """One number of callers."""
    taken: list[float] = []
    async with Client(address) as client:
        await client.submit("bench", {"a": 1})
        end = time.perf_counter() + seconds
        cpu = support.Cpu(client=os.getpid(), broker=broker, postgres=postgres)

        async def call() -> None:
            while (started := time.perf_counter()) < end:
                await client.submit("bench", {"a": 1})
                taken.append(time.perf_counter() - started)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(callers):
                tasks.create_task(call())
    return {"jobs_per_s": len(taken) / seconds, **support.percentiles(taken), **cpu.us_per(len(taken))}


def main() -> None:
    """On a Postgres and a broker of its own; the numbers of callers take turns within a round."""
    parser = support.options(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    arguments = parser.parse_args()
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        with support.Broker(directory, server.dsn) as broker:
            for _ in range(arguments.rounds):
                rounds.append({f"{callers} callers": uvloop.run(measure(broker.address, callers, arguments.seconds, broker.pid, server.pid)) for callers in CALLERS})
    support.report(support.outcome("submit", facts, rounds), arguments.json)


if __name__ == "__main__":
    main()
