"""The audit: who changed what, when and why."""

from datetime import datetime

from starlette.responses import Response

from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.store.audit import AuditFilter
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html

PAGE = 50


async def page(visit: Visit) -> Response:
    """Rows of the domain, newest first."""
    query = {name: visit.query(name) for name in ("actor", "action", "target")}
    wanted = AuditFilter(visit.domain, actor=query["actor"] or None, action=query["action"] or None, target=query["target"] or None)
    at, _, audit_id = visit.query("before").partition("/")
    below = (datetime.fromisoformat(at), int(audit_id)) if audit_id.isdigit() else None
    try:
        found = await visit.services.audit.page(wanted, below=below, limit=PAGE)
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database did not answer in time") from error
    next_ = "" if found.complete else visit.address("/audit", **query, before=f"{found.below[0].isoformat()}/{found.below[1]}")
    return html(visit, "audit.html", title="Audit", rows=found.rows, next=next_, query=query)


PAGES: dict[str, Page] = {"/audit": page}
ACTIONS: dict[str, Page] = {}
CHOICES: dict[str, Choices] = {}
