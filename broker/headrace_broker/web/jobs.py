"""The list of jobs, with its filters in the address, and what is done to those chosen in it: a page says what it would do, then does it."""

import functools
from collections import Counter
from typing import Any

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions import changing, reachable
from headrace_broker.actions.lists import JobLists, JobPage
from headrace_broker.actions.reads import JobRead
from headrace_broker.model.amended import Update
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.shards.intents import Verb
from headrace_broker.web import filters, forms, parts, render, saved_filters
from headrace_broker.web.deeds import DEEDS, takes
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html

PAGE = 50
MOST_IDS = 1000
SHOWN = 20
"""Chosen jobs that are named before something is done to them."""
OPPOSITE = {Order.NEWEST_FIRST: Order.OLDEST_FIRST, Order.OLDEST_FIRST: Order.NEWEST_FIRST}
ALWAYS_SEEN = frozenset({"state", "type", "order", "instance", "log"})
"""Filters that are not folded away."""


async def page(visit: Visit) -> Response:
    """Jobs that match; the page of one whose id was typed."""
    if visit.query("job"):
        return RedirectResponse(visit.address(f"/jobs/{forms.job_id(visit.query('job'))}"), 303)
    owner, wanted, order = visit.owner, filters.wanted(visit.query), filters.order(visit.query)
    after = tuple(int(part) for part in visit.query("after").split(".") if part.isascii() and part.isdigit() and len(part) < 20)
    back = visit.query("dir") == "back" and order in OPPOSITE
    found = await JobLists(owner, visit.services.reads, visit.services.finder).page(
        visit.domain, wanted, order=OPPOSITE[order] if back else order, limit=PAGE, after=after
    )  # fmt: skip
    query = {name: visit.query(name) for name in (*filters.NAMES, "order")}
    link = functools.partial(_link, visit, query)
    if back and after and not found.next:  # the beginning: as a whole page
        return RedirectResponse(link(), 303)
    jobs = found.jobs[::-1] if back else found.jobs
    counts = {name: by_state for name, by_state in reachable.counts(owner, visit.domain, Act.VIEW).items() if not wanted.types or name in wanted.types}
    totals = {state: sum(by_state.get(state, 0) for by_state in counts.values()) for state in render.STATE_NAMES}
    asked = {name for name, value in query.items() if value}
    values: dict[str, Any] = {
        "saved": [] if parts.follows(visit) else await saved_filters.shown(visit), "may_share": bool(visit.rights.types(Act.OPERATE)),
        "operator": visit.may("/jobs-chosen"),
        "jobs": jobs, "query": query, "link": link, "asked": asked, "narrowed": bool(asked - ALWAYS_SEEN), "filtered": bool(asked - {"order"}),
        "first": not after and not back,
        "short": len(jobs) < PAGE and not found.complete, "searched_until_s": found.searched_until_s, "totals": totals if _only_types(wanted) else {},
        "matched": sum(totals[state] for state in wanted.wanted_states) if wanted.counted else None, "by_score": _only_types(wanted),
        "types": [entry.name for entry in reachable.entries(owner, visit.domain, Act.VIEW)], "here": link(seen="SEEN"), **_places(link, found, jobs, order, after, back),
    }  # fmt: skip
    return parts.page(visit, "jobs", title="Jobs", **values)


def _places(link: "functools.partial[str]", found: JobPage, jobs: list[JobRead], order: Order, after: tuple[int, ...], back: bool) -> dict[str, str]:
    """Addresses of the pages before and after, and of the last one; empty: there is none. A page is named by where it begins, so each costs the same."""
    on, opposite = ".".join(map(str, found.next)), OPPOSITE.get(order)
    before, next_ = "", ""
    if back:
        before = link(dir="back", after=on) if on else ""
        next_ = link(after=_beyond(jobs[-1], order)) if after and jobs else ""
    else:
        before = link(dir="back", after=_beyond(jobs[0], opposite)) if after and jobs and opposite is not None else ""
        next_ = link(after=on) if on else ""
    return {"before": before, "next": next_, "last": link(dir="back") if opposite is not None and next_ else ""}


def _beyond(job: JobRead, order: Order) -> str:
    """Where a search in this order goes on behind a job (see `search.Position`)."""
    return str(job.row.job_id if order is Order.NEWEST_FIRST else job.row.job_id + 1)


def _only_types(wanted: JobFilter) -> bool:
    return wanted == JobFilter(types=wanted.types, states=wanted.states)


