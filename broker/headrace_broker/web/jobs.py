"""The list of jobs, with its filters in the address, and the page of one job; requeue, abort and purge."""

import dataclasses
import functools
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.responses import Response

from headrace_broker.actions.explain import explain
from headrace_broker.actions.lists import JobLists
from headrace_broker.actions.reads import attempts
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import SETTLED
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.web import render
from headrace_broker.web.manager import Page, Visit, html

PAGE = 50
MOST_IDS = 1000
TABS = ("details", "log", "data")
ORDERS = {"newest": Order.NEWEST_FIRST, "oldest": Order.OLDEST_FIRST, "score": Order.SCORE}
FILTERS = (
    "type", "state", "instance", "agent", "fingerprint", "label", "log", "created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to",
    "order",
)  # fmt: skip
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def wanted(visit: Visit) -> tuple[JobFilter, Order]:
    """The filter and order that the address names. Raises InvalidField."""
    ask = visit.query
    names = {name: state for state, name in render.STATE_NAMES.items()}
    if ask("state") and ask("state") not in names:
        raise InvalidField("state", f"one of {', '.join(names)}")
    if (ask("order") or "newest") not in ORDERS:
        raise InvalidField("order", f"one of {', '.join(ORDERS)}")
    label, equals, value = ask("label").partition("=")
    if ask("label") and not (equals and label):
        raise InvalidField("label", "KEY=VALUE")
    periods = {name: Period(_time(f"{name}_from", ask(f"{name}_from")), _time(f"{name}_to", ask(f"{name}_to"))) for name in ("created", "started", "settled")}
    found = JobFilter(
        types=(ask("type"),) if ask("type") else (), states=frozenset({names[ask("state")]}) if ask("state") else frozenset(), instance_id=ask("instance") or None,
        agent=ask("agent") or None, fingerprint=ask("fingerprint") or None, labels=((label, value),) if label else (), log_text=ask("log") or None, **periods,
    )  # fmt: skip
    return found, ORDERS[ask("order") or "newest"]


async def page(visit: Visit) -> Response:
    """Jobs that match."""
    services, owner = visit.services, visit.owner
    lists = JobLists(owner, services.reads, services.finder)
    jobs_wanted, order = wanted(visit)
    after = tuple(int(part) for part in visit.query("after").split(".") if part.isdigit())
    found = await lists.page(visit.domain, jobs_wanted, order=order, limit=PAGE, after=after)
    counts = owner.counts(visit.domain)
    named = {name: by_state for name, by_state in counts.items() if not jobs_wanted.types or name in jobs_wanted.types}
    totals = {state: sum(by_state.get(state, 0) for by_state in named.values()) for state in render.STATE_NAMES}
    query = {name: visit.query(name) for name in FILTERS}
    values: dict[str, Any] = {
        "jobs": found.jobs, "complete": found.complete, "searched_until_s": found.searched_until_s, "totals": totals, "query": query,
        "link": functools.partial(_link, visit, query),
        "first": not after,
        "next": visit.address("/jobs", **query, after=".".join(map(str, found.next))) if found.next else "", "created_at_s": created_at_s,
        "types": [entry.name for entry in owner.types.of_domain(visit.domain)], "here": visit.address("/jobs", **query, after=visit.query("after")),
    }  # fmt: skip
    asked = {name for name, value in query.items() if value}
    narrowed = bool(asked - {"state", "type", "order", "instance", "log"})
    return html(visit, "jobs_rows.html" if visit.request.headers.get("hx-request") else "jobs.html", title="Jobs", narrowed=narrowed, asked=asked, **values)


