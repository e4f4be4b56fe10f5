"""A filter of jobs as JSON, as operations and saved filters are stored with it, and in words."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from headrace_broker.model.filter import JobFilter, Period
from headrace_broker.model.job import State

ALL = "all jobs"
PERIODS = ("created", "started", "settled")
BOUNDS = tuple(f"{period}_{end}" for period in PERIODS for end in ("from", "to"))


def stored_filter(wanted: JobFilter) -> dict[str, Any]:
    """The fields of a filter that narrow, as JSON."""
    found: dict[str, Any] = {}
    for item in fields(wanted):
        value = getattr(wanted, item.name)
        if value == item.default:
            continue
        if item.name in PERIODS:
            found |= {f"{item.name}_{end}": at_s for end, at_s in (("from", value.from_s), ("to", value.to_s)) if at_s is not None}
        elif item.name == "states":
            found["states"] = sorted(state.name.lower() for state in value)
        elif item.name == "labels":
            found["labels"] = dict(value)
        else:
            found[item.name] = list(value) if item.name == "types" else value
    return found


def read_filter(stored: Mapping[str, Any]) -> JobFilter:
    """The filter that `stored_filter` told."""
    return JobFilter(
        types=tuple(stored.get("types", ())), states=frozenset(State[name.upper()] for name in stored.get("states", ())), instance_id=stored.get("instance_id"),
        **{name: Period(stored.get(f"{name}_from"), stored.get(f"{name}_to")) for name in PERIODS}, agent=stored.get("agent"),
        fingerprint=stored.get("fingerprint"), labels=tuple(sorted(stored.get("labels", {}).items())), log_text=stored.get("log_text"),
    )  # fmt: skip


def described(wanted: JobFilter) -> str:
    """The filter in words, as the audit's target has it."""
    words = []
    for name, value in stored_filter(wanted).items():
        if name.startswith(PERIODS):
            value = datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
        elif name == "labels":
            value = ",".join(f"{key}={text}" for key, text in value.items())
        words.append(f"{name}={','.join(value) if isinstance(value, list) else value}")
    return " ".join(words) or ALL
