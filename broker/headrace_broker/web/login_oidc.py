"""Who comes in by an OpenID provider (`oidc`): to it, back from it, and out there when they have left here.

The cookie of a login that is under way is SameSite=Lax, since the browser comes back from another site; it opens nothing. The session's is strict: a browser that comes
from there does not send it, so the last page of a login is one that goes on by itself, from here. Strict is the one with the ID token, too: with it the provider logs
somebody out without a question, which no other site shall have done.

A code is tried for anybody who asks, at the provider, in the name of this broker: tries that fail count as wrong passwords do (`guesses`).
"""

import hmac
from collections.abc import Awaitable, Callable
from math import ceil
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from headrace_broker.config import ConfigError
from headrace_broker.model.access import hash_of
from headrace_broker.model.errors import BrokerError
from headrace_broker.model.group_rights import rights_of
from headrace_broker.oidc.errors import BegunElsewhere, LoginRefused, NotAllowed, ProviderAway, ProviderRefused, TooManyTries
from headrace_broker.web.browser import HEADERS, prefix_of, set_cookie
from headrace_broker.web.failing import Patience
from headrace_broker.web.login import TOO_MANY, address_of, local, sentence
from headrace_broker.web.sessions import BY_PROVIDER, COOKIE, SESSION_S, Person
from headrace_broker.web.visit import Doors, Services, Show

if TYPE_CHECKING:
    from headrace_broker.oidc.claims import Identified
    from headrace_broker.oidc.provider import Arrived, Provider
    from headrace_broker.oidc.sealed import Begun

log = structlog.get_logger("headrace.web")
BEGUN, TOKEN = "headrace_oidc", "headrace_oidc_token"
"""Cookies: of a login that is under way, and the ID token of the last one."""
PATH = "/login/oidc"
BUDGET_S = 25.0
"""For all that the provider is asked in one request."""
LONGEST = 4000


