"""What nobody expected while a stream is read: it is told, and said in the log, and nobody is left waiting. Services are asked without a network."""

import asyncio
import gc
from collections.abc import AsyncIterator
from typing import Any

import pytest
from headrace_broker.actions import agents as agent_actions
from headrace_broker.rpc.admin import AdminService
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.rpc.jobs import JobsService
from headrace_broker.shards import owner as owner_module
from headrace_broker.shards import reception
from headrace_broker.shards.owner import Owner
from headrace_proto.v1 import admin_pb2, agents_pb2, jobs_pb2
from structlog.testing import capture_logs

from tests.fire.services import Call, Ownership
from tests.fire.steps import granted
from tests.property.machine import Machine


async def test_a_stream_of_submits_whose_reading_fails_ends_with_the_failure(machine: Machine) -> None:
    async def broken() -> AsyncIterator[jobs_pb2.SubmitStreamRequest]:
        raise ZeroDivisionError("what nobody expected")
        yield

    service: Any = JobsService(Ownership(machine), None, None, 100)  # type: ignore[arg-type]  # no more is asked for
    async with asyncio.timeout(10):
        with pytest.raises(ZeroDivisionError):
            async for _ in service.SubmitStream(broken(), Call()):
                pass


async def test_the_reader_of_a_stream_keeps_no_message_while_it_waits_for_the_next(machine: Machine, agents: AgentsService) -> None:
    await granted(machine)
    session = machine.session
    assert session is not None

    def messages_kept() -> int:
        return sum(type(item) is agents_pb2.ConnectRequest for item in gc.get_objects())

    counts = [messages_kept()]

    async def messages() -> AsyncIterator[agents_pb2.ConnectRequest]:
        yield agents_pb2.ConnectRequest(number=session.last_no + 1, heartbeat=agents_pb2.Heartbeat())
        counts.append(messages_kept())

    await agents._read(machine.owner, session, session.stream, messages())
    assert counts == [counts[0], counts[0]]


@pytest.mark.parametrize("defect", [True, False])
async def test_a_message_that_cannot_be_dealt_with_is_said_and_a_stream_that_breaks_is_not(
    machine: Machine, agents: AgentsService, monkeypatch: pytest.MonkeyPatch, defect: bool
) -> None:
    await granted(machine)
    session = machine.session
    assert session is not None

    def failing(*_: object) -> None:
        raise KeyError("what nobody expected")

    async def messages() -> AsyncIterator[agents_pb2.ConnectRequest]:
        yield agents_pb2.ConnectRequest(number=session.last_no + 1)
        if not defect:
            raise ConnectionError("as grpc has it")
        yield agents_pb2.ConnectRequest(number=session.last_no + 1, heartbeat=agents_pb2.Heartbeat())

    monkeypatch.setattr(reception, "heartbeat", failing)
    with capture_logs() as logs:
        await agents._read(machine.owner, session, session.stream, messages())
    if defect:
        assert session.out.go_away is not None and "log has more" in session.out.go_away
        assert [(entry["log_level"], type(entry["exc_info"])) for entry in logs] == [("error", KeyError)]
    else:
        assert session.out.go_away is None and [entry["log_level"] for entry in logs] == ["debug"]


async def test_checkpoints_beyond_what_may_wait_for_a_flush_are_left_out(machine: Machine, agents: AgentsService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "MAX_NOTE_BYTES", 250 + 2 * owner_module.NOTE_BYTES)
    [job_id] = await granted(machine)
    session = machine.session
    assert session is not None

    def send(*numbers: int) -> None:
        lease = agents_pb2.LeaseRef(job_id=job_id, lease_epoch=1)
        for number in numbers:
            report = agents_pb2.ProgressReport(lease=lease, checkpoint=b"%100d" % number)
            agents._hear(machine.owner, session, agents_pb2.ConnectRequest(progress=[report]))

    async def stored() -> list[int]:
        rows = await machine.pool.fetch("select data from headrace.note where kind = 2 order by at, data")
        return [int(row["data"]) for row in rows]

    send(1, 2, 3)  # the database is away
    await machine.flush()
    assert await stored() == [1, 2]
    send(4)
    await machine.flush()
    assert await stored() == [1, 2, 4]


async def test_checkpoints_however_small_take_room(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "MAX_NOTE_BYTES", 3 * owner_module.NOTE_BYTES)
    [job_id] = await granted(machine)
    for _ in range(10):
        machine.owner.checkpoint(job_id, 1, b"")
    await machine.flush()
    assert await machine.pool.fetchval("select count(*) from headrace.note") == 3


async def test_a_list_of_types_goes_through_the_agents_once(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await granted(machine)
    for number in range(5):
        await machine.types.ensure("default", f"type {number}".replace(" ", "-"))
    looks, sessions = 0, Owner.sessions

    def counted(owner: Owner) -> Any:
        nonlocal looks
        looks += 1
        return sessions(owner)

    monkeypatch.setattr(Owner, "sessions", counted)
    service: Any = AdminService(Ownership(machine), None, None, 100)  # type: ignore[arg-type]  # no more is asked for
    found = (await service.ListJobTypes(admin_pb2.ListJobTypesRequest(), Call())).types
    assert {item.name: item.agents for item in found} == {"work": 1, **{f"type-{number}": 0 for number in range(5)}}
    assert looks == 1 and agent_actions.serving(machine.owner) == {machine.type.type_id: 1}
