"""Results on stdout as table, json or jsonl; everything else on stderr. Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 no broker reached."""

import base64
import json
import math
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from headrace_proto.terminal import harmless_json

from headrace_client.cli.printing import print_error, print_line
from headrace_client.errors import (
    BrokerFault,
    Busy,
    ClaimError,
    ClaimUnavailable,
    CodecError,
    CodecMissing,
    Conflict,
    HeadraceError,
    InvalidRequest,
    InvalidState,
    NotFound,
    PermissionDenied,
    QueueFull,
    QuotaExceeded,
    ResultUnknown,
    Unauthenticated,
    Unavailable,
    UniqueKeyTaken,
    WaitTimeout,
)

if TYPE_CHECKING:
    from rich.tree import Tree

Format = Literal["table", "json", "jsonl"]
ID_FIELDS = frozenset({"job_id", "first_job_id", "last_job_id", "alert_id", "audit_id", "parent_id", "child_id", "batch_id", "operation_id", "frozen_id"})
ID_LISTS = frozenset({"depends_on", "failed_ids"})


class Errors:
    """Standard error: what is said to a person beside the results."""

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks."""
        return sys.stderr.isatty()

    def print(self, text: str, *, style: str = "") -> None:
        """One line, or several."""
        if not self.is_terminal:
            print_error(text)
            return
        from headrace_client.cli import tables

        tables.say(text, style)


errors = Errors()


class Done(Exception):  # ends a command with an exit code
    """Ends the command; `code` is its exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Output:
    """Prints results in the form that was asked for."""

    def __init__(self, form: Format) -> None:
        self.form = form

    def rows(self, rows: Iterable[Any], columns: Sequence[str], *, titles: dict[str, str] | None = None, empty: str = "nothing found") -> None:
        """Several results: a table of these columns, a JSON array of whole objects, or one object a line."""
        if self.form == "jsonl":
            for row in rows:
                print_line(to_json(row))
            return
        found = list(rows)
        if self.form == "json":
            print_line(to_json(found, indent=2))
            return
        if not found:
            errors.print(empty)
            return
        from headrace_client.cli import tables

        tables.show_rows([{column: _value(row, column) for column in columns} for row in found], titles or {})

    def one(self, row: Any, *, hide: Sequence[str] = ()) -> None:
        """One result: a line for each field that says something, or a JSON object."""
        if self.form != "table":
            print_line(to_json(row, indent=2 if self.form == "json" else None))
            return
        from headrace_client.cli import tables

        told = [(name, value) for name, value in _items(row) if value not in (None, "", b"", {}, [], ()) and name not in hide]
        tables.show(tables.fields((name, value) for name, value in told if value or name not in ID_FIELDS))  # no job has the id 0

    def tree(self, tree: "Tree") -> None:
        """A tree for people; nothing in the other forms."""
        self._show(tree)

    def text(self, text: str) -> None:
        """A line for people; nothing in the other forms."""
        self._show(text)

    def _show(self, item: "Tree | str") -> None:
        if self.form == "table":
            from headrace_client.cli import tables

            tables.show(item)


def confirmed(question: str) -> bool:
    """Whether a person at the terminal says yes; False where nobody can be asked, or nobody answers (Ctrl-D)."""
    if not sys.stdin.isatty():
        return False
    from headrace_client.cli import tables

    with interruptible():
        try:
            return tables.ask(question)
        except EOFError:
            errors.print("")  # the prompt's line
            return False


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends at once what blocks inside, such as a read of standard input. In an event loop it would only be noted until that is over."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def to_json(value: Any, *, indent: int | None = None) -> str:
    """A result as JSON. What steers a terminal, half characters, which JSON may hold and UTF-8 may not, and what standard output has no characters for are escapes."""
    simple = plain(value)
    text = harmless_json(json.dumps(simple, ensure_ascii=False, indent=indent))
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(simple, indent=indent)
    return text


