"""Searches and counts of random filters find what a plain look at every job finds: in either order, in pages of any size, however little time each page has, whether the
candidates come from memory or from the ledger. And the counts by state and type are those of the rows."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from headrace_broker.actions import search
from headrace_broker.actions.lists import JobLists
from headrace_broker.model.filter import JobFilter, Order, Period, Source
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import SETTLED, State
from headrace_broker.shards import reception
from headrace_broker.shards.session import AgentFacts, Served
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.pool import open_search_pool
from headrace_broker.store.reads import JobRow, Reads
from headrace_broker.store.search import Finder, Query
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.fill import Plan, fill
from tests.property.machine import Machine
from tests.support.databases import clone
from tests.support.ledger import check_ledger

JOBS = 700
RUNNING = 25
STATES = [State.WAITING, State.PROCESSING, State.COMPLETED, State.ERROR, State.ABORTED]
TERMS = ["order", "OK", "%", "_", "Retry", "5", "no such text anywhere"]


class Filled(Machine):
    """An owner on a ledger with a history that it did not write."""

    def _check_lanes(self) -> None:
        return

    async def run_some(self) -> None:
        """An agent gets the first waiting jobs of each type."""
        entries = [entry for entry in self.types.of_domain("default") if entry.name != "work"]
        agent_id, seen = await self.settings.agent("default", "runner", "incarnation-0001", "host", 1, "", "", {})
        facts = AgentFacts(agent_id, "runner", "incarnation-0001", "default", "host", 1, "", "", {}, seen)
        session, _, _ = reception.welcome(self.owner, facts, [Served(entry, 0, "async") for entry in entries], RUNNING, {}, object(), self.now)
        session.set_credit(session.assign_no, RUNNING, [])
        self.owner.hungry[session] = None
        await self.flush(grant=True)
        assert len(session.leases) == RUNNING


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as `GetJob` shows it, with its log."""

    row: JobRow
    type: str
    logs: list[str]

    def matches(self, wanted: JobFilter) -> bool:
        """The meaning of each field, in Python."""
        row = self.row
        error = row.error if row.state is not State.COMPLETED else None
        return (
            (not wanted.types or self.type in wanted.types)
            and (not wanted.states or row.state in wanted.states)
            and (wanted.instance_id is None or row.instance_id == wanted.instance_id)
            and _within(created_at_s(row.job_id), wanted.created)
            and _within(row.started_at, wanted.started)
            and _within(row.at if row.state in SETTLED else None, wanted.settled)
            and (wanted.agent is None or row.agent == wanted.agent)
            and (wanted.fingerprint is None or (error is not None and error["fingerprint"] == wanted.fingerprint))
            and all(row.labels.get(key) == value for key, value in wanted.labels)
            and (wanted.log_text is None or any(wanted.log_text.lower() in text.lower() for text in self.logs))
        )


def _within(at: datetime | float | None, period: Period) -> bool:
    if not period:
        return True
    if at is None:
        return False
    at_s = at.timestamp() if isinstance(at, datetime) else at
    return (period.from_s is None or at_s >= period.from_s) and (period.to_s is None or at_s < period.to_s)


