"""Histograms that add up, the waiting formula, and what is counted of a round."""

import math
import random
from fractions import Fraction

import pytest
from headrace_broker.model import erlang, histogram
from headrace_broker.shards.tally import SAMPLES, _sample
from hypothesis import given
from hypothesis import strategies as st

DURATIONS = st.lists(st.floats(0.0, 1e6), min_size=1, max_size=200)


@given(DURATIONS, DURATIONS)
def test_histograms_of_two_periods_add_up_to_that_of_both(first: list[float], second: list[float]) -> None:
    def count(durations: list[float]) -> histogram.Counts:
        return histogram.total({histogram.bucket_of(d): 1} for d in durations)

    assert histogram.total([count(first), count(second)]) == count(first + second)


@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_is_off_by_less_than_a_bucket(share: float) -> None:
    source = random.Random(7)
    durations = sorted(source.lognormvariate(-2, 1.5) for _ in range(20_000))
    found = histogram.percentile_s(histogram.total({histogram.bucket_of(d): 1} for d in durations), share)
    exact = durations[math.ceil(share * len(durations)) - 1]
    assert found == pytest.approx(exact, rel=2 ** (1 / histogram.STEPS) - 1)


def test_an_empty_histogram_has_no_percentiles_and_long_ones_share_the_last_bucket() -> None:
    assert histogram.percentile_s({}, 0.5) is None
    assert histogram.bucket_of(0.0) == 0 and histogram.bucket_of(1e12) == histogram.LAST


@pytest.mark.parametrize(("servers", "load"), [(1, 0.5), (2, 1.0), (5, 4.0), (10, 8.0), (100, 90.0), (320, 300.0), (1600, 1500.0)])
def test_erlang_c_is_what_its_definition_says(servers: int, load: float) -> None:
    a = Fraction(load)
    waiting = a**servers / math.factorial(servers) * servers / (servers - a)
    exact = waiting / (sum(a**k / math.factorial(k) for k in range(servers)) + waiting)
    assert erlang.wait_probability(servers, load) == pytest.approx(float(exact), rel=1e-9)


def test_the_servers_needed_are_the_fewest_that_keep_the_wished_wait() -> None:
    for load in (0.1, 1.0, 7.3, 250.0):
        for wished in (0.01, 1.0, 30.0):
            found = erlang.servers_needed(load, 2.0, wished)
            wait = erlang.mean_wait_s(found, load, 2.0)
            assert wait is not None and wait <= wished
            fewer = erlang.mean_wait_s(found - 1, load, 2.0) if found > 1 else None
            assert fewer is None or fewer > wished


def test_more_work_than_servers_has_no_mean_wait() -> None:
    assert erlang.mean_wait_s(3, 3.0, 1.0) is None and erlang.wait_probability(3, 4.0) == 1.0


@pytest.mark.parametrize("count", [1, SAMPLES, SAMPLES + 1, 3 * SAMPLES, 1000])
def test_a_sample_stands_for_all_of_them(count: int) -> None:
    sample = _sample([None] * count)  # type: ignore[list-item]  # they are not looked at
    assert len(sample) <= SAMPLES and sum(weight for _, weight in sample) == count
