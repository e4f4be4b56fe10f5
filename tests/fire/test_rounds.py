"""The owner's decisions when several things meet in one round, or one comes while another is not durable yet: driven step by step on a real ledger."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from headrace_broker.actions.reads import JobReads
from headrace_broker.model.errors import DatabaseUnavailable, Draining, InvalidState, JobNotFound
from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.shards import changes, reception
from headrace_broker.shards.intents import Change, Ending, Verb
from headrace_broker.shards.sweep import MAX_OWNER_CHANGES
from headrace_broker.store.reads import Reads
from headrace_proto.v1 import agents_pb2

from tests.property.machine import LEASE_S, Machine


@pytest.fixture
async def machine(database: str) -> AsyncIterator[Machine]:
    machine = Machine(database)
    await machine.open()
    yield machine
    await machine.close()


async def _granted(machine: Machine, count: int = 1) -> list[int]:
    await machine.submit(count)
    await machine.grant(count)
    return [job_id for job_id, job in machine.jobs.items() if job.state is State.PROCESSING]


async def _begin(machine: Machine, verb: Verb, job_id: int, *, force: bool = False) -> "asyncio.Task[list[Change]]":
    """A change that has read where the job stands, and waits to be decided."""
    queued = len(machine.owner._changes)
    task = asyncio.ensure_future(
        changes.request(machine.owner, machine.heads, verb, [job_id], domain="default", actor="test", reason="", include_completed=True, force=force)
    )
    while len(machine.owner._changes) == queued and not task.done():
        await asyncio.sleep(0)
    return task


async def _end(machine: Machine, task: "asyncio.Task[list[Change]]") -> Change:
    while not task.done():
        if machine.owner.has_intents:
            await machine.flush()
        await asyncio.sleep(0)
    [change] = task.result()
    return change


async def _kinds(machine: Machine, job_id: int) -> list[str]:
    rows = await machine.pool.fetch("select kind from headrace.event where job_id = $1 order by seq", job_id)
    return [Kind(row["kind"]).name.lower() for row in rows]


async def _room(machine: Machine, free: int = 10) -> set[int]:
    """Gives the agent room; returns the jobs that it was granted."""
    assert machine.session is not None
    before = set(machine.session.leases)
    machine.session.set_credit(machine.session.assign_no, free, [])
    machine.owner.hungry[machine.session] = None
    await machine.flush(grant=True)
    return set(machine.session.leases) - before


async def test_a_loss_and_the_late_outcome_in_one_round_end_the_job_once(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.LOST), Ending(job_id, 1, Kind.COMPLETED, machine)])
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "lost"], "one event per job and flush"
    await machine.flush()
    assert await _room(machine) == set()
    assert machine._acks[job_id, 1] is Disposition.ACCEPTED_LATE
    assert await _kinds(machine, job_id) == ["granted", "lost", "completed"]


async def test_a_job_that_completed_late_is_not_granted_again(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.LOST)])
    await machine.flush()
    machine.owner.end([Ending(job_id, 1, Kind.COMPLETED, machine)])
    await machine.flush()
    assert await _room(machine) == set()
    assert await _kinds(machine, job_id) == ["granted", "lost", "completed"]


async def test_a_late_outcome_is_that_of_the_lease_that_was_lost_last(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    await machine.lose()
    await machine.grant(1)
    machine.owner.end([Ending(job_id, 3, Kind.OWNER_CHANGED)])
    await machine.flush()
    for epoch, wanted in ((1, Disposition.SUPERSEDED), (3, Disposition.ACCEPTED_LATE)):
        machine._acks.clear()
        machine.owner.end([Ending(job_id, epoch, Kind.COMPLETED, machine, b"")])
        await machine.flush()
        if not machine._acks:
            await machine._judge()
        assert machine._acks[job_id, epoch] is wanted
    assert await _kinds(machine, job_id) == ["granted", "lost", "granted", "owner_changed", "completed"]


async def test_an_outcome_that_names_an_event_which_is_no_grant_ends_nothing(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    machine.owner.end([Ending(job_id, 2, Kind.COMPLETED, machine, b"")])
    await machine.flush()
    if not machine._acks:
        await machine._judge()
    assert machine._acks[job_id, 2] is Disposition.UNKNOWN
    assert await _kinds(machine, job_id) == ["granted", "released"]


async def test_an_outcome_again_while_the_first_is_being_stored_cannot_be_judged_yet(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.COMPLETED, machine, b""), Ending(job_id, 1, Kind.COMPLETED, machine, b"")])
    round_ = machine.owner.build()
    await machine._judge()
    assert machine._acks[job_id, 1] is Disposition.NOT_OWNER, "the ledger does not have the first one yet"
    assert machine.ledger is not None
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert machine._acks[job_id, 1] is Disposition.ACCEPTED
    assert await _kinds(machine, job_id) == ["granted", "completed"]
    assert await machine.pool.fetchval("select count(*) from headrace.note") == 0


async def test_an_ending_and_a_forced_abort_in_one_round_are_two_rounds_events(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    task = await _begin(machine, Verb.ABORT, job_id, force=True)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "released"]
    change = await _end(machine, task)
    assert (change.state, change.error) == (State.ABORTED, None)
    assert await _room(machine) == set()
    assert await _kinds(machine, job_id) == ["granted", "released", "aborted"]


async def test_a_change_that_was_decided_meanwhile_is_read_again(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    await machine.report(job_id, 1, Kind.COMPLETED)
    first, second = [await _begin(machine, verb, job_id) for verb in (Verb.PURGE, Verb.REQUEUE)]
    assert (await _end(machine, first)).error is None
    assert isinstance((await _end(machine, second)).error, JobNotFound)
    assert await _kinds(machine, job_id) == ["granted", "completed", "purged"]


async def test_a_change_that_is_not_durable_yet_is_seen_by_the_next(machine: Machine) -> None:
    await machine.submit(1)
    [job_id] = machine.jobs
    first = await _begin(machine, Verb.ABORT, job_id)
    round_ = machine.owner.build()
    second = await _begin(machine, Verb.ABORT, job_id)  # it reads the job as it was
    assert machine.ledger is not None
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert (await _end(machine, first)).error is None
    assert isinstance((await _end(machine, second)).error, InvalidState)
    assert await _kinds(machine, job_id) == ["aborted"]


async def test_an_aborted_job_that_waited_is_not_granted(machine: Machine) -> None:
    await machine.submit(2)
    await machine.connect({})
    one, two = machine.jobs
    assert (await _end(machine, await _begin(machine, Verb.ABORT, one))).error is None
    assert await _room(machine) == {two}
    assert await _kinds(machine, one) == ["aborted"]


async def test_a_job_that_was_put_off_waits_for_its_time(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED, delay_s=5.0)])
    await machine.flush()
    assert await _room(machine) == set()
    machine.now += 5.5
    assert await _room(machine) == {job_id}


async def test_a_forced_abort_holds_the_next_lease_back_until_the_old_one_has_ended(machine: Machine) -> None:
    machine.now += 10 * LEASE_S  # the takeover is long ago
    [job_id] = await _granted(machine)
    assert (await _end(machine, await _begin(machine, Verb.ABORT, job_id, force=True))).error is None
    assert (await _end(machine, await _begin(machine, Verb.REQUEUE, job_id))).error is None
    assert machine.session is not None
    for passed_s in (LEASE_S - 1, 1.5):
        assert await _room(machine) == set()
        machine.now += passed_s
        reception.heartbeat(machine.owner, machine.session, 99, {}, machine.now)
    assert await _room(machine) == {job_id}


async def test_an_agent_whose_connection_closed_has_a_grace_to_come_back_and_no_more(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    grace_s = machine.owner.limits.disconnect_grace_s
    assert machine.session is not None and grace_s < LEASE_S / 3
    machine.session.detach(machine.now)
    machine.now += grace_s - 0.5
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted"]
    machine.now += 1.0
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "lost"]


async def test_after_a_takeover_a_forced_abort_still_holds_the_next_lease_back(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    assert (await _end(machine, await _begin(machine, Verb.ABORT, job_id, force=True))).error is None
    await machine.crash()
    await machine.connect({})
    assert (await _end(machine, await _begin(machine, Verb.REQUEUE, job_id))).error is None
    assert await _room(machine) == set(), "whoever held it may still run"
    machine.now += LEASE_S + 0.5
    assert machine.session is not None
    reception.heartbeat(machine.owner, machine.session, 99, {}, machine.now)
    assert await _room(machine) == {job_id}


async def test_a_request_to_abort_outlives_its_broker(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    assert (await _end(machine, await _begin(machine, Verb.ABORT, job_id))).error is None
    await machine.crash()
    await machine.connect({job_id: 1})
    assert machine.session is not None and [abort[:2] for abort in machine.session.out.aborts] == [(job_id, 1)]
    machine.owner.end([Ending(job_id, 1, Kind.FAILED, machine)])
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "aborted"]


async def test_leases_that_nobody_ever_claims_are_charged_in_the_end(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    for _ in range(MAX_OWNER_CHANGES + 1):
        await machine.crash()
        await machine.connect({})
        assert machine.session is not None
        machine.owner.by_incarnation.clear()  # another agent than the one that had it
        machine.owner.endings.clear()
        machine.now += LEASE_S + 1
        await machine.flush()
        await machine.connect({})
        assert await _room(machine) == {job_id}
    kinds = await _kinds(machine, job_id)
    assert kinds.count("owner_changed") == MAX_OWNER_CHANGES and kinds.count("lost") == 1


async def test_a_heartbeat_is_confirmed_only_by_a_flush_that_began_after_it(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    session = machine.session
    assert session is not None and machine.ledger is not None
    round_ = machine.owner.build()
    reception.heartbeat(machine.owner, session, 50, {job_id: 1}, machine.now)
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert session.out.proven_no == 0
    await machine.flush()
    assert session.out.proven_no == 50


async def test_a_stream_that_was_replaced_is_not_heard_any_more(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    session = machine.session
    assert session is not None
    old = session.stream
    await machine.connect({job_id: 1})
    machine.owner.endings.clear()

    async def left_over() -> AsyncIterator[agents_pb2.ConnectRequest]:
        yield agents_pb2.ConnectRequest(number=99, outcomes=[agents_pb2.Outcome(job_id=job_id, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_FAILED)])

    service = AgentsService(None, machine.settings, None, None)  # type: ignore[arg-type]  # reading needs nothing of these
    await service._read(machine.owner, session, old, left_over())
    assert not machine.owner.endings and session.last_no != 99
    await service._read(machine.owner, session, session.stream, left_over())
    assert len(machine.owner.endings) == 1 and session.last_no == 99


async def test_what_was_never_sent_to_an_agent_that_dies_is_charged_nothing(machine: Machine) -> None:
    await machine.submit(1)
    await machine.connect({})
    [job_id] = await _room(machine)
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "rejected"]


async def test_nothing_expires_while_the_database_was_away(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.refuse(DatabaseUnavailable("away"))
    machine.now += 10 * LEASE_S
    machine.owner.accept_work()
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted"]
    assert machine.session is not None and set(machine.session.leases) == {job_id}
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "lost"]


async def test_leases_that_nobody_claimed_yet_do_not_end_while_the_database_was_away(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    await machine.crash()
    machine.owner.refuse(DatabaseUnavailable("away"))
    machine.now += 10 * LEASE_S
    machine.owner.accept_work()
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted"]
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await _kinds(machine, job_id) == ["granted", "owner_changed"]


async def test_a_broker_that_drains_takes_no_work_again_when_the_database_is_back(machine: Machine) -> None:
    machine.owner.refuse(Draining("shutting down"))
    machine.owner.accept_work()
    with pytest.raises(Draining):
        machine.owner.submit([(machine.type, 0, 0.0, b"{}")], 2)


async def test_what_was_refused_is_not_stored_later(machine: Machine) -> None:
    owner = machine.owner
    plain = owner.submit([(machine.type, 0, 0.0, b"{}")], 2)
    keyed = owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, "key", b"hash", 2)
    owner.refuse(DatabaseUnavailable("away"))
    for future in (plain, keyed):
        with pytest.raises(DatabaseUnavailable):
            await future
    with pytest.raises(DatabaseUnavailable):
        owner.submit([(machine.type, 0, 0.0, b"{}")], 2)
    owner.accept_work()
    await machine.flush()
    assert owner.build_keyed() is None
    assert await machine.pool.fetchval("select count(*) from headrace.job") == 0


async def test_a_checkpoint_of_an_older_lease_or_of_none_is_not_stored(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    for epoch in (1, 2):
        machine.owner.checkpoint(job_id, epoch, b"stale")
    assert await _room(machine) == {job_id}
    machine.owner.checkpoint(job_id, 1, b"stale")
    machine.owner.checkpoint(job_id, 3, b"fresh")
    await machine.flush()
    assert [bytes(row["data"]) for row in await machine.pool.fetch("select data from headrace.note")] == [b"fresh"]


async def test_a_hello_does_not_claim_what_is_no_lease(machine: Machine) -> None:
    [job_id] = await _granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    assert machine.session is not None
    _, not_held, _ = reception.welcome(machine.owner, machine.session.facts, machine.session.served.values(), 10, {job_id: 2, 12345: 1}, object(), machine.now)
    assert not_held == [(job_id, 2), (12345, 1)]
    assert not machine.session.leases


async def test_after_its_date_a_job_is_gone_for_everybody(machine: Machine) -> None:
    await machine.types.override(machine.type, {"delete_completed_after_s": 0.0}, [])
    [job_id] = await _granted(machine)
    await machine.submit(1)
    await machine.report(job_id, 1, Kind.COMPLETED)
    assert machine.session is not None and not machine.session.leases, "a settled job holds no lease"
    reads = JobReads(machine.owner, Reads(machine.pool))

    async def listed() -> list[Any]:
        page = await reads.list_jobs("default", types=[], states=set(), instance_id=None, from_id=0, below=1 << 62, limit=10)
        return [job.row.job_id for job in page.jobs]

    assert (await reads.get(job_id, "default")).row.state is State.COMPLETED and job_id in await listed()
    assert machine.owner.counts("default")["work"][State.COMPLETED] == 1
    machine.now += 61
    with pytest.raises(JobNotFound):
        await reads.get(job_id, "default")
    assert job_id not in await listed() and len(await listed()) == 1
    assert State.COMPLETED not in machine.owner.counts("default")["work"]
    for verb in (Verb.REQUEUE, Verb.PURGE):
        assert isinstance((await _end(machine, await _begin(machine, verb, job_id))).error, JobNotFound)
    assert await _kinds(machine, job_id) == ["granted", "completed"]
