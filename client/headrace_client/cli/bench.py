"""`headrace bench`: load on a running broker, with open-loop arrivals: jobs are due at fixed times whatever happens to those before, and latency counts from when a job
was due, so that a stall is not hidden by the waiting of its own victims (Tene, "How NOT to Measure Latency", 2013).

Agents are processes of this machine, started here; their clock (CLOCK_MONOTONIC) is the harness's. Every start of a handler is written down by the agents and checked
against what was submitted: a job that never ran, or ran again without having failed, makes the exit code 1.
"""

import asyncio
import gc
import math
import os
import platform
import secrets
import struct
import subprocess
import sys
import tempfile
import time
from array import array
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from headrace_client import __version__
from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, argument, duration_s, run
from headrace_client.cli.output import Output, errors
from headrace_client.cli.printing import print_line
from headrace_client.client import Client
from headrace_client.errors import HeadraceError
from headrace_client.models import JobSpec, State

RECORD = struct.Struct("<qidi")  # as in headrace_agent.bench
START_S = 30.0
DRAIN_S = 120.0
STOP_S = 60.0
TICK_S = 0.001
MOST_OPEN = 200_000
MOST_PREPARED = 1_000_000


@dataclass
class Load:
    """What is to be sent, and what became of it. Job number n is due at `begin + n / rate`; times are those of the monotonic clock, in seconds."""

    type: str
    rate: float
    duration_s: float
    payload_bytes: int
    handler_s: float
    fail_rate: float
    batch: int
    window_s: float = 10.0
    begin: float = 0.0
    acknowledged: "array[float]" = field(default_factory=lambda: array("d"))  # by number; 0: not
    refused: list[str] = field(default_factory=list)
    _tail: bytes = b""
    _specs: list[JobSpec] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing but the number differs between payloads, so the rest of them is made once: the harness shares its cores with what it measures."""
        head, tail = len(self._head(0)), f',"s":{self.handler_s:g},"f":{self.fail_rate:g},"pad":"'
        self._tail = f'{tail}{"x" * max(0, self.payload_bytes - head - len(tail) - 2)}"}}'.encode()

    @property
    def total(self) -> int:
        """Jobs to be sent."""
        return round(self.rate * self.duration_s)

    def due(self, number: int) -> float:
        """When a job is due."""
        return self.begin + number / self.rate

    def payload(self, number: int) -> bytes:
        """The order of one job, padded to its size."""
        return self._head(number) + self._tail

    def prepare(self) -> None:
        """Makes the jobs of calls ahead, as many as memory should hold, and keeps the garbage collector from walking through them in the middle of the load."""
        if self.batch > 1:
            self._specs = [JobSpec(self.type, payload=self.payload(number)) for number in range(min(self.total, MOST_PREPARED))]
        gc.collect()
        gc.freeze()

    def specs(self, numbers: range) -> list[JobSpec]:
        """The jobs of one call."""
        ready = self._specs[numbers.start : numbers.stop]
        return ready + [JobSpec(self.type, payload=self.payload(number)) for number in numbers[len(ready) :]]

    def _head(self, number: int) -> bytes:
        return b'{"n":%10d' % number


def bench(
    *,
    rate: Annotated[float, Parameter(help="jobs that become due each second")] = 200.0,
    duration: Annotated[str, Parameter(help="how long load is put on it: 90s, 15m, 2h")] = "10s",
    payload_bytes: Annotated[int, Parameter(help="size of each payload")] = 200,
    handler_ms: Annotated[float, Parameter(help="how long each handler takes (it sleeps)")] = 0.0,
    fail_rate: Annotated[float, Parameter(help="share of executions that fail and are tried again")] = 0.0,
    agents: Annotated[int, Parameter(help="agent processes")] = 1,
    slots: Annotated[int, Parameter(help="slots of each agent")] = 500,
    batch: Annotated[int, Parameter(help="jobs in each call; 1: single submits")] = 1,
    window_s: Annotated[float, Parameter(help="length of the stretches that a long run is told by, in JSON")] = 10.0,
    as_json: Annotated[bool, Parameter(name="--json", negative="", help="print one JSON object, as with -o json")] = False,
    pid: Annotated[list[str] | None, Parameter(help="NAME=PID of further processes whose CPU time is to be told, such as the broker; with those it started")] = None,
    common: Common | None = None,
) -> int:
    """Put load on a broker, measure latencies and check that nothing is lost or doubled."""
    common = common or Common()
    if as_json:
        common = replace(common, output="json")
    watched = {}
    for word in pid or []:
        name, _, number = word.partition("=")
        if not number.isdigit() or not Path(f"/proc/{number}").exists():
            errors.print(f"headrace: --pid is NAME=PID of a process that runs, found {word!r}")
            return 2
        watched[name] = int(number)
    load_s = argument(duration_s, duration)
    numbers = (rate, load_s, window_s, handler_ms, fail_rate)
    if not all(map(math.isfinite, numbers)) or min(rate, load_s, window_s) <= 0 or min(agents, slots, batch) < 1 or handler_ms < 0 or not 0 <= fail_rate < 1:
        errors.print("headrace: rate, duration, window, agents, slots and batch must be above 0, the handler's time at least 0, and the fail rate between 0 and 1")
        return 2

    load = Load(f"bench.{secrets.token_hex(4)}", rate, load_s, payload_bytes, handler_ms / 1000, fail_rate, batch, window_s)

    async def command(client: Client, output: Output) -> int:
        async with common.admin() as admin:
            return await _bench(client, admin, output, load, common, agents, slots, watched)

    return run(common, command)


async def _bench(client: Client, admin: AdminClient, output: Output, load: Load, common: Common, agents: int, slots: int, watched: dict[str, int]) -> int:
    await client.count()  # no broker: say so before anything is started
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        directory = Path(name)
        processes: list[subprocess.Popen[bytes]] = []
        try:
            processes += (_start_agent(directory, load, common, client, slots) for _ in range(agents))
            await _until_connected(admin, load, agents, processes)
            load.prepare()
            pids = {"harness": os.getpid(), **{f"agent {number}": process.pid for number, process in enumerate(processes, 1)}, **watched}
            before = {who: _cpu_s(number) for who, number in pids.items()}
            errors.print(f"{load.rate:g} jobs/s for {load.duration_s:g} s, type {load.type}")
            started = time.monotonic()
            await _send(client, load)
            drained = await _drain(client, load)
            seconds = time.monotonic() - started
            cpu = {who: round(_cpu_s(number) - before[who], 2) for who, number in pids.items()}
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        records = [item for path in directory.glob("*.bin") for item in RECORD.iter_unpack(path.read_bytes())]
    result = _result(load, records, drained, seconds, cpu)
    if output.form == "table":
        _print(result)
    else:
        output.one(result)
    return 0 if result["missing"] == result["doubled"] == result["refused"] == 0 else 1


def _start_agent(directory: Path, load: Load, common: Common, client: Client, slots: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "headrace_agent", "run", "headrace_agent.bench:agent", "--slots", str(slots), "--log-level", "error"]
    command += ["--broker", ",".join(client.brokers)]
    for option, value in (("--domain", common.domain), ("--token-file", common.token_file), ("--tls-ca", common.tls_ca), *common.own_certificate()):
        command += [option, value] if value else []
    return subprocess.Popen(
        command, env={**os.environ, **({"HEADRACE_TOKEN": common.token} if common.token else {}), "HEADRACE_BENCH_TYPE": load.type, "HEADRACE_BENCH_DIR": str(directory)}
    )


async def _until_connected(admin: AdminClient, load: Load, agents: int, processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    until = time.monotonic() + START_S
    while sum(any(served.type == load.type for served in agent.types) for agent in await admin.list_agents()) < agents:
        if any(process.poll() is not None for process in processes):
            raise HeadraceError("an agent did not start; it needs pip install 'headrace[agent]'")
        if time.monotonic() > until:
            raise HeadraceError(f"{agents} agents were not connected within {START_S:g} s")
        await asyncio.sleep(0.05)


async def _send(client: Client, load: Load) -> None:
    """Submits each job when it is due, without waiting for those before. Raises HeadraceError when too many are not acknowledged."""
    try:
        await _send_all(client, load)
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None


async def _send_all(client: Client, load: Load) -> None:
    total = load.total
    load.acknowledged = array("d", bytes(8 * total))
    begin = load.begin = time.monotonic() + 0.1
    open_calls: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as tasks:
        sent = 0
        while sent < total:
            due = min(total, int((time.monotonic() - begin) * load.rate) + 1)
            while due - sent >= load.batch or (sent < due == total):
                numbers = range(sent, min(sent + load.batch, total))
                call = tasks.create_task(_submit(client, load, numbers))
                open_calls.add(call)
                call.add_done_callback(open_calls.discard)
                sent = numbers.stop
            if len(open_calls) * load.batch > MOST_OPEN:
                raise HeadraceError(f"{MOST_OPEN} jobs are due and not acknowledged: the broker cannot keep up with {load.rate:g} jobs/s; lower --rate or raise --batch")
            await asyncio.sleep(TICK_S)


async def _submit(client: Client, load: Load, numbers: range) -> None:
    try:
        if len(numbers) == 1:
            await client.submit(load.type, payload=load.payload(numbers[0]))
        else:
            for result in await client.submit_many(load.specs(numbers)):
                if isinstance(result, HeadraceError):
                    raise result
    except HeadraceError as error:
        load.refused += [error.message] * len(numbers)
        return
    now = time.monotonic()
    for number in numbers:
        load.acknowledged[number] = now


async def _drain(client: Client, load: Load) -> bool:
    """Waits until every job has settled; False: the time was over."""
    until = time.monotonic() + DRAIN_S
    while time.monotonic() < until:
        totals = (await client.count([load.type])).totals
        if not totals.get(State.WAITING) and not totals.get(State.PROCESSING):
            return True
        await asyncio.sleep(0.1)
    return False


def _result(load: Load, records: list[tuple[Any, ...]], drained: bool, seconds: float, cpu: dict[str, float]) -> dict[str, Any]:
    total = len(load.acknowledged)
    first = array("d", bytes(8 * total))  # first start, by number; 0: none
    succeeded = bytearray(total)  # executions that did not fail on purpose, by number
    finished = 0.0
    for number, _attempt, at, failing in records:
        finished = max(finished, at)
        if not failing:
            succeeded[number] = min(255, succeeded[number] + 1)
        if not first[number] or at < first[number]:
            first[number] = at
    stored = [number for number in range(total) if load.acknowledged[number]]
    started = [number for number in range(total) if first[number]]
    waits = [first[number] - load.due(number) for number in started]
    return {
        "jobs": total, "rate": load.rate, "batch": load.batch, "payload_bytes": load.payload_bytes, "handler_ms": load.handler_s * 1000, "fail_rate": load.fail_rate,
        "acknowledged": len(stored), "refused": len(load.refused), "first_refusal": load.refused[0] if load.refused else "",
        "executions": len(records), "missing": sum(not succeeded[number] for number in stored), "doubled": sum(count > 1 for count in succeeded), "drained": drained,
        "seconds": round(seconds, 2), "started_per_s": round(len(started) / (finished - load.begin), 1) if started else 0.0,
        "submit_ms": _percentiles(sorted(load.acknowledged[number] - load.due(number) for number in stored)), "start_ms": _percentiles(sorted(waits)),
        "windows": _windows(load, started, waits), "cpu_s": cpu, "cpu_us_per_job": {who: round(used / max(1, len(stored)) * 1e6, 1) for who, used in cpu.items()},
        "cores": len(os.sched_getaffinity(0)), "fsync_ms": _fsync_ms(),
        "driver": f"headrace-python {__version__}, grpcio {version('grpcio')}, Python {platform.python_version()}, {platform.machine()}",
    }  # fmt: skip


def _windows(load: Load, started: list[int], waits: list[float]) -> list[dict[str, float]]:
    """Due to start by stretches of `window_s`, so that a run shows whether it got slower; empty for a short one."""
    if load.duration_s < 2 * load.window_s:
        return []
    stretches: dict[int, list[float]] = defaultdict(list)
    for number, wait in zip(started, waits, strict=True):
        stretches[int(number / load.rate / load.window_s)].append(wait)
    return [{"from_s": index * load.window_s, **_percentiles(sorted(found))} for index, found in sorted(stretches.items())]


def _percentiles(values: list[float]) -> dict[str, float]:
    """Of sorted seconds, in milliseconds."""
    if not values:
        return {}
    return {
        name: round(values[min(len(values) - 1, int(len(values) * share))] * 1000, 2) for name, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999))
    } | {"max": round(values[-1] * 1000, 2)}


def _fsync_ms() -> float:
    """Median time to write and sync a small block here: what a commit costs on this disk."""
    times = []
    with tempfile.NamedTemporaryFile(dir="." if os.access(".", os.W_OK) else None) as file:
        for _ in range(50):
            started = time.perf_counter()
            file.write(b"x" * 512)
            file.flush()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return round(sorted(times)[25] * 1000, 3)


def _cpu_s(pid: int) -> float:
    """CPU time of a process and of those it started, in seconds."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        children = [int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()] if pid != os.getpid() else []
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(_cpu_s(child) for child in children)


def _print(result: dict[str, Any]) -> None:
    print_line(f"{result['driver']}, {result['cores']} cores; fsync {result['fsync_ms']} ms")
    print_line(
        f"{result['jobs']} jobs due at {result['rate']:g}/s in calls of {result['batch']}, {result['payload_bytes']} bytes each; {result['started_per_s']:g}/s started"
    )
    for title, name in (("due to acknowledged", "submit_ms"), ("due to handler start", "start_ms")):
        print_line(f"  {title:22}" + "".join(f"  {key} {value:g} ms" for key, value in result[name].items()))
    print_line(
        "  CPU                   " + "".join(f"  {who} {seconds:g} s" + f" ({result['cpu_us_per_job'][who]:g} us a job)" for who, seconds in result["cpu_s"].items())
    )
    print_line(
        f"  {result['executions']} executions of {result['acknowledged']} jobs: {result['missing']} missing, {result['doubled']} doubled, {result['refused']} refused"
    )
    if result["first_refusal"]:
        print_line(f"  first refusal: {result['first_refusal']}")
    if not result["drained"]:
        print_line("  not all jobs had settled when the time was over")
