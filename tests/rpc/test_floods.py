"""Messages that hold more of a kind than anybody needs: a message of 16 MiB has room for millions of names, leases or lines, and whoever goes through all of them keeps
the event loop from everybody else. They are counted first and refused, and the broker serves on."""

from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_broker.rpc.agent_messages import MAX_LEASES, MAX_LINES
from headrace_broker.rpc.convert import MAX_BATCH, MAX_TYPES
from headrace_client import AdminClient
from headrace_proto.v1 import agents_pb2, jobs_pb2, lifecycle_pb2, operations_pb2, stats_pb2, types_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub
from headrace_proto.v1.jobs_pb2_grpc import JobsStub

from tests.support.processes import BrokerProcess
from tests.support.scripted_agent import ScriptedAgent
from tests.support.wire import Wire, stream_refusal

TYPES = ["t"] * (MAX_TYPES + 1)
STATES: Any = [1] * 101  # enum numbers
FILTER = jobs_pb2.JobFilter(types=TYPES)
SPEC = operations_pb2.OperationSpec(action=operations_pb2.OPERATION_ACTION_REQUEUE, filter=FILTER)
CALLS: list[tuple[str, Any, str]] = [
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(filter=FILTER), "filter.types"),
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(filter=jobs_pb2.JobFilter(states=STATES)), "filter.states"),
    ("Jobs.CountJobs", jobs_pb2.CountJobsRequest(types=TYPES), "types"),
    ("Operations.PreviewOperation", operations_pb2.PreviewOperationRequest(spec=SPEC), "spec.filter.types"),
    ("Lifecycle.UpdateJobs", lifecycle_pb2.UpdateJobsRequest(job_ids=[1], remove_labels=["k"] * 1001), "remove_labels"),
    ("Stats.GetTrend", stats_pb2.GetTrendRequest(types=TYPES), "types"),
    ("Stats.GetCapacity", stats_pb2.GetCapacityRequest(types=TYPES), "types"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(types=TYPES), "types"),
    ("Jobs.SubmitMany", jobs_pb2.SubmitManyRequest(plain=[types_pb2.PlainSpecs(type="t", payloads=[b"1"])] + [types_pb2.PlainSpecs()] * MAX_BATCH), "plain"),
]


def lines(count: int) -> agents_pb2.LogBatch:
    """So many lines of an attempt."""
    line = jobs_pb2.LogLine(line_no=1, at=Timestamp(seconds=1_800_000_000), text="x", level=2)  # type: ignore[arg-type]  # enum number
    return agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=1, lease_epoch=1), lines=[line] * count)


@pytest.fixture
def broker_options() -> tuple[str, ...]:
    """Leases last longer than the test: such messages take long to be made."""
    return ("--lease-s", "60")


@pytest.fixture
async def channel(broker: BrokerProcess, stack: AsyncExitStack) -> grpc.aio.Channel:
    """To the broker."""
    return await stack.enter_async_context(grpc.aio.insecure_channel(broker.address))


async def test_a_call_names_no_more_than_there_can_be(channel: grpc.aio.Channel) -> None:
    wire = Wire(channel)
    for method, request, field in CALLS:
        refusal = await wire.refused(method, request)
        assert (refusal.code, refusal.reason, refusal.field) == ("INVALID_ARGUMENT", "TOO_LARGE", field), method
        assert "in a message" in refusal.message
    jobs: Any = JobsStub(channel)  # type: ignore[no-untyped-call]
    assert (await stream_refusal(jobs.WatchJobs(jobs_pb2.WatchJobsRequest(types=TYPES)))).field == "types"
    flood = jobs_pb2.SubmitStreamRequest(request_no=1, plain=[types_pb2.PlainSpecs()] * (MAX_BATCH + 1))
    assert (await stream_refusal(jobs.SubmitStream(iter([flood])))).field == "plain"
    assert (await wire.call("Jobs.ListJobs", jobs_pb2.ListJobsRequest(filter=jobs_pb2.JobFilter(types=TYPES[1:])))).complete
    assert (await wire.call("Jobs.SubmitMany", jobs_pb2.SubmitManyRequest(plain=[types_pb2.PlainSpecs(type="t", payloads=[b"1"])]))).results.job_ids


