"""`headrace types`: job types and their settings."""

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from headrace_client.admin import SETTINGS, AdminClient
from headrace_client.cli.common import Common, Reason, argument, duration_s, run_admin
from headrace_client.cli.output import Output, confirmed, errors
from headrace_client.limits import Breaker, RateLimit
from headrace_client.models import JobType

MAX_SHOWN = 200  # characters of a schema in a table
app = App(name="types")
UNLIMITED = ("concurrency", "concurrency_per_key", "rate_limit", "depth_limit", "fairness_weights")
Name = Annotated[str, Parameter(help="job type")]


@app.command(name="list")
def list_types(*, common: Common | None = None) -> int:
    """List job types with their counts."""

    async def command(client: AdminClient, output: Output) -> None:
        found = await client.list_types()
        if output.form != "table":
            output.rows(found, [])
            return
        rows = [
            {
                "type": item.name,
                "agents": item.agents,
                "paused": item.effective.get("paused", item.pause is not None),  # a broker of another release may lack a setting
                "breaker": item.breaker.phase if item.breaker is not None else "",
                "priority": item.effective.get("priority", 0),
                **{str(state): count for state, count in item.counts.items()},
            }
            for item in found
        ]
        columns = ["type", "agents", "paused", "breaker", "priority", "waiting", "processing", "completed", "error", "aborted"]
        output.rows([{column: row.get(column, 0) for column in columns} for row in rows], columns, empty="there are no job types: one is made by its first job or agent")

    return run_admin(common or Common(), command)


@app.command
def show(name: Name, *, common: Common | None = None) -> int:
    """Show the settings of a type in force, and where each comes from."""

    async def command(client: AdminClient, output: Output) -> None:
        _show(await client.get_type(name), output)

    return run_admin(common or Common(), command)


@app.command(name="set")
def set_type(
    name: Name,
    setting: Annotated[list[str] | None, Parameter(help=f"NAME=VALUE; names: {', '.join(SETTINGS)}; payload_schema takes JSON or @FILE")] = None,
    *,
    concurrency: Annotated[int | None, Parameter(help="jobs that run at a time, over all agents; 0: no limit")] = None,
    concurrency_per_key: Annotated[int | None, Parameter(help="the same for jobs with the same limit key")] = None,
    rate_limit: Annotated[str | None, Parameter(help="COUNT/SECONDS or COUNT/SECONDS/BURST: jobs that start in a time; 0/1: no limit")] = None,
    depth_limit: Annotated[int | None, Parameter(help="jobs that may wait; 0: no limit")] = None,
    start_within_s: Annotated[float | None, Parameter(help="seconds within which a job must start; 0: it may wait for ever")] = None,
    weight: Annotated[list[str] | None, Parameter(help="KEY=WEIGHT: share of a fairness key; may be repeated, and replaces all weights")] = None,
    clear: Annotated[list[str] | None, Parameter(help="take this setting back; may be repeated")] = None,
    reason: Reason = "",
    common: Common | None = None,
) -> int:
    """Change settings of a type; what is set here wins over what code declares."""
    values: dict[str, Any] = {}
    options = {"concurrency": concurrency, "concurrency_per_key": concurrency_per_key, "depth_limit": depth_limit, "start_within_s": start_within_s}
    given = [f"{name}={value}" for name, value in (*options.items(), ("rate_limit", rate_limit)) if value is not None]
    given += [f"fairness_weights={','.join(weight)}"] if weight else []
    for pair in [*(setting or []), *given]:
        key, equals, text = pair.partition("=")
        if not equals or key not in SETTINGS:
            near = get_close_matches(key, SETTINGS, 1)
            hint = f"; did you mean {near[0]}={text or 'VALUE'}?" if near else ""
            errors.print(f"headrace: {pair!r} is not NAME=VALUE with one of these names{hint or ': ' + ', '.join(SETTINGS)}")
            return 2
        try:
            values[key] = _value(key, text)
        except ValueError:
            errors.print(f"headrace: {text!r} does not fit setting {key}, which is {_kind(key)}")
            return 2
        except OSError as error:
            errors.print(f"headrace: cannot read {error.filename}: {error.strerror}")
            return 2
    unknown = [item for item in clear or [] if item not in SETTINGS]
    if unknown or not (values or clear):
        errors.print(f"headrace: give NAME=VALUE or --clear NAME with one of these names: {', '.join(SETTINGS)}")
        return 2

    async def command(client: AdminClient, output: Output) -> None:
        _show(await client.set_type(name, clear=clear or [], reason=reason, **values), output)

    return run_admin(common or Common(), command)


