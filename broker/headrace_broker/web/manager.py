"""The routes of the manager, and what stands around every page: session, rights, token of the form, headers, errors."""

import functools
import hmac
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import structlog
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route

from headrace_broker.actions.reach import MAY
from headrace_broker.model.access import Role
from headrace_broker.model.errors import BrokerError, NotFound, TypeDenied
from headrace_broker.shards.ownership import Ownership
from headrace_broker.web import (
    access,
    account,
    agents,
    alerts,
    audit,
    failing,
    grants,
    job,
    job_changes,
    jobs,
    login,
    login_oidc,
    operations,
    overview,
    render,
    saved_filters,
    schedules,
    statistics,
    types,
)
from headrace_broker.web.browser import HEADERS, Static, prefix_of, read_form, same_origin, to_login
from headrace_broker.web.failing import Patience, Returned
from headrace_broker.web.guesses import Guesses
from headrace_broker.web.register import Register
from headrace_broker.web.rights import EVERYBODY, RIGHTS, Need, Rights
from headrace_broker.web.sessions import COOKIE, DEFAULT_DOMAIN, Session
from headrace_broker.web.visit import DOMAIN, Doors, Page, Services, Visit

if TYPE_CHECKING:
    from headrace_broker.oidc.provider import Provider

log = structlog.get_logger("headrace.web")
FORM_BYTES = 1024 * 1024
LOST_FORM_BYTES = 64 * 1024
"""Of the form of somebody whose session has ended, which is shown again."""
RETRY_S = 2
LOOK = "look"
"""In an address: the domain to look at from now on. So one broker sends people to another, which owns the shard of another domain."""


