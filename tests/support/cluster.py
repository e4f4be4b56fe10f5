"""Two brokers, three agents and two submitters as processes; any of them can be killed and is started again. What they were doing is known from their own records."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.ports import free_ports
from tests.support.processes import ROOT, Process, start_agent, start_broker
from tests.support.record import Reader

NAMES = ("broker 0", "broker 1", "agent 0", "agent 1", "agent 2", "submitter 0", "submitter 1")
ACTIVE = "select l.address from headrace.shard s join headrace.life l using (life_id) where not l.dead limit 1"


class Cluster:
    """See the module. `look` brings what it knows of the records up to date."""

    def __init__(self, database: str, directory: Path, con: "asyncpg.Connection[Any]") -> None:
        self.directory = directory
        self.submitted = directory / "submitted.txt"
        self.ran = directory / "ran.txt"
        self._ports = free_ports(2)
        self.brokers = ",".join(f"127.0.0.1:{port}" for port in self._ports)
        self._database = database
        self._con = con
        self._runs: dict[str, str] = {}  # submitter -> its present run
        self._submitted = Reader(self.submitted)
        self._ran = Reader(self.ran)
        self._open: dict[str, set[str]] = {}  # run -> names submitted and not answered
        self._running: dict[int, set[tuple[str, str]]] = {}  # agent's pid -> (job, epoch)
        self.running: dict[str, Process] = {}
        self.acknowledged = 0
        self.killed_at: dict[int, float] = {}  # pid -> when, seconds since 1970
        self.kills: Counter[str] = Counter()  # by kind
        self.kills_in_flight: Counter[str] = Counter()

    async def start(self, name: str) -> None:
        """Starts one process by its name."""
        kind, number = name.split()
        if kind == "broker":
            listen = f"127.0.0.1:{self._ports[int(number)]}"
            ahead_rows = 0 if int(number) else 1  # one of them has two rounds under way all the time
            self.running[name] = await start_broker(
                self.directory, "--log-level", "warning", database=self._database, listen=listen, name=f"broker{number}", ahead_rows=ahead_rows
            )
        elif kind == "agent":
            self.running[name] = await start_agent(self.directory, self.brokers, "--slots", "20", "--log-level", "error", name=f"agent{number}")
        else:
            self._runs[name] = f"run{number}.{self.kills['submitter']}"
            log = self.directory / f"submitter{number}.log"
            with open(log, "ab") as output:
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", "tests.support.submitter", self.brokers, str(self.submitted), self._runs[name], cwd=ROOT, stdout=output, stderr=output
                )
            self.running[name] = Process(process, log)

    async def kill(self, name: str) -> bool:
        """SIGKILL; returns whether it hit work in flight: running handlers of an agent, unanswered submits of a submitter, either of them at the active broker."""
        kind = name.split()[0]
        in_flight = kind == "broker" and await self.has_work(name)
        process = self.running.pop(name)
        await process.kill()
        self.killed_at[process.pid] = time.time()
        self.look()
        if kind == "agent":  # after its end its record says what was running
            in_flight = bool(self._running.pop(process.pid, None))
        elif kind == "submitter":
            in_flight = bool(self._open.pop(self._runs[name], None))
        self.kills[kind] += 1
        self.kills_in_flight[kind] += in_flight
        return in_flight

    async def has_work(self, name: str) -> bool:
        """Whether a process has work in flight now."""
        self.look()
        if name.startswith("broker"):
            return (any(self._open.values()) or any(self._running.values())) and name == await self.active()
        return bool(self._running.get(self.running[name].pid) if name.startswith("agent") else self._open.get(self._runs[name]))

    async def active(self) -> str | None:
        """The broker that owns the queue, by what the ledger says."""
        address = str(await self._con.fetchval(ACTIVE) or "")
        return next((name for name, process in self.running.items() if name.startswith("broker") and f" pid {process.pid} " in address), None)

    async def close(self) -> None:
        """Ends everything; not counted as kills."""
        for process in self.running.values():
            await process.kill()
        self.running.clear()

    def look(self) -> None:
        """Reads what was appended to the records."""
        for what, name, *_ in self._submitted.read():
            names = self._open.setdefault(name.partition("-")[0], set())
            if what == "try":
                names.add(name)
            elif what != "unknown":
                names.discard(name)
            self.acknowledged += what == "got"
        for what, job_id, epoch, pid, *_ in self._ran.read():
            running = self._running.setdefault(int(pid), set())
            if what == "start":
                running.add((job_id, epoch))
            else:
                running.discard((job_id, epoch))
