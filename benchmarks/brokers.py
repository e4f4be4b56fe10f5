"""What a second owner gives: two domains, in shards of their own, at one broker that owns both and at two that own one each; same Postgres, in turn within each round.

A driver for each domain, as for the capacity, at the broker that owns the domain's shard. "one shard": the same work at one broker of a queue that was not divided.
Printed: jobs/s of all together, how many times those of one owner that is, and CPU per job of each process. Two brokers and two drivers beside a Postgres want more than
two cores.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from headrace_broker.store.migrate import migrate
from headrace_broker.store.shards import set_shards
from headrace_client import AdminClient
from headrace_proto.wire import DOMAIN_KEY

from benchmarks import support
from benchmarks.capacity import Driver

DOMAINS = ("left", "right")
PATIENCE_S = 60.0


class OfDomain:
    """A channel whose calls are for a domain."""

    def __init__(self, channel: grpc.aio.Channel, domain: str) -> None:
        self._channel = channel
        self._metadata = ((DOMAIN_KEY, domain),)

    def stream_stream(self, method: str, **more: Any) -> Any:
        """As that of a channel."""
        made = self._channel.stream_stream(method, **more)
        return lambda *requests: made(*requests, metadata=self._metadata)


async def drive(address: str, domain: str, jobs: int) -> float:
    """Seconds for so many jobs of a domain."""
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        return await Driver(OfDomain(channel, domain), jobs).run()


def case(directory: Path, dsn: str, *, brokers: int, jobs: int, postgres: int) -> support.Figures:
    """Both domains at once, at so many brokers."""
    with ExitStack() as exits:
        running = [exits.enter_context(support.Broker(directory, dsn)) for _ in range(brokers)]
        owner = asyncio.run(_owners(running[0].address, dsn, brokers))
        cpu = support.Cpu(postgres=postgres, **{f"broker{number}": broker.pid for number, broker in enumerate(running)})
        began = time.monotonic()
        drivers = [
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.brokers", "--drive", owner[domain], "--domain", domain, "--jobs", str(jobs // 2)],
                stdout=subprocess.PIPE, text=True, cwd=support.ROOT, env=support.environment(),
            )
            for domain in DOMAINS
        ]  # fmt: skip
        took = [float(driver.communicate()[0]) for driver in drivers]
        assert time.monotonic() - began >= max(took)
        return {"jobs_per_s": jobs / max(took), **cpu.us_per(jobs)}


async def _owners(address: str, dsn: str, brokers: int) -> Mapping[str, str]:
    """The broker that owns each domain's shard, once shards are spread over so many."""
    con = await asyncpg.connect(dsn)
    try:
        await con.execute("insert into headrace.domain (name) select unnest($1::text[]) on conflict do nothing", list(DOMAINS))
        of = await con.fetchval("select count(*) from headrace.shard")
        shard = {row["name"]: row["domain_id"] % of for row in await con.fetch("select * from headrace.domain where name = any ($1)", list(DOMAINS))}
    finally:
        await con.close()
    until = time.monotonic() + PATIENCE_S
    async with AdminClient(address) as admin:
        while True:
            found = {number: broker.endpoint for broker in await admin.list_brokers() for number in broker.shards}
            if len(found) == of and len(set(found.values())) == min(brokers, of):
                return {domain: found[number] for domain, number in shard.items()}
            if time.monotonic() > until:
                raise SystemExit(f"shards are not spread over {brokers} brokers: {found}")
            await asyncio.sleep(0.2)


def measure(directory: Path, dsn: str, sharded: str, *, jobs: int, postgres: int) -> support.Round:
    """One round: the cases in turn. `sharded`: a database whose queue has two shards."""
    found: support.Round = {
        "one shard": case(directory, dsn, brokers=1, jobs=jobs, postgres=postgres),
        "one owner": case(directory, sharded, brokers=1, jobs=jobs, postgres=postgres),
        "two owners": case(directory, sharded, brokers=2, jobs=jobs, postgres=postgres),
    }
    for name in found:
        found[name]["of_one"] = found[name]["jobs_per_s"] / found["one owner"]["jobs_per_s"]
    return found


async def _databases(dsn: str, number: int) -> tuple[str, str]:
    whole, sharded = await support.make_database(dsn, f"whole_{number}"), await support.make_database(dsn, f"sharded_{number}")
    await migrate(sharded)
    await set_shards(sharded, 2)
    return whole, sharded


def main() -> None:
    """Measures."""
    parser: argparse.ArgumentParser = support.options(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="of each case, both domains together")
    parser.add_argument("--drive", metavar="ADDRESS", help="be the driver of a domain")
    parser.add_argument("--domain", default=DOMAINS[0], help="of the driver")
    arguments = parser.parse_args()
    if arguments.drive:
        import uvloop

        print(uvloop.run(drive(arguments.drive, arguments.domain, arguments.jobs)))
        return
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        for number in range(arguments.rounds):
            rounds.append(measure(directory, *asyncio.run(_databases(server.dsn, number)), jobs=arguments.jobs, postgres=server.pid))
    support.report(support.outcome("brokers", facts, rounds, jobs=arguments.jobs), arguments.json)


if __name__ == "__main__":
    main()
