"""What a completion with many dependants costs: 10,000 jobs wait for one, which completes while others are submitted all the time.

release    seconds from the completion to the last of the releases, and the commits that they took
beside     latency of single submits in that time
alone      the same just before it
"""

import asyncio
import statistics
import time

import asyncpg
from headrace_broker.store.migrate import migrate
from headrace_client import Client, JobSpec, Submitted
from headrace_proto.v1 import agents_pb2

from benchmarks import support
from tests.support.scripted_agent import ScriptedAgent, outcome

RELEASES = "select count(*) as n, count(distinct at) as rounds from headrace.event where kind = 13"


async def beside(client: Client, until: asyncio.Event) -> list[float]:
    """Latencies of single submits, one after the other, in milliseconds."""
    found = []
    while not until.is_set():
        began = time.perf_counter()
        await client.submit("beside", 1)
        found.append((time.perf_counter() - began) * 1000)
    return found


def told(latencies: list[float]) -> support.Figures:
    """Median, 99th percentile and the worst."""
    ordered = sorted(latencies)
    return {"p50_ms": statistics.median(ordered), "p99_ms": ordered[int(len(ordered) * 0.99)], "worst_ms": ordered[-1]}


async def measure(address: str, dsn: str, dependants: int) -> support.Round:
    """One completion."""
    agent = ScriptedAgent(address, types=("parent",))
    await agent.connect()
    con = await asyncpg.connect(dsn)
    async with Client(address) as client:
        parent = (await client.submit("parent")).job_id
        results = await client.submit_many([JobSpec("child", depends_on=[parent])] * dependants)
        assert all(isinstance(result, Submitted) for result in results)
        job: agents_pb2.AssignedJob = (await agent.take(1))[0]
        quiet = asyncio.Event()
        asyncio.get_running_loop().call_later(2.0, quiet.set)
        alone = await beside(client, quiet)
        before = (await con.fetchrow(RELEASES))["n"]
        done = asyncio.Event()
        loaded = asyncio.ensure_future(beside(client, done))
        began = time.perf_counter()
        await agent.report(outcome(job, "completed"))
        while (row := await con.fetchrow(RELEASES))["n"] - before < dependants:
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
        done.set()
        latencies = await loaded
    await agent.close()
    await con.close()
    return {"release": {"seconds": seconds, "rounds": float(row["rounds"])}, "beside": told(latencies), "alone": told(alone)}


def main() -> None:
    """See the module."""
    parser = support.options(__doc__)
    parser.add_argument("--dependants", type=int, default=10_000)
    arguments = parser.parse_args()
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        for number in range(arguments.rounds):
            dsn = asyncio.run(support.make_database(server.dsn, f"graph_{number}"))
            asyncio.run(migrate(dsn))
            with support.Broker(directory, dsn) as broker:
                rounds.append(asyncio.run(measure(broker.address, dsn, arguments.dependants)))
    support.report(support.outcome("graph", facts, rounds, dependants=arguments.dependants), arguments.json)


if __name__ == "__main__":
    main()
