"""Timers: everything comes once, not before its time and the earliest first, however many are due at once."""

import random
from array import array

import pytest
from headrace_broker.shards.timers import BUCKET_S, PORTION, Timers


def test_jobs_come_at_their_time_in_their_order() -> None:
    timers, chance = Timers(), random.Random(1)
    due = {job_id: chance.uniform(0, 10 * BUCKET_S) for job_id in range(1, 500)}
    for job_id, at in due.items():
        timers.push(at, job_id, job_id % 7, -job_id, 0.0)
    assert (len(timers), sorted(timers.entries())) == (499, sorted((job_id, job_id % 7) for job_id in due))
    seen: list[int] = []
    now = 0.0
    while len(timers):
        now = timers.next_due() or 0.0
        for type_id, priority, job_id in timers.pop_due(now):
            assert (type_id, priority) == (job_id % 7, -job_id)
            assert due[job_id] <= now
            seen.append(job_id)
        assert now < 11 * BUCKET_S
    assert seen == sorted(due, key=lambda job_id: due[job_id])
    assert timers.next_due() is None


def test_a_job_whose_time_is_over_comes_at_once_and_one_of_the_present_bucket_too() -> None:
    timers = Timers()
    timers.push(1.0, 1, 1, 0, 100.0)
    timers.push(100.5, 2, 1, 0, 100.0)
    assert timers.pop_due(100.0) == [(1, 0, 1)]
    assert timers.next_due() == 100.5
    assert timers.pop_due(100.5) == [(1, 0, 2)]


def test_many_of_a_bucket_that_are_due_later_do_not_hide_those_that_are_due_now() -> None:
    timers, late = Timers(), 3 * BUCKET_S - 0.5
    for due, jobs in ((2 * BUCKET_S, range(1, 4)), (late, range(10, 10 + 2 * PORTION))):
        for job_id in jobs:
            timers.push(due, job_id, 1, 0, 0.0)
    found: list[int] = []
    for _ in range(4):  # portions, one after another, since there is something to do at once
        assert (timers.next_due() or 0) <= 2 * BUCKET_S or len(found) == 3
        found += [job_id for _, _, job_id in timers.pop_due(2 * BUCKET_S)]
    assert sorted(found) == [1, 2, 3]
    assert timers.next_due() == late


def test_many_that_are_due_at_once_come_in_portions() -> None:
    timers, count = Timers(), 3 * PORTION + 5
    for job_id in range(count):
        timers.push(1000.0, job_id, 1, 0, 0.0)
    ids, whats, dues = timers.columns()
    assert (len(ids), len(whats), set(dues)) == (count, count, {1000.0})
    assert timers.pop_due(999.0) == []
    portions = []
    while portion := timers.pop_due(1000.0):
        portions.append(len(portion))
        assert (timers.next_due() or 0) <= 1000.0
    assert (max(portions), sum(portions)) == (PORTION, count)


def test_many_that_came_near_before_they_were_due_come_in_portions_too() -> None:
    timers, late = Timers(), 2 * BUCKET_S - 1.0
    for job_id in range(2 * PORTION):
        timers.push(late, job_id, 1, 0, 0.0)
    for due in (BUCKET_S, late, late):  # half of them, then the other half
        assert timers.pop_due(BUCKET_S) == []
        assert timers.next_due() == due
    assert [len(timers.pop_due(late)) for _ in range(3)] == [PORTION, PORTION, 0]


@pytest.mark.parametrize("shuffled", [False, True])
def test_many_at_once_are_where_one_by_one_they_would_be(shuffled: bool) -> None:
    chance = random.Random(3)
    dues = [chance.uniform(0, 10 * BUCKET_S) for _ in range(300)]
    if not shuffled:
        dues.sort()
    together, each = Timers(), Timers()
    ids, whats = range(300), [job_id % 7 << 32 | 0x8000_0000 + job_id for job_id in range(300)]
    together.extend(array("q", ids), array("q", whats), array("d", dues), 2.5 * BUCKET_S)
    for job_id, due in zip(ids, dues, strict=True):
        each.push(due, job_id, job_id % 7, job_id, 2.5 * BUCKET_S)
    assert together.next_due() == each.next_due() == min(dues)
    for now in (2.5 * BUCKET_S, 6 * BUCKET_S, 11 * BUCKET_S):
        assert together.pop_due(now) == each.pop_due(now)
        assert together.next_due() == each.next_due()


def test_when_time_is_set_forward_all_come_so_much_earlier_in_their_order() -> None:
    timers, chance = Timers(), random.Random(2)
    due = {job_id: chance.uniform(0, 50 * BUCKET_S) for job_id in range(1, 300)}
    for job_id, at in due.items():
        timers.push(at, job_id, 1, 0, 0.0)
    timers.shift(20 * BUCKET_S, 0.0)
    assert sorted(job_id for _, _, job_id in timers.pop_due(0.0)) == sorted(job_id for job_id, at in due.items() if at <= 20 * BUCKET_S)
    assert [job_id for _, _, job_id in timers.pop_due(30 * BUCKET_S)] == sorted((j for j, at in due.items() if at > 20 * BUCKET_S), key=lambda job_id: due[job_id])
