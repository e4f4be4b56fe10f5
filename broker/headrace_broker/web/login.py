"""Who comes in: with the link that the broker printed, with a user's password, with a token; and invited people, who choose a password first.

Whatever is wrong with a name or a password is answered alike, in the same time, and only so often (`throttle`).
"""

import re
from math import ceil

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headrace_broker.actions.passwords import MAX_CHARACTERS, MIN_CHARACTERS
from headrace_broker.actions.tokens import Secret
from headrace_broker.model.access import USER_ROLES
from headrace_broker.model.errors import BrokerError, InvalidField, TokenInvalid
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.store.users import UserRow
from headrace_broker.web.browser import HEADERS, parted, prefix_of, read_form, same_origin, set_cookie
from headrace_broker.web.failing import Patience, TooSlow, budget_s
from headrace_broker.web.sessions import COOKIE, Person
from headrace_broker.web.visit import Doors, Services, Show

log = structlog.get_logger("headrace.web")
FORM_BYTES = 16 * 1024
BEFORE = re.compile("/login(/.*)?|/logout|/invitation")
"""Pages of those who are not in yet."""
REFRESH_S = 3.0
"""What is known of tokens already serves when it cannot be read anew in that time."""
WRONG = "This user name and password do not go together."
SPENT = "This link was used already, or is not one of this broker's."
TOO_MANY = "Too many people are logged in. Try again in a minute."
FOREIGN = "This request did not come from a page of this broker."