def plain(value: Any) -> Any:
    """The JSON of a result: ids as decimal strings, times in RFC 3339, bytes as text or, when they are not, as base64."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _id(name, item) for name, item in _items(value)}
    if isinstance(value, dict):
        return {str(key): _id(str(key), item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, bytes):
        return _bytes(value)
    if isinstance(value, Enum):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such number
    return value


def _id(name: str, value: Any) -> Any:
    """An id, or several, as decimal strings; anything else as `plain` has it."""
    if name in ID_FIELDS and isinstance(value, int):
        return str(value)
    return [str(item) for item in value] if name in ID_LISTS else plain(value)


def short(value: Any) -> str:
    """A value on one line."""
    value = plain(value)
    if isinstance(value, dict):
        return " ".join(f"{key}={short(item) if isinstance(item, (dict, list)) else item}" for key, item in value.items())
    if isinstance(value, list):
        return " ".join(short(item) if isinstance(item, (dict, list)) else str(item) for item in value)
    return str(value)


def fail(error: HeadraceError, form: Format) -> int:
    """Says what went wrong on stderr; returns the exit code."""
    if form == "table":
        hint = "\nIs one running there? `headrace-broker run` starts one; --broker HOST:PORT, or HEADRACE_BROKER, names another." if _unreached(error) else ""
        errors.print(f"headrace: {error.message}{hint}", style="red")
    else:
        print_error(json.dumps({"code": exit_name(error), "reason": error.reason, "message": error.message, "details": plain(error.details)}))
    return exit_code(error)


def exit_code(error: HeadraceError) -> int:
    """See the module."""
    if isinstance(error, NotFound):
        return 3
    if isinstance(error, InvalidRequest) and not error.reason:
        return 2  # refused here, before any broker saw it
    if isinstance(error, (Conflict, InvalidState, Busy, QueueFull, InvalidRequest, Unauthenticated, PermissionDenied)):
        return 4
    if isinstance(error, Unavailable) and not isinstance(error, ResultUnknown):
        return 5
    return 5 if isinstance(error, ResultUnknown) and not error.reason else 1


def _unreached(error: HeadraceError) -> bool:
    """Whether nothing answers at the address, as far as one can tell: of a broker that answers, or whose certificate is wrong, more is known."""
    return (
        type(error) is Unavailable
        and not error.reason
        and error.message.startswith("no broker reached")
        and ";" not in error.message.removesuffix("; nothing was stored")
    )


def exit_name(error: HeadraceError) -> str:
    """The gRPC status that the error stands for."""
    names: dict[type[HeadraceError], str] = {
        NotFound: "NOT_FOUND", Conflict: "ALREADY_EXISTS", UniqueKeyTaken: "ALREADY_EXISTS", InvalidState: "FAILED_PRECONDITION", Busy: "RESOURCE_EXHAUSTED",
        QuotaExceeded: "RESOURCE_EXHAUSTED", QueueFull: "RESOURCE_EXHAUSTED", InvalidRequest: "INVALID_ARGUMENT", Unauthenticated: "UNAUTHENTICATED",
        PermissionDenied: "PERMISSION_DENIED", Unavailable: "UNAVAILABLE", ResultUnknown: "UNAVAILABLE", BrokerFault: "INTERNAL", WaitTimeout: "DEADLINE_EXCEEDED",
        CodecError: "FAILED_PRECONDITION", CodecMissing: "FAILED_PRECONDITION", ClaimError: "FAILED_PRECONDITION", ClaimUnavailable: "UNAVAILABLE",
    }  # fmt: skip
    return names.get(type(error), "UNKNOWN")


def _items(row: Any) -> list[tuple[str, Any]]:
    if isinstance(row, dict):
        return list(row.items())
    return [(field.name, getattr(row, field.name)) for field in fields(row)]


def _value(row: Any, column: str) -> Any:
    return row.get(column) if isinstance(row, dict) else getattr(row, column)


def _bytes(value: bytes) -> Any:
    try:
        parsed = json.loads(value) if value else None
        json.dumps(parsed, indent=2, allow_nan=False)  # what is nested too deeply to be printed, or is no number of JSON, is shown as text
        return parsed
    except (ValueError, RecursionError):
        pass
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
