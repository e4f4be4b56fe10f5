"""What is likely to come in the next hours, with a band of how wrong such a forecast has been, and what that makes of the queue.

Two methods, of which anybody can redo the sums by hand: as in R. J. Hyndman, G. Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed. (2021), section 5.2.

- "week", the seasonal naive method: an hour will be as the same hour was a week before. It needs two weeks, so that each of its errors can be looked at.
- "mean": every hour will be as the last ones were on average.

The band holds four of five hours where errors are normal (section 5.5): 1.28 times the root of their mean square, growing with each further week; of a mean, with how few
hours it is of.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WEEK_H = 168
RECENT_H = 24
"""The mean is over at most so many hours."""
BAND = 1.2816
"""Standard deviations on either side that hold 80 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Expected:
    """How much of something an hour will bring; `low` and `high` hold 80 %, None: there are too few errors to tell."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """`method`: week, mean, or "" when there is no history."""

    method: str
    hours: list[Expected]


def forecast(history: Sequence[float], hours: int) -> Forecast:
    """Of `hours` hours, the first of which follows the last one of `history`; oldest first, none is left out."""
    if not history:
        return Forecast("", [])
    if len(history) >= 2 * WEEK_H:
        errors = [now - before for before, now in zip(history, history[WEEK_H:], strict=False)]
        spread = math.sqrt(sum(error * error for error in errors) / len(errors))
        week = history[-WEEK_H:]
        return Forecast("week", [_expected(week[hour % WEEK_H], spread * math.sqrt(hour // WEEK_H + 1)) for hour in range(hours)])
    recent = history[-RECENT_H:]
    mean = math.fsum(recent) / len(recent)
    if len(recent) < 2:
        return Forecast("mean", [Expected(mean, None, None)] * hours)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in recent) / (len(recent) - 1)) * math.sqrt(1 + 1 / len(recent))
    return Forecast("mean", [_expected(mean, spread)] * hours)


def _expected(mean: float, spread: float) -> Expected:
    return Expected(mean, max(0.0, mean - BAND * spread), mean + BAND * spread)


def backlogs(waiting: float, arrivals: Sequence[float], seconds: Sequence[float], served_per_s: float) -> list[float]:
    """What waits at the end of each period, which is so long and brings so many per second: more by what comes and less by what is served, never less than nothing."""
    found = []
    for per_s, length_s in zip(arrivals, seconds, strict=True):
        waiting = max(0.0, waiting + (per_s - served_per_s) * length_s)
        found.append(waiting)
    return found
