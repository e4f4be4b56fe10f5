"""What is taken from an OpenID provider, and what is not: tokens, keys, claims, groups, and logins that are under way."""

import base64
import gzip
import secrets
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from headrace_broker.config import ConfigError, parse
from headrace_broker.model.access import Role
from headrace_broker.model.group_rights import GroupRights, read_rights, rights_of
from headrace_broker.oidc import sealed
from headrace_broker.oidc.claims import Identified, identified, lacks
from headrace_broker.oidc.errors import LoginRefused, ProviderAway, TokenRefused
from headrace_broker.oidc.provider import KEPT_S, REFETCH_S, SILENT_S, Provider
from headrace_broker.oidc.settings import OidcSettings, settings_of
from headrace_broker.oidc.tokens import KeyUnknown, verified

from tests.support.openid import CLIENT, SECRET, Claims, Key, OpenIdProvider, new_key, signed

ISSUER, NONCE = "https://login.example", "the nonce of this login"
RSA, EC = new_key("RS256"), new_key("ES256")


def claims(**changes: Any) -> Claims:
    """Those of a good token; None takes one out."""
    now = time.time()
    good = {"iss": ISSUER, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": NONCE, **changes}
    return {name: value for name, value in good.items() if value is not None}


def check(token: str, *keys: Key) -> Claims:
    return verified(token, [key.public for key in keys or (RSA, EC)], issuer=ISSUER, client_id=CLIENT, nonce=NONCE)


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS256", "ES256"])
def test_a_good_token_is_taken_and_clocks_may_differ_by_a_minute(key: Key) -> None:
    assert check(signed(claims(), key))["sub"] == "1"
    now = time.time()
    assert check(signed(claims(exp=now - 50), key)) and check(signed(claims(iat=now + 50), key)) and check(signed(claims(nbf=now + 50), key))
    assert check(signed(claims(aud=[CLIENT, "other"], azp=CLIENT), key))


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"exp": time.time() - 3600}, "expired"),
        ({"iat": time.time() + 3600}, "from_the_future"),
        ({"nbf": time.time() + 3600}, "from_the_future"),
        ({"aud": "other"}, "wrong_audience"),
        ({"aud": [CLIENT, "other"]}, "wrong_audience"),
        ({"azp": "other"}, "wrong_audience"),
        ({"iss": "https://evil.example"}, "wrong_issuer"),
        ({"nonce": "of another login"}, "wrong_nonce"),
        ({"nonce": None}, "claim_missing"),
        ({"exp": None}, "claim_missing"),
        ({"sub": None}, "claim_missing"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
        ({"nonce": "\ud800"}, "wrong_nonce"),
    ],
)
def test_a_token_that_fails_one_check_is_refused(changes: Claims, kind: str) -> None:
    with pytest.raises(TokenRefused) as refused:
        check(signed(claims(**changes), EC))
    assert refused.value.kind == kind and refused.value.advice


def test_only_the_algorithms_that_are_named_are_taken_with_keys_of_their_kind() -> None:
    hmac_secret = jwt.encode(claims(), SECRET, algorithm="HS256", headers={"kid": RSA.number})
    nothing = jwt.encode(claims(), "", algorithm="none", headers={"kid": RSA.number})
    for token in (hmac_secret, nothing, jwt.encode(claims(), RSA.private, algorithm="RS512", headers={"kid": RSA.number})):
        with pytest.raises(TokenRefused) as refused:
            check(token)
        assert refused.value.kind == "wrong_algorithm"
    with pytest.raises(KeyUnknown):  # the number of a key of another kind
        check(signed(claims(), EC, kid=RSA.number))
    with pytest.raises(TokenRefused) as refused:
        check(signed(claims(), replace(new_key(), number=EC.number)))
    assert refused.value.kind == "wrong_signature"
    nested = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 5000).decode()
    for garbage in ("", "a.b.c", "x" * 100, f"{nested}.a.b"):
        with pytest.raises(TokenRefused):
            check(garbage)


