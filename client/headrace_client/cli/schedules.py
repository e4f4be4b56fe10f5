"""`headrace schedules`: jobs that the broker submits at times."""

import json
import sys
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, argument, duration_s, run_admin
from headrace_client.cli.output import Done, Output, errors
from headrace_client.cli.printing import print_line
from headrace_client.schedules import Schedule, ScheduleSpec

app = App(name="schedules")
Name = Annotated[str, Parameter(help="name of the schedule")]
TIMES = ("at", "anchor", "start_at", "end_at")
FIELDS = tuple(item.name for item in fields(ScheduleSpec) if item.name != "payload")
FILE_HELP = "JSON of one schedule or an array of them, - for standard input: {name, type, cron | interval_s | at, time_zone, data, overlap, missed, ...}"


@app.command(name="list")
def list_schedules(*, common: Common | None = None) -> int:
    """List the schedules of the domain."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_schedules()
        if output.form != "table":
            output.rows([_shown(item) for item in found], [])
            return
        columns = ["name", "when", "type", "next_at", "fired_at", "last_job_id", "fired", "skipped", "paused"]
        output.rows(
            [{**_shown(item), "when": _when(item.spec), "type": item.spec.type} for item in found],
            columns,
            titles={"fired_at": "last", "fired": "ticks"},
            empty="there are no schedules",
        )

    return run_admin(common or Common(), command)


@app.command
def show(name: Name, *, common: Common | None = None) -> int:
    """Show a schedule, its next ticks, and what became of the last ones."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.get_schedule(name)
        output.one(_shown(found), hide=("fires",))
        if output.form == "table" and found.fires:
            output.text("")
            output.rows(found.fires, ["nominal_at", "outcome", "job_id", "fired_at"])

    return run_admin(common or Common(), command)


@app.command(name="next")
def show_next(
    name: Name, *, count: Annotated[int, Parameter(name=["--count", "-n"], validator=Number(gte=1, lte=100), help="so many")] = 5, common: Common | None = None
) -> int:
    """Show the next times of a schedule, one a line."""

    async def command(client: AdminClient, output: Output) -> None:
        ticks = (await client.get_schedule(name, next=count)).next
        if output.form == "table":
            for tick in ticks:
                print_line(tick.isoformat().replace("+00:00", "Z"))
        else:
            output.rows([{"at": tick} for tick in ticks], [])

    return run_admin(common or Common(), command)


