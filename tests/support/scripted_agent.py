"""An agent that says what a test's script says, on the wire: late, twice, in the wrong order, or not at all.

One object is one incarnation; `connect` gives it a stream, again and again if need be. Unless told otherwise it keeps its leases alive by heartbeats, so that only
what the test does to it moves its jobs. With `columns` its plain jobs, its completions and its acknowledgements travel as columns; a script is written once for both.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from headrace_proto.streams import StreamEnd
from headrace_proto.v1 import agents_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.wire import heard, say

KINDS = {"completed": 1, "failed": 2, "timed_out": 3, "aborted": 4, "released": 5}
BEAT_S = 0.5
PATIENCE_S = 30.0
STREAM_ENDS = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


def outcome(job: agents_pb2.AssignedJob, kind: str, *, after_s: float | None = None, **fields: Any) -> agents_pb2.Outcome:
    """How the attempt of an assigned job ended."""
    message = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=KINDS[kind], **fields)  # type: ignore[arg-type]  # enum numbers
    if after_s is not None:
        message.retry_after.CopyFrom(Duration(seconds=int(after_s)))
    return message


def lease(job: agents_pb2.AssignedJob) -> agents_pb2.LeaseRef:
    """The lease of an assigned job."""
    return agents_pb2.LeaseRef(job_id=job.job_id, lease_epoch=job.lease_epoch)


def _in_columns(parts: dict[str, Any]) -> dict[str, Any]:
    """The same parts of a message, with the outcomes that completed as columns."""
    completed = [item for item in parts.get("outcomes", ()) if item.kind == KINDS["completed"]]
    if not completed:
        return parts
    others = [item for item in parts["outcomes"] if item.kind != KINDS["completed"]]
    results = [item.result for item in completed] if any(item.result for item in completed) else []
    columns = agents_pb2.Completions(job_ids=[item.job_id for item in completed], lease_epochs=[item.lease_epoch for item in completed], results=results)
    return {**parts, "outcomes": others, "completions": columns}


def _one_by_one(column: agents_pb2.PlainJobs) -> list[agents_pb2.AssignedJob]:
    """The jobs of a column as messages."""
    return [
        agents_pb2.AssignedJob(
            job_id=job_id, lease_epoch=epoch, payload=payload, type=column.type, priority=column.priority, timeout_ms=column.timeout_ms,
            max_attempts=column.max_attempts, run=1, attempt=1,
        )
        for job_id, epoch, payload in zip(column.job_ids, column.lease_epochs, column.payloads, strict=True)
    ]  # fmt: skip


class ScriptedAgent:
    """What came is in plain attributes; `until` waits for it. Close it with `close`."""

    def __init__(
        self, address: str, *, name: str = "hand", types: Iterable[str] = ("t",), slots: int = 100, incarnation_id: str = "", beats: bool = True, columns: bool = False,
    ) -> None:  # fmt: skip
        self.address = address
        self.columns = columns
        self.name = name
        self.types = tuple(types)
        self.slots = slots
        self.incarnation_id = incarnation_id or uuid.uuid4().hex
        self.beats = beats
        self.held: dict[int, agents_pb2.AssignedJob] = {}  # what heartbeats and the next Hello name
        self.jobs: list[agents_pb2.AssignedJob] = []  # everything that was ever assigned
        self.dispositions: dict[tuple[int, int], list[str]] = {}
        self.aborts: list[int] = []
        self.revoked: list[tuple[int, int]] = []
        self.not_held: list[tuple[int, int]] = []
        self.proven_no = 0
        self.away = ""  # why the broker ended the stream
        self.ended = True
        self.welcome = agents_pb2.Welcome()
        self.number = 0
        self.assign_no = 0
        self._call: Any = None
        self._channel: grpc.aio.Channel | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    async def connect(self, *, held: Iterable[agents_pb2.LeaseRef] | None = None) -> agents_pb2.Welcome:
        """A new stream; `held`: other leases than those it has. Raises AioRpcError when the broker refuses it."""
        await self.close()
        self._channel = grpc.aio.insecure_channel(self.address)
        call = AgentsStub(self._channel).Connect()  # type: ignore[no-untyped-call]  # generated
        self.assign_no = self.proven_no = 0
        self.away, self.ended = "", False
        refs = [lease(job) for job in self.held.values()] if held is None else list(held)
        served = [agents_pb2.ServedType(type=name) for name in self.types]
        hello = agents_pb2.Hello(agent_name=self.name, incarnation_id=self.incarnation_id, slots=self.slots, types=served, held=refs, columns=self.columns)
        async with self._writing:  # nobody else writes before it
            self.number = 1
            end = await say(call, agents_pb2.ConnectRequest(number=1, hello=hello))
            self._call = call
        async with asyncio.timeout(PATIENCE_S):
            first = await heard(call, end)
        if first is grpc.aio.EOF:
            raise grpc.aio.AioRpcError(await call.code(), await call.initial_metadata(), await call.trailing_metadata(), "the stream ended without a word")
        self.welcome = first.welcome
        self._hear(first)
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._read(call, end)), loop.create_task(self._beat())]
        return self.welcome

    async def close(self) -> None:
        """Ends its stream without a word: what the broker sees is a closed connection."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._tasks = []
        if self._call is not None:
            self._call.cancel()
        if self._channel is not None:
            await self._channel.close()
        self._call = self._channel = None
        self.ended = True

    async def send(self, *, number: int | None = None, **parts: Any) -> None:
        """One message, with the next number unless it is given."""
        async with self._writing:  # one write at a time, in the order of the numbers
            if self._call is None:
                raise asyncio.InvalidStateError("there is no stream")
            if number is None:
                self.number += 1
                number = self.number
            await self._call.write(agents_pb2.ConnectRequest(number=number, **(_in_columns(parts) if self.columns else parts)))

    async def credit(self, free: int, *, assign_no: int | None = None) -> None:
        """Room for `free` jobs, as of the newest Assign that came."""
        await self.send(credit=agents_pb2.Credit(assign_no=self.assign_no if assign_no is None else assign_no, free=free))

    async def take(self, count: int) -> list[agents_pb2.AssignedJob]:
        """Asks for `count` jobs and accepts them."""
        before = len(self.jobs)
        await self.credit(count)
        await self.until(lambda: len(self.jobs) >= before + count, f"{count} jobs")
        await self.send(accept=agents_pb2.Accept(assign_no=self.assign_no))
        return self.jobs[before:]

    async def report(self, *outcomes: agents_pb2.Outcome) -> list[str]:
        """Sends outcomes in one message and returns what became of each."""
        wanted = {key: len(self.dispositions.get(key, ())) + sum((o.job_id, o.lease_epoch) == key for o in outcomes) for key in map(_key, outcomes)}
        await self.send(outcomes=outcomes)
        await self.until(lambda: all(len(self.dispositions.get(key, ())) >= count for key, count in wanted.items()), "the outcomes' dispositions")
        return [self.dispositions[key][-1] for key in map(_key, outcomes)]

    async def heartbeat(self, *refs: tuple[int, int]) -> int:
        """A heartbeat that names these leases; returns its number."""
        await self.send(heartbeat=agents_pb2.Heartbeat(job_ids=[job_id for job_id, _ in refs], lease_epochs=[epoch for _, epoch in refs]))
        return self.number

    async def proven(self) -> None:
        """A heartbeat of what it holds, and its confirmation: everything sent before it has been heard, and a flush that began afterwards is durable."""
        await self.confirmed(await self.heartbeat(*((job_id, job.lease_epoch) for job_id, job in self.held.items())))

    async def confirmed(self, number: int) -> None:
        """Waits until a heartbeat with this number, or a later one, is confirmed."""
        await self.until(lambda: self.proven_no >= number, "the heartbeat's confirmation")

    async def until(self, check: Callable[[], object], what: str) -> None:
        """Waits until what came makes `check` true."""
        async with asyncio.timeout(PATIENCE_S):
            while not check():
                assert not self.ended or what == "the end", f"the stream ended ({self.away}) before {what}"
                self._news.clear()
                await self._news.wait()

    async def _read(self, call: Any, end: StreamEnd) -> None:
        try:
            while (message := await heard(call, end)) is not grpc.aio.EOF:
                self._hear(message)
        except grpc.aio.AioRpcError as error:
            self.away = self.away or str(error.details())
        self.ended = True
        self._news.set()

    def _hear(self, message: agents_pb2.ConnectResponse) -> None:
        if message.HasField("assign"):
            assert self.columns or not message.assign.plain
            self.assign_no = message.assign.number
            jobs = [job for column in message.assign.plain for job in _one_by_one(column)] + list(message.assign.jobs)
            self.jobs.extend(jobs)
            self.held.update((job.job_id, job) for job in jobs)
        assert not (message.outcome_acks if self.columns else message.acked)
        for ack in message.outcome_acks:
            self._told(ack.job_id, ack.lease_epoch, ack.disposition)
        for acked in message.acked:
            for job_id, epoch in zip(acked.job_ids, acked.lease_epochs, strict=True):
                self._told(job_id, epoch, acked.disposition)
        self.aborts.extend(abort.lease.job_id for abort in message.aborts)
        self.revoked.extend((ref.job_id, ref.lease_epoch) for ref in message.revoked)
        lost = [(ref.job_id, ref.lease_epoch) for ref in (*message.heartbeat_ack.not_held, *message.welcome.not_held)]
        self.not_held.extend(lost)
        for job_id, epoch in (*lost, *((ref.job_id, ref.lease_epoch) for ref in message.revoked)):
            self.drop(job_id, epoch)
        self.proven_no = max(self.proven_no, message.heartbeat_ack.seen_no)
        if message.HasField("go_away"):
            self.away = message.go_away.reason
        self._news.set()

    def _told(self, job_id: int, epoch: int, disposition: agents_pb2.Disposition) -> None:
        name = agents_pb2.Disposition.Name(disposition).removeprefix("DISPOSITION_").lower()
        self.dispositions.setdefault((job_id, epoch), []).append(name)
        if name != "not_owner":
            self.drop(job_id, epoch)

    def drop(self, job_id: int, epoch: int) -> None:
        """It does not hold this lease any more."""
        if job_id in self.held and self.held[job_id].lease_epoch == epoch:
            del self.held[job_id]

    async def _beat(self) -> None:
        while not self.ended:
            await asyncio.sleep(BEAT_S)
            if self.beats and not self.ended:
                try:
                    await self.heartbeat(*((job_id, job.lease_epoch) for job_id, job in self.held.items()))
                except STREAM_ENDS:
                    return


def _key(message: agents_pb2.Outcome) -> tuple[int, int]:
    return message.job_id, message.lease_epoch
