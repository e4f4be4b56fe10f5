"""`headrace jobs`: find, read, watch and change jobs."""

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from headrace_client.cli.common import Common, Ids, Reason, Yes, argument, change, duration_s, read_ids, run, run_admin
from headrace_client.cli.find import FindSaved
from headrace_client.cli.graph import batch, graph
from headrace_client.cli.output import Output, errors, fail, to_json
from headrace_client.cli.printing import print_line
from headrace_client.cli.submit import read_json
from headrace_client.cli.updates import hold, payloads, release, runs, update
from headrace_client.client import Client
from headrace_client.errors import WaitTimeout
from headrace_client.models import Job, JobResult, Order, State

if TYPE_CHECKING:
    from headrace_client.admin import AdminClient

app = App(name="jobs")
COLUMNS = ["job_id", "type", "state", "wait_reason", "instance_id", "run", "attempt", "score", "created_at", "settled_at", "agent", "error"]
for elsewhere in (graph, batch, update, hold, release, runs, payloads):
    app.command(elsewhere)


@app.command(name="list")
def list_jobs(
    *,
    find: FindSaved | None = None,
    order: Annotated[Order | None, Parameter(help="newest (the default) or oldest first; score: waiting jobs, the highest first")] = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], validator=Number(gte=0), help="at most so many; 0: all")] = 50,
    common: Common | None = None,
) -> int:
    """List jobs, newest first. A search that takes long says on stderr how far it came, and goes on."""

    async def command(client: Client, output: Output) -> None:
        where, usual = await (find or FindSaved()).search(client)
        found: list[Job] = []
        token = ""
        while True:
            page = await client.list(where=where, order=order or usual, page_size=min(limit - len(found) if limit else 1000, 1000), page_token=token)
            if output.form == "jsonl":
                output.rows(page.jobs, COLUMNS)
            found += page.jobs
            token = page.next_page_token
            if not token or (limit and len(found) >= limit):
                break
            if not page.jobs:
                errors.print(f"searched until {page.searched_until.isoformat(timespec='seconds')}, {len(found)} found")
        if output.form != "jsonl":
            used = [column for column in COLUMNS if column in ("job_id", "type", "state") or any(getattr(job, column) not in (None, "", 0) for job in found)]
            output.rows(found, used, empty="no job matches")

    return run(common or Common(), command)


@app.command
def show(job: Annotated[str, Parameter(help="job id")], *, common: Common | None = None) -> int:
    """Show a job with its payload and result."""

    async def command(client: Client, output: Output) -> None:
        output.one(await client.get(_one(job), full=True))

    return run(common or Common(), command)


@app.command
def count(*, find: FindSaved | None = None, common: Common | None = None) -> int:
    """Count jobs by type and state; exact, and quick by type and state however many there are. Other filters have to look at jobs."""

    async def command(client: Client, output: Output) -> None:
        where, _ = await (find or FindSaved()).search(client)
        counts = await client.count(where=where)
        if output.form != "table":
            print_line(to_json({"totals": counts.totals, "types": counts.types, "as_of": counts.as_of}, indent=2 if output.form == "json" else None))
            return
        states = [state for state in State if state is not State.UNKNOWN or counts.totals.get(state)]
        rows = [{"type": name, **{str(s): by_state.get(s, 0) for s in states}} for name, by_state in counts.types.items()]
        rows.append({"type": "all", **{str(s): counts.totals.get(s, 0) for s in states}})
        output.rows(rows, ["type", *map(str, states)])

    return run(common or Common(), command)


@app.command
def log(
    job: Annotated[str, Parameter(help="job id")],
    *,
    level: Annotated[str, Parameter(help="at least debug, info, warning or error")] = "debug",
    epoch: Annotated[int, Parameter(help="only the attempt with this lease epoch")] = 0,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="go on with what is logged from now on, until the job has settled")] = False,
    common: Common | None = None,
) -> int:
    """Show what the handlers of a job logged."""
    if level not in ("debug", "info", "warning", "error"):
        errors.print(f"headrace: a level is debug, info, warning or error, found {level!r}")
        return 2

    async def command(client: Client, output: Output) -> None:
        any_line = False
        lines = []
        read = client.tail_logs if follow else client.logs
        async for line in read(_one(job), lease_epoch=epoch, min_level=level):
            any_line = True
            if output.form == "table":
                at = line.at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
                text = line.text.replace("\n", "\n    ")  # what goes on is no line of its own
                print_line(f"{at} {line.run}.{line.attempt} {line.level:7} {text}", flush=follow)
            elif output.form == "jsonl" or follow:
                print_line(to_json(line), flush=follow)
            else:
                lines.append(line)
        if output.form == "json" and not follow:
            output.rows(lines, [])
        if not any_line and output.form == "table":
            errors.print("nothing was logged")

    return run(common or Common(), command)


@app.command
def attempts(job: Annotated[str, Parameter(help="job id")], *, common: Common | None = None) -> int:
    """List the attempts of a job over all its runs."""

    async def command(client: Client, output: Output) -> None:
        columns = ["run", "attempt", "lease_epoch", "agent", "started_at", "ended_at", "ending", "error"]
        output.rows(await client.attempts(_one(job)), columns, empty="it was never granted")

    return run(common or Common(), command)


