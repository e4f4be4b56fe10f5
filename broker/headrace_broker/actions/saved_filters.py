"""What is done with saved filters, by calls and by forms alike.

Whoever may see jobs may keep filters of their own. One that everybody in the domain has is saved, replaced and deleted by those who may start operations on all jobs that
it can match: operations take saved filters, so who changes one changes what other people's operations touch. It is seen by those who may see all job types that it names,
and its labels.
"""

from collections.abc import Awaitable
from typing import TypeVar

from headrace_broker.actions import reachable
from headrace_broker.actions.reach import require, require_all, secrets, types_for
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import DatabaseUnavailable, FilterNotFound, InvalidField, InvalidState, RightDenied, TypeDenied
from headrace_broker.model.fields import MAX_REASON, text
from headrace_broker.model.filter import JobFilter
from headrace_broker.model.permissions import EVERY, Act
from headrace_broker.model.redaction import is_secret
from headrace_broker.model.saved_filter import SHARED, SavedFilter, Sought, Unreadable, check_name, owner_of
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.saved_filters import SavedFilterStore

T = TypeVar("T")


class SavedFilters:
    """See the module. Every call raises what `Ownership.owner` raises when this broker serves nobody, and DatabaseUnavailable."""

    def __init__(self, store: SavedFilterStore, ownership: Ownership) -> None:
        self._store = store
        self._ownership = ownership

    async def list(self, caller: Caller) -> "list[tuple[SavedFilter, str]]":
        """The caller's, then those that everybody has, each by name; and why it cannot be used (empty: it can)."""
        _ = self._ownership.owner
        found = await _answered(self._store.seen_by(caller.domain, owner_of(caller)))
        return [(one, self._problem(one)) for one in found if _seen(one)]

    async def get(self, name: str, shared: bool | None, caller: Caller) -> tuple[SavedFilter, JobFilter]:
        """One of them, and the filter that it comes to now. `shared` None: the caller's own, or else the shared one.

        Raises:
            FilterNotFound. InvalidState: it cannot be used, and why.
        """
        now_s = self._ownership.owner.clock.now_s()
        found = await _answered(self._store.seen_by(caller.domain, owner_of(caller), check_name(name)))
        one = next((one for one in found if shared in (None, one.shared) and _seen(one)), None)
        if one is None:
            raise FilterNotFound(name)
        problem = self._problem(one)
        if problem:
            raise InvalidState(f"the saved filter {name!r} cannot be used: {problem}")
        return one, one.sought().at(now_s)

    async def save(self, name: str, sought: Sought, *, shared: bool, expected_version: int, caller: Caller, reason: str) -> SavedFilter:
        """Makes one, or replaces what that of this version says (0: there must be none).

        Raises:
            InvalidField, TooLarge, TypeDenied and RightDenied (of a shared one), FilterChanged, FilterNotFound, InvalidState (there are too many).
        """
        _ = self._ownership.owner
        check_name(name)
        sought.check()
        missing = self._missing(caller.domain, sought.wanted.types)
        if missing:
            raise InvalidField("filter.types", missing)
        if shared:
            _may_share(sought.wanted.types)
        return await _answered(
            self._store.put(
                caller.domain, SHARED if shared else owner_of(caller), name, sought.stored(), expected_version=expected_version, check=_may_change,
                caller=caller, reason=text("reason", reason, MAX_REASON),
            )
        )  # fmt: skip

    async def delete(self, name: str, *, shared: bool, caller: Caller, reason: str) -> None:
        """Deletes one. Raises FilterNotFound, TypeDenied and RightDenied (of a shared one)."""
        _ = self._ownership.owner
        owner = SHARED if shared else owner_of(caller)
        await _answered(self._store.delete(caller.domain, owner, check_name(name), check=_may_change, caller=caller, reason=text("reason", reason, MAX_REASON)))

    def _problem(self, one: SavedFilter) -> str:
        """Why it cannot be used by this caller now; empty: it can."""
        try:
            sought = one.sought()
        except Unreadable as error:
            return str(error)
        missing = self._missing(one.domain, sought.wanted.types)
        return f"{missing}; save it anew without that" if missing else ""

    def _missing(self, domain: str, names: tuple[str, ...]) -> str:
        """What is to be said of the first of these job types that is not there; empty: all are."""
        known = {entry.name for entry in reachable.entries(self._ownership.owner, domain, Act.VIEW)} if names else set()
        return next((f"there is no job type {name!r} in this domain, or you may not see its jobs" for name in names if name not in known), "")


def _seen(one: SavedFilter) -> bool:
    """Whether the caller sees it at all: their own always."""
    types = types_for(Act.VIEW)
    if not one.shared:
        return True
    masked = [name for kind in one.types or [EVERY] for name in secrets(kind)]
    return (types.everything or all(types.allow(name) for name in one.types)) and not any(is_secret(key, masked) for key in one.stored.get("labels", {}))


def may_change(one: SavedFilter) -> bool:
    """Whether the caller may replace it, or delete it."""
    try:
        _may_change(one)
    except (RightDenied, TypeDenied):
        return False
    return True


def _may_change(one: SavedFilter) -> None:
    """Raises RightDenied, TypeDenied unless the caller may replace it, or delete it."""
    if one.shared:
        if not _seen(one):
            raise RightDenied(f"there is a saved filter {one.name!r} in this domain that you may not see; choose another name")
        _may_share(one.types)


def _may_share(types: "tuple[str, ...] | list[str]") -> None:
    """Raises TypeDenied unless the caller may decide what everybody finds under a name with these job types, or with any (empty)."""
    if not types:
        require_all(Act.OPERATE)
    for name in types:
        require(Act.OPERATE, name)


async def _answered(asked: Awaitable[T]) -> T:
    try:
        return await asked
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database cannot be reached; nothing was saved or deleted") from error
