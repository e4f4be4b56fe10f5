"""`headrace bulk`: one deed to all jobs that match a filter; `headrace operations`: look after those that were started."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Annotated, Any

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common, Reason, argument, duration_s, run_admin
from headrace_client.cli.find import FindSaved, options
from headrace_client.cli.output import Output, confirmed, errors
from headrace_client.cli.submit import read_json
from headrace_client.models import JobFilter
from headrace_client.operations import Action, Operation, OperationState, Preview, SkippedJob

app = App(name="bulk")
operations_app = App(name="operations")
COLUMNS = ["operation_id", "action", "state", "expected", "matched", "done", "skipped", "failed", "rate", "actor", "created_at", "finished_at", "reason"]
SAMPLE = ["job_id", "type", "state", "instance_id", "created_at", "error"]
TELL_S = 2.0
Id = Annotated[int, Parameter(help="the operation, as `headrace operations list` shows it")]
Rate = Annotated[float, Parameter(validator=Number(gte=0), help="jobs a second, at most; 0: no limit")]


@Parameter(name="*")
@dataclass(frozen=True)
class Bulk:
    """Options of every bulk command."""

    all_jobs: Annotated[bool, Parameter(negative="", help="all jobs of the domain; without it a filter must be given")] = False
    reason: Reason = ""
    rate: Rate = 0.0
    preview: Annotated[bool, Parameter(negative="", help="only count and show what matches")] = False
    yes: Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="do not ask")] = False
    wait: Annotated[bool, Parameter(negative="", help="until it has finished; exit code 1 when some jobs could not be changed, or it was stopped")] = False
    request_id: Annotated[str, Parameter(help="calls with the same id start one operation")] = ""


@app.command
def requeue(
    *,
    find: FindSaved | None = None,
    include_completed: Annotated[bool, Parameter(negative="", help="also jobs that have completed")] = False,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True, help="input of all new runs: JSON, @FILE, or -; without it each has its own again")] = None,
    bulk: Bulk | None = None,
    common: Common | None = None,
) -> int:
    """Start a new run of settled jobs."""
    return _bulk(Action.REQUEUE, find, bulk, common, include_completed=include_completed, payload=read_json(data) if data is not None else None)


@app.command
def abort(
    *,
    find: FindSaved | None = None,
    grace: Annotated[str, Parameter(help="how long a handler may take to stop by itself: 90s, 15m, 2h")] = "30s",
    force: Annotated[bool, Parameter(negative="", help="end processing jobs at once, without waiting for their agents")] = False,
    bulk: Bulk | None = None,
    common: Common | None = None,
) -> int:
    """End waiting jobs, and have processing ones stopped."""
    return _bulk(Action.ABORT, find, bulk, common, grace_s=argument(duration_s, grace), force=force)


@app.command
def purge(*, find: FindSaved | None = None, bulk: Bulk | None = None, common: Common | None = None) -> int:
    """Delete settled jobs now, but for those that are held."""
    return _bulk(Action.PURGE, find, bulk, common)


@app.command
def priority(
    value: Annotated[int, Parameter(allow_leading_hyphen=True, help="the jobs' own priority; higher runs first")],
    *,
    find: FindSaved | None = None,
    bulk: Bulk | None = None,
    common: Common | None = None,
) -> int:
    """Set the priority of jobs."""
    return _bulk(Action.PRIORITY, find, bulk, common, priority=value)


@app.command
def hold(*, find: FindSaved | None = None, bulk: Bulk | None = None, common: Common | None = None) -> int:
    """Keep jobs from deletion until they are released."""
    return _bulk(Action.HOLD, find, bulk, common)


@app.command
def release(*, find: FindSaved | None = None, bulk: Bulk | None = None, common: Common | None = None) -> int:
    """End the hold of jobs: they are deleted when they would have been without it."""
    return _bulk(Action.RELEASE, find, bulk, common)


@operations_app.command(name="list")
def list_operations(
    *, limit: Annotated[int, Parameter(name=["--limit", "-n"], validator=Number(gte=1), help="at most so many")] = 50, common: Common | None = None
) -> int:
    """List the operations of the domain, newest first."""

    async def command(client: AdminClient, output: Output) -> None:
        found: list[Operation] = []
        token = ""
        while True:
            page, token = await client.list_operations(page_size=min(limit - len(found), 1000), page_token=token)
            found += page
            if not token or len(found) >= limit:
                break
        used = [column for column in COLUMNS if column not in ("rate", "failed", "finished_at", "reason") or any(getattr(item, column) for item in found)]
        output.rows(found, used, empty="there are no operations")

    return run_admin(common or Common(), command)


@operations_app.command
def show(operation: Id, *, common: Common | None = None) -> int:
    """Show an operation and how far it came."""
    return _one(common, lambda client: client.get_operation(operation))


@operations_app.command
def skipped(
    operation: Id,
    *,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], validator=Number(gte=0), help="at most so many; 0: all")] = 0,
    common: Common | None = None,
) -> int:
    """List the jobs that an operation did not change, each with the reason."""

    async def command(client: AdminClient, output: Output) -> None:
        found: list[SkippedJob] = []
        async for job in client.skipped_jobs(operation, page_size=min(limit or 1000, 1000)):
            if output.form == "jsonl":
                output.rows([job], [])
            found.append(job)
            if limit and len(found) >= limit:
                break
        if output.form != "jsonl":
            output.rows(found, ["job_id", "failed", "code", "reason"], empty="no job was skipped")

    return run_admin(common or Common(), command)


@operations_app.command
def stop(operation: Id, *, reason: Reason = "", common: Common | None = None) -> int:
    """Stop an operation; nothing more is done until it is resumed."""
    return _one(common, lambda client: client.stop_operation(operation, reason=reason))


@operations_app.command
def resume(operation: Id, *, reason: Reason = "", common: Common | None = None) -> int:
    """Go on with an operation where it was stopped."""
    return _one(common, lambda client: client.resume_operation(operation, reason=reason))


@operations_app.command
def rate(operation: Id, value: Rate, *, reason: Reason = "", common: Common | None = None) -> int:
    """Change how many jobs a second an operation does."""
    return _one(common, lambda client: client.set_operation_rate(operation, value, reason=reason))


@operations_app.command
def wait(operation: Id, *, common: Common | None = None) -> int:
    """Wait until an operation has finished; exit code 1 when some jobs could not be changed, or it was stopped."""

    async def command(client: AdminClient, output: Output) -> int:
        return await _until_ended(client, await client.get_operation(operation), output)

    return run_admin(common or Common(), command)


def _bulk(action: Action, find: FindSaved | None, bulk: Bulk | None, common: Common | None, **options: Any) -> int:
    asked = bulk or Bulk()

    async def command(client: AdminClient, output: Output) -> int:
        where, _ = await (find or FindSaved()).search(client)
        if (where == JobFilter()) is not asked.all_jobs:
            hint = "--all-jobs stands for a filter: leave one of them out" if asked.all_jobs else "say which jobs, such as --type TYPE --state error, or --all-jobs"
            errors.print(f"headrace: {hint}")
            return 2
        if asked.preview or not asked.yes:
            included = options.get("include_completed", False)
            preview = await client.preview_operation(action, where, all_jobs=asked.all_jobs, include_completed=included)
            if asked.preview:
                _show(preview, action, output)
                return 0
            errors.print(_told(preview, action))
            if not confirmed(f"{action} them?"):
                errors.print(f"headrace: nothing was done; give --yes to {action} them without being asked, --preview to see some of them")
                return 2
        operation = await client.start_operation(
            action, where, reason=asked.reason, all_jobs=asked.all_jobs, rate=asked.rate, request_id=asked.request_id, **options
        )  # fmt: skip
        if asked.wait:
            return await _until_ended(client, operation, output)
        _tell(operation, output)
        errors.print(f"it goes on by itself; `headrace operations show {operation.operation_id}` tells how far it came")
        return 0

    return run_admin(common or Common(), command)


def _tell(operation: Operation, output: Output) -> None:
    """For people its filter as the options that would say so."""
    shown = {field.name: getattr(operation, field.name) for field in fields(operation)}
    output.one(operation if output.form != "table" else {**shown, "where": " ".join(options(operation.where))})


def _told(preview: Preview, action: Action) -> str:
    if preview.matched == 1:
        return f"1 job matches; it is {'' if preview.acted_on else 'not '}in a state that takes {action}"
    return f"{preview.matched} jobs match; {preview.acted_on} of them {'is' if preview.acted_on == 1 else 'are'} in a state that takes {action}"


def _show(preview: Preview, action: Action, output: Output) -> None:
    if output.form != "table":
        output.one(preview)
        return
    output.text(_told(preview, action))
    by_type = sorted(preview.types.items())
    output.rows([{"type": name, "state": state, "jobs": jobs} for name, by_state in by_type for state, jobs in by_state.items()], ["type", "state", "jobs"])
    if preview.sample:
        output.text("\nThe newest of them:")
        output.rows(preview.sample, SAMPLE)


async def _until_ended(client: AdminClient, operation: Operation, output: Output) -> int:
    """Says on stderr how far it comes; returns the exit code."""
    told = operation.matched
    while operation.state is OperationState.RUNNING:
        operation = await client.get_operation(operation.operation_id, wait_s=TELL_S)
        if operation.state is OperationState.RUNNING and operation.matched != told:
            told = operation.matched
            errors.print(f"{told} of {operation.expected}{'' if operation.expected_complete else ' or more'}: {operation.done} done, {operation.skipped} skipped")
    _tell(operation, output)
    if operation.skipped + operation.failed:
        errors.print(f"`headrace operations skipped {operation.operation_id}` lists the {operation.skipped + operation.failed} jobs that were not changed, and why")
    return 0 if operation.state is OperationState.FINISHED and not operation.failed else 1


def _one(common: Common | None, call: Callable[[AdminClient], Awaitable[Operation]]) -> int:
    async def command(client: AdminClient, output: Output) -> None:
        _tell(await call(client), output)

    return run_admin(common or Common(), command)
