"""A job that is requeued together with what failed below it: who waits for whom, the owner driven step by step."""

import asyncio
import itertools
import json
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from headrace_broker.actions import descents
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import DatabaseUnavailable, InvalidState, JobNotFound, UniqueKeyTaken
from headrace_broker.model.job import Kind, State
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Change, Completions, Ending, Verb
from headrace_broker.store.batch import FullBody
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.heads import ReadFailed

from tests.fire.steps import begin, end, kinds, room
from tests.property.machine import TESTER, Machine


async def _asked(machine: Machine, verb: Verb, job_id: int, **options: Any) -> list[Change]:
    """What became of a change."""
    return await _decided(machine, changes.request(machine.owner, machine.heads, verb, [job_id], caller=TESTER, reason="", **options))


async def _requeue(machine: Machine, job_id: int, **options: Any) -> list[Change]:
    """Requeues a job and what failed below it; what became of each."""
    graph = GraphReads(machine.pool)
    return await _decided(machine, descents.requeue(machine.owner, machine.heads, graph, job_id, caller=TESTER, reason="again", **options))


async def _decided(machine: Machine, asking: Coroutine[Any, Any, list[Change]]) -> list[Change]:
    task = asyncio.ensure_future(asking)
    while not task.done():
        if machine.owner.has_intents:
            await machine.flush()
        await asyncio.sleep(0)
    return task.result()


async def _submit(machine: Machine, depends_on: Sequence[int] = (), unique_key: str = "", **more: Any) -> int:
    """A new job that has ties."""
    more |= {"unique_key": unique_key} if unique_key else {}
    body = FullBody(b"{}", more=json.dumps({**more, "depends_on": list(depends_on)} if depends_on else more))
    ties: dict[str, Any] = {"depends_on": tuple(depends_on) or None, "batch_id": more.get("batch_id", 0), "unique_key": unique_key}
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, body), machine.type.domain_id, "", b"", 2, **ties)
    await machine.store_keyed()
    await _told(machine)
    return done.result()[0]


async def _told(machine: Machine) -> None:
    """All that is known by now has been told to whom it concerns."""
    await machine.read_standings()
    await machine.flush()
    await machine.flush()


async def _run(machine: Machine, *job_ids: int) -> None:
    """These jobs are granted, and no others."""
    if machine.session is None:
        await machine.connect({})
    assert await room(machine) == set(job_ids)


async def _end(machine: Machine, *job_ids: int, failed: bool = False) -> None:
    """Running jobs end."""
    epochs = [machine.owner.live_jobs[job_id].seq for job_id in job_ids]
    if failed:
        machine.owner.end(Ending(job_id, epoch, Kind.FAILED, machine, error="{}", permanent=True) for job_id, epoch in zip(job_ids, epochs, strict=True))
    else:
        machine.owner.end([Completions(list(job_ids), epochs, None, machine)])
    await machine.flush()
    await _told(machine)


async def _take_over(machine: Machine) -> None:
    """Another broker reads the ledger; nothing is running."""
    await machine.crash(check=False)
    await _told(machine)


async def _one(machine: Machine) -> int:
    """A job that depends on nothing."""
    await machine.submit(1)
    return max(machine.jobs)


def _unmet(machine: Machine) -> dict[int, set[int]]:
    return machine.owner.graph.unmet


@pytest.mark.parametrize("takeover", [False, True])
async def test_those_below_a_failed_job_run_again_each_after_what_it_depends_on(machine: Machine, takeover: bool) -> None:
    first = await _one(machine)
    middle = await _submit(machine, [first])
    last = await _submit(machine, [middle, first])
    child = await _submit(machine, parent_id=first)
    await _run(machine, first, child)
    await _end(machine, first, child, failed=True)
    assert not _unmet(machine), "they failed with it"
    done = await _requeue(machine, first)
    assert [(change.job_id, change.state, change.error) for change in done] == [(job_id, State.WAITING, None) for job_id in (first, middle, last, child)]
    if takeover:
        await _take_over(machine)
    await _told(machine)
    assert _unmet(machine) == {middle: {first}, last: {middle, first}}
    await _run(machine, first, child)  # a child waits for nobody
    await _end(machine, first)
    await _run(machine, middle)
    await _end(machine, middle)
    await _run(machine, last)
    assert await kinds(machine, last) == ["dependency_failed", "requeued", "dependencies_met", "granted"]


