"""How long work stands still when something dies; many rounds of each, default settings.

    agent killed       SIGKILL to one of four agent processes; to the start of its jobs on the others: the first and the last of them
    agent silent       the same with SIGSTOP, so that its connection stays open and only its heartbeats end
    broker killed      SIGKILL to the active broker beside a standby; to the standby's first welcome, its first grant, and the next start of a handler in an agent
                       that knows both
    broker restarted   SIGKILL to the only broker, which is started again; the same, from the start of the new process
    Postgres restarted shut down and started again; the same, from the first connection that it accepts, without a restart of the broker

Grants are seen by a bare stream that tries to connect every 10 ms; handlers run in real agents and tell the time of their start. Jobs become due every 20 ms.
"""

import asyncio
import json
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import grpc
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import JobSpec, SyncClient

from benchmarks import support
from benchmarks.stream import Stream, free_port

AGENTS = 4
HELD = 30  # jobs that run all the time
DUE_EVERY_S = 0.02
DUE_FOR_S = 20.0
SURE_S = 1.0  # handlers that start for so long without a longer pause: it is over
PATIENCE_S = 120.0
STOCK = 500  # ready jobs for the bare streams


class Told:
    """A process whose lines of JSON on standard output are read as they come."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=support.ROOT, env=support.environment())
        self.lines: queue.Queue[dict[str, Any]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def next(self) -> dict[str, Any]:
        """The next line. Raises queue.Empty when none comes in time."""
        return self.lines.get(timeout=PATIENCE_S)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Ends the process, also when it is stopped."""
        self.process.send_signal(number)
        self.process.wait(support.STOP_S)


def agent(name: str, addresses: str) -> Told:
    """An agent process of recovery_agent."""
    return Told([sys.executable, "-m", "headrace_agent", "run", f"benchmarks.recovery_agent:{name}", "--broker", addresses, "--log-level", "error"])


@contextmanager
def watcher(address: str) -> Iterator[Told]:
    """A process that waits for a welcome and a grant at this address; its lines: trying, welcome, grant, with times."""
    told = Told([sys.executable, "-m", "benchmarks.recovery", "--watch", address])
    try:
        told.next()
        yield told
    finally:
        told.end()


async def watch(address: str) -> None:
    """The watcher's process."""
    print(json.dumps({"trying": time.monotonic()}), flush=True)
    async with Stream(address, ["recovery.next"]) as stream:
        welcome = 0.0
        while True:
            welcome = welcome or await stream.connect()
            try:
                while not (message := await stream.read()).HasField("assign"):
                    pass
            except (grpc.aio.AioRpcError, EOFError):
                welcome = 0.0
                continue
            at = time.monotonic()
            await stream.settle(message.assign)
            while not (await stream.read()).outcome_acks:
                pass
            print(json.dumps({"welcome": welcome, "grant": at}), flush=True)
            return


# Agents --------------------------------------------------------------------------------------------------------------------------------------------


