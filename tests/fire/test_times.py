"""What time ends, what it must not end yet, and what an outage or a takeover does to both: the owner driven step by step by a clock that the test moves."""

from typing import Any

import pytest
from headrace_broker.actions.lists import JobLists
from headrace_broker.actions.reads import JobReads
from headrace_broker.model.errors import DatabaseUnavailable, Draining, JobNotFound
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.model.job import Kind, State
from headrace_broker.shards import reception, sweep
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.shards.live import Live
from headrace_broker.shards.sweep import MAX_OWNER_CHANGES
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder

from tests.fire.steps import begin, end, granted, kinds, room
from tests.property.machine import LEASE_S, TESTER, Machine
from tests.support.crews import grants


async def test_a_job_that_was_put_off_waits_for_its_time(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED, delay_s=5.0)])
    await machine.flush()
    assert await room(machine) == set()
    machine.now += 5.5
    assert await room(machine) == {job_id}


async def test_a_forced_abort_holds_the_next_lease_back_until_the_old_one_has_ended(machine: Machine) -> None:
    machine.now += 10 * LEASE_S  # the takeover is long ago
    [job_id] = await granted(machine)
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id, force=True))).error is None
    assert (await end(machine, await begin(machine, Verb.REQUEUE, job_id))).error is None
    assert machine.session is not None
    for passed_s in (LEASE_S - 1, 1.5):
        assert await room(machine) == set()
        machine.now += passed_s
        reception.heartbeat(machine.owner, machine.session, 99, {}, machine.now)
    assert await room(machine) == {job_id}


async def test_an_agent_whose_connection_closed_has_a_grace_to_come_back_and_no_more(machine: Machine) -> None:
    [job_id] = await granted(machine)
    grace_s = machine.owner.limits.disconnect_grace_s
    assert machine.session is not None and grace_s < LEASE_S / 3
    machine.session.detach(machine.now)
    machine.now += grace_s - 0.5
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted"]
    machine.now += 1.0
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "lost"]


@pytest.mark.parametrize("requeued", ["since", "before", "before the checkpoint"])
async def test_after_a_takeover_a_forced_abort_still_holds_the_next_lease_back(machine: Machine, requeued: str) -> None:
    [job_id] = await granted(machine)
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id, force=True))).error is None
    if requeued != "since":
        assert (await end(machine, await begin(machine, Verb.REQUEUE, job_id))).error is None
    if requeued == "before the checkpoint":
        await machine.flush()
        await machine.checkpoint(store=True, publish=True)
    await machine.crash(check=False)
    await machine.connect({})
    if requeued == "since":
        assert (await end(machine, await begin(machine, Verb.REQUEUE, job_id))).error is None
    assert await room(machine) == set(), "whoever held it may still run"
    machine.now += LEASE_S + 0.5
    assert machine.session is not None
    reception.heartbeat(machine.owner, machine.session, 99, {}, machine.now)
    assert await room(machine) == {job_id}


@pytest.mark.parametrize("aborted", ["before", "since"])
async def test_a_lease_that_was_longer_before_the_takeover_is_waited_for_to_its_end(machine: Machine, aborted: str) -> None:
    """Whoever starts brokers may shorten leases; an agent that hears nothing keeps what it was told."""
    [job_id] = await granted(machine)
    if aborted == "before":
        assert (await end(machine, await begin(machine, Verb.ABORT, job_id, force=True))).error is None
    machine.lease_s = LEASE_S / 2
    await machine.crash(check=False)
    if aborted == "since":
        assert (await end(machine, await begin(machine, Verb.ABORT, job_id, force=True))).error is None
    await machine.connect({})
    assert (await end(machine, await begin(machine, Verb.REQUEUE, job_id))).error is None
    assert machine.session is not None
    for passed_s in (LEASE_S / 2 + 1, LEASE_S / 2 - 0.5):
        assert await room(machine) == set()
        machine.now += passed_s
        reception.heartbeat(machine.owner, machine.session, 99, {}, machine.now)
    assert await room(machine) == {job_id}


@pytest.mark.parametrize("since", ["claimed", "granted anew"])
async def test_a_lease_that_was_longer_is_waited_for_also_when_its_agent_came_back_and_fell_silent(machine: Machine, since: str) -> None:
    """What it is told when it comes back may never arrive; a lease that is granted since is as long as leases are now."""
    [job_id] = await granted(machine)
    machine.lease_s = LEASE_S / 2
    await machine.crash(check=False)
    await machine.connect({job_id: 1})
    assert machine.session is not None
    if since == "granted anew":
        machine.owner.end([Ending(job_id, 1, Kind.RELEASED, machine)])
        await machine.flush()
        assert await grants(machine, machine.session) == [[job_id]]
    machine.now += LEASE_S / 2 + 1
    await machine.flush()
    assert (await kinds(machine, job_id))[-1] == "lost"
    await machine.connect({})
    if since == "claimed":
        assert await room(machine) == set(), "its agent may go on"
        machine.now += LEASE_S / 2 - 0.5
        reception.heartbeat(machine.owner, machine.session, 99, {}, machine.now)
    assert await room(machine) == {job_id}


async def test_after_a_takeover_an_abort_that_was_heard_holds_nothing_back(machine: Machine) -> None:
    [job_id] = await granted(machine)
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None
    machine.owner.end([Ending(job_id, 1, Kind.ABORTED, machine)])
    await machine.flush()
    assert (await end(machine, await begin(machine, Verb.REQUEUE, job_id))).error is None
    await machine.crash(check=False)
    await machine.connect({})
    assert await room(machine) == {job_id}


