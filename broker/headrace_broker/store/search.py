"""Finding jobs by filter: candidates from one source in a window of ids, then those of them that match. Each statement is bounded by its window, its rows and its time.

Its pool is a small one of its own, so that reads by id never wait behind searches, and its connections plan each statement for its parameters: which fields of a filter
are set decides the plan.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg

from headrace_broker.model.filter import JobFilter, Period, Source, like_pattern
from headrace_broker.model.ids import class_of
from headrace_broker.model.job import State
from headrace_broker.store.statements import sql


@dataclass(frozen=True, slots=True)
class Query:
    """A filter as the statements take it: names resolved. `now_minute`: jobs whose delete date is not after this minute since 1970 are gone."""

    type_ids: list[int]
    states: list[int]
    instance_id: str | None
    labels: str | None
    agent_ids: list[int] | None
    started: tuple[datetime | None, datetime | None]
    settled: tuple[datetime | None, datetime | None]
    fingerprint: str | None
    log_pattern: str | None
    now_minute: float


@dataclass(frozen=True, slots=True)
class Match:
    """A job that matches."""

    job_id: int
    type_id: int
    state: State


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Jobs in error that are alike: their fingerprint (or empty) and code, what the newest of them said, how many, the newest id, when it and the first of them ended."""

    fingerprint: str
    code: str
    message: str
    jobs: int
    newest_id: int
    newest_at: datetime | None
    first_at: datetime | None


def query(wanted: JobFilter, type_ids: Sequence[int], agent_ids: list[int] | None, now_s: float) -> Query:
    """The filter with the types that it may see and the lives of the agent that it names."""
    return Query(
        list(type_ids), sorted(map(int, wanted.wanted_states)), wanted.instance_id, json.dumps(dict(wanted.labels)) if wanted.labels else None, agent_ids,
        _times(wanted.started), _times(wanted.settled), wanted.fingerprint, like_pattern(wanted.log_text) if wanted.log_text is not None else None, now_s / 60,
    )  # fmt: skip


def read_in_order(source: Source, q: Query) -> bool:
    """Whether an index has the candidates in the order of their ids: then a statement costs what it returns, however many more there are in its window."""
    return source is Source.JOBS and len(q.type_ids) == 1 and q.instance_id is None and q.labels is None


SILENT_S = 2.0
"""Statements of searches are cancelled after less: one that has taken longer waits for a database that does not answer."""


class Silent(ConnectionError):
    """No search has an answer: it is not that others are too many."""


class NoTurn(Exception):
    """Other searches have all connections, for longer than this one may wait. `longest_s`: how long the oldest of them has been at its statement."""

    def __init__(self, longest_s: float) -> None:
        super().__init__(f"{longest_s:.1f} s")
        self.longest_s = longest_s


class Finder:
    """The statements. Each raises TimeoutError when it was cancelled because its time was over, NoTurn, Silent, and what asyncpg raises when Postgres is away."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool
        self._begun: dict[int, float] = {}  # when each statement that is under way began, on the loop's clock
        self._count = 0

    async def agent_ids(self, domain: str, name: str, *, timeout_s: float) -> list[int]:
        """All lives of the agents of this name."""
        return [row["agent_id"] for row in await self._fetch(timeout_s, sql("agent_ids"), domain, name)]

    async def first_id(self, *, timeout_s: float) -> int:
        """No job that is stored has a lower id."""
        [row] = await self._fetch(timeout_s, sql("search_first"))
        return row["lo"] or 0

    async def candidates(self, source: Source, q: Query, lo: int, hi: int, *, rows: int, oldest_first: bool, timeout_s: float) -> list[int]:
        """The first `rows` ids with `lo` <= id < `hi` that the source has."""
        if read_in_order(source, q):
            statement = sql("search_type_oldest" if oldest_first else "search_type_newest")
            return [row["job_id"] for row in await self._fetch(timeout_s, statement, lo, hi, q.type_ids[0], rows)]
        order = 1 if oldest_first else -1
        name, arguments = {
            Source.JOBS: ("search_jobs", (q.type_ids, q.instance_id, q.labels)),
            Source.GRANTS: ("search_grants", (q.type_ids, q.agent_ids, *q.started)),
            Source.ENDINGS: ("search_endings", (q.type_ids, q.states, *q.settled)),
            Source.RARE: ("search_rare", (q.type_ids, q.states)),
            Source.ERRORS: ("search_errors", (q.type_ids, q.fingerprint)),
            Source.LOGS: ("search_logs", (q.log_pattern,)),
        }[source]
        found = await self._fetch(timeout_s, sql(name), lo, hi, *arguments, order, rows)
        return [row["job_id"] for row in found]

    async def matching(self, q: Query, job_ids: Sequence[int], *, text_known: bool, timeout_s: float) -> list[Match]:
        """Those of these jobs that match, in their order. `text_known`: they have the log line that the filter asks for."""
        classes = sorted({class_of(job_id) for job_id in job_ids})
        arguments = (q.type_ids, q.states, q.now_minute, q.instance_id, q.labels, q.agent_ids, *q.started, *q.settled, q.fingerprint)
        rows = await self._fetch(timeout_s, sql("search_match"), list(job_ids), classes, *arguments)
        found = {row["job_id"]: Match(row["job_id"], row["type_id"], State(row["state"])) for row in rows}
        if found and q.log_pattern is not None and not text_known:
            rows = await self._fetch(timeout_s, sql("search_match_text"), list(found), classes, q.log_pattern)
            found = {row["job_id"]: found[row["job_id"]] for row in rows}
        return [found[job_id] for job_id in job_ids if job_id in found]

    async def error_groups(self, type_id: int, *, jobs: int, now_s: float, limit: int, timeout_s: float) -> tuple[list[ErrorGroup], int, int]:
        """(the largest groups of the newest `jobs` that came into error, how many groups there are, how many jobs were looked at)."""
        rows = await self._fetch(timeout_s, sql("error_groups"), type_id, jobs, now_s / 60, limit)
        groups = [ErrorGroup(*(row[name] for name in ErrorGroup.__slots__)) for row in rows]
        return groups, rows[0]["groups"] if rows else 0, rows[0]["looked"] if rows else 0

    async def _fetch(self, timeout_s: float, statement: str, *arguments: Any) -> list[Any]:
        try:
            con = await self._pool.acquire(timeout=timeout_s)
        except TimeoutError as error:
            longest_s = asyncio.get_running_loop().time() - min(self._begun.values(), default=math.inf)
            if len(self._begun) < self._pool.get_max_size() or longest_s > SILENT_S:
                raise Silent("the database lets nobody in, or has answered none of the searches for longer than they may take") from error
            raise NoTurn(longest_s) from error
        number = self._count = self._count + 1
        self._begun[number] = asyncio.get_running_loop().time()
        try:
            rows: list[Any] = await con.fetch(statement, *arguments, timeout=timeout_s)
            return rows
        finally:
            del self._begun[number]  # before anything is awaited: who gives up in the middle of giving the connection back has had its turn
            await self._pool.release(con)


def _times(period: Period) -> tuple[datetime | None, datetime | None]:
    return _time(period.from_s), _time(period.to_s)


def _time(at_s: float | None) -> datetime | None:
    return None if at_s is None else datetime.fromtimestamp(at_s, UTC)
