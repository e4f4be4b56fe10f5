"""What a global cap costs: the bare driver of capacity.py against one broker, its type without a limit, with a concurrency that is never reached, and with one that is
reached all the time: half of what the driver has room for. In turn, and in another order from round to round.

Printed: jobs/s of each, the ratios to the first, and CPU per job of the broker for each.
"""

import asyncio
from pathlib import Path

from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient

from benchmarks import support
from benchmarks.capacity import SLOTS, run_driver

NEVER_REACHED = 1_000_000
REACHED = SLOTS // 2


async def limit(address: str, concurrency: int) -> None:
    """Sets the concurrency of the driver's type; 0: none."""
    async with AdminClient(address) as admin:
        await admin.set_type("bench", concurrency=concurrency)


def drive(broker: support.Broker, postgres: int, jobs: int, concurrency: int) -> tuple[float, float]:
    """(jobs/s, microseconds of the broker's CPU per job) under a limit."""
    asyncio.run(limit(broker.address, concurrency))
    cpu = support.Cpu(broker=broker.pid, postgres=postgres)
    rate = jobs / run_driver(broker.address, jobs)
    return rate, cpu.us_per(jobs)["broker_us"]


def measure(directory: Path, server: EmbeddedPostgres, jobs: int, rounds: int) -> list[support.Round]:
    """Rounds of three runs; the first one warms up."""
    found: list[support.Round] = []
    with support.Broker(directory, server.dsn) as broker:
        for number in range(rounds + 1):
            order = (0, NEVER_REACHED, REACHED) if number % 2 else (REACHED, NEVER_REACHED, 0)
            runs = {concurrency: drive(broker, server.pid, jobs, concurrency) for concurrency in order}
            (free, free_us), (capped, capped_us), (reached, reached_us) = runs[0], runs[NEVER_REACHED], runs[REACHED]
            found.append(
                {
                    "caps": {
                        "free_per_s": free, "capped_per_s": capped, "capped_of_free": capped / free, "reached_per_s": reached, "reached_of_free": reached / free,
                        "free_us": free_us, "capped_us": capped_us, "reached_us": reached_us,
                    }
                }
            )  # fmt: skip
    return found[1:]


def main() -> None:
    """Medians and their spread."""
    parser = support.options(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="of each run")
    arguments = parser.parse_args()
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        rounds = measure(directory, server, arguments.jobs, arguments.rounds)
    support.report(support.outcome("caps", facts, rounds, jobs=arguments.jobs), arguments.json)


if __name__ == "__main__":
    main()