class Manager:
    """Makes the routes. Pages are in modules of their own, with a table PAGES of those that are read, ACTIONS of forms that change something,
    and CHOICES of what can be chosen in those, by route."""

    def __init__(
        self, services: Callable[[str], Services], register: Register, version: str, least: Mapping[str, Need], monotonic: Callable[[], float],
        provider: "Provider | None" = None,
    ) -> None:  # fmt: skip
        """`services`: those of the shard in which a domain lies; `least`: what each call of the RPC interface needs; `monotonic`: a clock in seconds; `provider`: by
        which people may log in, too."""
        self._services = services
        self._register = register
        self._monotonic = monotonic
        self._patience = Patience()
        self._doors = Doors(register, Guesses(monotonic), Rights(least))
        self._templates = render.environment(version)
        self._choices: dict[str, failing.Choices] = {}
        self.routes: list[Route | Mount] = [
            *login.Login(services(DEFAULT_DOMAIN), self._doors, self._html, self._patience, provider.settings.named if provider is not None else "").routes,
            *(login_oidc.LoginByProvider(provider, services(DEFAULT_DOMAIN), self._doors, self._html, self._patience).routes if provider is not None else ()),
            Mount("/static", Static(directory=render.HERE / "static")),
        ]
        for module in (overview, jobs, saved_filters, job, job_changes, types, agents, operations, alerts, schedules, statistics, audit, access, grants, account):
            for path, page in module.PAGES.items():
                self.routes.append(Route(_known(path), functools.partial(self._page, page, path)))
            self._choices.update(module.CHOICES)
            for path, action in module.ACTIONS.items():
                self.routes.append(Route(_known(path), functools.partial(self._action, action, path), methods=["POST"]))

    async def nothing(self, request: Request, _error: Exception) -> Response:
        """What stands where there is no page."""
        session = self._register.sessions.find(request.cookies.get(COOKIE), used=False)
        if session is not None:
            request.state.visit = Visit(self._services(session.domain), self._doors, request, session)
        return self._refused(request, 404, "There is no page at this address.")

    def link(self) -> str:
        """The path, with a key in it, that begins one session."""
        return f"/login?key={self._register.sessions.link()}"

    async def _page(self, page: Page, path: str, request: Request) -> Response:
        live = "hx-request" in request.headers
        cookie = request.cookies.get(COOKIE)
        session = self._register.sessions.find(cookie, used=not live)
        services, away = self._serving(session, request)
        if away is None and session is None:
            try:
                session = await self._register.find(cookie, used=not live)
            except BrokerError as error:
                return self._not_now(services, request, error, None)
            services, away = self._serving(session, request)
        if session is not None and LOOK in request.query_params and services.ownership.shard.of > 1:
            return await self._look(services, session, request)
        if away is not None and (live or session is None or not (session.notices or session.returned)):
            return away
        if session is None:
            return to_login(request)
        if away is not None:  # what there is to say would be lost on the way
            request.state.visit = Visit(services, self._doors, request, session)
            return self._html(request, "elsewhere.html", {"title": "Done here", "there": away.headers["location"]})
        visit = Visit(services, self._doors, request, session)
        MAY.set(visit.rights)
        if not visit.may(path):
            return self._denied(visit, path)
        return await self._answer(page, visit, path)

    def _serving(self, session: Session | None, request: Request) -> tuple[Services, Response | None]:
        """What serves the domain that is looked at, and where to go when another broker does."""
        domain = session.domain if session is not None else request.query_params.get(LOOK) or DEFAULT_DOMAIN
        services = self._services(domain)
        return services, at_the_owner(services.ownership, request, domain)

    async def _look(self, services: Services, session: Session, request: Request) -> Response:
        """To the address without LOOK, looking at the domain that it names, if the person may."""
        wanted = request.query_params[LOOK]
        if wanted != session.domain and session.person.domain is None and DOMAIN.fullmatch(wanted):
            try:
                await self._register.show(session, wanted)
            except BrokerError as error:
                return self._not_now(services, request, error, None)
        rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != LOOK])
        return RedirectResponse(f"{request.url.path}{'?' + rest if rest else ''}", 303, headers=HEADERS)

    async def _action(self, action: Page, path: str, request: Request) -> Response:
        session, unclear = await self._session(request)
        if session is None and unclear is None and "hx-request" in request.headers:
            return to_login(request)
        form = await read_form(request, FORM_BYTES if session is not None else LOST_FORM_BYTES) if same_origin(request) else FormData()
        if session is not None and unclear is None:
            session, unclear = await self._session(request)  # a form may be a minute in coming
        services = self._services(session.domain if session is not None else DEFAULT_DOMAIN)
        if unclear is not None:  # nothing is changed in a session that may have ended
            if session is not None:
                request.state.visit = Visit(services, self._doors, request, session)
            return self._not_now(services, request, unclear, self._returned(request, form or FormData(), path), done=False)
        if session is None:
            kept = self._returned(request, form, path) if form is not None else None
            return self._refused(request, 403, "You are not logged in any more.", kept)
        if form is None:
            return self._refused(request, 413, "This form is too large.")
        foreign = _foreign(form, session, path)
        if foreign:
            request.state.visit = Visit(services, self._doors, request, session)
            return self._refused(request, 403, foreign, self._returned(request, form, path))
        visit = Visit(services, self._doors, request, session, form)
        MAY.set(visit.rights)
        if not visit.may(path):
            return self._denied(visit, path)
        return await self._answer(action, visit, path)

    async def _session(self, request: Request) -> tuple[Session | None, BrokerError | None]:
        """(the session of a request as the table has it now, None); or as it was known here, and why it cannot be looked at."""
        cookie = request.cookies.get(COOKIE)
        try:
            await self._register.assure()
            return await self._register.find(cookie), None
        except BrokerError as error:
            return self._register.sessions.find(cookie), error

    async def _answer(self, page: Page, visit: Visit, path: str) -> Response:
        request, form = visit.request, visit.form
        request.state.visit, request.state.html = visit, self._html
        kept = self._returned(request, form, path) if form is not None else None
        try:
            response = await self._patience.within(failing.budget_s(visit.services.ownership, path, form=form is not None), page(visit))
        except NotFound as error:
            return self._refused(request, 404, str(error), kept)
        except BrokerError as error:
            if failing.passes(error):
                return self._not_now(visit.services, request, error, kept)
            if kept is None:
                return self._refused(request, 403 if isinstance(error, TypeDenied) else 400, str(error))
            visit.session.tell("failed", str(error))
            visit.session.returned = kept
            response = visit.back("/")
        except Exception as error:  # a defect: told by an id that the log has too
            error_id = uuid.uuid4().hex[:12]
            log.error("a page failed", path=request.url.path, error_id=error_id, exc_info=error)
            return self._refused(request, 500, f"This page failed; the broker's log has more under {error_id}.", kept)
        response.headers.update(HEADERS)
        return response

    def _returned(self, request: Request, form: FormData, path: str) -> Returned:
        return failing.returned(request, form, self._choices.get(path, {}))

    def _denied(self, visit: Visit, path: str) -> Response:
        visit.request.state.visit = visit
        roles = " or ".join(self._doors.rights.roles(path)) or "nobody"
        return self._refused(visit.request, 403, f"You are logged in as {visit.session.role.name.lower()}; this is for the role {roles}.")

    def _refused(self, request: Request, status: int, text: str, kept: Returned | None = None) -> Response:
        if "hx-request" in request.headers:  # the page that asked for this part shows the words
            return PlainTextResponse(text, status, headers=HEADERS)
        return self._html(request, "error.html", {"status": status, "text": text, "returned": kept}, status)

    def _not_now(self, services: Services, request: Request, error: BrokerError, kept: Returned | None, *, done: bool = True) -> Response:
        """It may go well a little later: what failed, what goes on meanwhile, and another try, which a page makes by itself. `done`: something may have been done."""
        values = failing.told(services.ownership, error, now=self._monotonic(), form=kept is not None)
        if not done:
            values["unknown"] = "Nothing was done: whether your session still stands cannot be asked now."
        headers = {**HEADERS, "Retry-After": str(RETRY_S)}
        if "hx-request" in request.headers:
            return PlainTextResponse(values["happened"], 503, headers=headers)
        log.warning("a page could not be made", path=request.url.path, reason=str(error))
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        answer = self._html(request, "not_now.html", {"there": "", **values, "returned": kept, "form": kept is not None, "here": here}, 503)
        answer.headers.update(headers)
        return answer

    def _html(self, request: Request, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
        visit: Visit | None = getattr(request.state, "visit", None)
        session = visit.session if visit is not None else None
        part = request.headers.get("hx-request")  # it shows no notices, so it takes none
        notices = session.take_notices() if session is not None and not part else []
        kept = session.take_returned() if session is not None and not part else None
        values = {**values, "returned": values.get("returned") or kept}
        known = {
            "trouble": failing.trouble((visit.services if visit is not None else self._services(DEFAULT_DOMAIN)).ownership),
            "prefix": prefix_of(request), "path": request.url.path, "session": session, "notices": notices,
            "may": visit.may if visit is not None else lambda path: False, "domains": visit.domains() if visit is not None else [],
            "everywhere": visit is not None and visit.everywhere,
            "operator": session is not None and session.role in (Role.OPERATOR, Role.ADMIN), "admin": session is not None and session.role is Role.ADMIN,
        }  # fmt: skip
        return HTMLResponse(self._templates.get_template(template).render({**known, **values}), status, headers=HEADERS)


def at_the_owner(ownership: Ownership, request: Request, domain: str) -> Response | None:
    """To the same page at the broker that owns the domain's shard, if this one stands by and knows where that has its pages; a part of a page has the whole of it
    replaced. With several shards the address says which domain is looked at: a session that begins there would begin with another one, and one that is known there
    may not have heard of the change yet."""
    holder = ownership.holder
    if holder is None or holder.peer is None or not holder.peer.web:
        return None
    host = urlsplit(holder.peer.web).hostname or ""
    if (host == "localhost" or host.startswith("127.") or host == "::1") and ownership.peer is not None and ownership.peer.host != holder.peer.host:
        return None  # only its own machine reaches that
    look = [(LOOK, domain)] if ownership.shard.of > 1 else []
    query = urlencode([*((name, value) for name, value in request.query_params.multi_items() if name != LOOK), *look]) if look else request.url.query
    there = holder.peer.web.rstrip("/") + request.url.path.removeprefix(prefix_of(request)) + (f"?{query}" if query else "")
    if "hx-request" in request.headers:
        return Response(status_code=204, headers={**HEADERS, "HX-Redirect": urlsplit(there)._replace(path="/", query=urlencode(look)).geturl()})
    return RedirectResponse(there, 307, headers=HEADERS)


def _foreign(form: FormData, session: Session, path: str) -> str:
    """Why a form is not taken as one of this session; empty: it is. What it would change is in the domain that it was made for, so that one must be looked at still."""
    brought = form.get("csrf")
    key, _, domain = brought.partition(".") if isinstance(brought, str) else ("", "", "")
    if not session.key or not hmac.compare_digest(key.encode(), session.key.encode()):
        return "This form is not of your session: open the page again, then send it."
    if domain != session.domain and RIGHTS[path] != EVERYBODY:
        return f"This form was made for the domain {domain}, and you look at {session.domain} now, chosen in another window. Sent again, it is for {session.domain}."
    return ""


def _known(path: str) -> str:
    if path not in RIGHTS:
        raise LookupError(f"web/rights.py has no row for {path}: name the call that it stands for")
    return path