class Login:
    """The routes of those who are not in yet. `show` makes a page."""

    def __init__(self, services: Services, doors: Doors, show: Show, patience: Patience, provider: str = "") -> None:
        """`provider`: the name of an OpenID provider by which people may log in, too; empty: there is none."""
        self._provider = provider
        self._services = services
        self._doors = doors
        self._show = show
        self._patience = patience
        self.routes = [
            Route("/login", self._ask),
            Route("/login", self._try, methods=["POST"]),
            Route("/invitation", self._invited),
            Route("/invitation", self._accept, methods=["POST"]),
            Route("/logout", self._leave, methods=["POST"]),
        ]

    async def _ask(self, request: Request) -> Response:
        key, wanted = request.query_params.get("key", ""), local(request.query_params.get("next", ""))
        if key:
            person = self._doors.register.sessions.spend(key)
            return self._page(request, 403, wanted, SPENT) if person is None else await self._enter(request, person, wanted)
        if await self._is_in(request):
            return RedirectResponse(prefix_of(request) + (wanted or "/"), 303, headers=HEADERS)
        return self._page(request, 200, wanted)

    async def _try(self, request: Request) -> Response:
        if not same_origin(request):
            return self._page(request, 403, "", FOREIGN)
        form = await read_form(request, FORM_BYTES)
        if form is None:
            return self._page(request, 413, "", "This is more than a name and a password.")
        name, password, token, wanted = (value if isinstance(value := form.get(field, ""), str) else "" for field in ("name", "password", "token", "next"))
        name, token, wanted = name.strip(), token.strip(), local(wanted)
        address = address_of(request)
        wait_s = self._doors.guesses.begin("" if token else name, address)
        if wait_s > 0:
            log.warning("a login was not looked at: too many have failed", address=address)
            answer = self._page(request, 429, wanted, f"Too many tries. The next one is looked at in {ceil(wait_s)} s.", name=name, with_token=bool(token))
            answer.headers["Retry-After"] = str(int(wait_s) + 1)
            return answer
        try:
            if token:
                return await self._by_token(request, token, wanted)
            user = await self._patience.within(self._budget_s(), self._services.users.log_in(name, password)) if name and password else None
        except BrokerError as error:
            return self._page(request, 503, wanted, f"{sentence(error)} Try again in a moment.", name=name, with_token=bool(token))
        if user is None:
            log.warning("a login was refused", by="password", address=address)
            return self._page(request, 403, wanted, WRONG, name=name)
        self._doors.guesses.right(name, address)
        return await self._enter(request, person_of(user), wanted)

    async def _by_token(self, request: Request, token: str, wanted: str) -> Response:
        try:
            # Where calls need no token nobody else reads what became of them.
            await self._patience.within(min(REFRESH_S, self._budget_s()), self._services.tokens.refresh())
        except (TooSlow, *ANY_FAILURE) as error:
            log.debug("tokens not read", reason=str(error))
        try:
            secret = await self._patience.within(self._budget_s(), self._services.tokens.find(token))
        except TokenInvalid as error:
            log.warning("a login was refused", by="token", address=address_of(request))
            return self._page(request, 403, wanted, sentence(error), with_token=True)
        if secret.token.role not in USER_ROLES:
            text = f"This token's role is {secret.token.role.name.lower()}: it is for programs. Viewers, operators and admins log in here."
            return self._page(request, 403, wanted, text, with_token=True)
        self._doors.guesses.right("", address_of(request))
        found = secret.token
        return await self._enter(request, Person(found.name, found.role, found.domain, token_id=found.token_id), wanted, secret)

    async def _invited(self, request: Request) -> Response:
        return self._choose(request, 200, request.query_params.get("key", ""))

    async def _accept(self, request: Request) -> Response:
        form = await read_form(request, FORM_BYTES) if same_origin(request) else None
        if form is None:
            return self._page(request, 403, "", FOREIGN)
        key, password, again = (str(form.get(field, "")) for field in ("key", "password", "again"))
        if password != again:
            return self._choose(request, 400, key, "The two are not the same.")
        wait_s = self._doors.guesses.begin("", address_of(request))
        if wait_s > 0:
            return self._choose(request, 429, key, f"Too many tries. The next one is looked at in {ceil(wait_s)} s.")
        try:
            user = await self._patience.within(self._budget_s(), self._services.users.accept(key, password))
        except InvalidField as error:
            return self._choose(request, 400, key, str(error).partition(": ")[2])
        except BrokerError as error:
            return self._choose(request, 503, key, f"{sentence(error)} Try again in a moment.")
        if user is None:
            return self._page(request, 403, "", "This invitation was used already, or is over. Ask an administrator for another one.")
        self._doors.guesses.right("", address_of(request))
        return await self._enter(request, person_of(user), "")

    async def _leave(self, request: Request) -> Response:
        if not same_origin(request):
            return self._page(request, 403, "", FOREIGN)
        ended = await self._doors.register.end_of(request.cookies.get(COOKIE))
        left = "?left=provider" if ended is not None and ended.person.by_provider and self._provider else ""
        response = RedirectResponse(f"{prefix_of(request)}/login{left}", 303, headers=HEADERS)
        response.delete_cookie(COOKIE, path=prefix_of(request) or "/")
        return response

    def _budget_s(self) -> float:
        return budget_s(self._services.ownership, "/login", form=True)

    async def _is_in(self, request: Request) -> bool:
        try:
            return await self._doors.register.find(request.cookies.get(COOKIE)) is not None
        except BrokerError as error:
            log.warning("it cannot be told now who is logged in", reason=str(error))
            return False

    async def _enter(self, request: Request, person: Person, wanted: str, secret: Secret | None = None) -> Response:
        register = self._doors.register
        register.sessions.end(request.cookies.get(COOKIE))
        value = await register.begin(person, address=address_of(request), browser=request.headers.get("user-agent", "")[:300], secret=secret)
        if value is None:
            return self._page(request, 503, wanted, TOO_MANY)
        log.info("logged in", actor=person.actor, role=person.role.name.lower(), domain=person.domain or "all", address=address_of(request))
        response = RedirectResponse(prefix_of(request) + (wanted or "/"), 303, headers=HEADERS)
        set_cookie(response, request, value)
        return response

    def _page(self, request: Request, status: int, wanted: str, wrong: str = "", *, name: str = "", with_token: bool = False) -> Response:
        return self._show(request, "login.html", {
            "wrong": wrong, "next": wanted, "name": name, "with_token": with_token, "provider": self._provider,
            "left": request.query_params.get("left") == "provider",
        }, status)  # fmt: skip

    def _choose(self, request: Request, status: int, key: str, wrong: str = "") -> Response:
        return self._show(request, "invitation.html", {"wrong": wrong, "key": key, "shortest": MIN_CHARACTERS, "longest": MAX_CHARACTERS}, status)


def sentence(error: BrokerError) -> str:
    """An error as a sentence of a page."""
    text = str(error)
    return f"{text[0].upper()}{text[1:]}."


def person_of(user: UserRow) -> Person:
    """Who a session of a user is."""
    return Person(f"user/{user.name}", user.role, user.domain, user_id=user.user_id, epoch=user.epoch)


def address_of(request: Request) -> str:
    """Where the request came from."""
    return request.client.host if request.client is not None else "unknown"


def local(address: str) -> str:
    """The address if it is one of the manager's pages, else nothing: nobody is sent elsewhere after a login."""
    parts = parted(address)
    fine = address.startswith("/") and not address.startswith("//") and "\\" not in address and address.isprintable() and not parts.scheme and not parts.netloc
    return address if fine and len(address) <= 2000 and not BEFORE.fullmatch(parts.path) else ""
