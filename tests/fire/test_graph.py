"""Jobs that wait for others, the owner driven step by step: what is decided in which round, and what a takeover between two rounds finds."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from headrace_broker.actions import reads as reads_module
from headrace_broker.actions.reads import JobReads
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import Busy, InvalidState, NotOwner
from headrace_broker.model.job import Kind, State
from headrace_broker.model.permissions import Types
from headrace_broker.model.settings import OnDependencyFailed
from headrace_broker.shards import changes, graph, keyed, reception
from headrace_broker.shards import owner as owner_module
from headrace_broker.shards.intents import Change, Completions, Ending, Verb
from headrace_broker.store import heads
from headrace_broker.store.batch import FullBody
from headrace_broker.store.reads import Reads

from tests.fire.steps import begin, end, granted, kinds, room
from tests.property.machine import TESTER, Machine


async def _hold(machine: Machine, depends_on: Sequence[int], count: int = 1) -> list[int]:
    """New jobs that depend on these."""
    return [await machine.submit_held(depends_on) for _ in range(count)]


async def _complete(machine: Machine, *job_ids: int) -> None:
    machine.owner.end([Completions(list(job_ids), [machine.jobs[job_id].seq for job_id in job_ids], None, machine)])
    await machine.flush()


def _pass(machine: Machine, seconds: float) -> None:
    """Time passes while the agent's heartbeats go on."""
    machine.now += seconds
    assert machine.session is not None
    held = {job_id: live.seq for job_id, live in machine.session.leases.items()}
    reception.heartbeat(machine.owner, machine.session, machine.session.last_no + 1, held, machine.now)


async def _change(machine: Machine, verb: Verb, job_id: int) -> None:
    assert (await end(machine, await begin(machine, verb, job_id))).error is None


async def test_a_job_is_released_in_the_commit_in_which_the_last_of_its_dependencies_completes(machine: Machine) -> None:
    first, second = await granted(machine, 2)
    [child] = await _hold(machine, [first, second])
    assert await room(machine) == set(), "it is in no lane"
    await _complete(machine, first)
    assert await kinds(machine, child) == []
    n = machine.ledger.n if machine.ledger is not None else 0
    await _complete(machine, second)
    assert await kinds(machine, child) == ["dependencies_met"]
    assert machine.ledger is not None and machine.ledger.n == n + 1
    assert await room(machine) == {child}
    assert await kinds(machine, child) == ["dependencies_met", "granted"]


async def test_dependencies_that_completed_before_the_submit_are_read(machine: Machine) -> None:
    first, second = await granted(machine, 2)
    await _complete(machine, first)
    await _change(machine, Verb.REQUEUE, first)  # it has completed once: that is enough
    [child] = await _hold(machine, [first, second])
    assert machine.owner.graph.unmet[child] == {second}
    await _complete(machine, second)
    assert child in await room(machine)


@pytest.mark.parametrize("policy", OnDependencyFailed)
async def test_what_a_failed_dependency_does_is_said_by_the_waiters_type(machine: Machine, policy: OnDependencyFailed) -> None:
    await machine.types.override(machine.type, {"on_dependency_failed": int(policy)}, [], caller=TESTER)
    [parent] = await granted(machine)
    [child] = await _hold(machine, [parent])
    [grandchild] = await _hold(machine, [child])
    machine.owner.end([Ending(parent, 1, Kind.FAILED, machine, error="{}", permanent=True)])
    for _ in range(3):
        await machine.flush()
    [later] = await _hold(machine, [parent])  # which reads that it has failed
    ended = [] if policy is OnDependencyFailed.WAIT else ["dependency_failed"]
    assert [await kinds(machine, job_id) for job_id in (child, grandchild, later)] == [ended, ended, ended]
    if policy is OnDependencyFailed.WAIT:
        await _change(machine, Verb.REQUEUE, parent)
        _pass(machine, 100.0)
        assert await room(machine) == {parent}
        machine.owner.end([Completions([parent], [4], None, machine)])
        await machine.flush()
        assert await room(machine) == {child, later}
    else:
        wanted = State.ERROR if policy is OnDependencyFailed.ERROR else State.ABORTED
        states = await machine.pool.fetch("select state from headrace.event where job_id = any ($1)", [child, grandchild])
        assert {State(row["state"]) for row in states} == {wanted} and not machine.owner.graph.unmet and not machine.owner.graph.waiters


