"""Job types: counts, agents, the last hour; the settings in force, where each comes from, and a form that changes them."""

import dataclasses
from enum import IntEnum

from starlette.responses import Response

from headrace_broker.actions import statistics
from headrace_broker.model import histogram
from headrace_broker.model import settings as model
from headrace_broker.model.errors import InvalidField, TypeNotFound
from headrace_broker.shards.types import TypeEntry
from headrace_broker.web.manager import Page, Visit, html


async def page(visit: Visit) -> Response:
    """All types of the domain."""
    owner = visit.owner
    counts = owner.counts(visit.domain)
    minute = int(owner.clock.now_s() // 60) + 1
    trend = await statistics.trend(visit.services.statistics, owner, visit.domain, from_minute=minute - 60, to_minute=minute, step=60, by="type")
    hour = {series.name: series.total() for series in trend.series}
    serving = {entry.type_id: sum(1 for s in owner.sessions() if s.stream is not None and entry.type_id in s.served) for entry in owner.types.of_domain(visit.domain)}
    rows = [(entry, counts.get(entry.name, {}), serving[entry.type_id], hour.get(entry.name)) for entry in owner.types.of_domain(visit.domain)]
    return html(visit, "types.html", title="Job types", types=rows, p=lambda counts: histogram.percentile_s(counts, 0.95))


async def one(visit: Visit) -> Response:
    """One type."""
    entry = _entry(visit)
    rows = []
    for field in dataclasses.fields(model.Settings):
        origin = "person" if field.name in entry.overrides else "code" if field.name in entry.declared else "default"
        rows.append((field.name, getattr(entry.settings, field.name), origin, field.default))
    return html(visit, "type.html", title=entry.name, entry=entry, counts=visit.owner.counts(visit.domain).get(entry.name, {}), settings=rows)


async def change(visit: Visit) -> Response:
    """Sets or takes back one setting."""
    entry, name, text = _entry(visit), visit.field("name"), visit.field("value")
    if visit.field("clear"):
        await visit.owner.types.override(entry, {}, [name], caller=visit.caller(), reason=visit.field("reason"))
        visit.session.tell("done", f"{name} of {entry.name} is what code or the default says again.")
    else:
        values = {name: _value(name, text)}
        model.check(values)
        await visit.owner.types.override(entry, values, [], caller=visit.caller(), reason=visit.field("reason"))
        visit.session.tell("done", f"{name} of {entry.name} is {text} now.")
    visit.owner.wake.set()
    return visit.back("/types")


async def pause(visit: Visit) -> Response:
    """Pauses or resumes a type."""
    entry, paused = _entry(visit), visit.field("paused") == "true"
    await visit.owner.types.override(entry, {"paused": paused}, [], caller=visit.caller(), reason=visit.field("reason"))
    visit.owner.wake.set()
    visit.session.tell("done", f"{entry.name} is paused: its jobs wait until it is resumed." if paused else f"{entry.name} runs again.")
    return visit.back("/types")


def _entry(visit: Visit) -> TypeEntry:
    name = visit.request.path_params["name"]
    entry = visit.owner.types.find(visit.domain, name)
    if entry is None:
        raise TypeNotFound(name)
    return entry


def _value(name: str, text: str) -> model.Value:
    """What a person typed, as the setting's type."""
    if name not in model.FIELDS:
        raise InvalidField(name, "there is no such setting")
    default = getattr(model.Settings(), name)
    if isinstance(default, IntEnum):
        if text.upper() not in type(default).__members__:
            raise InvalidField(name, f"one of {', '.join(member.lower() for member in type(default).__members__)}, found {text!r}")
        return int(type(default)[text.upper()])
    if name == "alert_channels":
        return text
    if name in (*model.TEXTS, "fairness_weights"):
        raise InvalidField(name, "`headrace types set` sets it: it is more than fits here")
    if text in ("true", "false"):
        return text == "true"
    try:
        return float(text) if name.endswith(("_s", "_factor", "_jitter")) else int(text)
    except ValueError:
        raise InvalidField(name, f"a number, found {text!r}") from None


PAGES: dict[str, Page] = {"/types": page, "/types/{name:path}": one}
ACTIONS: dict[str, Page] = {"/type-settings/{name:path}": change, "/type-pause/{name:path}": pause}
