"""Schedules: when each ticks next and what became of the last tick; pause, run now, and a form that shows the next ticks while it is typed."""

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions.reach import secrets, types_for
from headrace_broker.actions.reads import JobReads
from headrace_broker.actions.schedules import ScheduleActions, check
from headrace_broker.model.errors import InvalidField, PayloadRefused, TypeDenied
from headrace_broker.model.fields import MAX_REASON, text, type_name
from headrace_broker.model.permissions import Act
from headrace_broker.model.redaction import masked_labels, parse, written
from headrace_broker.model.schedule import Schedule, Spec, When
from headrace_broker.web import forms
from headrace_broker.web.addresses import under
from headrace_broker.web.documents import pretty
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html

PAGE = 50
OVERLAP_TEXT = {
    "allow": "make the next job all the same",
    "skip": "leave the tick out",
    "queue": "make the job once the one before has ended",
    "abort": "make the job, and abort the one before",
}
MISSED_TEXT = {"skip": "none", "once": "the newest one", "all": "the newest ones, up to"}
FIELDS = (
    "name", "type", "kind", "cron", "time_zone", "interval", "anchor", "at", "start_at", "end_at", "data", "instance_id", "priority", "labels", "overlap", "missed",
    "max_missed", "jitter",
)  # fmt: skip
GOOD = {**dict.fromkeys(FIELDS, ""), "name": "s", "type": "t", "kind": "cron", "cron": "* * * * *", "interval": "1 d", "at": "2090-01-01"}
"""Values against which nobody has anything."""
PARTS = {"interval": "interval", "payload": "data", "when": "kind", "jitter": "jitter"}
"""Fields of a spec whose names in the form are others."""


def actions(visit: Visit) -> ScheduleActions:
    """What the calls do too."""
    return ScheduleActions(visit.services.ownership, visit.services.payload_limit)


async def page(visit: Visit) -> Response:
    """The schedules of the domain, by name, a page at a time."""
    find, after = visit.query("find").lower(), visit.query("after")
    every = sorted(actions(visit).of_domain(visit.domain), key=lambda s: s.name)
    found = [s for s in every if s.name > after and (not find or find in s.name.lower() or find in s.spec.type.lower())]
    shown = found[:PAGE]
    job_ids = [s.last_job_id for s in shown if s.last_job_id is not None]
    jobs = {job.row.job_id: job for job in await JobReads(visit.owner, visit.services.reads).find(job_ids, visit.domain)} if job_ids else {}
    following = visit.address("/schedules", find=find, after=shown[-1].name) if len(found) > PAGE else ""
    rows = [(s, when_text(s.spec.when), jobs.get(s.last_job_id or 0)) for s in shown]
    manages = types_for(Act.MANAGE_SCHEDULES)
    return html(visit, "schedules.html", title="Schedules", rows=rows, find=find, next=following, first=not after, count=len(every), manages=manages)


async def one(visit: Visit) -> Response:
    """One schedule."""
    found = await actions(visit).view(visit.domain, visit.request.path_params["name"])
    manages, type_ = types_for(Act.MANAGE_SCHEDULES), found.schedule.spec.type
    changes = manages.allow(type_) and types_for(Act.VIEW_DATA).allow(type_) and not secrets(type_)  # the form shows the payload
    job_ids = [fire.job_id for fire in found.fires if fire.job_id is not None]
    jobs = {job.row.job_id: job for job in await visit.jobs.find(job_ids, visit.domain)} if job_ids else {}
    return html(
        visit, "schedule.html", title=found.schedule.name, schedule=found.schedule, spec=found.schedule.spec, when=when_text(found.schedule.spec.when), next=found.next,
        fires=[(fire, jobs.get(fire.job_id or 0)) for fire in found.fires], overlaps=OVERLAP_TEXT, missed=MISSED_TEXT,
        manages=manages, changes=changes, labels=masked_labels(found.schedule.spec.labels or {}, secrets(found.schedule.spec.type)),
    )  # fmt: skip


async def new(visit: Visit) -> Response:
    """The form: empty, or with what a schedule says now (`?name=`)."""
    name, nothing = visit.query("name"), {**dict.fromkeys(FIELDS, ""), "kind": "cron", "time_zone": "UTC", "type": visit.query("type")}
    values = values_of(actions(visit).find(visit.domain, name)) if name else nothing
    return _form(visit, values, known=bool(name))


async def preview(visit: Visit) -> Response:
    """The next ticks of what is typed; a part of the form."""
    try:
        ticks, wrong = actions(visit).preview(when_of(_sent(visit))), ""
    except InvalidField as error:
        ticks, wrong = [], _said(error)[1]
    return html(visit, "schedule_preview.html", ticks=ticks, wrong=wrong, zone=_sent(visit)["time_zone"])


