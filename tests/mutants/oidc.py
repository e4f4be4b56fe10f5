"""Logins by an OpenID provider."""

from tests.mutants.mutant import Mutant

OIDC = "broker/headrace_broker/oidc"
WEB = "broker/headrace_broker/web/login_oidc.py"
UNIT = "tests/unit/test_oidc.py"
LOGIN = "tests/web/test_login_oidc.py"

MUTANTS = (
    Mutant(
        "a token of another login is taken",
        f"{OIDC}/tokens.py",
        "or not hmac.compare_digest(claims",
        "or False and not hmac.compare_digest(claims",
        f"{UNIT} -k one_check",
    ),
    Mutant(
        "a token for another program is taken",
        f"{OIDC}/tokens.py",
        'options={"require": REQUIRED}',
        'options={"require": REQUIRED, "verify_aud": False}',
        f"{UNIT} -k one_check",
    ),
    Mutant("a token that was made for another program is taken", f"{OIDC}/tokens.py", 'claims.get("azp", client_id) != client_id or', "False or", f"{UNIT} -k one_check"),
    Mutant("clocks must agree", f"{OIDC}/tokens.py", "leeway=SKEW_S", "leeway=0.0", f"{UNIT} -k differ_by_a_minute"),
    Mutant("clocks may differ by an hour and more", f"{OIDC}/tokens.py", "SKEW_S = 60.0", "SKEW_S = 6000.0", f"{UNIT} -k one_check"),
    Mutant("any algorithm is taken", f"{OIDC}/tokens.py", "    if algorithm not in KINDS:", "    if False:", f"{UNIT} -k only_the_algorithms"),
    Mutant("one of several keys is taken", f"{OIDC}/tokens.py", "if len(fit) != 1:", "if not fit:", f"{UNIT} -k number_of_its_key"),
    Mutant("tokens of nobody fetch keys", f"{OIDC}/provider.py", "anew = anew and now - self._again_at > REFETCH_S", "anew = anew", f"{UNIT} -k new_keys"),
    Mutant("new keys are not fetched", f"{OIDC}/provider.py", "if anew or self._keys is None", "if self._keys is None", f"{UNIT} -k new_keys"),
    Mutant("a provider that is away is waited for by each", f"{OIDC}/provider.py", "if self._monotonic() < self._silent_until:", "if False:", f"{UNIT} -k what_is_known"),
    Mutant("another provider's document is taken", f"{OIDC}/provider.py", 'if document.get("issuer") != self.settings.issuer:', "if False:", f"{UNIT} -k discovery"),
    Mutant(
        "the provider leads anywhere",
        f"{OIDC}/provider.py",
        'return urlsplit(url).scheme in ("https", urlsplit(self.settings.issuer).scheme)',
        "return True",
        f"{UNIT} -k discovery",
    ),
    Mutant(
        "what a token leaves out is asked of nobody",
        f"{OIDC}/provider.py",
        "if lacks(claims, self.settings) else {}",
        "if False else {}",
        f"{UNIT} -k leaves_out",
    ),
    Mutant(
        "userinfo of somebody else is taken",
        f"{OIDC}/provider.py",
        'if found.get("sub") != claims["sub"]:',
        "if False:",
        f"{UNIT} -k leaves_out",
    ),
    Mutant(
        "the userinfo endpoint may be anywhere",
        f"{OIDC}/provider.py",
        "if not isinstance(address, str) or not self._may_go(address) or",
        "if not isinstance(address, str) or",
        f"{UNIT} -k leaves_out",
    ),
    Mutant(
        "userinfo overrules the token",
        f"{OIDC}/claims.py",
        "    if groups is None:\n        groups = _claim(userinfo, settings.groups_claim)\n",
        "    groups = _claim(userinfo, settings.groups_claim)\n",
        f"{UNIT} -k token_says",
    ),
    Mutant(
        "one source says the address and another one that it is verified",
        f"{OIDC}/claims.py",
        'and str(source.get("email_verified")).lower()',
        'and str({**claims, **userinfo}.get("email_verified")).lower()',
        f"{UNIT} -k ones_own",
    ),
    Mutant("a few bytes become any number", f"{OIDC}/provider.py", "answer.aiter_raw()", "answer.aiter_bytes()", f"{UNIT} -k fill_memory"),
    Mutant("an answer may be nested without end", f"{OIDC}/provider.py", "except (ValueError, RecursionError):", "except ValueError:", f"{UNIT} -k fill_memory"),
    Mutant("a nonce that is no text ends in a traceback", f"{OIDC}/tokens.py", '.encode(errors="replace")', ".encode()", f"{UNIT} -k one_check"),
    Mutant(
        "the provider does not know whom to log out", f"{OIDC}/provider.py", "        if id_token is not None:\n", "        if False:\n", f"{LOGIN} -k does_something"
    ),
    Mutant("a cookie of any length is set", f"{OIDC}/sealed.py", "return value if len(value) <= LONGEST_VALUE else None", "return value", f"{LOGIN} -k no_other_site"),
    Mutant(
        "another site has people logged out",
        WEB,
        'response.set_cookie(TOKEN, hint, max_age=int(SESSION_S), httponly=True, samesite="strict"',
        'response.set_cookie(TOKEN, hint, max_age=int(SESSION_S), httponly=True, samesite="lax"',
        f"{LOGIN} -k no_other_site",
    ),
    Mutant(
        "codes are guessed at the provider",
        WEB,
        "        if wait_s > 0:\n            raise TooManyTries",
        "        if False:\n            raise TooManyTries",
        f"{LOGIN} -k so_often",
    ),
    Mutant(
        "a provider that is away counts as a guess",
        WEB,
        '            guesses.right("", address)  # it was not they\n',
        "",
        f"{LOGIN} -k so_often",
    ),
    Mutant(
        "a login that is right counts as a guess", WEB, '        guesses.right("", address)\n        return arrived', "        return arrived", f"{LOGIN} -k so_often"
    ),
    Mutant(
        "a session's cookie travels without TLS behind a proxy",
        WEB,
        "set_cookie(response, request, value, encrypted=self._encrypted(request))",
        "set_cookie(response, request, value)",
        f"{LOGIN} -k travels_without",
    ),
    Mutant(
        "a session by the provider lasts as long as any",
        "broker/headrace_broker/web/sessions.py",
        "min(SESSION_S, self._provider_s) if session.person.by_provider else SESSION_S",
        "SESSION_S",
        "tests/unit/test_login.py -k provider_began",
    ),
    Mutant(
        "nobody says how long a session by the provider lasts", "broker/headrace_broker/app.py", ", provider_s=options.oidc_session_s", "", f"{LOGIN} -k after_the_time"
    ),
    Mutant("a newer broker's login ends here", f"{OIDC}/sealed.py", " if name in Begun.__slots__}", "}", f"{UNIT} -k newer_broker"),
    Mutant("a login under way lasts for ever", f"{OIDC}/sealed.py", ", ttl=LASTS_S", "", f"{UNIT} -k ten_minutes"),
    Mutant("an address need not be verified", f"{OIDC}/claims.py", 'if settings.name_claim == "email" and', "if False and", f"{UNIT} -k ones_own"),
    Mutant(
        "an answer to another login is taken",
        WEB,
        'if not hmac.compare_digest(begun.state.encode(), asked["state"].encode()):',
        "if False:",
        f"{LOGIN} -k did_not_ask_for",
    ),
    Mutant(
        "a request says where the provider sends back to",
        WEB,
        'if urlsplit(public).netloc != request.headers.get("host") and',
        "if False and",
        f"{LOGIN} -k does_not_say",
    ),
    Mutant(
        "a login by a provider leads anywhere",
        WEB,
        'wanted = local(request.query_params.get("next", ""))',
        'wanted = request.query_params.get("next", "")',
        f"{LOGIN} -k alone",
    ),
    Mutant(
        "a disabled user's rights count",
        "broker/headrace_broker/actions/users.py",
        "return row if row is not None and row.disabled_at is None else None\n\n    async def accept",
        "return row\n\n    async def accept",
        f"{LOGIN} -k domain_of_ones_own",
    ),
    Mutant("the session before a login goes on", WEB, "        if before is not None:\n", "        if False:\n", f"{LOGIN} -k from_before"),
    Mutant(
        "an address that is written as not verified is taken",
        "broker/headrace_broker/oidc/claims.py",
        'str(source.get("email_verified")).lower() == "false"',
        'source.get("email_verified") is False',
        "tests/unit/test_oidc.py -k lie_deeper",
    ),
)
