"""What groups of an identity provider may do here, as the broker's options say it: `GROUP=RIGHTS`, with semicolons between.

RIGHTS is a role with the domain that it counts in (`viewer`, `operator@shop`, `admin@*`; without one in `default`), or `user/NAME`: a user of headrace whose role and
grants the group has. The first line that fits decides. The group `*` is everybody whom the provider lets in. The last `=` divides, since names of groups may have some.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headrace_broker.model.access import USER_NAME, Role

EVERYBODY = "*"
ROLES = {role.name.lower(): role for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)}
DOMAIN = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class GroupRights:
    """Of one group: a role in a domain (None: in all), or what the user of this name may."""

    group: str
    role: Role | None = None
    domain: str | None = None
    user: str = ""


def read_rights(text: str) -> tuple[GroupRights, ...]:
    """The lines of an option, in order. Raises ValueError, with what is wrong with which of them."""
    found = tuple(_line(part.strip()) for part in text.split(";") if part.strip())
    if not found:
        raise ValueError("at least one GROUP=RIGHTS: without one nobody may do anything")
    return found


def rights_of(groups: Collection[str], lines: Sequence[GroupRights]) -> GroupRights | None:
    """The first line that is of one of these groups; None: there is none, and nothing is allowed."""
    return next((line for line in lines if line.group == EVERYBODY or line.group in groups), None)


def _line(text: str) -> GroupRights:
    group, divided, rights = text.rpartition("=")
    group, rights = group.strip(), rights.strip()
    if not divided or not group:
        raise ValueError(f"GROUP=RIGHTS, found {text!r}")
    if rights.startswith("user/"):
        name = rights.removeprefix("user/")
        if not USER_NAME.fullmatch(name):
            raise ValueError(f"user/NAME names a user, found {rights!r} of group {group!r}")
        return GroupRights(group, user=name)
    role, has_domain, domain = rights.partition("@")
    if role not in ROLES:
        raise ValueError(f"the rights of group {group!r} are {', '.join(ROLES)} with @DOMAIN or @* behind it, or user/NAME, found {rights!r}")
    if has_domain and domain != "*" and not DOMAIN.fullmatch(domain):
        raise ValueError(f"a domain is 1 to 100 characters of A-Z a-z 0-9 . _ -, or *, found {domain!r} of group {group!r}")
    return GroupRights(group, ROLES[role], None if domain == "*" else domain or "default")