class World:
    """A filled ledger, its owner, and every job as it shows itself."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.loop = asyncio.new_event_loop()
        self.jobs: dict[int, Seen] = {}

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    async def open(self) -> None:
        await fill(self.dsn, Plan(JOBS, waiting=60, scheduled=50, stuck=3, days=2, log_lines=2, instances=40, chunk=200))
        await fill(self.dsn, Plan(100, waiting=10, domain="other", log_lines=2, chunk=50, connections=1))
        self.machine = Filled(self.dsn)
        await self.machine.open()
        await self.machine.run_some()
        self.pool = await open_search_pool(self.dsn)
        self.lists = JobLists(self.machine.owner, Reads(self.machine.pool), Finder(self.pool))
        ids = [row["job_id"] for row in await self.pool.fetch("select job_id from headrace.job order by job_id")]
        logs: dict[int, list[str]] = {}
        for row in await self.pool.fetch("select job_id, text from headrace.log_line"):
            logs.setdefault(row["job_id"], []).append(row["text"])
        for row in await Reads(self.machine.pool).jobs(ids):
            entry = self.machine.types.by_id[row.type_id]
            if entry.domain == "default":
                self.jobs[row.job_id] = Seen(row, entry.name, logs.get(row.job_id, []))
        assert len(self.jobs) == JOBS and {seen.row.state for seen in self.jobs.values()} == set(STATES)

    async def close(self) -> None:
        await self.pool.close()
        await self.machine.close()

    def filters(self) -> st.SearchStrategy[JobFilter]:
        """Filters whose values are those of some job, mostly."""
        jobs = list(self.jobs.values())

        def some(values: set[Any]) -> st.SearchStrategy[Any]:
            return st.one_of(st.none(), st.none(), st.sampled_from(sorted(values)))

        def period(times: list[float]) -> st.SearchStrategy[Period]:
            at = st.one_of(st.none(), st.sampled_from(sorted(times)))
            return st.one_of(st.just(Period()), st.just(Period()), st.builds(Period, at, at))

        errors = {seen.row.error["fingerprint"] for seen in jobs if seen.row.error}
        labels = {item for seen in jobs for item in seen.row.labels.items()}
        return st.builds(
            JobFilter,
            types=st.one_of(st.just(()), st.lists(st.sampled_from(sorted({seen.type for seen in jobs} | {"none"})), max_size=2, unique=True).map(tuple)),
            states=st.one_of(st.just(frozenset()), st.sets(st.sampled_from(STATES), max_size=3).map(frozenset)),
            instance_id=some({seen.row.instance_id for seen in jobs if seen.row.instance_id} | {"nobody"}),
            created=period([created_at_s(seen.row.job_id) for seen in jobs]),
            started=period([seen.row.started_at.timestamp() for seen in jobs if seen.row.started_at]),
            settled=period([seen.row.at.timestamp() for seen in jobs if seen.row.state in SETTLED and seen.row.at]),
            agent=some({seen.row.agent for seen in jobs if seen.row.agent} | {"nobody"}),
            fingerprint=some(errors | {"nothing"}),
            labels=st.one_of(st.just(()), st.lists(st.sampled_from(sorted(labels)), max_size=2, unique_by=lambda item: item[0]).map(lambda items: tuple(sorted(items)))),
            log_text=some({*TERMS, *(text[3:14] for seen in jobs[:40] for text in seen.logs)}),
        )

    async def found(self, wanted: JobFilter, order: Order, limit: int) -> list[int]:
        """All pages."""
        ids: list[int] = []
        after: tuple[int, ...] = ()
        while True:
            page = await self.lists.page("default", wanted, order=order, limit=limit, after=after)
            assert page.complete == (not page.next) and len(page.jobs) <= limit
            ids += [job.row.job_id for job in page.jobs]
            if not page.next:
                return ids
            assert page.next != after, "it does not come on"
            after = page.next

    async def counted(self, wanted: JobFilter) -> Counter[tuple[str, State]]:
        """All parts of a count."""
        total: Counter[tuple[str, State]] = Counter()
        after: tuple[int, ...] = ()
        while True:
            part = await self.lists.count("default", wanted, after=after)
            total.update({(name, state): n for name, by_state in part.types.items() for state, n in by_state.items()})
            if not part.next:
                return total
            after = part.next


@pytest.fixture(scope="module")
def world(postgres: EmbeddedPostgres) -> Iterator[World]:
    """One for the module: nothing in it changes."""
    admin_dsn = postgres.dsn.replace("/headrace?", "/postgres?")
    found = World(postgres.dsn.replace("/headrace?", "/search_world?"))

    async def statement(text: str) -> None:
        con = await asyncpg.connect(admin_dsn)
        await con.execute(text)
        await con.close()

    found.run(statement(clone("search_world")))
    found.run(found.open())
    yield found
    found.run(found.close())
    found.run(statement("drop database search_world with (force)"))
    found.loop.close()


FROM_MEMORY, FROM_LEDGER = 100_000, 0


@pytest.mark.parametrize(("in_memory", "small"), [(FROM_MEMORY, False), (FROM_MEMORY, True), (FROM_LEDGER, True)], ids=["as_it_is", "in_small_steps", "from_the_ledger"])
def test_a_search_finds_what_a_look_at_every_job_finds(world: World, monkeypatch: pytest.MonkeyPatch, in_memory: int, small: bool) -> None:
    monkeypatch.setattr(search, "IN_MEMORY", in_memory)
    if small:  # many windows, many pieces
        monkeypatch.setattr(search, "CANDIDATES", 13)
        monkeypatch.setattr(search, "AT_ONCE", 5)
        monkeypatch.setattr(search, "FEW_AT_ONCE", 3)

    @settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
    @given(wanted=world.filters(), order=st.sampled_from([Order.NEWEST_FIRST, Order.OLDEST_FIRST]), limit=st.sampled_from([1, 7, 1000]), count=st.booleans())
    def look(wanted: JobFilter, order: Order, limit: int, count: bool) -> None:
        naive = sorted((job_id for job_id, seen in world.jobs.items() if seen.matches(wanted)), reverse=order is Order.NEWEST_FIRST)
        if limit == 1 and len(naive) > 40:
            limit = 50
        assert world.run(world.found(wanted, order, limit)) == naive
        if count:
            rows = Counter((world.jobs[job_id].type, world.jobs[job_id].row.state) for job_id in naive)
            assert world.run(world.counted(wanted)) == rows

    look()


def many_waiting(world: World) -> tuple[JobFilter, list[int]]:
    """A filter of the type of which most wait, and what it finds, the newest first."""
    lanes = world.machine.owner.lanes
    type_id = max(lanes.types(), key=lanes.ready)
    assert lanes.ready(type_id) > 10
    wanted = JobFilter(types=(world.machine.types.by_id[type_id].name,), states=frozenset({State.WAITING}))
    return wanted, sorted((job_id for job_id, seen in world.jobs.items() if seen.matches(wanted)), reverse=True)


def noting(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """(lowest id, id above the highest, rows) of each statement for candidates, from now on."""
    asked: list[tuple[int, int, int]] = []
    candidates = Finder.candidates

    async def noted(finder: Finder, source: Source, q: Query, lo: int, hi: int, **options: Any) -> list[int]:
        asked.append((lo, hi, options["rows"]))
        return await candidates(finder, source, q, lo, hi, **options)

    monkeypatch.setattr(Finder, "candidates", noted)
    return asked


def test_where_many_wait_the_first_window_has_about_as_many_as_one_statement_returns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "IN_MEMORY", 0)
    monkeypatch.setattr(search, "CANDIDATES", 5)
    monkeypatch.setattr(search, "FIRST_WIDTH", 1 << 62)  # the jobs of this world lie minutes apart
    wanted, naive = many_waiting(world)
    asked = noting(monkeypatch)
    page = world.run(search.Search(world.machine.owner, Finder(world.pool)).find("default", wanted, limit=2))
    assert [match.job_id for match in page.matches] == naive[:2]
    lo, hi, _ = asked[0]
    assert len([job_id for job_id in naive if lo <= job_id < hi]) <= 10 < len(naive), "about five: lanes are by priority, and in order of ids nearly"


def test_a_short_page_asks_for_few_candidates_and_for_more_while_it_is_not_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "IN_MEMORY", 0)
    monkeypatch.setattr(search, "FEW_AT_ONCE", 2)
    wanted, naive = many_waiting(world)
    asked = noting(monkeypatch)
    finder = search.Search(world.machine.owner, Finder(world.pool))
    assert [match.job_id for match in world.run(finder.find("default", wanted, limit=1)).matches] == naive[:1]
    assert {rows for _, _, rows in asked} == {2}
    asked.clear()
    world.run(finder.find("default", replace(wanted, states=frozenset({State.PROCESSING})), limit=1))  # passes all that wait
    assert list(dict.fromkeys(rows for _, _, rows in asked))[:3] == [2, 8, 32]
    asked.clear()
    several = tuple(sorted({seen.type for seen in world.jobs.values()})[:2])
    world.run(finder.find("default", replace(wanted, types=several), limit=1))
    assert asked and {rows for _, _, rows in asked} == {search.CANDIDATES}, "of several types they are sorted, which few of them do not make cheaper"


def test_of_several_attempts_only_the_newest_counts(world: World) -> None:
    several = "select job_id, min(at) as first, max(at) as last from headrace.event where kind = 1 group by job_id having count(*) > 1"
    rows = [row for row in world.run(world.pool.fetch(several)) if row["job_id"] in world.jobs]
    assert len(rows) > 10
    for row in rows[:10]:
        earlier = JobFilter(started=Period(row["first"].timestamp(), row["last"].timestamp()))
        newest = JobFilter(started=Period(row["last"].timestamp(), row["last"].timestamp() + 1))
        assert row["job_id"] not in world.run(world.found(earlier, Order.NEWEST_FIRST, 1000))
        assert row["job_id"] in world.run(world.found(newest, Order.NEWEST_FIRST, 1000))
    failed = [row for row in rows if world.jobs[row["job_id"]].row.state is State.ERROR]
    assert failed
    for row in failed[:5]:  # found by their state, then held against the period, whose end is not in it
        before = JobFilter(states=frozenset({State.ERROR}), started=Period(None, row["last"].timestamp()))
        assert row["job_id"] not in world.run(world.found(before, Order.NEWEST_FIRST, 1000))


class Short:
    """A clock of searches by which each page has time for four statements. The last of them uses up what is left, and on every second page it is cancelled over that, so
    that pages end between two windows and in the middle of one, on any machine. Real statements have all the time that they need.
    """

    BUDGET_S, STATEMENTS = 1000.0, 4

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self._asked = 0.0, 0
        monkeypatch.setattr(search, "WINDOW_S", self.BUDGET_S)
        monkeypatch.setattr(search, "asyncio", SimpleNamespace(get_running_loop=lambda: SimpleNamespace(time=lambda: self.now)))
        for name in ("first_id", "candidates", "matching"):
            monkeypatch.setattr(Finder, name, self._timed(getattr(Finder, name)))

    def _timed(self, statement: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def timed(*arguments: Any, timeout_s: float, **options: Any) -> Any:
            assert timeout_s == self.BUDGET_S, "what is left of its time"
            page, last = divmod(self._asked, self.STATEMENTS)
            self._asked += 1
            if last == self.STATEMENTS - 1:
                self.now += self.BUDGET_S
                if page % 2:
                    raise TimeoutError
            return await statement(*arguments, timeout_s=60, **options)

        return timed

    def begin(self) -> None:
        """A page; the one before may have had time to spare."""
        self._asked += -self._asked % self.STATEMENTS


def test_a_search_whose_time_is_over_goes_on_where_it_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "CANDIDATES", 5)
    monkeypatch.setattr(search, "AT_ONCE", 5)
    clock = Short(monkeypatch)
    engine = search.Search(world.machine.owner, Finder(world.pool))
    wanted = JobFilter(states=frozenset({State.COMPLETED}))
    naive = sorted(job_id for job_id, seen in world.jobs.items() if seen.matches(wanted))

    async def pages(oldest_first: bool) -> tuple[int, list[int]]:
        found: list[int] = []
        position, number = None, 0
        while True:
            clock.begin()
            part = await engine.find("default", wanted, limit=None, position=position, oldest_first=oldest_first, budget_s=clock.BUDGET_S)
            passed = [job_id for job_id in naive if (created_at_s(job_id) < part.searched_until_s if oldest_first else created_at_s(job_id) > part.searched_until_s)]
            found += [match.job_id for match in part.matches]
            assert set(passed) <= set(found), "it says that it came farther than it did"
            number += 1
            if part.next is None:
                return number, found
            assert position is None or part.next.at != position.at, "it does not come on"
            position = part.next

    number, found = world.run(pages(True))
    assert found == naive and number > 10
    number, found = world.run(pages(False))
    assert found == naive[::-1] and number > 10


def test_walking_through_the_jobs_of_one_moment_leaves_out_what_comes_later(world: World) -> None:
    engine = search.Search(world.machine.owner, Finder(world.pool))
    wanted = JobFilter(types=("mail.send",))
    naive = sorted(job_id for job_id, seen in world.jobs.items() if seen.matches(wanted))
    frozen = naive[len(naive) // 2]

    async def walk() -> list[int]:
        found: list[int] = []
        after: int | None = 0
        while after is not None:
            ids, after = await engine.ids("default", wanted, after=after, until_id=frozen, limit=9)
            found += ids
        return found

    assert world.run(walk()) == [job_id for job_id in naive if job_id <= frozen]
    assert engine.frozen_id() > naive[-1]


def test_waiting_jobs_by_score_are_in_the_order_of_the_queue(world: World) -> None:
    wanted = JobFilter(states=frozenset({State.WAITING}))
    weights = {entry.name: entry.settings.priority for entry in world.machine.types.of_domain("default")}
    naive = sorted((-(weights[seen.type] + seen.row.priority), job_id) for job_id, seen in world.jobs.items() if seen.matches(wanted))
    assert len({score for score, _ in naive}) > 1
    for limit in (7, 1000):
        assert world.run(world.found(wanted, Order.SCORE, limit)) == [job_id for _, job_id in naive]
    typed = replace(wanted, types=("order.sync",))
    assert world.run(world.found(typed, Order.SCORE, 5)) == [job_id for _, job_id in naive if world.jobs[job_id].type == "order.sync"]


def test_the_counts_by_state_and_type_are_those_of_the_rows(world: World) -> None:
    rows = Counter((seen.type, seen.row.state) for seen in world.jobs.values())
    assert world.run(world.counted(JobFilter())) == rows
    wanted = JobFilter(types=("mail.send", "import.rows"), states=frozenset({State.WAITING, State.ERROR}))
    assert wanted.counted and world.run(world.counted(wanted)) == Counter({key: n for key, n in rows.items() if key[0] in wanted.types and key[1] in wanted.states})

    async def check() -> None:
        con = await asyncpg.connect(world.dsn)
        await check_ledger(con)
        await con.close()

    world.run(check())
