"""The owner's decisions when several things meet in one round, or one comes while another is not durable yet: driven step by step on a real ledger."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from headrace_broker.model.errors import InvalidState, JobNotFound, NotOwner
from headrace_broker.model.job import MAX_RUN, Disposition, Kind, State
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.shards import changes, reception, refill
from headrace_broker.shards.intents import Change, Completions, Ending, PlainJobs, Verb
from headrace_broker.store.heads import Heads, StoredHead
from headrace_proto.v1 import agents_pb2

from tests.fire.steps import begin, end, granted, kinds, room
from tests.property.machine import LEASE_S, TESTER, Machine


async def test_a_loss_and_the_late_outcome_in_one_round_end_the_job_once(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.LOST), Ending(job_id, 1, Kind.COMPLETED, machine)])
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "lost"], "one event per job and flush"
    await machine.flush()
    assert await room(machine) == set()
    assert machine._acks[job_id, 1] is Disposition.ACCEPTED_LATE
    assert await kinds(machine, job_id) == ["granted", "lost", "completed"]


async def test_a_job_that_completed_late_is_not_granted_again(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.LOST)])
    await machine.flush()
    machine.owner.end([Ending(job_id, 1, Kind.COMPLETED, machine)])
    await machine.flush()
    assert await room(machine) == set()
    assert await kinds(machine, job_id) == ["granted", "lost", "completed"]


async def test_a_late_outcome_is_that_of_the_lease_that_was_lost_last(machine: Machine) -> None:
    [job_id] = await granted(machine)
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
    assert await kinds(machine, job_id) == ["granted", "lost", "granted", "owner_changed", "completed"]


@pytest.mark.parametrize("columns", [False, True])
async def test_an_outcome_that_names_an_event_which_is_no_grant_ends_nothing(machine: Machine, columns: bool) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    machine.owner.end([Completions([job_id], [2], None, machine) if columns else Ending(job_id, 2, Kind.COMPLETED, machine, b"")])
    await machine.flush()
    if not machine._acks:
        await machine._judge()
    assert machine._acks[job_id, 2] is Disposition.UNKNOWN
    assert await kinds(machine, job_id) == ["granted", "released"]


async def test_an_outcome_again_while_the_first_is_being_stored_cannot_be_judged_yet(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.COMPLETED, machine, b""), Ending(job_id, 1, Kind.COMPLETED, machine, b"")])
    round_ = machine.owner.build()
    await machine._judge()
    assert machine._acks[job_id, 1] is Disposition.NOT_OWNER, "the ledger does not have the first one yet"
    assert machine.ledger is not None
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert machine._acks[job_id, 1] is Disposition.ACCEPTED
    assert await kinds(machine, job_id) == ["granted", "completed"]
    assert await machine.pool.fetchval("select count(*) from headrace.note") == 0


async def test_an_ending_and_a_forced_abort_in_one_round_are_two_rounds_events(machine: Machine) -> None:
    [job_id] = await granted(machine)
    task = await begin(machine, Verb.ABORT, job_id, force=True)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "released"]
    change = await end(machine, task)
    assert (change.state, change.error) == (State.ABORTED, None)
    assert await room(machine) == set()
    assert await kinds(machine, job_id) == ["granted", "released", "aborted"]


async def test_a_change_that_was_decided_meanwhile_is_read_again(machine: Machine) -> None:
    [job_id] = await granted(machine)
    await machine.report(job_id, 1, Kind.COMPLETED)
    first, second = [await begin(machine, verb, job_id) for verb in (Verb.PURGE, Verb.REQUEUE)]
    assert (await end(machine, first)).error is None
    assert isinstance((await end(machine, second)).error, JobNotFound)
    assert await kinds(machine, job_id) == ["granted", "completed", "purged"]


class HeldHeads(Heads):
    """Keeps what it has read until it is let go."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.has_read = asyncio.Event()
        self.let_go = asyncio.Event()

    async def heads(self, job_ids: Sequence[int]) -> dict[int, StoredHead]:
        """As of now, but told later."""
        found = await super().heads(job_ids)
        self.has_read.set()
        await self.let_go.wait()
        return found