async def chosen(visit: Visit) -> Response:
    """What a deed would do to the chosen jobs, and the form that does it."""
    ids = _ids(visit)
    deed = DEEDS.get(visit.field("deed"))
    if deed is None:
        raise InvalidField("deed", f"one of {', '.join(DEEDS)}")
    jobs = await visit.jobs.find(ids, visit.domain)
    if not jobs:
        visit.session.tell("failed", "No job was chosen.")
        return visit.back("/jobs")
    states = Counter(job.row.state for job in jobs)
    taking = sum(states[state] for state in takes(deed, include_completed=False))
    again = visit.request.headers.get("referer", "")
    return html(
        visit, "chosen.html", title=f"{deed.verb} {len(jobs)} jobs", deed=deed, jobs=jobs, shown=SHOWN, states=sorted(states.items()), taking=taking,
        completed=states[State.COMPLETED] if deed.name == "requeue" else 0, back=visit.local(again) or visit.address("/jobs"),
    )  # fmt: skip


async def requeue(visit: Visit) -> Response:
    """Starts new runs of the chosen jobs."""
    return await _change(visit, Verb.REQUEUE, "requeued", include_completed=visit.field("include_completed") == "true")


async def abort(visit: Visit) -> Response:
    """Ends the chosen jobs."""
    grace_s = forms.duration_s("grace", visit.field("grace") or "30", 86_400.0)
    return await _change(visit, Verb.ABORT, "told to end", force=visit.field("force") == "true", grace_s=grace_s)


async def purge(visit: Visit) -> Response:
    """Deletes the chosen jobs."""
    return await _change(visit, Verb.PURGE, "deleted")


async def priority(visit: Visit) -> Response:
    """Gives the chosen jobs another priority."""
    wanted = forms.whole("priority", visit.field("priority"), -forms.MAX_PRIORITY, forms.MAX_PRIORITY)
    return await _change(visit, Verb.UPDATE, f"given priority {wanted:,}", update=Update(priority=wanted))


async def hold(visit: Visit) -> Response:
    """Keeps the chosen jobs from being deleted."""
    return await _change(visit, Verb.UPDATE, "held", update=Update(hold=True))


async def release(visit: Visit) -> Response:
    """Takes that back."""
    return await _change(visit, Verb.UPDATE, "released", update=Update(hold=False))


async def _change(visit: Visit, verb: Verb, word: str, **options: Any) -> Response:
    ids = _ids(visit)
    if not ids:
        visit.session.tell("failed", "No job was chosen.")
        return visit.back("/jobs")
    reason = forms.reason(visit, required=False)
    done = await changing.change(visit.owner, visit.services.ownership.heads, verb, ids, caller=visit.caller(), reason=reason, **options)
    refused = [change for change in done if change.error is not None]
    if len(done) > len(refused):
        count = len(done) - len(refused)
        visit.session.tell("done", f"{'Job ' + str(done[0].job_id) + ' was' if len(done) == 1 else f'{count:,} of {len(done):,} jobs were'} {word}.")
    for change in refused[:5]:
        visit.session.tell("failed", f"Job {change.job_id}: {change.error}")
    if len(refused) > 5:
        visit.session.tell("failed", f"... and {len(refused) - 5:,} more were refused.")
    target = visit.local(visit.field("back"))
    return RedirectResponse(target, 303) if target else visit.back("/jobs")


def _ids(visit: Visit) -> list[int]:
    ids = [forms.job_id(str(value)) for value in (visit.form.getlist("job_id") if visit.form is not None else [])]
    if len(ids) > MOST_IDS:
        raise InvalidField("job_id", f"at most {MOST_IDS} jobs at a time")
    return ids


def _link(visit: Visit, query: dict[str, str], **changed: str) -> str:
    """The list with some filters changed."""
    return visit.address("/jobs", **{**query, **changed})


async def to_list(visit: Visit) -> Response:
    """Where a form was sent there is no page; a browser that comes back to it is led to the list."""
    return RedirectResponse(visit.address("/jobs"), 303)


PAGES: dict[str, Page] = {"/jobs": page, "/jobs-chosen": to_list}
ACTIONS: dict[str, Page] = {
    "/jobs-chosen": chosen, "/job-requeue": requeue, "/job-abort": abort, "/job-purge": purge, "/job-priority": priority, "/job-hold": hold, "/job-release": release,
}  # fmt: skip
CHOICES: dict[str, Choices] = {}
