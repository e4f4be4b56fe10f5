"""Job types: counts, agents, rates; of each one its percentiles, recent errors and settings, with a form that says what a change does before it is made."""

import dataclasses
from enum import IntEnum

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions import reachable, statistics
from headrace_broker.actions.agents import serving
from headrace_broker.actions.error_groups import ErrorGroups, error_groups
from headrace_broker.actions.reach import require, types_for
from headrace_broker.model import histogram
from headrace_broker.model import settings as model
from headrace_broker.model.errors import BrokerError, InvalidField, TypeNotFound
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.shards.types import TypeEntry
from headrace_broker.web import forms, parts, render
from headrace_broker.web.addresses import under
from headrace_broker.web.effects import effects
from headrace_broker.web.failing import Choices
from headrace_broker.web.setting_words import WORDS
from headrace_broker.web.statistics import outcome_chart
from headrace_broker.web.visit import Page, Visit, html

SHARES = ((0.5, "half"), (0.95, "95 %"), (0.99, "99 %"))


async def page(visit: Visit) -> Response:
    """All types of the domain."""
    owner = visit.owner
    counts, entries = reachable.counts(owner, visit.domain, Act.OVERSEE), reachable.entries(owner, visit.domain, Act.OVERSEE)
    hour = await statistics.lately(visit.services.statistics, owner, visit.domain, 60)
    agents = serving(owner)
    rows = [(entry, counts.get(entry.name, {}), agents[entry.type_id], hour.get(entry.name)) for entry in entries]
    breakers = any(entry.breaker is not None for entry in entries)
    return parts.page(visit, "types", title="Job types", types=rows, breakers=breakers, p=histogram.percentile_s)


async def one(visit: Visit) -> Response:
    """One type."""
    entry, owner = _entry(visit), visit.owner
    minute = int(owner.clock.now_s() // 60) + 1
    day = await statistics.trend(visit.services.statistics, owner, visit.domain, types=[entry.name], from_minute=minute - 1440, to_minute=minute, step=15)
    hour = (await statistics.lately(visit.services.statistics, owner, visit.domain, 60, types=[entry.name])).get(entry.name) or statistics.Point(minute - 60, 60)
    errors, problem = await _errors(visit, entry)
    able = [s for s in owner.sessions() if s.stream is not None and entry.type_id in s.served]
    periods = [("last hour", hour, 60), ("last 24 h", day.series[0].total(), 1440), ("24 h a week before", day.before[0].total(), 1440)]
    return html(
        visit, "type.html", title=entry.name, entry=entry, counts=owner.counts(visit.domain).get(entry.name, {}), settings=setting_rows(entry), periods=periods,
        bars=outcome_chart(day.series[0]), shares=SHARES, p=histogram.percentile_s, errors=errors, problem=problem,
        agents=len(able), slots=sum(s.served[entry.type_id].slots or s.slots for s in able), running=owner.caps.running(owner, entry),
        words=WORDS, choices=model.choices, changes=types_for(Act.EDIT_SETTINGS).allow(entry.name), breaker=owner.breakers.standing(entry),
    )  # fmt: skip


async def _errors(visit: Visit, entry: TypeEntry) -> tuple[ErrorGroups | None, str]:
    """(its errors; why they are not told, if so)."""
    if not types_for(Act.VIEW).allow(entry.name):
        return None, "You may see this type, and not its jobs."
    try:
        return await error_groups(visit.owner, visit.services.finder, entry), ""
    except BrokerError as error:  # such as searches that have no turn: the rest of the page is there
        return None, f"They cannot be told now: {error}"


def setting_rows(entry: TypeEntry) -> list[tuple[str, str, str, str]]:
    """(name, what is in force, where it comes from, default) of each setting, as texts; the origin is person, code or default."""
    rows = []
    for field in dataclasses.fields(model.Settings):
        origin = "person" if field.name in entry.overrides else "code" if field.name in entry.declared else "default"
        rows.append((field.name, shown(field.name, getattr(entry.settings, field.name)), origin, shown(field.name, field.default)))
    return rows


def shown(name: str, value: object) -> str:
    """A setting's value as people read it."""
    if value is None:
        return "never" if name.startswith("delete") else render.NOTHING
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, float):
        return f"{value:,.10g}" + (f" ({render.span_s(value)})" if name.endswith("_s") and value >= 120 else "")
    return f"{value:,}" if isinstance(value, int) else str(value)