async def put(visit: Visit) -> Response:
    """Makes or changes a schedule; the form comes back with what is wrong."""
    values = _sent(visit)
    known = visit.field("known") == "true"
    wrong = problems(values, visit.services.payload_limit)
    if wrong:
        return _form(visit, values, known=known, wrong=wrong, status=400)
    try:
        name, spec = values["name"], spec_of(values)
        before = visit.owner.schedules.find(visit.domain, name)
        if before is not None and not known:
            raise InvalidField("name", "there is one of this name already; open it to change it")
        if before is not None:
            spec = replace(spec, content_type=before.spec.content_type)  # which the form does not have
        _, changed = await actions(visit).put(name, spec, caller=visit.caller(), reason=text("reason", visit.field("reason"), MAX_REASON))
    except (InvalidField, PayloadRefused) as error:
        field, said = _said(error)
        return _form(visit, values, known=known, wrong={field: said}, status=400)
    visit.session.tell("done", f"Schedule {name} is stored." if changed else f"Schedule {name} says so already; nothing was changed.")
    return _to(visit, name)


async def pause(visit: Visit) -> Response:
    """No tick until it is resumed."""
    schedule = await actions(visit).pause(_name(visit), True, caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"{schedule.name} is paused: it makes no job until it is resumed.")
    return visit.back("/schedules")


async def resume(visit: Visit) -> Response:
    """Goes on with the first tick after now."""
    schedule = await actions(visit).pause(_name(visit), False, caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"{schedule.name} goes on.")
    return visit.back("/schedules")


async def run(visit: Visit) -> Response:
    """Makes a job now."""
    job_id = await actions(visit).run(_name(visit), text("request_id", visit.field("request_id")) or uuid.uuid4().hex, caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"{_name(visit)} has made job {job_id}.")
    return visit.back("/schedules")


async def delete(visit: Visit) -> Response:
    """Ends a schedule; its jobs stay."""
    await actions(visit).delete(_name(visit), caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"Schedule {_name(visit)} is deleted; the jobs that it made stay.")
    return _to(visit, "")


def when_text(when: When) -> str:
    """When it ticks, in a line."""
    if when.cron is not None:
        return f"{when.cron} {when.time_zone}"
    if when.interval_s is not None:
        return f"every {_interval(when.interval_s)}"
    return f"once, {_instant(when.at).replace('T', ' ')}"


def when_of(values: Mapping[str, str]) -> When:
    """The times that the form says. Raises InvalidField."""
    kind = values["kind"]
    if kind not in ("cron", "interval", "at"):
        raise InvalidField("spec.when", "one of cron, interval and at must be set")
    if not values[kind]:
        raise InvalidField(f"spec.{kind}", {"cron": "five fields, such as 30 2 * * *", "interval": "such as 90 s, 15 min, 2 h", "at": "a time"}[kind])
    interval_s = forms.duration_s("spec.interval", values["interval"]) if kind == "interval" else None
    if interval_s is not None and (interval_s < 1 or interval_s % 1):
        raise InvalidField("spec.interval", f"a whole number of seconds, one at least; found {interval_s:g} s")
    return When(
        text("spec.cron", values["cron"]) if kind == "cron" else None, values["time_zone"] or "UTC", int(interval_s) if interval_s is not None else None,
        _time("anchor", values) if kind == "interval" else None, _time("at", values) if kind == "at" else None, _time("start_at", values), _time("end_at", values),
    )  # fmt: skip


def spec_of(values: Mapping[str, str]) -> Spec:
    """What the form says. Raises InvalidField."""
    labels: dict[str, str] = {}
    for line in filter(None, map(str.strip, values["labels"].splitlines())):
        key, equals, value = line.partition("=")
        if not equals:
            raise InvalidField("spec.labels", f"KEY=VALUE, one a line; found {line[:60]!r}")
        labels[key] = value
    return Spec(
        when_of(values), values["type"], _payload(values["data"]), "", values["instance_id"], _whole("spec.priority", values["priority"], 0), labels,
        values["overlap"] or "allow", values["missed"] or "once", _whole("spec.max_missed", values["max_missed"], 10),
        forms.duration_s("spec.jitter", values["jitter"] or "0"),
    )  # fmt: skip


def problems(values: Mapping[str, str], payload_limit: int) -> dict[str, str]:
    """What is wrong with a form, by its fields: each is told, and then taken for one that is good."""
    wrong: dict[str, str] = {}
    tried = dict(values)
    while True:
        try:
            type_name("name", tried["name"])
            check(spec_of(tried), payload_limit)
            return wrong
        except InvalidField as error:
            field, said = _said(error)
            if field in wrong or field not in GOOD:
                return {**wrong, field: wrong.get(field, said)}
            wrong[field] = said
            tried |= {field: GOOD[field]} | ({"cron": GOOD["cron"]} if field == "kind" else {})


