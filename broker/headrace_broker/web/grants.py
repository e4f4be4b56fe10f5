"""Grants: who may do what beside what their role says; giving and ending one; and why somebody may do something, or may not."""

from typing import Any

from starlette.responses import Response

from headrace_broker.actions.grants import MAX_ID, act_named, source_of
from headrace_broker.actions.reach import covered, types_for
from headrace_broker.model.fields import MAX_REASON, text
from headrace_broker.model.permissions import MEANS
from headrace_broker.store.grants import GrantRow
from headrace_broker.web import forms
from headrace_broker.web.access import TABS
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit, html

PAGE = 100
MOST_NAMES = 500
"""Tokens and users that are offered while somebody types."""


async def page(visit: Visit) -> Response:
    """Grants that count in the domain, newest first; with the answer to "why", if that is asked."""
    who, ended = visit.query("who"), visit.query("ended") == "true"
    below = forms.whole("below", visit.query("below") or str(MAX_ID), 1, MAX_ID)
    rows = await visit.services.grants.list_grants(visit.domain, who, ended=ended, below=below, limit=PAGE)
    return html(
        visit, "grants.html", title="Grants", tabs=TABS, who=who, ended=ended, rows=[(row, row.ended_at is None and covered(row.source)) for row in rows],
        next=_link(visit, who, ended, rows[-1]) if len(rows) == PAGE else "", acts=[(str(act), MEANS[act]) for act in MEANS if types_for(act)],
        every_act=list(map(str, MEANS)), names=await _names(visit), asked={name: visit.query(name) for name in ("whose", "act", "type")}, why=await _why(visit),
    )  # fmt: skip


async def add(visit: Visit) -> Response:
    """Gives somebody a right."""
    actions = [str(value) for value in visit.form.getlist("actions")] if visit.form is not None else []
    source = source_of(actions, visit.field("domains"), visit.field("types"), visit.domain)
    row = await visit.services.grants.add(forms.text("who", visit.field("who"), 300), source, caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"{row.named} may {', '.join(row.actions).replace('_', ' ')} from now on: grant {row.grant_id}.")
    return visit.back("/grants")


async def end(visit: Visit) -> Response:
    """Ends a grant."""
    grant_id = forms.whole("grant_id", visit.field("grant_id"), 1, MAX_ID)
    row = await visit.services.grants.end(grant_id, caller=visit.caller(), reason=_reason(visit))
    visit.session.tell("done", f"Grant {grant_id} of {row.named} has ended, at every broker within a second.")
    return visit.back("/grants")


async def _why(visit: Visit) -> dict[str, Any] | None:
    """Whether somebody may do something, and what each role and grant says of it."""
    whose, action, name = visit.query("whose"), visit.query("act"), visit.query("type")
    if not whose:
        return None
    act = act_named("act", action)
    principal, _ = await visit.services.grants.find(forms.text("whose", whose, 300), visit.domain)
    lines = visit.services.grants.explain(principal, visit.domain, act, forms.text("type", name, 200) or None)
    return {"allowed": any(allows for allows, _ in lines), "called": principal.called, "lines": lines, "act": str(act), "type": name}


async def _names(visit: Visit) -> list[str]:
    """Whom a right can be given to, for those who may see that."""
    if not visit.may("/access"):
        return []
    scopes = [visit.domain, *([None] if visit.over_all else [])]
    tokens = [f"token/{row.name}" for scope in scopes for row in await visit.services.tokens.list_tokens(scope, revoked=False)]
    users = [f"user/{row.name}" for scope in scopes for row in await visit.services.users.list_users(scope, disabled=False)]
    return sorted({*users, *tokens}, key=lambda name: (name.startswith("token/"), name))[:MOST_NAMES]


def _link(visit: Visit, who: str, ended: bool, last: GrantRow) -> str:
    return visit.address("/grants", who=who, ended="true" if ended else "", below=str(last.grant_id))


def _reason(visit: Visit) -> str:
    return text("reason", visit.field("reason"), MAX_REASON)


PAGES: dict[str, Page] = {"/grants": page}
ACTIONS: dict[str, Page] = {"/grant-add": add, "/grant-end": end}
CHOICES: dict[str, Choices] = {}
