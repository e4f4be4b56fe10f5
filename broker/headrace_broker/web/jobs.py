"""The list of jobs, with its filters in the address; requeue, abort and purge of those chosen there."""

import functools
from typing import Any

from starlette.responses import Response

from headrace_broker.actions.lists import JobLists
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.model.ids import created_at_s
from headrace_broker.shards import changes
from headrace_broker.shards.intents import Verb
from headrace_broker.web import forms, render
from headrace_broker.web.manager import Page, Visit, html
from headrace_broker.web.sessions import Role

PAGE = 50
MOST_IDS = 1000
ORDERS = {"newest": Order.NEWEST_FIRST, "oldest": Order.OLDEST_FIRST, "score": Order.SCORE}
FILTERS = (
    "type", "state", "instance", "agent", "fingerprint", "label", "log", "created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to",
    "order",
)  # fmt: skip


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
    periods = {
        name: Period(forms.time_s(f"{name}_from", ask(f"{name}_from")), forms.time_s(f"{name}_to", ask(f"{name}_to"))) for name in ("created", "started", "settled")
    }
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
    ids = [forms.job_id(str(value)) for value in (visit.form.getlist("job_id") if visit.form is not None else [])]
    if not ids:
        visit.session.tell("failed", "No job was chosen.")
        return visit.back("/jobs")
    if len(ids) > MOST_IDS:
        raise InvalidField("job_id", f"at most {MOST_IDS} jobs at a time")
    done = await changes.request(visit.owner, visit.services.ownership.heads, verb, ids, caller=visit.caller(), reason=forms.reason(visit, required=False), **options)
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


PAGES: dict[str, Page] = {"/jobs": page}
ACTIONS: dict[str, tuple[Role, Page]] = {"/job-requeue": (Role.OPERATOR, requeue), "/job-abort": (Role.OPERATOR, abort), "/job-purge": (Role.OPERATOR, purge)}