class LoginByProvider:
    """The routes. `show` makes a page."""

    def __init__(self, provider: "Provider", services: Services, doors: Doors, show: Show, patience: Patience) -> None:
        self._provider = provider
        self._services = services
        self._doors = doors
        self._show = show
        self._patience = patience
        self.routes = [
            Route(PATH, self._told(self._begin)),
            Route(f"{PATH}/callback", self._told(self._come_back)),
            Route(f"{PATH}/logout", self._told(self._log_out)),
        ]

    def _told(self, page: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The page; or one that tells what was wrong, and what to do."""

        async def shown(request: Request) -> Response:
            try:
                return await self._patience.within(BUDGET_S, page(request))
            except LoginRefused as error:
                log.warning("a login was refused", by="provider", kind=error.kind, address=address_of(request))
                status, text, advice = error.status, str(error), error.advice
            except ConfigError as error:
                log.error("nobody can log in by the provider", reason=str(error))
                status, text, advice = 500, "The broker's settings of the provider are not good.", f"Tell {self._provider.settings.contact}; the broker's log has more."
            except BrokerError as error:
                status, text, advice = 503, sentence(error), "Try again in a moment."
            values = {"title": "You are not logged in", "text": text, "advice": advice, "provider": self._provider.settings.named, "next": self._wanted(request)}
            response = self._show(request, "oidc_refused.html", values, status)
            response.delete_cookie(BEGUN, path=_path(request))
            return response

        return shown

    def _wanted(self, request: Request) -> str:
        """The page that somebody came for, where that is known: another try leads there."""
        from headrace_broker.oidc import sealed

        try:
            begun = sealed.unseal(request.cookies.get(BEGUN, ""), self._provider.settings.secret())
        except ConfigError:
            begun = None
        return local(request.query_params.get("next", "")) or (begun.wanted if begun is not None else "")

    async def _begin(self, request: Request) -> Response:
        from headrace_broker.oidc import sealed

        wanted = local(request.query_params.get("next", ""))
        public = self._provider.settings.public_url
        if urlsplit(public).netloc != request.headers.get("host") and "here" not in request.query_params:  # the provider would send back to where the cookie is not
            return RedirectResponse(f"{public}{PATH}?{urlencode({'next': wanted, 'here': 'yes'})}", 303, headers=HEADERS)
        cookie = request.cookies.get(COOKIE)
        begun = sealed.begin(wanted, hash_of(cookie).hex() if cookie else "")
        response = RedirectResponse(await self._provider.authorize_url(begun), 303, headers=HEADERS)
        value = sealed.seal(begun, self._provider.settings.secret())
        response.set_cookie(BEGUN, value, max_age=sealed.LASTS_S, httponly=True, samesite="lax", secure=self._encrypted(request), path=_path(request))
        return response

    async def _come_back(self, request: Request) -> Response:
        from headrace_broker.oidc import sealed

        asked = {name: request.query_params.get(name, "")[:LONGEST] for name in ("state", "code", "error")}
        begun = sealed.unseal(request.cookies.get(BEGUN, ""), self._provider.settings.secret())
        if begun is None:
            raise BegunElsewhere("This login was not begun in this browser, or longer than ten minutes ago.", "Begin it again; cookies must be allowed.")
        if not hmac.compare_digest(begun.state.encode(), asked["state"].encode()):
            raise BegunElsewhere("This answer is to another login than the one that this browser began last.", "Begin the login again, in one window alone.")
        if asked["error"] or not asked["code"]:
            said = "".join(character for character in asked["error"] if character.isalnum() or character == "_")[:60] or "no code"
            raise ProviderRefused(f"{self._provider.settings.named} did not let you in: {said}.", f"Begin the login again, or ask {self._provider.settings.contact}.")
        arrived = await self._arrived(request, begun, asked["code"])
        return await self._enter(request, await self._person(arrived.who), begun, arrived.id_token)

    async def _arrived(self, request: Request, begun: "Begun", code: str) -> "Arrived":
        """Whom the provider knows by a code."""
        guesses, address = self._doors.guesses, address_of(request)
        wait_s = guesses.begin("", address)
        if wait_s > 0:
            raise TooManyTries(f"Too many logins from your address have failed. The next one is looked at in {ceil(wait_s)} s.", "Begin the login again then.")
        try:
            arrived = await self._provider.arrived(begun, code, request.query_params.get("iss"))
        except ProviderAway:
            guesses.right("", address)  # it was not they
            raise
        guesses.right("", address)
        return arrived

    async def _person(self, who: "Identified") -> Person:
        """What somebody may do here. Raises NotAllowed."""
        settings = self._provider.settings
        rights = rights_of(who.groups, settings.rights)
        if rights is None:
            groups = "It names no group of yours." if not who.groups else "None of your groups is for this."
            raise NotAllowed(f"{settings.named} knows you as {who.name}, and nobody has allowed you anything here. {groups}", f"Ask {settings.contact}.")
        if rights.role is not None:
            return Person(f"{BY_PROVIDER}{who.name}", rights.role, rights.domain)
        user = await self._services.users.allowed(rights.user)
        if user is None:
            text = f"You are {who.name}, whose group has the rights of the user {rights.user}; that user does not exist, or is disabled."
            raise NotAllowed(text, f"Ask {settings.contact}.")
        return Person(f"{BY_PROVIDER}{who.name}", user.role, user.domain, user_id=user.user_id, epoch=user.epoch)

    async def _enter(self, request: Request, person: Person, begun: "Begun", id_token: str) -> Response:
        """A new session in the place of the one that the browser had when it left for the provider. Coming back from another site it does not send that one's cookie."""
        from headrace_broker.oidc import sealed

        register = self._doors.register
        register.sessions.end(request.cookies.get(COOKIE))
        before = register.sessions.known(bytes.fromhex(begun.before))
        if before is not None:
            before.end()
        value = await register.begin(person, address=address_of(request), browser=request.headers.get("user-agent", "")[:300])
        if value is None:
            raise LoginRefused(TOO_MANY, "Try again in a minute.")
        log.info("logged in", actor=person.actor, role=person.role.name.lower(), domain=person.domain or "all", address=address_of(request))
        response = self._show(request, "oidc_arrived.html", {"title": "Logged in", "there": prefix_of(request) + (begun.wanted or "/"), "name": person.name}, 200)
        set_cookie(response, request, value, encrypted=self._encrypted(request))
        response.delete_cookie(BEGUN, path=_path(request))
        hint = sealed.seal_token(id_token, self._provider.settings.secret())
        if hint is None:
            response.delete_cookie(TOKEN, path=_path(request))
        else:
            response.set_cookie(TOKEN, hint, max_age=int(SESSION_S), httponly=True, samesite="strict", secure=self._encrypted(request), path=_path(request))
        return response

    async def _log_out(self, request: Request) -> Response:
        from headrace_broker.oidc import sealed

        there = await self._provider.logout_url(sealed.unseal_token(request.cookies.get(TOKEN, ""), self._provider.settings.secret()))
        if there is None:
            raise LoginRefused("You are logged out here. The provider has no page to log out.", f"Close the browser, or look for one at {self._provider.settings.named}.")
        response = RedirectResponse(there, 303, headers=HEADERS)
        response.delete_cookie(TOKEN, path=_path(request))
        return response

    def _encrypted(self, request: Request) -> bool:
        """Whether the browser is here over TLS, though a proxy may have taken that off: then its cookies never travel without."""
        return urlsplit(self._provider.settings.public_url).scheme == "https" or request.url.scheme == "https"


def _path(request: Request) -> str:
    return prefix_of(request) + PATH
