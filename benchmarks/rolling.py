"""Three brokers and many agents under load, and one broker after another is restarted by SIGTERM: how long starts of handlers pause, and whether every job ran once.

Each agent is a process; jobs are submitted one by one, with keys, at a steady rate. A pause is the longest time between two starts of handlers, wherever they run, that
ends within `SETTLE_S` after the SIGTERM. "owner" are restarts of the broker that owned the queue then, "standby" those of the others.
"""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import asyncpg
from headrace_client import Client, HeadraceError, State

from benchmarks import support
from benchmarks.recovery import Told, agent
from benchmarks.stream import free_port

BROKERS = 3
SETTLE_S = 4.0
OWNER = "select l.address from headrace.shard s join headrace.life l using (life_id) where not l.dead limit 1"
PATIENCE_S = 60.0


class Load:
    """Jobs at a rate until it is told to stop; what was refused, or is unknown, is submitted again under its key."""

    def __init__(self, brokers: str, rate: float) -> None:
        self.brokers = brokers
        self.rate = rate
        self.ids: set[int] = set()
        self.stopping = False

    async def run(self) -> None:
        """Submits. All that was begun is acknowledged when it returns."""
        loop = asyncio.get_running_loop()
        async with Client(self.brokers, timeout_s=PATIENCE_S) as client, asyncio.TaskGroup() as tasks:
            began = loop.time()
            for number in itertools.count():
                if self.stopping:
                    return
                await asyncio.sleep(max(0.0, began + number / self.rate - loop.time()))
                tasks.create_task(self._one(client, number))

    async def _one(self, client: Client, number: int) -> None:
        while True:
            with contextlib.suppress(HeadraceError):
                self.ids.add((await client.submit("recovery.due", number, key=f"rolling-{number}")).job_id)
                return
            await asyncio.sleep(0.02)


class Starts:
    """What the agents told of their handlers' starts, in order of time."""

    def __init__(self, agents: list[Told]) -> None:
        self._agents = agents
        self.runs: Counter[int] = Counter()
        self._at: list[float] = []

    def longest(self, since: float, until: float) -> float:
        """The longest pause that ends in this span of the monotonic clock, in seconds."""
        self.read()
        self._at.sort()
        pauses = [later - earlier for earlier, later in itertools.pairwise(self._at) if since <= later <= until]
        if not pauses:
            raise SystemExit(f"no handler started within {until - since:g} s after a restart")
        return max(pauses)

    def read(self) -> None:
        """Takes what has been told since."""
        for one in self._agents:
            while not one.lines.empty():
                line = one.lines.get()
                self.runs[int(line["job"])] += 1
                self._at.append(float(line["at"]))


async def measure(directory: Path, dsn: str, *, agents: int, rate: float, rounds: int, options: list[str]) -> list[support.Round]:
    """Restarts every broker in turn, `rounds` times; a round for each restart. Raises SystemExit when a job is missing or ran twice."""
    found: list[support.Round] = []
    con = await asyncpg.connect(dsn)
    with ExitStack() as exits:
        brokers = [exits.enter_context(support.Broker(directory, dsn, *options, listen=f"127.0.0.1:{free_port()}")) for _ in range(BROKERS)]
        addresses = [broker.address for broker in brokers]
        crew = [agent("starter", ",".join(addresses)) for _ in range(agents)]
        for one in crew:
            exits.callback(one.end)
        starts, load = Starts(crew), Load(",".join(addresses), rate)
        loading = asyncio.create_task(load.run())
        until = time.monotonic() + PATIENCE_S
        while len(starts.runs) < rate:  # a second's worth
            await asyncio.sleep(0.05)
            starts.read()
            if loading.done() or time.monotonic() > until:
                raise SystemExit("no handler starts")
        for number in range(rounds * BROKERS):
            place = number % BROKERS
            owns = f" pid {brokers[place].pid} " in str(await con.fetchval(OWNER))
            at = time.monotonic()
            await asyncio.to_thread(brokers[place].stop)
            brokers[place] = exits.enter_context(await asyncio.to_thread(_start, directory, dsn, options, addresses[place]))
            await asyncio.sleep(max(0.0, at + SETTLE_S + 0.2 - time.monotonic()))
            found.append({"owner" if owns else "standby": {"pause_ms": starts.longest(at, at + SETTLE_S) * 1000}})
            print(json.dumps(found[-1]), file=sys.stderr)
        load.stopping = True
        await loading
        await _judge(addresses, load, starts)
    await con.close()
    return found


def _start(directory: Path, dsn: str, options: list[str], address: str) -> support.Broker:
    return support.Broker(directory, dsn, *options, listen=address)


async def _judge(addresses: list[str], load: Load, starts: Starts) -> None:
    until = time.monotonic() + PATIENCE_S
    async with Client(addresses, timeout_s=30) as client:
        while (await client.count(["recovery.due"])).totals != {State.COMPLETED: len(load.ids)}:
            if time.monotonic() > until:
                raise SystemExit(f"{len(load.ids)} jobs were acknowledged, and the broker counts {(await client.count(['recovery.due'])).totals}")
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.5)  # lines that agents have written
    starts.read()
    missing, twice = load.ids - starts.runs.keys(), [job_id for job_id, runs in starts.runs.items() if runs > 1]
    if missing or twice or starts.runs.keys() - load.ids:
        raise SystemExit(f"{len(missing)} jobs never ran, {len(twice)} ran twice, {len(starts.runs.keys() - load.ids)} are of nobody")
    print(json.dumps({"jobs": len(load.ids), "lost": 0, "run twice": 0}), file=sys.stderr)


def main() -> None:
    """Measures; `--rounds` is how often each of the three brokers is restarted."""
    parser = support.options(__doc__, rounds=10)
    parser.add_argument("--agents", type=int, default=20, help="agent processes")
    parser.add_argument("--rate", type=float, default=200.0, help="jobs a second")
    parser.add_argument("--broker-options", default="", help="further options of the brokers")
    arguments = parser.parse_args()
    options = arguments.broker_options.split()
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        dsn = asyncio.run(support.make_database(server.dsn, "rolling"))
        found = asyncio.run(measure(directory, dsn, agents=arguments.agents, rate=arguments.rate, rounds=arguments.rounds, options=options))
    support.report(support.outcome("rolling", facts, found, agents=arguments.agents, rate=arguments.rate, options=options), arguments.json)


if __name__ == "__main__":
    main()