class Crew:
    """Agents that hold jobs; which job runs where, from what they tell."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.agents = [agent("holder", address) for _ in range(AGENTS)]
        self.held: dict[Told, set[int]] = {one: set() for one in self.agents}

    def lose(self, number: signal.Signals) -> support.Figures:
        """Sends the signal to the agent that holds most; how long until its first and its last job had started elsewhere."""
        victim = max(self.agents, key=lambda one: len(self.held[one]))
        lost = self.held.pop(victim)
        self.agents.remove(victim)
        at = time.monotonic()
        victim.process.send_signal(number)
        starts = [start - at for start in self.collect(lost).values()]
        victim.end()
        fresh = agent("holder", self._address)
        self.agents.append(fresh)
        self.held[fresh] = set()
        return {"first_start_s": min(starts), "last_start_s": max(starts)}

    def collect(self, jobs: set[int]) -> dict[int, float]:
        """When each of these jobs started; returns once all have."""
        found: dict[int, float] = {}
        until = time.monotonic() + PATIENCE_S
        while found.keys() < jobs:
            for one in self.agents:
                while not one.lines.empty():
                    line = one.lines.get()
                    found[line["job"]] = line["at"]
                    self.held[one].add(line["job"])
            if time.monotonic() > until:
                raise SystemExit(f"{len(jobs - found.keys())} jobs of a lost agent did not start again within {PATIENCE_S:g} s")
            time.sleep(0.005)
        return found

    def end(self) -> None:
        """Ends all."""
        for one in self.agents:
            one.end()


def agents(directory: Path, dsn: str, options: list[str], rounds: int, silent_rounds: int) -> Iterator[support.Round]:
    """Rounds of lost agents."""
    with ExitStack() as exits:
        broker = exits.enter_context(support.Broker(directory, dsn, *options))
        with SyncClient(broker.address) as client:
            jobs = {result.job_id for result in _stored(client, [JobSpec("recovery.hold", 1) for _ in range(HELD)])}
        crew = Crew(broker.address)
        exits.callback(crew.end)
        crew.collect(jobs)
        for name, number, count in (("agent killed", signal.SIGKILL, rounds), ("agent silent", signal.SIGSTOP, silent_rounds)):
            for _ in range(count):
                yield {name: crew.lose(number)}


# Brokers and Postgres ------------------------------------------------------------------------------------------------------------------------------


def _stored(client: SyncClient, specs: list[JobSpec]) -> list[Any]:
    results = client.submit_many(specs)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return results


class Starts:
    """An agent, and jobs that become due one after another: when its handlers started."""

    def __init__(self, addresses: str) -> None:
        self._addresses = addresses
        self._agent = agent("starter", addresses)
        self._last = 0.0  # newest start that was seen

    def feed(self) -> None:
        """Jobs for the next while; returns when the first of them has started."""
        with SyncClient(self._addresses) as client:
            _stored(client, [JobSpec("recovery.due", 1, delay_s=0.05 + number * DUE_EVERY_S) for number in range(int(DUE_FOR_S / DUE_EVERY_S))])
        self._last = max(self._last, float(self._agent.next()["at"]))

    def after_gap(self, since: float) -> float:
        """When handlers started again: the end of the longest pause that reached beyond `since`. What was granted before may start right after it, and is not meant."""
        last = self._last
        longest = again = 0.0
        while not again or last < again + SURE_S:
            at = float(self._agent.next()["at"])
            if at > since and at - last > longest:
                longest, again = at - last, at
            last = max(last, at)
        self._last = last
        return again

    def end(self) -> None:
        """Ends the agent."""
        self._agent.end()


def standby(directory: Path, dsn: str, options: list[str], rounds: int) -> Iterator[support.Round]:
    """The active broker dies beside a standby."""
    ports = [free_port(), free_port()]
    with ExitStack() as exits:
        brokers = [exits.enter_context(support.Broker(directory, dsn, *options, listen=f"127.0.0.1:{port}")) for port in ports]
        starts = Starts(",".join(one.address for one in brokers))
        exits.callback(starts.end)
        for _ in range(rounds):
            active, other = brokers
            starts.feed()
            with watcher(other.address) as seen:
                at = time.monotonic()
                active.kill()
                yield {"broker killed": _since(at, seen, starts)}
            brokers = [other, exits.enter_context(support.Broker(directory, dsn, *options, listen=active.address))]


def restarts(directory: Path, dsn: str, options: list[str], rounds: int) -> Iterator[support.Round]:
    """The only broker dies and is started again."""
    address = f"127.0.0.1:{free_port()}"
    with ExitStack() as exits:
        broker = exits.enter_context(support.Broker(directory, dsn, *options, listen=address))
        starts = Starts(address)
        exits.callback(starts.end)
        for _ in range(rounds):
            starts.feed()
            broker.kill()
            with watcher(address) as seen:
                broker = exits.enter_context(support.Broker(directory, dsn, *options, listen=address))
                yield {"broker restarted": {**_since(broker.began, seen, starts), "ready_s": broker.ready_s}}


def postgres(directory: Path, server: EmbeddedPostgres, dsn: str, options: list[str], rounds: int) -> Iterator[support.Round]:
    """Postgres is shut down and started again; the broker stays."""
    with ExitStack() as exits:
        broker = exits.enter_context(support.Broker(directory, dsn, *options))
        starts = Starts(broker.address)
        exits.callback(starts.end)
        for _ in range(rounds):
            starts.feed()
            server.stop()
            with watcher(broker.address) as seen:
                accepted: queue.Queue[float] = queue.Queue()
                threading.Thread(target=lambda to: to.put(asyncio.run(_accepted(dsn))), args=(accepted,), daemon=True).start()
                server.start()
                yield {"Postgres restarted": _since(accepted.get(timeout=PATIENCE_S), seen, starts)}


async def _accepted(dsn: str) -> float:
    """When the server took a connection."""
    while True:
        try:
            con = await asyncpg.connect(dsn, timeout=1)
        except (OSError, asyncpg.PostgresError, TimeoutError):
            await asyncio.sleep(0.005)
            continue
        at = time.monotonic()
        await con.close()
        return at


def _since(at: float, seen: Told, starts: Starts) -> support.Figures:
    """What was seen after the time `at`, in seconds since then."""
    line = seen.next()
    return {"welcome_s": line["welcome"] - at, "grant_s": line["grant"] - at, "handler_s": starts.after_gap(at) - at}


def main() -> None:
    """Measures; `--rounds` is how often each thing dies, a tenth of it for silent agents."""
    parser = support.options(__doc__, rounds=50)
    parser.add_argument("--broker-options", default="", help="further options of the brokers, such as '--lease-s 3 --heartbeat-s 1'")
    parser.add_argument("--watch", metavar="ADDRESS", help="be a watcher")
    arguments = parser.parse_args()
    if arguments.watch:
        asyncio.run(watch(arguments.watch))
        return
    options, rounds = arguments.broker_options.split(), arguments.rounds
    found: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        cases: dict[str, Callable[[str], Iterator[support.Round]]] = {
            "agents": lambda dsn: agents(directory, dsn, options, rounds, max(1, rounds // 10)),
            "standby": lambda dsn: standby(directory, dsn, options, rounds),
            "restarts": lambda dsn: restarts(directory, dsn, options, rounds),
            "postgres": lambda dsn: postgres(directory, server, dsn, options, rounds),
        }
        for name, case in cases.items():
            dsn = asyncio.run(support.make_database(server.dsn, f"recovery_{name}"))
            with support.Broker(directory, dsn, *options) as broker, SyncClient(broker.address) as client:
                _stored(client, [JobSpec("recovery.next", 1) for _ in range(STOCK)])
            for round_ in case(dsn):
                print(json.dumps(round_), file=sys.stderr)
                found.append(round_)
    support.report(support.outcome("recovery", facts, found, options=options), arguments.json)


if __name__ == "__main__":
    main()
