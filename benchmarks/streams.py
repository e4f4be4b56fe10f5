"""Many idle agents: 10,000 streams, a connection each, with nothing to do: each second of their heartbeats of 5 s is sent, as agents without leases do.

The agents are bare gRPC streams in a few driver processes, which open them at most `OPENING` at a time each and spread their heartbeats evenly. Told are the time until
all are connected, and then, over `--seconds`, the share of one core of the broker, of Postgres and of the drivers, the broker's resident memory with and without the
streams, and how many streams broke and how often the broker was silent for more than `SILENT_S` (both must be 0). At the end all streams and their connections are
dropped at once, and come back as agents do, each after a pause with jitter that grows with its failures: how long until the last one is welcome, and the memory then.
Beside it the same streams are opened to a gRPC service that does nothing (empty_service.py): what gRPC for Python takes itself.
"""

import asyncio
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import uvloop
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client.channel import OPTIONS, backoff_s
from headrace_proto.v1 import agents_pb2

from benchmarks import support
from benchmarks.stream import Stream

OPENING = 32
BEAT_S = 9.0
SILENT_S = 25.0  # half a lease of 30 s, after which the next heartbeat is answered, and some seconds more
SETTLE_S = 10.0  # after the last connection: one whole period of heartbeats
TICK_S = 0.02


class Idle(Stream):
    """A stream with nothing but heartbeats."""

    broken = False
    late = 0  # heartbeats before which the broker had been silent for too long
    heard_at = 0.0  # when the broker last confirmed one; 0: no heartbeat was sent yet

    async def hear(self) -> None:
        """Reads to the end."""
        try:
            while True:
                message = await self.read()
                if message.heartbeat_ack.seen_no:
                    self.heard_at = time.monotonic()
        except (grpc.aio.AioRpcError, EOFError):
            self.broken = True

    def connect_over(self, connection: Any) -> None:
        """The next stream goes over this connection."""
        self._channel = connection

    async def come_back(self) -> None:
        """Opens the stream anew, as an agent does."""
        failures = 0
        while True:
            failures += 1
            await asyncio.sleep(backoff_s(failures))
            try:
                await self.open()
            except (grpc.aio.AioRpcError, EOFError):
                continue
            self.heard_at, self.broken = 0.0, False
            return

    async def beat(self) -> None:
        """One heartbeat."""
        if self.broken:
            return
        self.heard_at = self.heard_at or time.monotonic()
        self.late += time.monotonic() - self.heard_at > SILENT_S
        try:
            await self.send(heartbeat=agents_pb2.Heartbeat())
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self.broken = True


async def drive(address: str, count: int, per_connection: int) -> None:
    """Opens so many streams, says so, keeps them alive until it hears a line, tells what became of them, drops them all, and says when all are back, until input ends."""
    streams = [Idle(address, ["bench.idle"], name=f"idle-{number}") for number in range(count)]
    _spread(address, streams, per_connection)
    opening = asyncio.Semaphore(OPENING)
    loop = asyncio.get_running_loop()
    over = loop.run_in_executor(None, sys.stdin.readline)
    async with asyncio.TaskGroup() as tasks:

        async def open_one(stream: Idle) -> asyncio.Task[None]:
            async with opening:
                await stream.connect()
            return tasks.create_task(stream.hear())

        began = time.monotonic()
        opened = [tasks.create_task(open_one(stream)) for stream in streams]
        beating = tasks.create_task(_beat(streams))
        hearing = [await task for task in opened]
        print(json.dumps({"connected": count, "seconds": time.monotonic() - began}), flush=True)
        await over
        beating.cancel()
        print(json.dumps({"broken": sum(stream.broken for stream in streams), "late": sum(stream.late for stream in streams)}), flush=True)
        await _drop(streams, hearing)
        opened.clear()
        _spread(address, streams, per_connection)
        began = time.monotonic()
        await asyncio.gather(*(stream.come_back() for stream in streams))
        print(json.dumps({"back": time.monotonic() - began}), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


async def _drop(streams: list[Idle], hearing: "list[asyncio.Task[None]]") -> None:
    """Ends all streams and their connections. The tasks are forgotten: what they ended with holds the calls, and so the connections."""
    for task in hearing:
        task.cancel()
    await asyncio.wait(hearing)
    hearing.clear()
    await asyncio.gather(*(stream.close() for stream in streams))


def _spread(address: str, streams: list[Idle], per_connection: int) -> None:
    """Gives the streams new connections."""
    for number in range(0, len(streams), per_connection):
        connection: Any = grpc.aio.insecure_channel(address, options=OPTIONS)  # those of agents: one try to connect may take 3 s
        for stream in streams[number : number + per_connection]:
            stream.connect_over(connection)


async def _beat(streams: list[Idle]) -> None:
    """Goes round and round, so that each open stream beats once a period."""
    began, done = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) / BEAT_S * len(streams))
        for number in range(done, due):
            if streams[number % len(streams)].welcome.session_id:
                await streams[number % len(streams)].beat()
        done = due
        await asyncio.sleep(TICK_S)


