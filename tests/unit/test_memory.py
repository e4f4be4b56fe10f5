"""The owner's small parts: lanes, body cache, credit, clock."""

from types import SimpleNamespace
from typing import Any

from headrace_broker.shards.bodies import BodyCache
from headrace_broker.shards.clock import DatabaseClock
from headrace_broker.shards.hub import Hub, JobChange
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.live import Live
from headrace_broker.shards.session import Session
from headrace_broker.store.batch import FullBody


def _waits(job_id: int, priority: int) -> bool:
    raise AssertionError(f"nothing was discarded, and {job_id} is asked for")


def test_lanes_give_the_highest_priority_first_and_keep_the_order() -> None:
    lanes = Lanes(waits=_waits)
    lanes.extend(1, 0, [10, 11, 12])
    lanes.push(1, 5, 20)
    assert (lanes.best(1), lanes.first(1, 5), lanes.ready(1)) == (5, 20, 4)
    assert lanes.pop(1, 5, 3) == [20]
    assert lanes.pop(1, 0, 2) == [10, 11]
    assert lanes.best(2) is None
    assert lanes.pop(1, 0, 9) == [12]
    assert lanes.types() == []


def test_lanes_tell_how_many_go_before_a_job() -> None:
    lanes = Lanes(waits=_waits)
    lanes.extend(1, 0, [10, 11, 14])
    lanes.extend(1, 5, [20])
    lanes.extend(2, 3, [12, 13, 15])
    assert lanes.ahead(14, 1, 0, {1: 0}) == 3
    assert lanes.ahead(14, 1, 0, {1: 0, 2: -3}) == 5  # the same score: the lower ids of the other type go first
    assert lanes.ahead(14, 1, 0, {1: 0, 2: 0}) == 6
    assert lanes.ahead(14, 1, 0, {1: 0, 2: -9}) == 3
    lanes.pop(1, 0, 2)
    assert lanes.ahead(14, 1, 0, {1: 0}) == 1
    assert lanes.ahead(99, 1, 0, {1: 0}) == 2


def test_lanes_tell_how_many_come_before_a_job_of_another_lane() -> None:
    lanes = Lanes(waits=_waits)
    lanes.extend(1, 0, [10, 11, 14, 17])
    assert [lanes.before(1, 0, since, 3) for since in (5, 11, 12, 16, 20)] == [1, 1, 2, 3, 3]
    lanes.pop(1, 0, 1)
    assert lanes.before(1, 0, 15, 9) == 2
    lanes.push(1, 0, 12, since=18)  # put off until then
    assert lanes.before(1, 0, 15, 9) == 1


def test_a_discarded_entry_is_skipped_and_a_job_that_is_ready_again_comes_once() -> None:
    waiting: dict[int, int] = {}  # job -> priority
    lanes = Lanes(waits=lambda job_id, priority: waiting.get(job_id) == priority)
    lanes.extend(1, 0, [10, 11])
    lanes.discard(10)
    assert lanes.pop(1, 0, 3) == [11]
    assert not lanes.is_stale(10)
    lanes.extend(1, 0, [10, 11, 10])
    lanes.discard(10)
    waiting[10] = 0
    assert lanes.pop(1, 0, 3) == [10, 11]
    lanes.push(1, 0, 10)
    lanes.discard(10)
    lanes.push(1, 5, 10)  # of a higher priority now: its older entry is in another lane, and comes up later
    waiting[10] = 5
    assert lanes.pop(1, 5, 1) == [10]
    waiting.clear()
    assert lanes.pop(1, 0, 1) == [] and not lanes.is_stale(10)


def test_a_long_lane_gives_memory_back() -> None:
    lanes = Lanes(waits=_waits)
    lanes.extend(1, 0, range(100_000))
    for start in range(0, 90_000, 1000):
        assert lanes.pop(1, 0, 1000)[0] == start
    assert sum(map(len, lanes.entries(1))) == 10_000
    assert len(lanes._by_type[1][0].ids) <= 20_000


def test_the_body_cache_stops_at_its_limit() -> None:
    cache = BodyCache(1000)
    for job_id in range(20):
        cache.put(1, job_id, b"x" * 100)
    assert cache.pop(1, 0) == b"x" * 100
    assert cache.pop(1, 19) is None
    assert cache.used_bytes <= 1500
    assert cache.pop_all(1, range(20))[:3] == [None, b"x" * 100, b"x" * 100]
    assert cache.used_bytes == 0 and not cache._types


def test_bodies_of_jobs_that_nobody_takes_leave_room_for_those_of_other_types() -> None:
    cache = BodyCache(1_000_000)
    for start in range(0, 10_000, 100):
        cache.put_all(1, list(range(start, start + 100)), [b"x" * 100] * 100)
    alone = cache.used_bytes
    assert 0.6 < alone / 1_000_000 < 0.72
    cache.put_all(2, [1, 2], [b"a", b"b"])
    cache.put(2, 3, FullBody(b"c"))
    assert cache.pop_all(2, [3, 1, 2, 1]) == [FullBody(b"c"), b"a", b"b", None] and cache.pop(2, 1) is None
    assert cache.used_bytes == alone
    for start in range(0, 10_000, 100):
        cache.put_all(2, list(range(start, start + 100)), [b"x" * 100] * 100)
    assert 0.15 < (cache.used_bytes - alone) / 1_000_000 < 0.3
    nothing = BodyCache(0)
    nothing.put_all(1, [1], [b""])
    assert nothing.pop(1, 1) is None