def test_a_token_without_the_number_of_its_key_is_taken_where_there_is_one_key_alone() -> None:
    token = jwt.encode(claims(), EC.private, algorithm="ES256")
    assert check(token, EC, RSA)["sub"] == "1"
    with pytest.raises(KeyUnknown):
        check(token, EC, new_key())


def test_groups_have_the_rights_of_the_first_line_that_fits() -> None:
    lines = read_rights("cn=ops,dc=example=operator@*; dev = viewer@shop ;letters=user/mail;*=viewer")
    assert lines == (
        GroupRights("cn=ops,dc=example", Role.OPERATOR), GroupRights("dev", Role.VIEWER, "shop"), GroupRights("letters", user="mail"),
        GroupRights("*", Role.VIEWER, "default"),
    )  # fmt: skip
    assert rights_of({"dev", "letters"}, lines) == lines[1] and rights_of({"x"}, lines) == lines[3] and rights_of(set(), lines[:3]) is None


@pytest.mark.parametrize("text", ["", "ops", "=admin", "ops=boss", "ops=guest", "ops=agent", "ops=viewer@", "ops=viewer@a b", "ops=user/", "ops=user/a b"])
def test_lines_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        read_rights(text)


def options(secret: Path, **changes: str | None) -> list[str]:
    """Those of a broker with a provider."""
    given: dict[str, str | None] = {
        "oidc-issuer": ISSUER, "oidc-client-id": CLIENT, "oidc-client-secret-file": str(secret), "oidc-groups": "ops=admin", "public-url": "https://jobs.example/ops/",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }  # fmt: skip
    return [f"--{name}={value}" for name, value in given.items() if value is not None]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The file."""
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    return path


def test_options_of_a_provider_belong_together_and_are_checked_at_the_start(secret: Path) -> None:
    found = settings_of(parse(options(secret)).options)
    assert found is not None and found.secret() == SECRET and found.redirect_uri == "https://jobs.example/ops/login/oidc/callback" and found.named == "login.example"
    assert settings_of(parse([]).options) is None and settings_of(parse(["--public-url", "https://jobs.example"]).options) is None
    for changes, said in (
        ({"oidc_groups": None}, "needs oidc_groups too"),
        ({"oidc_issuer": None}, "needs oidc_issuer too"),
        ({"public_url": None}, "needs public_url too"),
        ({"oidc_groups": "ops=boss"}, "rights of group 'ops'"),
        ({"oidc_issuer": "http://login.example"}, "oidc_issuer: 'http://login.example'"),
        ({"oidc_issuer": "https://login.example/?x=1"}, "without a question mark"),
        ({"public_url": "http://jobs.example"}, "public_url"),
        ({"oidc_scopes": "email"}, "openid"),
    ):
        with pytest.raises(ConfigError, match=said.replace("?", r"\?")):
            parse(options(secret, **changes))
    assert parse(options(secret, oidc_issuer="http://127.0.0.1:9", public_url="http://localhost:7280"))
    for content in (None, "", "short"):
        secret.unlink() if content is None else secret.write_text(content)
        with pytest.raises(ConfigError, match="--oidc-client-secret-file"):
            settings_of(parse(options(secret)).options)
    assert SECRET not in "\n".join(parse(options(secret)).lines())


@pytest.fixture
def settings(secret: Path, provider: OpenIdProvider) -> OidcSettings:
    """Of a broker on this machine."""
    found = settings_of(parse(options(secret, oidc_issuer=provider.issuer, oidc_groups="ops=operator@*;all=viewer")).options)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def running() -> Iterator[OpenIdProvider]:
    """One provider for the module."""
    provider = OpenIdProvider()
    yield provider
    provider.stop()


@pytest.fixture
def provider(running: OpenIdProvider) -> OpenIdProvider:
    """As it is at first."""
    running.reset()
    running.asked.clear()
    return running


@pytest.mark.parametrize(
    ("given", "name", "groups"),
    [
        ({"preferred_username": "grace", "groups": ["a", 7, "b"]}, "grace", {"a", "b"}),
        ({"preferred_username": "grace", "groups": "one"}, "grace", {"one"}),
        ({"preferred_username": "grace"}, "grace", set()),
        ({"groups": ["a"]}, None, set()),
        ({"preferred_username": ["grace"]}, None, set()),
        ({"preferred_username": "a b"}, None, set()),
        ({"preferred_username": "a\nb"}, None, set()),
        ({"preferred_username": "x" * 101}, None, set()),
    ],
)
def test_claims_name_a_person_and_groups(given: Claims, name: str | None, groups: set[str], settings: OidcSettings) -> None:
    if name is None:
        with pytest.raises(TokenRefused, match="preferred_username"):
            identified(given, {}, settings)
        return
    found = identified(given, {}, settings)
    assert found.name == name and set(found.groups) == groups


def test_claims_may_lie_deeper_and_an_address_must_be_ones_own(settings: OidcSettings) -> None:
    other = replace(settings, name_claim="email", groups_claim="realm_access.roles")
    assert identified({"email": "g@x.example", "realm_access": {"roles": ["ops"]}}, {}, other).groups == {"ops"}
    assert identified({"email": "g@x.example", "realm_access.roles": ["dev"], "realm_access": 7}, {}, other).groups == {"dev"}
    with pytest.raises(TokenRefused, match="has not verified"):
        identified({"email": "g@x.example", "email_verified": False}, {"email_verified": True}, other)
    for said in (False, "false"):
        with pytest.raises(TokenRefused, match="has not verified"):
            identified({}, {"email": "g@x.example", "email_verified": said}, other)


def test_what_a_token_says_counts_and_userinfo_tells_the_rest(settings: OidcSettings) -> None:
    whole = {"preferred_username": "grace", "groups": ["a"]}
    assert not lacks(whole, settings) and not lacks({**whole, "groups": []}, settings)
    assert lacks({"preferred_username": "grace"}, settings) and lacks({"groups": ["a"]}, settings)
    assert identified(whole, {"preferred_username": "mallory", "groups": ["b"]}, settings) == Identified("grace", frozenset({"a"}))
    assert identified({"preferred_username": "grace", "groups": []}, {"groups": ["b"]}, settings).groups == set()
    assert identified({"groups": ["a"]}, {"preferred_username": "grace", "groups": ["b"]}, settings) == Identified("grace", frozenset({"a"}))
    deeper = replace(settings, groups_claim="realm_access.roles")
    assert identified({"preferred_username": "grace", "realm_access": {"x": 1}}, {"realm_access": {"roles": ["ops"]}}, deeper).groups == {"ops"}


def test_a_login_that_a_newer_broker_began_goes_on_with_what_is_known_of_it() -> None:
    @dataclass(frozen=True, slots=True)
    class Newer(sealed.Begun):
        hint: str = "of a release to come"

    begun = Newer("state", "nonce", "verifier", "/jobs", "ab12")
    assert sealed.unseal(sealed.seal(begun, SECRET), SECRET) == sealed.Begun("state", "nonce", "verifier", "/jobs", "ab12")


def test_a_login_under_way_is_known_to_all_with_the_secret_for_ten_minutes_and_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = sealed.begin("/jobs?x=1")
    value = sealed.seal(begun, SECRET)
    assert sealed.unseal(value, SECRET) == begun and begun.nonce not in value
    assert sealed.unseal(value, SECRET + "x") is None and sealed.unseal("", SECRET) is None and sealed.unseal("ä", SECRET) is None
    assert sealed.unseal(value[:-4] + ("AAAA" if not value.endswith("AAAA") else "BBBB"), SECRET) is None
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + sealed.LASTS_S + 2)
    assert sealed.unseal(value, SECRET) is None
    assert len({*(getattr(sealed.begin(""), name) for name in ("state", "nonce", "verifier")), begun.state}) == 4


def test_an_id_token_is_kept_for_the_logout_unless_it_is_too_long_and_is_no_login_under_way() -> None:
    token = f"eyJ.{secrets.token_urlsafe(1500)}.x"
    value = sealed.seal_token(token, SECRET)
    assert value is not None and len(value) <= 2800 and token[:40] not in value and sealed.unseal_token(value, SECRET) == token
    assert sealed.unseal_token(value, SECRET + "x") is None and sealed.unseal_token("", SECRET) is None
    assert sealed.unseal(value, SECRET) is None and sealed.unseal_token(sealed.seal(sealed.begin(""), SECRET), SECRET) is None
    assert sealed.seal_token(secrets.token_urlsafe(4000), SECRET) is None


class Clock:
    """Of the provider's client."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def known(settings: OidcSettings, clock: Clock) -> Provider:
    """The provider as a broker knows it."""
    return Provider(settings, clock)