async def test_a_call_that_ends_leaves_the_others_their_note_of_what_moved(machine: Machine) -> None:
    [job_id] = await granted(machine)
    await machine.report(job_id, 1, Kind.COMPLETED)
    held = HeldHeads(machine.pool)
    slow = asyncio.ensure_future(changes.request(machine.owner, held, Verb.REQUEUE, [job_id], caller=TESTER, reason="", include_completed=True))
    await held.has_read.wait()
    assert isinstance((await end(machine, await begin(machine, Verb.PURGE, 12345))).error, JobNotFound)
    assert (await end(machine, await begin(machine, Verb.PURGE, job_id))).error is None
    held.let_go.set()
    assert isinstance((await end(machine, slow)).error, JobNotFound), "it was read again"
    assert await kinds(machine, job_id) == ["granted", "completed", "purged"]
    assert machine.owner.readers == []


async def test_a_change_that_is_not_durable_yet_is_seen_by_the_next(machine: Machine) -> None:
    await machine.submit(1)
    [job_id] = machine.jobs
    first = await begin(machine, Verb.ABORT, job_id)
    round_ = machine.owner.build()
    second = await begin(machine, Verb.ABORT, job_id)  # it reads the job as it was
    assert machine.ledger is not None
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert (await end(machine, first)).error is None
    assert isinstance((await end(machine, second)).error, InvalidState)
    assert await kinds(machine, job_id) == ["aborted"]


@pytest.mark.parametrize("columns", [False, True])
async def test_callers_of_a_round_whose_decision_breaks_off_are_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch, columns: bool) -> None:
    """An error that nobody expected: the owner is thrown away, and refuses whoever waits."""
    [job_id] = await granted(machine)
    abort = await begin(machine, Verb.ABORT, job_id)
    jobs: Any = PlainJobs(machine.type, 0, [b"{}"]) if columns else [(machine.type, 0, 0.0, b"{}")]
    submits = [machine.owner.submit(jobs, 2), machine.owner.submit(jobs, 2)]
    broken = "extend" if columns else "push"
    enter, calls = getattr(machine.owner.lanes, broken), []

    def fail(*args: Any) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise RuntimeError("test")
        enter(*args)

    monkeypatch.setattr(machine.owner.lanes, broken, fail)
    with pytest.raises(RuntimeError, match="test"):
        machine.owner.build()
    machine.owner.refuse(NotOwner("test"))
    waiting: list[asyncio.Future[Any]] = [*submits, abort]
    for done in waiting:
        with pytest.raises(NotOwner):
            await done


async def test_a_change_that_cannot_be_decided_is_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    [job_id] = await granted(machine)
    abort = await begin(machine, Verb.ABORT, job_id)

    def fail(*_: Any) -> None:
        raise RuntimeError("test")

    monkeypatch.setattr(changes, "decide", fail)
    with pytest.raises(RuntimeError, match="test"):
        machine.owner.build()
    machine.owner.refuse(NotOwner("test"))
    with pytest.raises(NotOwner):
        await abort


async def test_an_aborted_job_that_waited_is_not_granted(machine: Machine) -> None:
    await machine.submit(2)
    await machine.connect({})
    one, two = machine.jobs
    assert (await end(machine, await begin(machine, Verb.ABORT, one))).error is None
    assert await room(machine) == {two}
    assert await kinds(machine, one) == ["aborted"]


async def test_a_stream_that_was_replaced_is_not_heard_any_more(machine: Machine) -> None:
    [job_id] = await granted(machine)
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


