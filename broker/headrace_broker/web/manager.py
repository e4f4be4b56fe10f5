"""The routes of the manager, and what stands around every page: session, role, token of the form, headers, errors."""

import functools
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import structlog
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from headrace_broker.actions.reads import JobReads
from headrace_broker.alerts.desk import AlertDesk
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, NotFound
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder
from headrace_broker.store.statistics import Statistics
from headrace_broker.web import render
from headrace_broker.web.sessions import COOKIE, SESSION_S, Role, Session, Sessions

log = structlog.get_logger("headrace.web")
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
FORM_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Services:
    """What pages are made of."""

    ownership: Ownership
    reads: Reads
    statistics: Statistics
    audit: AuditStore
    finder: Finder
    alerts: AlertDesk


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a session that may make it."""

    services: Services
    request: Request
    session: Session
    form: FormData | None = None

    @property
    def owner(self) -> Owner:
        """Raises what `Ownership.owner` raises when this broker serves nobody."""
        return self.services.ownership.owner

    @property
    def domain(self) -> str:
        """What the session looks at."""
        return self.session.domain

    @property
    def jobs(self) -> JobReads:
        """Reads of jobs."""
        return JobReads(self.owner, self.services.reads)

    @property
    def prefix(self) -> str:
        """Where the manager lives, as the browser sees it; without a slash at the end."""
        return str(self.request.scope.get("root_path", ""))

    def query(self, name: str) -> str:
        """A value of the address; empty when it is not there."""
        return self.request.query_params.get(name, "").strip()

    def field(self, name: str) -> str:
        """A value of the form; empty when it is not there."""
        value = self.form.get(name, "") if self.form is not None else ""
        return value.strip() if isinstance(value, str) else ""

    def caller(self) -> Caller:
        """Who changes something."""
        return Caller(self.session.actor, self.domain, uuid.uuid4().hex)

    def address(self, path: str, **query: str) -> str:
        """An address of the manager; empty values are left out."""
        asked = urlencode({name: value for name, value in query.items() if value})
        return f"{self.prefix}{path}{'?' + asked if asked else ''}"

    def back(self, path: str) -> Response:
        """After a change: to the page that it came from, if that is ours, else to `path`."""
        target = urlsplit(self.request.headers.get("referer", ""))
        same = target.netloc == self.request.headers.get("host", "") and target.path.startswith(self.prefix + "/")
        return RedirectResponse(f"{target.path}?{target.query}" if same and target.query else target.path if same else self.address(path), 303)


Page = Callable[[Visit], Awaitable[Response]]


class Manager:
    """Makes the routes. Pages are in modules of their own, which register with `page` and `action`."""

    def __init__(self, services: Services, sessions: Sessions, version: str) -> None:
        from headrace_broker.web import agents, alerts, audit, jobs, overview, statistics, types  # they need this module

        self._services = services
        self._sessions = sessions
        self._templates = render.environment(version)
        self.routes: list[Route | Mount] = [
            Route("/login", self._login),
            Route("/logout", self._logout, methods=["POST"]),
            Mount("/static", StaticFiles(directory=render.HERE / "static")),
        ]
        for module in (overview, jobs, types, agents, alerts, statistics, audit):
            for path, page in module.PAGES.items():
                self.routes.append(Route(path, functools.partial(self._page, page)))
            for path, (role, action) in module.ACTIONS.items():
                self.routes.append(Route(path, functools.partial(self._action, action, role), methods=["POST"]))

    def link(self) -> str:
        """The path, with a key in it, that begins one session."""
        return f"/login?key={self._sessions.link()}"

    async def _login(self, request: Request) -> Response:
        key = request.query_params.get("key", "")
        value = self._sessions.begin(key) if key else None
        if value is None:
            spent = "This link was used already, or is not one of this broker's." if key else ""
            return self._html(request, "login.html", {"spent": spent}, status=403 if key else 200)
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/", 303, headers=HEADERS)
        response.set_cookie(
            COOKIE, value, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=request.url.scheme == "https", path=request.scope.get("root_path", "") or "/"
        )
        return response

    async def _logout(self, request: Request) -> Response:
        if not _same_origin(request):
            return self._refused(request, 403, "This request did not come from a page of this broker.")
        self._sessions.end(request.cookies.get(COOKIE))
        response = RedirectResponse(f"{request.scope.get('root_path', '')}/login", 303, headers=HEADERS)
        response.delete_cookie(COOKIE, path=request.scope.get("root_path", "") or "/")
        return response

    async def _page(self, page: Page, request: Request) -> Response:
        session = self._sessions.find(request.cookies.get(COOKIE))
        if session is None:
            return RedirectResponse(f"{request.scope.get('root_path', '')}/login", 303, headers=HEADERS)
        return await self._answer(page, Visit(self._services, request, session))

    async def _action(self, action: Page, role: Role, request: Request) -> Response:
        session = self._sessions.find(request.cookies.get(COOKIE))
        if session is None:
            return self._refused(request, 403, "You are not logged in any more.")
        if int(request.headers.get("content-length") or FORM_BYTES + 1) > FORM_BYTES:
            return self._refused(request, 413, "This form is too large.")
        form = await request.form(max_files=0, max_fields=5000)
        if not _same_origin(request) or form.get("csrf") != session.csrf:
            return self._refused(request, 403, "This form is not of your session: open the page again, then send it.")
        if not session.allows(role):
            return self._refused(request, 403, f"Only {role.name.lower()}s may do this.")
        return await self._answer(action, Visit(self._services, request, session, form))

    async def _answer(self, page: Page, visit: Visit) -> Response:
        request = visit.request
        request.state.visit, request.state.html = visit, self._html
        try:
            response = await page(visit)
        except NotFound as error:
            return self._refused(request, 404, str(error))
        except BrokerError as error:
            if visit.form is not None:
                visit.session.tell("failed", str(error))
                response = visit.back("/")
            else:
                return self._refused(request, 503 if _outage(error) else 400, str(error))
        except Exception as error:  # a defect: told by an id that the log has too
            error_id = uuid.uuid4().hex[:12]
            log.error("a page failed", path=request.url.path, error_id=error_id, exc_info=error)
            return self._refused(request, 500, f"This page failed; the broker's log has more under {error_id}.")
        response.headers.update(HEADERS)
        return response

    def _refused(self, request: Request, status: int, text: str) -> Response:
        return self._html(request, "error.html", {"status": status, "text": text}, status=status)

    def _html(self, request: Request, template: str, values: Mapping[str, Any], *, status: int = 200) -> Response:
        visit: Visit | None = getattr(request.state, "visit", None)
        session = visit.session if visit is not None else None
        known = {
            "prefix": request.scope.get("root_path", ""), "path": request.url.path, "session": session, "notices": session.take_notices() if session is not None else [],
            "operator": session is not None and session.allows(Role.OPERATOR), "admin": session is not None and session.allows(Role.ADMIN),
        }  # fmt: skip
        return HTMLResponse(self._templates.get_template(template).render({**known, **values}), status, headers=HEADERS)


def html(visit: Visit, template: str, **values: Any) -> Response:
    """A page from its template."""
    make: Callable[..., Response] = visit.request.state.html
    return make(visit.request, template, values)


def _same_origin(request: Request) -> bool:
    """Whether a browser says that the request came from a page of this listener; one that says nothing is not believed."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")


def _outage(error: BrokerError) -> bool:
    return type(error).__name__ in ("DatabaseUnavailable", "NotOwner", "Draining", "Busy")