@app.command
def put(
    name: Annotated[str | None, Parameter(help="name of the schedule; not with --file")] = None,
    *,
    file: Annotated[str | None, Parameter(name=["--file", "-f"], allow_leading_hyphen=True, help=FILE_HELP)] = None,
    type_: Annotated[str | None, Parameter(name="--type", help="job type")] = None,
    cron: Annotated[str, Parameter(help="minute, hour, day of month, month, day of week, in quotes")] = "",
    tz: Annotated[str, Parameter(help="time zone of --cron, such as Europe/Berlin")] = "UTC",
    every: Annotated[str | None, Parameter(help="time from one tick to the next, in whole seconds, instead of --cron: 90s, 15m, 2h, 7d")] = None,
    anchor: Annotated[str | None, Parameter(help="a tick of --every; default 1970-01-01T00:00:00Z")] = None,
    at: Annotated[str | None, Parameter(help="once at this time (RFC 3339), instead of --cron")] = None,
    start_at: Annotated[str | None, Parameter(help="no tick before")] = None,
    end_at: Annotated[str | None, Parameter(help="no tick after")] = None,
    data: Annotated[str, Parameter(allow_leading_hyphen=True, help="JSON of the payload")] = "null",
    instance: Annotated[str, Parameter(help="business case of the jobs")] = "",
    priority: Annotated[int, Parameter(help="higher runs first")] = 0,
    label: Annotated[list[str] | None, Parameter(help="KEY=VALUE; may be repeated")] = None,
    overlap: Annotated[Literal["allow", "skip", "queue", "abort"], Parameter(help="while the job before lives")] = "allow",
    missed: Annotated[Literal["skip", "once", "all"], Parameter(help="ticks that no broker could fire in time")] = "once",
    max_missed: Annotated[int, Parameter(help="of --missed all, at most so many")] = 10,
    jitter: Annotated[str, Parameter(help="each tick comes up to so much later: 90s, 15m")] = "0s",
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Make schedules, or replace what they do and when; what is the same already stays untouched."""
    if (file is None) == (name is None):
        errors.print("headrace: give the name of a schedule, or --file FILE")
        return 2
    if file is not None:
        wanted = _read(file)
    else:
        labels = dict(item.partition("=")[::2] for item in label or [])
        interval_s = None if every is None else argument(duration_s, every)
        wanted = [
            _from({
                "name": name, "type": type_, "cron": cron, "time_zone": tz, "interval_s": interval_s, "anchor": anchor, "at": at, "start_at": start_at, "end_at": end_at,
                "data": _json(data), "instance_id": instance, "priority": priority, "labels": labels, "overlap": overlap, "missed": missed, "max_missed": max_missed,
                "jitter_s": argument(duration_s, jitter),
            })
        ]  # fmt: skip

    async def command(client: AdminClient, output: Output) -> None:
        for each, spec in wanted:
            schedule, changed = await client.put_schedule(each, spec, reason=reason)
            errors.print(f"schedule {each}: {'stored' if changed else 'unchanged'}; next {schedule.next_at.isoformat() if schedule.next_at else 'never'}")

    return run_admin(common or Common(), command)


@app.command
def pause(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """No tick until the schedule is resumed."""

    async def command(client: AdminClient, output: Output) -> None:
        await client.pause_schedule(name, reason=reason)
        errors.print(f"schedule {name} is paused")

    return run_admin(common or Common(), command)


@app.command
def resume(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """Go on with the first tick after now."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.resume_schedule(name, reason=reason)
        errors.print(f"schedule {name} goes on; next {found.next_at.isoformat() if found.next_at else 'never'}")

    return run_admin(common or Common(), command)


@app.command(name="run")
def run_now(
    name: Name, *, request_id: Annotated[str, Parameter(help="calls with the same id make one job")] = "", reason: Reason = "", common: Common | None = None
) -> int:
    """Make a job of the schedule now, beside its ticks; prints its id."""

    async def command(client: AdminClient, output: Output) -> None:
        job_id = await client.run_schedule(name, reason=reason, request_id=request_id)
        if output.form == "table":
            print_line(str(job_id))
        else:
            output.one({"job_id": job_id})

    return run_admin(common or Common(), command)


@app.command
def delete(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """End a schedule; its jobs stay."""

    async def command(client: AdminClient, output: Output) -> None:
        await client.delete_schedule(name, reason=reason)
        errors.print(f"schedule {name} is deleted")

    return run_admin(common or Common(), command)


def _read(file: str) -> list[tuple[str, ScheduleSpec]]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as error:
        errors.print(f"headrace: cannot read {file}: {error.strerror}")
        raise Done(2) from error
    found = _json(text)
    return [_from(item) for item in (found if isinstance(found, list) else [found])]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        errors.print(f"headrace: not JSON: {error}")
        raise Done(2) from error


def _from(item: Any) -> tuple[str, ScheduleSpec]:
    """A schedule as JSON or options have it."""
    if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not isinstance(item.get("type"), str):
        errors.print("headrace: a schedule has a name and a type, both texts")
        raise Done(2)
    unknown = set(item) - {"name", *FIELDS}
    if unknown:
        errors.print(f"headrace: schedule {item['name']}: unknown {', '.join(sorted(unknown))}; known are name, {', '.join(FIELDS)}")
        raise Done(2)
    values = {key: value for key, value in item.items() if key != "name"}
    for key in TIMES:
        if values.get(key) is not None:
            values[key] = _instant(key, values[key])
    return item["name"], ScheduleSpec(**values)


def _instant(key: str, text: Any) -> datetime:
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            raise ValueError("it says no time zone")
        return at
    except (TypeError, ValueError) as error:
        errors.print(f"headrace: {key}: {text!r} is not a time such as 2026-01-31T12:00:00Z: {error}")
        raise Done(2) from error


def _when(spec: ScheduleSpec) -> str:
    if spec.cron:
        return f"{spec.cron} {spec.time_zone}"
    return f"every {spec.interval_s:g} s" if spec.interval_s is not None else f"at {spec.at.isoformat() if spec.at else ''}"


def _shown(schedule: Schedule) -> dict[str, Any]:
    """All of a schedule on one level, in the words of `put --file`."""
    rest = {name: value for name, value in asdict(schedule).items() if name != "spec"}
    spec = asdict(schedule.spec)
    spec["data"] = spec.pop("payload")
    return {"name": schedule.name, **spec, **rest}
