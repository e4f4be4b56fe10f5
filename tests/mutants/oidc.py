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
)
