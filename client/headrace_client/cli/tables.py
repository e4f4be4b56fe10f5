"""Tables, trees and questions, for people. Only what shows one imports this: rich takes long to import, and most commands are called by programs."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from rich.console import Console
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from headrace_client.cli.output import ID_FIELDS, short
from headrace_client.models import JobError

STATE_STYLE = {"waiting": "cyan", "processing": "blue", "completed": "green", "error": "red bold", "aborted": "yellow"}
LONG = frozenset({"error", "message", "reason", "types", "labels", "instance_id", "value", "type"})
"""Columns whose text may be broken over lines."""

stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def show(item: Table | Tree | str) -> None:
    """On standard output; wide where nobody looks."""
    Console(highlight=False, width=None if sys.stdout.isatty() else 200).print(item)


def table(rows: Sequence[dict[str, Any]], titles: dict[str, str]) -> Table:
    """A line for each row; all of them have the same columns."""
    made = Table(box=None, header_style="bold", pad_edge=False, show_edge=False)
    for column in rows[0]:
        numeric = all(isinstance(row[column], (int, float)) and not isinstance(row[column], bool) for row in rows) and column not in ID_FIELDS
        title = titles.get(column, column.removesuffix("_at").replace("_", " "))
        made.add_column(title, justify="right" if numeric else "left", no_wrap=column not in LONG, overflow="fold")
    for row in rows:
        made.add_row(*(_cell(column, value) for column, value in row.items()))
    return made


def fields(items: Iterable[tuple[str, Any]]) -> Table:
    """A line for each field."""
    made = Table(box=None, show_header=False, pad_edge=False, show_edge=False)
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in items:
        made.add_row(name.replace("_", " "), _cell(name, value, exact=True))
    return made


def say(text: str, style: str) -> None:
    """A line on standard error, at a terminal."""
    stderr.print(Text(text, style=style))


def ask(question: str) -> bool:
    """Asks at the terminal."""
    return Confirm.ask(question, console=stderr)


def _cell(name: str, value: Any, *, exact: bool = False) -> Text:
    """A value as people read it."""
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(f"{value.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} ({_relative(value)})" if exact else _relative(value))
    if isinstance(value, Enum) or name in ("state", "ending"):
        return Text(str(value), style=STATE_STYLE.get(str(value), ""))
    if isinstance(value, bytes):
        try:
            return Text(value.decode())
        except UnicodeDecodeError:
            return Text(f"{len(value)} bytes, not text")
    if isinstance(value, JobError):
        return Text(f"{value.code}: {value.message}".splitlines()[0][:200] if not exact else f"{value.code}: {value.message}\n{value.traceback}".strip())
    if name == "progress":
        return Text(f"{value[0]:.0f} % {value[1]}".strip())
    if is_dataclass(value) or isinstance(value, (dict, list, tuple)):
        return Text(short(value))
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:g}")
    return Text(str(value))


def _relative(at: datetime) -> str:
    """Such as "3 min ago" or "in 2 h"."""
    seconds = (datetime.now(UTC) - at).total_seconds()
    size, words = abs(seconds), "in {}" if seconds < 0 else "{} ago"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (float("inf"), 86_400, "d")):
        if size < limit:
            return words.format(f"{size / unit:.0f} {name}")
    return ""
