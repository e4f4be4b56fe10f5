"""Grants in memory: every call is checked against them, and none reads the database.

They are read again twice a second, as tokens are: what is granted or revoked at one broker counts at all of them within a second. While the database is away, what is
known stays in force.
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import structlog

from headrace_broker.actions.fresh import OVERLAP, keep_fresh
from headrace_broker.actions.reach import MAY, Principal, principal_of, require_cover, require_over
from headrace_broker.model.access import Identity
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import CertificateInvalid, DatabaseUnavailable, GrantNotFound, InvalidField, ResultUnknown, TokenNotFound, UserNotFound
from headrace_broker.model.permissions import EVERY, PATTERN, Act, Holder, HolderKind, Permissions, Source, matches, role_source
from headrace_broker.store.grants import GrantRow, GrantStore
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.tokens import TokenRow, TokenStore
from headrace_broker.store.users import UserRow, UserStore

REMEMBERED = 20_000
"""Decisions by principal and domain."""
MAX_ID = 2**31 - 1
KINDS = {kind.name.lower(): kind for kind in HolderKind}
ACTS = {str(act): act for act in Act}

log = structlog.get_logger("headrace.grants")


class GrantTable:
    """All grants in force. Only the event loop's own thread uses it. `watchers` are told of each change."""

    def __init__(self, store: GrantStore, tokens: TokenStore, users: UserStore, read_uri: Callable[[str], Identity], redact: Sequence[str] = ()) -> None:
        """`read_uri` gives the holder that the URI of a certificate names, or raises CertificateInvalid. `redact`: names of fields, as `redaction.secret_names`, that
        only who may see secrets sees."""
        self.redact = redact
        self._read_uri = read_uri
        self._store = store
        self._tokens = tokens
        self._users = users
        self._rows: dict[int, GrantRow] = {}
        self._ended: set[int] = set()  # may be read once more as they were
        self._of: dict[Holder, list[Source]] = {}
        self._permissions: dict[tuple[Principal, str], Permissions] = {}
        self._newest: datetime | None = None
        self._known = False
        self.version = 0
        """Rises with each change."""
        self.watchers: set[Callable[[], None]] = set()

    # What is allowed ------------------------------------------------------------------------------------------------------------------------------

    def granted(self, key: Holder) -> Sequence[Source]:
        """What grants allow somebody."""
        return self._of.get(key, ())

    def sources(self, principal: Principal) -> list[Source]:
        """What allows somebody something: the role and the grants."""
        return [role_source(principal.role, principal.domain), *self.granted(principal.key)]

    def permissions(self, principal: Principal, domain: str) -> Permissions:
        """What somebody may do in a domain."""
        found = self._permissions.get((principal, domain))
        if found is None:
            if len(self._permissions) >= REMEMBERED:
                self._permissions.clear()
            found = self._permissions[principal, domain] = Permissions(self.sources(principal), domain)
        return found

    def explain(self, principal: Principal, domain: str, act: Act, name: str | None) -> list[tuple[bool, str]]:
        """(whether it allows, why), a line for the role and for each grant: the action, for one job type of the domain or, without a name, for any. Of
        somebody else the call is told what counts in this domain alone, unless it has a say in all of them."""
        lines: list[tuple[bool, str]] = []
        may = MAY.get()
        elsewhere = may is None or principal in may.principals or may.covers(Act.MANAGE_ACCESS, EVERY, EVERY)
        for source in self.sources(principal):
            if not elsewhere and not matches(source.domains, domain):
                continue
            if act not in source.acts:
                lines.append((False, f"{source.named} does not have {act}"))
            elif not matches(source.domains, domain):
                lines.append((False, f"{source.named} counts in domains {source.domains!r}, and this one is {domain!r}"))
            elif name is not None and not matches(source.types, name):
                lines.append((False, f"{source.named} counts for job types {source.types!r}, and this one is {name!r}"))
            else:
                lines.append((True, f"{source.named} has {act} for job types {source.types!r} in domains {source.domains!r}"))
        return lines or [(False, f"nothing counts in the domain {domain!r}")]

    # What changes it ------------------------------------------------------------------------------------------------------------------------------

    async def known(self) -> None:
        """Returns once the grants have been read, which they are at the start. Raises DatabaseUnavailable: they cannot be."""
        if not self._known:
            try:
                await self.refresh()
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database did not answer in time: what was granted is not known yet") from error

    async def refresh(self) -> None:
        """Reads what was changed. Raises what asyncpg raises when Postgres is away."""
        since = self._newest - OVERLAP if self._newest is not None else None
        rows = await (self._store.in_force() if since is None else self._store.changed_since(since))
        self._known = True
        changed = False
        for row in rows:
            changed = self._put(row) or changed
            at = row.granted_at if row.ended_at is None else max(row.granted_at, row.ended_at)
            self._newest = at if self._newest is None else max(self._newest, at)
        if changed:
            self._tell()

    async def keep_fresh(self) -> None:
        """Refreshes until cancelled."""
        await keep_fresh(self.refresh, "grants", log)

    async def list_grants(self, domain: str | None, who: str, *, ended: bool, below: int, limit: int) -> list[GrantRow]:
        """Grants that count in a domain, or all of them (None), newest first; `who` as "token/NAME", empty: of everybody."""
        found: list[GrantRow] = []
        while len(found) < limit:
            try:
                rows = await self._store.page(ended=ended, below=below, limit=1000)
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database did not answer in time") from error
            found += [row for row in rows if (domain is None or matches(row.domains, domain)) and who in ("", row.named)]
            if len(rows) < 1000:
                break
            below = rows[-1].grant_id
        return found[:limit]

    async def find(self, who: str, domain: str) -> tuple[Principal, str]:
        """(the principal, its name) that "token/NAME", "user/NAME" or "certificate/URI" stands for: a token of the domain, else of all domains.

        Raises:
            InvalidField, TokenNotFound, UserNotFound, DatabaseUnavailable.
        """
        kind, _, name = who.partition("/")
        if kind not in KINDS or not name:
            raise InvalidField("who", f"token/NAME, user/NAME or certificate/URI, found {who[:100]!r}")
        try:
            if KINDS[kind] is HolderKind.USER:
                user = await self._users.find(name)
                if user is None or user.domain not in (None, domain):
                    raise UserNotFound(name)
                return principal_of_user(user), user.name
            if KINDS[kind] is HolderKind.TOKEN:
                token = await self._token(name, domain)
                return Principal((HolderKind.TOKEN, token.token_id), token.role, token.domain, token.called), token.name
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        try:
            return principal_of(self._read_uri(name)), name
        except CertificateInvalid as error:
            raise InvalidField("who", f"a certificate is known by its URI: {error}") from error

    async def add(self, who: str, source: Source, *, caller: Caller, reason: str) -> GrantRow:
        """Grants something in a domain. Raises RightDenied: the call may not do itself what it grants; and as `find`."""
        require_cover([source], f"granting {', '.join(sorted(source.acts))}")
        principal, name = await self.find(who, caller.domain)
        kind, number = principal.key
        try:
            row = await self._store.add(kind, number if isinstance(number, int) else None, name, source, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise _unknown() from error
        self._put(row)
        self._tell()
        return row

    async def end(self, grant_id: int, *, caller: Caller, reason: str) -> GrantRow:
        """Ends a grant that counts in the caller's domain: here at once, at other brokers within a second. Raises GrantNotFound, RightDenied."""
        try:
            row = await self._store.get(grant_id)
            if row is None or row.ended_at is not None or not matches(row.domains, caller.domain):
                raise GrantNotFound(grant_id)
            require_cover([row.source], f"ending grant {grant_id}")
            if not await self._store.end(row, caller=caller, reason=reason):
                raise GrantNotFound(grant_id)
            ended = await self._store.get(grant_id)
        except READ_FAILURES as error:
            raise _unknown() from error
        if ended is None:
            raise GrantNotFound(grant_id)
        self._put(ended)
        self._tell()
        return ended

    def check_token(self, row: TokenRow) -> None:
        """Raises RightDenied unless the call may do what this token may, which it is about to change."""
        require_over(self, Principal((HolderKind.TOKEN, row.token_id), row.role, row.domain, row.called))

    def check_user(self, row: UserRow) -> None:
        """The same for a user."""
        require_over(self, principal_of_user(row))

    async def _token(self, name: str, domain: str) -> TokenRow:
        for home in (domain, None):
            for row in await self._tokens.of_domain(home, revoked=False):
                if row.name == name:
                    return row
        raise TokenNotFound(name)

    def _put(self, row: GrantRow) -> bool:
        """Whether it changes anything."""
        if row.grant_id in self._ended or (row.ended_at is None and row.grant_id in self._rows):
            return False
        if row.ended_at is None:
            self._rows[row.grant_id] = row
            return True
        self._ended.add(row.grant_id)
        return self._rows.pop(row.grant_id, None) is not None

    def _tell(self) -> None:
        self._of = {}
        for row in self._rows.values():
            self._of.setdefault(row.key, []).append(row.source)
        self._permissions.clear()
        self.version += 1
        for watcher in list(self.watchers):
            watcher()


def source_of(actions: Sequence[str], domains: str, types: str, domain: str) -> Source:
    """What a grant is to allow. Empty patterns stand for the domain of the call, and for all job types. Raises InvalidField."""
    if not actions:
        raise InvalidField("actions", f"at least one of {', '.join(ACTS)}")
    acts = [act_named(f"actions[{index}]", name) for index, name in enumerate(actions)]
    return Source("", _pattern("domains", domains or domain), _pattern("types", types or EVERY), frozenset(acts))


def act_named(field: str, name: str) -> Act:
    """The action of this name. Raises InvalidField."""
    if name not in ACTS:
        raise InvalidField(field, f"one of {', '.join(ACTS)}, found {name[:60]!r}")
    return ACTS[name]


def _pattern(field: str, pattern: str) -> str:
    if not PATTERN.fullmatch(pattern):
        raise InvalidField(field, f"a pattern is 1 to 200 characters of A-Z a-z 0-9 . _ : / - * ?, found {pattern[:60]!r}")
    return pattern


def principal_of_user(user: UserRow) -> Principal:
    """The principal that a user is."""
    return Principal((HolderKind.USER, user.user_id), user.role, user.domain, f"the user {user.name!r}")


def _unknown() -> ResultUnknown:
    return ResultUnknown("the database cannot be reached; if the connection broke at the commit, the grants may have been changed: list them")
