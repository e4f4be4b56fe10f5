"""How `headrace top` looks: the lines of a screen of any size, and what keys change. Pure: nothing here draws, or knows a terminal."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from headrace_proto.terminal import one_line
from rich.cells import cell_len, set_cell_size

from headrace_client.cli.terminal import Line
from headrace_client.cli.top_figures import AgentRow, BrokerRow, DomainRow, Figures, TypeRow

View = Literal["types", "domains", "agents", "brokers"]
VIEWS: Mapping[str, View] = {"t": "types", "d": "domains", "a": "agents", "b": "brokers"}
GAP = 2
NAME_CELLS = 16
"""What a name gets at least before a column is left out."""
HELP = "q quit  t types  d domains  a agents  b brokers  s sort  r turn  / find  p pause"


@dataclass(frozen=True, slots=True)
class Column:
    """`name` is that of `--sort`; `text` is what is shown of a row, `key` what it is sorted by (None: last). Without room the highest `rank` goes first."""

    name: str
    title: str
    text: Callable[[Any], str]
    key: Callable[[Any], Any]
    rank: int = 0
    left: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What the person chose. `sorts`: column by view; `first`: how many rows are scrolled past; `filter`: what rows must have in a text.

    `typing`: the filter is being typed.
    """

    view: View = "types"
    sorts: Mapping[str, str] = field(default_factory=lambda: {"types": "waiting", "domains": "waiting", "agents": "agent", "brokers": "broker"})
    reverse: bool = False
    paused: bool = False
    first: int = 0
    filter: str = ""
    typing: bool = False

    @property
    def sort(self) -> str:
        """The column."""
        return self.sorts[self.view]


def key_pressed(look: Look, key: str, *, rows: int, room: int) -> Look:
    """What a key makes of it; `rows` there are, `room` for so many. Keys that do nothing here leave it as it is."""
    if look.typing:
        return _typed(look, key)
    if key == "/":
        return replace(look, typing=True)
    if key == "escape":
        return replace(look, filter="", first=0)
    if key in VIEWS:
        return replace(look, view=VIEWS[key], first=0, reverse=False, filter="")
    if key in ("<", ">", "s"):
        names = [column.name for column in COLUMNS[look.view]]
        at = (names.index(look.sort) + (-1 if key == "<" else 1)) % len(names)
        return replace(look, sorts={**look.sorts, look.view: names[at]}, reverse=False)
    if key == "r":
        return replace(look, reverse=not look.reverse)
    if key == "p":
        return replace(look, paused=not look.paused)
    steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -room, "page down": room, "home": -rows, "end": rows}
    return replace(look, first=max(0, min(look.first + steps[key], rows - room))) if key in steps else look


def _typed(look: Look, key: str) -> Look:
    """The filter as it grows; Enter keeps it, Escape gives it up."""
    if key in ("\n", "\r"):
        return replace(look, typing=False)
    if key == "escape":
        return replace(look, typing=False, filter="", first=0)
    if key in ("\x7f", "\b"):
        return replace(look, filter=look.filter[:-1], first=0)
    if key == "\x15":  # Ctrl-U
        return replace(look, filter="", first=0)
    return replace(look, filter=look.filter + key, first=0) if len(key) == 1 and key.isprintable() else look


def ordered(rows: Sequence[Any], look: Look) -> list[Any]:
    """Numbers from the greatest down, text from A on, the other way where that is wanted; what cannot be told comes last."""
    column = next(column for column in COLUMNS[look.view] if column.name == look.sort)
    name = COLUMNS[look.view][0]
    told = sorted((row for row in rows if column.key(row) is not None), key=name.key)
    told.sort(key=column.key, reverse=look.reverse != (not column.left))
    return told + sorted((row for row in rows if column.key(row) is None), key=name.key)