async def test_a_request_to_abort_outlives_its_broker(machine: Machine) -> None:
    [job_id] = await granted(machine)
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None
    await machine.crash()
    await machine.connect({job_id: 1})
    assert machine.session is not None and [abort[:2] for abort in machine.session.out.aborts] == [(job_id, 1)]
    machine.owner.end([Ending(job_id, 1, Kind.FAILED, machine)])
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "aborted"]
    assert not machine.session.leases, "a settled job holds no lease"


async def test_leases_that_nobody_ever_claims_are_charged_in_the_end(machine: Machine) -> None:
    [job_id] = await granted(machine)
    for _ in range(MAX_OWNER_CHANGES + 1):
        await machine.crash()
        await machine.connect({})
        assert machine.session is not None
        machine.owner.by_incarnation.clear()  # another agent than the one that had it
        machine.owner.endings.clear()
        machine.now += LEASE_S + 1
        await machine.flush()
        await machine.connect({})
        assert await room(machine) == {job_id}
    history = await kinds(machine, job_id)
    assert history.count("owner_changed") == MAX_OWNER_CHANGES and history.count("lost") == 1


async def test_a_heartbeat_is_confirmed_only_by_a_flush_that_began_after_it(machine: Machine) -> None:
    [job_id] = await granted(machine)
    session = machine.session
    assert session is not None and machine.ledger is not None
    round_ = machine.owner.build()
    reception.heartbeat(machine.owner, session, 50, {job_id: 1}, machine.now)
    await machine.ledger.flush(round_.batch)
    machine.owner.settle(round_)
    assert session.out.proven_no == 0
    await machine.flush()
    assert session.out.proven_no == 50


async def test_what_was_never_sent_to_an_agent_that_dies_is_charged_nothing(machine: Machine) -> None:
    await machine.submit(1)
    await machine.connect({})
    [job_id] = await room(machine)
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "rejected"]


async def test_nothing_expires_while_the_database_was_away(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.refuse(DatabaseUnavailable("away"))
    machine.now += 10 * LEASE_S
    machine.owner.accept_work()
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted"]
    assert machine.session is not None and set(machine.session.leases) == {job_id}
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "lost"]


async def test_leases_that_nobody_claimed_yet_do_not_end_while_the_database_was_away(machine: Machine) -> None:
    [job_id] = await granted(machine)
    await machine.crash()
    machine.owner.refuse(DatabaseUnavailable("away"))
    machine.now += 10 * LEASE_S
    machine.owner.accept_work()
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted"]
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "owner_changed"]


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
    assert owner.keyed.build() is None
    assert await machine.pool.fetchval("select count(*) from headrace.job") == 0


async def test_after_its_date_a_job_is_gone_for_everybody(machine: Machine) -> None:
    await machine.types.override(machine.type, {"delete_completed_after_s": 0.0}, [], caller=TESTER)
    [job_id] = await granted(machine)
    await machine.submit(1)
    await machine.report(job_id, 1, Kind.COMPLETED)
    assert machine.session is not None and not machine.session.leases, "a settled job holds no lease"
    reads, lists = JobReads(machine.owner, Reads(machine.pool)), JobLists(machine.owner, Reads(machine.pool), Finder(machine.pool))

    async def listed() -> list[Any]:
        page = await lists.page("default", JobFilter(), order=Order.NEWEST_FIRST, limit=10)
        return [job.row.job_id for job in page.jobs]

    assert (await reads.get(job_id, "default")).row.state is State.COMPLETED and job_id in await listed()
    assert machine.owner.counts("default")["work"][State.COMPLETED] == 1
    assert (await lists.count("default", JobFilter(created=Period(0.0)))).types["work"][State.COMPLETED] == 1
    machine.now += 61
    assert (await lists.count("default", JobFilter(created=Period(0.0)))).types == {"work": {State.WAITING: 1}}
    with pytest.raises(JobNotFound):
        await reads.get(job_id, "default")
    assert job_id not in await listed() and len(await listed()) == 1
    assert State.COMPLETED not in machine.owner.counts("default")["work"]
    for verb in (Verb.REQUEUE, Verb.PURGE):
        assert isinstance((await end(machine, await begin(machine, verb, job_id))).error, JobNotFound)
    assert await kinds(machine, job_id) == ["granted", "completed"]


class Unlooked(dict[int, Live]):
    """Jobs that nobody goes through."""

    def values(self) -> Any:
        raise AssertionError("all live jobs are looked at")


@pytest.mark.parametrize("claimed", [True, False])
async def test_of_very_many_live_jobs_only_those_that_are_leased_are_looked_at_each_time(machine: Machine, monkeypatch: pytest.MonkeyPatch, claimed: bool) -> None:
    monkeypatch.setattr(sweep, "FEW", 0)
    [job_id] = await granted(machine)
    if not claimed:
        await machine.crash()
    owner = machine.owner
    sweep.sweep(owner, machine.now)
    owner.live_jobs = Unlooked(owner.live_jobs)
    live = owner.live_jobs[job_id]
    live.deadline, live.lease_end = machine.now, machine.now
    sweep.sweep(owner, machine.now + 1)
    assert [(ending.job_id, ending.kind) for ending in owner.endings if isinstance(ending, Ending)] == [(job_id, Kind.TIMED_OUT if claimed else Kind.OWNER_CHANGED)]
    with pytest.raises(AssertionError, match="are looked at"):
        sweep.sweep(owner, machine.now + sweep.ALL_S)
