"""Whom the claims of an ID token name, and which groups they are in. What the token leaves out, the provider's userinfo endpoint may tell; what it says, counts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace_broker.oidc.errors import TokenRefused
from headrace_broker.oidc.settings import OidcSettings

LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Identified:
    """Somebody whom the provider knows."""

    name: str
    groups: frozenset[str]


def lacks(claims: Mapping[str, Any], settings: OidcSettings) -> bool:
    """Whether the token does not say who somebody is and in which groups. A list of no groups says it."""
    return any(_claim(claims, name) is None for name in (settings.name_claim, settings.groups_claim))


def identified(claims: Mapping[str, Any], userinfo: Mapping[str, Any], settings: OidcSettings) -> Identified:
    """Who it is. Raises TokenRefused when the claim that names people does not."""
    source = claims if _claim(claims, settings.name_claim) is not None else userinfo
    name = _claim(source, settings.name_claim)
    if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not name.isprintable() or " " in name:
        wrong = "missing" if name is None else f"not a name of 1 to {LONGEST_NAME} characters without spaces"
        advice = "This is for who administers headrace: have the provider tell that claim, or name another one (--oidc-name-claim)."
        raise TokenRefused("no_name", f"The provider does not say who you are: the claim {settings.name_claim} is {wrong}.", advice)
    if settings.name_claim == "email" and str(source.get("email_verified")).lower() == "false":  # some userinfo endpoints write it as a text
        raise TokenRefused("email_not_verified", f"The provider has not verified that {name} is yours.", f"Have it verified at {settings.named}, then log in again.")
    groups = _claim(claims, settings.groups_claim)
    if groups is None:
        groups = _claim(userinfo, settings.groups_claim)
    several = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
    return Identified(name, frozenset(group for group in several if isinstance(group, str)))


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim, or with dots in its name that part of one: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
