"""Job types in memory: names to entries, and the settings that are in force. Live: a change, also by another broker, is here within about a second."""

import asyncio
from datetime import datetime

import structlog

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidField
from headrace_broker.model.ids import DEFAULT_CLASS, class_for
from headrace_broker.model.settings import Settings, Value, effective
from headrace_broker.shards.schemas import Schema
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.settings import SettingsStore, TypeRow

MAX_TYPES = 10_000

log = structlog.get_logger("headrace.types")


class TypeEntry:
    """One job type. Its identity is stable; its settings are replaced in place when they change."""

    __slots__ = ("class_", "declared", "domain", "domain_id", "name", "overrides", "schema", "settings", "type_id")

    def __init__(self, row: TypeRow) -> None:
        self.type_id = row.type_id
        self.domain_id = row.domain_id
        self.domain = row.domain
        self.name = row.name
        self.declared: dict[str, Value] = {}
        self.overrides: dict[str, Value] = {}
        self.settings = Settings()
        self.schema: Schema | None = None  # what payloads must meet
        self.class_ = DEFAULT_CLASS  # retention class of its jobs


class TypeTable:
    """All job types of all domains."""

    def __init__(self, store: SettingsStore) -> None:
        self._store = store
        self.by_id: dict[int, TypeEntry] = {}
        self._by_name: dict[tuple[str, str], TypeEntry] = {}
        self._adding = asyncio.Lock()
        self._newest: datetime | None = None

    def find(self, domain: str, name: str) -> TypeEntry | None:
        """The type, if it exists."""
        return self._by_name.get((domain, name))

    def of_domain(self, domain: str) -> list[TypeEntry]:
        """The types of a domain, by name."""
        return sorted((entry for entry in self.by_id.values() if entry.domain == domain), key=lambda entry: entry.name)

    def log_limits(self, type_id: int) -> tuple[int, int]:
        """(lines, bytes) that are kept of the log of one attempt; the defaults for a type that is not known."""
        entry = self.by_id.get(type_id)
        settings = entry.settings if entry is not None else Settings()
        return settings.log_limit_lines, settings.log_limit_bytes

    async def load(self) -> None:
        """Reads what changed since the last load; all of it at first. Raises what asyncpg raises."""
        for row in await self._store.types(self._newest):
            self._put(row)

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
            if len(self.by_id) >= MAX_TYPES:
                raise Busy(f"there are {MAX_TYPES} job types already; are ids part of type names?", retry_after_s=60)
            try:
                return self._put(await self._store.add_type(domain, name))
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error

    async def declare(self, entry: TypeEntry, declared: dict[str, Value], *, caller: Caller) -> None:
        """Takes over what an agent's code declares, if it differs; then with a row in the audit."""
        if declared and declared != entry.declared:
            try:
                self._put(await self._store.declare(entry.type_id, declared, caller=caller))
            except READ_FAILURES as error:
                raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error

    async def override(self, entry: TypeEntry, changes: dict[str, Value], clear: list[str], *, caller: Caller, reason: str = "") -> None:
        """Changes a person's settings, with a row in the audit; in force when this returns."""
        try:
            self._put(await self._store.override(entry.type_id, changes, clear, caller=caller, reason=reason))
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error

    def _put(self, row: TypeRow) -> TypeEntry:
        entry = self.by_id.get(row.type_id)
        if entry is None:
            entry = self.by_id[row.type_id] = self._by_name[row.domain, row.name] = TypeEntry(row)
        entry.declared, entry.overrides = row.declared, row.overrides
        entry.settings = effective(row.overrides, row.declared)
        entry.schema = _schema(entry)
        entry.class_ = class_for(entry.settings.delete_completed_after_s)
        self._newest = max(self._newest or row.changed_at, row.changed_at)
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
