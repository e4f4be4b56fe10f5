"""The page of one job: its head, what can be done to it, and four tabs (details, log, data, graph). `job_changes` does what its forms ask for."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from headrace_broker.actions.explain import explain
from headrace_broker.actions.reach import secrets, types_for
from headrace_broker.actions.reads import JobRead, answered, attempts
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import SETTLED, State
from headrace_broker.model.permissions import Act
from headrace_broker.model.redaction import masked_labels
from headrace_broker.shards.owner import Owner
from headrace_broker.store.audit import AuditFilter
from headrace_broker.web import forms, job_data, job_graph, job_log, parts
from headrace_broker.web.failing import Choices
from headrace_broker.web.timeline import abort_told, timeline
from headrace_broker.web.types import setting_rows
from headrace_broker.web.visit import Page, Visit

MOST_RUNS = 20
MOST_AUDIT = 20
LIVE = ("details", "log", "graph")
"""Tabs that follow the job."""


async def page(visit: Visit) -> Response:
    """One job, or (asked for by the page itself) the part of it that follows the job."""
    return await show(visit, forms.job_id(visit.request.path_params["job_id"]), visit.query("tab") or "details")


async def show(visit: Visit, job_id: int, tab: str, *, draft: str = "", problem: str = "") -> Response:
    """The page; with what somebody typed as a payload, and why it was not taken."""
    if tab not in TABS:
        raise InvalidField("tab", f"one of {', '.join(TABS)}")
    job = await visit.jobs.get(job_id, visit.domain, full=tab == "data")
    row = job.row
    secret = tuple(secrets(job.type))
    fragment = parts.follows(visit)
    can = {str(act): types_for(act).allow(job.type) for act in (Act.REQUEUE, Act.ABORT, Act.UPDATE, Act.PURGE)}
    values: dict[str, Any] = {
        "job": job, "row": row, "tab": tab, "tabs": TABS, "live": tab in LIVE, "created_at_s": created_at_s(job_id), "settled": row.state in SETTLED,
        "delete_at": row.delete_minute * 60.0 if row.delete_minute is not None and row.state in SETTLED else None, "held": row.amended is not None and row.amended.hold,
        "kept_s": row.amended.delete_after_s if row.amended is not None else None, "draft": draft, "problem": problem, "fragment": fragment,
        "moved": fragment and visit.query("was") != row.state.name.lower(), "aborting": row.state is State.PROCESSING and row.abort is not None,
        "labels": list(masked_labels(row.labels, secret).items()),
        "address": functools.partial(visit.address, f"/jobs/{job_id}"), "entry": visit.owner.types.by_id[row.type_id],
        "can": can, "operator": any(can.values()),
    }  # fmt: skip
    return parts.page(visit, "job", title=f"Job {job_id}", **values, **await TABS[tab](visit, job, secret))


async def _details(visit: Visit, job: JobRead, secret: tuple[str, ...]) -> dict[str, Any]:
    reads, owner, job_id = visit.jobs, visit.owner, job.row.job_id
    _, events = await reads.events(job_id, visit.domain)
    _, runs = await reads.runs(job_id, visit.domain, full=False, limit=MOST_RUNS)
    done = None
    if visit.may("/audit"):
        done = (await answered(visit.services.audit.page(AuditFilter(visit.domain, target=f"job/{job_id}"), below=None, limit=MOST_AUDIT))).rows
    settings = setting_rows(owner.types.by_id[job.row.type_id])
    return {
        "why": await explain(owner, reads, job), "timeline": timeline(events, secret), "attempts": attempts(events)[::-1], "runs": runs[::-1], "audit": done,
        "abort": abort_told(job.row.abort), "settings": [row for row in settings if row[2] != "default"], "defaults": [row for row in settings if row[2] == "default"],
        "lease": _lease(owner, job),
    }  # fmt: skip


def _lease(owner: Owner, job: JobRead) -> str:
    """Who holds the lease, and how fresh it is."""
    live = owner.live(job.row.job_id)
    if job.row.state is not State.PROCESSING or live is None:
        return ""
    if live.session is None:
        return f"claimed by nobody since this broker took over; given back in {max(0.0, live.lease_end - owner.now()):.0f} s unless its agent comes back"
    silent, lease_s = owner.silent_s(live.session), owner.limits.lease_s
    return f"{live.session.facts.name} ({live.session.facts.incarnation_id[:8]}) was heard {max(0.0, silent):.1f} s ago; it ends {lease_s:g} s after the last renewal"


Tab = Callable[[Visit, JobRead, tuple[str, ...]], Awaitable[dict[str, Any]]]
TABS: dict[str, Tab] = {"details": _details, "log": job_log.values, "data": job_data.values, "graph": job_graph.values}
PAGES: dict[str, Page] = {"/jobs/{job_id}": page, "/jobs/{job_id}/tail": job_log.tail}
ACTIONS: dict[str, Page] = {}
CHOICES: dict[str, Choices] = {}
