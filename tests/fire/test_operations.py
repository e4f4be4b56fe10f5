"""Bulk operations step by step: what happens between the search for a page and its decision."""

import asyncio
from typing import Any

from headrace_broker.actions.operations import Operations as Calls
from headrace_broker.model.errors import NotOwner
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.job import State
from headrace_broker.model.operation import Action, Deed, Operation, OperationState, Plan
from headrace_broker.shards.operations import Operations
from headrace_broker.store.operations import OperationStore
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder

from tests.fire.services import Ownership
from tests.property.machine import TESTER, Machine


class HandedOver(Ownership):
    """Whose broker gives the shard away at the moment in which an operation is stored."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._gone = False
        self._operations = Operations(machine.owner, machine.heads, OperationStore(machine.pool), find_nothing)
        self.operation_store = self
        self._store = OperationStore(machine.pool)

    @property
    def operations(self) -> Operations:
        """As long as it owns the shard."""
        if self._gone:
            raise NotOwner("another broker owns it")
        return self._operations

    async def add(self, plan: Plan, **options: Any) -> Operation:
        """As that of the store."""
        operation = await self._store.add(plan, **options)
        self._gone = True
        return operation


async def find_nothing(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
    """No job matches."""
    return [], None


async def test_an_operation_that_is_stored_is_answered_with_although_its_broker_gives_the_shard_away(machine: Machine) -> None:
    calls = Calls(HandedOver(machine), Reads(machine.pool), Finder(machine.pool))  # type: ignore[arg-type]  # as much of one as is asked for
    operation = await calls.start(JobFilter(states=frozenset({State.ERROR})), Deed(Action.REQUEUE), caller=TESTER, reason="")
    assert [found.operation_id for found in await OperationStore(machine.pool).running()] == [operation.operation_id]


async def test_a_page_that_was_found_before_a_stop_was_answered_is_not_done(machine: Machine) -> None:
    await machine.submit(3)
    store, job_ids = OperationStore(machine.pool), sorted(machine.jobs)
    plan = Plan(JobFilter(), Deed(Action.ABORT), "", all_jobs=True)
    operation = await store.add(plan, frozen_id=job_ids[-1], expected=3, expected_complete=True, start_key="", caller=TESTER)

    async def find_and_stop(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        async with operations.at_rest():
            await store.set(operation.operation_id, "stop", state=OperationState.STOPPED, caller=TESTER, reason="")
        return job_ids, None

    operations = Operations(machine.owner, machine.heads, store, find_and_stop)
    await machine.until_done(asyncio.ensure_future(operations.run_once()))
    assert [job.state for job in machine.jobs.values()] == [State.WAITING] * 3
    machine.check_memory()
    found = await store.find("default", operation.operation_id)
    assert (found.state, found.progress.matched) == (OperationState.STOPPED, 0)


async def test_a_page_that_was_found_before_a_former_owner_stopped_the_operation_is_not_done(machine: Machine) -> None:
    await machine.submit(3)
    store, job_ids = OperationStore(machine.pool), sorted(machine.jobs)
    plan = Plan(JobFilter(), Deed(Action.ABORT), "", all_jobs=True)
    operation = await store.add(plan, frozen_id=job_ids[-1], expected=3, expected_complete=True, start_key="", caller=TESTER)

    async def find_and_stop(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        await store.set(operation.operation_id, "stop", state=OperationState.STOPPED, caller=TESTER, reason="")
        return job_ids, None

    operations = Operations(machine.owner, machine.heads, store, find_and_stop)
    await machine.until_done(asyncio.ensure_future(operations.run_once()))
    assert [job.state for job in machine.jobs.values()] == [State.WAITING] * 3
    machine.check_memory()


async def test_an_operation_that_was_read_before_a_rest_is_read_again(machine: Machine) -> None:
    await machine.submit(3)
    store, job_ids = OperationStore(machine.pool), sorted(machine.jobs)
    plan = Plan(JobFilter(), Deed(Action.ABORT), "", all_jobs=True)
    [first, second] = [await store.add(plan, frozen_id=job_ids[-1], expected=3, expected_complete=True, start_key="", caller=TESTER) for _ in range(2)]
    limits: list[int] = []

    async def find(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        limits.append(limit)
        if len(limits) == 1:  # of the first one, while the second is read already
            async with operations.at_rest():
                await store.set(second.operation_id, "set_rate", rate=4.0, caller=TESTER, reason="")
        return [], None

    operations = Operations(machine.owner, machine.heads, store, find)
    for _ in range(2):
        await machine.until_done(asyncio.ensure_future(operations.run_once()))
    assert limits[-1] == 1, "the second goes on at the rate that was asked for"
    assert {(await store.find("default", one.operation_id)).state for one in (first, second)} == {OperationState.FINISHED}


async def test_a_page_that_was_found_before_a_rest_is_found_again(machine: Machine) -> None:
    await machine.submit(3)
    store, job_ids, searches = OperationStore(machine.pool), sorted(machine.jobs), list[int]()
    plan = Plan(JobFilter(), Deed(Action.ABORT), "", all_jobs=True)
    operation = await store.add(plan, frozen_id=job_ids[-1], expected=3, expected_complete=True, start_key="", caller=TESTER)

    async def find(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        searches.append(after)
        if len(searches) > 1:
            return job_ids[:1], None  # the others match no more
        for verb, state in (("stop", OperationState.STOPPED), ("resume", OperationState.RUNNING)):  # somebody changes jobs between these
            async with operations.at_rest():
                await store.set(operation.operation_id, verb, state=state, caller=TESTER, reason="")
        return job_ids, None

    operations = Operations(machine.owner, machine.heads, store, find)
    for wanted in (0, 1):
        await machine.until_done(asyncio.ensure_future(operations.run_once()))
        assert (await store.find("default", operation.operation_id)).progress.matched == wanted
    assert searches == [0, 0]
    machine.jobs[job_ids[0]].state, machine.jobs[job_ids[0]].seq = State.ABORTED, 1
    machine.check_memory()
    found = await store.find("default", operation.operation_id)
    assert (found.state, found.progress.done) == (OperationState.FINISHED, 1)


async def test_what_an_earlier_search_found_is_not_used_after_a_rest(machine: Machine) -> None:
    await machine.submit(3)
    store, job_ids, searches = OperationStore(machine.pool), sorted(machine.jobs), list[int]()
    plan = Plan(JobFilter(), Deed(Action.ABORT), "", rate=1.0, all_jobs=True)
    operation = await store.add(plan, frozen_id=job_ids[-1], expected=3, expected_complete=True, start_key="", caller=TESTER)

    async def find(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        searches.append(after)
        return [job_id for job_id in job_ids if job_id > after], None

    operations = Operations(machine.owner, machine.heads, store, find)
    await machine.until_done(asyncio.ensure_future(operations.run_once()))
    async with operations.at_rest():
        pass
    machine.now += 10
    await machine.until_done(asyncio.ensure_future(operations.run_once()))
    assert searches == [0, job_ids[0]], "looked for anew after the first page"
    assert (await store.find("default", operation.operation_id)).progress.done == 2


async def test_an_operation_that_is_stopped_is_forgotten_and_counts_its_jobs_once_when_it_goes_on(machine: Machine) -> None:
    await machine.submit(3)
    store, job_ids = OperationStore(machine.pool), sorted(machine.jobs)
    plan = Plan(JobFilter(), Deed(Action.ABORT), "", rate=1.0, all_jobs=True)
    operation = await store.add(plan, frozen_id=job_ids[-1], expected=3, expected_complete=True, start_key="", caller=TESTER)

    async def find(domain: str, wanted: JobFilter, *, after: int, until_id: int, limit: int) -> tuple[list[int], int | None]:
        return [job_id for job_id in job_ids if job_id > after], None

    def counted() -> float | None:
        return machine.owner.metrics.registry.get_sample_value("headrace_operation_jobs_total", {"action": "abort", "result": "done"})

    async def set_and_run(verb: str, state: OperationState) -> None:
        async with operations.at_rest():
            await store.set(operation.operation_id, verb, state=state, caller=TESTER, reason="")
        await machine.until_done(asyncio.ensure_future(operations.run_once()))

    operations = Operations(machine.owner, machine.heads, store, find)
    await machine.until_done(asyncio.ensure_future(operations.run_once()))
    assert counted() == 1
    await set_and_run("stop", OperationState.STOPPED)
    assert not operations._standings, "it may never go on"
    await set_and_run("resume", OperationState.RUNNING)
    for _ in range(2):
        machine.now += 10
        await machine.until_done(asyncio.ensure_future(operations.run_once()))
    found = await store.find("default", operation.operation_id)
    assert (found.state, found.progress.done, counted()) == (OperationState.FINISHED, 3, 3)
