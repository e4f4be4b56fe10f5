"""What people type into forms and addresses, as values. Each function raises InvalidField, which says what was wanted."""

import json
import re
from datetime import UTC, datetime

from headrace_broker.model.errors import InvalidField
from headrace_broker.model.settings import YEARS_10_S
from headrace_broker.web.visit import Visit

MAX_REASON = 1000
MAX_PRIORITY = 1_000_000
LATEST_S = 7_258_118_400.0  # 2200-01-01
UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
SPAN = re.compile(r"(\d{1,19}(?:\.\d{1,6})?) ?(s|min|m|h|d|w)?", re.ASCII)
"""A duration, as people type it and as pages show it."""


def text(field: str, value: str, most: int = 1000) -> str:
    """A text that the database can hold."""
    if "\x00" in value:
        raise InvalidField(field, "must not contain NUL characters")
    if len(value) > most:
        raise InvalidField(field, f"at most {most:,} characters, found {len(value):,}")
    return value


def reason(visit: Visit, *, required: bool = True) -> str:
    """Why somebody changes something."""
    said = text("reason", visit.field("reason"), MAX_REASON)
    if required and not said:
        raise InvalidField("reason", "say why: it is kept in the job's history and in the audit")
    return said


def job_id(value: str) -> int:
    """A job's id."""
    if not (value.isascii() and value.isdigit() and len(value) < 20 and 0 < int(value) < 1 << 63):
        raise InvalidField("job_id", f"a positive number, as the list of jobs shows it; found {value[:50]!r}")
    return int(value)


def whole(field: str, value: str, lowest: int, highest: int) -> int:
    """A whole number."""
    digits = value[1:] if value.startswith(("-", "+")) else value
    if not (digits.isascii() and digits.isdigit() and len(digits) < 20 and lowest <= int(value) <= highest):
        raise InvalidField(field, f"a whole number from {lowest:,} to {highest:,}, found {value[:50]!r}")
    return int(value)


def duration_s(field: str, value: str, most: float = YEARS_10_S) -> float:
    """A duration in seconds: 90, 90s, 15m, 15 min, 2h, 7d or 4w."""
    found = SPAN.fullmatch(value)
    value_s = float(found[1]) * UNITS[found[2] or "s"] if found else -1.0
    if not 0 <= value_s <= most:
        longest = f", {age_text(most)} at most" if value_s > most else ""
        raise InvalidField(field, f"a duration such as 90s, 15m, 2h or 7d{longest}, found {value[:50]!r}")
    return value_s


def time_s(field: str, value: str) -> float | None:
    """A date or time (UTC where it has no zone), or an age such as 15m, in seconds since 1970; None: nothing was said."""
    if not value:
        return None
    age = age_s(field, value)
    return datetime.now(UTC).timestamp() - age if age is not None else _date_s(field, value, "an age such as 15m, 2h, 7d")


def age_s(field: str, value: str) -> float | None:
    """An age such as 15m, in seconds; None: it is none, but perhaps a time."""
    return duration_s(field, value) if has_unit(value) else None


def has_unit(value: str) -> bool:
    """Whether it is a number with a unit of time behind it."""
    found = SPAN.fullmatch(value)
    return found is not None and found[2] is not None


def age_text(value_s: float) -> str:
    """An age as `age_s` reads it, in the largest unit that says it in whole numbers."""
    unit = next((unit for unit in reversed(UNITS) if value_s % UNITS[unit] == 0), "") if value_s else "s"
    return f"{value_s / UNITS[unit]:.0f}{unit}" if unit else f"{value_s:.6f}s"


def future_s(field: str, value: str) -> float:
    """A date or time, or how long from now, in seconds since 1970."""
    if has_unit(value):
        return datetime.now(UTC).timestamp() + duration_s(field, value)
    return _date_s(field, value, "how long from now, such as 30d")


def _date_s(field: str, value: str, other: str) -> float:
    try:
        at = datetime.fromisoformat(value)
        seconds = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
        if not 0 <= seconds < LATEST_S:
            raise ValueError
        return seconds
    except (ValueError, OverflowError):
        raise InvalidField(field, f"2026-01-31, 2026-01-31T12:00, or {other}; found {value[:50]!r}") from None


def position(value: str) -> tuple[int, int] | None:
    """Two numbers with a point between them, as addresses carry a place in a list; None: nothing usable."""
    first, _, second = value.partition(".")
    if all(part.isascii() and part.isdigit() and len(part) < 10 for part in (first, second)):
        return int(first), int(second)
    return None


def json_bytes(field: str, value: str, most: int) -> bytes:
    """JSON that somebody typed, as it is: nothing in it is written anew."""
    data = value.encode()
    if len(data) > most:
        raise InvalidField(field, f"at most {most:,} bytes, found {len(data):,}")
    check_json(field, data)
    return data


def check_json(field: str, data: bytes) -> None:
    """Raises InvalidField, with the place, unless it is JSON that every program reads."""
    try:
        json.loads(data, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidField(field, f"not JSON: {error.msg} in line {error.lineno}, column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidField(field, "not JSON that can be read: NaN or Infinity, nested too deep, or a number of too many digits") from error


def _no_constant(name: str) -> None:
    raise ValueError(name)
