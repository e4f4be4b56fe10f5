"""Where a search for jobs that wait begins: as far back as memory knows that they lie."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_broker.actions import search
from headrace_broker.actions.search import FIRST_WIDTH, LEAST_WIDTH, Search, _Walk
from headrace_broker.model.filter import JobFilter, Period
from headrace_broker.model.ids import EPOCH_S, MAX_BORROWED_MS, MAX_ID, lowest_id_at
from headrace_broker.model.job import State
from headrace_broker.shards.lanes import Lanes

WAITING = frozenset({State.WAITING})
NOW = 100 * FIRST_WIDTH
MANY = search.CANDIDATES


@pytest.fixture
def lanes() -> Lanes:
    """Of two types: 1 waits since long ago, 2 since a moment ago."""
    lanes = Lanes()
    lanes.extend(1, 0, range(MANY * 3))
    lanes.extend(2, 0, range(NOW - MANY * 3, NOW))
    lanes.extend(3, 0, [7])
    return lanes


@pytest.mark.parametrize(
    ("types", "wanted", "width"),
    [
        ([1], JobFilter(states=WAITING), NOW - 2 * MANY),
        ([2], JobFilter(states=WAITING), MANY),
        ([1, 2], JobFilter(states=WAITING), MANY),
        ([1, 3], JobFilter(states=WAITING), FIRST_WIDTH),  # others of their time are passed one by one
        ([1], JobFilter(states=WAITING, labels=(("a", "b"),)), FIRST_WIDTH),
        ([3], JobFilter(states=WAITING), FIRST_WIDTH),
        ([2], JobFilter(), FIRST_WIDTH),
    ],
    ids=["long ago", "now", "both", "several types", "labels", "few", "any state"],
)
def test_the_first_window_reaches_to_where_enough_jobs_wait(lanes: Lanes, types: list[int], wanted: JobFilter, width: int) -> None:
    owner: Any = SimpleNamespace(lanes=lanes)
    nobody: Any = None
    found = Search(owner, nobody)._first_width(_Walk(0, NOW, False, math.inf, 20), wanted, types)
    assert found == max(LEAST_WIDTH, width)


def test_with_the_oldest_first_memory_says_nothing_of_the_first_window(lanes: Lanes) -> None:
    owner: Any = SimpleNamespace(lanes=lanes)
    nobody: Any = None
    assert Search(owner, nobody)._first_width(_Walk(0, NOW, True, math.inf, 20), JobFilter(states=WAITING), [2]) == FIRST_WIDTH


@pytest.mark.parametrize(("field", "ahead_ms"), [("started", MAX_BORROWED_MS), ("settled", MAX_BORROWED_MS), ("created", 0)])
def test_what_has_started_before_a_time_may_have_an_id_of_a_little_later(field: str, ahead_ms: int) -> None:
    until_s = EPOCH_S + 1_000_000.0
    bounds = JobFilter(**{field: Period(to_s=until_s)}).id_bounds()  # type: ignore[arg-type]  # by its name
    assert bounds == (0, lowest_id_at(until_s + ahead_ms / 1000))
    assert JobFilter(**{field: Period(from_s=until_s)}).id_bounds()[1] == MAX_ID  # type: ignore[arg-type]  # by its name
