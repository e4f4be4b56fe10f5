"""Random SIGKILLs of brokers, agents and submitters; a ledger outside of headrace, written by handlers and submitters, decides what was lost or doubled.

HEADRACE_KILLS (20), HEADRACE_JOBS (2,000, at least so many are acknowledged) and HEADRACE_SEED (1) choose the run; `make chaos` is the long form. Three kills in four
wait until their victim has work in flight, for half a second at most; the others come as they come. One turn in four kills two processes at the same time. Brokers,
agents and submitters are hit equally often; half of the brokers are chosen because they own the queue.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from tests.support.cluster import NAMES, Cluster
from tests.support.processes import pause, until
from tests.support.verdict import count, drained, judge

KILLS = int(os.environ.get("HEADRACE_KILLS", "20"))
JOBS = int(os.environ.get("HEADRACE_JOBS", "2000"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
WORK = max(20, JOBS // KILLS)  # jobs that are acknowledged between two turns
PATIENCE_S = 0.5
REST_S = (0.0, 0.05, 0.3)  # between a kill and the victim's next start


@pytest.mark.timeout(90 + KILLS * 10 + JOBS / 50)
async def test_nothing_is_lost_or_doubled_under_random_kills(
    database: str, directory: Path, stack: AsyncExitStack, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(SEED)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    cluster = Cluster(database, directory, con)
    stack.push_async_callback(cluster.close)
    for name in NAMES:
        await cluster.start(name)
    loop = asyncio.get_running_loop()
    began = loop.time()
    while cluster.kills.total() < KILLS:
        await _acknowledged(cluster, cluster.acknowledged + WORK)
        await _turn(cluster, chance)
    await _acknowledged(cluster, JOBS)
    hit = ", ".join(f"{cluster.kills[kind]} of {kind}s ({cluster.kills_in_flight[kind]})" for kind in ("broker", "agent", "submitter"))
    kills, in_flight = cluster.kills.total(), cluster.kills_in_flight.total()
    for name in ("submitter 0", "submitter 1"):
        await cluster.kill(name)
    counts = await drained(cluster.brokers)
    seconds = loop.time() - began
    verdict = await judge(con, cluster.submitted, cluster.ran, cluster.killed_at)
    assert counts == Counter(completed=verdict.jobs), "the active broker's count is not the ledger's"
    assert await count(cluster.brokers, searched=True) == counts, "a search finds others than are counted"
    for name in ("broker 0", "broker 1"):
        await cluster.kill(name)
    await cluster.start("broker 0")
    assert await count(cluster.brokers) == counts, "a broker that reads the ledger anew counts otherwise"
    for name, number in (("kills", kills), ("kills in flight", in_flight), ("jobs", verdict.jobs)):
        record_property(name, number)
    print(f"\nchaos: seed {SEED}, {seconds:.0f} s, {kills} kills, {in_flight} with work in flight: {hit}; {verdict}")
    assert not verdict.faults(), f"{verdict}\n{verdict.faults()}"
    assert in_flight > kills / 4, "most kills hit nobody at work: this run shows little"


async def _turn(cluster: Cluster, chance: random.Random) -> None:
    """Kills one or two processes and starts them again."""
    kind = chance.choice(("broker", "agent", "submitter"))
    victims = [chance.choice([name for name in NAMES if name.startswith(kind)])]
    if kind == "broker" and chance.random() < 0.5:
        victims = [await cluster.active() or victims[0]]
    if chance.random() < 0.25:
        victims.append(chance.choice([name for name in NAMES if name not in victims]))
    if chance.random() < 0.75:
        await _busy(cluster, victims[0])
    for name in victims:
        await cluster.kill(name)
    await asyncio.sleep(chance.choice(REST_S))
    for name in victims:
        await cluster.start(name)


async def _busy(cluster: Cluster, name: str) -> None:
    """Waits until a process has work in flight; not for long, a standby never has any."""
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE_S
    while loop.time() < end and not await cluster.has_work(name):
        await pause()


async def _acknowledged(cluster: Cluster, wanted: int) -> None:
    async def check() -> bool:
        cluster.look()
        return cluster.acknowledged >= wanted

    await until(check, timeout_s=60 + JOBS / 50, what=f"the acknowledgement of {wanted} jobs")