async def test_an_agent_names_no_more_than_it_can_have(broker: BrokerProcess, channel: grpc.aio.Channel, stack: AsyncExitStack) -> None:
    refs = [agents_pb2.LeaseRef(job_id=number + 1, lease_epoch=1) for number in range(MAX_LEASES + 1)]
    ids = [ref.job_id for ref in refs]
    floods: dict[str, dict[str, Any]] = {
        "heartbeat.job_ids": {"heartbeat": agents_pb2.Heartbeat(job_ids=ids, lease_epochs=[1] * len(ids))},
        "accept.rejected": {"accept": agents_pb2.Accept(rejected=[agents_pb2.Rejection(lease=ref) for ref in refs])},
        "progress": {"progress": [agents_pb2.ProgressReport(lease=ref) for ref in refs]},
        "aborts": {"aborts": [agents_pb2.AbortReport(lease=ref, phase=agents_pb2.ABORT_PHASE_DELIVERED) for ref in refs]},
        "logs": {"logs": [lines(MAX_LINES + 1)]},
        "logs: at most": {"logs": [agents_pb2.LogBatch(lease=refs[0])] * (MAX_LINES + 1)},
    }
    agent = ScriptedAgent(broker.address, beats=False)
    stack.push_async_callback(agent.close)
    for field, parts in floods.items():
        await agent.connect()
        await agent.send(**parts)
        await agent.until(lambda: agent.ended, "the end")
        assert field in agent.away and "in a message" in agent.away
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await agent.connect(held=refs)
    assert "hello.held" in str(refused.value.details())
    wire = Wire(channel)
    assert (await wire.refused("Agents.UploadLogs", agents_pb2.UploadLogsRequest(incarnation_id=agent.incarnation_id, logs=[lines(MAX_LINES + 1)]))).field == "logs"
    await agent.connect(held=refs[:1000])
    assert len(agent.welcome.not_held) == 1000
    await agent.heartbeat(*((job_id, 1) for job_id in ids[:1000]))
    await agent.until(lambda: len(agent.not_held) == 2000, "that it does not hold them")
    await agent.send(logs=[lines(MAX_LINES)])
    assert await agent.report(agents_pb2.Outcome(job_id=1, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_COMPLETED)) == ["unknown"]  # it is heard


async def test_a_hello_that_is_refused_has_changed_no_type(channel: grpc.aio.Channel, admin: AdminClient) -> None:
    declared = agents_pb2.ServedType(type="t", declared=types_pb2.JobTypeSettings(priority=7))
    good: dict[str, Any] = {"agent_name": "a", "incarnation_id": "i" * 16, "slots": 1, "types": [declared]}
    stub: Any = AgentsStub(channel)  # type: ignore[no-untyped-call]
    for fields, field in (
        ({"slots": 0}, "hello.slots"),
        ({"agent_name": ""}, "hello.agent_name"),
        ({"incarnation_id": "short"}, "hello.incarnation_id"),
        ({"labels": {"": "x"}}, "hello.labels"),
        ({"types": [declared, agents_pb2.ServedType(type="a b")]}, "hello.types[1].type"),
        ({"types": [declared, agents_pb2.ServedType(type="u", declared=types_pb2.JobTypeSettings(max_attempts=0))]}, "hello.types[1].declared.max_attempts"),
    ):
        hello = agents_pb2.Hello(**{**good, **fields})
        assert (await stream_refusal(stub.Connect(iter([agents_pb2.ConnectRequest(number=1, hello=hello)])))).field == field
    assert await admin.list_types() == [] and await admin.list_audit() == ([], "")