@app.command
def pause(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """Grant no more jobs of a type; what runs goes on."""
    return _switch(common, name, reason, paused=True)


@app.command
def resume(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """Grant jobs of a paused type again."""
    return _switch(common, name, reason, paused=False)


@app.command
def close(name: Name, *, reason: Reason = "", common: Common | None = None) -> int:
    """Close the breaker of a type by hand: its jobs are granted again, and what has failed so far is forgotten."""

    async def command(client: AdminClient, output: Output) -> None:
        closed = await client.close_breaker(name, reason=reason)
        if output.form == "table":
            output.text(f"the breaker of {name} {'is closed' if closed else 'was closed already'}")
        else:
            output.one({"type": name, "closed": closed})

    return run_admin(common or Common(), command)


@app.command
def preview_retention(
    name: Name,
    *,
    delete_completed_after: Annotated[str | None, Parameter(help="try this: 90s, 15m, 2h, 7d")] = None,
    delete_aborted_after: Annotated[str | None, Parameter(help="the same for aborted jobs")] = None,
    delete_error_after: Annotated[str | None, Parameter(help="the same for jobs in error")] = None,
    sample: Annotated[int, Parameter(help="name up to so many of the oldest jobs that would be gone at once")] = 0,
    common: Common | None = None,
) -> int:
    """Say how many settled jobs other settings would delete, and by when; changes nothing."""
    completed_s, aborted_s, error_s = (
        None if text is None else argument(duration_s, text) for text in (delete_completed_after, delete_aborted_after, delete_error_after)
    )

    async def command(client: AdminClient, output: Output) -> None:
        preview = await client.preview_retention(
            name, delete_completed_after_s=completed_s, delete_aborted_after_s=aborted_s, delete_error_after_s=error_s, sample=sample
        )
        if output.form != "table":
            output.one(preview)
            return
        rows = [
            {
                "state": str(item.state), "jobs": item.jobs, "kept now": _kept(item.keep_s), "kept then": _kept(item.keep_then_s), "gone at once": item.gone_at_once,
                "gone later": item.due_then[-1].jobs - item.gone_at_once if item.due_then else 0, "last one": item.due_then[-1].by if item.due_then else None,
                "without a date": item.undated,
            }
            for item in preview.states
        ]  # fmt: skip
        output.rows(rows, list(rows[0]))
        if preview.sample:
            output.rows(preview.sample, ["job_id", "type", "state", "instance_id", "settled_at", "delete_at"])

    return run_admin(common or Common(), command)


@app.command
def apply_retention(
    name: Name,
    *,
    reason: Reason = "",
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="do not ask")] = False,
    common: Common | None = None,
) -> int:
    """Give settled jobs the delete dates that follow from the settings in force; held jobs, and those with a rule of their own, keep theirs."""

    async def command(client: AdminClient, output: Output) -> int:
        preview = await client.preview_retention(name)
        errors.print(f"{sum(item.jobs for item in preview.states)} settled jobs to look at")
        if not yes and not confirmed("move their delete dates?"):
            errors.print("headrace: nothing was done; give --yes to move them without being asked")
            return 2
        looked_at = changed = 0
        async for looked_at, changed in client.apply_retention(name, reason=reason):
            if errors.is_terminal:
                errors.print(f"{looked_at} looked at, {changed} moved")
        output.one({"looked_at": looked_at, "changed": changed})
        return 0

    return run_admin(common or Common(), command)


