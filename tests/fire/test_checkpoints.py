"""Checkpoints: what a broker that takes over makes of one, whatever happened before it, after it and to it. Driven step by step on a real ledger."""

import asyncio
from array import array
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.model.job import Kind, State
from headrace_broker.shards import checkpoint, recover
from headrace_broker.shards.checkpoint import Checkpoints
from headrace_broker.shards.flusher import Flusher
from headrace_broker.shards.health import FlushHealth
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.store.batch import FullBody
from headrace_broker.store.checkpoints import CheckpointStore
from headrace_broker.store.ledger import ResultUnknown
from headrace_broker.store.recovery import Recovery, StoredLive
from headrace_broker.store.statements import sql

from tests.fire.steps import begin, end, kinds, room
from tests.property.machine import Job, Machine
from tests.support.processes import until


async def _stored(machine: Machine) -> Any:
    """The newest checkpoint, if it is whole."""
    return await CheckpointStore(machine.pool).find()


async def _schedule(machine: Machine, due_s: list[float]) -> list[int]:
    """Jobs that wait for a time; the model knows nothing of them."""
    done = machine.owner.submit([(machine.type, 3, machine.owner.clock.now_s() + after_s, b"{}") for after_s in due_s], 2 * len(due_s))
    await machine.flush()
    return done.result()


async def _abort(machine: Machine, job_id: int) -> None:
    assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).error is None


async def test_a_takeover_knows_every_job_whatever_happened_before_the_checkpoint_and_since(machine: Machine) -> None:
    await machine.submit(4)
    settled, runs, asked, again = machine.jobs
    await machine.grant(4)
    await machine.change(Verb.ABORT, asked)
    await machine.report(settled, 1, Kind.COMPLETED)
    await machine.report(again, 1, Kind.FAILED)
    early, late, cancelled = await _schedule(machine, [60.0, 7200.0, 60.0])
    await machine.submit(4)
    aborted, ready, granted_later, aborted_later = list(machine.jobs)[4:]
    await machine.change(Verb.ABORT, aborted)
    await machine.flush()  # the floor is later than all of this
    await machine.checkpoint(store=True, publish=True)
    await machine.change(Verb.ABORT, aborted_later)
    await _abort(machine, cancelled)
    await machine.submit(2)
    newest = list(machine.jobs)[-2:]
    lanes = machine.owner.lanes
    lanes.pop(machine.type.type_id, 0, 10)
    lanes.extend(machine.type.type_id, 0, [granted_later])
    assert await room(machine, 1) == {granted_later}
    job = machine.jobs[granted_later]
    job.state, job.seq, job.attempt = State.PROCESSING, 1, 1
    lanes.extend(machine.type.type_id, 0, [again, ready, *newest])

    await machine.crash()  # each job that waits is in one lane, once
    live = machine.owner.live_jobs
    assert set(live) == {runs, asked, again, granted_later}
    for job_id in (runs, asked, again, granted_later):
        model = machine.jobs[job_id]
        assert (live[job_id].state, live[job_id].seq, live[job_id].attempt) == (model.state, model.seq, model.attempt)
    abort = live[asked].abort
    assert abort is not None and abort.actor == "test" and live[runs].abort is None
    assert sorted(machine.owner.timers.entries()) == sorted((job_id, machine.type.type_id) for job_id in (early, late))
    assert {what & 0xFFFF_FFFF for what in machine.owner.timers.columns()[1]} == {0x8000_0003}
    await machine.connect({runs: 1, asked: 1})
    assert machine.session is not None and set(machine.session.leases) == {runs, asked}
    await machine.flush()
    assert await kinds(machine, granted_later) == ["granted", "rejected"], "its agent came back without it"
    machine.now += 61
    machine.session.renewed_at = machine.now
    assert early in await room(machine, 20) and late not in machine.session.leases


async def test_a_scheduled_job_whose_time_came_before_the_takeover_is_ready(machine: Machine) -> None:
    early, late = await _schedule(machine, [60.0, 7200.0])
    await machine.checkpoint(store=True, publish=True)
    machine.now += 61
    await machine.crash(check=False)
    assert machine.owner.lanes.copies() == [(machine.type.type_id, 3, array("q", [early]))]
    assert list(machine.owner.timers.entries()) == [(late, machine.type.type_id)]


