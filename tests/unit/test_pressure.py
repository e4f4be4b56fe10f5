"""What follows from how much more is asked of an owner than it takes, on a clock that the test sets."""

import pytest
from headrace_broker.shards.pressure import JITTER, MOST_PAUSE_S, MOST_RETRY_S, REFUSALS_PER_S, RETRY_S, Pressure


class Clock:
    """Seconds, and what chance says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.chance = 0.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pressure(clock: Clock) -> Pressure:
    return Pressure(lambda: clock.now, lambda: clock.chance)


def test_the_delay_grows_with_what_is_refused_and_no_further_than_its_bound(pressure: Pressure) -> None:
    assert pressure.retry_s() == RETRY_S
    pressure.took(1000)
    pressure.refused(100)
    assert pressure.retry_s() == pytest.approx(1.1 * RETRY_S)
    pressure.refused(3900)
    assert pressure.retry_s() == pytest.approx(5 * RETRY_S)
    pressure.refused(10**9)
    assert pressure.retry_s() == MOST_RETRY_S


def test_what_is_past_counts_less_and_less(pressure: Pressure, clock: Clock) -> None:
    pressure.took(1000)
    pressure.refused(4000)
    for _ in range(100):  # ten seconds in which nothing is refused
        clock.now += 0.1
        pressure.took(100)
    assert RETRY_S <= pressure.retry_s() < 1.02 * RETRY_S
    pressure.refused(4000)
    clock.now += 3600
    assert pressure.retry_s() == RETRY_S


def test_a_burst_that_is_mostly_taken_comes_back_soon(pressure: Pressure) -> None:
    """What was taken counts when it is let in, not when it is stored."""
    pressure.took(50_000)
    pressure.refused(10_000)
    assert pressure.retry_s() == pytest.approx(1.2 * RETRY_S)


def test_those_who_are_refused_together_do_not_come_back_together(pressure: Pressure, clock: Clock) -> None:
    clock.chance = 0.5
    assert pressure.retry_s() == RETRY_S * (1 + JITTER / 2)


@pytest.mark.parametrize("streams", [1, 8, 40])
def test_streams_that_are_refused_take_turns(pressure: Pressure, clock: Clock, streams: int) -> None:
    began, due, refused = clock.now, [clock.now] * streams, 0
    while clock.now < began + 10:
        clock.now = min(due)
        due[due.index(clock.now)] = clock.now + pressure.pause_s()
        refused += 1
    assert refused == pytest.approx(10 * REFUSALS_PER_S, rel=0.1)


def test_each_stream_is_heard_within_a_bound_however_many_there_are(pressure: Pressure) -> None:
    assert max(pressure.pause_s() for _ in range(10_000)) == MOST_PAUSE_S


def test_nobody_is_held_up_for_what_is_long_past(pressure: Pressure, clock: Clock) -> None:
    for _ in range(10_000):
        pressure.pause_s()
    clock.now += MOST_PAUSE_S
    assert pressure.pause_s() == pytest.approx(1 / REFUSALS_PER_S)
