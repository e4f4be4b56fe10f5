"""What callers get of statistics: frozen values, and how they are read from their messages."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace_proto.v1 import stats_pb2
from headrace_proto.wire import to_datetime, to_seconds

from headrace_client.decode import seconds_of


@dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of durations in seconds, right to 9 %; None when nothing was measured. `count`: how many durations."""

    count: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    sum_s: float


@dataclass(frozen=True, slots=True)
class TrendPoint:
    """What happened from `at` on, in one step: jobs submitted, requeued, ended in error or aborted; attempts granted, completed, failed, timed out, lost.

    `error_rate`: share of the ended attempts that did not complete. `waiting`: the most that waited at once. `utilisation`: share of the slots' time that was used.
    """

    at: datetime
    submitted: int
    granted: int
    completed: int
    failed: int
    timed_out: int
    lost: int
    error: int
    aborted: int
    requeued: int
    error_rate: float | None
    wait: Spread
    run: Spread
    waiting: int
    utilisation: float | None


@dataclass(frozen=True, slots=True)
class TrendSeries:
    """Points of one type or agent (`name`), or of everything (empty), oldest first; `total` is all of them as one."""

    name: str
    points: list[TrendPoint]
    total: TrendPoint


@dataclass(frozen=True, slots=True)
class Trend:
    """Points of `step_s` seconds each; `week_before` is everything, a week earlier."""

    step_s: float
    series: list[TrendSeries]
    week_before: TrendSeries


@dataclass(frozen=True, slots=True)
class TypeCapacity:
    """One type's demand and what serves it; None: cannot be told, or never. Slots count for every type that their agent serves.

    `load`: slots that are busy on average. `drain_s`: until the backlog is gone. `mean_wait_s`, `slots_needed` and `agents_needed` are by Erlang C.
    """

    type: str
    waiting: int
    processing: int
    slots: int
    agents: int
    arrivals_per_s: float
    work_s: float | None
    load: float | None
    utilisation: float | None
    drain_s: float | None
    mean_wait_s: float | None
    slots_needed: int | None
    agents_needed: int | None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What becomes of a demand that stays as it is, by Erlang C; None: cannot be told, or never.

    `load`: slots that are busy on average if there are enough. `utilisation`: load by slots; above 1 the queue grows, by `grows_per_s`. `wait_probability`: share of
    the jobs that wait at all. `drain_s`: until what waits is gone. `words`: the same in a sentence or two.
    """

    waiting: int
    slots: int
    arrivals_per_s: float
    work_s: float | None
    load: float | None
    utilisation: float | None
    wait_probability: float | None
    mean_wait_s: float | None
    grows_per_s: float
    drain_s: float | None
    slots_needed: int | None
    words: str


@dataclass(frozen=True, slots=True)
class Expected:
    """A forecast value; `low` to `high` holds four of five such values if errors are as they were. None: there are too few errors to tell."""

    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class ForecastHour:
    """The hour from `at` on. `waiting`: jobs that wait at its end. `slots_low`, `slots_high`: needed if as little, or as much, comes as the band says."""

    at: datetime
    arrivals_per_s: Expected
    waiting: Expected | None
    slots_needed: int | None
    slots_low: int | None
    slots_high: int | None
    agents_needed: int | None


@dataclass(frozen=True, slots=True)
class Forecast:
    """`method`: "week": arrivals as a week before; "mean": as in the last hours; "": no history, and no hours. `present`: what is.

    `changed`: what would be, on which the hours rest too.
    """

    method: str
    history_hours: int
    agents: int
    present: Outlook
    changed: Outlook
    hours: list[ForecastHour]


def trend(message: stats_pb2.GetTrendResponse) -> Trend:
    """From the wire."""
    return Trend(to_seconds(message.step), [_series(item) for item in message.series], _series(message.week_before))


def capacity(message: stats_pb2.TypeCapacity) -> TypeCapacity:
    """From the wire."""
    return TypeCapacity(
        message.type, message.waiting, message.processing, message.slots, message.agents, message.arrivals_per_s, seconds_of(message, "work"),
        _optional(message, "load"),
        _optional(message, "utilisation"), seconds_of(message, "drain"), seconds_of(message, "mean_wait"), _optional(message, "slots_needed"),
        _optional(message, "agents_needed"),
    )  # fmt: skip


def forecast(message: stats_pb2.GetForecastResponse) -> Forecast:
    """From the wire."""
    return Forecast(
        message.method, message.history_hours, message.agents, _outlook(message.present), _outlook(message.changed),
        [
            ForecastHour(
                to_datetime(item.at), _expected(item.arrivals_per_s), _expected(item.waiting) if item.HasField("waiting") else None, _optional(item, "slots_needed"),
                _optional(item, "slots_low"), _optional(item, "slots_high"), _optional(item, "agents_needed"),
            )
            for item in message.hours
        ],
    )  # fmt: skip


def _outlook(message: stats_pb2.Outlook) -> Outlook:
    return Outlook(
        message.waiting, message.slots, message.arrivals_per_s, seconds_of(message, "work"), _optional(message, "load"), _optional(message, "utilisation"),
        _optional(message, "wait_probability"), seconds_of(message, "mean_wait"), message.grows_per_s, seconds_of(message, "drain"), _optional(message, "slots_needed"),
        message.words,
    )  # fmt: skip


def _expected(message: stats_pb2.Expected) -> Expected:
    return Expected(message.mean, _optional(message, "low"), _optional(message, "high"))


def _series(message: stats_pb2.TrendSeries) -> TrendSeries:
    return TrendSeries(message.name, [_point(item) for item in message.points], _point(message.total))


def _point(message: stats_pb2.TrendPoint) -> TrendPoint:
    return TrendPoint(
        to_datetime(message.at), message.submitted, message.granted, message.completed, message.failed, message.timed_out, message.lost, message.error, message.aborted,
        message.requeued, _optional(message, "error_rate"), _spread(message.wait), _spread(message.run), message.waiting, _optional(message, "utilisation"),
    )  # fmt: skip


def _spread(message: stats_pb2.Spread) -> Spread:
    return Spread(message.count, seconds_of(message, "p50"), seconds_of(message, "p95"), seconds_of(message, "p99"), to_seconds(message.sum))


def _optional(message: Any, name: str) -> Any:
    return getattr(message, name) if message.HasField(name) else None