async def come(known: Provider, provider: OpenIdProvider) -> Identified:
    """A whole login, without a browser."""
    from urllib.parse import parse_qsl, urlsplit

    begun = sealed.begin("")
    back = provider.authorize(dict(parse_qsl(urlsplit(await known.authorize_url(begun)).query)))
    return (await known.arrived(begun, dict(parse_qsl(urlsplit(back).query))["code"], provider.issuer)).who


async def refused(known: Provider, provider: OpenIdProvider) -> str:
    with pytest.raises(LoginRefused) as found:
        await come(known, provider)
    return found.value.kind


async def test_new_keys_of_the_provider_are_fetched_once_and_tokens_of_nobody_fetch_no_more(known: Provider, provider: OpenIdProvider, clock: Clock) -> None:
    assert (await come(known, provider)).name == "grace" and (await come(known, provider)).name
    assert provider.asked == {"/.well-known/openid-configuration": 1, "/keys": 1, "/token": 2}
    provider.key = new_key("RS256")
    provider.published = [provider.key]
    assert (await come(known, provider)).name
    assert provider.asked["/keys"] == 2
    stranger = new_key()
    provider.sign = lambda claims: signed(claims, stranger)
    assert [await refused(known, provider) for _ in range(3)] == ["unknown_key"] * 3 and provider.asked["/keys"] == 2
    clock.now += REFETCH_S + 1
    assert await refused(known, provider) == "unknown_key" and await refused(known, provider) == "unknown_key" and provider.asked["/keys"] == 3
    provider.sign = None
    clock.now += KEPT_S + 1
    assert (await come(known, provider)).name and provider.asked["/keys"] == 4 and provider.asked["/.well-known/openid-configuration"] == 2


