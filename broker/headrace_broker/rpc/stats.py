"""The Stats service: the whole at a glance, trend, capacity and forecast."""

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.v1 import stats_pb2
from headrace_proto.wire import to_duration, to_seconds, to_timestamp

from headrace_broker.actions import forecast, reach, reachable, statistics
from headrace_broker.actions.statistics import Capacity, Point, Series
from headrace_broker.model import histogram, outlook
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.forecast import Expected
from headrace_broker.model.job import State
from headrace_broker.model.outlook import Change, Outlook
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.jobs import state_counts
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.statistics import DAY, Statistics


class StatsService:
    """Numbers about the whole."""

    def __init__(self, ownership: Ownership, store: Statistics, version: str, postgres_version: str) -> None:
        self._ownership = ownership
        self._statistics = store
        self._version = version
        self._postgres_version = postgres_version

    async def GetOverview(self, request: stats_pb2.GetOverviewRequest, context: Any) -> stats_pb2.GetOverviewResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        types = reach.types_for(Act.OVERSEE)
        connected = [s for s in owner.sessions() if s.stream is not None and s.facts.domain == domain]
        if not types.everything:
            connected = [s for s in connected if any(types.allow(served.entry.name) for served in s.served.values())]
        totals: dict[State, int] = {}
        for by_state in reachable.counts(owner, domain, Act.OVERSEE).values():
            for state, count in by_state.items():
                totals[state] = totals.get(state, 0) + count
        return stats_pb2.GetOverviewResponse(
            version=self._version, broker_id=str(owner.life_id), uptime=to_duration(owner.age_s), server_time=to_timestamp(owner.clock.now_s()),
            counts=state_counts(totals), agents=len(connected), slots=sum(s.slots for s in connected), slots_in_use=sum(len(s.leases) for s in connected),
            postgres_version=self._postgres_version,
        )  # fmt: skip

    async def GetTrend(self, request: stats_pb2.GetTrendRequest, context: Any) -> stats_pb2.GetTrendResponse:  # noqa: N802
        owner = self._ownership.owner
        to_minute = _minute("to", request.to) if request.HasField("to") else int(owner.clock.now_s() // 60) + 1
        from_minute = _minute("from", getattr(request, "from")) if request.HasField("from") else to_minute - DAY
        found = await statistics.trend(
            self._statistics, owner, convert.domain_of(context), types=_types(request), from_minute=from_minute, to_minute=to_minute,
            step=_minutes("step", request.step) if request.HasField("step") else 0, by=request.by,
        )  # fmt: skip
        return stats_pb2.GetTrendResponse(step=to_duration(found.step * 60), series=[_series(s) for s in found.series], week_before=_series(found.before[0]))

    async def GetCapacity(self, request: stats_pb2.GetCapacityRequest, context: Any) -> stats_pb2.GetCapacityResponse:  # noqa: N802
        found = await statistics.capacity(
            self._statistics, self._ownership.owner, convert.domain_of(context), types=_types(request),
            minutes=_minutes("window", request.window) if request.HasField("window") else 15,
            wished_wait_s=convert.seconds("wished_wait", request.wished_wait) if request.HasField("wished_wait") else 10.0,
        )  # fmt: skip
        return stats_pb2.GetCapacityResponse(types=[_capacity(item) for item in found])

    async def GetForecast(self, request: stats_pb2.GetForecastRequest, context: Any) -> stats_pb2.GetForecastResponse:  # noqa: N802
        found = await forecast.look_ahead(
            self._statistics, self._ownership.owner, convert.domain_of(context), types=_types(request), hours=request.hours or 24,
            minutes=_minutes("window", request.window) if request.HasField("window") else 15,
            wished_wait_s=convert.seconds("wished_wait", request.wished_wait) if request.HasField("wished_wait") else 10.0,
            change=Change(
                request.more_slots, request.arrivals_factor if request.HasField("arrivals_factor") else 1.0,
                request.work_factor if request.HasField("work_factor") else 1.0,
            ),
        )  # fmt: skip
        return stats_pb2.GetForecastResponse(
            method=found.method, history_hours=found.history_h, agents=found.agents, present=_outlook(found.present), changed=_outlook(found.changed),
            hours=[_hour(item) for item in found.hours],
        )  # fmt: skip


def _types(request: stats_pb2.GetTrendRequest | stats_pb2.GetCapacityRequest | stats_pb2.GetForecastRequest) -> Sequence[str]:
    return convert.bounded("types", request.types, convert.MAX_TYPES)


def _series(series: Series) -> stats_pb2.TrendSeries:
    return stats_pb2.TrendSeries(name=series.name, points=[_point(point) for point in series.points], total=_point(series.total()))


def _point(point: Point) -> stats_pb2.TrendPoint:
    return stats_pb2.TrendPoint(
        at=to_timestamp(point.at * 60.0), **{name: point.numbers[name] for name in statistics.NUMBERS}, error_rate=point.error_rate,
        wait=_spread(point.wait, point.wait_s), run=_spread(point.run, point.run_s), waiting=point.waiting, utilisation=point.utilisation,
    )  # fmt: skip


def _spread(counts: Mapping[int, int], sum_s: float) -> stats_pb2.Spread:
    message = stats_pb2.Spread(count=sum(counts.values()))
    if counts:
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            getattr(message, name).CopyFrom(to_duration(histogram.percentile_s(counts, share) or 0.0))
        message.sum.CopyFrom(to_duration(sum_s))
    return message


def _capacity(found: Capacity) -> stats_pb2.TypeCapacity:
    message = stats_pb2.TypeCapacity(
        type=found.type, waiting=found.waiting, processing=found.processing, slots=found.slots, agents=found.agents, arrivals_per_s=found.arrivals_per_s,
        load=found.load, utilisation=found.utilisation, slots_needed=found.slots_needed, agents_needed=found.agents_needed,
    )  # fmt: skip
    for name, value in (("work", found.work_s), ("drain", found.drain_s), ("mean_wait", found.wait_s)):
        if value is not None:
            getattr(message, name).CopyFrom(to_duration(min(value, 1e9)))
    return message


def _outlook(found: Outlook) -> stats_pb2.Outlook:
    message = stats_pb2.Outlook(
        waiting=found.demand.waiting, slots=found.demand.slots, arrivals_per_s=found.demand.arrivals_per_s, load=found.load, utilisation=found.utilisation,
        wait_probability=found.wait_probability, grows_per_s=found.grows_per_s, slots_needed=found.slots_needed, words=outlook.words(found),
    )  # fmt: skip
    for name, value in (("work", found.demand.work_s), ("drain", found.drain_s), ("mean_wait", found.mean_wait_s)):
        if value is not None:
            getattr(message, name).CopyFrom(to_duration(min(value, 1e9)))
    return message


def _hour(found: forecast.Hour) -> stats_pb2.ForecastHour:
    return stats_pb2.ForecastHour(
        at=to_timestamp(found.at * 60.0), arrivals_per_s=_expected(found.arrivals), waiting=_expected(found.waiting) if found.waiting is not None else None,
        slots_needed=found.slots_needed, slots_low=found.slots_low, slots_high=found.slots_high, agents_needed=found.agents_needed,
    )  # fmt: skip


def _expected(value: Expected) -> stats_pb2.Expected:
    return stats_pb2.Expected(mean=value.mean, low=value.low, high=value.high)


def _minute(field: str, at: Timestamp) -> int:
    return int(convert.unix_s(field, at) // 60)


def _minutes(field: str, duration: Any) -> int:
    seconds = to_seconds(duration)
    if seconds <= 0 or seconds % 60:
        raise InvalidField(field, "a whole number of minutes, one at least")
    return int(seconds // 60)