async def test_whoever_waits_on_hears_of_a_run_that_completes_before_the_failure_was_told(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    await machine.types.override(machine.type, {"on_dependency_failed": int(OnDependencyFailed.WAIT)}, [], caller=TESTER)
    [parent] = await granted(machine)
    [child] = await _hold(machine, [parent])
    monkeypatch.setattr(graph, "AT_ONCE", 0)  # as if there were thousands before it
    machine.owner.end([Ending(parent, 1, Kind.FAILED, machine, error="{}", permanent=True)])
    await machine.flush()
    await _change(machine, Verb.REQUEUE, parent)
    _pass(machine, 100.0)
    assert await room(machine) == {parent}
    machine.owner.end([Completions([parent], [4], None, machine)])
    await machine.flush()
    monkeypatch.undo()
    for _ in range(3):
        await machine.flush()
    assert await kinds(machine, child) == ["dependencies_met"]


async def test_a_dependency_that_is_purged_fails_its_waiters_unless_it_had_completed(machine: Machine) -> None:
    await machine.types.override(machine.type, {"on_dependency_failed": int(OnDependencyFailed.WAIT)}, [], caller=TESTER)
    done, failed = await granted(machine, 2)
    [child] = await _hold(machine, [failed])
    machine.owner.end([Ending(failed, 1, Kind.FAILED, machine, error="{}", permanent=True)])
    await machine.flush()
    await machine.types.override(machine.type, {"on_dependency_failed": int(OnDependencyFailed.ABORT)}, [], caller=TESTER)
    await _change(machine, Verb.PURGE, failed)
    await machine.read_standings()
    await machine.flush()
    assert await kinds(machine, child) == ["dependency_failed"]
    await _complete(machine, done)
    task = await begin(machine, Verb.PURGE, done)
    held = machine.put_held([done])
    await machine.store_keyed()  # it waits before the purge is decided, and hears of it
    assert (await end(machine, task)).error is None
    await machine.read_standings()
    await machine.flush()
    assert await kinds(machine, held.result()[0]) == ["dependencies_met"]


async def test_a_completion_that_is_decided_while_the_standing_is_read_counts(machine: Machine) -> None:
    [parent] = await granted(machine)
    done = machine.put_held([parent])
    await machine.store_keyed()
    child = done.result()[0]
    task = asyncio.ensure_future(machine.read_standings())
    while not machine.owner.readers:
        await asyncio.sleep(0)
    await _complete(machine, parent)
    await task
    await machine.flush()
    assert await kinds(machine, child) == ["dependencies_met"], "once"


async def test_waiters_are_told_a_portion_in_each_round_and_the_rest_after_a_takeover(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "AT_ONCE", 10)
    [parent] = await granted(machine)
    children = await _hold(machine, [parent], 25)
    rounds = []
    before = 0
    await _complete(machine, parent)
    while True:
        released = int(await machine.pool.fetchval("select count(*) from headrace.event where kind = 13"))
        rounds.append(released - before)
        before = released
        if released == 20:
            break
        assert machine.owner.has_intents, "the flusher does not wait for anything else"
        await machine.flush()
    assert rounds == [10, 10]
    await machine.crash(check=False)  # between the completion and the last releases
    assert sorted(machine.owner.graph.unmet) == sorted(await _untold(machine, children))
    await machine.read_standings()
    await machine.flush()
    assert not machine.owner.graph.unmet and not machine.owner.has_intents
    assert [await kinds(machine, child) for child in children] == [["dependencies_met"]] * 25
    await machine.connect({})
    assert await room(machine, 100) == set(children)


async def _untold(machine: Machine, children: Sequence[int]) -> list[int]:
    rows: list[Any] = await machine.pool.fetch("select job_id from headrace.event where kind = 13")
    return sorted(set(children) - {row["job_id"] for row in rows})


@pytest.mark.parametrize("checkpoint", [False, True])
async def test_whoever_takes_over_holds_what_was_held(machine: Machine, checkpoint: bool) -> None:
    first, second = await granted(machine, 2)
    before = await _hold(machine, [first, second], 2)
    if checkpoint:
        await machine.checkpoint(store=True, publish=True)
    after = await _hold(machine, [second])
    await _complete(machine, first)
    await _change(machine, Verb.ABORT, before[0])
    await _change(machine, Verb.REQUEUE, before[0])  # it never had what it waits for
    await machine.crash(check=False)
    assert machine.owner.graph.unmet.keys() == {*before, *after}
    await machine.connect({first: 1, second: 1})
    await machine.read_standings()
    await machine.flush()
    assert {job_id: len(unmet) for job_id, unmet in machine.owner.graph.unmet.items()} == dict.fromkeys([*before, *after], 1)
    assert await room(machine) == set()
    await _complete(machine, second)
    _pass(machine, 100.0)
    assert await room(machine) == {*before, *after}


async def test_a_held_job_that_is_aborted_waits_no_more_and_one_that_had_its_turn_is_not_held_again(machine: Machine) -> None:
    [parent] = await granted(machine)
    aborted, released = await _hold(machine, [parent], 2)
    await _change(machine, Verb.ABORT, aborted)
    assert list(machine.owner.graph.waiters[parent]) == [released]
    [updated] = await _asked(machine, Verb.UPDATE, released, update=Update(priority=2))
    assert updated.error is None
    assert not machine.owner.lanes.is_stale(aborted) and not machine.owner.lanes.is_stale(released), "they were in no lane"
    await _complete(machine, parent)
    assert await room(machine) == {released}
    machine.owner.end([Ending(released, 3, Kind.FAILED, machine, error="{}", permanent=True)])
    await machine.flush()
    await _change(machine, Verb.PURGE, parent)
    await _change(machine, Verb.REQUEUE, released)
    assert released not in machine.owner.graph.unmet
    assert released in await room(machine)


async def test_a_held_job_starts_when_it_is_due_and_not_before(machine: Machine) -> None:
    [parent] = await granted(machine)
    due = machine.owner.clock.now_s() + 50
    done = machine.put_held([parent], available_at_s=due)
    await machine.store_keyed()
    await machine.read_standings()
    await _complete(machine, parent)
    assert await room(machine) == set()
    await machine.crash(check=False)
    await machine.connect({})
    assert await room(machine) == set()
    _pass(machine, 51.0)
    assert await room(machine) == {done.result()[0]}


async def test_a_job_that_has_an_event_in_the_same_round_is_released_in_the_next(machine: Machine) -> None:
    [parent] = await granted(machine)
    [child] = await _hold(machine, [parent])
    await _change(machine, Verb.ABORT, child)
    task = await begin(machine, Verb.REQUEUE, child)
    machine.owner.end([Completions([parent], [1], None, machine)])  # both are decided in the next round
    await machine.flush()
    assert (await end(machine, task)).error is None
    await machine.read_standings()
    await machine.flush()
    assert await kinds(machine, child) == ["aborted", "requeued", "dependencies_met"]
    [other] = await _hold(machine, [await machine_job(machine)])
    live, round_ = machine.owner.live_jobs[other], machine.owner.build(grant=False)
    [waited_for] = machine.owner.graph.unmet[other]
    live.round = round_.number
    machine.owner.graph.learn(waited_for, State.COMPLETED, completed=1, moved=False)
    machine.owner.graph.advance(round_)
    assert not round_.batch.event_job and machine.owner.graph, "it is kept for the next"


async def machine_job(machine: Machine) -> int:
    """A job that waits for an agent."""
    await machine.submit(1)
    return max(machine.jobs)


async def test_a_job_that_waits_anew_is_not_told_old_news(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "AT_ONCE", 0)  # nothing is told for now
    first, second = await granted(machine, 2)
    [child] = await _hold(machine, [first, second])
    machine.owner.end([Ending(first, 1, Kind.FAILED, machine, error="{}", permanent=True)])
    await machine.flush()
    await _change(machine, Verb.ABORT, child)
    await _change(machine, Verb.REQUEUE, first)
    await _change(machine, Verb.REQUEUE, child)
    monkeypatch.undo()
    await machine.read_standings()
    await machine.flush()
    assert await kinds(machine, child) == ["aborted", "requeued"] and machine.owner.graph.unmet[child] == {first, second}


async def test_a_standing_that_changes_while_it_is_read_is_read_again(machine: Machine) -> None:
    [parent] = await granted(machine)
    machine.owner.end([Ending(parent, 1, Kind.FAILED, machine, error="{}", permanent=True)])
    await machine.flush()
    done = machine.put_held([parent])
    await machine.store_keyed()
    reading = asyncio.Event()
    go_on = asyncio.Event()
    standings = machine.heads.standings

    async def slowly(job_ids: Sequence[int]) -> dict[int, tuple[State, int]]:
        found = await standings(job_ids)
        reading.set()
        await go_on.wait()
        return found

    machine.heads.standings = slowly  # type: ignore[method-assign]  # the answer takes its time
    task = asyncio.ensure_future(machine.read_standings())
    await reading.wait()
    await _change(machine, Verb.REQUEUE, parent)
    go_on.set()
    await task
    await machine.flush()
    assert machine.owner.graph.unmet == {done.result()[0]: {parent}}, "it has not failed any more"


async def _batch(machine: Machine, members: int) -> tuple[int, list[int]]:
    """The callback of a new batch, and members that wait."""
    owner, body = machine.owner, FullBody(b"{}", more='{"depends_on": []}')
    done = owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, "", b"", 2, depends_on=())
    await machine.store_keyed()
    batch_id = done.result()[0]
    return batch_id, [await _member(machine, batch_id) for _ in range(members)]