async def preview(visit: Visit) -> Response:
    """What a change would do, and the form that makes it."""
    entry, name, text, clear = _entry(visit), visit.query("name"), visit.query("value"), bool(visit.query("clear"))
    if name not in model.FIELDS:
        raise InvalidField("name", "there is no such setting")
    values = {} if clear else {name: _value(name, text)}
    model.check(values)
    then = model.effective({key: value for key, value in entry.overrides.items() if key != name} | values, entry.declared)
    return html(
        visit, "type_preview.html", title=f"{name} of {entry.name}", entry=entry, name=name, value=text, clear=clear, now=shown(name, getattr(entry.settings, name)),
        then=shown(name, getattr(then, name)), words=WORDS[name], effects=effects(visit.owner, entry, values, [name] if clear else []),
        changes=types_for(Act.EDIT_SETTINGS).allow(entry.name),
    )  # fmt: skip


async def change(visit: Visit) -> Response:
    """Sets or takes back one setting."""
    entry, name, text, clear = _entry(visit), visit.field("name"), visit.field("value"), bool(visit.field("clear"))
    if name not in model.FIELDS:
        raise InvalidField("name", "there is no such setting")
    values = {} if clear else {name: _value(name, text)}
    model.check(values)
    await _override(visit, entry, values, [name] if clear else [])
    visit.session.tell("done", f"{name} of {entry.name} is {'what code or the default says again' if clear else f'{text} now'}.")
    return RedirectResponse(visit.address(under(entry.name, "/types")), 303)


async def pause(visit: Visit) -> Response:
    """Pauses or resumes a type."""
    entry, paused = _entry(visit), visit.field("paused") == "true"
    await _override(visit, entry, {"paused": paused}, [])
    visit.session.tell("done", f"{entry.name} is paused: its jobs wait until it is resumed." if paused else f"{entry.name} runs again.")
    return visit.back("/types")


async def close(visit: Visit) -> Response:
    """Closes the breaker of a type by hand."""
    entry = _entry(visit)
    require(Act.EDIT_SETTINGS, entry.name)
    store, reason = visit.services.ownership.breaker_store, forms.reason(visit, required=False)
    closed = await visit.owner.breakers.close(store, entry, caller=visit.caller(), reason=reason)
    visit.session.tell("done", f"The breaker of {entry.name} is closed: its jobs are granted again." if closed else f"The breaker of {entry.name} was closed already.")
    return visit.back("/types")


async def _override(visit: Visit, entry: TypeEntry, values: dict[str, model.Value], clear: list[str]) -> None:
    """As SetJobType does it."""
    owner = visit.owner
    require(Act.EDIT_SETTINGS, entry.name)
    await owner.types.override(entry, values, clear, caller=visit.caller(), reason=forms.reason(visit, required=False))
    owner.breakers.review()
    owner.wake.set()
    if "priority" in values or "priority" in clear:
        visit.services.ownership.rescores.type(entry, owner.counts(entry.domain).get(entry.name, {}).get(State.WAITING, 0))


def _entry(visit: Visit) -> TypeEntry:
    name = visit.request.path_params["name"]
    entry = visit.owner.types.find(visit.domain, name)
    if entry is None or not types_for(Act.OVERSEE).allow(name):
        raise TypeNotFound(name)
    return entry


def _value(name: str, text: str) -> model.Value:
    """What a person typed, as the setting's type."""
    if name not in model.FIELDS:
        raise InvalidField(name, "there is no such setting")
    default, known = getattr(model.Settings(), name), model.choices(name)
    if known and text.lower() not in known:
        raise InvalidField(name, f"{' or '.join(known)}, found {text[:50]!r}")
    if isinstance(default, bool):
        return text.lower() == "true"
    if isinstance(default, IntEnum):
        return int(type(default)[text.upper()])
    if name == "alert_channels":
        return text
    if name in (*model.TEXTS, "fairness_weights"):
        raise InvalidField(name, "`headrace types set` sets it: it is more than fits here")
    if name.endswith("_s") and forms.has_unit(text):
        return forms.duration_s(name, text)
    try:
        return float(text) if name.endswith(("_s", "_factor", "_jitter", "_share")) else int(text)
    except ValueError:
        raise InvalidField(name, f"a {'duration such as 90, 15m, 2h or 7d' if name.endswith('_s') else 'number'}, found {text[:50]!r}") from None


PAGES: dict[str, Page] = {"/types": page, "/types/{name:path}": one, "/type-preview/{name:path}": preview}
ACTIONS: dict[str, Page] = {"/type-settings/{name:path}": change, "/type-pause/{name:path}": pause, "/type-breaker/{name:path}": close}
CHOICES: dict[str, Choices] = {}
