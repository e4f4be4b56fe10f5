"""Is an ID token one of this provider, for this client, for now, and for this login (OpenID Connect Core 1.0, section 3.1.3.7)?

Taken are RS256 and ES256, each with keys of its own kind alone: neither "none", nor a public key that is used as the secret of an HMAC.
"""

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

import jwt

from headrace_broker.oidc.errors import TokenRefused

SKEW_S = 60.0
"""How much clocks may differ."""
KINDS = {"RS256": ("RSA", None), "ES256": ("EC", "P-256")}
"""(kty, crv) of the keys of an algorithm."""
REQUIRED = ["iss", "sub", "aud", "exp", "iat", "nonce"]
OURS = "This is for who administers headrace: its settings and those of the provider do not go together."
AGAIN = "Begin the login again."


class KeyUnknown(Exception):
    """None of these keys signed it: there may be newer ones."""


def verified(token: str, keys: Sequence[Mapping[str, Any]], *, issuer: str, client_id: str, nonce: str) -> dict[str, Any]:
    """The claims of a token. `keys`: those of the provider, as JSON Web Keys. Raises TokenRefused, KeyUnknown."""
    key, algorithm = _key(token, keys)
    try:
        claims = jwt.decode(token, key, algorithms=[algorithm], audience=client_id, issuer=issuer, leeway=SKEW_S, options={"require": REQUIRED})
    except jwt.ExpiredSignatureError as error:
        raise TokenRefused("expired", "The provider's ID token has expired already.", f"{AGAIN} If that does not help, look at the clocks of both machines.") from error
    except jwt.ImmatureSignatureError as error:
        raise TokenRefused("from_the_future", "The provider's ID token is not valid yet.", "Look at the clocks of both machines: they may differ by a minute.") from error
    except jwt.InvalidAudienceError as error:
        raise TokenRefused("wrong_audience", "The provider's ID token is for another program than this one.", OURS) from error
    except jwt.InvalidIssuerError as error:
        raise TokenRefused("wrong_issuer", "The ID token names another provider than the one that is configured.", OURS) from error
    except jwt.InvalidSignatureError as error:
        raise TokenRefused("wrong_signature", "The ID token's signature is not the provider's.", AGAIN) from error
    except jwt.MissingRequiredClaimError as error:
        raise TokenRefused("claim_missing", f"The provider's ID token lacks the claim {error.claim}.", OURS) from error
    except jwt.PyJWTError as error:
        raise TokenRefused("malformed", f"The provider's ID token cannot be used ({type(error).__name__}).", OURS) from error
    if claims.get("azp", client_id) != client_id or (isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and "azp" not in claims):
        raise TokenRefused("wrong_audience", "The provider's ID token was made for another program than this one.", OURS)
    if not isinstance(claims["nonce"], str) or not hmac.compare_digest(claims["nonce"].encode(errors="replace"), nonce.encode()):
        raise TokenRefused("wrong_nonce", "The provider's ID token is of another login than this one.", AGAIN)
    return dict(claims)


def _key(token: str, keys: Sequence[Mapping[str, Any]]) -> tuple[jwt.PyJWK, str]:
    """The key that the token names, with the algorithm."""
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise TokenRefused("malformed", "What the provider gave as an ID token is none.", OURS) from error
    algorithm, number = header.get("alg"), header.get("kid")
    if algorithm not in KINDS:
        raise TokenRefused("wrong_algorithm", f"The provider signs ID tokens in a way that is not taken here; RS256 and ES256 are, found {str(algorithm)[:20]!r}.", OURS)
    kty, crv = KINDS[algorithm]
    fit = [
        key for key in keys
        if key.get("kty") == kty and (crv is None or key.get("crv") == crv) and key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
        and number in (None, key.get("kid"))
    ]  # fmt: skip
    if len(fit) != 1:  # several: the token must say which
        raise KeyUnknown(str(number)[:100])
    try:
        return jwt.PyJWK(dict(fit[0]), algorithm=algorithm), algorithm
    except jwt.PyJWTError as error:
        raise TokenRefused("malformed", "The provider's key cannot be read.", OURS) from error
