"""Filters of jobs that are kept under a name: links above the list of jobs, and the forms beside them that save, replace and delete one."""

from dataclasses import dataclass

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions.saved_filters import SavedFilters, may_change
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.saved_filter import SavedFilter, Unreadable
from headrace_broker.web import filters, forms
from headrace_broker.web.failing import Choices
from headrace_broker.web.visit import Page, Visit


@dataclass(frozen=True, slots=True)
class Shown:
    """A saved filter on the page. `words` say what it looks for. `link` empty: it cannot be followed, and `problem` says why; `usable`: it can be elsewhere.
    `current`: it is what is shown; `changeable`: the person may replace and delete it."""

    saved: SavedFilter
    link: str
    words: str
    problem: str
    usable: bool
    current: bool
    changeable: bool


async def shown(visit: Visit) -> list[Shown]:
    """The person's own, then those that everybody in the domain has, each by name."""
    asked = filters.address_of(filters.sought(visit.query))
    return [_shown(visit, one, problem, asked) for one, problem in await _saved(visit).list(visit.caller())]


def _shown(visit: Visit, one: SavedFilter, problem: str, asked: dict[str, str]) -> Shown:
    try:
        sought = one.sought()
    except Unreadable:
        return Shown(one, "", "", problem, False, False, may_change(one))
    named = filters.address_of(sought)
    link = visit.address("/jobs", **named) if named and not problem else ""
    words = ", ".join([*filters.words(sought.wanted, sought.ages), *([f"order {named['order']}"] if named.get("order") else [])])
    told = problem or ("" if named else "its labels cannot stand in an address: the command line can use it")
    return Shown(one, link, words, told, not problem, bool(link) and named == asked, may_change(one))


async def save(visit: Visit) -> Response:
    """Keeps what the form looks for under a name, or in the place of the version that the page showed."""
    name, version = visit.field("name"), forms.whole("version", visit.field("version") or "0", 0, MAX_ID)
    stored = await _saved(visit).save(
        name, filters.sought(visit.field), shared=bool(visit.field("shared")), expected_version=version, caller=visit.caller(), reason=visit.field("reason")
    )  # fmt: skip
    visit.session.tell("done", f"The filter {stored.name} is saved for {'everybody in this domain' if stored.shared else 'you'}.")
    return visit.back("/jobs")


async def delete(visit: Visit) -> Response:
    """Deletes one; jobs are not touched."""
    await _saved(visit).delete(visit.field("name"), shared=bool(visit.field("shared")), caller=visit.caller(), reason=visit.field("reason"))
    visit.session.tell("done", f"The saved filter {visit.field('name')} is deleted.")
    return visit.back("/jobs")


def _saved(visit: Visit) -> SavedFilters:
    return visit.services.saved_filters


async def to_list(visit: Visit) -> Response:
    """Where a form was sent there is no page; a browser that comes back to it is led to the list."""
    return RedirectResponse(visit.address("/jobs"), 303)


PAGES: dict[str, Page] = {"/filter-save": to_list, "/filter-delete": to_list}
ACTIONS: dict[str, Page] = {"/filter-save": save, "/filter-delete": delete}
CHOICES: dict[str, Choices] = {}
