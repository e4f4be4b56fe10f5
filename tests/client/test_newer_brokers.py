"""A broker of a newer release tells states, kinds and roles that this one has no name for: what reads them goes on, and takes none for another."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, get_args

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from headrace_client import Action, AdminClient, Client, InvalidRequest, JobFilter, OperationState, State, UnknownChannel, alerts, decode
from headrace_client.cli import stats
from headrace_client.cli.find import StateName
from headrace_client.cli.trees import trees
from headrace_client.graph import Edge, JobGraph
from headrace_proto.v1 import alerts_pb2, jobs_pb2, types_pb2
from headrace_proto.wire import STATE_NAMES, UNKNOWN

from tests.support.processes import run_command
from tests.support.served import served

NEWER = 99
SERVICES = (
    "Access", "Admin", "Alerts", "Brokers", "Certificates", "Doors", "Filters", "Grants", "Graph", "Instances", "Jobs", "Lifecycle", "Limits", "Logs", "Operations",
    "Schedules", "Stats", "Users",
)  # fmt: skip
PASSED_OVER = {"TailLogsResponse.state", "SavedFilter.order"}
"""What this client does not read, and an order, in place of which there is the usual one."""


def newest(kind: Descriptor, told: set[str], above: tuple[Descriptor, ...] = ()) -> Message:
    """A message with one of everything in it, where each enum has a number of a newer release; `told` gets the names of these fields."""
    message = message_factory.GetMessageClass(kind)()
    for field in kind.fields:
        value: Any = getattr(message, field.name)
        if field.containing_oneof is not None and message.WhichOneof(field.containing_oneof.name):
            continue
        if field.enum_type is not None:
            told.add(f"{kind.name}.{field.name}")
            if hasattr(value, "append"):
                value.append(NEWER)
            else:
                setattr(message, field.name, NEWER)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry and field.message_type not in (*above, kind):
            inner = newest(field.message_type, told, (*above, kind))
            if hasattr(value, "append"):
                value.append(inner)
            else:
                value.SetInParent()
                value.CopyFrom(inner)
    return message


def answer_of(service: str, method: str) -> Descriptor:
    """What a call answers with."""
    found: Descriptor = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method].output_type
    return found


class NewerBroker(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """Answers every call with `newest`. `told`: the fields with enums of all that it has answered."""

    def __init__(self) -> None:
        self.told: set[str] = set()

    def service(self, handler_call_details: Any) -> Any:
        _, service, method = handler_call_details.method.split("/")

        async def one(_request: bytes, _context: Any) -> Message:
            return newest(answer_of(service, method), self.told)

        async def several(_request: bytes, _context: Any) -> AsyncIterator[Message]:
            yield newest(answer_of(service, method), self.told)

        if method in ("WatchJobs", "TailLogs"):
            return grpc.unary_stream_rpc_method_handler(several, response_serializer=lambda message: message.SerializeToString())
        return grpc.unary_unary_rpc_method_handler(one, response_serializer=lambda message: message.SerializeToString())


@asynccontextmanager
async def newer_broker() -> AsyncIterator[tuple[str, NewerBroker]]:
    """(address, broker) of one in this process."""
    broker = NewerBroker()
    async with served(lambda server: server.add_generic_rpc_handlers((broker,))) as address:
        yield address, broker


async def first(items: AsyncGenerator[Any, None]) -> Any:
    """What comes first."""
    try:
        return await anext(items)
    finally:
        await items.aclose()


READS: tuple[Callable[[Client], Awaitable[Any]], ...] = (
    lambda client: client.get(1),
    lambda client: client.wait(1, timeout_s=10),
    lambda client: client.list(),
    lambda client: client.count(),
    lambda client: client.explain(1),
    lambda client: client.events(1),
    lambda client: client.runs(1),
    lambda client: first(client.logs(1)),
    lambda client: first(client.tail_logs(1)),
    lambda client: first(client.watch(job_ids=[1])),
    lambda client: client.graph(1),
    lambda client: client.dependencies(1),
    lambda client: client.batch_status(1),
)
ADMINISTERS: tuple[Callable[[AdminClient], Awaitable[Any]], ...] = (
    lambda admin: admin.list_types(),
    lambda admin: admin.overview(),
    lambda admin: admin.abort([1]),
    lambda admin: admin.list_tokens(),
    lambda admin: admin.list_users(),
    lambda admin: admin.list_operations(),
    lambda admin: admin.preview_operation(Action.ABORT, JobFilter(), all_jobs=True),
    lambda admin: admin.list_schedules(),
    lambda admin: admin.list_alert_rules(),
    lambda admin: admin.list_alert_channels(),
    lambda admin: admin.list_filters(),
    lambda admin: admin.list_brokers(),
    lambda admin: admin.preview_retention("t"),
)


async def test_whatever_reads_a_number_of_a_newer_broker_goes_on_and_tells_that_it_is_unknown() -> None:
    async with newer_broker() as (address, broker), Client(address, timeout_s=10) as client, AdminClient(address, timeout_s=10) as admin:
        for read in READS:
            assert f"'{UNKNOWN}'" in repr(await read(client)), broker.told
        for ask in ADMINISTERS:
            assert f"'{UNKNOWN}'" in repr(await ask(admin)), broker.told
    everything: set[str] = set()
    for name in SERVICES:
        for method in descriptor_pool.Default().FindServiceByName(f"headrace.v1.{name}").methods:
            newest(method.output_type, everything)
    assert everything - PASSED_OVER == broker.told - PASSED_OVER, "a call that brings other enums belongs to the lists above"


async def test_what_is_unknown_is_neither_asked_for_nor_set_and_matches_no_more_than_it_did() -> None:
    async with newer_broker() as (address, _), AdminClient(address, timeout_s=10) as admin, Client(address, timeout_s=10) as client:
        _, now = await admin.get_filter("stuck")
        assert now.states == (State.UNKNOWN,)
        with pytest.raises(InvalidRequest, match=r"a state is one of .*, found 'unknown'"):
            await client.list(where=now)
        [operation], _ = await admin.list_operations()
        assert (operation.action, operation.state, operation.where.states) == (Action.UNKNOWN, OperationState.UNKNOWN, (State.UNKNOWN,))
        with pytest.raises(InvalidRequest, match="an action is one of requeue, abort, purge, priority, hold, release, found 'unknown'"):
            await admin.start_operation(operation.action, JobFilter(["t"]))
        [schedule] = await admin.list_schedules()
        with pytest.raises(InvalidRequest, match="overlap is one of"):
            await admin.put_schedule("nightly", schedule.spec)
        [rule] = await admin.list_alert_rules()
        with pytest.raises(InvalidRequest, match="kind is one of"):
            await admin.put_alert_rule(rule)
        with pytest.raises(InvalidRequest, match="change it by a newer one"):
            await admin.put_alert_channel(alerts._channel(alerts_pb2.Channel(name="pager")))


def test_values_that_are_not_set_are_what_the_wire_says_of_them() -> None:
    assert decode.log_line(jobs_pb2.LogLine()).level == "info"
    assert decode.change(jobs_pb2.WatchJobsResponse()).state is None, "it was deleted"
    assert decode.job(types_pb2.Job(state=types_pb2.JOB_STATE_PROCESSING)).wait_reason is None
    channel = alerts._channel(alerts_pb2.Channel(name="ops", email=alerts_pb2.EmailChannel(host="mail")))
    assert isinstance(channel.target, alerts.EmailChannel) and channel.target.tls == "starttls"
    assert alerts._channel(alerts_pb2.Channel(apprise=alerts_pb2.AppriseChannel())).target == alerts.AppriseChannel()
    assert alerts._channel(alerts_pb2.Channel()).target == UnknownChannel()


def test_jobs_in_several_states_without_a_name_are_counted_together() -> None:
    numbers: list[Any] = [1, NEWER, NEWER + 1]
    assert decode.counts([types_pb2.StateCount(state=number, count=2) for number in numbers]) == {State.WAITING: 2, State.UNKNOWN: 4}


def test_a_forecast_by_a_method_without_a_name_is_shown() -> None:
    assert [stats._how(method, 3).partition(";")[0] for method in ("week", "mean", "season")] == [
        "Arrivals as the same hours a week before", "Arrivals as the last 3 hours on average", "Arrivals by the method 'season'",
    ]  # fmt: skip


def test_commands_ask_for_states_that_have_a_name_and_draw_ties_that_have_none() -> None:
    assert get_args(StateName) == tuple(STATE_NAMES.values()) == tuple(State)[:-1]
    jobs = [decode.job(types_pb2.Job(job_id=number, type="t", state=1)) for number in (1, 2)]  # type: ignore[arg-type]  # enum numbers
    [tree] = trees(JobGraph(jobs, [Edge(1, 2, UNKNOWN), Edge(1, 0, UNKNOWN)], True))
    assert [str(branch.label) for branch in tree.children] == ["tied a job that you may not see", "tied 2 t waiting"]


COMMANDS = (
    "types list", "types show t", "jobs list", "jobs show 1", "jobs explain 1", "jobs events 1", "jobs attempts 1", "jobs runs 1", "jobs graph 1", "jobs count",
    "agents list", "stats", "top --once", "brokers", "alerts list", "schedules list", "domains list", "operations list", "filters list", "tokens list", "users list",
    "doors list",
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS)
async def test_commands_show_what_a_broker_of_another_release_leaves_out_as_nothing(words: str) -> None:
    async with newer_broker() as (address, _):
        done = await asyncio.to_thread(run_command, "headrace", *words.split(), environment={"HEADRACE_BROKER": address})
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
