"""Agents: who is connected, what they serve, how busy they are; drain and resume."""

from starlette.responses import Response

from headrace_broker.web.manager import Page, Visit, html


async def page(visit: Visit) -> Response:
    """All agents of the domain that are connected, or awaited."""
    owner = visit.owner
    sessions = sorted((s for s in owner.sessions() if s.facts.domain == visit.domain), key=lambda s: (s.facts.name, s.facts.incarnation_id))
    return html(visit, "agents.html", title="Agents", agents=[(s, owner.silent_s(s)) for s in sessions])


PAGES: dict[str, Page] = {"/agents": page}
ACTIONS: dict[str, Page] = {}