async def test_a_checkpoint_of_an_older_lease_or_of_none_is_not_stored(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    for epoch in (1, 2):
        machine.owner.checkpoint(job_id, epoch, b"stale")
    assert await room(machine) == {job_id}
    machine.owner.checkpoint(job_id, 1, b"stale")
    machine.owner.checkpoint(job_id, 3, b"fresh")
    await machine.flush()
    assert [bytes(row["data"]) for row in await machine.pool.fetch("select data from headrace.note")] == [b"fresh"]


async def test_a_hello_does_not_claim_what_is_no_lease(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    assert machine.session is not None
    _, not_held, _ = reception.welcome(machine.owner, machine.session.facts, machine.session.served.values(), 10, {job_id: 2, 12345: 1}, object(), machine.now)
    assert not_held == [(job_id, 2), (12345, 1)]
    assert not machine.session.leases


async def test_leases_that_an_agent_comes_back_with_are_confirmed_when_they_are_proven_to_be_this_brokers_still(machine: Machine) -> None:
    """Another one may have taken over meanwhile, and grant them when their time is over: the agent must not count them anew by the word of this one."""
    [job_id] = await granted(machine)
    served, held = [agents_pb2.ServedType(type="work")], [agents_pb2.LeaseRef(job_id=job_id, lease_epoch=1)]
    service = AgentsService(None, machine.settings, None, None)  # type: ignore[arg-type]  # a greeting needs nothing of these
    for names in (True, False):
        hello = agents_pb2.Hello(agent_name="agent", incarnation_id="incarnation-0000", slots=4, types=served, held=held if names else [])
        greeted = await service._greet(machine.owner, agents_pb2.ConnectRequest(number=3, hello=hello), TESTER, passed_on=False)
        assert greeted is not None
        session, answer = greeted
        assert (len(answer.welcome.not_held), answer.welcome.seen_no) == (0, 0 if names else 3)
        if names:
            assert not session.due and machine.owner.wake.is_set()
            await machine.flush()
            assert session.take_out(machine.now).proven_no == 3


async def test_a_grant_that_is_being_stored_when_its_agent_comes_back_is_given_back_and_not_sent(machine: Machine) -> None:
    await machine.submit(1)
    [job_id] = machine.jobs
    await machine.connect({})
    session = machine.session
    assert session is not None and machine.ledger is not None
    session.set_credit(0, 1, [])
    machine.owner.hungry[session] = None
    round_ = machine.owner.build()
    await machine.connect({})  # it cannot know of it
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert session.take_out(machine.now).assigned == [], "it would run while somebody else may be granted the same job"
    assert await room(machine) == set()
    assert await room(machine) == {job_id}
    await machine._refill()
    assert [epoch for _, epoch, *_ in session.take_out(machine.now).assigned] == [3]
    assert await kinds(machine, job_id) == ["granted", "rejected", "granted"]


async def test_an_abort_of_a_job_that_was_not_sent_yet_is_told_with_it(machine: Machine) -> None:
    await machine.submit(1)
    [job_id] = machine.jobs
    await machine.connect({})
    session = machine.session
    assert session is not None
    assert await room(machine) == {job_id}
    await machine._refill()
    assigned, session.out.assigned = session.out.assigned, []  # as while its body is being read
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None
    assert session.take_out(machine.now).aborts == [], "the agent does not know the job, and would never be told again"
    session.out.assigned = assigned
    out = session.take_out(machine.now)
    assert [live.job_id for live, *_ in out.assigned] == [job_id]
    assert [(told, epoch) for told, epoch, _ in out.aborts] == [(job_id, 1)]


async def test_an_agent_that_was_lost_is_granted_nothing_on_the_stream_that_it_still_has(machine: Machine) -> None:
    await machine.submit(1)
    [job_id] = machine.jobs
    await machine.connect({})
    machine.now += LEASE_S + 1  # without a heartbeat
    await machine.flush()
    session = machine.session
    assert session is not None and session.stream is not None and session.out.go_away
    assert await room(machine) == set(), "nobody would look after that lease"
    await machine.connect({})
    assert machine.session is not session and await room(machine) == {job_id}


async def test_no_more_bodies_are_read_at_once_than_fit_into_memory_if_they_are_as_large_as_they_may_be(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refill, "AT_ONCE_BYTES", 2 * machine.owner.limits.payload_limit_bytes)
    await machine.submit(5)
    await machine.crash(check=False)  # memory has none of them
    await machine.connect({})
    read, sizes = machine.heads.bodies, []

    async def counted(job_ids: Sequence[int]) -> Any:
        sizes.append(len(job_ids))
        return await read(job_ids)

    machine.heads.bodies = counted  # type: ignore[method-assign]  # which are asked for together
    assert await room(machine) == set(machine.jobs)
    await machine._refill()
    assert sizes == [2, 2, 1]


async def _requeued(machine: Machine, job_id: int, **options: Any) -> Change:
    asking = changes.request(machine.owner, machine.heads, Verb.REQUEUE, [job_id], caller=TESTER, reason="", include_completed=True, **options)
    return await end(machine, asyncio.ensure_future(asking))


async def test_a_job_runs_as_often_as_the_database_can_count_and_not_once_more(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await machine.pool.fetchval("select $1::int::smallint", MAX_RUN) == MAX_RUN, "a flush with one more would be refused for ever"
    monkeypatch.setattr(changes, "MAX_RUN", 2)
    [job_id] = await granted(machine)
    assert (await _requeued(machine, job_id, abort_first=True)).error is None
    for run in (1, 2):
        machine.owner.end([Ending(job_id, machine.owner.live_jobs[job_id].seq, Kind.COMPLETED, machine, b"")])
        await machine.flush()
        if run == 1:
            assert await room(machine) == {job_id}
            assert isinstance((await _requeued(machine, job_id, abort_first=True)).error, InvalidState)
    assert isinstance((await _requeued(machine, job_id)).error, InvalidState)
    assert (await kinds(machine, job_id)).count("requeued") == 1
