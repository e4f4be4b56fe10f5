"""Lists and counts of jobs that match a filter, a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_broker.actions import reachable
from headrace_broker.actions.reads import ANSWER_BYTES, JobRead, JobReads
from headrace_broker.actions.search import Position, Search
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.queue_order import by_score
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder

SCORE_SHIFT = 1 << 40
"""Scores travel in page tokens, whose numbers are not negative."""
AT_ONCE = 200
"""Jobs of one read: errors with long tracebacks make more of them too large for one answer."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Jobs of one page. `next`: the numbers that the next page goes on from; empty: there is none. `searched_until_s`: see `search.Found`."""

    jobs: list[JobRead]
    next: tuple[int, ...]
    complete: bool
    searched_until_s: float


@dataclass(frozen=True, slots=True)
class JobCount:
    """Jobs by type and state, as of `as_of_s`. `next` not empty: there are at least so many, and the rest is counted from there on."""

    types: dict[str, dict[State, int]]
    as_of_s: float
    next: tuple[int, ...]
    searched_until_s: float


class JobLists:
    """For one owner. Errors are those of `Search`."""

    def __init__(self, owner: Owner, reads: Reads, finder: Finder) -> None:
        self._owner = owner
        self._reads = JobReads(owner, reads)
        self._search = Search(owner, finder)

    async def page(self, domain: str, wanted: JobFilter, *, order: Order, limit: int, after: tuple[int, ...] = ()) -> JobPage:
        """Up to `limit` jobs, and no more than one answer holds, from `after` on, the `next` of the page before. Raises InvalidField when that order does not go with
        the filter."""
        if order is Order.SCORE:
            return await self._by_score(domain, wanted, limit, after)
        oldest_first = order is Order.OLDEST_FIRST
        found = await self._search.find(domain, wanted, limit=limit, position=Position(*after[:2]) if after else None, oldest_first=oldest_first)
        jobs, read = await self._shown([match.job_id for match in found.matches])
        next_, searched_until_s = found.next, found.searched_until_s
        if read < len(found.matches):
            last = found.matches[read - 1].job_id
            next_ = Position(last + 1 if oldest_first else last, next_.width if next_ is not None else 0)
            searched_until_s = created_at_s(next_.at)
        still = [job for job in jobs if job.row.state in wanted.wanted_states]  # a job may have moved since it was found
        return JobPage(still, _numbers(next_), next_ is None, searched_until_s)

    async def count(self, domain: str, wanted: JobFilter, *, after: tuple[int, ...] = ()) -> JobCount:
        """How many jobs match: from the counts where they tell, which is exact; else of those found in the time that a search has."""
        owner = self._owner
        as_of_s = owner.clock.now_s()
        if wanted.counted:
            counts = {name: by_state for name, by_state in reachable.counts(owner, domain, Act.VIEW).items() if not wanted.types or name in wanted.types}
            kept = {name: {state: n for state, n in by_state.items() if n and state in wanted.wanted_states} for name, by_state in counts.items()}
            return JobCount({name: by_state for name, by_state in kept.items() if by_state}, as_of_s, (), 0.0)
        found = await self._search.find(domain, wanted, limit=None, position=Position(*after[:2]) if after else None)
        types: dict[str, dict[State, int]] = {}
        for match in found.matches:
            by_state = types.setdefault(owner.types.by_id[match.type_id].name, {})
            by_state[match.state] = by_state.get(match.state, 0) + 1
        return JobCount(types, as_of_s, _numbers(found.next), found.searched_until_s)

    async def _by_score(self, domain: str, wanted: JobFilter, limit: int, after: tuple[int, ...]) -> JobPage:
        owner = self._owner
        if wanted != JobFilter(types=wanted.types, states=frozenset({State.WAITING})):
            raise InvalidField("order", "the order by score is for filters of types and the state waiting alone")
        weights = {entry.type_id: entry.settings.priority for entry in reachable.entries(owner, domain, Act.VIEW) if not wanted.types or entry.name in wanted.types}
        places, until, left_out = by_score(owner, weights, (after[0] - SCORE_SHIFT, after[1]) if len(after) == 2 else None, limit + 1)
        jobs, read = await self._shown([job_id for _, job_id in places[:limit]])
        still = [job for job in jobs if job.row.state is State.WAITING]
        last = places[read - 1] if len(places) > read else until
        return JobPage(still, (last[0] + SCORE_SHIFT, last[1]) if last is not None else (), last is None and not left_out, owner.clock.now_s())

    async def _shown(self, job_ids: Sequence[int]) -> tuple[list[JobRead], int]:
        """(as many of these jobs as one answer holds, without those that are gone; how many of the ids that were)."""
        jobs: list[JobRead] = []
        size = 0
        for start in range(0, len(job_ids), AT_ONCE):
            there = {job.row.job_id: job for job in await self._reads.shown(job_ids[start : start + AT_ONCE])}
            for read, job_id in enumerate(job_ids[start : start + AT_ONCE], start):
                job = there.get(job_id)
                if job is None:
                    continue
                size += job.told_bytes
                if jobs and size > ANSWER_BYTES:
                    return jobs, read
                jobs.append(job)
        return jobs, len(job_ids)


def _numbers(position: Position | None) -> tuple[int, ...]:
    return () if position is None else (position.at, position.width)