async def test_what_is_known_serves_while_the_provider_is_away(known: Provider, provider: OpenIdProvider, clock: Clock) -> None:
    provider.stop()
    assert await refused(known, provider) == "provider_away"
    provider.start()
    assert await refused(known, provider) == "provider_away"  # nobody waits for a provider that was away a moment ago
    clock.now += SILENT_S + 1
    assert (await come(known, provider)).name
    provider.stop()
    clock.now += KEPT_S + 1
    begun = sealed.begin("")
    assert "/authorize?" in await known.authorize_url(begun)
    with pytest.raises(ProviderAway):
        await known.arrived(begun, "code", None)


@pytest.mark.parametrize(
    ("metadata", "kind"),
    [
        ({"issuer": "https://evil.example"}, "wrong_issuer"),
        ({"token_endpoint": None}, "malformed"),
        ({"jwks_uri": "file:///etc/passwd"}, "malformed"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "malformed"),
        ({"token_endpoint": "https://[x/"}, "malformed"),
    ],
)
async def test_a_discovery_document_that_is_not_the_providers_is_refused(known: Provider, provider: OpenIdProvider, metadata: Claims, kind: str) -> None:
    provider.metadata = metadata
    assert await refused(known, provider) == kind


async def test_the_answer_names_its_issuer_where_the_provider_says_so(known: Provider, provider: OpenIdProvider) -> None:
    with pytest.raises(TokenRefused, match="not that of the provider"):
        await known.arrived(sealed.begin(""), "code", "https://evil.example")
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    other = Provider(known.settings, lambda: 0.0)
    with pytest.raises(TokenRefused, match="not that of the provider"):
        await other.arrived(sealed.begin(""), "code", None)