def measure(directory: Path, server: EmbeddedPostgres, dsn: str, streams: int, drivers: int, seconds: float) -> support.Figures:
    """One round: a broker of its own, and then the empty service."""
    with support.Broker(directory, dsn) as broker:
        time.sleep(1)
        postgres = support.Cpu(postgres=server.pid)
        found = _run(broker.address, broker.pid, streams, drivers, seconds)
        found["postgres_core_percent"] = postgres.used()["postgres"] / (seconds + found["connect_s"] + SETTLE_S) * 100
    with subprocess.Popen([sys.executable, "-m", "benchmarks.empty_service"], stdout=subprocess.PIPE, text=True, cwd=support.ROOT) as process:
        try:
            empty = _run(f"127.0.0.1:{int(_word(process))}", process.pid, streams, drivers, seconds)
        finally:
            process.kill()
    beside = ("connect_s", "core_percent", "kb_per_stream", "back_s")
    found |= {f"empty_{name}": empty[name] for name in beside} | {f"{name}_of_empty": found[name] / empty[name] for name in beside}
    return found


def _run(address: str, pid: int, streams: int, drivers: int, seconds: float) -> support.Figures:
    """Opens the streams to one server, waits until all beat, and looks at it for a while."""
    base, began = support.rss_mb(pid), time.monotonic()
    running = [_start(address, streams // drivers + (number < streams % drivers)) for number in range(drivers)]
    try:
        for process in running:
            _line(process)
        connected = time.monotonic() - began
        time.sleep(SETTLE_S)
        cpu = support.Cpu(server=pid, **{f"driver{number}": process.pid for number, process in enumerate(running)})
        time.sleep(seconds)
        used = cpu.used()
        rss = support.rss_mb(pid)
        for process in running:
            assert process.stdin is not None
            print("drop", file=process.stdin, flush=True)
        began = time.monotonic()
        found = [_line(process) for process in running]
        for process in running:
            _line(process)
        back, rss_back = time.monotonic() - began, support.rss_mb(pid)
    finally:
        for process in running:
            process.kill()
            process.wait()
    return {
        "connect_s": connected, "core_percent": used.pop("server") / seconds * 100, "drivers_core_percent": sum(used.values()) / seconds * 100,
        "rss_mb": rss, "rss_without_mb": base, "kb_per_stream": (rss - base) * 1e3 / streams,
        "back_s": back, "back_rss_mb": rss_back, "broken": sum(one["broken"] for one in found), "late_heartbeats": sum(one["late"] for one in found),
    }  # fmt: skip


def _start(address: str, count: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.streams", "--drive", address, "--streams", str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=support.ROOT)


def _word(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process ended with {process.wait()}")
    return line


def _line(process: "subprocess.Popen[str]") -> dict[str, Any]:
    return json.loads(_word(process))  # type: ignore[no-any-return]  # what `drive` prints


def main() -> None:
    """Measures."""
    parser = support.options(__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--drivers", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--per-connection", type=int, default=1, metavar="N", help="of a driver: streams over one connection")
    parser.add_argument("--drive", metavar="ADDRESS", help="be a driver")
    arguments = parser.parse_args()
    if arguments.drive:
        uvloop.run(drive(arguments.drive, arguments.streams, arguments.per_connection))
        return
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < arguments.streams + 500:
        raise SystemExit(f"the broker needs a file descriptor for each stream, and this machine allows {hard}: lower --streams, or raise ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rounds: list[support.Round] = []
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        for number in range(arguments.rounds):
            dsn = asyncio.run(support.make_database(server.dsn, f"streams_{number}"))
            rounds.append({f"{arguments.streams} streams": measure(directory, server, dsn, arguments.streams, arguments.drivers, arguments.seconds)})
    support.report(support.outcome("streams", facts, rounds, streams=arguments.streams, seconds=arguments.seconds), arguments.json)


if __name__ == "__main__":
    main()