async def _member(machine: Machine, batch_id: int, key: str = "") -> int:
    body = FullBody(b"{}", more=json.dumps({"batch_id": batch_id}))
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, key, b"", 2, batch_id=batch_id)
    await machine.store_keyed()
    return (await done)[0]


async def test_a_member_that_is_requeued_before_the_callback_was_released_is_waited_for(machine: Machine) -> None:
    batch_id, [first, second] = await _batch(machine, 2)
    await _change(machine, Verb.ABORT, first)
    await machine.flush()
    await _change(machine, Verb.REQUEUE, first)
    await _change(machine, Verb.SEAL, batch_id)
    await _change(machine, Verb.ABORT, second)
    await machine.flush()
    assert await kinds(machine, batch_id) == [] and machine.owner.graph.unmet[batch_id] == {first}
    await machine.crash(check=False)
    await machine.read_standings()
    assert machine.owner.graph.unmet[batch_id] == {first}
    await _change(machine, Verb.ABORT, first)
    await machine.flush()
    assert await kinds(machine, batch_id) == ["dependencies_met"]
    await _change(machine, Verb.REQUEUE, first)
    assert not machine.owner.graph.batch_of and not machine.owner.graph.members, "nobody is told any more"


async def test_nobody_joins_a_batch_before_it_was_read_after_a_takeover(machine: Machine) -> None:
    batch_id, _ = await _batch(machine, 1)
    await _change(machine, Verb.SEAL, batch_id)
    await machine.crash(check=False)
    body = FullBody(b"{}", more=json.dumps({"batch_id": batch_id}))
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, "", b"", 2, batch_id=batch_id)
    assert machine.owner.keyed.build() is None and not done.done(), "whether it is sealed is not known yet"
    machine.owner.wake.clear()
    assert not machine.owner.has_intents, "there is nothing to flush again and again until then"
    await machine.read_standings()
    assert machine.owner.has_intents and machine.owner.wake.is_set()
    await machine.store_keyed()
    with pytest.raises(InvalidState):
        await done


