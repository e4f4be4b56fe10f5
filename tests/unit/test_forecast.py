"""Forecasts against sums done by hand, what-ifs against known values of queueing theory, and what must hold for any numbers."""

import math
import random

import pytest
from headrace_broker.model import erlang
from headrace_broker.model.forecast import BAND, RECENT_H, WEEK_H, Forecast, backlogs, forecast
from headrace_broker.model.outlook import Change, Demand, outlook, untold, words
from hypothesis import given
from hypothesis import strategies as st

COUNTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=30)


def means(found: Forecast) -> list[float]:
    return [hour.mean for hour in found.hours]


def test_without_history_there_is_no_forecast() -> None:
    assert forecast([], 24) == Forecast("", [])


def test_with_little_history_it_is_the_mean_of_the_last_hours_with_their_spread() -> None:
    found = forecast([2.0, 4.0, 6.0, 8.0], 3)
    assert (found.method, means(found)) == ("mean", [5.0] * 3)
    spread = math.sqrt((9 + 1 + 1 + 9) / 3) * math.sqrt(1 + 1 / 4)
    assert (found.hours[0].low, found.hours[0].high) == (max(0.0, 5 - BAND * spread), 5 + BAND * spread)
    assert means(forecast([1000.0] + [1.0] * RECENT_H, 1)) == [1.0], "what is longer ago than a day does not count"
    one = forecast([7.0], 2)
    assert means(one) == [7.0, 7.0] and one.hours[0].low is None and one.hours[0].high is None, "one hour tells no errors"