async def test_jobs_that_ran_since_the_checkpoint_are_not_looked_up_one_by_one(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever follows a broker that was killed under load would look up a million."""
    looked_up: list[int] = []
    heads = Recovery.heads

    def noted(recovery: Recovery, job_ids: Iterable[int]) -> AsyncIterator[StoredLive]:
        looked_up.extend(sorted(job_ids))
        return heads(recovery, job_ids)

    monkeypatch.setattr(Recovery, "heads", noted)
    await machine.submit(3)
    done, runs, _ = machine.jobs
    await machine.checkpoint(store=True, publish=True)
    await machine.submit(2)
    done_since, runs_since = list(machine.jobs)[3:]
    await machine.grant(5)
    for job_id in (done, done_since):
        await machine.report(job_id, 1, Kind.COMPLETED)
    await machine.crash()
    assert set(machine.owner.live_jobs) == set(machine.jobs) - {done, done_since} >= {runs, runs_since}
    assert runs in looked_up and not {done, done_since, runs_since} & set(looked_up)


async def test_flushes_that_a_checkpoint_holds_do_not_tell_since_when_to_read(machine: Machine) -> None:
    await machine.submit(3)
    await machine.grant(3)
    await machine.checkpoint(store=True, publish=True)
    await machine.pool.execute("update headrace.count_base set n = 0")
    assert await machine.pool.fetchval("select min(f.at) < c.floor from headrace.flush f, headrace.checkpoint c group by c.floor")
    floor = await machine.pool.fetchval("select floor from headrace.checkpoint")
    assert (await _stored(machine)).floor == floor
    assert (await machine.pool.fetchrow(sql("range_floors")))["floors"] == [floor], "nor what may go from a range"


async def test_a_checkpoint_of_jobs_that_have_all_been_granted_since_leaves_nothing_to_look_at(machine: Machine) -> None:
    await machine.submit(3)
    await machine.checkpoint(store=True, publish=True)
    await machine.grant(3)
    await machine.crash()
    assert machine.owner.lanes.types() == []
    await machine.connect(dict.fromkeys(machine.jobs, 1))
    assert await room(machine, 1) == set()


async def test_a_checkpoint_that_is_not_whole_is_not_used(machine: Machine) -> None:
    await machine.submit(3)
    await machine.checkpoint(store=True, publish=True)
    assert await _stored(machine) is not None
    assert await machine.pool.execute("delete from headrace.checkpoint_chunk") != "DELETE 0"
    assert await _stored(machine) is None
    await machine.crash()
    assert machine.checkpoints.floor is None


async def test_a_job_with_the_highest_id_of_a_checkpoint_is_in_it_and_not_read_again(machine: Machine) -> None:
    await machine.submit(3)
    await machine.checkpoint(store=True, publish=True)
    assert (await _stored(machine)).max_id >= max(machine.jobs)
    await machine.pool.execute("update headrace.checkpoint set max_id = $1", max(machine.jobs))
    await machine.crash()  # each job that waits is in one lane, once


@pytest.mark.parametrize("based", [False, True], ids=["told by the flush rows", "told by the floor"])
async def test_events_that_were_stored_after_the_clock_was_set_back_are_found(machine: Machine, based: bool) -> None:
    await machine.submit(3)
    await machine.checkpoint(store=True, publish=True)
    floor = (await _stored(machine)).floor
    await machine.grant(2)
    back = timedelta(hours=1)
    assert machine.ledger is not None
    await machine.pool.execute("update headrace.event set at = at - $1::interval", back)
    await machine.pool.execute("update headrace.flush set at = at - $1::interval where life_id = $2 and n = $3", back, machine.ledger.life_id, machine.ledger.n)
    if based:
        at = await machine.pool.fetchval("select at from headrace.flush where life_id = $1 and n = $2", machine.ledger.life_id, machine.ledger.n)
        machine.checkpoints.flushed(at, changed=True)
        await machine.ledger.base_counts(dict(machine.owner.counted), machine.owner.numbering.newest, absorb=True, floor=machine.checkpoints.floor)
    assert (await _stored(machine)).floor < floor - timedelta(minutes=59)
    await machine.crash()
    assert {live.state for live in machine.owner.live_jobs.values()} == {State.PROCESSING} and len(machine.owner.live_jobs) == 2
    assert machine.checkpoints.floor is not None and machine.checkpoints.floor < floor


async def test_the_floor_is_the_earliest_flush_since_the_snapshot(machine: Machine) -> None:
    base = datetime(2030, 1, 1, tzinfo=UTC)

    def flushed(minute: int) -> None:
        machine.checkpoints.flushed(base + timedelta(minutes=minute), changed=True)

    flushed(10)
    await machine.checkpoint(store=True, publish=False)
    for minute in (7, 5, 9):
        flushed(minute)
    assert machine.ledger is not None
    await machine.checkpoints.publish(machine.ledger)
    assert machine.checkpoints.floor == base + timedelta(minutes=5)
    assert await machine.pool.fetchval("select floor from headrace.checkpoint") == base + timedelta(minutes=5)
    flushed(3)
    flushed(8)
    assert machine.checkpoints.floor == base + timedelta(minutes=3)
    await machine.checkpoint(store=True, publish=False)
    await machine.checkpoints.publish(machine.ledger)
    assert machine.checkpoints.floor == base + timedelta(minutes=8), "nothing was stored since: as old as the newest flush"


async def test_what_did_not_change_is_not_written_again_and_what_could_not_be_written_is(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await machine.submit(1)
    await machine.checkpoint(store=True, publish=True)
    await machine.flush()
    await machine.checkpoint(store=False, publish=False)
    assert not machine.checkpoints.writing, "an empty flush changes nothing"
    await machine.submit(1)

    async def fails(*_: object) -> None:
        raise TimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(CheckpointStore, "write", fails)
        await machine.checkpoint(store=True, publish=False)
    await machine.checkpoint(store=False, publish=False)
    assert machine.checkpoints.writing
    await machine.checkpoint(store=False, publish=False)


async def test_a_broker_that_was_followed_by_another_makes_no_checkpoint_the_newest(machine: Machine) -> None:
    await machine.submit(1)
    await machine.checkpoint(store=True, publish=False)
    late, old = machine.checkpoints, machine.ledger
    assert old is not None
    await machine.crash()
    with pytest.raises(ResultUnknown):
        await late.publish(old)
    assert await machine.pool.fetchval("select count(*) from headrace.checkpoint") == 0


async def test_a_broker_that_slept_does_not_empty_the_side_of_the_newest_checkpoint(machine: Machine) -> None:
    await machine.submit(1)
    await machine.checkpoint(store=True, publish=True)
    side = (await _stored(machine)).side
    assert await machine.pool.fetchval("select headrace.clear_checkpoint_side($1)", side) is False
    assert await _stored(machine) is not None
    assert await machine.pool.fetchval("select headrace.clear_checkpoint_side($1)", 1 - side) is True


async def test_a_snapshot_is_not_taken_while_keyed_jobs_are_being_stored(machine: Machine) -> None:
    """They have ids by then, below the highest of the snapshot, and are in no lane yet: whoever took over would never look for them."""

    async def never(_: object) -> Any:
        raise AssertionError

    assert machine.ledger is not None
    machine.owner.accept_work()
    checkpoints = Checkpoints(CheckpointStore(machine.pool), None)
    flusher = Flusher(machine.owner, machine.ledger, never, checkpoints, Metrics(), FlushHealth(), make_partitions=machine.make_partitions)
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, b"{}"), machine.type.domain_id, "key", b"hash", 2)
    tasks = [asyncio.ensure_future(flusher.run()), asyncio.ensure_future(checkpoints.run())]
    job_id, existing = await done

    async def written() -> bool:
        return await _stored(machine) is not None

    try:
        await until(written, what="a checkpoint")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert not existing
    machine.jobs[job_id] = Job()
    await machine.crash()  # each job that waits is in one lane, once


async def test_a_lease_that_was_lost_since_takes_its_late_outcome(machine: Machine) -> None:
    await machine.submit(1)
    await machine.grant(1)
    await machine.checkpoint(store=True, publish=True)
    [job_id] = machine.jobs
    await machine.lose()
    await machine.crash()
    machine.owner.end([Ending(job_id, 1, Kind.COMPLETED, machine)])
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "lost", "completed"]


async def test_jobs_that_have_terms_are_written_a_portion_at_a_time(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "TERMS_JOBS", 2)
    bodies = [FullBody(b"{}", more=more) for more in ('{"limit_key": "a"}', '{"fairness_key": "b"}')]
    now_s = machine.owner.clock.now_s()
    done = machine.owner.submit([(machine.type, place, due_s, bodies[place % 2]) for place in range(3) for due_s in (0.0, now_s + 60.0 + place)], 12)
    await machine.flush()
    await machine.checkpoint(store=True, publish=True)
    assert await machine.pool.fetchval("select count(*) from headrace.checkpoint_chunk where kind = 5") == 3

    def known() -> list[object]:
        lines, offset_s = machine.owner.lines, machine.owner.clock.offset_s
        ready = [(line.terms, priority, list(ids)) for line, priority, ids in lines.entries()]
        timed = [(line.terms, priority, job_id, round(due + offset_s, 3)) for line, priority, job_id, due in lines.timed() if line is not None]
        return [sorted(ready, key=repr), sorted(timed, key=repr)]

    before = known()
    await machine.crash(check=False)
    assert known() == before and sorted(machine.owner.lines.ids(None)) == sorted(done.result())


async def test_the_counts_of_lives_that_are_over_are_taken_over_once(machine: Machine) -> None:
    async def never(_: object) -> Any:
        raise AssertionError

    async def bases() -> list[tuple[datetime, int]]:
        rows = await machine.pool.fetch("select at, cardinality(count_value) as n from headrace.count_base order by life_id")
        return [(row["at"], row["n"]) for row in rows]

    await machine.submit(2)
    await machine.crash()
    assert machine.ledger is not None
    flusher = Flusher(machine.owner, machine.ledger, never, machine.checkpoints, Metrics(), FlushHealth(), make_partitions=machine.make_partitions)
    await machine.flush()
    await flusher._base_counts()
    [(before, none), (first, counts)] = await bases()
    assert (none, counts) == (0, 1)
    await machine.submit(1)
    await flusher._base_counts()
    [(untouched, none), (second, counts)] = await bases()
    assert untouched == before and second > first and (none, counts) == (0, 1)
    await machine.crash()
    assert machine.owner.counts("default")["work"] == {State.WAITING: 3}


@pytest.mark.parametrize("full", [False, True])
async def test_others_have_their_turn_while_a_takeover_remembers_many_jobs(machine: Machine, monkeypatch: pytest.MonkeyPatch, full: bool) -> None:
    """Else a broker that stands by would take a long takeover for a hang, and end it; so would the one after."""
    monkeypatch.setattr(recover, "PORTION", 10)
    await machine.submit(20)
    await machine.connect({})
    assert len(await room(machine, 20)) == 20
    await _schedule(machine, [7200.0] * 20)
    body = FullBody(b"{}", more='{"limit_key": "a"}')
    machine.owner.submit([(machine.type, 0, machine.owner.clock.now_s() + 7200.0, body)] * 20, 40)
    await machine.flush()
    await machine.checkpoint(store=True, publish=True)
    remembered: list[int] = []

    async def watch() -> None:
        while True:
            owner = machine.owner
            remembered.append(len(owner.live_jobs) + len(owner.timers) + len(owner.lines.timers))
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(watch())
    before = machine.owner
    await machine.crash(check=False, full=full)
    watching.cancel()
    assert machine.owner is not before and remembered[-1] == 60
    since = len(remembered) - remembered[::-1].index(0) - 1
    steps = [later - earlier for earlier, later in pairwise(remembered[since:])]
    assert sum(steps) == 60 and max(steps) <= 10
