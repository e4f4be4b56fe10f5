"""The order in which jobs are granted: by score, then by since when they are ready; with instances that have a priority, and with age. No database."""

from types import SimpleNamespace
from typing import Any

from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.job import State
from headrace_broker.model.settings import Settings
from headrace_broker.model.terms import Terms
from headrace_broker.shards import dispatcher
from headrace_broker.shards.lanes import Lanes
from headrace_broker.shards.lines import Lines
from headrace_broker.shards.live import Live
from headrace_broker.shards.rescore import bring
from headrace_broker.store.instances import WaitingRow

NOW_S = 1_800_000_000.0


def at(seconds: float, number: int = 0) -> int:
    """An id that was made then."""
    return lowest_id_at(NOW_S + seconds) + number


class AType:
    """As much of a type as lines look at."""

    domain_id = 7

    def __init__(self, type_id: int, settings: dict[str, Any]) -> None:
        self.type_id = type_id
        self.settings = Settings(**settings)


def a_type(type_id: int = 1, **settings: Any) -> Any:
    """As much of a type as lines look at."""
    return AType(type_id, settings)


def a_session(**labels: str) -> Any:
    """As much of a session as lines look at."""
    return SimpleNamespace(label_items=frozenset(labels.items()))


def order(lines: Lines, entry: Any, bonus: Any = None) -> list[int]:
    """The jobs of a type in the order in which they are granted."""
    found: list[int] = []
    crowd = lines.crowds[entry.type_id]
    while (choice := lines.best(crowd, a_session(), bonus)) is not None:
        found += lines.take(crowd, choice, 1)
    return found


# Lanes -----------------------------------------------------------------------------------------------------------------------------------------


def test_what_became_ready_later_is_as_old_as_that() -> None:
    lanes = Lanes()
    lanes.push(1, 0, 5, since=100)  # an old job whose time has come at 100
    lanes.push(1, 0, 6, since=100)
    lanes.extend(1, 0, [101, 102])
    lanes.push(1, 0, 7, since=200)
    seen = []
    while (first := lanes.find_first(1, 0)) is not None:
        seen.append((first, lanes.pop(1, 0, 1)))
    assert seen == [(100, [5]), (100, [6]), (101, [101]), (102, [102]), (200, [7])]


def test_a_long_lane_keeps_its_times_when_it_is_copied_down() -> None:
    lanes = Lanes()
    lanes.extend(1, 0, range(1, 10_001))
    lanes.push(1, 0, 3, since=20_000)
    lanes.extend(1, 0, [30_000])
    for start in range(0, 10_000, 1000):
        assert lanes.find_first(1, 0) == start + 1
        lanes.pop(1, 0, 1000)
    assert (lanes.find_first(1, 0), lanes.pop(1, 0, 1), lanes.find_first(1, 0)) == (20_000, [3], 30_000)


def test_entries_are_taken_out_of_the_middle_also_where_ids_do_not_rise() -> None:
    lanes = Lanes()
    lanes.extend(1, 0, [10, 20, 30, 40, 5, 50, 15])
    lanes.pop(1, 0, 1)
    assert lanes.remove(1, 0, [10, 30, 5, 15, 99]) == {30, 5, 15}
    assert lanes.pop(1, 0, 9) == [20, 40, 50]
    assert lanes.remove(1, 0, [20]) == set() and lanes.types() == []
    lanes.extend(1, 3, [1, 2])
    assert lanes.remove(1, 3, [2, 1]) == {1, 2} and lanes.best(1) is None


def test_jobs_are_put_among_others_by_their_age() -> None:
    lanes = Lanes()
    lanes.extend(1, 0, [20, 40])
    lanes.merge(1, 0, [10, 30, 50])
    assert lanes.pop(1, 0, 9) == [10, 20, 30, 40, 50]


# Instances that have a priority ------------------------------------------------------------------------------------------------------------------


def test_jobs_of_an_instance_follow_its_priority_at_once() -> None:
    lines, entry = Lines({}), a_type()
    for number, (instance, priority) in enumerate([("", 5), ("case", 0), ("case", 7), ("", 6)], 1):
        line = lines.of(entry, Terms(fairness_key="", limit_key="l", instance=instance))
        line.jobs += 1
        lines.enter(line, priority, number, 0.0, 0.0)
    lines.boost(7, "case", 6)
    assert order(lines, entry) == [3, 2, 4, 1]  # 7+6, 0+6 (older), 6, 5


def test_a_priority_that_changes_again_moves_the_lines_that_there_are() -> None:
    lines, entry = Lines({}), a_type()
    lines.boost(7, "case", 10)
    for number in range(1, 7):
        line = lines.of(entry, Terms(instance="case" if number % 2 else "", limit_key="l"))
        line.jobs += 1
        lines.enter(line, 0, number, 0.0, 0.0)
    crowd = lines.crowds[1]
    choice = lines.best(crowd, a_session())
    assert choice is not None and (choice.priority, choice.own, lines.take(crowd, choice, 1)) == (10, 0, [1])
    lines.boost(7, "case", -1)
    assert order(lines, entry) == [2, 4, 6, 3, 5]
    assert crowd.listed == 0 and crowd.waiting == 0