def test_with_two_weeks_an_hour_is_as_the_same_one_a_week_before() -> None:
    week = [float(hour % 24 + 100 * (hour // 24)) for hour in range(WEEK_H)]
    exact = forecast(week * 2, WEEK_H + 3)
    assert (exact.method, means(exact)) == ("week", week + week[:3])
    assert all(hour.low == hour.mean == hour.high for hour in exact.hours), "it has never been wrong"
    off = forecast([value + 3 * number for number in range(3) for value in week], WEEK_H + 1)
    assert means(off)[0] == week[0] + 6, "the last week counts"
    assert off.hours[0].high == pytest.approx(6 + BAND * 3) and off.hours[WEEK_H].high == pytest.approx(6 + BAND * 3 * math.sqrt(2))
    assert forecast(week * 2, 1).method == "week" and forecast((week * 2)[1:], 1).method == "mean"


def test_the_band_holds_four_of_five_hours() -> None:
    source = random.Random(4)
    inside = 0
    for _ in range(400):
        history = [source.gauss(100, 10) for _ in range(RECENT_H)]
        hour = forecast(history, 1).hours[0]
        assert hour.low is not None and hour.high is not None
        inside += hour.low <= source.gauss(100, 10) <= hour.high
    assert 0.75 < inside / 400 < 0.85


@given(COUNTS, st.integers(1, 400))
def test_a_forecast_lies_within_its_band_and_what_was(history: list[float], hours: int) -> None:
    for repeated in (history, (history * (2 * WEEK_H))[: 2 * WEEK_H + len(history)]):
        found = forecast(repeated, hours)
        assert len(found.hours) == hours
        for hour in found.hours:
            assert min(history) * (1 - 1e-9) <= hour.mean <= max(history) * (1 + 1e-9)
            assert hour.low is None or 0 <= hour.low <= hour.mean <= (hour.high or 0.0)


def test_a_backlog_grows_by_what_comes_and_shrinks_by_what_is_served() -> None:
    assert backlogs(100, [1.0, 3.0, 0.0], [10.0, 10.0, 1000.0], 2.0) == [90.0, 100.0, 0.0]


@given(COUNTS, st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_slots_never_leave_more_waiting(arrivals: list[float], waiting: float, served: float) -> None:
    few, many = (backlogs(waiting, arrivals, [60.0] * len(arrivals), per_s) for per_s in (served, served * 2))
    assert all(0 <= more <= less for more, less in zip(many, few, strict=True))


def test_one_server_waits_as_the_textbook_says() -> None:
    """M/M/1: utilisation rho = lambda / mu, mean wait rho / (mu - lambda), and rho is the share that waits."""
    found = outlook(Demand(0, 0.8, 1.0, 1), 10.0)
    assert found.utilisation == pytest.approx(0.8) and found.wait_probability == pytest.approx(0.8) and found.mean_wait_s == pytest.approx(0.8 / 0.2)
    two = outlook(Demand(0, 1.0, 1.0, 2), 10.0)  # Erlang C of 2 servers at 1 erlang is 1/3
    assert two.wait_probability == pytest.approx(1 / 3) and two.mean_wait_s == pytest.approx(1 / 3)


def test_what_if_changes_slots_arrivals_and_running_times() -> None:
    now = Demand(60, 1.0, 4.0, 8)
    changed = now.changed(Change(-4, 1.5, 0.5))
    assert changed == Demand(60, 1.5, 2.0, 4) and now.changed(Change()) == now and now.changed(Change(-9)).slots == 0
    assert outlook(changed, 10.0).utilisation == pytest.approx(0.75) and outlook(changed, 10.0).drain_s == pytest.approx(60 / 0.5)


def test_a_queue_that_grows_says_by_how_much_and_one_that_shrinks_says_when_it_is_gone() -> None:
    grows = outlook(Demand(100, 2.0, 4.0, 4), 10.0)
    assert (grows.utilisation, grows.grows_per_s, grows.drain_s, grows.mean_wait_s) == (2.0, 1.0, None, None)
    assert words(grows) == f"Overloaded: 200% of the slots' time is asked for, and the queue grows by 60/min. It takes {grows.slots_needed} slots; there are 4."
    assert words(outlook(Demand(100, 2.0, 4.0, 10), 10.0)).endswith("The backlog of 100 is gone in 3 min.")
    part = outlook(Demand(100, 2.0, 4.0, 10, stuck=40), 10.0)
    assert words(part).endswith("The backlog of 60 is gone in 2 min. Beside that 40 wait of types that no agent serves, or that are paused.") and part.drain_s == 120
    alone = outlook(Demand(40, 2.0, 4.0, 10, stuck=40), 10.0)
    assert "backlog" not in words(alone) and "Beside that 40 wait" in words(alone) and alone.drain_s is None
    assert "the queue grows by 120/min" in words(outlook(Demand(5, 2.0, 4.0, 0), 10.0))
    full = outlook(Demand(0, 1.0, 4.0, 4), 10.0)
    assert full.grows_per_s == 0 and full.mean_wait_s is None and words(full).startswith("Overloaded: 100%"), "just as much as there is room for: no end to its queue"
    assert "not known" in words(outlook(Demand(5, 1.0, None, 4), 10.0)) and "No agent" in words(outlook(Demand(5, 1.0, None, 0), 10.0))
    assert words(outlook(Demand(0, 0.0, 4.0, 0), 10.0)) == "There are no slots, and nothing comes."
    assert outlook(Demand(0, 0.0, 4.0, 0), 10.0).drain_s == 0


@given(st.integers(0, 10_000), st.floats(0, 1000), st.floats(0, 1000), st.integers(0, 5000), st.integers(1, 500), st.integers(0, 6000))
def test_an_outlook_makes_sense_and_more_slots_make_it_no_worse(waiting: int, arrivals: float, work_s: float, slots: int, more: int, held: int) -> None:
    demand = Demand(waiting, arrivals, work_s, slots, min(held, slots))
    before, after = outlook(demand, 5.0), outlook(demand.changed(Change(more)), 5.0)
    assert words(before) and words(after)
    assert before.grows_per_s >= after.grows_per_s >= 0 and (before.mean_wait_s is None or before.grows_per_s == 0)
    assert before.drain_s is None or (after.drain_s is not None and after.drain_s <= before.drain_s)
    if before.mean_wait_s is not None:
        assert after.mean_wait_s is not None and after.mean_wait_s <= before.mean_wait_s * (1 + 1e-9)
    assert before.wait_probability is None or 0 <= before.wait_probability <= 1


def test_very_many_servers_wait_as_one_by_one_they_would(monkeypatch: pytest.MonkeyPatch) -> None:
    load = 2_500.0
    cases = ((2_510, 1.0), (2_550, 0.1), (2_600, 0.01))
    many = [(erlang.wait_probability(servers, load), erlang.servers_needed(load, 60.0, wished)) for servers, wished in cases]
    monkeypatch.setattr(erlang, "EXACT", math.inf)
    for (servers, wished), (waits, needed) in zip(cases, many, strict=True):
        assert waits == pytest.approx(erlang.wait_probability(servers, load), abs=0.01)
        assert needed == pytest.approx(erlang.servers_needed(load, 60.0, wished), abs=4)
    assert erlang.wait_probability(10**6, 0.5) == 0


def test_of_attempts_that_run_for_long_those_are_untold_that_no_ended_one_tells_of() -> None:
    assert untold(4, 0.0, None, 900.0) == untold(4, 0.0, 3600.0, 900.0) == 4, "none has ended, or none has come within the window"
    assert untold(3, 0.01, 1.0, 900.0) == 3, "beside short ones"
    assert untold(3, 4.0, 3600.0, 900.0) == 0, "attempts of an hour, of which some have ended"
    assert untold(0, 4.0, 1.0, 900.0) == 0


def test_slots_that_are_held_count_as_used_and_are_there_for_nobody_else() -> None:
    held = outlook(Demand(7, 0.0, None, 4, 4), 10.0)
    assert (held.load, held.utilisation, held.drain_s) == (4.0, 1.0, None)
    assert words(held).endswith("not known. 4 of the 4 slots are held by attempts that have run for longer than what was looked at.")
    some, alone = outlook(Demand(0, 0.5, 1.0, 4, 3), 10.0), outlook(Demand(0, 0.5, 1.0, 1), 10.0)
    assert (some.load, some.utilisation) == (3.5, 0.875) and (some.wait_probability, some.mean_wait_s) == (alone.wait_probability, alone.mean_wait_s)
    assert some.slots_needed is not None and alone.slots_needed is not None and some.slots_needed == 3 + alone.slots_needed
    assert words(some).startswith("The slots are used to 88%") and words(some).endswith(
        "3 of the 4 slots are held by attempts that have run for longer than what was looked at."
    )
    full = outlook(Demand(5, 0.5, 1.0, 4, 4), 10.0)
    assert (full.utilisation, full.grows_per_s, full.mean_wait_s, full.drain_s) == (1.125, 0.5, None, None) and "the queue grows by 30/min" in words(full)
    assert "Overloaded" not in words(outlook(Demand(0, 0.0, 1.0, 4, 4), 10.0))
    assert Demand(0, 0.5, 1.0, 4, 3).changed(Change(2)).free == 3 and Demand(0, 0.5, 1.0, 4, 3).changed(Change(-3)).free == 0