@app.command
def events(job: Annotated[str, Parameter(help="job id")], *, common: Common | None = None) -> int:
    """Show the timeline of a job: who did what, when and why."""

    async def command(client: Client, output: Output) -> None:
        found = await client.events(_one(job))
        columns = ["seq", "kind", "at", "state", "run", "attempt", "agent", "actor", "reason", "available_at", "error"]
        told = any(event.kind == "operation" for event in found)
        output.rows(found, [*columns, "detail"] if told else columns, titles={"detail": "operation, or what holds"})

    return run(common or Common(), command)


@app.command
def explain(job: Annotated[str, Parameter(help="job id")], *, common: Common | None = None) -> int:
    """Say why a job is where it is."""

    async def command(client: Client, output: Output) -> None:
        found = await client.explain(_one(job))
        if output.form == "table":
            print_line(f"job {_one(job)} is {found.state}. {found.text}")
            if found.blockers:
                output.rows(found.blockers, ["job_id", "type", "state", "why"])
        else:
            output.one(found)

    return run(common or Common(), command)


@app.command
def wait(
    job: Annotated[str, Parameter(help="job id")],
    *,
    timeout: Annotated[str | None, Parameter(help="at most so long: 90s, 15m, 2h; without it as long as it takes")] = None,
    common: Common | None = None,
) -> int:
    """Wait until a job has settled; exit code 0 when it completed, 1 otherwise."""
    timeout_s = None if timeout is None else argument(duration_s, timeout)

    async def command(client: Client, output: Output) -> int:
        try:
            settled = await client.wait(_one(job), timeout_s=timeout_s)
        except WaitTimeout as error:
            return fail(error, output.form)
        output.one(settled)
        return 0 if settled.state is State.COMPLETED else 1

    return run(common or Common(), command)


@app.command
def watch(
    job: Annotated[list[str] | None, Parameter(help="job ids; without any: all jobs")] = None,
    *,
    type: Annotated[list[str] | None, Parameter(help="only this type; may be repeated")] = None,  # noqa: A002
    instance: Annotated[str, Parameter(help="only this business case")] = "",
    common: Common | None = None,
) -> int:
    """Print every change of jobs as it happens, until Ctrl-C; with ids, until all of them have settled."""

    async def command(client: Client, output: Output) -> None:
        ids = read_ids(job) if job else []
        left = set(ids)
        async for seen in client.watch(job_ids=ids, types=type or [], instance_id=instance):
            if output.form == "table":
                gap = "  (changes before this one were missed)" if seen.gap else ""
                now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                change = f"{seen.kind} -> {seen.state or 'deleted'}" if seen.kind else f"is {seen.state or 'not there'}"
                print_line(f"{now} {seen.job_id} {seen.type} {change}{gap}", flush=True)
            else:
                print_line(to_json(seen), flush=True)
            if seen.state is None or seen.state.settled:
                left.discard(seen.job_id)
            if ids and not left:
                return
        await asyncio.sleep(0)

    return run(common or Common(), command)


@app.command
def requeue(
    job: Ids,
    *,
    reason: Reason = "",
    include_completed: Annotated[bool, Parameter(negative="", help="also jobs that have completed")] = False,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True, help="input of the new run: JSON, @FILE, or -; without it the same again")] = None,
    abort_first: Annotated[bool, Parameter(negative="", help="abort what is not settled, and run it again once it has ended")] = False,
    grace: Annotated[str | None, Parameter(help="with --abort-first: how long a handler may take to stop by itself: 90s, 15m, 2h")] = None,
    descendants: Annotated[bool, Parameter(negative="", help="with each job whatever failed below it: its children, what depends on it, and so on")] = False,
    yes: Yes = False,
    common: Common | None = None,
) -> int:
    """Start a new run of settled jobs."""
    payload = read_json(data) if data is not None else None
    grace_s = None if grace is None else argument(duration_s, grace)

    async def again(client: "AdminClient", ids: list[int]) -> list[JobResult]:
        return await client.requeue(
            ids, reason=reason, include_completed=include_completed, payload=payload, abort_first=abort_first, grace_s=grace_s, descendants=descendants
        )

    async def command(client: "AdminClient", output: Output) -> int:
        return await change(read_ids(job), "requeue", yes, lambda ids: again(client, ids), output)

    return run_admin(common or Common(), command)


@app.command
def abort(
    job: Ids,
    *,
    reason: Reason = "",
    grace: Annotated[str, Parameter(help="how long a handler may take to stop by itself: 90s, 15m, 2h")] = "30s",
    force: Annotated[bool, Parameter(negative="", help="end processing jobs at once, without waiting for their agents")] = False,
    yes: Yes = False,
    common: Common | None = None,
) -> int:
    """End waiting jobs, and have processing ones stopped."""
    grace_s = argument(duration_s, grace)

    async def command(client: "AdminClient", output: Output) -> int:
        return await change(read_ids(job), "abort", yes, lambda ids: client.abort(ids, reason=reason, grace_s=grace_s, force=force), output)

    return run_admin(common or Common(), command)


@app.command
def purge(job: Ids, *, reason: Reason = "", yes: Yes = False, common: Common | None = None) -> int:
    """Delete settled jobs now."""

    async def command(client: "AdminClient", output: Output) -> int:
        return await change(read_ids(job), "purge", yes, lambda ids: client.purge(ids, reason=reason), output)

    return run_admin(common or Common(), command)


def _one(word: str) -> int:
    return read_ids([word])[0]
