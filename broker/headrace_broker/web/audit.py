"""The audit: who changed what, when and why."""

from starlette.responses import Response

from headrace_broker.model.ids import MAX_ID
from headrace_broker.store.audit import AuditFilter
from headrace_broker.web.manager import Page, Visit, html
from headrace_broker.web.sessions import Role

PAGE = 50


async def page(visit: Visit) -> Response:
    """Rows of the domain, newest first."""
    before = visit.query("before")
    wanted = AuditFilter(visit.domain, actor=visit.query("actor") or None, action=visit.query("action") or None, target=visit.query("target") or None)
    found = await visit.services.audit.page(wanted, below=int(before) if before.isdigit() else MAX_ID, limit=PAGE)
    return html(
        visit, "audit.html", title="Audit", rows=found.rows, next=visit.address("/audit", actor=visit.query("actor"), action=visit.query("action"), target=visit.query("target"), before=str(found.next_below)) if found.next_below else "",
        actor=visit.query("actor"), action=visit.query("action"), target=visit.query("target"),
    )  # fmt: skip


PAGES: dict[str, Page] = {"/audit": page}
ACTIONS: dict[str, tuple[Role, Page]] = {}