def rows_of(figures: Figures, look: Look) -> list[Any]:
    """Those of the view, in order."""
    views: dict[str, Sequence[Any]] = {"types": figures.types, "domains": figures.domains, "agents": figures.agents, "brokers": figures.brokers}
    texts, wanted = [column for column in COLUMNS[look.view] if column.left], look.filter.casefold()
    return ordered([row for row in views[look.view] if not wanted or any(wanted in column.text(row).casefold() for column in texts)], look)


def plain_lines(figures: Figures, look: Look, width: int) -> list[str]:
    """All of it, once, for scripts and files."""
    table = _table(rows_of(figures, look), look, width, several=len(figures.domains) > 1)
    lines: list[Line] = [*_head(figures), *([(note, "yellow")] for note in figures.notes), [], *table]
    return ["".join(one_line(text) for text, _ in line).rstrip() for line in lines]


def room(figures: Figures, height: int) -> int:
    """Rows of the table that a screen has room for."""
    return max(1, height - len(_head(figures)) - 3)


def screen(figures: Figures, look: Look, status: Line, width: int, height: int) -> list[Line]:
    """The lines of a screen: as many as it has, each filled to its width. `status`: one line about how things are."""
    rows, space = rows_of(figures, look), room(figures, height)
    first = max(0, min(look.first, len(rows) - space))
    table = _table(rows[first : first + space], look, width, several=len(figures.domains) > 1)
    if look.filter or look.typing:
        status = [(f"filter: {look.filter}{'_' if look.typing else ''}", "bold"), ("  ", ""), *status]
    if len(rows) > space:
        place = f"{first + 1}-{min(first + space, len(rows))} of {len(rows):,} {look.view}"
        status = [*status, ("  " if status else "", ""), (place, "dim")]
    body = [*_head(figures), status, *table]
    body = [*body, *([] for _ in range(height - len(body) - 1))][: max(0, height - 1)]
    return [filled(line, width) for line in [*body, [(set_cell_size(HELP, width), "reverse")]]]


def filled(line: Line, width: int) -> Line:
    """Cut, or filled with blanks, to a width in cells. Names are what others chose: on one line, and harmless."""
    pieces: list[tuple[str, str]] = []
    left = width
    for text, style in line:
        text = one_line(text)
        if cell_len(text) > left:
            text = _cut(text, left)
        pieces.append((text, style))
        left -= cell_len(text)
    return [*pieces, (" " * left, "")]


def _cut(text: str, width: int) -> str:
    return set_cell_size(text, width - 1) + "…" if cell_len(text) > width > 0 else set_cell_size(text, width)


def _head(figures: Figures) -> list[Line]:
    used = f" ({figures.slots_in_use / figures.slots:.0%})" if figures.slots else ""
    missing = sum(row.state == "no answer" for row in figures.brokers)
    brokers = f"  brokers {len(figures.brokers) - missing}" if figures.brokers else ""
    return [
        [
            ("headrace top", "bold"),
            (f"  {_where(figures)}  version {figures.version}  up {span(figures.uptime_s)}{brokers}", ""),
            (f", {missing} of the list silent" if missing else "", "red"),
            (f"  {figures.at:%H:%M:%S}Z", ""),
        ],
        [
            ("waiting ", ""), (count(figures.waiting), "bold"), ("  processing ", ""), (count(figures.processing), "bold"),
            (f"  slots {count(figures.slots_in_use)}/{count(figures.slots)}{used}  agents {count(sum(row.state != 'awaited' for row in figures.agents))}", ""),
        ],
        [
            ("in ", ""), (f"{rate(figures.in_per_s)}/s", "bold"), ("  completed ", ""), (f"{rate(figures.completed_per_s)}/s", "bold"), ("  failed ", ""),
            (f"{rate(figures.failed_per_s)}/s", "red" if figures.failed_per_s else "bold"),
        ],
    ]  # fmt: skip


def _where(figures: Figures) -> str:
    return f"domain {figures.domain}" if len(figures.domains) == 1 else f"{len(figures.domains)} domains"


