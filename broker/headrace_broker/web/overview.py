"""The first page: what waits, runs and fails now, and the last hour."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from headrace_broker.actions import reachable, statistics
from headrace_broker.actions.agents import serves, stuck
from headrace_broker.actions.reach import types_for
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.store.reads import AlertRow
from headrace_broker.web import parts
from headrace_broker.web.failing import Choices
from headrace_broker.web.statistics import outcome_chart
from headrace_broker.web.visit import Page, Visit

LOOKED_AT, MOST_GROUPS = 100, 8
"""Newest alerts that are looked at, and how many kinds of them are shown."""
SHOWN = (State.WAITING, State.PROCESSING, State.COMPLETED, State.ERROR, State.ABORTED)


async def page(visit: Visit) -> Response:
    """Counts, agents, the last hour, and the newest alerts. The page itself asks for counts and alerts all the time, for the hour (`?part=hour`), which is added up anew
    each time, once a minute."""
    if parts.follows(visit):
        if visit.query("part") == "hour":
            return parts.page(visit, "overview_hour", title="Overview", **await _hour(visit))
        return parts.page(visit, "overview", title="Overview", fragment=True, **await _now(visit))
    return parts.page(visit, "overview", title="Overview", fragment=False, **await _now(visit), **await _hour(visit))


async def _now(visit: Visit) -> dict[str, Any]:
    """From memory, but for the alerts."""
    owner = visit.owner
    counts, seen = reachable.counts(owner, visit.domain, Act.OVERSEE), types_for(Act.OVERSEE)
    agents = [s for s in owner.sessions() if s.facts.domain == visit.domain and serves(s, seen)]
    connected = [s for s in agents if s.stream is not None]
    alerts = await visit.jobs.alerts(visit.domain, below=1 << 62, limit=LOOKED_AT)  # of the types whose jobs the person may see
    return {
        "stuck": stuck(owner, visit.domain, counts),
        "totals": {state: sum(by_state.get(state, 0) for by_state in counts.values()) for state in SHOWN},
        "agents": len(connected), "slots": sum(s.slots for s in connected), "used": sum(len(s.leases) for s in connected),
        "alerts": [(alert, owner.types.by_id[alert.type_id].name, number) for alert, number in _alike(alerts)], "looked_at": len(alerts), "LOOKED_AT": LOOKED_AT,
    }  # fmt: skip


async def _hour(visit: Visit) -> dict[str, Any]:
    """From the stored statistics."""
    owner = visit.owner
    minute = int(owner.clock.now_s() // 60) + 1
    trend = await statistics.trend(visit.services.statistics, owner, visit.domain, from_minute=minute - 60, to_minute=minute, step=1)
    return {"bars": outcome_chart(trend.series[0]), "whole": trend.series[0].total(), "before": trend.before[0].total()}


def _alike(alerts: Sequence[AlertRow]) -> list[tuple[AlertRow, int]]:
    """The newest of those that are alike, and how many of them there are."""
    groups: dict[tuple[int, str, str], list[AlertRow]] = {}
    for alert in alerts:
        error = alert.error or {}
        groups.setdefault((alert.type_id, alert.kind, error.get("fingerprint") or error.get("code", "")), []).append(alert)
    return [(group[0], len(group)) for group in list(groups.values())[:MOST_GROUPS]]


PAGES: dict[str, Page] = {"/": page}
ACTIONS: dict[str, Page] = {}
CHOICES: dict[str, Choices] = {}
