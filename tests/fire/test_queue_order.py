"""The list of waiting jobs by score, where more of them wait than a page looks at."""

import pytest
from headrace_broker.actions.lists import JobLists
from headrace_broker.model.filter import JobFilter, Order
from headrace_broker.model.job import State
from headrace_broker.shards import queue_order
from headrace_broker.shards.intents import Verb
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder

from tests.fire.steps import begin, end
from tests.property.machine import Machine
from tests.support.crews import submit


async def _pages(machine: Machine, limit: int) -> tuple[list[int], bool]:
    """(ids of all pages, whether the last one says that nothing was left out)."""
    lists, wanted = JobLists(machine.owner, Reads(machine.pool), Finder(machine.pool)), JobFilter(states=frozenset({State.WAITING}))
    found: list[int] = []
    after: tuple[int, ...] = ()
    while True:
        page = await lists.page("default", wanted, order=Order.SCORE, limit=limit, after=after)
        found += [job.row.job_id for job in page.jobs]
        if not page.next:
            return found, page.complete
        assert page.next != after and not page.complete
        after = page.next


async def test_a_list_by_score_goes_on_behind_the_front_of_each_lane(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And does not go on with what has a lower score before that."""
    other = await machine.types.ensure("default", "other")
    high = [*await submit(machine, 11, priority=5), *await submit(machine, 9, priority=5, limit_key="k"), *await submit(machine, 3, priority=5)]
    low = await submit(machine, 7, entry=other)
    monkeypatch.setattr(queue_order, "OF_EACH_LANE", 4)
    for limit in (3, 4, 50):
        assert await _pages(machine, limit) == (high + low, True)
    for job_id in high[:9]:  # they stay in their lane until it is their turn
        assert (await end(machine, await begin(machine, Verb.ABORT, job_id))).state is State.ABORTED
    for limit in (3, 50):
        assert await _pages(machine, limit) == (high[9:] + low, True)