def _table(rows: Sequence[Any], look: Look, width: int, *, several: bool) -> list[Line]:
    """A header and a line for each row. The first column is as wide as there is room for; others go, the one of the highest rank first. `several`: domains."""
    name, *rest = COLUMNS[look.view]
    domain = [DOMAIN] if DOMAIN in rest and (several or look.sort == DOMAIN.name) else []
    columns = [name, *domain, *(column for column in rest if column is not DOMAIN)]
    cells = {column.name: [one_line(column.text(row)) for row in rows] for column in columns}
    widths = {column.name: max(len(column.title), *map(cell_len, cells[column.name]), 0) for column in columns}
    others = columns[1:]
    while others and min(widths[name.name], NAME_CELLS) + sum(widths[column.name] + GAP for column in others) > width:
        going = max((column for column in others if column.name != look.sort), key=lambda column: column.rank, default=None)
        if going is None:
            break
        others.remove(going)
    widths[name.name] = max(1, min(widths[name.name], width - sum(widths[column.name] + GAP for column in others)))
    shown = [name, *others]
    header: list[tuple[str, str]] = []
    for column in shown:
        header += [(_placed(column, column.title, widths[column.name]), "reverse" if column.name == look.sort else "bold"), (" " * GAP, "")]
    lines: list[Line] = [header[:-1]]
    for number, row in enumerate(rows):
        text = (" " * GAP).join(_placed(column, cells[column.name][number], widths[column.name]) for column in shown)
        lines.append([(text, _style(row))])
    return lines if rows else [*lines, [(f"no {look.view}", "dim")]]


def _placed(column: Column, text: str, width: int) -> str:
    blanks = " " * (width - cell_len(text))
    return _cut(text, width) if not blanks else text + blanks if column.left else blanks + text


def _style(row: TypeRow | DomainRow | AgentRow | BrokerRow) -> str:
    if isinstance(row, (TypeRow, DomainRow)):
        return "yellow" if row.paused else "red" if row.waiting and not row.agents else ""
    return {"paused": "yellow", "draining": "yellow", "awaited": "red", "no answer": "red", "standby": "dim"}.get(row.state, "")


def count(number: int) -> str:
    """Such as 1,234 or 1.23M."""
    for limit, unit in ((10**9, "G"), (10**6, "M")):
        if number >= limit:
            return f"{number / limit:.2f}{unit}"
    return f"{number:,}"


def rate(per_s: float | None) -> str:
    """Per second; "-" when it is not known."""
    if per_s is None:
        return "-"
    return "0" if per_s == 0 else f"{per_s:.2f}" if per_s < 9.995 else f"{per_s:.1f}" if per_s < 99.95 else f"{per_s:,.0f}"


def share(part: float | None) -> str:
    """In percent."""
    return "-" if part is None else "0%" if part == 0 else f"{part:.1%}" if part < 0.0995 else f"{part:.0%}"


def span(seconds: float | None) -> str:
    """Such as 12ms, 3.4s, 5m06s, 2h03m or 4d05h."""
    if seconds is None:
        return "-"
    if seconds < 0.9995:
        return "0s" if seconds < 0.0005 else f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}s"
    whole = int(seconds + 0.5)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    minutes = whole // 60
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes < 1440 else f"{minutes // 1440}d{minutes % 1440 // 60:02}h"


def _oldest(row: TypeRow) -> str:
    return f"<{span(row.oldest_wait_below_s)}" if row.oldest_wait_s is None and row.oldest_wait_below_s is not None else span(row.oldest_wait_s)


