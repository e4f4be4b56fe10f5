"""Filters of jobs as they stand in addresses and forms, and in words."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.model.saved_filter import Sought
from headrace_broker.model.stored_filter import BOUNDS, PERIODS
from headrace_broker.web import forms, render

ORDERS = {"newest": Order.NEWEST_FIRST, "oldest": Order.OLDEST_FIRST, "score": Order.SCORE}
NAMES = ("type", "state", "instance", "agent", "fingerprint", "label", "log", *BOUNDS)
"""Fields of a filter."""
Ask = Callable[[str], str]
"""The value of a field; empty when nothing is asked of it."""
STATES = {name: state for state, name in render.STATE_NAMES.items()}


def wanted(ask: Ask) -> JobFilter:
    """The filter that an address or form names, as of now. Raises InvalidField."""
    return _sought(ask).at(datetime.now(UTC).timestamp())


def sought(ask: Ask) -> Sought:
    """What an address or form looks for, and in which order; ages stay ages. Raises InvalidField."""
    return replace(_sought(ask), order=order(ask))


def _sought(ask: Ask) -> Sought:
    """`type` and `state` may be several with commas between them, `label` several KEY=VALUE with spaces."""
    for name in NAMES:
        forms.text(name, ask(name))
    types, states = _several(ask("type")), _several(ask("state"))
    if not STATES.keys() >= {*states}:
        raise InvalidField("state", f"one of {', '.join(STATES)}, or several with commas between them")
    ages = {bound: age_s for bound in BOUNDS if (age_s := forms.age_s(bound, ask(bound))) is not None}
    times = {bound: forms.time_s(bound, ask(bound)) if bound not in ages else None for bound in BOUNDS}
    wanted = JobFilter(
        types=types, states=frozenset(STATES[name] for name in states), instance_id=ask("instance") or None, agent=ask("agent") or None,
        fingerprint=ask("fingerprint") or None, labels=_labels(ask("label")), log_text=ask("log") or None,
        **{name: Period(times[f"{name}_from"], times[f"{name}_to"]) for name in PERIODS},
    )  # fmt: skip
    return Sought(wanted, ages)


def _several(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


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


def words(found: JobFilter, ages: Mapping[str, float] | None = None) -> list[str]:
    """The filter in words; empty: it takes all jobs. `ages`: its bounds that move along."""
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
    for bound, age_s in (ages or {}).items():
        name, _, end = bound.partition("_")
        said.append(f"{name} {'since' if end == 'from' else 'before'} {forms.age_text(age_s)} ago")
    return said


def address(found: JobFilter) -> dict[str, str]:
    """The fields that name a filter."""
    fields = {
        "type": ",".join(found.types), "state": ",".join(name for state, name in render.STATE_NAMES.items() if state in found.states),
        "instance": found.instance_id or "", "agent": found.agent or "", "fingerprint": found.fingerprint or "",
        "label": " ".join(f"{key}={value}" for key, value in found.labels), "log": found.log_text or "",
    }  # fmt: skip
    for name, period in zip(PERIODS, (found.created, found.started, found.settled), strict=True):
        for end, at in (("from", period.from_s), ("to", period.to_s)):
            fields[f"{name}_{end}"] = datetime.fromtimestamp(at, UTC).isoformat() if at is not None else ""
    return fields


def address_of(found: Sought) -> dict[str, str]:
    """The fields that name it, those that are said alone; empty: they cannot, since labels that have spaces or equals signs in them are not told apart there."""
    fields = {
        **address(found.wanted), **{bound: forms.age_text(age_s) for bound, age_s in found.ages.items()},
        "order": next(name for name, order in ORDERS.items() if order is found.order) if found.order is not Order.NEWEST_FIRST else "",
    }  # fmt: skip
    try:
        same = {*_labels(fields["label"])} == {*found.wanted.labels}
    except InvalidField:
        same = False
    return {name: text for name, text in fields.items() if text} if same else {}


def _time(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
