"""What the owner decides in columns, where nearly all jobs pass: the same as one by one, and each of a column by itself. Driven step by step on a real ledger."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from headrace_broker.model.errors import InvalidState
from headrace_broker.model.job import Disposition, Kind, State
from headrace_broker.shards.hub import JobChange
from headrace_broker.shards.intents import Completions, Ending, Verb

from tests.fire.steps import begin, end, granted, kinds, room
from tests.property.machine import LEASE_S, Machine


async def _results(machine: Machine) -> dict[int, bytes | None]:
    """The stored result of each job that completed."""
    rows = await machine.pool.fetch("select job_id, result from headrace.event where kind = $1", int(Kind.COMPLETED))
    return {row["job_id"]: row["result"] for row in rows}


async def _heard(changes: AsyncIterator[JobChange], count: int) -> list[JobChange]:
    """What a watcher is told next."""
    async with asyncio.timeout(20):
        return [await anext(changes) for _ in range(count)]


async def test_the_completions_of_one_column_have_each_a_fate_of_their_own(machine: Machine) -> None:
    first, again, lost, plain, last = await granted(machine, 5)
    machine.owner.end([Ending(again, 1, Kind.RELEASED), Ending(lost, 1, Kind.LOST)])
    await machine.flush()
    machine.owner.lanes.pop(machine.type.type_id, 0, 2)
    machine.owner.lanes.push(machine.type.type_id, 0, again)
    assert await room(machine) == {again}
    machine.owner.lanes.push(machine.type.type_id, 0, lost)
    column = {
        "job_ids": [again, first, lost, 77, plain, first, last],
        "epochs": [1, 1, 1, 1, 1, 1, 1],
        "results": [b"stale", b"first", b"late", b"nobody's", b"", b"twice", b"last"],
    }
    assert machine.session is not None
    with machine.owner.hub.subscribe(limit=20) as changes:
        machine.owner.end([Completions(**column, sink=machine)])  # type: ignore[arg-type]  # columns
        await machine.flush()
        assert machine._acks == {(job_id, 1): Disposition.ACCEPTED for job_id in (first, plain, last)} | {(lost, 1): Disposition.ACCEPTED_LATE}
        heard = await _heard(aiter(changes), 4)
    assert {(change.job_id, change.state, change.kind) for change in heard} == {(job_id, State.COMPLETED, "completed") for job_id in (first, plain, last, lost)}
    assert set(machine.session.leases) == set(machine.owner.live_jobs) == {again} and machine.session.leases[again].seq == 3
    machine._acks.clear()
    await machine._judge(3)
    assert (machine._acks[again, 1], machine._acks[77, 1], machine._acks[first, 1]) == (Disposition.SUPERSEDED, Disposition.UNKNOWN, Disposition.ALREADY_APPLIED)
    assert await _results(machine) == {first: b"first", lost: b"late", plain: None, last: b"last"}
    assert await kinds(machine, lost) == ["granted", "lost", "completed"]
    assert await kinds(machine, again) == ["granted", "released", "granted"]
    assert await room(machine) == set()


async def test_a_column_after_other_endings_of_its_round_keeps_its_results(machine: Machine) -> None:
    one, two, three = await granted(machine, 3)
    machine.owner.end([Ending(one, 1, Kind.COMPLETED, machine, b"one"), Completions([two, three], [1, 1], [b"", b"three"], machine)])
    await machine.flush()
    assert await _results(machine) == {one: b"one", two: None, three: b"three"}


async def test_a_change_that_was_read_before_a_completion_in_columns_is_read_again(machine: Machine) -> None:
    [job_id] = await granted(machine)
    task = await begin(machine, Verb.ABORT, job_id, force=True)
    machine.owner.end([Completions([job_id], [1], None, machine)])
    assert isinstance((await end(machine, task)).error, InvalidState)
    assert await kinds(machine, job_id) == ["granted", "completed"]


async def test_a_job_that_completed_before_it_was_sent_takes_no_room(machine: Machine) -> None:
    """As after a takeover of the session: the Assign that carried it was another stream's."""
    await machine.submit(1)
    await machine.connect({})
    [job_id] = await room(machine)
    machine.owner.end([Completions([job_id], [1], None, machine)])
    await machine.flush()
    session = machine.session
    assert session is not None
    session.set_credit(session.assign_no, 5, [])
    assert session.room == 5
    assert session.take_out(machine.now).assigned == []


async def test_grants_of_a_column_stop_at_the_room_that_there_is(machine: Machine) -> None:
    await machine.submit(5)
    await machine.connect({})
    assert len(await room(machine, 2)) == 2
    assert machine.session is not None and machine.session.room == 0


async def test_first_grants_and_later_ones_share_a_round(machine: Machine) -> None:
    [old] = await granted(machine)
    machine.owner.end([Ending(old, 1, Kind.FAILED)])
    await machine.flush()
    await machine.submit(3)
    with machine.owner.hub.subscribe(limit=20) as changes:
        assert len(await room(machine)) == 4
        heard = await _heard(aiter(changes), 4)
    assert {(change.kind, change.state) for change in heard} == {("granted", State.PROCESSING)}
    rows: list[Any] = await machine.pool.fetch("select job_id, seq, attempt from headrace.event where kind = $1 and job_id <> $2", int(Kind.GRANTED), old)
    assert {(row["seq"], row["attempt"]) for row in rows} == {(1, 1)} and len(rows) == 3
    rows = await machine.pool.fetch("select seq, attempt from headrace.event where kind = $1 and job_id = $2 order by seq", int(Kind.GRANTED), old)
    assert [(row["seq"], row["attempt"]) for row in rows] == [(1, 1), (3, 2)]


async def test_a_lease_that_was_granted_again_and_not_sent_is_charged_nothing(machine: Machine) -> None:
    [job_id] = await granted(machine)
    machine.owner.end([Ending(job_id, 1, Kind.RELEASED)])
    await machine.flush()
    assert await room(machine) == {job_id}
    machine.now += LEASE_S + 1
    await machine.flush()
    assert await kinds(machine, job_id) == ["granted", "released", "granted", "rejected"]


async def test_completions_of_a_column_free_their_limit_keys(machine: Machine) -> None:
    machine.terms = True
    jobs = await granted(machine, 2)
    [crowd] = machine.owner.lines.crowds.values()
    assert crowd.cells["a"].running == machine.owner.lines.leased == 2
    machine.owner.end([Completions(jobs, [1, 1], None, machine)])
    await machine.flush()
    assert not crowd.cells and not machine.owner.lines.leased, "nothing is left of the key"