@pytest.mark.parametrize("takeover", ["", "all events", "checkpoint"])
async def test_a_job_that_had_its_turn_waits_for_the_new_run_of_what_it_depends_on(machine: Machine, takeover: str) -> None:
    first = await _one(machine)
    other = await _one(machine)
    after = await _submit(machine, [first, other])
    await _run(machine, first, other)
    await _end(machine, first, other)
    await _run(machine, after)
    await _end(machine, after, failed=True)
    done = await _requeue(machine, first, include_completed=True)
    assert [change.error for change in done] == [None, None]
    if takeover == "checkpoint":
        await machine.checkpoint(store=True, publish=True)
    if takeover:
        await _take_over(machine)
    await _told(machine)
    assert _unmet(machine) == {after: {first}}, "that it has completed once does not count, and the other dependency is met"
    await _run(machine, first)
    if takeover:  # once more, between the grant and the end
        await machine.crash(check=False)
        await machine.connect({first: machine.owner.live_jobs[first].seq})
    await _end(machine, first)
    await _run(machine, after)
    assert await kinds(machine, after) == ["dependencies_met", "granted", "failed", "requeued", "dependencies_met", "granted"]


async def test_a_job_that_is_aborted_while_it_waits_for_a_new_run_waits_for_it_when_it_is_requeued_by_itself(machine: Machine) -> None:
    first = await _one(machine)
    after = await _submit(machine, [first])
    await _run(machine, first)
    await _end(machine, first)
    await _run(machine, after)
    await _end(machine, after, failed=True)
    await _requeue(machine, first, include_completed=True)
    assert (await end(machine, await begin(machine, Verb.ABORT, after))).error is None
    assert (await end(machine, await begin(machine, Verb.REQUEUE, after))).error is None
    await _told(machine)
    assert _unmet(machine) == {after: {first}}
    [again] = await _asked(machine, Verb.REQUEUE, after, abort_first=True)
    assert again.error is None
    await _told(machine)
    assert _unmet(machine) == {after: {first}}
    await _run(machine, first)
    await _end(machine, first)
    await _run(machine, after)


async def test_a_new_run_that_fails_fails_those_that_wait_for_it(machine: Machine) -> None:
    first = await _one(machine)
    after = await _submit(machine, [first])
    await _run(machine, first)
    await _end(machine, first)
    await _run(machine, after)
    await _end(machine, after, failed=True)
    await _requeue(machine, first, include_completed=True)
    await _run(machine, first)
    await _end(machine, first, failed=True)
    assert (await kinds(machine, after))[-2:] == ["requeued", "dependency_failed"] and not _unmet(machine)
    assert (await end(machine, await begin(machine, Verb.REQUEUE, first))).error is None
    done = await _requeue(machine, first)  # it is on its way already: what failed below it waits for it all the same
    assert isinstance(done[0].error, InvalidState) and done[1].error is None
    await _take_over(machine)
    assert _unmet(machine) == {after: {first}}


async def test_what_was_requeued_by_itself_before_is_waited_for(machine: Machine) -> None:
    first = await _one(machine)
    after = await _submit(machine, [first])
    await _run(machine, first)
    await _end(machine, first)
    await _run(machine, after)
    await _end(machine, after, failed=True)
    assert (await end(machine, await begin(machine, Verb.REQUEUE, first))).error is None
    done = await _requeue(machine, first)
    assert isinstance(done[0].error, InvalidState) and done[1].error is None
    await _told(machine)
    assert _unmet(machine) == {after: {first}}, "although it had its turn"
    await _run(machine, first)


async def test_what_could_not_be_requeued_leaves_those_that_depend_on_it(machine: Machine) -> None:
    first = await _submit(machine, unique_key="u")
    after = await _submit(machine, [first])
    last = await _submit(machine, [after])
    child = await _submit(machine, parent_id=first)
    await _run(machine, first, child)
    await _end(machine, first, child, failed=True)
    holder = await _submit(machine, unique_key="u")
    done = await _requeue(machine, first)
    assert [type(change.error) for change in done] == [UniqueKeyTaken, InvalidState, InvalidState, type(None)]
    assert [change.job_id for change in done] == [first, after, last, child] and str(first) in str(done[1].error)
    assert not _unmet(machine)
    await _run(machine, holder, child)


async def test_a_completed_job_is_left_while_those_below_it_that_failed_run_again(machine: Machine) -> None:
    first = await _one(machine)
    failed, fine = [await _submit(machine, [first]) for _ in range(2)]
    below = await _submit(machine, [fine])
    await _run(machine, first)
    await _end(machine, first)
    await _run(machine, failed, fine)
    await _end(machine, failed, failed=True)
    await _end(machine, fine)
    await _run(machine, below)
    await _end(machine, below, failed=True)
    done = await _requeue(machine, first)
    assert isinstance(done[0].error, InvalidState) and [(c.job_id, c.error) for c in done[1:]] == [(failed, None), (below, None)]
    assert not _unmet(machine), "nothing that they depend on runs again"
    await _run(machine, failed, below)
    [only] = await machine.pool.fetch("select action, target, reason, after from headrace.audit where action like 'job.%'")
    assert (only["action"], only["target"], only["reason"]) == ("job.requeue_descendants", f"job/{first}", "again")
    assert json.loads(only["after"]) == {"descendants": 2, "job_ids": [str(failed), str(below)]}