def _live(job_id: int, session: Session) -> Any:
    live = Live(job_id, SimpleNamespace(type_id=1), 0, None)  # type: ignore[arg-type]  # all that credit looks at
    live.session = session
    session.unsent[live] = None
    return live


def test_credit_is_absolute_and_what_is_under_way_is_subtracted() -> None:
    from headrace_broker.model.job import State

    session = Session(SimpleNamespace(incarnation_id="i"), [], slots=10, now=0.0)  # type: ignore[arg-type]
    session.attach(object(), 0.0)
    session.set_credit(0, 5, [])
    assert session.room == 5
    first, second = _live(1, session), _live(2, session)
    session.spend(1, 2)
    assert session.room == 3
    session.set_credit(0, 5, [])  # the agent had not seen them: they are not counted twice, nor forgotten
    assert session.room == 3
    for live in (first, second):
        live.state, live.seq = State.PROCESSING, 1
        session.out.assigned.append((live, 1, b"", None))
    session.take_out(1.0)
    session.set_credit(0, 5, [])
    assert session.room == 3
    session.set_credit(1, 3, [])  # now it has seen Assign 1, and has room for three more
    assert session.room == 3
    session.draining = True
    assert session.room == 0
    session.draining, session.held_back = False, True
    assert session.room == 0
    session.held_back = False
    session.set_credit(0, 5, [])  # counted before Assign 1, and overtaken by the one above
    assert session.room == 3


def test_what_is_no_lease_any_more_is_not_sent() -> None:
    from headrace_broker.model.job import State

    session = Session(SimpleNamespace(incarnation_id="i"), [], slots=10, now=0.0)  # type: ignore[arg-type]
    jobs = [_live(job_id, session) for job_id in range(4)]
    for live in jobs:
        live.state, live.seq = State.PROCESSING, 1
        session.out.assigned.append((live, 1, b"", None))
    jobs[0].state, jobs[1].seq, jobs[2].session = State.ABORTED, 3, None
    assert [live.job_id for live, *_ in session.take_out(1.0).assigned] == [3]


def test_heartbeats_are_confirmed_by_a_flush_that_began_after_them() -> None:
    session = Session(SimpleNamespace(incarnation_id="i"), [], slots=1, now=0.0)  # type: ignore[arg-type]
    session.beats.extend([(7, 3), (8, 4)])
    session.confirm(2, 100.0, 15.0)
    assert session.out.proven_no == 0
    session.confirm(3, 100.0, 15.0)
    assert session.out.proven_no == 7
    assert session.beats == [(8, 4)]


def test_heartbeats_of_an_agent_without_leases_are_confirmed_now_and_then_and_with_leases_always() -> None:
    session = Session(SimpleNamespace(incarnation_id="i"), [], slots=1, now=0.0)  # type: ignore[arg-type]

    def confirmed(number: int, now: float) -> bool:
        session.take_out(now)
        session.beats.append((number, number))
        session.confirm(number, now, 15.0)
        return session.out.proven_no == number

    assert [confirmed(number, 5.0 * number) for number in range(1, 8)] == [True, False, False, True, False, False, True]
    session.leases[1] = _live(1, session)
    assert [confirmed(number, 5.0 * number) for number in range(8, 11)] == [True, True, True]


def test_the_clock_carries_the_databases_time_on() -> None:
    now = [100.0]
    clock = DatabaseClock(lambda: now[0])
    assert clock.set(1_000_000.5, 99.0, 100.0) == 0.0
    now[0] = 103.0
    assert clock.now_s() == 1_000_004.0
    assert clock.monotonic_at(1_000_010.0) == 109.0
    assert clock.set(1_000_009.0, 103.0, 103.0) == 5.0


async def test_a_slow_watcher_loses_changes_not_memory_and_is_told() -> None:
    from headrace_broker.model.job import State

    hub = Hub()
    with hub.subscribe(limit=2) as changes:
        hub.publish([JobChange(n, 1, State.WAITING, 0, "submitted") for n in range(5)])
        hub.close()
        assert [(change.job_id, change.gap) async for change in changes] == [(0, False), (4, True)], "the newest is never left out"
    assert not hub.active


async def test_what_a_watcher_does_not_want_takes_no_room() -> None:
    from headrace_broker.model.job import State

    hub = Hub()
    with hub.subscribe(of_type=lambda type_id: type_id == 2, limit=2) as changes:
        hub.publish([JobChange(n, 1 + (n == 7), State.WAITING, 0, "submitted") for n in range(9)])
        hub.close()
        assert [(change.job_id, change.gap) async for change in changes] == [(7, False)]
