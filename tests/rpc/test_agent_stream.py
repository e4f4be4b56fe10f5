"""An agent written by hand on the protos: what the stream promises, and what it does with those that break its rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_client import AdminClient, Client, State
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.processes import BrokerProcess, until


class HandMade:
    """One stream; messages are numbered as the protocol wants."""

    def __init__(self, call: Any) -> None:
        self.call = call
        self._number = 0
        self._assign_no = 0

    async def send(self, **parts: Any) -> None:
        """One message."""
        self._number += 1
        await self.call.write(agents_pb2.ConnectRequest(number=self._number, **parts))

    async def read(self) -> Any:
        """The next message."""
        async with asyncio.timeout(20):
            message = await self.call.read()
        assert message is not grpc.aio.EOF, "the stream ended"
        return message

    async def until(self, part: str) -> Any:
        """The next message that carries this part; the part."""
        async with asyncio.timeout(20):
            while True:
                message = await self.read()
                value = getattr(message, part)
                if len(value) if hasattr(value, "__len__") else message.HasField(part):
                    return value

    async def job(self) -> agents_pb2.AssignedJob:
        """Asks for one job, accepts and returns it."""
        await self.send(credit=agents_pb2.Credit(assign_no=self._assign_no, free=1))
        assign = await self.until("assign")
        self._assign_no = assign.number
        await self.send(accept=agents_pb2.Accept(assign_no=assign.number))
        job: agents_pb2.AssignedJob = assign.jobs[0]
        return job


@pytest.fixture
async def channel(broker: BrokerProcess, stack: AsyncExitStack) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(broker.address, options=[("grpc.max_receive_message_length", 16 * 1024 * 1024)]) as channel:
        yield channel


async def connect(channel: grpc.aio.Channel, stack: AsyncExitStack, *, incarnation: str = "i" * 16, slots: int = 4, columns: bool = False, **declared: Any) -> HandMade:
    """A stream that has said hello."""
    call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
    stack.callback(call.cancel)
    agent = HandMade(call)
    served = agents_pb2.ServedType(type="t", declared=types_pb2.JobTypeSettings(**declared))
    await agent.send(hello=agents_pb2.Hello(agent_name="hand", incarnation_id=incarnation, slots=slots, types=[served], columns=columns))
    welcome = await agent.until("welcome")
    assert welcome.session_id and welcome.lease.seconds == 3
    return agent


def lease(job: agents_pb2.AssignedJob) -> agents_pb2.LeaseRef:
    return agents_pb2.LeaseRef(job_id=job.job_id, lease_epoch=job.lease_epoch)


async def test_an_agent_whose_hello_is_refused_for_what_came_with_it_is_not_connected(channel: grpc.aio.Channel, stack: AsyncExitStack, admin: AdminClient) -> None:
    call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
    stack.callback(call.cancel)
    hello = agents_pb2.Hello(agent_name="hand", incarnation_id="h" * 16, slots=1, types=[agents_pb2.ServedType(type="t")])
    await HandMade(call).send(hello=hello, heartbeat=agents_pb2.Heartbeat(job_ids=[1]))
    with pytest.raises(grpc.aio.AioRpcError, match="as many as job_ids"):
        await call.read()
    assert not [agent for agent in await admin.list_agents() if agent.connected]


async def test_a_result_that_is_too_large_is_the_failure_that_it_is(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack)
    job_id = (await client.submit("t")).job_id
    job = await agent.job()
    await agent.send(
        outcomes=[agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED, result=b"x" * (1024 * 1024 + 1))]
    )
    [ack] = await agent.until("outcome_acks")
    assert ack.disposition == agents_pb2.DISPOSITION_ACCEPTED
    settled = await client.wait(job_id)
    assert settled.state is State.ERROR and settled.error is not None and settled.error.code == "result_too_large"


async def test_log_lines_beyond_the_limit_of_the_type_are_cut_with_a_mark(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack, log_limit_lines=3, log_limit_bytes=1000)
    job_ids = [(await client.submit("t")).job_id for _ in range(2)]
    jobs = [await agent.job() for _ in job_ids]
    assert [job.job_id for job in jobs] == job_ids and (jobs[0].log_limit_lines, jobs[0].log_limit_bytes) == (3, 1000)
    many = [jobs_pb2.LogLine(line_no=number, at=Timestamp(seconds=1), level=jobs_pb2.LOG_LEVEL_DEBUG, text=f"line {number}") for number in range(1, 10)]
    large = [jobs_pb2.LogLine(line_no=number, at=Timestamp(seconds=1), level=jobs_pb2.LOG_LEVEL_INFO, text="\x00" * 300) for number in range(1, 4)]
    await agent.send(logs=[agents_pb2.LogBatch(lease=lease(jobs[0]), lines=many), agents_pb2.LogBatch(lease=lease(jobs[1]), lines=large)])

    async def texts(job_id: int) -> list[str]:
        return [line.text async for line in client.logs(job_id)]

    mark = "… {} more lines not kept: the limit is 3 lines and 1000 bytes of one attempt"
    await until(lambda: texts(job_ids[1]))
    assert await texts(job_ids[0]) == ["line 1", "line 2", "line 3", mark.format(6)]
    assert await texts(job_ids[1]) == ["\ufffd" * 300, mark.format(2)]


async def test_an_outcome_is_answered_by_what_became_of_it(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack)
    await client.submit("t")
    job = await agent.job()

    async def report(job_id: int, epoch: int, kind: Any = agents_pb2.OUTCOME_KIND_COMPLETED) -> str:
        await agent.send(outcomes=[agents_pb2.Outcome(job_id=job_id, lease_epoch=epoch, kind=kind, result=b"1")])
        [ack] = await agent.until("outcome_acks")
        assert (ack.job_id, ack.lease_epoch) == (job_id, epoch)
        return agents_pb2.Disposition.Name(ack.disposition).removeprefix("DISPOSITION_").lower()

    assert await report(job.job_id, job.lease_epoch + 7) == "unknown"
    assert await report(job.job_id, job.lease_epoch) == "accepted"
    assert await report(job.job_id, job.lease_epoch) == "already_applied"
    assert await report(job.job_id, job.lease_epoch, agents_pb2.OUTCOME_KIND_FAILED) == "superseded"
    assert await report(12345, 1) == "unknown"
    assert (await client.get(job.job_id)).state is State.COMPLETED


@pytest.mark.parametrize(
    "parts",
    [
        {"heartbeat": agents_pb2.Heartbeat(job_ids=[1], lease_epochs=[])},
        {"outcomes": [agents_pb2.Outcome(job_id=1, lease_epoch=1)]},
        {"outcomes": [agents_pb2.Outcome(job_id=5, lease_epoch=2**32 - 1, kind=agents_pb2.OUTCOME_KIND_FAILED)]},
        {"completions": agents_pb2.Completions(job_ids=[5], lease_epochs=[2**31])},
        {"logs": [agents_pb2.LogBatch(lines=[jobs_pb2.LogLine(line_no=1, text="x")])]},
        {"logs": [agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=5, lease_epoch=1), lines=[jobs_pb2.LogLine(line_no=1, at=Timestamp(seconds=2**62), text="x")])]},
    ],
    ids=["heartbeat", "outcome", "epoch of an outcome", "epoch of a completion", "log without job", "log of no time"],
)
async def test_a_stream_that_breaks_the_rules_is_told_why_and_its_session_goes_on(
    channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client, parts: dict[str, Any]
) -> None:
    agent = await connect(channel, stack)
    await client.submit("t")
    job = await agent.job()
    await agent.send(**parts)
    away = await agent.until("go_away")
    assert away.reason
    call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
    stack.callback(call.cancel)
    again = HandMade(call)
    served = agents_pb2.ServedType(type="t")
    await again.send(hello=agents_pb2.Hello(agent_name="hand", incarnation_id="i" * 16, slots=4, types=[served], held=[lease(job)]))
    welcome = await again.until("welcome")
    assert welcome.resumed and not welcome.not_held
    await again.send(outcomes=[agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED)])
    [ack] = await again.until("outcome_acks")
    assert ack.disposition == agents_pb2.DISPOSITION_ACCEPTED


async def test_an_agent_that_does_not_name_a_lease_is_asked_once_whether_it_has_it(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack)
    await client.submit("t")
    job = await agent.job()
    served = [agents_pb2.ServedType(type="t")]
    for named in ([lease(job)], []):
        call = AgentsStub(channel).Connect()  # type: ignore[no-untyped-call]
        stack.callback(call.cancel)
        again = HandMade(call)
        hello = agents_pb2.Hello(agent_name="hand", incarnation_id="i" * 16, slots=4, types=served, at_standby=agents_pb2.AT_STANDBY_WAIT)
        await again.send(hello=hello)
        assert (await again.until("stand_by")).over, "it may have come over the other stream while this Hello was under way"
        hello.held.extend(named)
        await again.send(hello=hello)
        welcome = await again.until("welcome")
        assert (welcome.resumed, len(welcome.not_held), welcome.seen_no) == (True, 0, 0 if named else 2)
        if named:
            assert (await again.until("heartbeat_ack")).seen_no == 2, "the lease is still this broker's"
            assert [event.kind for event in await client.events(job.job_id)][1:] == ["granted"]
    assert (await again.job()).lease_epoch > job.lease_epoch, "it has said that it has nothing: the job was given back"


async def test_message_numbers_must_rise(channel: grpc.aio.Channel, stack: AsyncExitStack) -> None:
    agent = await connect(channel, stack)
    await agent.call.write(agents_pb2.ConnectRequest(number=1, credit=agents_pb2.Credit(free=1)))
    assert "numbers must rise" in (await agent.until("go_away")).reason


async def test_a_credit_is_absolute_so_a_lost_or_doubled_message_leaks_none(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack)
    for _ in range(5):
        await client.submit("t")
    for _ in range(3):
        await agent.send(credit=agents_pb2.Credit(free=2))
    taken = list((await agent.until("assign")).jobs)
    while len(taken) < 2:
        taken += (await agent.until("assign")).jobs
    assert len(taken) == 2
    assert sum(job.state is State.PROCESSING for job in (await client.list()).jobs) == 2


async def test_an_outcome_that_ended_a_job_as_aborted_is_the_same_outcome_when_it_comes_again(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack)
    asked, forced = [(await client.submit("t")).job_id for _ in range(2)]
    jobs = {job.job_id: job for job in [await agent.job(), await agent.job()]}
    await client.abort([asked])
    await client.abort([forced], force=True)

    async def report(job_id: int) -> int:
        outcome = agents_pb2.Outcome(job_id=job_id, lease_epoch=jobs[job_id].lease_epoch, kind=agents_pb2.OUTCOME_KIND_FAILED)
        await agent.send(outcomes=[outcome])
        [ack] = await agent.until("outcome_acks")
        return int(ack.disposition)

    assert await report(asked) == agents_pb2.DISPOSITION_ACCEPTED
    assert await report(asked) == agents_pb2.DISPOSITION_ALREADY_APPLIED
    assert await report(forced) == agents_pb2.DISPOSITION_SUPERSEDED
    assert [(await client.get(job_id)).state for job_id in jobs] == [State.ABORTED, State.ABORTED]


async def test_outcomes_are_acknowledged_beside_the_next_job_without_one_and_in_a_drain(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    """In which message is for `tests/unit/test_acknowledgements.py`: it is a matter of time."""
    agent = await connect(channel, stack, slots=1)
    await client.submit("t")
    await client.submit("t")
    await agent.send(credit=agents_pb2.Credit(free=1))
    first = await agent.until("assign")
    done = agents_pb2.Outcome(job_id=first.jobs[0].job_id, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_COMPLETED)
    await agent.send(outcomes=[done], accept=agents_pb2.Accept(assign_no=1), credit=agents_pb2.Credit(assign_no=1, free=1))
    acked: list[int] = []
    jobs: list[agents_pb2.AssignedJob] = []
    while not (acked and jobs):
        message = await agent.read()
        acked += [ack.job_id for ack in message.outcome_acks]
        jobs += message.assign.jobs
    assert acked == [first.jobs[0].job_id] and len(jobs) == 1
    done = agents_pb2.Outcome(job_id=jobs[0].job_id, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_COMPLETED)
    await agent.send(outcomes=[done], accept=agents_pb2.Accept(assign_no=2))
    assert [ack.job_id for ack in await agent.until("outcome_acks")] == [jobs[0].job_id], "nothing comes that it could ride with"
    await agent.send(outcomes=[done], draining=True)
    assert [ack.disposition for ack in await agent.until("outcome_acks")] == [agents_pb2.DISPOSITION_ALREADY_APPLIED]
