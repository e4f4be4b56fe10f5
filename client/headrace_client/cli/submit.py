"""`headrace submit`: one job from the command line, or many from a file of JSON lines."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from headrace_client.cli.common import Common, argument, duration_s, instant, read_ids, run
from headrace_client.cli.json_text import check_json, members
from headrace_client.cli.output import Done, Output, errors, interruptible
from headrace_client.cli.printing import print_line
from headrace_client.client import Client
from headrace_client.errors import Busy, HeadraceError, QueueFull, Unavailable
from headrace_client.models import JobSpec, State, Submitted

JSONL_HELP = (
    "submit one job a line of FILE, or - for standard input: {type, data, instance_id, key, priority, delay_s, start_at, labels, unique_key, on_conflict, depends_on, "
    "limit_key, fairness_key, required_labels, delete_after_s}"
)
FIELDS: dict[str, type | tuple[type, ...]] = {
    "type": str, "data": object, "instance_id": str, "key": str, "priority": int, "delay_s": (int, float), "start_at": str, "labels": dict, "unique_key": str,
    "on_conflict": str, "depends_on": list, "limit_key": str, "fairness_key": str, "required_labels": dict, "delete_after_s": (int, float),
}  # fmt: skip
"""The members of a line, and what they may be."""


def submit(
    type: Annotated[str | None, Parameter(help="job type")] = None,  # noqa: A002
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True, help="JSON, @FILE, or - for standard input")] = None,
    instance: Annotated[str, Parameter(help="business case that the job belongs to")] = "",
    key: Annotated[str, Parameter(help="idempotency key: submitting it again gives the same job")] = "",
    priority: Annotated[int, Parameter(help="higher runs first")] = 0,
    delay: Annotated[str, Parameter(help="wait so long before the first attempt: 90s, 15m, 2h, 7d")] = "0",
    start_at: Annotated[str | None, Parameter(help="wait until this time: 2026-01-31 or 2026-01-31T12:00:00Z")] = None,
    label: Annotated[list[str] | None, Parameter(help="KEY=VALUE; may be repeated")] = None,
    delete_after: Annotated[str | None, Parameter(help="keep the job for so long once it has settled, whatever its type says: 2h, 7d")] = None,
    limit_key: Annotated[str, Parameter(help="what the type's limit by key counts")] = "",
    fairness_key: Annotated[str, Parameter(help="by which jobs of the type take turns")] = "",
    require: Annotated[list[str] | None, Parameter(help="KEY=VALUE: a label that its agent must have; may be repeated")] = None,
    wait_for_room: Annotated[bool, Parameter(negative="", help="where a depth limit is reached, try again instead of failing")] = False,
    unique_key: Annotated[str, Parameter(help="at most one waiting or processing job has this key")] = "",
    on_conflict: Annotated[
        Literal["return", "reject", "replace"] | None, Parameter(help="when another job has the unique key: answer with it, refuse, or make it this one while it waits")
    ] = None,
    depends_on: Annotated[list[str] | None, Parameter(help="id of a job that must have completed first; may be repeated")] = None,
    batch: Annotated[str | None, Parameter(help="id of the batch that it becomes a member of")] = None,
    wait: Annotated[bool, Parameter(negative="", help="wait until the job has settled; exit code 1 unless it completed")] = False,
    jsonl: Annotated[str | None, Parameter(allow_leading_hyphen=True, help=JSONL_HELP)] = None,
    common: Common | None = None,
) -> int:
    """Submit a job, or many from a file of JSON lines."""
    common = common or Common()
    if (type is None) == (jsonl is None):
        errors.print("headrace: give a job type, or --jsonl FILE")
        return 2
    if jsonl is not None:
        return run(common, lambda client, output: _many(client, output, jsonl, wait_for_room))
    payload = read_json(data)
    delay_s, keep_s = argument(duration_s, delay), None if delete_after is None else argument(duration_s, delete_after)
    begin = None if start_at is None else argument(instant, start_at)
    labels, required = read_labels(label or []), read_labels(require or [])
    batch_id = read_ids([batch])[0] if batch else 0
    waits_for = read_ids(depends_on) if depends_on else []

    async def command(client: Client, output: Output) -> int:
        assert type is not None
        submitted = await client.submit(
            type, payload=payload, instance_id=instance, key=key, priority=priority, delay_s=delay_s, start_at=begin, labels=labels, unique_key=unique_key,
            on_conflict=on_conflict or "", depends_on=waits_for, batch_id=batch_id, limit_key=limit_key, fairness_key=fairness_key, required_labels=required,
            delete_after_s=keep_s, wait_for_room=wait_for_room,
        )  # fmt: skip
        if not wait:
            if on_conflict == "replace" and submitted.existing and not submitted.replaced:
                errors.print(f"job {submitted.job_id} has the unique key and runs: it stays as it is")
            if output.form == "table":
                print_line(str(submitted.job_id))
            else:
                output.one(submitted)
            return 0
        errors.print(f"job {submitted.job_id} is submitted; waiting for it")
        job = await client.wait(submitted.job_id)
        output.one(job)
        return 0 if job.state is State.COMPLETED else 1

    return run(common, command)


def read_json(data: str | None) -> bytes:
    """The bytes to send, exactly as they were given; they must be JSON."""
    if data is None:
        return b"null"
    try:
        raw = sys.stdin.buffer.read() if data == "-" else Path(data[1:]).read_bytes() if data.startswith("@") else os.fsencode(data)
        check_json(raw)
    except OSError as error:
        errors.print(f"headrace: cannot read {error.filename}: {error.strerror}")
        raise Done(2) from error
    except ValueError as error:
        errors.print(f"headrace: --data is not JSON: {error}; a text needs quotes inside: --data '\"text\"'")
        raise Done(2) from error
    return raw


def read_labels(pairs: list[str]) -> dict[str, str]:
    """Labels from KEY=VALUE; ends the command for anything else."""
    for pair in pairs:
        if not pair.partition("=")[0] or "=" not in pair:
            errors.print(f"headrace: a label is KEY=VALUE, found {pair!r}")
            raise Done(2)
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


async def _many(client: Client, output: Output, source: str, wait_for_room: bool) -> int:
    """Each good line is submitted, each bad one reported with its number; stops when no broker can be reached."""
    bad = stored = position = 0
    numbers: list[int] = []  # of the lines that were submitted, in order

    def complain(number: int, message: str) -> None:
        nonlocal bad
        bad += 1
        errors.print(f"line {number}: {message}")

    def specs(lines: Iterable[bytes]) -> Iterator[JobSpec]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                spec = parse_line(line)
            except ValueError as error:
                complain(number, str(error))
                continue
            numbers.append(number)
            yield spec

    with ExitStack() as stack:
        try:
            lines = sys.stdin.buffer if source == "-" else stack.enter_context(open(source, "rb"))
            if source == "-":
                stack.enter_context(interruptible())
        except OSError as error:
            errors.print(f"headrace: cannot read {source}: {error.strerror}")
            raise Done(2) from error
        show = stack.enter_context(_bar())
        async for result in client.submit_stream(specs(lines), wait_for_room=wait_for_room):
            number = numbers[position]
            position += 1
            if isinstance(result, (Unavailable, Busy, QueueFull)):
                errors.print(f"{stored} jobs submitted, {bad} lines refused; stopped at line {number}")
                raise result
            if isinstance(result, HeadraceError):
                complain(number, result.message)
            else:
                stored += 1
                _print_result(output, result)
            show(position)
    errors.print(f"{stored} jobs submitted, {bad} lines refused")
    return 4 if bad else 0


@contextmanager
def _bar() -> Iterator[Callable[[int], object]]:
    """Shows a person how many were submitted."""
    if not errors.is_terminal:
        yield lambda _done: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from headrace_client.cli import tables

    with Progress(TextColumn("submitting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=tables.stderr, transient=True) as bar:
        task = bar.add_task("submit", total=None)
        yield lambda done: bar.update(task, completed=done)


def _print_result(output: Output, result: Submitted) -> None:
    if output.form == "table":
        print_line(str(result.job_id))
    else:
        print_line(json.dumps({"job_id": str(result.job_id), "existing": result.existing, "replaced": result.replaced}))


def parse_line(line: bytes) -> JobSpec:
    """One line of a file of jobs; its data goes to the broker byte for byte. Raises ValueError that says what is wrong."""
    values = members(line)
    unknown = sorted(set(values) - FIELDS.keys())
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; the fields are {', '.join(FIELDS)}")
    payload = values.pop("data", "null").encode()
    check_json(payload)
    fields: dict[str, Any] = {name: json.loads(text) for name, text in values.items()}
    for name, value in fields.items():
        if not isinstance(value, FIELDS[name]) or isinstance(value, bool):
            raise ValueError(f"field {name!r} does not fit: {values[name]}")
    if not fields.get("type"):
        raise ValueError("field 'type' is missing")
    fields["depends_on"] = [_job_id(item) for item in fields.get("depends_on", [])]
    start_at = fields.pop("start_at", None)
    return JobSpec(**fields, payload=payload, start_at=None if start_at is None else datetime.fromisoformat(start_at))


def _job_id(item: Any) -> int:
    """An id as a decimal string, as results show it, or as a number."""
    text = str(item)
    if isinstance(item, (bool, float)) or not (text.isascii() and text.isdigit()):
        raise ValueError(f"field 'depends_on' does not fit: {item!r} is not a job id")
    return int(text)
