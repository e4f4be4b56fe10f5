"""Tables, trees and questions, for people. Only what shows one imports this: rich takes long to import, and most commands are called by programs.

A table is as wide as its values where nobody looks, and never wider than the terminal: texts are broken over lines, and where that is not enough whole columns are
left out, which is said. No value is cut: half of an id is of no use.
"""

import io
import sys
from collections.abc import Iterable, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from headrace_proto.terminal import harmless
from rich.cells import cell_len
from rich.console import Console
from rich.prompt import Confirm
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from headrace_client.cli.output import ID_FIELDS, short
from headrace_client.cli.printing import print_drawn
from headrace_client.models import JobError

STATE_STYLE = {"waiting": "cyan", "processing": "blue", "completed": "green", "error": "red bold", "aborted": "yellow"}
LONG = frozenset({"error", "message", "reason", "types", "labels", "instance_id", "value", "type", "name", "actor", "target", "change", "when", "address", "web"})
"""Columns whose text may be broken over lines."""
LEAST = 12
"""Characters that are left of such a column."""
GAP = 2
SPARE = (
    "score", "priority", "request_id", "last_job_id", "on_behalf_of", "skipped", "executor", "pid", "rate", "run", "attempt", "losses", "created_by", "granted_by",
    "settled_at", "finished_at", "aborted", "host", "version", "fingerprint", "load", "processing", "agent", "matched", "expected", "told", "rule", "agents_needed",
    "utilisation", "secret", "default", "cap", "sent_at", "wait_reason",
)  # fmt: skip
"""Columns that are left out first, in this order; then the last ones."""
WIDEST = 1_000_000

stderr = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def show(item: Table | Tree | Text | str) -> None:
    """On standard output; as wide as it is where nobody looks. The texts of tables and trees are harmless already."""
    if isinstance(item, str):
        item = harmless(item)
    if sys.stdout.isatty():
        Console(highlight=False, markup=False).print(item)  # a text with brackets is a text
        return
    console = Console(highlight=False, markup=False, width=WIDEST, file=io.StringIO())
    console.print(item)
    for line in console.file.getvalue().splitlines():  # type: ignore[attr-defined]  # the one above
        print_drawn(line.rstrip())


def show_rows(rows: Sequence[dict[str, Any]], titles: dict[str, str]) -> None:
    """A table, with a word on standard error about columns that the terminal has no room for."""
    made, left_out = table(rows, titles, Console().width if sys.stdout.isatty() else WIDEST)
    show(made)
    if left_out:
        say(f"no room for {', '.join(left_out)}: a wider terminal shows them, and -o json", "dim")


def table(rows: Sequence[dict[str, Any]], titles: dict[str, str], width: int = WIDEST) -> tuple[Table, list[str]]:
    """A line for each row; all of them have the same columns. And the titles of the columns that are left out to keep it within `width`."""
    named = {column: titles.get(column, column.removesuffix("_at").replace("_", " ")) for column in rows[0]}
    cells = [{column: _cell(column, value) for column, value in row.items()} for row in rows]
    needs = {column: max(cell_len(title), *(_widest(row[column]) for row in cells)) for column, title in named.items()}
    widths = fit(needs, width)
    made = Table(box=None, header_style="bold", pad_edge=False, show_edge=False, padding=(0, GAP, 0, 0))
    for column, wide in widths.items():
        numeric = all(isinstance(row[column], (int, float)) and not isinstance(row[column], bool) for row in rows) and column not in ID_FIELDS
        made.add_column(named[column], justify="right" if numeric else "left", width=wide, overflow="fold")
    for row in cells:
        made.add_row(*(row[column] for column in widths))
    return made, [named[column] for column in needs if column not in widths]


def fit(needs: dict[str, int], width: int) -> dict[str, int]:
    """How wide each column is, of those that there is room for; the first one stays in any case."""
    kept = list(needs)
    while len(kept) > 1 and sum(min(needs[column], LEAST) if column in LONG else needs[column] for column in kept) + GAP * (len(kept) - 1) > width:
        kept.remove(next((column for column in SPARE if column in kept[1:]), kept[-1]))
    room = width - GAP * (len(kept) - 1) - sum(needs[column] for column in kept if column not in LONG)
    widths = {column: needs[column] for column in kept}
    texts = sorted((column for column in kept if column in LONG), key=needs.__getitem__)
    for number, column in enumerate(texts):
        widths[column] = max(1, min(needs[column], room // (len(texts) - number)))
        room -= widths[column]
    return widths


def _widest(text: Text) -> int:
    return max((cell_len(line) for line in text.plain.splitlines()), default=0)


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
    stderr.print(Text(harmless(text), style=style))


def ask(question: str) -> bool:
    """Asks at the terminal."""
    return Confirm.ask(Text(harmless(question)), console=stderr)


def _cell(name: str, value: Any, *, exact: bool = False) -> Text:
    """A value as people read it. Many of them come from others: what is not harmless in them is shown, before rich would leave out some of it."""
    style = ""
    if value is None:
        text = ""
    elif isinstance(value, datetime):
        text = f"{value.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} ({_relative(value)})" if exact else _relative(value)
    elif isinstance(value, Enum) or name in ("state", "ending"):
        text, style = str(value), STATE_STYLE.get(str(value), "")
    elif isinstance(value, JobError):
        text = f"{value.code}: {value.message}".splitlines()[0][:200] if not exact else f"{value.code}: {value.message}\n{value.traceback}".strip()
    elif name == "progress":
        text = f"{value[0]:.0f} % {value[1]}".strip()
    elif isinstance(value, float):
        text = f"{value:g}" if exact else _number(value)
    else:
        text = _words(value)
    return Text(harmless(text), style=style)


def _words(value: Any) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return f"{len(value)} bytes, not text"
    if is_dataclass(value) or isinstance(value, (dict, list, tuple)):
        return short(value)
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _number(value: float) -> str:
    """Three digits that count; what is not nothing is not shown as nothing."""
    if value.is_integer() or abs(value) >= 100:
        return f"{value:.0f}"
    return "<0.001" if 0 < value < 0.001 else f"{value:.3g}"


def _relative(at: datetime) -> str:
    """Such as "3 min ago" or "in 2 h"."""
    seconds = (datetime.now(UTC) - at).total_seconds()
    size, words = abs(seconds), "in {}" if seconds < 0 else "{} ago"
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "min"), (86_400, 3600, "h"), (float("inf"), 86_400, "d")):
        if size < limit:
            return words.format(f"{size / unit:.0f} {name}")
    return ""
