"""An Agents service that says only what a test's script says: what an agent must make of it."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from headrace_proto.v1 import agents_pb2, agents_pb2_grpc

from tests.support.processes import until
from tests.support.served import served

LEASE_S = 3
HEARTBEAT_S = 1
PATIENCE_S = 30.0


class Starts:
    """What an agent in the test's process does. `started`: jobs, in order; `stopped`: those whose handler was stopped."""

    def __init__(self) -> None:
        self.started: list[int] = []
        self.stopped: list[int] = []
        self.drain = asyncio.Event()

    async def until_started(self, *job_ids: int) -> None:
        """Waits until the handlers of these jobs, and of no others, have begun, in this order."""

        async def began() -> bool:
            return len(self.started) >= len(job_ids)

        await until(began, what="the starts")
        assert self.started == list(job_ids)


class ScriptedSessions(agents_pb2_grpc.AgentsServicer):
    """`received` holds (loop's time, message) of all streams; `say` sends; `end` ends the stream that is open. By itself it only says Welcome.

    Jobs with odd ids travel as columns, others as messages of their own; outcomes are read in either form.
    """

    def __init__(self) -> None:
        self.received: list[tuple[float, agents_pb2.ConnectRequest]] = []
        self.hellos = 0
        self.assigned = 0
        self.stands_by: asyncio.Event | None = None  # set: it takes over from then on
        self.says_so = True  # that it stands by; False: it leaves the first Hello without an answer until it takes over
        self.greeted = asyncio.Event()  # by a first Hello, while it stands by
        self.welcoming = asyncio.Event()  # not set: the Hello that begins a session is noted, and answered once it is
        self.welcoming.set()
        self.heartbeat_s: float = HEARTBEAT_S
        self.confirming = False  # whether each heartbeat is confirmed at once
        self.silent = False  # whether heartbeats are not answered at all
        self.mute = False  # whether it takes the Hello that begins a session, sets `greeted`, and says nothing
        self.curt = False  # whether streams end right after Welcome
        self.lease_s = LEASE_S
        self.accepting = False  # whether each outcome is accepted at once
        self._out: asyncio.Queue[agents_pb2.ConnectResponse | grpc.StatusCode | None] = asyncio.Queue()
        self._news = asyncio.Event()

    async def Connect(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:  # noqa: N802
        first = await anext(aiter(requests))
        if self.stands_by is not None:
            if self.says_so:
                yield agents_pb2.ConnectResponse(stand_by=agents_pb2.StandBy(owner="the other"))
            self.greeted.set()
            await self.stands_by.wait()
            yield agents_pb2.ConnectResponse(stand_by=agents_pb2.StandBy(over=True))
            first = await anext(aiter(requests))
        if self.mute:
            self.greeted.set()
            await asyncio.Event().wait()
        self._out = asyncio.Queue()
        self._note(first)
        self.hellos += 1
        self.assigned = 0
        await self.welcoming.wait()
        lease, heartbeat = Duration(seconds=self.lease_s), Duration()
        heartbeat.FromMilliseconds(round(self.heartbeat_s * 1000))
        yield agents_pb2.ConnectResponse(
            welcome=agents_pb2.Welcome(session_id="s", broker_id="b", lease=lease, heartbeat=heartbeat, payload_limit_bytes=1 << 20, seen_no=first.number)
        )
        if self.curt:
            return
        reader = asyncio.ensure_future(self._read(requests))
        try:
            while (message := await self._out.get()) is not None:
                if isinstance(message, grpc.StatusCode):
                    await context.abort(message, "as the test says")
                yield message
        finally:
            reader.cancel()

    async def _read(self, requests: AsyncIterator[Any]) -> None:
        async for message in requests:
            if message.HasField("heartbeat") and not self.silent:
                self.confirm(message.number if self.confirming else 0)  # 0: it is there, and confirms nothing
            self._note(message)

    def _note(self, message: agents_pb2.ConnectRequest) -> None:
        done = message.completions
        for index, (job_id, epoch) in enumerate(zip(done.job_ids, done.lease_epochs, strict=True)):
            kind = agents_pb2.OUTCOME_KIND_COMPLETED
            message.outcomes.append(agents_pb2.Outcome(job_id=job_id, lease_epoch=epoch, kind=kind, result=done.results[index] if done.results else b""))
        for outcome in message.outcomes if self.accepting else ():
            self.answer(outcome.job_id, outcome.lease_epoch, agents_pb2.DISPOSITION_ACCEPTED)
        self.received.append((asyncio.get_running_loop().time(), message))
        self._news.set()

    def say(self, **parts: Any) -> None:
        """One message of the open stream."""
        self._out.put_nowait(agents_pb2.ConnectResponse(**parts))

    def assign(self, job_id: int, epoch: int, *, seen_no: int, type_: str = "t") -> None:
        """Assigns one job."""
        self.assigned += 1
        assign = agents_pb2.Assign(number=self.assigned, seen_no=seen_no)
        if job_id % 2:
            assign.plain.add(type=type_, timeout_ms=60_000, max_attempts=5, job_ids=[job_id], lease_epochs=[epoch], payloads=[b""])
        else:
            assign.jobs.add(job_id=job_id, lease_epoch=epoch, type=type_, run=1, attempt=1, timeout_ms=60_000, max_attempts=5)
        self.say(assign=assign)

    def confirm(self, seen_no: int) -> None:
        """Confirms a heartbeat."""
        self.say(heartbeat_ack=agents_pb2.HeartbeatAck(seen_no=seen_no))

    def answer(self, job_id: int, epoch: int, disposition: int) -> None:
        """Says what became of an outcome."""
        self.say(acked=[agents_pb2.AckedOutcomes(disposition=disposition, job_ids=[job_id], lease_epochs=[epoch])])  # type: ignore[arg-type]  # enum numbers

    def end(self) -> None:
        """The stream ends without a reason."""
        self._out.put_nowait(None)

    def fail(self) -> None:
        """The stream ends with an error."""
        self._out.put_nowait(grpc.StatusCode.UNAVAILABLE)

    def messages(self, part: str) -> list[Any]:
        """This part of all messages that have it, in order; repeated parts one by one."""
        found: list[Any] = []
        for _, message in self.received:
            value = getattr(message, part)
            if hasattr(value, "__len__"):
                found.extend(value)
            elif message.HasField(part):
                found.append(value)
        return found

    async def until(self, check: Callable[[], object], what: str) -> None:
        """Waits until what came makes `check` true."""
        async with asyncio.timeout(PATIENCE_S):
            while not check():
                self._news.clear()
                await self._news.wait()
        assert what


@asynccontextmanager
async def scripted_sessions() -> AsyncIterator[tuple[str, ScriptedSessions]]:
    """(address, service) of such a broker in this process."""
    service = ScriptedSessions()
    async with served(functools.partial(agents_pb2_grpc.add_AgentsServicer_to_server, service)) as address:
        yield address, service