@pytest.mark.parametrize("what", ["aborted", "refused"])
async def test_who_waits_to_join_a_batch_that_is_not_read_hears_of_its_end(machine: Machine, what: str) -> None:
    batch_id, _ = await _batch(machine, 1)
    await machine.crash(check=False)
    body = FullBody(b"{}", more=json.dumps({"batch_id": batch_id}))
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, "", b"", 2, batch_id=batch_id)
    assert machine.owner.keyed.build() is None
    if what == "refused":
        machine.owner.refuse(NotOwner("another broker owns it"))
    else:
        await _change(machine, Verb.ABORT, batch_id)
        await machine.store_keyed()
    with pytest.raises(NotOwner if what == "refused" else InvalidState):
        await asyncio.wait_for(done, 10)
    assert not machine.owner.has_intents


async def test_a_sealed_batch_whose_members_settled_before_a_takeover_is_released_after_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_id, [only] = await _batch(machine, 1)
    await _change(machine, Verb.SEAL, batch_id)
    monkeypatch.setattr(graph, "AT_ONCE", 0)
    await _change(machine, Verb.ABORT, only)
    monkeypatch.undo()
    await machine.crash(check=False)
    assert await kinds(machine, batch_id) == []
    await machine.read_standings()
    await machine.flush()
    assert await kinds(machine, batch_id) == ["dependencies_met"]


