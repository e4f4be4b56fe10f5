"""Jobs, completions and acknowledgements as columns: the same rules as one by one, and nothing in columns for those who did not ask for it."""

from contextlib import AsyncExitStack

import grpc
from headrace_client import Client, JobSpec, State
from headrace_proto.v1 import agents_pb2, jobs_pb2, types_pb2

from tests.rpc.test_agent_stream import HandMade, channel, connect
from tests.support.wire import Wire

__all__ = ["channel"]  # a fixture
ACCEPTED, ALREADY_APPLIED, SUPERSEDED, UNKNOWN = 1, 3, 4, 5


async def _assigned(agent: HandMade, assign_no: int, free: int) -> agents_pb2.Assign:
    await agent.send(credit=agents_pb2.Credit(assign_no=assign_no, free=free))
    assign: agents_pb2.Assign = await agent.until("assign")
    await agent.send(accept=agents_pb2.Accept(assign_no=assign.number))
    return assign


async def test_each_job_of_a_mixed_request_is_stored_or_refused_by_itself(channel: grpc.aio.Channel, client: Client) -> None:
    request = jobs_pb2.SubmitManyRequest(
        jobs=[types_pb2.JobSpec(type="one", payload=b"0"), types_pb2.JobSpec(type="no good", payload=b"1")],
        plain=[
            types_pb2.PlainSpecs(type="many", priority=7, payloads=[b"2", b"x" * (1024 * 1024 + 1), b"4"]),
            types_pb2.PlainSpecs(type="no good", payloads=[b"5"]),
            types_pb2.PlainSpecs(type="many", priority=2_000_000, payloads=[b"6"]),
            types_pb2.PlainSpecs(type="one", payloads=[b"7"]),
        ],
    )
    results = (await Wire(channel).call("Jobs.SubmitMany", request)).results
    assert [bool(job_id) for job_id in results.job_ids] == [True, False, True, False, True, False, False, True]
    refused = {failure.index: (failure.reason, failure.field) for failure in results.failures}
    assert refused == {
        1: ("INVALID_FIELD", "jobs[1].type"),
        3: ("TOO_LARGE", "jobs[3].payload"),
        5: ("INVALID_FIELD", "plain[1].type"),
        6: ("INVALID_FIELD", "jobs[6].priority"),
    }
    for place, payload, priority in ((0, b"0", 0), (2, b"2", 7), (4, b"4", 7), (7, b"7", 0)):
        job = await client.get(results.job_ids[place], full=True)
        assert (job.payload, job.priority, job.state) == (payload, priority, State.WAITING)
    assert (await Wire(channel).refused("Jobs.SubmitMany", jobs_pb2.SubmitManyRequest(plain=[types_pb2.PlainSpecs(type="one")]))).field == "jobs"


async def test_plain_first_attempts_come_as_columns_and_all_else_as_messages(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack, columns=True, slots=10, log_limit_lines=5)
    plain = [(await client.submit("t", n)).job_id for n in range(3)]
    high = (await client.submit("t", 3, priority=1)).job_id
    labelled = (await client.submit("t", 4, labels={"a": "b"}, instance_id="i")).job_id
    assign = await _assigned(agent, 0, 10)
    columns = {column.priority: column for column in assign.plain}
    assert (list(columns[0].job_ids), list(columns[0].lease_epochs), list(columns[0].payloads)) == (plain, [1, 1, 1], [b"0", b"1", b"2"])
    assert (list(columns[1].job_ids), columns[1].type, columns[1].max_attempts, columns[1].log_limit_lines) == ([high], "t", 5, 5)
    assert [(job.job_id, job.labels["a"], job.instance_id) for job in assign.jobs] == [(labelled, "b", "i")]
    await agent.send(outcomes=[agents_pb2.Outcome(job_id=plain[0], lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_RELEASED)])
    acked: list[list[int]] = []
    again: list[tuple[int, int]] = []
    while not (acked and again):  # in one message, or in either order
        message = await agent.read()
        acked += [list(part.job_ids) for part in message.acked]
        again += [(column.job_ids[0], column.lease_epochs[0]) for column in message.assign.plain]
    assert (acked, again) == ([[plain[0]]], [(plain[0], 3)])


async def test_completions_in_columns_settle_once_and_under_their_lease_only(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack, columns=True, slots=10)
    ids = [(await client.submit("t", n)).job_id for n in range(3)]
    await _assigned(agent, 0, 10)
    done = agents_pb2.Completions(job_ids=[*ids, 77], lease_epochs=[1, 1, 9, 1], results=[b'"r"', b"", b"9", b""])
    await agent.send(completions=done)
    acked = {(acked.disposition, job_id) for acked in await agent.until("acked") for job_id in acked.job_ids}
    while len(acked) < 4:
        acked |= {(acked.disposition, job_id) for acked in await agent.until("acked") for job_id in acked.job_ids}
    assert acked == {(ACCEPTED, ids[0]), (ACCEPTED, ids[1]), (UNKNOWN, ids[2]), (UNKNOWN, 77)}
    await agent.send(completions=agents_pb2.Completions(job_ids=ids[:2], lease_epochs=[1, 1]))
    assert [(item.disposition, list(item.job_ids)) for item in await agent.until("acked")] == [(ALREADY_APPLIED, ids[:2])]
    jobs = [await client.get(job_id, full=True) for job_id in ids]
    assert [(job.state, job.result) for job in jobs] == [(State.COMPLETED, b'"r"'), (State.COMPLETED, b""), (State.PROCESSING, b"")]
    await agent.send(completions=agents_pb2.Completions(job_ids=ids, lease_epochs=[1]))
    assert "completions: columns of equal length" in (await agent.until("go_away")).reason


async def test_a_result_that_is_too_large_is_a_failure_of_its_job_alone(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack, columns=True, slots=10)
    ids = [(await client.submit("t", n)).job_id for n in range(2)]
    await _assigned(agent, 0, 10)
    await agent.send(completions=agents_pb2.Completions(job_ids=ids, lease_epochs=[1, 1], results=[bytes(1024 * 1024 + 1), b"1"]))
    large, small = [await client.wait(job_id, timeout_s=10) for job_id in ids]
    assert (large.state, large.error and large.error.code, small.state, small.result) == (State.ERROR, "result_too_large", State.COMPLETED, b"1")


async def test_an_agent_that_does_not_ask_for_columns_gets_none(channel: grpc.aio.Channel, stack: AsyncExitStack, client: Client) -> None:
    agent = await connect(channel, stack, slots=10)
    ids = [(await client.submit("t", n)).job_id for n in range(3)]
    assign = await _assigned(agent, 0, 10)
    assert (len(assign.plain), [job.job_id for job in assign.jobs]) == (0, ids)
    await agent.send(completions=agents_pb2.Completions(job_ids=ids, lease_epochs=[1, 1, 1]))
    assert {ack.disposition for ack in await agent.until("outcome_acks")} == {ACCEPTED}


async def test_jobs_of_any_size_come_in_messages_that_can_be_received(client: Client, channel: grpc.aio.Channel, stack: AsyncExitStack) -> None:
    agent = await connect(channel, stack, columns=True, slots=100)
    results = await client.submit_many([JobSpec("t", payload=bytes(1024 * 1024)) for _ in range(40)])
    await agent.send(credit=agents_pb2.Credit(free=100))
    seen: list[int] = []
    while len(seen) < 40:
        assign = await agent.until("assign")
        assert assign.ByteSize() < 6 * 1024 * 1024
        seen += [job_id for column in assign.plain for job_id in column.job_ids]
    assert sorted(seen) == [result.job_id for result in results if not isinstance(result, Exception)]
