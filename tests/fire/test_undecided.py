"""Agents that report and report while nothing can be decided: what the broker keeps for them is bounded, and no outcome of a lease that they hold is lost."""

import asyncio
from collections.abc import Iterable

import pytest
from headrace_broker.model.errors import Busy, InvalidField
from headrace_broker.model.job import State
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.shards import reception, undecided
from headrace_broker.shards.refill import judge_stale
from headrace_broker.shards.session import Session
from headrace_proto.v1 import agents_pb2

from tests.fire.services import Call
from tests.fire.steps import granted, kinds
from tests.property.machine import Machine
from tests.support.processes import until

NOBODYS = 1 << 40
"""Ids from here on are of no job."""


def session_of(machine: Machine) -> Session:
    """That of the machine's agent."""
    assert machine.session is not None
    return machine.session


def completed(job_ids: Iterable[int], result: bytes = b"") -> agents_pb2.ConnectRequest:
    """A message that says that the first leases of these jobs completed."""
    ids = list(job_ids)
    return agents_pb2.ConnectRequest(completions=agents_pb2.Completions(job_ids=ids, lease_epochs=[1] * len(ids), results=[result] * len(ids) if result else []))


def failed(*job_ids: int) -> agents_pb2.ConnectRequest:
    """A message that says that the first leases of these jobs failed."""
    kind = agents_pb2.OUTCOME_KIND_FAILED
    return agents_pb2.ConnectRequest(outcomes=[agents_pb2.Outcome(job_id=job_id, lease_epoch=1, kind=kind) for job_id in job_ids])


async def decided(machine: Machine) -> None:
    """The database is back, and all that was reported is decided."""
    judging = asyncio.ensure_future(judge_stale(machine.owner, machine.heads))

    async def all_told() -> bool:
        await machine.flush()
        return not machine.owner.undecided.count(machine.agent_id)

    await until(all_told, what="an answer to everything")
    judging.cancel()
    await asyncio.wait([judging])


async def test_an_agent_that_reports_more_than_may_wait_is_not_heard_until_that_is_decided(
    machine: Machine, agents: AgentsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undecided, "MOST", 6)
    monkeypatch.setattr(undecided.Undecided, "forget", lambda _: None)  # as at a broker where something is undecided at any time
    first, second, third, fourth = await granted(machine, 4)
    session = session_of(machine)
    agents._hear(machine.owner, session, completed([first, NOBODYS, second]))
    agents._hear(machine.owner, session, failed(third, NOBODYS + 1, first))
    for again in (completed([NOBODYS + 2]), failed(fourth)):
        with pytest.raises(Busy, match="6 outcomes of this agent wait"):
            agents._hear(machine.owner, session, again)
    assert sum(map(undecided._count, machine.owner.endings)) == 6
    await decided(machine)
    assert [await kinds(machine, job_id) for job_id in (first, second, third, fourth)] == [["granted", "completed"]] * 2 + [["granted", "failed"], ["granted"]]
    agents._hear(machine.owner, session, completed([fourth]))  # as it came back with it
    await decided(machine)
    assert await kinds(machine, fourth) == ["granted", "completed"]


async def test_what_was_never_told_is_not_held_against_its_agent(machine: Machine, agents: AgentsService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(undecided, "MOST", 2)
    first, second = await granted(machine, 2)
    session = session_of(machine)
    agents._hear(machine.owner, session, completed([first]))
    machine.owner.undecided.take(machine.agent_id, machine.owner.endings)  # as if it had been kept twice
    with pytest.raises(Busy):
        agents._hear(machine.owner, session, completed([second]))
    await machine.flush()
    assert machine.owner.undecided.count(machine.agent_id) == 0
    agents._hear(machine.owner, session, completed([second]))
    await decided(machine)
    assert await kinds(machine, second) == ["granted", "completed"]


async def test_what_an_agent_reports_is_bounded_in_bytes_too_and_what_comes_alone_is_taken(
    machine: Machine, agents: AgentsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(undecided, "MOST_BYTES", 100)
    first, second = await granted(machine, 2)
    session = session_of(machine)
    for job_id in (first, second):
        agents._hear(machine.owner, session, completed([job_id], b"x" * 101))
        with pytest.raises(Busy):
            agents._hear(machine.owner, session, completed([NOBODYS], b"x"))
        await decided(machine)
        assert await kinds(machine, job_id) == ["granted", "completed"]


async def test_a_lease_that_its_agent_gives_back_again_and_again_is_queued_once(machine: Machine, agents: AgentsService) -> None:
    rejected, unnamed, kept = await granted(machine, 3)
    session, owner = session_of(machine), machine.owner
    for number in range(2, 8):
        reception.reject(owner, session, [(rejected, 1, "no room"), (NOBODYS, 1, "no room"), (kept, 5, "no room")])
        reception.heartbeat(owner, session, number, {rejected: 1, kept: 1}, machine.now)
    assert [ending.job_id for ending in owner.endings] == [rejected, unnamed]  # type: ignore[union-attr]  # none is a column
    await machine.flush()
    assert [owner.live_jobs[job_id].state for job_id in (rejected, unnamed, kept)] == [State.WAITING, State.WAITING, State.PROCESSING]


async def test_a_message_has_no_more_outcomes_than_a_call_may_have(machine: Machine, agents: AgentsService) -> None:
    await granted(machine)
    message = completed(range(NOBODYS, NOBODYS + 9_999))
    message.outcomes.extend(failed(NOBODYS, NOBODYS + 1).outcomes)
    with pytest.raises(InvalidField, match="at most 10000 outcomes in a message"):
        agents._hear(machine.owner, session_of(machine), message)
    assert not machine.owner.endings


async def test_who_is_no_agent_is_told_at_once_that_no_lease_is_theirs(machine: Machine, agents: AgentsService) -> None:
    [job_id] = await granted(machine)
    async with asyncio.timeout(10):  # nothing is flushed
        request = agents_pb2.ReportOutcomesRequest(incarnation_id="nobody", outcomes=failed(job_id, NOBODYS, job_id).outcomes)
        response = await agents.ReportOutcomes(request, Call())
    assert [ack.disposition for ack in response.acks] == [agents_pb2.DISPOSITION_UNKNOWN] * 3
    assert not machine.owner.endings
