"""What the benchmarks share: servers and processes of their own, CPU time of each, the facts of the machine, medians with their spread, tables and JSON.

A benchmark measures rounds. A round is {case: {figure: number}}; `outcome` makes of them one JSON object with the machine, all rounds, and for every figure of every case
the median and the spread (lowest, highest) of the rounds; of many rounds also the 99th percentile.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import asyncpg
from headrace_broker.store.embedded import EmbeddedPostgres

ROOT = Path(__file__).parents[1]
START_S = 120.0
STOP_S = 60.0
COMMITS = 200
SEASONED_GB, SEGMENT_MB = 2, 16  # as much as an embedded server's max_wal_size lets it write between two checkpoints
MANY = 20  # rounds from which a 99th percentile is told
Figures = dict[str, float]
Round = dict[str, Figures]


# Processes -----------------------------------------------------------------------------------------------------------------------------------------


def cpu_s(pid: int) -> float:
    """CPU time of a process and of its children that have ended, in seconds; 0 when it has ended itself."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in family(int(child)))]


def family_cpu_s(pid: int) -> float:
    """CPU time of a process and its descendants, those that have ended included."""
    return sum(map(cpu_s, family(pid)))


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Cpu:
    """Seconds of CPU that processes used since this was made, by name; a Postgres is counted with its backends."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self._before = {name: family_cpu_s(pid) for name, pid in pids.items()}

    def used(self) -> Figures:
        """Seconds since then."""
        return {name: family_cpu_s(pid) - self._before[name] for name, pid in self._pids.items()}

    def us_per(self, jobs: int) -> Figures:
        """Microseconds for each of so many jobs."""
        return {f"{name}_us": seconds / max(1, jobs) * 1e6 for name, seconds in self.used().items()}


class Broker:
    """A broker process with default settings on a database; `options` are further words of its command line."""

    def __init__(self, directory: Path, dsn: str, *options: str, listen: str = "127.0.0.1:0") -> None:
        command = [sys.executable, "-m", "headrace_broker", "run", "--listen", listen, "--http-listen", "127.0.0.1:0", "--database-url", dsn, "--log-level", "warning"]
        self.log = directory / f"broker-{time.monotonic_ns()}.log"
        self.began = time.monotonic()
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=log, text=True, cwd=ROOT)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the broker did not start:\n{self.log.read_text()[-3000:]}")
        self.ready_s = time.monotonic() - self.began
        self.ready: dict[str, Any] = json.loads(line)

    @property
    def pid(self) -> int:
        """Of the process."""
        return self.process.pid

    @property
    def address(self) -> str:
        """Where it serves gRPC."""
        return str(self.ready["grpc"][0])

    def get(self, path: str) -> str:
        """Body of a page of its HTTP listener, whatever its status."""
        try:
            with urllib.request.urlopen(f"http://{self.ready['http']}{path}", timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())

    def metrics(self) -> Figures:
        """Its metrics without labels, by name."""
        words = (line.split() for line in self.get("/metrics").splitlines() if line and line[0] != "#")
        return {name: float(value) for name, value in words if "{" not in name}

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> None:
        """SIGTERM, and waits for the end."""
        self.process.terminate()
        self.process.wait(STOP_S)

    def __enter__(self) -> "Broker":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()


def environment() -> dict[str, str]:
    """That of processes which import `benchmarks`."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}


def start_agent(address: str, agent: str = "benchmarks.noop:agent", *options: str) -> "subprocess.Popen[bytes]":
    """An agent process."""
    command = [sys.executable, "-m", "headrace_agent", "run", agent, "--broker", address, "--log-level", "error", *options]
    return subprocess.Popen(command, cwd=ROOT, env=environment())


def load(address: str, *words: str, began: Callable[[], object] | None = None) -> dict[str, Any]:
    """One run of `headrace bench` with these words; its result. `began` is called when the load begins. Raises SystemExit when a job is missing, doubled or refused."""
    command = [str(Path(sys.executable).with_name("headrace")), "bench", "--broker", address, "--json", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = process.stderr.readline()  # tells the rate, right before the load
        if began is not None:
            began()
        text, more = process.communicate()
    if process.returncode:
        raise SystemExit(f"headrace bench failed:\n{said}{more}\n{text}")
    return json.loads(text)  # type: ignore[no-any-return]  # what the harness prints


def end(process: "subprocess.Popen[Any]") -> None:
    """SIGTERM, and waits; SIGKILL when it takes too long."""
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_S)


