"""Agents: who is connected, what they serve, how busy they are; drain and resume."""

from starlette.responses import Response

from headrace_broker.actions.agents import hold_back, serves
from headrace_broker.actions.reach import types_for
from headrace_broker.model.permissions import Act, Types
from headrace_broker.shards.session import Session
from headrace_broker.web import forms, parts
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit

MOST = 200
"""Agents of one page; a filter finds the others."""


async def page(visit: Visit) -> Response:
    """The agents of the domain that are connected, or awaited; those whose name, host or types hold a text."""
    owner, find, seen = visit.owner, visit.query("find").casefold(), types_for(Act.OVERSEE)
    manages, views = types_for(Act.MANAGE_AGENTS), types_for(Act.VIEW)
    all_ = sorted((s for s in owner.sessions() if s.facts.domain == visit.domain and serves(s, seen)), key=lambda s: (s.facts.name, s.facts.incarnation_id))
    found = [s for s in all_ if not find or any(find in text.casefold() for text in _texts(s, seen))]
    connected = [s for s in all_ if s.stream is not None]
    return parts.page(
        visit, "agents", title="Agents", agents=[(s, max(0.0, owner.silent_s(s))) for s in found[:MOST]], found=len(found), total=len(all_), most=MOST,
        find=visit.query("find"), connected=len(connected), slots=sum(s.slots for s in connected), used=sum(len(s.leases) for s in connected),
        late_s=owner.limits.lease_s / 2, pauses=owner.types.look(visit.domain).pauses, seen=seen, views=views,
        held={s.facts.incarnation_id: all(manages.allow(served.entry.name) for served in s.served.values()) for s in found[:MOST]}, manages=bool(manages),
    )  # fmt: skip


async def drain(visit: Visit) -> Response:
    """Has an agent finish what it has and take nothing more."""
    name, running = await _hold_back(visit, held_back=True)
    visit.session.tell("done", f"Agent {name} is drained: it finishes the {running:,} jobs that it has and is granted no more.")
    return visit.back("/agents")


async def resume(visit: Visit) -> Response:
    """Lets it go on."""
    name, _ = await _hold_back(visit, held_back=False)
    visit.session.tell("done", f"Agent {name} is granted jobs again.")
    return visit.back("/agents")


async def _hold_back(visit: Visit, *, held_back: bool) -> tuple[str, int]:
    """(its name, how many jobs it has)."""
    agent = forms.text("agent", visit.field("agent"))
    found = await hold_back(visit.owner, visit.services.audit, agent, held_back=held_back, caller=visit.caller(), reason=forms.reason(visit))
    return found[0].facts.name, sum(len(session.leases) for session in found)


def _texts(session: Session, seen: Types) -> list[str]:
    facts = session.facts
    return [facts.name, facts.incarnation_id, facts.host, facts.build, *(served.entry.name for served in session.served.values() if seen.allow(served.entry.name))]


PAGES: dict[str, Page] = {"/agents": page}
ACTIONS: dict[str, Page] = {"/agent-drain": drain, "/agent-resume": resume}
CHOICES: dict[str, Choices] = {}
