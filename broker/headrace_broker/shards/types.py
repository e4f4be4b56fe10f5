"""Job types in memory: names to entries, and the settings that are in force. Live: a change, also by another broker, is here within about a second."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

import structlog

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidField, ResultUnknown
from headrace_broker.model.ids import DEFAULT_CLASS, class_for
from headrace_broker.model.settings import Settings, Value, effective
from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.schemas import Schema
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.settings import DomainRow, Pause, SettingsStore, TypeRow

if TYPE_CHECKING:
    from headrace_broker.shards.breakers import Guard

MAX_TYPES = 10_000
MAX_DOMAINS = 10_000
"""That calls make by naming them; each is a row that every broker reads twice a second."""
T = TypeVar("T")

log = structlog.get_logger("headrace.types")


class TypeEntry:
    """One job type. Its identity is stable; its settings are replaced in place when they change. `halted`: it or its domain is paused; `limited`: see Settings, or its
    breaker is not closed; `breaker` None: it has none, or its owner is another broker."""

    __slots__ = (
        "breaker", "changed_at", "class_", "declared", "domain", "domain_entry", "domain_id", "halted", "limited", "name", "overrides", "schema", "settings", "type_id",
    )  # fmt: skip

    def __init__(self, row: TypeRow, domain: DomainEntry) -> None:
        self.type_id = row.type_id
        self.domain_id = row.domain_id
        self.domain = row.domain
        self.domain_entry = domain
        self.halted = self.limited = False
        self.breaker: Guard | None = None  # written by its owner
        self.name = row.name
        self.changed_at = row.changed_at
        self.declared: dict[str, Value] = {}
        self.overrides: dict[str, Value] = {}
        self.settings = Settings()
        self.schema: Schema | None = None  # what payloads must meet
        self.class_ = DEFAULT_CLASS  # retention class of its jobs

    @property
    def pause(self) -> Pause | None:
        """Who paused the type, or its domain, and why; None: nobody, or nobody said so."""
        pauses = self.domain_entry.pauses
        return (pauses.get(("type", self.name)) if self.settings.paused else None) or pauses.get(("domain", ""))

    def derive(self) -> None:
        """What follows from its settings, its domain and its breaker."""
        self.halted = self.settings.paused or self.domain_entry.halted
        self.limited = self.settings.limited or (self.breaker is not None and self.breaker.holds)


class TypeTable:
    """All job types of all domains, and the domains. `depth_limited`: some type or domain has a depth limit."""

    def __init__(self, store: SettingsStore) -> None:
        self._store = store
        self.by_id: dict[int, TypeEntry] = {}
        self.domains: dict[str, DomainEntry] = {}
        self.depth_limited = False
        self.starting: set[TypeEntry] = set()  # types whose jobs must start within a time
        self.breaking: set[TypeEntry] = set()  # types that have a breaker
        self._by_name: dict[tuple[str, str], TypeEntry] = {}
        self._adding = asyncio.Lock()
        self._loading = asyncio.Lock()
        self._newest: datetime | None = None

    def find(self, domain: str, name: str) -> TypeEntry | None:
        """The type, if it exists."""
        return self._by_name.get((domain, name))

    def has_room(self, domain: str, name: str) -> bool:
        """Whether there is such a type, or room for another one."""
        return (domain, name) in self._by_name or len(self.by_id) < MAX_TYPES

    def full(self) -> str:
        """Why no other type is made."""
        return f"there are {MAX_TYPES} job types already; are ids part of type names?"

    def of_domain(self, domain: str) -> list[TypeEntry]:
        """The types of a domain, by name."""
        return sorted((entry for entry in self.by_id.values() if entry.domain == domain), key=lambda entry: entry.name)

    def log_limits(self, type_id: int) -> tuple[int, int]:
        """(lines, bytes) that are kept of the log of one attempt; the defaults for a type that is not known."""
        entry = self.by_id.get(type_id)
        settings = entry.settings if entry is not None else Settings()
        return settings.log_limit_lines, settings.log_limit_bytes

    def domain(self, name: str) -> DomainEntry:
        """A domain; one that the database does not have has no settings."""
        found = self.domains.get(name)
        if found is None:
            found = self.domains[name] = DomainEntry(name)
        return found

    def look(self, name: str) -> DomainEntry:
        """A domain, to be shown: one that nobody knows is not remembered, however many are asked for."""
        return self.domains.get(name) or DomainEntry(name)

    async def domain_id(self, domain: str) -> int:
        """The number of a domain, which is made if it is new. Raises what asyncpg raises."""
        entry = self.domain(domain)
        if not entry.domain_id:
            entry.domain_id = await self._store.domain_id(domain, make=True) or 0
        return entry.domain_id

    async def load(self, *, everything: bool = False) -> bool:
        """Reads what changed since the last load; all of it at first. Returns whether anything did. Raises what asyncpg raises.

        `everything`: also what others stored late, in transactions that had begun before the newest that is known: for who takes over from another broker, which was the
        only one to change these types. What was known before and is not so in the database is forgotten: another server may have taken over, that was behind.
        """
        changed = await self._load_domains()
        before = {type_id: entry.changed_at for type_id, entry in self.by_id.items()} if everything else {}
        rows = await self._store.types(None if everything else self._newest)
        changed = self._forget_lost(before, rows) or changed
        for row in rows:
            self._newest = max(self._newest or row.changed_at, row.changed_at)
            known = self.by_id.get(row.type_id)
            if known is None or known.changed_at < row.changed_at:
                self._put(row)
                changed = True
        if changed:
            self._review()
        return changed

    def _forget_lost(self, before: Mapping[int, datetime], rows: Sequence[TypeRow]) -> bool:
        """Forgets types that were known when `rows`, which are all there are, were read, and are not among them as they were known; whether there were any."""
        stored = {row.type_id: row for row in rows}
        found = False
        for type_id, changed_at in before.items():
            entry, row = self.by_id[type_id], stored.get(type_id)
            if row is None or (row.domain, row.name) != (entry.domain, entry.name):
                del self.by_id[type_id], self._by_name[entry.domain, entry.name]
            elif row.changed_at < changed_at == entry.changed_at:  # else it was changed here meanwhile
                entry.changed_at = row.changed_at
                self._put(row)
            else:
                continue
            found = True
        return found

    async def _load_domains(self) -> bool:
        async with self._loading:  # else an older answer might come last
            rows, pauses = await self._store.domains()
            return self._put_domains(rows, pauses)

    def _put_domains(self, rows: list[DomainRow], pauses: list[Pause]) -> bool:
        by_name = {row.name: row for row in rows}
        by_domain: dict[str, list[Pause]] = {}
        for pause in pauses:
            by_domain.setdefault(pause.domain, []).append(pause)
        changed = False
        for name in {*by_name, *self.domains}:
            changed = self.domain(name).put(by_name.get(name), by_domain.get(name, [])) or changed
        return changed

    async def ensure(self, domain: str, name: str) -> TypeEntry:
        """The type, made if it is new.

        Raises:
            Busy: there are as many types as a broker holds. DatabaseUnavailable.
        """
        entry = self.find(domain, name)
        if entry is not None:
            return entry
        async with self._adding:
            entry = self.find(domain, name)
            if entry is not None:
                return entry
            if not self.has_room(domain, name):
                raise Busy(self.full(), retry_after_s=60)
            try:
                return self._put(await self._store.add_type(domain, name))
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error

    async def declare(self, entry: TypeEntry, declared: dict[str, Value], *, caller: Caller) -> None:
        """Takes over what an agent's code declares, if it differs; then with a row in the audit."""
        if declared and declared != entry.declared:
            try:
                self._put(await self._store.declare(entry.type_id, declared, caller=caller))
                self._review()
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error

    async def override(self, entry: TypeEntry, changes: dict[str, Value], clear: list[str], *, caller: Caller, reason: str = "") -> None:
        """Changes a person's settings, with a row in the audit; in force when this returns. Who paused a type, and why, is kept while it is paused."""
        self._put(await _stored(self._store.override(entry.type_id, changes, clear, caller=caller, reason=reason)))
        await self._take_over()

    async def set_domain(self, name: str, changes: dict[str, float], clear: list[str], *, caller: Caller, reason: str = "") -> DomainEntry:
        """Changes settings of a domain; in force when this returns."""
        await _stored(self._store.set_domain(name, changes, clear, caller=caller, reason=reason))
        await self._take_over()
        return self.domain(name)

    async def pause(self, domain: str, kind: str, name: str, *, caller: Caller, reason: str = "") -> None:
        """Pauses a domain or the agents of a name; in force when this returns. One that is paused stays as it is."""
        await _stored(self._store.pause(domain, kind, name, caller=caller, reason=reason))
        await self._take_over()

    async def resume(self, domain: str, kind: str, name: str, *, caller: Caller, reason: str = "") -> bool:
        """Ends such a pause; returns whether there was one."""
        found = await _stored(self._store.resume(domain, kind, name, caller=caller, reason=reason))
        await self._take_over()
        return found

    async def _take_over(self) -> None:
        """What was changed is in force from now on. Raises ResultUnknown: it is stored, and cannot be read."""
        try:
            await self._load_domains()
        except READ_FAILURES as error:
            raise ResultUnknown("it was changed, but the database does not answer any more: it counts once it does") from error
        self._review()

    def _review(self) -> None:
        """What follows from settings and pauses together."""
        for entry in self.by_id.values():
            entry.derive()
        self.breaking = {entry for entry in self.by_id.values() if entry.settings.breaker_share}
        self.starting = {entry for entry in self.by_id.values() if entry.settings.start_within_s}
        self.depth_limited = any(entry.settings.depth_limit for entry in self.by_id.values()) or any(domain.depth_limit for domain in self.domains.values())

    def _put(self, row: TypeRow) -> TypeEntry:
        entry = self.by_id.get(row.type_id)
        if entry is None:
            entry = self.by_id[row.type_id] = self._by_name[row.domain, row.name] = TypeEntry(row, self.domain(row.domain))
        elif row.changed_at < entry.changed_at:  # read before a change, and put after it
            return entry
        entry.changed_at = row.changed_at
        entry.declared, entry.overrides = row.declared, row.overrides
        entry.settings = effective(row.overrides, row.declared)
        entry.schema = _schema(entry)
        entry.class_ = class_for(entry.settings.delete_completed_after_s)
        entry.derive()
        return entry


def _schema(entry: TypeEntry) -> Schema | None:
    """What payloads of the type must meet now; compiled when it was set anew. One that this broker does not take, which another version stored, is left out, loudly."""
    text = entry.settings.payload_schema
    if text is None or (entry.schema is not None and entry.schema.text == text):
        return entry.schema if text is not None else None
    try:
        return Schema(text)
    except InvalidField as error:
        log.error("the payload_schema of a type is not taken; its payloads are not looked at", domain=entry.domain, type=entry.name, reason=str(error))
        return None


async def _stored(change: Awaitable[T]) -> T:
    """What a change comes to. Raises DatabaseUnavailable: nothing was changed; ResultUnknown."""
    try:
        return await change
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