def values_of(schedule: Schedule) -> dict[str, str]:
    """What the form holds for a schedule."""
    spec, when = schedule.spec, schedule.spec.when
    kind = "cron" if when.cron is not None else "interval" if when.interval_s is not None else "at"
    if not types_for(Act.VIEW_DATA).allow(spec.type) or secrets(spec.type):
        raise TypeDenied(Act.VIEW_SECRETS, spec.type, "payload")
    try:
        data, whole = pretty(parse(spec.payload or b"null"))
        data = data if whole else spec.payload.decode()
    except (ValueError, RecursionError):
        raise InvalidField("payload", "it is not JSON, which this form cannot change: `headrace schedules put` can") from None
    return {
        "name": schedule.name, "type": spec.type, "kind": kind, "cron": when.cron or "", "time_zone": when.time_zone,
        "interval": _interval(when.interval_s) if when.interval_s is not None else "", "data": "" if data == "null" else data, "instance_id": spec.instance_id,
        **{name: _instant(getattr(when, name)) for name in ("anchor", "at", "start_at", "end_at")}, "priority": str(spec.priority) if spec.priority else "",
        "labels": "\n".join(f"{key}={value}" for key, value in (spec.labels or {}).items()), "overlap": spec.overlap, "missed": spec.missed,
        "max_missed": str(spec.max_missed), "jitter": f"{spec.jitter_s:g} s" if spec.jitter_s else "",
    }  # fmt: skip


def _form(visit: Visit, values: Mapping[str, str], *, known: bool, wrong: Mapping[str, str] | None = None, status: int = 200) -> Response:
    types = [entry.name for entry in visit.owner.types.of_domain(visit.domain)][:1000]
    unknown = {field: said for field, said in (wrong or {}).items() if field not in FIELDS}
    try:
        ticks = actions(visit).preview(when_of(values))
    except InvalidField:
        ticks = []
    title = f"Change {values['name']}" if known else "New schedule"
    return html(
        visit, "schedule_form.html", status=status, title=title, values=values, known=known, wrong=wrong or {}, unknown=unknown, types=types, overlaps=OVERLAP_TEXT,
        missed=MISSED_TEXT, ticks=ticks, zone=values["time_zone"],
    )  # fmt: skip


def _sent(visit: Visit) -> dict[str, str]:
    return {name: visit.field(name) for name in FIELDS}


def _said(error: InvalidField) -> tuple[str, str]:
    """(the field of the form, what is wrong with it)."""
    field = error.field.removeprefix("spec.").partition("[")[0].partition("/")[0]
    return PARTS.get(field, field), str(error).partition(": ")[2]


def _name(visit: Visit) -> str:
    return type_name("name", visit.request.path_params["name"])


def _reason(visit: Visit) -> str:
    return text("reason", visit.field("reason"), MAX_REASON)


def _to(visit: Visit, name: str) -> Response:
    return RedirectResponse(visit.address(under(name, "/schedules") if name else "/schedules"), 303)


def _payload(typed: str) -> bytes:
    """JSON that somebody typed, without its spaces; every number stands as it was written. Nothing typed is null."""
    data = typed.strip().encode() or b"null"
    forms.check_json("payload", data)
    try:
        return written(parse(data)).encode()
    except RecursionError:
        raise InvalidField("payload", "it is nested too deep") from None


def _whole(field: str, value: str, default: int) -> int:
    if not value:
        return default
    try:
        return int(value)
    except ValueError:
        raise InvalidField(field, f"a whole number, found {value[:60]!r}") from None


def _interval(seconds: int) -> str:
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _time(name: str, values: Mapping[str, str]) -> datetime | None:
    value = values[name]
    if not value:
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidField(f"spec.{name}", f"such as 2026-01-31T12:00 (UTC) or 2026-01-31T12:00+01:00; found {value[:60]!r}") from None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        at = datetime.min.replace(tzinfo=UTC)
    if not 1970 <= at.year <= 9999:
        raise InvalidField(f"spec.{name}", "a time between the years 1970 and 9999")
    return at


def _instant(at: Any) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(at, datetime) else ""


PAGES: dict[str, Page] = {"/schedules": page, "/schedules/{name:path}": one, "/schedule-new": new}
ACTIONS: dict[str, Page] = {
    "/schedule-preview": preview, "/schedule-put": put, "/schedule-pause/{name:path}": pause, "/schedule-resume/{name:path}": resume, "/schedule-run/{name:path}": run,
    "/schedule-delete/{name:path}": delete,
}  # fmt: skip
CHOICES: dict[str, Choices] = {
    "/schedule-put": {"overlap": OVERLAP_TEXT, "missed": MISSED_TEXT, "kind": {"cron": "calendar (cron)", "interval": "interval", "at": "once"}}
}
