"""`headrace stats`: the whole at a glance, what happened over a period, how many agents are needed, and what the next hours will bring."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, read_time, run_admin
from headrace_client.cli.output import Output
from headrace_client.cli.printing import print_exactly, print_line
from headrace_client.trends import Forecast, Outlook, TrendPoint, TrendSeries

app = App(name="stats")
Types = Annotated[list[str] | None, Parameter(name=["--type", "-t"], help="only this type; may be repeated")]
Csv = Annotated[bool, Parameter(name="--csv", negative="", help="comma-separated values with a header, seconds as numbers")]

COLUMNS = (
    "name", "at", "submitted", "granted", "completed", "failed", "timed_out", "lost", "error", "aborted", "requeued", "error_rate",
    "wait_p50_s", "wait_p95_s", "wait_p99_s", "run_p50_s", "run_p95_s", "run_p99_s", "waiting", "utilisation",
)  # fmt: skip
OUTLOOK = (
    "", "waiting", "slots", "arrivals_per_s", "work_s", "load", "utilisation", "wait_probability", "mean_wait_s", "grows_per_s", "drain_s", "slots_needed",
)  # fmt: skip
HOURS = (
    "at", "arrivals_per_s", "arrivals_per_s_low", "arrivals_per_s_high", "waiting", "waiting_low", "waiting_high", "slots_needed", "slots_low", "slots_high",
    "agents_needed",
)  # fmt: skip


FROM = {"at": "from, UTC"}


@app.default
def overview(*, common: Common | None = None) -> int:
    """Show the broker and the domain at a glance."""

    async def command(client: AdminClient, output: Output) -> None:
        output.one(await client.overview())

    return run_admin(common or Common(), command)


@app.command
def trend(
    *,
    type_: Types = None,
    since: Annotated[str | None, Parameter(help="from this time on (RFC 3339, or such as 2h or 7d ago); default a day")] = None,
    until: Annotated[str | None, Parameter(help="before this time; default now")] = None,
    step_s: Annotated[float | None, Parameter(help="seconds of a point: 60, 300, 900, 3600, 21600, 86400 or 604800; default: about 180 points")] = None,
    by: Annotated[Literal["", "type", "agent"], Parameter(help="a series for each type or agent")] = "",
    week_before: Annotated[bool, Parameter(negative="", help="show the same period a week earlier")] = False,
    as_csv: Csv = False,
    common: Common | None = None,
) -> int:
    """Show what happened over a period: throughput, outcomes, waiting and running times."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.trend(types=type_ or [], since=read_time(since), until=read_time(until), step_s=step_s, by=by)
        series = [found.week_before] if week_before else found.series
        if output.form != "table" and not as_csv:
            output.rows(series, [])
            return
        shown = [point for one in series for point in _rows(one)]
        if as_csv:
            _print_csv(shown, COLUMNS)
            return
        columns = [
            "at",
            "submitted",
            "completed",
            "failed",
            "error",
            "aborted",
            "error_rate",
            "wait_p50_s",
            "wait_p99_s",
            "run_p50_s",
            "run_p99_s",
            "waiting",
            "utilisation",
        ]
        counts = ("submitted", "granted", "completed", "failed", "error", "aborted", "waiting")
        moved = [{**row, "at": _minute(row["at"])} for row in shown if any(row[name] for name in counts)]
        output.rows(moved, ["name", *columns] if by else columns, titles=FROM, empty="nothing happened in this period")

    return run_admin(common or Common(), command)


