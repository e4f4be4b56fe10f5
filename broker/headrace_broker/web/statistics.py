"""Trend, capacity and forecast, each chart with its table."""

import csv
import io
import math
from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.responses import JSONResponse, Response

from headrace_broker.actions import forecast, reachable, statistics
from headrace_broker.actions.statistics import Point, Series
from headrace_broker.model import histogram, outlook
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.outlook import Change
from headrace_broker.model.permissions import Act
from headrace_broker.web import chart, forms, render
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html

PERIODS = {"1h": 60, "6h": 360, "1d": 1440, "7d": 10_080, "30d": 43_200, "90d": 129_600, "1y": 525_600}
"""Minutes; what is kept of the days reaches a little further back."""


def row(point: Point) -> dict[str, object]:
    """The figures of a point, as tables and files give them; times in seconds."""
    figures: dict[str, object] = {"at": datetime.fromtimestamp(point.at * 60, UTC).isoformat().replace("+00:00", "Z")}
    figures.update({name: point.numbers[name] for name in statistics.NUMBERS})
    for kind, counts in (("wait", point.wait), ("run", point.run)):
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
            figures[f"{kind}_{name}_s"] = histogram.percentile_s(counts, share)
    return figures | {"error_rate": point.error_rate, "waiting": point.waiting, "utilisation": point.utilisation}


def outcome_chart(series: Series) -> chart.Chart:
    """Attempts by what became of them."""
    values = [(point.numbers["completed"], point.failures) for point in series.points]
    titles = [
        f"{datetime.fromtimestamp(point.at * 60, UTC):%Y-%m-%d %H:%M} UTC: {done:,} completed, {failed:,} failed"
        for point, (done, failed) in zip(series.points, values, strict=True)
    ]
    return chart.stacked(("completed", "error"), values, titles, _times(series.points))


def _times(points: Sequence[Point]) -> list[str]:
    """Of the axis, up to the end of the last point."""
    step = points[1].at - points[0].at if len(points) > 1 else 1
    return chart.axis(points[0].at, points[-1].at + step, step) if points else []


def _activity(series: Series) -> int:
    """How much happened: what ended, and what came."""
    whole = series.total()
    return whole.numbers["completed"] + whole.failures + whole.numbers["submitted"]


def _wait_chart(series: Series) -> chart.Chart:
    values = []
    titles = []
    for point in series.points:
        half, most = (histogram.percentile_s(point.wait, share) or 0.0 for share in (0.5, 0.99))
        values.append((half, most - half))
        titles.append(f"{datetime.fromtimestamp(point.at * 60, UTC):%Y-%m-%d %H:%M} UTC: half waited at most {render.span_s(half)}, 99 % {render.span_s(most)}")
    return chart.stacked(("p50", "p99"), values, titles, _times(series.points))


async def trend(visit: Visit) -> Response:
    """What happened over a period."""
    owner = visit.owner
    period = visit.query("period") or "1d"
    if period not in PERIODS:
        raise InvalidField("period", f"one of {', '.join(PERIODS)}")
    until_s = forms.time_s("until", visit.query("until"))
    minute = math.ceil(until_s / 60) if until_s is not None else int(owner.clock.now_s() // 60) + 1
    by = visit.query("by")
    types = [visit.query("type")] if visit.query("type") else []
    found = await statistics.trend(
        visit.services.statistics, owner, visit.domain, types=types, from_minute=minute - PERIODS[period], to_minute=minute, by=by, partly=visit.query("form") == ""
    )  # fmt: skip
    form = visit.query("form")
    if form in ("csv", "json"):
        return _file(form, found.series)
    whole = sorted(found.series, key=lambda one: (-_activity(one), one.name)) if by else [found.series[0]]
    charts = [(series, outcome_chart(series), _wait_chart(series), series.total()) for series in whole[:20]]
    return html(
        visit, "trend.html", title="Trend", period=period, periods=list(PERIODS), by=by, type=visit.query("type"),
        types=[entry.name for entry in reachable.entries(owner, visit.domain, Act.OVERSEE)],
        charts=charts, more=max(0, len(whole) - 20), before=found.before[0].total(), step=found.step, row=row,
        since=None if found.since is None else datetime.fromtimestamp(found.since * 60, UTC),
        query={"period": period, "by": by, "type": visit.query("type"), "until": visit.query("until")},
    )  # fmt: skip


async def capacity(visit: Visit) -> Response:
    """Demand against slots by type; the next hours of one type, or of all as one queue; and what if."""
    wished_s = _asked(visit, "wait", 10.0)
    change = Change(int(_asked(visit, "slots", 0.0)), _asked(visit, "arrivals", 1.0), _asked(visit, "work", 1.0))
    hours, type_ = int(_asked(visit, "hours", 24.0)), visit.query("type")
    store, owner = visit.services.statistics, visit.owner
    found = await statistics.capacity(store, owner, visit.domain, wished_wait_s=wished_s)
    ahead = await forecast.look_ahead(
        store, owner, visit.domain, types=[type_] if type_ else [], hours=hours, wished_wait_s=wished_s, change=change
    )  # fmt: skip
    now = outlook.words(ahead.present)
    return html(
        visit, "capacity.html", title="Capacity", types=found, wished=wished_s, type=type_, hours=hours, change=change, asked=change != Change(), ahead=ahead,
        halted={entry.name for entry in reachable.entries(owner, visit.domain, Act.OVERSEE) if entry.halted},
        now=now, then=outlook.words(ahead.changed), arrivals_chart=_ahead_chart(ahead.hours), at=lambda minute: datetime.fromtimestamp(minute * 60, UTC),
    )  # fmt: skip


def _asked(visit: Visit, name: str, default: float) -> float:
    """A number of the form; the default where nothing was typed."""
    text = visit.query(name).strip()
    try:
        value = float(text) if text else default
    except ValueError:
        raise InvalidField(name, f"a number, found {text[:40]!r}") from None
    if not -1e9 <= value <= 1e9:
        raise InvalidField(name, f"a number, found {text[:40]!r}")
    return value


def _ahead_chart(hours: Sequence[forecast.Hour]) -> chart.Chart:
    """What comes in each hour, and how much more the band allows."""
    values, titles = [], []
    for hour in hours:
        mean, low, high = (None if value is None else value * 3600 for value in (hour.arrivals.mean, hour.arrivals.low, hour.arrivals.high))
        values.append((mean or 0.0, (high or 0.0) - (mean or 0.0) if high is not None else 0.0))
        band = f", {render.number(round(low))} to {render.number(round(high))} in four of five hours" if low is not None and high is not None else ""
        titles.append(f"{datetime.fromtimestamp(hour.at * 60, UTC):%Y-%m-%d %H:%M} UTC: {render.number(round(mean or 0.0))} an hour{band}")
    return chart.stacked(("p50", "p99"), values, titles, chart.axis(hours[0].at, hours[-1].at + 60) if hours else ())


def _file(form: str, series: list[Series]) -> Response:
    rows = [{"name": one.name if form == "json" else _as_text(one.name), **row(point)} for one in series for point in one.points]
    if form == "json":
        return JSONResponse(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["name"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers={"Content-Disposition": 'attachment; filename="trend.csv"'})


def _as_text(name: str) -> str:
    """A name, which agents choose, for a file that is opened as a table: what begins like a formula is marked as text (OWASP, "CSV Injection")."""
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name


PAGES: dict[str, Page] = {"/trend": trend, "/capacity": capacity}
ACTIONS: dict[str, Page] = {}
CHOICES: dict[str, Choices] = {}