@pytest.mark.parametrize("verb", [Verb.ABORT, Verb.REQUEUE])
async def test_a_batch_whose_members_move_while_it_is_read_is_read_once(machine: Machine, verb: Verb) -> None:
    batch_id, members = await _batch(machine, 3)
    if verb is Verb.REQUEUE:  # they have settled, and run again
        for member in members:
            await _change(machine, Verb.ABORT, member)
    await machine.crash(check=False)
    read, moving = machine.heads.batch, list(members)

    async def moved(batch_id: int) -> tuple[bool, list[int], list[int]]:
        found = await read(batch_id)
        if moving:
            await _change(machine, verb, moving.pop())
        return found

    machine.heads.batch = moved  # type: ignore[method-assign]  # there is always one that moves
    await machine.read_standings()
    assert moving == members[:2], "one reading is enough: nobody joins, and nothing else is read, before it is over"
    await machine.flush()
    assert machine.owner.graph.unmet[batch_id] == set(members[:2] if verb is Verb.ABORT else members[2:])
    joined = await _member(machine, batch_id)
    await _change(machine, Verb.SEAL, batch_id)
    for left in {*machine.owner.graph.unmet[batch_id]}:
        assert await kinds(machine, batch_id) == []
        await _change(machine, Verb.ABORT, left)
    await machine.flush()
    assert await kinds(machine, batch_id) == ["dependencies_met"] and await kinds(machine, joined) == ["aborted"]


@pytest.mark.parametrize("members", [4, 5])
async def test_a_large_batch_is_read_a_portion_at_a_time(machine: Machine, monkeypatch: pytest.MonkeyPatch, members: int) -> None:
    monkeypatch.setattr(heads, "MEMBERS_AT_ONCE", 2)
    batch_id, ids = await _batch(machine, members)
    await _change(machine, Verb.SEAL, batch_id)
    await _change(machine, Verb.ABORT, ids[1])
    await machine.crash(check=False)
    await machine.read_standings()
    assert machine.owner.graph.members == {batch_id: set(ids)} and machine.owner.graph.unmet == {batch_id: {*ids} - {ids[1]}}
    assert not machine.owner.graph.is_open(batch_id)


async def test_an_aborted_callback_lets_its_members_go_and_may_be_requeued(machine: Machine) -> None:
    batch_id, [first] = await _batch(machine, 1)
    await _change(machine, Verb.ABORT, batch_id)
    assert not machine.owner.graph.unmet and not machine.owner.graph.batch_of and not machine.owner.graph.waiters
    await _change(machine, Verb.REQUEUE, batch_id)
    await machine.read_standings()
    assert machine.owner.graph.unmet == {batch_id: {first}} and machine.owner.graph.is_open(batch_id)


async def test_a_callback_that_is_aborted_and_runs_again_waits_for_its_batch_and_not_for_what_its_members_achieve(machine: Machine) -> None:
    batch_id, [only] = await _batch(machine, 1)
    await _change(machine, Verb.SEAL, batch_id)
    [again] = await _asked(machine, Verb.REQUEUE, batch_id, abort_first=True)
    assert again.error is None
    await machine.read_standings()
    assert machine.owner.graph.unmet == {batch_id: {only}} and not machine.owner.graph.is_open(batch_id)
    await _change(machine, Verb.ABORT, only)
    await machine.flush()
    assert await kinds(machine, batch_id) == ["aborted", "requeued", "dependencies_met"]


async def test_a_callback_waits_for_a_member_that_runs_again_although_it_had_completed_once(machine: Machine) -> None:
    batch_id, [only] = await _batch(machine, 1)
    await machine.connect({})
    assert await room(machine) == {only}
    machine.owner.end([Completions([only], [1], None, machine)])
    await machine.flush()
    await _change(machine, Verb.REQUEUE, only)
    await _change(machine, Verb.SEAL, batch_id)
    other = machine.put_held([only])  # it has completed once: that is enough for this one
    await machine.store_keyed()
    await machine.read_standings()
    await machine.flush()
    assert machine.owner.graph.unmet == {batch_id: {only}} and await kinds(machine, other.result()[0]) == ["dependencies_met"]
    await _change(machine, Verb.ABORT, only)
    await machine.flush()
    assert await kinds(machine, batch_id) == ["dependencies_met"]


async def _asked(machine: Machine, verb: Verb, job_id: int, **options: Any) -> list[Change]:
    task = asyncio.ensure_future(changes.request(machine.owner, machine.heads, verb, [job_id], caller=TESTER, reason="", **options))
    while not task.done():
        if machine.owner.has_intents:
            await machine.flush()
        await asyncio.sleep(0)
    return task.result()


