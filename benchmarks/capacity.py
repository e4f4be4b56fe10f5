"""What the broker alone can carry: every job submitted, granted and settled durably, driven by a bare stream driver without handlers; beside the
product's own flush, in the same run on the same server.

The driver is a process of its own. It sends the same prebuilt batch of jobs again and again over a few submit streams, and answers each Assign with outcomes at once.
Printed: jobs/s of the broker, jobs/s of the flush at 1,000 jobs each (see flush.py), their ratio, and CPU per job of broker, Postgres and driver.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import grpc
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2

from benchmarks import flush as flush_bench
from benchmarks import support

BATCH = 500
STREAMS = 2
WINDOW = 8  # requests under way on each submit stream
SLOTS = 6000
PAYLOAD = b'"' + b"x" * 198 + b'"'
CONNECT = "/headrace.v1.Agents/Connect"
SUBMIT = "/headrace.v1.Jobs/SubmitStream"


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
    broker = support.Broker(directory, dsn)
    return broker.process, broker.address


def run_driver(address: str, jobs: int) -> float:
    """Seconds for so many jobs, by a driver process."""
    command = [sys.executable, __file__, "--drive", address, "--jobs", str(jobs)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=support.ROOT, env=support.environment())
    return float(done.stdout)


def measure(directory: Path, server: EmbeddedPostgres, jobs: int, rounds: int) -> list[support.Round]:
    """The flush and the broker in turn; the first round warms up."""
    asyncio.run(flush_bench.make_schema(server.dsn))
    found: list[support.Round] = []
    with support.Broker(directory, server.dsn) as broker:
        for _ in range(rounds + 1):
            raw = asyncio.run(flush_bench.rate(server.dsn, 1000, 20))
            cpu, wal = support.Cpu(broker=broker.pid, postgres=server.pid), asyncio.run(_wal_bytes(server.dsn))
            rate = jobs / run_driver(broker.address, jobs)
            wal = asyncio.run(_wal_bytes(server.dsn)) - wal
            found.append({"capacity": {"broker_per_s": rate, "flush_per_s": raw, "ratio": rate / raw, **cpu.us_per(jobs), "wal_bytes_per_job": wal / jobs}})
    return found[1:]


async def _wal_bytes(dsn: str) -> int:
    con = await asyncpg.connect(dsn)
    try:
        return int(await con.fetchval("select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')"))
    finally:
        await con.close()


def main() -> None:
    """Runs rounds of both in turn; medians and their spread."""
    parser = support.options(__doc__)
    parser.add_argument("--jobs", type=int, default=100_000, help="of each round")
    parser.add_argument("--drive", metavar="ADDRESS", help="be the driver of one round")
    arguments = parser.parse_args()
    if arguments.drive:
        import uvloop

        print(uvloop.run(drive(arguments.drive, arguments.jobs)))
        return
    with support.own_server() as (directory, server):
        facts = support.machine_of(server)
        rounds = measure(directory, server, arguments.jobs, arguments.rounds)
    support.report(support.outcome("capacity", facts, rounds, jobs=arguments.jobs), arguments.json)


if __name__ == "__main__":
    main()
