"""What the broker alone can carry: every job submitted, granted and settled durably, driven by a bare stream driver without handlers; beside the
product's own flush, in the same run on the same server.

The driver is a process of its own. It sends the same prebuilt batch of jobs again and again over a few submit streams, and answers each Assign with outcomes at once.
Printed: jobs/s of the broker, jobs/s of the flush at 1,000 jobs each (see flush.py), their ratio, and CPU per job of broker, Postgres and driver.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2

from benchmarks import flush as flush_bench

BATCH = 500
STREAMS = 2
WINDOW = 8  # requests under way on each submit stream
SLOTS = 6000
PAYLOAD = b'"' + b"x" * 198 + b'"'
CONNECT = "/headrace.v1.Agents/Connect"
SUBMIT = "/headrace.v1.Jobs/SubmitStream"


def cpu_s(pid: int) -> float:
    """CPU time of a process, in seconds; 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return [pid]
    return [pid, *(found for child in children for found in family(int(child)))]


def varint(number: int) -> bytes:
    """Protobuf's encoding of an unsigned number."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


class Driver:
    """Submits `total` jobs and settles them; counts what it was told."""

    def __init__(self, channel: grpc.aio.Channel, total: int) -> None:
        self._channel = channel
        self._total = total
        self._left = total
        self.stored = 0
        self.settled = 0
        self._jobs = jobs_pb2.SubmitStreamRequest(plain=[types_pb2.PlainSpecs(type="bench", payloads=[PAYLOAD] * BATCH)]).SerializeToString()

    async def run(self) -> float:
        """Seconds until every job was acknowledged as settled."""
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            settling = tasks.create_task(self._settle(ready))
            await ready.wait()
            started = time.perf_counter()
            submitting = [tasks.create_task(self._submit()) for _ in range(STREAMS)]
            await asyncio.wait([settling])
            seconds = time.perf_counter() - started
            for task in submitting:
                task.cancel()
        return seconds

    async def _submit(self) -> None:
        room = asyncio.Semaphore(WINDOW)

        async def requests() -> AsyncIterator[bytes]:
            number = 0
            while self._left > 0:
                await room.acquire()
                self._left -= BATCH
                number += 1
                yield b"\x08" + varint(number) + self._jobs

        call = self._channel.stream_stream(SUBMIT, response_deserializer=jobs_pb2.SubmitStreamResponse.FromString)(requests())
        async for answer in call:
            assert not answer.results.failures, answer.results.failures[0]
            self.stored += len(answer.results.job_ids)
            room.release()

    async def _settle(self, ready: asyncio.Event) -> None:
        call = self._channel.stream_stream(
            CONNECT, request_serializer=agents_pb2.ConnectRequest.SerializeToString, response_deserializer=agents_pb2.ConnectResponse.FromString
        )()
        number = 1
        served = agents_pb2.ServedType(type="bench", slots=SLOTS)
        hello = agents_pb2.Hello(agent_name="driver", incarnation_id=os.urandom(16).hex(), slots=SLOTS, types=[served], columns=True)
        await call.write(agents_pb2.ConnectRequest(number=number, hello=hello, credit=agents_pb2.Credit(free=SLOTS)))
        beat = time.monotonic()
        while self.settled < self._total:
            message = await call.read()
            assert message is not grpc.aio.EOF
            if message.HasField("welcome"):
                ready.set()
            self.settled += sum([len(acked.job_ids) for acked in message.acked])
            if not message.HasField("assign") and time.monotonic() - beat < 2:
                continue
            number += 1
            out = agents_pb2.ConnectRequest(number=number)
            if message.HasField("assign"):
                assert not message.assign.jobs
                for plain in message.assign.plain:
                    out.completions.job_ids.extend(plain.job_ids)
                    out.completions.lease_epochs.extend(plain.lease_epochs)
                out.accept.assign_no = message.assign.number
                out.credit.assign_no, out.credit.free = message.assign.number, SLOTS
            if time.monotonic() - beat >= 2:
                beat = time.monotonic()
                out.heartbeat.SetInParent()
            await call.write(out)
        await call.done_writing()
        call.cancel()


async def drive(address: str, total: int) -> float:
    """Seconds for `total` jobs."""
    options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        return await Driver(channel, total).run()


def start_broker(directory: Path, dsn: str) -> tuple["subprocess.Popen[str]", str]:
    """A broker on that database; its address."""
    command = [sys.executable, "-m", "headrace_broker", "run", "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--database-url", dsn, "--log-level", "warning"]
    with open(directory / "broker.log", "w") as log:
        broker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert broker.stdout is not None
    return broker, json.loads(broker.stdout.readline())["grpc"][0]


def main() -> None:
    """Runs rounds of both in turn; prints medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drive", metavar="ADDRESS", help="be the driver of one round")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.drive:
        import uvloop

        print(uvloop.run(drive(arguments.drive, arguments.jobs)))
        return
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedPostgres(directory / "data")
        server.start()
        try:
            result = measure(directory, server, arguments.jobs, arguments.rounds)
        finally:
            server.stop()
    print(json.dumps(result, indent=None if not arguments.json else 2))


def measure(directory: Path, server: EmbeddedPostgres, jobs: int, rounds: int) -> dict[str, Any]:
    """The flush and the broker in turn."""
    asyncio.run(flush_bench.run(server.dsn, 0, sizes={}))  # makes the schema
    broker, address = start_broker(directory, server.dsn)
    rows: list[dict[str, float]] = []
    try:
        for number in range(rounds + 1):
            raw = asyncio.run(flush_bench.rate(server.dsn, 1000, 20))
            before = {"broker": cpu_s(broker.pid), "postgres": sum(map(cpu_s, family(server.pid)))}
            driver = subprocess.run(
                [sys.executable, __file__, "--drive", address, "--jobs", str(jobs)], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."}
            )
            seconds = float(driver.stdout)
            if not number:
                continue
            us = {what: (value - before[what]) / jobs * 1e6 for what, value in {"broker": cpu_s(broker.pid), "postgres": sum(map(cpu_s, family(server.pid)))}.items()}
            rows.append({"broker_per_s": jobs / seconds, "flush_per_s": raw, "ratio": jobs / seconds / raw, "broker_us": us["broker"], "postgres_us": us["postgres"]})
    finally:
        broker.terminate()
        broker.wait()
    return {key: round(statistics.median(row[key] for row in rows), 2) for key in rows[0]} | {"ratios": [round(row["ratio"], 2) for row in rows]}


if __name__ == "__main__":
    main()
