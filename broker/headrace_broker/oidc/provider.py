"""The provider, as this broker knows it: its addresses and keys, asked for when they are needed, and kept.

Both are kept for an hour, and served from then on for as long as the provider does not answer. A token that no known key has signed has the keys fetched again, so a
provider may change them at any moment, but only once in REFETCH_S: nobody's tokens can have this broker hammer the provider.
"""

import asyncio
import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import structlog

from headrace_broker.oidc.claims import Identified, identified, lacks
from headrace_broker.oidc.errors import LoginRefused, ProviderAway, ProviderRefused, TokenRefused
from headrace_broker.oidc.sealed import Begun
from headrace_broker.oidc.settings import OidcSettings
from headrace_broker.oidc.tokens import AGAIN, OURS, KeyUnknown, verified

KEPT_S = 3600.0
REFETCH_S = 30.0
TIMEOUT_S = 5.0
SILENT_S = 2.0
MOST_BYTES = 1024 * 1024
HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "headrace"}
LATER = "Try again in a minute. Until then whoever has a password or a token of headrace can log in with that."

log = structlog.get_logger("headrace.oidc")


@dataclass(frozen=True, slots=True)
class Arrived:
    """Somebody who came back from the provider. `id_token`: with which it knows whom to log out."""

    who: Identified
    id_token: str


