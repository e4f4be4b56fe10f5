"""`headrace submit`: one job from the command line, or many from a file of JSON lines."""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TextIO

from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from headrace_client.cli.common import Common, run
from headrace_client.cli.output import Done, Output, errors
from headrace_client.client import Client
from headrace_client.errors import HeadraceError
from headrace_client.models import JobSpec, State, Submitted

JSONL_HELP = "submit one job a line of FILE, or - for standard input: {type, data, instance_id, key, priority, delay_s, start_at, labels}"
FIELDS = {"type", "data", "instance_id", "key", "priority", "delay_s", "start_at", "labels"}


def submit(
    type: Annotated[str | None, Parameter(help="job type")] = None,  # noqa: A002
    *,
    data: Annotated[str | None, Parameter(allow_leading_hyphen=True, help="JSON, @FILE, or - for standard input")] = None,
    instance: Annotated[str, Parameter(help="business case that the job belongs to")] = "",
    key: Annotated[str, Parameter(help="idempotency key: submitting it again gives the same job")] = "",
    priority: Annotated[int, Parameter(help="higher runs first")] = 0,
    delay: Annotated[float, Parameter(help="seconds to wait before the first attempt")] = 0.0,
    label: Annotated[list[str] | None, Parameter(help="KEY=VALUE; may be repeated")] = None,
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
        return run(common, lambda client, output: _many(client, output, jsonl))
    payload = _payload(data)
    labels = {key: value for key, _, value in (pair.partition("=") for pair in label or [])}

    async def command(client: Client, output: Output) -> int:
        assert type is not None
        submitted = await client.submit(type, payload=payload, instance_id=instance, key=key, priority=priority, delay_s=delay, labels=labels)
        if not wait:
            if output.form == "table":
                print(submitted.job_id)
            else:
                output.one(submitted)
            return 0
        errors.print(f"job {submitted.job_id} is submitted; waiting for it")
        job = await client.wait(submitted.job_id)
        output.one(job)
        return 0 if job.state is State.COMPLETED else 1

    return run(common, command)


def _payload(data: str | None) -> bytes:
    if data is None:
        return b"null"
    try:
        raw = sys.stdin.buffer.read() if data == "-" else Path(data[1:]).read_bytes() if data.startswith("@") else data.encode()
    except OSError as error:
        errors.print(f"headrace: cannot read {error.filename}: {error.strerror}")
        raise SystemExit(2) from error
    try:
        json.loads(raw)
    except RecursionError:
        return raw  # nested too deeply for us to check; the broker does not look inside
    except ValueError as error:
        errors.print(f"headrace: --data is not JSON: {error}; a text needs quotes inside: --data '\"text\"'")
        raise SystemExit(2) from error
    return raw


async def _many(client: Client, output: Output, source: str) -> int:
    """Each good line is submitted, each bad one reported with its number."""
    bad = 0
    stored = 0
    numbers: list[int] = []

    def complain(number: int, message: str) -> None:
        nonlocal bad
        bad += 1
        errors.print(f"line {number}: {message}", markup=False)

    def specs(lines: TextIO) -> Iterator[JobSpec]:
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
            lines = sys.stdin if source == "-" else stack.enter_context(open(source, encoding="utf-8"))
        except OSError as error:
            errors.print(f"headrace: cannot read {source}: {error.strerror}")
            raise Done(2) from error
        bar = stack.enter_context(
            Progress(TextColumn("submitting"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=errors, disable=not errors.is_terminal, transient=True)
        )
        task = bar.add_task("submit", total=None)
        position = 0
        async for result in client.submit_stream(specs(lines)):
            number = numbers[position]
            position += 1
            if isinstance(result, HeadraceError):
                complain(number, result.message)
            else:
                stored += 1
                _print_result(output, result)
            bar.update(task, completed=position)
    errors.print(f"{stored} jobs submitted, {bad} lines refused")
    return 4 if bad else 0


def _print_result(output: Output, result: Submitted) -> None:
    if output.form == "table":
        print(result.job_id)
    else:
        print(json.dumps({"job_id": str(result.job_id), "existing": result.existing}))


def parse_line(line: str) -> JobSpec:
    """One line of a file of jobs. Raises ValueError that says what is wrong."""
    try:
        fields: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError('a job is an object: {"type": ..., "data": ...}')
    unknown = sorted(set(fields) - FIELDS)
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; the fields are {', '.join(sorted(FIELDS))}")
    wanted = {"type": str, "instance_id": str, "key": str, "priority": int, "delay_s": (int, float), "start_at": str, "labels": dict}
    for name, kind in wanted.items():
        if name in fields and (not isinstance(fields[name], kind) or isinstance(fields[name], bool)):  # type: ignore[arg-type]  # a class or several
            raise ValueError(f"field {name!r} does not fit: {fields[name]!r}")
    if not fields.get("type"):
        raise ValueError("field 'type' is missing")
    start_at = fields.pop("start_at", None)
    data = fields.pop("data", None)
    return JobSpec(**fields, payload=json.dumps(data, separators=(",", ":")).encode(), start_at=None if start_at is None else datetime.fromisoformat(start_at))
