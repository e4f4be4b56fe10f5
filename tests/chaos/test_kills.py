"""Random SIGKILLs of brokers, agents and submitters; a ledger outside of headrace, written by handlers and submitters, decides what was lost or doubled.

HEADRACE_KILLS (25) says how many kills there are, HEADRACE_SEED which; `make chaos` runs the long form.
"""

import asyncio
import os
import random
import socket
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from headrace_broker.model.job import Kind, State
from headrace_client import Client

from tests.support.ledger import check_ledger
from tests.support.processes import ROOT, Process, start_agent, start_broker, until

KILLS = int(os.environ.get("HEADRACE_KILLS", "25"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
LEAST_WORK = 20  # jobs that must have been acknowledged between two kills


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.socket() for _ in range(count)]
    for item in sockets:
        item.bind(("127.0.0.1", 0))
    ports = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


class Cluster:
    """Two brokers, three agents, two submitters; each can be killed and is started again."""

    def __init__(self, database: str, directory: Path) -> None:
        self.directory = directory
        self.submitted = directory / "submitted.txt"
        self.ran = directory / "ran.txt"
        self._ports = free_ports(2)
        self.brokers = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self._database = database
        self._runs = 0
        self.running: dict[str, Process] = {}

    async def start(self, name: str) -> None:
        """Starts one process by its name."""
        kind, number = name.split()
        if kind == "broker":
            self.running[name] = await start_broker(self.directory, database=self._database, listen=f"127.0.0.1:{self._ports[int(number)]}", name=f"broker{number}")
        elif kind == "agent":
            self.running[name] = await start_agent(self.directory, self.brokers, "--slots", "20", "--log-level", "warning", name=f"agent{number}")
        else:
            self._runs += 1
            with open(self.directory / f"submitter{number}.log", "ab") as log:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.support.submitter", self.brokers, str(self.submitted), f"run{self._runs}", cwd=ROOT, stdout=log, stderr=log
                )
            self.running[name] = Process(process, self.directory / f"submitter{number}.log")

    async def kill(self, name: str) -> None:
        """SIGKILL."""
        await self.running.pop(name).kill()

    async def close(self) -> None:
        """Ends everything."""
        for name in list(self.running):
            await self.kill(name)

    def acknowledged(self) -> dict[str, int]:
        """Keys that a submitter was told are stored, and their jobs."""
        lines = [line.split() for line in self._lines(self.submitted)]
        return {words[1]: int(words[2]) for words in lines if words[0] == "got"}

    def records(self) -> dict[int, dict[str, Counter[int]]]:
        """job -> "start" or "end" -> lease epoch -> how often."""
        found: dict[int, dict[str, Counter[int]]] = defaultdict(lambda: {"start": Counter(), "end": Counter()})
        for what, job_id, epoch, *_ in (line.split() for line in self._lines(self.ran)):
            found[int(job_id)][what][int(epoch)] += 1
        return found

    def _lines(self, path: Path) -> list[str]:
        return [line for line in path.read_text().splitlines() if line] if path.exists() else []


@pytest.mark.timeout(60 + KILLS * 20)
async def test_nothing_is_lost_or_doubled_under_random_kills(database: str, directory: Path, stack: AsyncExitStack) -> None:
    chance = random.Random(SEED)
    cluster = Cluster(database, directory)
    stack.push_async_callback(cluster.close)
    for name in ("broker 0", "broker 1", "agent 0", "agent 1", "agent 2", "submitter 0", "submitter 1"):
        await cluster.start(name)
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    in_flight = 0
    for _ in range(KILLS):
        await until(_more_work(cluster, len(cluster.acknowledged()) + LEAST_WORK), timeout_s=60, what="further work after a kill")
        victim = chance.choice(sorted(cluster.running))
        in_flight += bool(await con.fetchval("select count(*) from headrace.job_state where state = 'processing'"))
        await cluster.kill(victim)
        await asyncio.sleep(chance.choice((0.0, 0.05, 0.5)))
        await cluster.start(victim)
    for name in ("submitter 0", "submitter 1"):
        await cluster.kill(name)
    acknowledged = cluster.acknowledged()
    async with Client(cluster.brokers, timeout_s=30) as client:

        async def drained() -> bool:
            totals = (await client.count()).totals
            return not totals.get(State.WAITING.name.lower()) and set(totals) <= {"completed"}  # type: ignore[call-overload]  # names compare equal to states

        await until(drained, timeout_s=60, what="the end of all jobs")
    heads = await check_ledger(con)
    stored = {row["idempotency_key"]: row["job_id"] for row in await con.fetch("select idempotency_key, job_id from headrace.job")}
    events = defaultdict(list)
    for row in await con.fetch("select job_id, seq, kind from headrace.event order by job_id, seq"):
        events[row["job_id"]].append((row["seq"], Kind(row["kind"])))
    records = cluster.records()
    assert {key: stored.get(key) for key in acknowledged} == acknowledged, "an acknowledged job is lost, or its key names another one"
    assert len(stored) == len(set(stored.values())) == len(heads)
    for job_id, head in heads.items():
        assert head.state is State.COMPLETED
        history = events[job_id]
        granted = {seq for seq, kind in history if kind is Kind.GRANTED}
        starts, ends = records[job_id]["start"], records[job_id]["end"]
        assert set(starts) <= granted and set(starts.values()) <= {1}, f"job {job_id} began without a lease, or twice under one: {starts}, {history}"
        [completed] = [seq for seq, kind in history if kind is Kind.COMPLETED]
        settled_by = max(seq for seq in granted if seq < completed)
        assert settled_by in ends, f"job {job_id} was settled by a lease whose handler did not come to its end: {history}, {ends}"
        unexplained = [seq for seq, kind in history if seq - 1 in starts and kind not in (Kind.COMPLETED, Kind.LOST, Kind.OWNER_CHANGED, Kind.RELEASED)]
        assert not unexplained, f"job {job_id} ran again without a reason: {history}"
    again = sum(len(records[job_id]["start"]) > 1 for job_id in heads)
    print(
        f"{KILLS} kills, {in_flight} of them with work in flight; {len(heads)} jobs, {len(acknowledged)} acknowledged; {again} ran again after a kill; lost 0, doubled 0"
    )


def _more_work(cluster: Cluster, wanted: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return len(cluster.acknowledged()) >= wanted

    return check