class Provider:
    """One event loop uses it. `monotonic`: a clock in seconds."""

    def __init__(self, settings: OidcSettings, monotonic: Callable[[], float]) -> None:
        self.settings = settings
        self._monotonic = monotonic
        self._metadata: dict[str, Any] | None = None
        self._metadata_at = 0.0
        self._keys: list[Mapping[str, Any]] | None = None
        self._keys_at = 0.0
        self._again_at = -math.inf
        self._silent_until = -math.inf
        self._asking = asyncio.Lock()

    async def authorize_url(self, begun: Begun) -> str:
        """Where the browser goes to log in. Raises ProviderAway."""
        metadata = await self._known()
        asked = {
            "response_type": "code", "client_id": self.settings.client_id, "redirect_uri": self.settings.redirect_uri, "scope": self.settings.scopes,
            "state": begun.state, "nonce": begun.nonce, "code_challenge": begun.challenge, "code_challenge_method": "S256",
        }  # fmt: skip
        return _with(metadata["authorization_endpoint"], asked)

    async def logout_url(self, id_token: str | None) -> str | None:
        """Where somebody logs out at the provider, too; None: it has no such place. `id_token`: that of the login, as a hint; without it the provider asks the person.

        Raises ProviderAway.
        """
        end = (await self._known()).get("end_session_endpoint")
        asked = {"client_id": self.settings.client_id, "post_logout_redirect_uri": f"{self.settings.public_url}/login"}
        if id_token is not None:
            asked["id_token_hint"] = id_token
        return _with(end, asked) if isinstance(end, str) and self._may_go(end) else None

    async def arrived(self, begun: Begun, code: str, issuer: str | None) -> Arrived:
        """Who came back with a code. `issuer`: as the answer names it (RFC 9207). Raises LoginRefused."""
        metadata = await self._known()
        if (issuer or metadata.get("authorization_response_iss_parameter_supported") is True) and issuer != self.settings.issuer:
            raise TokenRefused("wrong_issuer", "This answer is not that of the provider to which you were sent.", "Begin the login again.")
        answer = await self._exchange(metadata, begun, code)
        token = answer["id_token"]
        claims = await self._verified(metadata, begun, token)
        userinfo = await self._userinfo(metadata, claims, answer.get("access_token")) if lacks(claims, self.settings) else {}
        return Arrived(identified(claims, userinfo, self.settings), token)

    async def _verified(self, metadata: Mapping[str, Any], begun: Begun, token: str) -> dict[str, Any]:
        """The claims of an ID token."""
        for again in (False, True):
            keys = await self._jwks(metadata, anew=again)
            try:
                return verified(token, keys, issuer=self.settings.issuer, client_id=self.settings.client_id, nonce=begun.nonce)
            except KeyUnknown as error:
                log.warning("an ID token is signed with a key that is not known", key=str(error), again=again)
        text = "The provider's ID token is signed with a key that it does not publish."
        raise TokenRefused("unknown_key", text, f"Try again in {REFETCH_S:g} s: it may just have changed its keys.")

    async def _known(self) -> dict[str, Any]:
        """The discovery document."""
        async with self._asking:
            if self._metadata is None or self._monotonic() - self._metadata_at > KEPT_S:
                try:
                    self._metadata = self._checked(await self._look(f"{self.settings.issuer.rstrip('/')}/.well-known/openid-configuration"))
                    self._metadata_at = self._monotonic()
                except ProviderAway:
                    if self._metadata is None:
                        raise
            return self._metadata

    def _checked(self, document: dict[str, Any]) -> dict[str, Any]:
        if document.get("issuer") != self.settings.issuer:
            raise TokenRefused("wrong_issuer", f"The provider calls itself {str(document.get('issuer'))[:200]!r}, and is configured as {self.settings.issuer!r}.", OURS)
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            if not isinstance(document.get(name), str) or not self._may_go(document[name]):
                raise TokenRefused("malformed", f"The provider's discovery document has no {name} that can be used.", OURS)
        return document

    def _may_go(self, url: str) -> bool:
        """Whether it is encrypted; a provider on this machine need not be."""
        try:
            return urlsplit(url).scheme in ("https", urlsplit(self.settings.issuer).scheme)
        except ValueError:  # it is no address
            return False

    async def _jwks(self, metadata: Mapping[str, Any], *, anew: bool) -> list[Mapping[str, Any]]:
        """The provider's keys. `anew`: those that are known do not do; they are fetched again if that was not done for this reason in the last REFETCH_S."""
        async with self._asking:
            now = self._monotonic()
            anew = anew and now - self._again_at > REFETCH_S
            if anew:
                self._again_at = now
            if anew or self._keys is None or now - self._keys_at > KEPT_S:
                try:
                    found = (await self._look(metadata["jwks_uri"])).get("keys")
                    self._keys = [key for key in found if isinstance(key, dict)] if isinstance(found, list) else []
                    self._keys_at = now
                except ProviderAway:
                    if self._keys is None:
                        raise
            return self._keys

    async def _look(self, url: str) -> dict[str, Any]:
        """What stands there. After a failure nobody waits for the next one at once: all who come meanwhile are told of the last."""
        if self._monotonic() < self._silent_until:
            raise ProviderAway(self._silence(), LATER)
        try:
            return await self._ask("GET", url)
        except ProviderAway:
            self._silent_until = self._monotonic() + SILENT_S
            raise

    async def _userinfo(self, metadata: Mapping[str, Any], claims: Mapping[str, Any], access_token: Any) -> dict[str, Any]:
        """What the userinfo endpoint says of the person of an ID token (OpenID Connect Core 1.0, section 5.3); nothing where there is none."""
        address = metadata.get("userinfo_endpoint")
        if not isinstance(address, str) or not self._may_go(address) or not isinstance(access_token, str):
            return {}
        if not access_token.isascii() or not access_token.isprintable():
            raise TokenRefused("malformed", "The provider gave an access token that is none.", OURS)
        found = await self._ask("GET", address, auth=_Bearer(access_token))
        if found.get("sub") != claims["sub"]:
            raise TokenRefused("wrong_subject", "The provider's userinfo endpoint speaks of somebody else than its ID token.", AGAIN)
        return found

    async def _exchange(self, metadata: Mapping[str, Any], begun: Begun, code: str) -> dict[str, Any]:
        """What a code is good for: at least `id_token`, a text."""
        fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.settings.redirect_uri, "code_verifier": begun.verifier}
        methods = metadata.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        secret, auth = self.settings.secret(), None
        if "client_secret_basic" in methods:
            auth = httpx.BasicAuth(quote_plus(self.settings.client_id), quote_plus(secret))  # RFC 6749, section 2.3.1
        else:
            fields |= {"client_id": self.settings.client_id, "client_secret": secret}
        answer = await self._ask("POST", metadata["token_endpoint"], fields, auth)
        if not isinstance(answer.get("id_token"), str):
            raise TokenRefused("malformed", "The provider gave no ID token.", f"{OURS} The scope openid must be among those that are asked for.")
        return answer

    async def _ask(self, method: str, url: str, fields: Mapping[str, str] | None = None, auth: httpx.Auth | None = None) -> dict[str, Any]:
        """The object that the provider answers. Redirects are not followed: they would carry a secret to somewhere that nobody chose. Nor is anything unpacked: a few
        bytes could become any number.
        """
        try:
            async with (
                asyncio.timeout(2 * TIMEOUT_S),
                httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, auth=auth) as client,
                client.stream(method, url, data=dict(fields) if fields else None, headers=HEADERS) as answer,
            ):
                status, body = answer.status_code, b""
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > MOST_BYTES:
                        raise self._away(f"{url}: more than 1 MiB")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError) as error:
            raise self._away(f"{url}: {type(error).__name__}: {error}") from error
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if status == 200 and isinstance(document, dict):
            return document
        if fields is not None and 400 <= status < 500:
            raise self._refused(status, document)
        raise self._away(f"{url}: HTTP {status}{'' if isinstance(document, dict) else ', and no JSON object'}")

    def _away(self, why: str) -> ProviderAway:
        log.warning("the OpenID provider does not answer as one", issuer=self.settings.issuer, reason=why[:300])
        return ProviderAway(self._silence(), LATER)

    def _silence(self) -> str:
        return f"{self.settings.named}, where people log in, does not answer as it should."

    def _refused(self, status: int, document: Any) -> LoginRefused:
        """What it said of a code, or of our secret."""
        said = document.get("error") if isinstance(document, dict) else None
        said = said if isinstance(said, str) and said.isascii() and said.replace("_", "").isalpha() and len(said) <= 60 else f"HTTP {status}"
        if said == "invalid_grant":
            return ProviderRefused("The provider does not take its own code any more: this page was loaded twice, or late.", "Begin the login again.")
        return ProviderRefused(f"The provider does not talk to this broker: {said}.", f"{OURS} Look at client id and secret first.")


class _Bearer(httpx.Auth):
    """Sends an access token (RFC 6750, section 2.1)."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["authorization"] = f"Bearer {self._token}"
        yield request


def _with(address: str, asked: Mapping[str, str]) -> str:
    """An address with these parameters behind those that it has."""
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(asked)}"
