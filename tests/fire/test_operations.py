"""Bulk operations step by step: what happens between the search for a page and its decision."""

import asyncio

from headrace_broker.model.filter import JobFilter
from headrace_broker.model.job import State
from headrace_broker.model.operation import Action, Deed, OperationState, Plan
from headrace_broker.shards.operations import Operations
from headrace_broker.store.operations import OperationStore

from tests.property.machine import TESTER, Machine


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