async def test_a_code_is_good_once_with_its_verifier_and_secrets_go_where_the_provider_wants_them(
    known: Provider, provider: OpenIdProvider, secret: Path, settings: OidcSettings
) -> None:
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await come(known, provider)).name
    begun = sealed.begin("")
    await known.authorize_url(begun)
    with pytest.raises(LoginRefused, match="does not take its own code"):
        await known.arrived(begun, "used", provider.issuer)
    secret.write_text("another secret of some length")
    with pytest.raises(LoginRefused, match="invalid_client"):
        await come(known, provider)
    there = f"{provider.issuer}/end?client_id={CLIENT}&post_logout_redirect_uri=https%3A%2F%2Fjobs.example%2Fops%2Flogin"
    assert await known.logout_url(None) == there and await known.logout_url("a.b.c") == f"{there}&id_token_hint=a.b.c"
    provider.metadata = {"end_session_endpoint": None}
    assert await Provider(settings, lambda: 0.0).logout_url(None) is None


async def test_a_provider_that_sends_too_much_is_one_that_is_away(provider: OpenIdProvider, settings: OidcSettings) -> None:
    provider.metadata = {"long": "x" * 2_000_000}
    assert await refused(Provider(settings, lambda: 0.0), provider) == "provider_away"
    provider.metadata = {}
    assert (await come(Provider(settings, lambda: 0.0), provider)).name


@pytest.mark.parametrize(("headers", "body"), [({"Content-Encoding": "gzip"}, gzip.compress(bytes(100_000_000), 1)), ({}, b"[" * 100_000)], ids=["a bomb", "nested"])
async def test_an_answer_of_the_token_endpoint_that_would_fill_memory_is_none(known: Provider, provider: OpenIdProvider, headers: dict[str, str], body: bytes) -> None:
    provider.raw["/token"] = (200, headers, body)
    tracemalloc.start()
    try:
        assert await refused(known, provider) == "provider_away"
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


async def test_what_an_id_token_leaves_out_is_asked_of_the_userinfo_endpoint(known: Provider, provider: OpenIdProvider, settings: OidcSettings, clock: Clock) -> None:
    provider.kept_back = {"groups", "preferred_username"}
    assert await come(known, provider) == Identified("grace", frozenset({"ops", "all"})) and provider.asked["/userinfo"] == 1
    provider.kept_back = set()
    assert (await come(known, provider)).name == "grace" and provider.asked["/userinfo"] == 1, "it is asked where something is missing alone"
    provider.kept_back, provider.userinfo = {"groups"}, {"sub": "another"}
    assert await refused(known, provider) == "wrong_subject"
    provider.userinfo = {"sub": None}
    assert await refused(known, provider) == "wrong_subject"
    provider.userinfo, provider.raw["/userinfo"] = {}, (401, {}, b"{}")
    assert await refused(known, provider) == "provider_away", "nobody is let in with fewer groups than they may have"
    provider.raw["/userinfo"] = (200, {"Content-Type": "application/jwt"}, b"eyJ.a.b")
    assert await refused(known, provider) == "provider_away"
    provider.raw["/userinfo"] = (302, {"Location": f"{provider.issuer}/elsewhere"}, b"")
    assert await refused(known, provider) == "provider_away" and "/elsewhere" not in provider.asked
    provider.raw.clear()
    for address in (None, "ftp://127.0.0.1/userinfo"):
        provider.metadata = {"userinfo_endpoint": address}
        assert await come(Provider(settings, clock), provider) == Identified("grace", frozenset())
