"""What pages and forms of the manager get: a request of a session that may make it, and how they answer."""

import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from headrace_broker.actions.grants import GrantTable
from headrace_broker.actions.reach import May
from headrace_broker.actions.reads import JobReads
from headrace_broker.actions.saved_filters import SavedFilters
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.alerts.desk import AlertDesk
from headrace_broker.model.audit import Caller
from headrace_broker.model.permissions import EVERY, Act
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.graph import GraphReads
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder
from headrace_broker.store.statistics import Statistics
from headrace_broker.web.browser import HEADERS, parted, prefix_of
from headrace_broker.web.guesses import Guesses
from headrace_broker.web.register import Register
from headrace_broker.web.rights import Rights
from headrace_broker.web.sessions import Session

DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Services:
    """What pages are made of."""

    ownership: Ownership
    reads: Reads
    statistics: Statistics
    audit: AuditStore
    finder: Finder
    graph: GraphReads
    users: Users
    tokens: TokenTable
    payload_limit: int
    alerts: AlertDesk
    grants: GrantTable
    saved_filters: SavedFilters


@dataclass(frozen=True, slots=True)
class Doors:
    """Who is in, who may come in, and what they may do here. `guesses` counts wrong passwords."""

    register: Register
    guesses: Guesses
    rights: Rights


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of a session that may make it."""

    services: Services
    doors: Doors
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
    def everywhere(self) -> bool:
        """Whether the person is one of all domains."""
        return self.session.person.domain is None

    @property
    def over_all(self) -> bool:
        """Whether the person gives access in all domains, whatever they may do in the one that is looked at: what concerns all domains takes that."""
        return self.rights.covers(Act.MANAGE_ACCESS, EVERY, EVERY)

    @property
    def jobs(self) -> JobReads:
        """Reads of jobs, for pages that mask what they draw."""
        return JobReads(self.owner, self.services.reads, masks=False)

    @property
    def prefix(self) -> str:
        """Where the manager lives, as the browser sees it; without a slash at the end."""
        return prefix_of(self.request)

    def may(self, path: str) -> bool:
        """Whether the person may see the page, or send the form, of this route."""
        return self.doors.rights.permit(self.rights, path)

    @property
    def rights(self) -> May:
        """What the person may do in the domain that is looked at."""
        return May(self.services.grants, [self.session.person.principal], self.domain, None)

    def domains(self) -> list[str]:
        """The domains that the person may look at, by name."""
        ownership = self.services.ownership
        known = {*ownership.owner.types.domains} if ownership.ready.is_set() else set[str]()
        if not self.everywhere:
            principal = self.session.person.principal
            return sorted({self.domain, *(name for name in known if self.services.grants.permissions(principal, name))})
        return sorted({self.domain, "default", *known})

    def query(self, name: str) -> str:
        """A value of the address; empty when it is not there."""
        return self.request.query_params.get(name, "").strip()

    def field(self, name: str) -> str:
        """A value of the form; empty when it is not there."""
        value = self.form.get(name, "") if self.form is not None else ""
        return value.strip() if isinstance(value, str) else ""

    def caller(self) -> Caller:
        """Who changes something."""
        return Caller(self.session.actor, self.domain, uuid.uuid4().hex, token_id=self.session.person.token_id)

    def address(self, path: str, **query: str) -> str:
        """An address of the manager; empty values are left out."""
        asked = urlencode({name: value for name, value in query.items() if value})
        return f"{self.prefix}{path}{'?' + asked if asked else ''}"

    def local(self, address: str) -> str:
        """The path and query of an address if it is one of this manager's; else nothing. An address without a host must begin with one slash."""
        target = parted(address)
        ours = target.netloc == self.request.headers.get("host", "") if target.netloc else address.startswith("/")
        if not ours or not target.path.startswith(self.prefix + "/") or target.path.startswith(("//", "/\\")):  # a browser takes the rest of those for a host
            return ""
        return f"{target.path}?{target.query}" if target.query else target.path

    def back(self, path: str) -> Response:
        """After a change: to the page that it came from, if that is ours, else to `path`."""
        return RedirectResponse(self.local(self.request.headers.get("referer", "")) or self.address(path), 303)


Page = Callable[[Visit], Awaitable[Response]]
Show = Callable[[Request, str, Mapping[str, Any], int], Response]
"""Makes a page from its template: request, template, values, status."""


def html(visit: Visit, template: str, *, status: int = 200, **values: Any) -> Response:
    """A page from its template."""
    make: Show = visit.request.state.html
    return make(visit.request, template, values, status)


def refused(visit: Visit, text: str) -> Response:
    """The page of something that the person may not do, with plain words why."""
    if "hx-request" in visit.request.headers:
        return PlainTextResponse(text, 403, headers=HEADERS)
    make: Show = visit.request.state.html
    return make(visit.request, "error.html", {"status": 403, "text": text}, 403)
