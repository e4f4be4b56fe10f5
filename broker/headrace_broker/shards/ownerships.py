"""All shards, as one broker process has them: which one a domain lies in, and who owns each.

A domain lies in the shard of its number modulo how many shards there are, whole: everything that is decided concerns one domain, so no shard asks another. With one
shard, which is the default, there is nothing to look up.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from headrace_broker.model.errors import Busy, DatabaseUnavailable
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.types import MAX_DOMAINS, TypeTable
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.settings import SettingsStore


class Ownerships:
    """`each`: this broker's Ownership of every shard, by the shard's number."""

    def __init__(self, each: Sequence[Ownership], types: TypeTable, settings: SettingsStore) -> None:
        self.each = each
        self._types = types
        self._settings = settings

    @property
    def first(self) -> Ownership:
        """Of shard 0, whose owner has the duties that are done once for all shards."""
        return self.each[0]

    def of(self, domain: str) -> Ownership:
        """Of the shard of a domain, as far as this broker knows it: one that it has not heard of yet is taken for one of shard 0."""
        return self.each[self.known(domain) or 0]

    def known(self, domain: str) -> int | None:
        """The number of a domain's shard; None: this broker has not heard of the domain."""
        if len(self.each) == 1:
            return 0
        entry = self._types.domains.get(domain)
        return entry.domain_id % len(self.each) if entry is not None and entry.domain_id else None

    async def find(self, domain: str, *, make: bool) -> int:
        """The number of a domain's shard. Another broker may just have made the domain, so the database is asked about one that this broker has not heard of.

        `make`: it is made where there is none, since what is about to be stored in it belongs to its shard; else a domain that there is not has the empty answers of
        shard 0. Raises DatabaseUnavailable, Busy: there are as many domains as calls may make.
        """
        number = self.known(domain)
        if number is not None:
            return number
        full = len(self._types.domains) >= MAX_DOMAINS
        try:
            domain_id = await self._settings.domain_id(domain, make=make and not full)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was stored") from error
        if domain_id is None and make:
            raise Busy(f"there are {MAX_DOMAINS:,} domains already, and none is made for {domain!r}: are ids part of the names of domains?", retry_after_s=60)
        if domain_id is None:
            return 0
        self._types.domain(domain).domain_id = domain_id
        return domain_id % len(self.each)

    def owned(self) -> list[Ownership]:
        """Of the shards that this broker owns and serves."""
        return [one for one in self.each if one.ready.is_set()]

    @property
    def role(self) -> str:
        """active: it owns a shard; standby: others own all of them; starting."""
        roles = {one.role for one in self.each}
        return "active" if "active" in roles else "standby" if roles == {"standby"} else "starting"

    @property
    def serving(self) -> bool:
        """Whether calls are best made here: with one shard, whether this broker owns it and takes work; with several, whether each is owned here, or by a broker that
        this one knows how to reach."""
        return self.answering if len(self.each) > 1 else _serves(self.first)

    @property
    def answering(self) -> bool:
        """Whether calls can be made here: each shard is owned here, or by a broker that this one knows how to reach."""
        return all(_serves(one) or _passes_on(one) for one in self.each)

    async def listening(self) -> None:
        """Returns once it is known of every shard whether this broker owns it."""
        for one in self.each:
            await one.listening.wait()

    async def run(self) -> None:
        """Runs them all. Returns after `drain`."""
        await self._all(lambda one: one.run())

    async def drain(self) -> None:
        """As `Ownership.drain`, of all at the same time."""
        await self._all(lambda one: one.drain())

    async def _all(self, act: Callable[[Ownership], Awaitable[None]]) -> None:
        async def do(one: Ownership) -> None:
            await act(one)

        async with asyncio.TaskGroup() as tasks:
            for one in self.each:
                tasks.create_task(do(one))


def _serves(one: Ownership) -> bool:
    return one.ready.is_set() and one.owner.refusing is None


def _passes_on(one: Ownership) -> bool:
    return one.role == "standby" and one.holder is not None and one.holder.peer is not None