@pytest.mark.parametrize("takeover", [False, True])
async def test_a_callback_waits_for_its_batch_again(machine: Machine, takeover: bool) -> None:
    done = machine.owner.submit_keyed((machine.type, 0, 0.0, FullBody(b"{}", more='{"depends_on": []}')), machine.type.domain_id, "", b"", 2, depends_on=())
    await machine.store_keyed()
    callback = done.result()[0]
    first, second = [await _submit(machine, batch_id=callback) for _ in range(2)]
    report = await _submit(machine, [callback])
    await machine.connect({})
    assert (await end(machine, await begin(machine, Verb.SEAL, callback))).error is None
    await _run(machine, first, second)
    await _end(machine, first)
    await _end(machine, second, failed=True)
    await _run(machine, callback)
    await _end(machine, callback, failed=True)
    changed = await _requeue(machine, second)
    assert [(change.job_id, change.error) for change in changed] == [(job_id, None) for job_id in (second, callback, report)]
    if takeover:
        await _take_over(machine)
    await _told(machine)
    assert _unmet(machine) == {callback: {second}, report: {callback}}
    await _run(machine, second)
    await _end(machine, second, failed=True)  # settled, however
    await _run(machine, callback)
    await _end(machine, callback)
    await _run(machine, report)


async def test_what_moves_while_it_is_requeued_is_waited_for(machine: Machine) -> None:
    first = await _one(machine)
    after = await _submit(machine, [first])
    await _run(machine, first)
    await _end(machine, first)
    await _run(machine, after)
    await _end(machine, after, failed=True)
    asked = changes.request(machine.owner, machine.heads, Verb.UPDATE, [first], caller=TESTER, reason="", update=Update(priority=3))
    update = asyncio.ensure_future(asked)
    while not machine.owner.has_intents:  # it will be decided first, in the same round
        await asyncio.sleep(0)
    graph = GraphReads(machine.pool)
    task = asyncio.ensure_future(descents.requeue(machine.owner, machine.heads, graph, first, caller=TESTER, reason="", include_completed=True))
    while len(machine.owner._changes) < 2:
        await asyncio.sleep(0)
    while not task.done():
        if machine.owner.has_intents:
            await machine.flush()
        await asyncio.sleep(0)
    assert [change.error for change in task.result() + await update] == [None] * 3
    assert _unmet(machine) == {after: {first}}


async def test_a_portion_is_decided_at_a_time_and_too_many_are_refused(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descents, "AT_ONCE", 2)
    chain = [await _one(machine)]
    for _ in range(4):
        chain.append(await _submit(machine, [chain[-1]]))
    await _run(machine, chain[0])
    await _end(machine, chain[0], failed=True)
    for _ in range(4):
        await _told(machine)
    monkeypatch.setattr(descents, "MAX_DESCENDANTS", 3)
    with pytest.raises(InvalidState, match="more than 3 descendants"):
        await _requeue(machine, chain[0])
    monkeypatch.setattr(descents, "MAX_DESCENDANTS", 4)
    monkeypatch.setattr(descents, "MAX_TIES", 3)
    with pytest.raises(InvalidState, match="more than 3 ways"):
        await _requeue(machine, chain[0])
    monkeypatch.setattr(descents, "MAX_TIES", 4)
    with pytest.raises(JobNotFound):
        await _requeue(machine, 1)
    assert [change.error for change in await _requeue(machine, chain[0])] == [None] * 5
    await _told(machine)
    assert _unmet(machine) == {after: {before} for before, after in itertools.pairwise(chain)}
    assert await machine.pool.fetchval("select count(*) from headrace.audit where action like 'job.%'") == 1
    flushes = await machine.pool.fetchval("select count(distinct at) from headrace.event where kind = 10")
    assert flushes == 3


async def test_those_that_are_left_have_the_error_when_the_database_goes_away_between_two_portions(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it raised, the same call again would say that the job itself cannot be requeued: it waits by then."""
    monkeypatch.setattr(descents, "AT_ONCE", 1)
    first = await _one(machine)
    after = await _submit(machine, [first])
    await _run(machine, first)
    await _end(machine, first, failed=True)
    for _ in range(2):
        await _told(machine)
    heads, portions = machine.heads.heads, list[Sequence[int]]()

    async def away(job_ids: Sequence[int]) -> Any:
        portions.append(job_ids)
        if job_ids == [after]:
            raise ReadFailed("away")
        return await heads(job_ids)

    monkeypatch.setattr(machine.heads, "heads", away)
    done = await _requeue(machine, first)
    assert [(change.job_id, type(change.error)) for change in done] == [(first, type(None)), (after, DatabaseUnavailable)] and portions[-1] == [after]
    monkeypatch.undo()
    assert [change.error for change in await _requeue(machine, first)][1:] == [None]


def test_each_comes_after_what_it_waits_for() -> None:
    order = descents.in_order({1, 2, 3, 5}, {3: [2], 2: [5, 9], 7: [1]}, {1: [3]})
    assert order.index(5) < order.index(2) < order.index(3) < order.index(1) and len(order) == 4