@app.command
def capacity(
    *,
    type_: Types = None,
    window_s: Annotated[float, Parameter(help="demand of this long, in whole minutes")] = 900.0,
    wished_wait_s: Annotated[float, Parameter(help="the mean wait that is wished for")] = 10.0,
    as_csv: Csv = False,
    common: Common | None = None,
) -> int:
    """Show demand against slots by type, when the backlog is gone, and how many agents a wished wait asks for."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.capacity(types=type_ or [], window_s=window_s, wished_wait_s=wished_wait_s)
        columns = [
            "type", "waiting", "processing", "slots", "agents", "arrivals_per_s", "work_s", "load", "utilisation", "drain_s", "mean_wait_s", "slots_needed",
            "agents_needed",
        ]  # fmt: skip
        if as_csv:
            _print_csv([{name: getattr(item, name) for name in columns} for item in found], columns)
            return
        output.rows(found, columns, empty="there are no job types")

    return run_admin(common or Common(), command)


@app.command
def forecast(
    *,
    type_: Types = None,
    hours: Annotated[int, Parameter(help="how far to look ahead, 168 at most")] = 24,
    window_s: Annotated[float, Parameter(help="the present demand is that of this long, in whole minutes")] = 900.0,
    wished_wait_s: Annotated[float, Parameter(help="the mean wait that is wished for")] = 10.0,
    more_slots: Annotated[int, Parameter(help="what if there were so many slots more; negative: fewer")] = 0,
    arrivals_factor: Annotated[float, Parameter(help="what if so many times as much came")] = 1.0,
    work_factor: Annotated[float, Parameter(help="what if attempts took so many times as long")] = 1.0,
    as_csv: Csv = False,
    common: Common | None = None,
) -> int:
    """Foresee the next hours of the types as one queue: what comes, what waits, and how many slots it takes; and what if."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.forecast(
            types=type_ or [], hours=hours, window_s=window_s, wished_wait_s=wished_wait_s, more_slots=more_slots, arrivals_factor=arrivals_factor,
            work_factor=work_factor,
        )  # fmt: skip
        rows = _hours(found)
        if as_csv:
            _print_csv(rows, HOURS)
        elif output.form != "table":
            output.one(found)
        else:
            asked = (more_slots, arrivals_factor, work_factor) != (0, 1.0, 1.0)
            output.rows([_outlook("now", found.present), *([_outlook("what if", found.changed)] if asked else [])], OUTLOOK)
            print_line(f"Now: {found.present.words}")
            if asked:
                print_line(f"What if: {found.changed.words}")
            print_line(_how(found.method, found.history_hours))
            if rows:
                output.rows([{**row, "at": _minute(row["at"])} for row in rows], HOURS, titles=FROM)

    return run_admin(common or Common(), command)


def _how(method: str, history_hours: int) -> str:
    """What the hours of a forecast rest on; a method of a newer broker by its name."""
    if not method:
        return "A forecast needs a whole hour of counts."
    known = {"week": "as the same hours a week before", "mean": f"as the last {min(24, history_hours)} hours on average"}
    return f"Arrivals {known.get(method, f'by the method {method!r}')}; low and high hold four of five hours."


def _minute(at: datetime) -> str:
    """The beginning of a point, by which points are held against each other."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def _outlook(name: str, found: Outlook) -> dict[str, Any]:
    return {"": name, **{column: getattr(found, column) for column in OUTLOOK[1:]}}


def _hours(found: Forecast) -> list[dict[str, Any]]:
    rows = []
    for hour in found.hours:
        row: dict[str, Any] = {column: getattr(hour, column) for column in HOURS if hasattr(hour, column)}
        for name, value in (("arrivals_per_s", hour.arrivals_per_s), ("waiting", hour.waiting)):
            row |= {name: value and value.mean, f"{name}_low": value and value.low, f"{name}_high": value and value.high}
        rows.append(row)
    return rows


def _rows(series: TrendSeries) -> list[dict[str, Any]]:
    return [_row(series.name, point) for point in series.points]


def _row(name: str, point: TrendPoint) -> dict[str, Any]:
    row: dict[str, Any] = {column: getattr(point, column) for column in COLUMNS if hasattr(point, column)}
    for kind, spread in (("wait", point.wait), ("run", point.run)):
        row |= {f"{kind}_p50_s": spread.p50_s, f"{kind}_p95_s": spread.p95_s, f"{kind}_p99_s": spread.p99_s}
    return row | {"name": name}


def _print_csv(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[name] is None else row[name].isoformat().replace("+00:00", "Z") if name == "at" else row[name] for name in columns])
    print_exactly(text.getvalue().encode(errors="backslashreplace"))
