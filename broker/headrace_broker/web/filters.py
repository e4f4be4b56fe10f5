"""Filters of jobs as they stand in addresses and forms, and in words."""

from collections.abc import Callable
from datetime import UTC, datetime

from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.web import forms, render

ORDERS = {"newest": Order.NEWEST_FIRST, "oldest": Order.OLDEST_FIRST, "score": Order.SCORE}
PERIODS = ("created", "started", "settled")
NAMES = ("type", "state", "instance", "agent", "fingerprint", "label", "log", *(f"{name}_{end}" for name in PERIODS for end in ("from", "to")))
"""Fields of a filter."""
Ask = Callable[[str], str]
"""The value of a field; empty when nothing is asked of it."""
STATES = {name: state for state, name in render.STATE_NAMES.items()}


def wanted(ask: Ask) -> JobFilter:
    """The filter that an address or form names. `label` may be several KEY=VALUE with spaces between them. Raises InvalidField."""
    for name in NAMES:
        forms.text(name, ask(name))
    if ask("state") and ask("state") not in STATES:
        raise InvalidField("state", f"one of {', '.join(STATES)}")
    periods = {name: Period(forms.time_s(f"{name}_from", ask(f"{name}_from")), forms.time_s(f"{name}_to", ask(f"{name}_to"))) for name in PERIODS}
    return JobFilter(
        types=(ask("type"),) if ask("type") else (), states=frozenset({STATES[ask("state")]}) if ask("state") else frozenset(), instance_id=ask("instance") or None,
        agent=ask("agent") or None, fingerprint=ask("fingerprint") or None, labels=_labels(ask("label")), log_text=ask("log") or None, **periods,
    )  # fmt: skip


def order(ask: Ask) -> Order:
    """In which order. Raises InvalidField."""
    name = ask("order") or "newest"
    if name not in ORDERS:
        raise InvalidField("order", f"one of {', '.join(ORDERS)}")
    return ORDERS[name]


def _labels(text: str) -> tuple[tuple[str, str], ...]:
    """KEY=VALUE, or several of them with spaces between; a value with spaces in it must be the only one."""
    if not text:
        return ()
    parts = text.split(" ")
    if not all(part.partition("=")[0] and "=" in part for part in parts):
        parts = [text]
    pairs = [part.partition("=") for part in parts]
    if not all(key and equals for key, equals, _ in pairs):
        raise InvalidField("label", f"KEY=VALUE, or several with spaces between them, found {text[:60]!r}")
    return tuple((key, value) for key, _, value in pairs)


def words(found: JobFilter) -> list[str]:
    """The filter in words; empty: it takes all jobs."""
    said = []
    if found.states:
        said.append(" or ".join(sorted(render.STATE_NAMES[state] for state in found.states)))
    if found.types:
        said.append(f"type {' or '.join(found.types)}")
    for name, value in (("instance", found.instance_id), ("agent", found.agent), ("error", found.fingerprint)):
        if value is not None:
            said.append(f"{name} {value}")
    said += [f"label {key}={value}" for key, value in found.labels]
    if found.log_text is not None:
        said.append(f"a log line that holds {found.log_text!r}")
    for name, period in zip(PERIODS, (found.created, found.started, found.settled), strict=True):
        if period.from_s is not None:
            said.append(f"{name} since {_time(period.from_s)}")
        if period.to_s is not None:
            said.append(f"{name} before {_time(period.to_s)}")
    return said


def address(found: JobFilter) -> dict[str, str]:
    """The fields that name a filter; empty for one that an address cannot say, which has several types or states."""
    if len(found.types) > 1 or len(found.states) > 1:
        return {}
    fields = {
        "type": found.types[0] if found.types else "", "state": render.STATE_NAMES[next(iter(found.states))] if found.states else "",
        "instance": found.instance_id or "", "agent": found.agent or "", "fingerprint": found.fingerprint or "",
        "label": " ".join(f"{key}={value}" for key, value in found.labels), "log": found.log_text or "",
    }  # fmt: skip
    for name, period in zip(PERIODS, (found.created, found.started, found.settled), strict=True):
        for end, at in (("from", period.from_s), ("to", period.to_s)):
            fields[f"{name}_{end}"] = datetime.fromtimestamp(at, UTC).isoformat() if at is not None else ""
    return fields


def _time(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