@contextlib.contextmanager
def own_server() -> Iterator[tuple[Path, EmbeddedPostgres]]:
    """An empty directory, and a seasoned Postgres in it with fsync on; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(directory / "data")
        server.start()
        try:
            asyncio.run(season(server.dsn))
            yield directory, server
        finally:
            server.stop()


async def season(dsn: str) -> None:
    """Gives a fresh server the segments of write-ahead log that one has which was under load before: they are used again and again. Each that has to be made is filled
    with zeros first, and the commit that needs it waits 10 to 50 ms for that.
    """
    con = await asyncpg.connect(dsn)
    try:
        await con.execute(f"alter system set min_wal_size = '{SEASONED_GB} GB'")
        await con.execute("select pg_reload_conf()")
        for _ in range(SEASONED_GB * 1024 // SEGMENT_MB):
            await con.execute("select pg_logical_emit_message(false, 'headrace', 'a segment is left only when something is in it'), pg_switch_wal()")
        await con.execute("checkpoint")
    finally:
        await con.close()


async def make_database(dsn: str, name: str) -> str:
    """A fresh database of a server; its DSN."""
    con = await asyncpg.connect(dsn)
    try:
        await con.execute(f'create database "{name}"')
    finally:
        await con.close()
    return dsn.replace("/headrace?", f"/{name}?")


async def drop_database(dsn: str, name: str) -> None:
    """Removes a database of a server: its autovacuum would go on beside what is measured next."""
    con = await asyncpg.connect(dsn)
    try:
        await con.execute(f'drop database "{name}" with (force)')
    finally:
        await con.close()


# Results -------------------------------------------------------------------------------------------------------------------------------------------


async def commit_ms(con: Any) -> float:
    """Median time of a commit of one row, in milliseconds: what the disk costs."""
    await con.execute("create table if not exists one_commit (at timestamptz)")
    times = []
    for _ in range(COMMITS):
        started = time.perf_counter()
        await con.execute("insert into one_commit values (now())")
        times.append(time.perf_counter() - started)
    await con.execute("drop table one_commit")
    return statistics.median(times) * 1000


async def machine(dsn: str) -> dict[str, Any]:
    """What the figures depend on."""
    con = await asyncpg.connect(dsn)
    try:
        return {
            "cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0)), "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
            "system": f"{platform.system()} {platform.release()}", "python": platform.python_version(), "postgres": await con.fetchval("show server_version"),
            "asyncpg": version("asyncpg"), "grpcio": version("grpcio"), "fsync": await con.fetchval("show fsync"), "commit_ms": round(await commit_ms(con), 3),
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
        }  # fmt: skip
    finally:
        await con.close()


def machine_of(server: EmbeddedPostgres) -> dict[str, Any]:
    """As `machine`, outside any loop."""
    return asyncio.run(machine(server.dsn))


def _cpu_model() -> str:
    names = [line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def percentiles(seconds: Sequence[float], shares: Mapping[str, float] | None = None) -> Figures:
    """p50, p99 and max of times, in milliseconds."""
    ordered = sorted(seconds)
    named = shares or {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {name: round(ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000, 3) for name, share in named.items()} if ordered else {}


def outcome(name: str, facts: Mapping[str, Any], rounds: Sequence[Round], **more: Any) -> dict[str, Any]:
    """The JSON object of a benchmark."""
    gathered: dict[str, dict[str, list[float]]] = {}
    for round_ in rounds:
        for case, figures in round_.items():
            for figure, value in figures.items():
                gathered.setdefault(case, {}).setdefault(figure, []).append(value)
    return {
        "benchmark": name, "machine": dict(facts), **more, "rounds": [_rounded(round_) for round_ in rounds],
        "median": {case: {figure: _round(statistics.median(values)) for figure, values in figures.items()} for case, figures in gathered.items()},
        "spread": {case: {figure: [_round(min(values)), _round(max(values))] for figure, values in figures.items()} for case, figures in gathered.items()},
        "p99": {
            case: {figure: _round(sorted(values)[int(len(values) * 0.99)]) for figure, values in figures.items() if len(values) >= MANY}
            for case, figures in gathered.items()
        },
    }  # fmt: skip


def _rounded(round_: Round) -> Round:
    return {case: {figure: _round(value) for figure, value in figures.items()} for case, figures in round_.items()}


def _round(value: float) -> float:
    """Four digits are more than any of this is worth."""
    return round(value) if abs(value) >= 1000 else float(f"{value:.4g}")


def options(doc: str | None, *, rounds: int = 3) -> argparse.ArgumentParser:
    """The parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there as JSON")
    return parser


def report(result: Mapping[str, Any], file: Path | None) -> None:
    """Prints the result as a table, and writes it to a file when one is named."""
    facts = result["machine"]
    print(f"{result['benchmark']}: {facts['cpu']}, {facts['cores']} cores; Python {facts['python']}, Postgres {facts['postgres']}")
    print(f"  fsync {facts['fsync']}, one commit {facts['commit_ms']} ms; medians (lowest - highest)")
    for case, figures in result["median"].items():
        print(f"  {case}")
        for figure, value in figures.items():
            low, high = result["spread"][case][figure]
            p99 = f"   p99 {result['p99'][case][figure]:,}" if figure in result["p99"][case] else ""
            print(f"    {figure:28} {value:>12,}   ({low:,} - {high:,}){p99}")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(result, indent=1) + "\n")