def _kept(seconds: float | None) -> str:
    return "for ever" if seconds is None else f"{seconds / 86_400:g} d" if seconds >= 86_400 else f"{seconds:g} s"


def _switch(common: Common | None, name: str, reason: str, *, paused: bool) -> int:
    async def command(client: AdminClient, output: Output) -> None:
        await client.get_type(name)  # not found rather than made
        _show(await (client.pause_type(name, reason=reason) if paused else client.resume_type(name, reason=reason)), output)

    return run_admin(common or Common(), command)


def _show(found: JobType, output: Output) -> None:
    if output.form != "table":
        output.one(found)
        return
    rows = []
    for name in SETTINGS:
        origin = "set by a person" if name in found.overrides else "declared by code" if name in found.declared else "default"
        rows.append({"setting": name, "value": _shown(name, found.effective), "from": origin})
    rows.sort(key=lambda row: ("set by a person", "declared by code", "default").index(row["from"]))  # what somebody has decided stands first
    output.text(found.name)
    if found.pause is not None:
        output.text(
            f"the {found.pause.kind} was paused by {found.pause.actor or 'somebody'} at {found.pause.at:%Y-%m-%d %H:%M:%S}Z: {found.pause.reason or 'no reason given'}"
        )
    if found.breaker is not None:
        output.text(_breaker(found.breaker))
    output.rows(rows, ["setting", "value", "from"])


def _breaker(found: Breaker) -> str:
    counted = f"{found.failed} of {found.ended} attempts failed"
    if found.since is None:
        return f"its breaker is closed: {counted} so far"
    since = f"its breaker is {found.phase.replace('_', '-')} since {found.since:%Y-%m-%d %H:%M:%S}Z ({counted})"
    if found.until is not None:
        return f"{since}: the next canary may start at {found.until:%H:%M:%S}Z"
    return f"{since}: {found.running} running as canaries, {found.completed} have completed"


def _shown(name: str, effective: dict[str, Any]) -> str:
    if name == "payload_schema":
        return json.dumps(effective[name])[:MAX_SHOWN] if name in effective else "none"
    value = effective.get(name, "none" if name in UNLIMITED else "default" if name == "alert_channels" else "never")
    if isinstance(value, dict):
        return " ".join(f"{key}={weight:g}" for key, weight in value.items())
    if isinstance(value, bool):
        return str(value).lower()  # as `types set` takes it
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _kind(name: str) -> str:
    """What a setting takes, in words."""
    if name in ("paused", "alert_on_error", "alert_on_abort"):
        return "true or false"
    if name.endswith("_s"):
        return "a number of seconds, or such as 15m, 2h, 7d"
    words = {"rate_limit": "COUNT/SECONDS, such as 100/60", "fairness_weights": "KEY=WEIGHT, with commas between them", "exhausted_state": "error or aborted"}
    return words.get(name, "a number" if name.endswith(("_factor", "_jitter", "_share")) else "a whole number")


def _value(name: str, text: str) -> Any:
    if name == "rate_limit":
        return RateLimit.parse(text)
    if name == "fairness_weights":
        return {key: float(weight) for key, _, weight in (pair.rpartition("=") for pair in text.split(",") if pair)}
    if name in ("paused", "alert_on_error", "alert_on_abort"):
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if name == "payload_schema":
        return Path(text[1:]).read_text() if text.startswith("@") else text
    if name == "exhausted_state":
        if text not in ("error", "aborted"):
            raise ValueError(text)
        return text
    if name in ("on_dependency_failed", "alert_channels"):
        return text
    if name.endswith("_s"):
        return duration_s(text)
    return float(text) if name.endswith(("_factor", "_jitter", "_share")) else int(text)
