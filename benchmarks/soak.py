"""An hour of use: does anything in a broker grow, and does its housekeeping stall anybody?

A mixed load (soak_load.py) runs at the rate at which the machine, or the broker's core when that is more, is 70 % busy, or at --rate. One agent stays, another comes
every minute and is drained or killed half a minute later. Most jobs are deleted a minute after they ended, so that partitions are made and retired all the time (from the
twentieth minute on); twice a part somebody holds a REPEATABLE READ transaction open for a minute. Every ten seconds the broker is looked at: memory, threads, tasks,
descriptors, sessions, connections, what waits.

A figure is level when its median over the last quarter is not above that of the second by more than a twentieth and a little; its slope is told beside it. No submit may
take 100 ms because of retention, of partitions being made, or of the reader. A shared machine stalls by itself, so twenty times a second one row is committed to a table
apart, and the load process notes how late it wakes up: a second with a long commit or a late awakening explains a long submit. It is bad when seconds with a long submit
that nothing explains are more than twice as common near that work as at other times; a line counts those that are explained, and how common such seconds are anyway.

`--part K/N` runs the K-th of N equal parts, each with a broker process of its own on the same --data-dir, and adds it to the --json file. Exit code 1: a verdict is bad.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres

from benchmarks import support

SHARE = 0.7
TRIAL = 1_000.0  # jobs/s of the first trial of the calibration
TRIALS = 4
TRIAL_S = 12.0
HELD_S = 60.0
HELD_AT = (0.35, 0.8)  # of a part
AGENT_PERIOD = 6  # samples
RETENTION_FROM_S = 25 * 60.0  # after which a part, or an earlier one, must have seen jobs removed
MADE_S = 3.0  # for which the making of partitions may last
AFTER_S = 0.5  # the end of a pass: still near
STALL_MS = 100.0
ALSO_MS = 50.0  # of a bare commit or of an awakening: long enough to explain a submit of STALL_MS, which waits for one commit and starts the next
BARE_S = 0.05
OTHERWISE = "otherwise"
DRAIN_S = 150.0
OPTIONS = ("--retention-period-s", "10", "--log-level", "info", "--log-format", "json")
LEVEL = {  # figure -> what it may rise by beside a twentieth
    "rss_mb": 5.0, "threads": 4.0, "tasks": 30.0, "descriptors": 20.0, "sessions": 1.0, "pool_connections": 3.0, "postgres_connections": 4.0, "waiting": 5_000.0,
}  # fmt: skip
MOST_RANGES = 16.0  # of the shortest class: made ahead, in use, and not yet due
Verdict = tuple[str, bool, str]


@dataclass
class Watched:
    """What one part has seen; times are monotonic."""

    samples: list[support.Figures] = field(default_factory=list)
    seconds: list[dict[str, Any]] = field(default_factory=list)  # what the load says of each second
    held: list[tuple[float, float]] = field(default_factory=list)
    work: list[tuple[float, float, str]] = field(default_factory=list)  # passes that did something: begin, end, what
    long_commits: list[float] = field(default_factory=list)  # ends of bare commits of ALSO_MS or more


@dataclass
class Submits:
    """Seconds of a load, by their longest submit."""

    seconds: int = 0
    stalled: int = 0  # those with a submit of STALL_MS or longer
    unexplained: int = 0  # those of them in which the machine did not stall
    longest_ms: float = 0.0

    def add(self, longest_ms: float, *, machine: bool) -> None:
        """One second; `machine`: it stalled by itself."""
        self.seconds += 1
        self.stalled += longest_ms >= STALL_MS
        self.unexplained += longest_ms >= STALL_MS and not machine
        self.longest_ms = max(self.longest_ms, longest_ms)

    def worse_than(self, other: "Submits") -> bool:
        """Whether stalls that nothing explains are clearly more common here; a single one proves nothing."""
        return self.unexplained > 1 and self.unexplained / self.seconds > 2 * other.unexplained / max(1, other.seconds)

    def __str__(self) -> str:
        return f"longest {self.longest_ms:.0f} ms, {self.stalled} of {self.seconds} s with {STALL_MS:.0f} ms, {self.unexplained} of them unexplained"


class Part:
    """One part: processes, samples, verdicts."""

    def __init__(self, server: EmbeddedPostgres, directory: Path, seconds: float, every_s: float) -> None:
        self._server = server
        self._directory = directory
        self._seconds = seconds
        self._every_s = every_s
        self.seen = Watched()

    def run(self, rate: float) -> tuple[float, list[Verdict]]:
        """Runs the part; returns the rate (calibrated when 0 was given) and the verdicts."""
        with support.Broker(self._directory, self._server.dsn, *OPTIONS) as broker, contextlib.ExitStack() as exits:
            steady = support.start_agent(broker.address, "benchmarks.soak_agent:agent")
            exits.callback(support.end, steady)
            rate = rate or calibrate(broker)
            print(f"{rate:,.0f} jobs/s for {self._seconds:,.0f} s", file=sys.stderr)
            with _load(broker.address, rate, self._seconds, self.seen.seconds), self._bare_commits():
                self._watch(broker)
            drained = _drained(broker)
            self.seen.work = _work(broker.log)
            deleted = broker.metrics()["headrace_jobs_deleted_total"]
        return rate, self._verdicts(drained, deleted)

    def _watch(self, broker: support.Broker) -> None:
        """Samples, and what happens beside the load."""
        began, number = time.monotonic(), 0
        extra: subprocess.Popen[bytes] | None = None
        readers = [threading.Timer(share * self._seconds, self._hold) for share in HELD_AT]
        for reader in readers:
            reader.daemon = True
            reader.start()
        try:
            while time.monotonic() - began < self._seconds:
                phase = number % AGENT_PERIOD
                if phase == 1:
                    extra = support.start_agent(broker.address, "benchmarks.soak_agent:agent")
                elif phase == 1 + AGENT_PERIOD // 2 and extra is not None:
                    extra.terminate() if number // AGENT_PERIOD % 2 else extra.kill()
                    extra.wait(support.STOP_S)
                    extra = None
                number += 1
                time.sleep(max(0.0, began + number * self._every_s - time.monotonic()))
                self.seen.samples.append({"at_s": round(time.monotonic() - began, 1), **asyncio.run(_sample(broker, self._server.dsn))})
            for reader in readers:
                reader.join()
        finally:
            if extra is not None:
                support.end(extra)

    def _hold(self) -> None:
        """A transaction that has read the tables stays open for a while."""

        async def hold() -> None:
            con = await asyncpg.connect(self._server.dsn)
            await con.execute("begin isolation level repeatable read")
            await con.fetchval("select count(*) from headrace.event")
            began = time.monotonic()
            await asyncio.sleep(min(HELD_S, self._seconds / 8))
            self.seen.held.append((began, time.monotonic()))
            await con.close()

        asyncio.run(hold())

    @contextlib.contextmanager
    def _bare_commits(self) -> Iterator[None]:
        """One row after another into a table of their own, each a commit."""
        over = threading.Event()

        async def commit() -> None:
            con = await asyncpg.connect(self._server.dsn)
            await con.execute("create table if not exists bare_commit (at timestamptz)")
            while not over.is_set():
                began = time.monotonic()
                await con.execute("insert into bare_commit values (now())")
                if (ended := time.monotonic()) - began >= ALSO_MS / 1000:
                    self.seen.long_commits.append(ended)
                await asyncio.sleep(BARE_S)
            await con.close()

        thread = threading.Thread(target=lambda: asyncio.run(commit()), daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _machine(self, second: dict[str, Any]) -> tuple[bool, bool]:
        """Whether a second, or the one before, which it may have waited for, has (a long bare commit, a late awakening)."""
        began = int(second["at"]) - 1
        return any(began <= at < began + 2 for at in self.seen.long_commits), second["lag_max_ms"] >= ALSO_MS

    def explained(self) -> str:
        """How many of the seconds with a long submit the machine explains, and how many such seconds there are without one."""
        found: dict[bool, list[tuple[bool, bool]]] = {True: [], False: []}
        for second in self.seen.seconds:
            stalled = max(second["calls_max_ms"], second["probe_max_ms"]) >= STALL_MS
            found[stalled].append(self._machine(second))
        told = []
        for stalled, name in ((True, "a submit"), (False, "no submit")):
            seconds = found[stalled]
            told.append(
                f"of {len(seconds)} s with {name} of {STALL_MS:g} ms, {sum(commit for commit, _ in seconds)} have a bare commit of {ALSO_MS:g} ms, "
                f"{sum(late for _, late in seconds)} a late awakening, {sum(commit or late for commit, late in seconds)} either"
            )
        return "; ".join(told)

    def _verdicts(self, drained: bool, deleted: float) -> list[Verdict]:
        found = [_level(name, [sample[name] for sample in self.seen.samples], slack, self._seconds) for name, slack in LEVEL.items()]
        ranges = max(sample["short_ranges"] for sample in self.seen.samples)
        found.append(("short ranges", ranges <= MOST_RANGES, f"at most {ranges:.0f} at a time, of {MOST_RANGES:.0f}"))
        retention = deleted > 0 or self._seconds < RETENTION_FROM_S
        found.append(("retention", retention, f"{deleted:,.0f} jobs removed, {len(self.seen.work)} passes with work"))
        refused = sum(count for second in self.seen.seconds for count in second["refused"].values())
        found.append(("refused", not refused, f"{refused} submits"))
        found.append(("settled", drained, "all jobs" if drained else f"not all jobs within {DRAIN_S:g} s"))
        stalls = self.stalls()
        away = stalls.pop(OTHERWISE)
        found.append(("the machine", True, self.explained()))
        found += [(f"submits, {name}", not near.worse_than(away), f"{near}; at other times {away}") for name, near in stalls.items()]
        return found

    def stalls(self) -> dict[str, Submits]:
        """Submits near each kind of work, and at all other times."""
        spans = {
            "retention": [(began, ended + AFTER_S) for began, ended, what in self.seen.work if what == "retention"],
            "partitions made": [(began, ended + AFTER_S) for began, ended, what in self.seen.work if what == "partitions"],
            "reader": self.seen.held,
        }
        found = {name: Submits() for name in (*spans, OTHERWISE)}
        for second in self.seen.seconds:
            near = [name for name, times in spans.items() if any(begin <= second["at"] <= end + 1 for begin, end in times)]
            for name in near or [OTHERWISE]:
                found[name].add(max(second["calls_max_ms"], second["probe_max_ms"]), machine=any(self._machine(second)))
        return found

    def figures(self) -> support.Round:
        """For the report: both quarters of each figure, and the submits."""
        level: support.Figures = {}
        for name in LEVEL:
            second, last = _quarters([sample[name] for sample in self.seen.samples])
            level |= {f"{name}_second_quarter": second, f"{name}_last_quarter": last}
        probes = [second["probe_p50_ms"] for second in self.seen.seconds if second["probes"]]
        stalls = {f"longest_{name.replace(' ', '_')}_ms": found.longest_ms for name, found in self.stalls().items()}
        stored = sum(second["stored"] for second in self.seen.seconds) / len(self.seen.seconds)
        return {"broker": level, "submits": {"jobs_per_s": stored, "single_p50_ms": statistics.median(probes), **stalls}}


def calibrate(broker: support.Broker) -> float:
    """Jobs/s of the mix at which the machine, or the broker's one core when that is more, is busy for SHARE of the time; from trials, each nearer to it.

    What a broker completes when it gets all it can take is no measure: batches are then so large that a job costs a fraction of what it costs at a steady rate.
    """
    rate = TRIAL
    for _ in range(TRIALS):
        with _load(broker.address, rate, TRIAL_S, [], "--at-once"):
            time.sleep(TRIAL_S / 3)
            cpu, idle, began = support.Cpu(broker=broker.pid), _idle_s(), time.monotonic()
            time.sleep(TRIAL_S / 2)
            elapsed = time.monotonic() - began
            busy = max(cpu.used()["broker"] / elapsed, 1 - (_idle_s() - idle) / elapsed / (os.cpu_count() or 1))
        if not _drained(broker):
            raise SystemExit("the calibration did not come to its end")
        print(f"{rate:,.0f} jobs/s keep it {busy:.0%} busy", file=sys.stderr)
        rate *= min(4.0, SHARE / busy)
    return rate


def _idle_s() -> float:
    """Seconds that all processors were idle, since the machine's start."""
    words = Path("/proc/stat").read_text().split(maxsplit=6)
    return (int(words[4]) + int(words[5])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _load(address: str, rate: float, seconds: float, lines: list[dict[str, Any]], *words: str) -> Iterator[None]:
    """The load process; its lines are added as they come, and it has ended afterwards."""
    command = [sys.executable, "-m", "benchmarks.soak_load", address, str(rate), str(seconds), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=support.ROOT) as process:
        assert process.stdout is not None
        stdout = process.stdout
        reader = threading.Thread(target=lambda: lines.extend(map(json.loads, stdout)), daemon=True)
        reader.start()
        try:
            yield
            reader.join(seconds + support.STOP_S)
        finally:
            process.kill()
    if not lines:
        raise SystemExit("the load ended without a word")


async def _sample(broker: support.Broker, dsn: str) -> support.Figures:
    metrics = broker.metrics()
    con = await asyncpg.connect(dsn)
    try:
        connections = await con.fetchval("select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
        short = await con.fetchval("select count(*) from headrace.fact_range where class = 6")
    finally:
        await con.close()
    status = Path(f"/proc/{broker.pid}/status").read_text()
    return {
        "rss_mb": support.rss_mb(broker.pid), "threads": float(re.findall(r"^Threads:\s+(\d+)", status, re.MULTILINE)[0]),
        "tasks": metrics["headrace_tasks"], "descriptors": float(len(os.listdir(f"/proc/{broker.pid}/fd"))), "sessions": metrics["headrace_sessions"],
        "pool_connections": metrics["headrace_pool_connections"], "postgres_connections": float(connections), "waiting": metrics["headrace_jobs_waiting"],
        "short_ranges": float(short),
    }  # fmt: skip


def _drained(broker: support.Broker) -> bool:
    """Whether nothing waits or runs any more, within a while."""
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        metrics = broker.metrics()
        if not metrics["headrace_jobs_waiting"] and not metrics["headrace_jobs_processing"]:
            return True
        time.sleep(0.5)
    return False


def _work(log: Path) -> list[tuple[float, float, str]]:
    """Passes of retention and the making of partitions (begin, end, what), from the broker's log, on the monotonic clock."""
    offset = time.time() - time.monotonic()
    found = []
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            what = {"done": entry.get("duty"), "made partitions": "partitions"}.get(entry["event"])
            if what:
                ended = datetime.fromisoformat(entry["timestamp"]).timestamp() - offset
                found.append((ended - entry.get("seconds", MADE_S), ended, str(what)))
    return found


def _quarters(values: list[float]) -> tuple[float, float]:
    """Medians of the second and the last quarter."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[quarter : 2 * quarter] or values), statistics.median(values[-quarter:])


def _level(name: str, values: list[float], slack: float, seconds: float) -> Verdict:
    second, last = _quarters(values)
    late = values[len(values) // 4 :]
    slope = statistics.linear_regression(range(len(late)), late).slope * len(values) / seconds * 3600 if len(late) > 1 else 0.0
    return name.replace("_", " "), last <= second * 1.05 + slack, f"second quarter {second:,.1f}, last {last:,.1f}; slope {slope:+,.1f} an hour"


def main() -> None:
    """Runs a part, joins it to the others, prints the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0, help="of all parts together")
    parser.add_argument("--rate", type=float, default=0.0, help="jobs/s; 0: find it, or that of the parts before")
    parser.add_argument("--part", default="1/1", metavar="K/N")
    parser.add_argument("--data-dir", type=Path, help="directory of the Postgres; needed for parts")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between samples")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    if parts > 1 and (arguments.data_dir is None or arguments.json is None):
        raise SystemExit("soak: parts need the same --data-dir and --json")
    before: dict[str, Any] = json.loads(arguments.json.read_text()) if part > 1 else {"rounds": [], "verdicts": [], "samples": [], "rate": 0.0}
    with tempfile.TemporaryDirectory(prefix="headrace-soak-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(arguments.data_dir or directory / "data")
        server.start()
        try:
            facts = support.machine_of(server)
            run = Part(server, directory, arguments.minutes * 60 / parts, arguments.every)
            rate, verdicts = run.run(arguments.rate or before["rate"])
        finally:
            server.stop()
    all_verdicts = [*before["verdicts"], *({"part": part, "figure": figure, "good": good, "text": text} for figure, good, text in verdicts)]
    samples = [*before["samples"], *({"part": part, **sample} for sample in run.seen.samples)]
    result = support.outcome(
        "soak", facts, [*before["rounds"], run.figures()], minutes=arguments.minutes, parts=parts, rate=round(rate), verdicts=all_verdicts, samples=samples
    )
    support.report(result, arguments.json)
    for verdict in all_verdicts:
        print(f"  part {verdict['part']}: {'good' if verdict['good'] else 'BAD '} {verdict['figure']:28} {verdict['text']}")
    sys.exit(0 if all(verdict["good"] for verdict in all_verdicts) else 1)


if __name__ == "__main__":
    main()