async def test_a_callback_waits_for_the_seal_when_all_members_have_settled(machine: Machine) -> None:
    batch_id, [only] = await _batch(machine, 1)
    await _change(machine, Verb.ABORT, only)
    await machine.flush()
    assert await kinds(machine, batch_id) == [] and machine.owner.graph.unmet[batch_id] == set()
    await _change(machine, Verb.SEAL, batch_id)
    assert await kinds(machine, batch_id) == ["dependencies_met"]


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_callback_waits_for_a_member_that_runs_again_before_it_was_told_of_its_end(machine: Machine, monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    batch_id, [only] = await _batch(machine, 1)
    await _change(machine, Verb.SEAL, batch_id)
    await machine.connect({})
    assert await room(machine) == {only}
    if at_once:  # the new run begins in the round in which the old one ends
        [asked] = await _asked(machine, Verb.REQUEUE, only, abort_first=True, include_completed=True)
        assert asked.error is None
        machine.owner.end([Completions([only], [1], None, machine)])
        await machine.flush()
    else:
        monkeypatch.setattr(graph, "AT_ONCE", 0)  # the callback is not told for now
        machine.owner.end([Completions([only], [1], None, machine)])
        await machine.flush()
        await _change(machine, Verb.REQUEUE, only)
        monkeypatch.undo()
    await machine.flush()
    assert await kinds(machine, only) == ["granted", "completed", "requeued"]
    assert await kinds(machine, batch_id) == [] and machine.owner.graph.unmet == {batch_id: {only}}
    await _change(machine, Verb.ABORT, only)
    await machine.flush()
    assert await kinds(machine, batch_id) == ["dependencies_met"]


async def test_the_types_of_what_jobs_are_tied_to_are_asked_for_in_portions(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Counting(Reads):
        async def types(self, job_ids: Sequence[int]) -> dict[int, int]:
            asked.append(len(job_ids))
            return await super().types(job_ids)

    monkeypatch.setattr(reads_module, "TYPES_AT_ONCE", 2)
    tied = await granted(machine, 5)
    reads = JobReads(machine.owner, Counting(machine.pool))
    for pattern, expected in (("mail.*", set(tied)), ("work", set())):
        monkeypatch.setattr(reads_module, "types_for", lambda _, pattern=pattern: Types((pattern,)))
        assert await reads.unseen([*tied, *tied]) == expected
    assert asked == [2, 2, 1] * 2


class _Noted(dict[int, Any]):
    """Notes what is looked up in it."""

    def __init__(self, what: dict[int, Any]) -> None:
        super().__init__(what)
        self.asked: list[int] = []

    def get(self, *args: Any) -> Any:
        self.asked.append(args[0])
        return super().get(*args)


async def test_whoever_waits_already_is_not_looked_at_for_each_further_one(machine: Machine) -> None:
    """Else the last of a hundred thousand that wait for the same job would cost a tenth of a second."""
    [parent] = await granted(machine)
    noted = machine.owner.graph._runs = _Noted({})
    children = await _hold(machine, [parent], 10)
    assert noted.asked == children
    await _complete(machine, parent)
    await machine.flush()
    assert await room(machine, 20) == set(children)


async def test_a_member_is_not_held_against_all_that_it_waits_for(machine: Machine) -> None:
    """Else each further one of a chain would cost a walk through the chain."""
    batch_id, [last] = await _batch(machine, 1)
    graph = machine.owner.graph
    for _ in range(10):
        body = FullBody(b"{}", more=json.dumps({"batch_id": batch_id, "depends_on": [last]}))
        done = machine.owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, "", b"", 2, batch_id=batch_id, depends_on=(last,))
        unmet, waiters = _Noted(graph.unmet), _Noted(graph.waiters)
        graph.unmet, graph.waiters = unmet, waiters
        await machine.store_keyed()
        assert len(unmet.asked) + len(waiters.asked) <= 1
        last = (await done)[0]
    await machine.read_standings()


async def test_a_flush_holds_only_so_many_ties(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "TIES_AT_ONCE", 7, raising=False)
    parents = await granted(machine, 3)
    waiting = [machine.put_held(parents) for _ in range(5)]
    stored = []
    for _ in range(2):
        await machine.store_keyed()
        stored.append(sum(done.done() for done in waiting))
    assert stored == [3, 5]


async def test_what_a_queued_job_depends_on_takes_room(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner_module, "MAX_PENDING_BYTES", 256)
    parents = await granted(machine, 3)
    done = machine.put_held(parents)
    with pytest.raises(Busy):
        machine.put_held(parents)
    await machine.store_keyed()
    assert done.done()
    machine.put_held(parents)
    await machine.store_keyed()
    assert machine.owner._pending_bytes == 0