async def one(visit: Visit) -> Response:
    """One job."""
    job_id = _job_id(visit.request.path_params["job_id"])
    tab = visit.query("tab") or "details"
    if tab not in TABS:
        raise InvalidField("tab", f"one of {', '.join(TABS)}")
    reads = visit.jobs
    job = await reads.get(job_id, visit.domain, full=tab == "data")
    values: dict[str, Any] = {
        "job": job, "row": job.row, "tab": tab, "tabs": TABS, "created_at_s": created_at_s(job_id), "settled": job.row.state in SETTLED,
        "delete_at": job.row.delete_minute * 60.0 if job.row.delete_minute is not None and job.row.state in SETTLED else None,
    }  # fmt: skip
    if tab == "details":
        _, events = await reads.events(job_id, visit.domain)
        entry = visit.owner.types.by_id[job.row.type_id]
        values |= {
            "why": (await explain(visit.owner, reads, job)).text,
            "events": events,
            "attempts": attempts(events),
            "entry": entry,
            "settings": dataclasses.asdict(entry.settings),
        }
    elif tab == "log":
        level = int(visit.query("level")) if visit.query("level") in ("1", "2", "3", "4") else 1
        after = [int(part) for part in visit.query("after").split(".") if part.isdigit()]
        lines = await reads.logs(job_id, visit.domain, lease_epoch=0, min_level=level, after=(after[0], after[1]) if len(after) == 2 else (0, 0), limit=500)
        text = visit.query("find").lower()
        values |= {"lines": [line for line in lines if text in line.text.lower()], "level": level, "find": visit.query("find"), "more": ""}
        if len(lines) == 500:
            values["more"] = visit.address(f"/jobs/{job_id}", tab="log", level=str(level), find=visit.query("find"), after=f"{lines[-1].lease_epoch}.{lines[-1].line_no}")
    else:
        values |= {"payload": render.content(job.row.payload, job.row.content_type), "result": render.content(job.row.result, job.row.content_type)}
    return html(visit, "job.html", title=f"Job {job_id}", **values)


async def requeue(visit: Visit) -> Response:
    """Starts new runs of the chosen jobs."""
    return await _change(visit, Verb.REQUEUE, "requeued", include_completed=visit.field("include_completed") == "true")


async def abort(visit: Visit) -> Response:
    """Ends the chosen jobs."""
    return await _change(visit, Verb.ABORT, "told to end", force=visit.field("force") == "true")


async def purge(visit: Visit) -> Response:
    """Deletes the chosen jobs."""
    return await _change(visit, Verb.PURGE, "deleted")


async def _change(visit: Visit, verb: Verb, word: str, **options: Any) -> Response:
    ids = [_job_id(str(value)) for value in (visit.form.getlist("job_id") if visit.form is not None else [])]
    if not ids:
        visit.session.tell("failed", "No job was chosen.")
        return visit.back("/jobs")
    if len(ids) > MOST_IDS:
        raise InvalidField("job_id", f"at most {MOST_IDS} jobs at a time")
    done = await changes.request(visit.owner, visit.services.ownership.heads, verb, ids, caller=visit.caller(), reason=visit.field("reason")[:1000], **options)
    refused = [change for change in done if change.error is not None]
    if len(done) > len(refused):
        count = len(done) - len(refused)
        visit.session.tell("done", f"{'Job ' + str(done[0].job_id) + ' was' if len(done) == 1 else f'{count:,} of {len(done):,} jobs were'} {word}.")
    for change in refused[:5]:
        visit.session.tell("failed", f"Job {change.job_id}: {change.error}")
    if len(refused) > 5:
        visit.session.tell("failed", f"... and {len(refused) - 5:,} more were refused.")
    return visit.back("/jobs")


def _link(visit: Visit, query: dict[str, str], **changed: str) -> str:
    """The list with some filters changed."""
    return visit.address("/jobs", **{**query, **changed})


def _job_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 1 << 63):
        raise InvalidField("job_id", "a positive number")
    return int(text)


def _time(field: str, text: str) -> float | None:
    """A date or time (UTC where it has no zone), or an age such as 15m."""
    if not text:
        return None
    if text[-1] in UNITS and text[:-1].replace(".", "", 1).isdigit():
        return (datetime.now(UTC) - timedelta(seconds=float(text[:-1]) * UNITS[text[-1]])).timestamp()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidField(field, f"2026-01-31, 2026-01-31T12:00, or an age such as 15m, 2h, 7d; found {text!r}") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


PAGES: dict[str, Page] = {"/jobs": page, "/jobs/{job_id}": one}
ACTIONS: dict[str, Page] = {"/job-requeue": requeue, "/job-abort": abort, "/job-purge": purge}
