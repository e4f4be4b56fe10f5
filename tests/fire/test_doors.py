"""Completions in somebody's transaction that is committed, while the owner does not know of it yet."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from headrace_broker.model.amended import Update
from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.shards import doors, reception
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.shards.refill import judge_stale
from headrace_broker.shards.undecided import report
from headrace_broker.store.inbox import Inbox

from tests.fire.steps import granted, kinds
from tests.property.machine import LEASE_S
from tests.property.test_doors import REJECT, Doors
from tests.support.processes import until


@pytest.fixture
async def machine(database: str) -> AsyncIterator[Doors]:
    """The owner, on a database of its own, and what comes to it from outside."""
    machine = Doors(database)
    await machine.open()
    yield machine
    await machine.close()


async def _completed(machine: Doors, job_id: int) -> None:
    transaction = await machine.begin()
    assert await machine.complete_through_door(transaction, job_id, machine.jobs[job_id].seq)
    await machine.end(transaction, commit=True)


@pytest.mark.parametrize("include_completed", [True, False])
async def test_a_job_that_is_to_run_again_does_so_although_its_broker_dies_before_it_hears_of_the_completion(machine: Doors, include_completed: bool) -> None:
    [job_id] = await granted(machine)
    await machine.change(Verb.UPDATE, job_id, update=Update(priority=2))
    await machine.change(Verb.REQUEUE, job_id, abort_first=True, include_completed=include_completed, payload=b"again")
    await _completed(machine, job_id)
    await machine.crash()
    assert await kinds(machine, job_id) == ["granted", "completed"] + ["requeued"] * include_completed
    await machine.crash()
    assert await kinds(machine, job_id) == ["granted", "completed"] + ["requeued"] * include_completed, "once"
    await machine.settle_ties()
    machine.check_memory()
    await machine.check_store()


async def test_nothing_is_done_to_a_job_before_its_completion_is_taken_up(machine: Doors) -> None:
    [job_id] = await granted(machine)
    await _completed(machine, job_id)
    for verb in (Verb.UPDATE, Verb.ABORT, Verb.PURGE):  # each is told to come back
        await machine.change(verb, job_id, update=Update(hold=True) if verb is Verb.UPDATE else None)
    await machine.take_inbox()
    assert machine.jobs[job_id].state is State.COMPLETED
    await machine.change(Verb.UPDATE, job_id, update=Update(hold=True))
    await machine.check_store()


async def _to_run_again(machine: Doors) -> int:
    """A job with a unique key that is to run again whatever becomes of it, and has been completed in a transaction of which the owner has not heard."""
    await machine.submit_unique(b"1", "u", "")
    await machine.grant(1)
    [job_id] = machine.jobs
    await machine.change(Verb.REQUEUE, job_id, abort_first=True, include_completed=True)
    await _completed(machine, job_id)
    return job_id


@pytest.mark.parametrize("when", ["before", "meanwhile", "a broker died"])
async def test_a_job_does_not_run_again_when_another_took_its_unique_key_since_it_completed(machine: Doors, when: str) -> None:
    job_id = await _to_run_again(machine)
    if when == "meanwhile":
        inbox, owner = Inbox(machine.pool), machine.owner
        owner.doors.cursor = await inbox.cursor()
        taking = asyncio.ensure_future(doors._take_chunk(owner, inbox, machine.reader, machine.heads))

        async def read() -> bool:
            return bool(owner.doors)

        await until(read, what="the look at who has the key: nobody")
        await machine.submit_unique(b"2", "u", REJECT)
        await machine.until_done(taking)
    else:
        await machine.submit_unique(b"2", "u", REJECT)
    if when == "a broker died":
        await machine.crash()
    await machine.take_inbox()
    assert await kinds(machine, job_id) == ["granted", "completed"]
    [other] = machine.jobs.keys() - {job_id}
    assert machine.jobs[other].state is State.WAITING
    [told] = await machine.pool.fetch("select target, reason, after from headrace.audit where after ? 'refused'")
    assert told["target"] == f"job/{job_id}" and "unique key 'u'" in json.loads(told["after"])["refused"]
    machine.check_memory()
    await machine.check_store()


async def test_a_new_run_after_a_completion_takes_its_unique_key_back_from_a_holder_that_has_settled(machine: Doors) -> None:
    job_id = await _to_run_again(machine)
    await machine.submit_unique(b"2", "u", REJECT)
    [other] = machine.jobs.keys() - {job_id}
    await machine.change(Verb.ABORT, other)
    await machine.take_inbox()
    assert await kinds(machine, job_id) == ["granted", "completed", "requeued"]
    await machine.submit_unique(b"3", "u", REJECT)  # is refused
    await machine.check_store()


@dataclass(eq=False)
class Asker:
    """Somebody who reports outcomes of an agent, and what they were answered."""

    agent_id: int
    told: list[Disposition] = field(default_factory=list)

    def ack(self, job_ids: list[int], epochs: list[int], disposition: Disposition) -> None:
        """As a session takes it."""
        self.told += [disposition] * len(job_ids)


@pytest.mark.parametrize("commit", [False, True], ids=["rolled back", "committed"])
async def test_everybody_is_answered_who_reports_an_outcome_while_a_transaction_may_complete_the_job(machine: Doors, commit: bool) -> None:
    [job_id] = await granted(machine)
    owner, epoch = machine.owner, machine.jobs[job_id].seq
    transaction = await machine.begin()
    assert await machine.complete_through_door(transaction, job_id, epoch)
    askers = [Asker(machine.agent_id), Asker(machine.agent_id)]  # the agent that came back after it was taken for lost, or a call beside its stream
    for asker in (*askers, askers[0]):
        report(owner, asker, [Ending(job_id, epoch, Kind.COMPLETED, asker, b"", door=True)])
        await machine.flush()
    assert owner.doors.settling() == [job_id] and not any(asker.told for asker in askers)
    machine.open_ones.remove(transaction)
    machine.doors.clear()
    await transaction.con.execute("commit" if commit else "rollback")
    await transaction.con.close()
    machine.pass_time(1.0)
    while owner.doors.settling():
        await machine.flush()
    judging = asyncio.ensure_future(judge_stale(owner, machine.heads))  # now: who asks while a flush is under way may be told to ask again

    async def all_told() -> bool:
        return all(asker.told for asker in askers)

    await until(all_told, what="an answer to each of them")
    judging.cancel()
    await asyncio.wait([judging])
    assert [asker.told for asker in askers] == [[Disposition.ALREADY_APPLIED if commit else Disposition.ACCEPTED], [Disposition.ALREADY_APPLIED]]
    assert not owner.undecided.count(machine.agent_id)


@pytest.mark.parametrize("then", ["it goes on", "its agent is lost", "its agent gives it back"])
async def test_a_lease_that_its_agent_claims_while_its_end_waits_for_a_transaction_goes_on(machine: Doors, then: str) -> None:
    """The agent is told that the lease is its own: the job must not be granted to somebody else beside it."""
    [job_id] = await granted(machine)
    await machine.crash()
    transaction = await machine.begin()
    assert await machine.complete_through_door(transaction, job_id, 1)
    machine.now += LEASE_S + 1  # nobody has claimed it
    await machine.flush()
    assert machine.owner.doors.settling() == [job_id]
    await machine.connect({job_id: 1})
    assert machine.session is not None and set(machine.session.leases) == {job_id}
    if then == "its agent gives it back":
        for number in (1, 2):
            reception.heartbeat(machine.owner, machine.session, number, {}, machine.now)
        await machine.flush()
    if then == "its agent is lost":
        machine.now += LEASE_S + 1
        await machine.flush()
    await machine.end(transaction, commit=False)
    if then == "it goes on":
        assert await kinds(machine, job_id) == ["granted"] and set(machine.session.leases) == {job_id}
        return
    machine.now += 1
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "lost" if then == "its agent is lost" else "rejected"], "and not never"