DOMAIN = Column("domain", "DOMAIN", lambda row: row.domain, lambda row: row.domain, left=True)
"""Of types and agents: beside the name, where there are several, or where it is sorted by."""
COLUMNS: Mapping[View, Sequence[Column]] = {
    "types": (
        Column("type", "TYPE", lambda row: row.type + (" (paused)" if row.paused else ""), lambda row: (row.type, row.domain), left=True),
        Column("waiting", "WAITING", lambda row: count(row.waiting), lambda row: row.waiting),
        Column("oldest_wait", "OLDEST", _oldest, lambda row: row.oldest_wait_s if row.oldest_wait_s is not None else row.oldest_wait_below_s, 2),
        Column("running", "RUNNING", lambda row: count(row.running), lambda row: row.running, 1),
        Column("in", "IN/S", lambda row: rate(row.in_per_s), lambda row: row.in_per_s, 3),
        Column("out", "OUT/S", lambda row: rate(row.out_per_s), lambda row: row.out_per_s, 2),
        Column("failed", "FAILED", lambda row: share(row.failed_share), lambda row: row.failed_share, 2),
        Column("p50", "P50", lambda row: span(row.run_p50_s), lambda row: row.run_p50_s, 5),
        Column("p95", "P95", lambda row: span(row.run_p95_s), lambda row: row.run_p95_s, 4),
        Column("agents", "AGENTS", lambda row: count(row.agents), lambda row: row.agents, 6),
        DOMAIN,
    ),
    "domains": (
        Column("domain", "DOMAIN", lambda row: row.domain + (" (paused)" if row.paused else ""), lambda row: row.domain, left=True),
        Column("waiting", "WAITING", lambda row: count(row.waiting), lambda row: row.waiting),
        Column("oldest_wait", "OLDEST", lambda row: span(row.oldest_wait_s), lambda row: row.oldest_wait_s, 3),
        Column("running", "RUNNING", lambda row: count(row.running), lambda row: row.running, 1),
        Column("in", "IN/S", lambda row: rate(row.in_per_s), lambda row: row.in_per_s, 4),
        Column("completed", "DONE/S", lambda row: rate(row.completed_per_s), lambda row: row.completed_per_s, 2),
        Column("failed", "FAILED/S", lambda row: rate(row.failed_per_s), lambda row: row.failed_per_s, 2),
        Column("slots", "SLOTS", lambda row: f"{count(row.slots_in_use)}/{count(row.slots)}", lambda row: row.slots, 5),
        Column("agents", "AGENTS", lambda row: count(row.agents), lambda row: row.agents, 6),
    ),
    "agents": (
        Column("agent", "AGENT", lambda row: row.agent, lambda row: (row.agent, row.host, row.pid), left=True),
        Column("state", "STATE", lambda row: row.state, lambda row: row.state, 1, left=True),
        Column("running", "RUNNING", lambda row: count(row.running), lambda row: row.running),
        Column("slots", "SLOTS", lambda row: count(row.slots), lambda row: row.slots),
        Column("heard", "HEARD", lambda row: span(row.heard_s), lambda row: row.heard_s, 1),
        Column("version", "VERSION", lambda row: row.version or "-", lambda row: row.version, 2, left=True),
        Column("host", "HOST", lambda row: row.host, lambda row: row.host, 3, left=True),
        Column("pid", "PID", lambda row: str(row.pid), lambda row: row.pid, 4),
        Column("sdk", "SDK", lambda row: row.sdk, lambda row: row.sdk, 5, left=True),
        DOMAIN,
    ),
    "brokers": (
        Column("broker", "BROKER", lambda row: row.broker, lambda row: row.broker, left=True),
        Column("state", "STATE", lambda row: row.state, lambda row: row.state, left=True),
        Column("shards", "SHARDS", lambda row: ",".join(map(str, row.shards)) or "-", lambda row: len(row.shards), 1),
        Column("version", "VERSION", lambda row: row.version or "-", lambda row: row.version, 2, left=True),
        Column("connected", "CONNECTED", lambda row: span(row.connected_s), lambda row: row.connected_s, 3),
    ),
}  # fmt: skip
"""By view; the first is the name, and always shown."""
SORTS = tuple(dict.fromkeys(column.name for columns in COLUMNS.values() for column in columns))