def test_other_domains_have_other_instances_of_the_same_name() -> None:
    lines = Lines({})
    lines.boost(8, "case", 10)
    assert lines.boosted(a_type(), "case", None) is None
    lines.boost(7, "case", 1)
    assert lines.boosted(a_type(), "case", Terms(limit_key="l")) == Terms(limit_key="l", instance="case")
    lines.boost(7, "case", 0)
    assert lines.boosted(a_type(), "case", None) is None


def an_owner(entry: Any) -> Any:
    """As much of an owner as `bring` looks at."""
    lanes = Lanes()
    return SimpleNamespace(lanes=lanes, lines=Lines(lanes.marks), live_jobs={}, types=SimpleNamespace(by_id={entry.type_id: entry}))


def test_jobs_that_wait_are_brought_to_their_instance_and_no_others() -> None:
    entry = a_type()
    owner = an_owner(entry)
    lines = owner.lines
    owner.lanes.extend(1, 0, [1, 2, 3, 4])
    owner.lanes.extend(1, 5, [6])
    other = lines.of(entry, Terms(limit_key="l"))
    for job_id in (7, 8):
        other.jobs += 1
        lines.enter(other, 0, job_id, 0.0, 0.0)
    running, waiting = Live(3, entry, 0, None), Live(9, entry, 2, None)
    running.state = State.PROCESSING
    owner.lanes.push(1, 2, 9)
    owner.live_jobs.update({3: running, 9: waiting})
    owner.lanes.discard(4)
    lines.boost(7, "case", 100)
    rows = [(1, 0, None), (3, 0, None), (4, 0, None), (6, 5, None), (8, 0, Terms(limit_key="l")), (9, 0, None), (20, 0, None)]
    bring(owner, "case", [WaitingRow(job_id, 1, priority, terms) for job_id, priority, terms in rows])
    assert order(lines, entry) == [6, 9, 1, 8, 7]  # 105, 102, 100, 100, 0; what runs (3), what is gone (4) and what waits for its time (20) is not here
    assert owner.lanes.pop(1, 0, 9) == [2, 3]
    assert waiting.line is not None and waiting.line.terms.instance == "case" and running.line is None
    assert set(lines.members) == {1, 6, 8, 9, 20}
    bring(owner, "case", [WaitingRow(20, 1, 0, None)])  # again, as after a takeover
    assert lines.members[20].jobs == 4  # 1, 6, 9 and 20; 8 has a limit key too
    lines.take_due(0.0, 500)


def test_a_job_whose_time_comes_goes_to_its_instance() -> None:
    entry = a_type()
    owner = an_owner(entry)
    lines = owner.lines
    timed = lines.of(entry, Terms(limit_key="l"))
    timed.jobs += 1
    lines.enter(timed, 0, 30, 50.0, 0.0)
    lines.boost(7, "case", 100)
    bring(owner, "case", [WaitingRow(30, 1, 0, Terms(limit_key="l"))])
    lines.take_due(60.0, at(0))
    choice = lines.best(lines.crowds[1], a_session())
    assert choice is not None and choice.priority == 100 and lines.take(lines.crowds[1], choice, 1) == [30]


def test_a_job_that_waits_again_goes_to_its_instance() -> None:
    entry = a_type()
    lines = Lines({})
    live = Live(1, entry, 3, "case")
    live.line = lines.of(entry, Terms(limit_key="l"))
    live.line.jobs += 1
    lines.adopt(live)
    assert live.line.terms == Terms(limit_key="l")
    lines.boost(7, "case", 4)
    lines.adopt(live)
    assert live.line.terms == Terms(limit_key="l", instance="case") and (live.line.jobs, live.line.boost) == (1, 4)
    assert lines.find(entry, Terms(limit_key="l")) is None  # the line it left had no other job


# Age ---------------------------------------------------------------------------------------------------------------------------------------------


def test_age_adds_points_up_to_the_most() -> None:
    owner: Any = SimpleNamespace(clock=SimpleNamespace(now_s=lambda: NOW_S))
    bonus = dispatcher.ageing(owner, a_type(ageing_s=60.0, ageing_max=5))
    assert [bonus(at(seconds)) for seconds in (10, 0, -59, -60, -125, -1e6)] == [0, 0, 0, 1, 2, 5]


def test_an_old_job_goes_before_a_better_one_when_age_counts() -> None:
    owner: Any = SimpleNamespace(clock=SimpleNamespace(now_s=lambda: NOW_S))
    entry = a_type(ageing_s=60.0, ageing_max=5)
    lines = Lines({})
    jobs = {"old": (0, at(-600)), "new": (3, at(-1)), "best": (9, at(-1, 1)), "middle": (2, at(-130))}
    for priority, job_id in jobs.values():
        line = lines.of(entry, Terms(limit_key=str(job_id)))
        line.jobs += 1
        lines.enter(line, priority, job_id, 0.0, 0.0)
    names = {job_id: name for name, (_, job_id) in jobs.items()}
    assert [names[job_id] for job_id in order(lines, entry, dispatcher.ageing(owner, entry))] == ["best", "old", "middle", "new"]  # 9, 0+5, 2+2, 3
