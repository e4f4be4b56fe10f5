"""What concerns the person who is logged in: password, sessions, and the domain that is looked at."""

from math import ceil

from starlette.responses import RedirectResponse, Response

from headrace_broker.actions.passwords import MAX_CHARACTERS, MIN_CHARACTERS
from headrace_broker.model.errors import DatabaseUnavailable, InvalidField
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.web.browser import parted, set_cookie
from headrace_broker.web.failing import Choices
from headrace_broker.web.login import address_of, person_of
from headrace_broker.web.sessions import Session
from headrace_broker.web.visit import DOMAIN, Page, Visit, html

STAY = frozenset({"/jobs", "/types", "/agents", "/trend", "/capacity", "/schedules", "/operations", "/alerts", "/audit", "/access", "/grants"})
"""Lists that are shown again, of the other domain."""


async def page(visit: Visit) -> Response:
    """Who this is, their sessions, and the form for a new password."""
    return _page(visit)


async def password(visit: Visit) -> Response:
    """A new password. The session goes on under another cookie; all others of the user end."""
    person, doors = visit.session.person, visit.doors
    old, new = (str(visit.form.get(name, "")) if visit.form is not None else "" for name in ("old", "new"))
    if person.user_id is None or not person.has_password:
        return _page(visit, status=400, wrong="You have not logged in with a password.")
    if new != (str(visit.form.get("again", "")) if visit.form is not None else ""):
        return _page(visit, status=400, wrong="The two new ones are not the same.")
    wait_s = doors.guesses.begin(person.name, address_of(visit.request))
    if wait_s > 0:
        return _page(visit, status=429, wrong=f"Too many tries. The next one is looked at in {ceil(wait_s)} s.")
    try:
        user = await visit.services.users.change_own(person.user_id, old, new)
    except InvalidField as error:
        return _page(visit, status=400, wrong=str(error).partition(": ")[2])
    if user is None:
        return _page(visit, status=403, wrong="The password that you have now is another one.")
    doors.guesses.right(person.name, address_of(visit.request))
    visit.session.end()
    value = await doors.register.begin(person_of(user), address=visit.session.address, browser=visit.session.browser, domain=visit.domain)
    response = RedirectResponse(visit.address("/account"), 303)
    if value is not None:
        set_cookie(response, visit.request, value)
        session = doors.register.sessions.find(value)
        assert session is not None
        session.tell("done", "Your password is changed. Your other sessions have ended.")
    return response


async def log_out(visit: Visit) -> Response:
    """Ends all sessions of the person, at every broker."""
    person, register = visit.session.person, visit.doors.register
    if person.user_id is not None and person.has_password:
        await visit.services.users.end_own(person.user_id)
    try:
        await register.refresh()
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database did not answer in time") from error
    await register.end(_own(visit))
    return RedirectResponse(visit.address("/login"), 303)


async def domain(visit: Visit) -> Response:
    """Looks at another domain."""
    wanted = visit.field("domain")
    if not visit.everywhere or not DOMAIN.fullmatch(wanted):
        visit.session.tell("failed", f"You may look at {visit.domain} alone." if not visit.everywhere else "A domain is 1 to 100 characters of A-Z a-z 0-9 . _ -.")
        return visit.back("/")
    await visit.doors.register.show(visit.session, wanted)
    came_from = parted(visit.request.headers.get("referer", "")).path.removeprefix(visit.prefix)
    section = "/" + came_from.lstrip("/").partition("/")[0]  # the job or the type that was looked at is not in the other domain
    return RedirectResponse(visit.address(section if section in STAY else "/"), 303)


def _own(visit: Visit) -> list[Session]:
    person = visit.session.person
    same = [s for s in visit.doors.register.sessions.all() if (s.actor, s.person.user_id, s.person.token_id) == (person.actor, person.user_id, person.token_id)]
    return sorted(same, key=lambda session: -session.seen)


def _page(visit: Visit, *, status: int = 200, wrong: str = "") -> Response:
    sessions = [(session, *visit.doors.register.sessions.age_s(session)) for session in _own(visit)]
    return html(visit, "account.html", status=status, title="Your account", sessions=sessions, wrong=wrong, shortest=MIN_CHARACTERS, longest=MAX_CHARACTERS)


PAGES: dict[str, Page] = {"/account": page}
ACTIONS: dict[str, Page] = {"/account-password": password, "/account-logout": log_out, "/domain": domain}
CHOICES: dict[str, Choices] = {}
