"""`headrace jobs update|hold|release|runs|payloads`: changes that leave jobs where they are, and what jobs went through."""

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from headrace_client.cli.common import Common, Ids, Reason, Yes, argument, change, duration_s, instant, read_ids, run, run_admin
from headrace_client.cli.output import Output, errors
from headrace_client.cli.printing import print_exactly
from headrace_client.cli.submit import read_json, read_labels
from headrace_client.client import Client
from headrace_client.models import JobResult

if TYPE_CHECKING:
    from headrace_client.admin import AdminClient

RUN_COLUMNS = [
    "run",
    "began_at",
    "actor",
    "reason",
    "state",
    "ending",
    "ended_at",
    "attempts",
    "losses",
    "agent",
    "payload_version",
    "payload_bytes",
    "result_bytes",
    "error",
]


def update(
    job: Ids,
    *,
    reason: Reason = "",
    priority: Annotated[int | None, Parameter(help="higher runs first")] = None,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True, help="new input of waiting jobs: JSON, @FILE, or - for standard input")] = None,
    delete_after: Annotated[str | None, Parameter(help="delete once settled for so long: 90s, 15m, 2h, 7d; or type: as the type's settings say")] = None,
    delete_at: Annotated[str | None, Parameter(help="delete at this time, of settled jobs: 2026-01-31 or 2026-01-31T12:00:00Z")] = None,
    label: Annotated[list[str] | None, Parameter(help="KEY=VALUE to be added or replaced; may be repeated")] = None,
    remove_label: Annotated[list[str] | None, Parameter(help="KEY of a label to be taken away; may be repeated")] = None,
    yes: Yes = False,
    common: Common | None = None,
) -> int:
    """Change priority, input, labels or delete date of jobs; their state stays as it is."""
    payload = read_json(data) if data is not None else None
    by_type = delete_after == "type"
    keep_s = argument(duration_s, delete_after) if delete_after is not None and not by_type else None
    until = argument(instant, delete_at) if delete_at is not None else None
    labels = read_labels(label or [])
    if not (by_type or labels or remove_label or any(value is not None for value in (priority, payload, keep_s, until))):
        errors.print("headrace: nothing is to be changed: give --priority, --data, --delete-after, --delete-at, --label or --remove-label")
        return 2

    async def command(client: "AdminClient", output: Output) -> int:
        async def call(ids: list[int]) -> list[JobResult]:
            return await client.update(
                ids, reason=reason, priority=priority, payload=payload, delete_after_s=keep_s, delete_at=until, delete_by_type=by_type, set_labels=labels,
                remove_labels=remove_label or [],
            )  # fmt: skip

        return await change(read_ids(job), "update", yes, call, output)

    return run_admin(common or Common(), command)


def hold(job: Ids, *, reason: Reason = "", yes: Yes = False, common: Common | None = None) -> int:
    """Keep jobs from deletion until they are released."""

    async def command(client: "AdminClient", output: Output) -> int:
        return await change(read_ids(job), "hold", yes, lambda ids: client.hold(ids, reason=reason), output)

    return run_admin(common or Common(), command)


def release(job: Ids, *, reason: Reason = "", yes: Yes = False, common: Common | None = None) -> int:
    """End the hold of jobs: they are deleted when they would have been without it."""

    async def command(client: "AdminClient", output: Output) -> int:
        return await change(read_ids(job), "release", yes, lambda ids: client.release(ids, reason=reason), output)

    return run_admin(common or Common(), command)


def runs(
    job: Annotated[str, Parameter(help="job id")],
    *,
    full: Annotated[bool, Parameter(negative="", help="with the payload and the result of each (json and jsonl)")] = False,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="the newest so many")] = 20,
    common: Common | None = None,
) -> int:
    """Show what a job went through: one line for the submission and for each requeue."""

    async def command(client: Client, output: Output) -> None:
        found = await client.runs(read_ids([job])[0], full=full, limit=limit)
        used = [column for column in RUN_COLUMNS if column in ("run", "state") or any(getattr(run_, column) not in (None, "", 0) for run_ in found)]
        output.rows(found, used)

    return run(common or Common(), command)


def payloads(
    job: Annotated[str, Parameter(help="job id")],
    *,
    version: Annotated[int | None, Parameter(help="print the payload of this version, byte for byte; 0 is that of the submission")] = None,
    limit: Annotated[int, Parameter(name=["--limit", "-n"], help="the newest so many")] = 50,
    common: Common | None = None,
) -> int:
    """Show the versions of a job's payload, newest first, or one of them."""

    async def command(client: Client, output: Output) -> None:
        [job_id] = read_ids([job])
        if version is None:
            output.rows(await client.payloads(job_id, limit=limit), ["version", "at", "actor", "content_type", "payload_bytes"])
        elif output.form == "table":
            found = await client.payload(job_id, version)
            print_exactly(found.payload)
        else:
            output.one(await client.payload(job_id, version))

    return run(common or Common(), command)
