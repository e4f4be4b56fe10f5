"""Values as people read them: times relative with the exact one on hover, numbers grouped, big ids whole.

Whatever text a page shows may be somebody else's, a reason or a name as well as an error: what would steer it is shown as escapes, in all of them (`environment`). What
stands in the fields of forms goes back with them, and stays as it is.
"""

import json
import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import jinja2
from headrace_proto.terminal import harmless
from jinja2.ext import Extension
from markupsafe import Markup

from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import State
from headrace_broker.web.addresses import under

NOTHING = "\N{EN DASH}"  # where there is no value
HERE = Path(__file__).parent
STATE_NAMES = {State.WAITING: "waiting", State.PROCESSING: "processing", State.COMPLETED: "completed", State.ERROR: "error", State.ABORTED: "aborted"}
SIGNS = {State.WAITING: "○", State.PROCESSING: "▶", State.COMPLETED: "✓", State.ERROR: "✕", State.ABORTED: "■"}
LONGEST_VALUE = 300  # characters
FIELD = re.compile(r'(?<=\svalue="){{ ((?:(?!}}).)+) }}(?=")|{{ ((?:(?!}}).)+) }}(?=</textarea>)')
LEVELS = {1: "debug", 2: "info", 3: "warning", 4: "error"}


def environment(version: str) -> jinja2.Environment:
    """The templates' environment: everything is escaped, what steers text is shown as escapes but for what stands in fields, and a name that is not there is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_harmless, extensions=[FieldsAsTheyAre],
    )  # fmt: skip
    made.filters.update(
        ago=ago,
        age=age,
        number=number,
        seconds=seconds,
        percent=percent,
        state=state,
        span=span_s,
        size=size,
        wall=wall,
        created=created_at_s,
        changed=changed,
        counted=counted,
        under=under,
    )
    made.globals.update(version=version, new_id=lambda: secrets.token_hex(8), STATES=STATE_NAMES, SIGNS=SIGNS, LEVELS=LEVELS)
    return made


class FieldsAsTheyAre(Extension):
    """Has templates put into fields what they are given: `_harmless` leaves what is escaped already."""

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The source of a template."""
        return FIELD.sub(lambda match: f"{{{{ ({match[1] or match[2]})|escape }}}}", source)


def _harmless(value: object) -> object:
    return harmless(value) if type(value) is str else value


def changed(before: str | None, after: str | None, partly: bool = False) -> list[tuple[str, str, str]]:
    """(name, what it was, what it is) of all that a row of the audit says has changed; both are JSON. What was not there and is empty now is no change. `partly`: `after`
    says only what is another now, so what it leaves out stays as it was."""
    old, new = (_object(text) for text in (before, after))
    rows = [(name, _brief(old.get(name)), _brief(new.get(name))) for name in dict.fromkeys(new if partly else [*new, *old])]
    return [(name, was, is_) for name, was, is_ in rows if was != is_]


def _object(text: str | None) -> dict[str, object]:
    found = json.loads(text) if text else {}
    return found if isinstance(found, dict) else {"": found}


def _brief(value: object) -> str:
    if value is None or value in ("", [], {}):
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"


def ago(at: datetime | float | None) -> Markup | str:
    """Such as "3 min ago" or "in 2 h", with the exact time on hover."""
    if at is None:
        return NOTHING
    when = datetime.fromtimestamp(at, UTC) if isinstance(at, (int, float)) else at
    away_s = (datetime.now(UTC) - when).total_seconds()
    words = f"in {_whole(-away_s)}" if away_s <= -1 else age(away_s)
    exact = when.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").replace("+00:00", " UTC")
    return Markup('<time datetime="{}" title="{}" data-ago>{}</time>').format(when.astimezone(UTC).isoformat(), exact, words)


def age(value_s: float) -> str:
    """How long ago, such as "3 min ago". Seconds are whole: in a list, one age is held against another."""
    return "now" if value_s < 1 else f"{_whole(value_s)} ago"


def _whole(value_s: float) -> str:
    return f"{value_s:.0f} s" if value_s < 10 else span_s(value_s)


def wall(at: datetime, zone: str) -> str:
    """A time as the clocks of a zone show it; in UTC where there is no such zone, or it is in the year 10000 there."""
    try:
        local = at.astimezone(ZoneInfo(zone or "UTC"))
    except (ValueError, OSError, KeyError, OverflowError):
        local = at.astimezone(UTC)
    return f"{local:%a %Y-%m-%d %H:%M:%S} {local.tzname() or 'UTC'}"


def span_s(value: float | None) -> str:
    """A duration in one unit that suits it."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0 s"
    if 0 < value < 0.00005:
        return "<0.1 ms"
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    for limit, unit, name in ((10, 1, "s"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"), (float("inf"), 86_400, "d")):
        if value < limit:
            return f"{value / unit:.2f} {name}" if limit == 10 else f"{value / unit:.0f} {name}"
    return ""


seconds = span_s


def number(value: float | None) -> str:
    """Digits in groups of three; a rate below ten with two decimals. What is not nothing is not shown as 0.00."""
    if value is None:
        return NOTHING
    if 0 < value < 0.005:
        return "<0.01"
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.0f}"
    return f"{int(value):,}"


def counted(value: int, noun: str) -> str:
    """Such as "1 job" and "2,000 jobs"."""
    return f"{number(value)} {noun}{'' if value == 1 else 's'}"


def percent(value: float | None) -> str:
    """A share of 0 to 1."""
    if value is None:
        return NOTHING
    if 0 < value < 0.0005:
        return "<0.1 %"
    return f"{value * 100:.1f} %" if 0 < value < 0.1 else f"{value * 100:.0f} %"


def size(value: float) -> str:
    """Bytes."""
    for limit, unit, name in ((1024, 1, "B"), (1 << 20, 1024, "KiB"), (float("inf"), 1 << 20, "MiB")):
        if value < limit:
            return f"{value / unit:.0f} {name}" if unit == 1 else f"{value / unit:.1f} {name}"
    return ""


def state(value: State) -> Markup:
    """A state by sign, colour and word."""
    name = STATE_NAMES.get(value, "gone")
    return Markup('<span class="state {0}">{0}</span>').format(name)
