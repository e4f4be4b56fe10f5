"""What the call that is being served may reach: set where it is let in, and asked wherever the type of a job is known.

A call's rights are those of what it came with, as they are at the moment that they are asked for: a grant that ends changes calls that last, too. Where nobody needs a
token, everything is allowed. What runs by itself, such as schedules and operations, was allowed when it was asked for.
"""

from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace_broker.model.access import Identity, Role
from headrace_broker.model.errors import RightDenied, TypeDenied
from headrace_broker.model.permissions import ALL_TYPES, EVERY, ROLE_ACTS, Act, Holder, HolderKind, Permissions, Source, Types, role_source
from headrace_broker.store.tokens import TokenRow

if TYPE_CHECKING:
    from headrace_broker.actions.grants import GrantTable


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who can be granted something. `domain` None: the role counts in all domains; `called`: as messages name it."""

    key: Holder
    role: Role
    domain: str | None
    called: str


class May:
    """The rights of one call in its domain: what all of its principals may. `act`: what the call itself needs; `whole`: for all job types. `for_somebody`: it is made on
    behalf of somebody, so that what changes something takes the right to do that, too."""

    __slots__ = ("_grants", "_known", "_version", "act", "domain", "for_somebody", "principals", "whole")

    def __init__(self, grants: "GrantTable", principals: Sequence[Principal], domain: str, act: Act | None, *, whole: bool = False) -> None:
        self._grants = grants
        self._known: list[Permissions] = []
        self._version = -1  # of the grants that `_known` comes from
        self.principals = principals
        self.domain = domain
        self.act = act
        self.whole = whole
        self.for_somebody = False

    def types(self, act: Act) -> Types:
        """The job types that they may do this to."""
        found = None
        for permissions in self._permissions():
            types = permissions.types(act)
            found = types if found is None else found & types
        if self.for_somebody and found is not None and act not in SEEING:
            found &= self.types(Act.ACT_FOR)
        return ALL_TYPES if found is None else found

    def elsewhere(self, domain: str) -> "May":
        """What they may in another domain."""
        return May(self._grants, self.principals, domain, self.act)

    @property
    def stranger(self) -> Principal | None:
        """Who of them may do nothing in the domain."""
        return next((principal for principal, permissions in zip(self.principals, self._permissions(), strict=True) if not permissions), None)

    def _permissions(self) -> list[Permissions]:
        """Those of each principal, looked up once for as long as no grant changes."""
        if self._version != self._grants.version:
            self._known = [self._grants.permissions(principal, self.domain) for principal in self.principals]
            self._version = self._grants.version
        return self._known

    @property
    def redact(self) -> Sequence[str]:
        """Names of fields that only who may see secrets sees."""
        return self._grants.redact

    def covers(self, act: Act, domains: str, types: str) -> bool:
        """Whether they all may do this wherever the patterns match."""
        acts = {act, Act.ACT_FOR} if self.for_somebody else {act}
        return all(any(source.covers(each, domains, types) for source in self._grants.sources(principal)) for principal in self.principals for each in acts)


SEEING = frozenset({Act.VIEW, Act.VIEW_DATA, Act.VIEW_SECRETS, Act.OVERSEE, Act.ACT_FOR})
"""What a call sees is the same on whoever's behalf it is made."""

MAY: ContextVar[May | None] = ContextVar("MAY", default=None)
"""Of the call that is being served; None: everything is allowed."""


def principal_of(who: TokenRow | Identity) -> Principal:
    """The principal that a token or a certificate is."""
    key: Holder = (HolderKind.CERTIFICATE, who.name) if isinstance(who, Identity) else (HolderKind.TOKEN, who.token_id)
    return Principal(key, who.role, who.domain, who.called)


def types_for(act: Act) -> Types:
    """The job types that the call may do this to."""
    may = MAY.get()
    return ALL_TYPES if may is None else may.types(act)


def secrets(name: str) -> Sequence[str]:
    """Names of fields whose values the call may not see in jobs of this type; empty: it may see all of them."""
    may = MAY.get()
    return () if may is None or may.types(Act.VIEW_SECRETS).allow(name) else may.redact


def require(act: Act, name: str, field: str | None = None) -> None:
    """Raises TypeDenied when the call may not do this to the type. `field`: where the request names it."""
    if not types_for(act).allow(name):
        raise TypeDenied(lacking(act, name), name, field)


def require_all(act: Act) -> None:
    """Raises TypeDenied when the call may do this to some types only, or to none: for what is not about one type."""
    if not types_for(act).everything:
        raise TypeDenied(lacking(act, EVERY), EVERY)


def lacking(act: Act, name: str) -> Act:
    """What a call lacks that may not do this to the type: the right to it, or that to act for whom it is made."""
    may = MAY.get()
    return Act.ACT_FOR if may is not None and may.for_somebody and not may.types(Act.ACT_FOR).allow(name) else act


def for_somebody() -> None:
    """The call is made on behalf of somebody: from now on it may change jobs of those types alone that it may do that for. Raises TypeDenied: it is about all types."""
    may = MAY.get()
    if may is None or may.types(Act.ACT_FOR).everything:
        return
    may.for_somebody = True
    if may.whole:
        require_all(Act.ACT_FOR)


def everywhere() -> bool:
    """Whether what the call does is allowed in all domains."""
    may = MAY.get()
    return may is None or may.act is None or may.covers(may.act, EVERY, EVERY)


def sees_domain(domain: str) -> bool:
    """Whether the call may see anything of a domain, which need not be its own."""
    may = MAY.get()
    return may is None or bool(may.elsewhere(domain).types(Act.OVERSEE))


def require_cover(sources: Iterable[Source], doing: str) -> None:
    """Raises RightDenied unless the call may itself do all that these allow, and pass it on: nobody gives, takes or takes over more than that."""
    may = MAY.get()
    if may is None:
        return
    for source in sources:
        for act in sorted(source.acts):
            for needed in (Act.MANAGE_ACCESS, act):
                if not may.covers(needed, source.domains, source.types):
                    where = f"{'all domains' if source.domains == EVERY else f'domain {source.domains!r}'}, job types {source.types!r}"
                    raise RightDenied(f"{doing} takes the right {needed} itself ({where}): nobody can give, take or take over more than they have")


def covered(source: Source) -> bool:
    """Whether the call could give, or take, what this allows."""
    try:
        require_cover([source], "")
    except RightDenied:
        return False
    return True


def require_role(role: Role, domain: str | None, doing: str) -> None:
    """Raises RightDenied unless the call may pass on what this role allows in this domain, or in all of them (None)."""
    acts = ROLE_ACTS[role] or frozenset({Act.MANAGE_ACCESS})  # whoever makes a guest must still have a say there
    require_cover([Source("", role_source(role, domain).domains, EVERY, acts)], doing)


def require_over(grants: "GrantTable", principal: Principal) -> None:
    """Raises RightDenied unless the call has the rights of this principal: who could take it over would have them, and who could end it might be ended by it."""
    doing = f"changing {principal.called}"
    require_role(principal.role, principal.domain, doing)
    require_cover(grants.granted(principal.key), doing)
