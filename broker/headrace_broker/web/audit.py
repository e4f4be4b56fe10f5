"""The audit: who changed what, when and why."""

from datetime import UTC, datetime

from starlette.responses import Response

from headrace_broker.model.errors import DatabaseUnavailable, InvalidField
from headrace_broker.model.ids import MAX_ID
from headrace_broker.store.audit import AuditFilter
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.web import forms
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html

PAGE = 50


async def page(visit: Visit) -> Response:
    """Rows of the domain, newest first."""
    query = {name: forms.text(name, visit.query(name)) for name in ("actor", "action", "target")}
    wanted = AuditFilter(visit.domain, actor=query["actor"] or None, action=query["action"] or None, target=query["target"] or None)
    try:
        found = await visit.services.audit.page(wanted, below=_below(visit.query("before")), limit=PAGE)
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database did not answer in time") from error
    next_ = "" if found.complete else visit.address("/audit", **query, before=f"{found.below[0].isoformat()}/{found.below[1]}")
    return html(visit, "audit.html", title="Audit", rows=found.rows, next=next_, query=query)


def _below(text: str) -> tuple[datetime, int] | None:
    """Where a page begins; None: with the newest row. Raises InvalidField."""
    if not text:
        return None
    at, _, audit_id = text.partition("/")
    try:
        found = datetime.fromisoformat(at)
        found = (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
        return found, forms.whole("before", audit_id, 0, MAX_ID)
    except (ValueError, OverflowError):
        raise InvalidField("before", f"a time and a number, as the links of this page have them; found {text[:60]!r}") from None


PAGES: dict[str, Page] = {"/audit": page}
ACTIONS: dict[str, Page] = {}
CHOICES: dict[str, Choices] = {}
