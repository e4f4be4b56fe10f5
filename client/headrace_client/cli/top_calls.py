"""The calls of `headrace top`: one round of reads for each refresh, all at the same time."""

import asyncio
import copy
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from headrace_proto.v1 import brokers_pb2
from headrace_proto.wire import DEFAULT_DOMAIN

from headrace_client.admin import AdminClient
from headrace_client.base import Base
from headrace_client.channel import metadata
from headrace_client.cli.common import Common
from headrace_client.cli.top_figures import WINDOW_S, Page, Round, oldest_waits, waiting
from headrace_client.client import Client
from headrace_client.errors import HeadraceError, Unavailable, from_rpc
from headrace_client.models import Order, State

T = TypeVar("T")
C = TypeVar("C", bound=Base)
PROBE_S = 2.0
"""How long each broker of the list may take to say that it is there."""
OLDEST = 100
"""Waiting jobs that are read for how long the oldest of each type has waited."""
MOST_TYPES = 50
MOST_DOMAINS = 100
"""Domains of a round, each of which is asked five questions."""
AT_A_TIME = 10
"""Domains that are asked about at the same time."""


@dataclass(slots=True)
class _Domain:
    """One domain: its clients, by how much the broker's clock is ahead, and types whose oldest waiting jobs others hid last time."""

    client: Client
    admin: AdminClient
    ahead: timedelta | None = None
    hidden: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Rounds:
    """A round of each domain, by name; `notes`: what there is none of, and why."""

    found: dict[str, Round]
    notes: list[str]


class Calls:
    """A client of all brokers of the list together, and where there are several one of each. An async context manager; `timeout_s` is for each call.

    `domains`: those that are looked at; empty: all that the caller may see anything of.
    """

    def __init__(self, common: Common, timeout_s: float, domains: Sequence[str]) -> None:
        self._common = common = replace(common, timeout_s=timeout_s, codecs=None, claims=None)
        self._client, self._admin = common.client(), common.admin()
        addresses = self._admin.brokers
        self._each = {address: replace(common, broker=address).admin() for address in addresses} if len(addresses) > 1 else {}
        self._wanted = domains
        self._seen: list[str] = []
        self._domains: dict[str, _Domain] = {}
        self._turns = asyncio.Semaphore(AT_A_TIME)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in (self._client, self._admin, *self._each.values()):
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._stack.aclose()

    async def round(self) -> Rounds:
        """One round of each domain. What the caller may not read, or what the database does not tell now, is left out and noted.

        Raises a HeadraceError when no broker tells of any domain what it has in memory.
        """
        # In a task of its own: before Python 3.11.4 a group that failed leaves its task with a cancellation, and the next timeout there ends it.
        return await asyncio.create_task(self._rounds())

    async def _rounds(self) -> Rounds:
        notes: list[str] = []
        names = self._wanted or await self._all(notes)
        async with asyncio.TaskGroup() as calls:
            brokers = calls.create_task(_if_told(self._admin.list_brokers(), "", notes))
            probes = {address: calls.create_task(_answers(client)) for address, client in self._each.items()}
            tasks = {name: calls.create_task(self._one(name)) for name in names}
        silent = [address for address, probe in probes.items() if not probe.result()]
        told = {name: task.result() for name, task in tasks.items()}
        found = {name: replace(round_, brokers=brokers.result(), silent=silent) for name, round_ in told.items() if isinstance(round_, Round)}
        errors = {name: error for name, error in told.items() if isinstance(error, HeadraceError)}
        if not found:
            raise next(iter(errors.values()))
        return Rounds(found, [*notes, *(f"no domain {name}: {error.message}" for name, error in errors.items())])

    async def _all(self, notes: list[str]) -> list[str]:
        """The domains that the caller may see anything of; those of the last time while that cannot be told. Where there is none yet, the usual one."""
        try:
            self._seen = [item.name for item in await self._admin.list_domains()] or [self._common.domain or DEFAULT_DOMAIN]
        except Unavailable:
            if not self._seen:
                raise
        if len(self._seen) > MOST_DOMAINS:
            notes.append(f"the first {MOST_DOMAINS} of {len(self._seen)} domains: name those that are wanted by --domain")
        return self._seen[:MOST_DOMAINS]

    async def _one(self, name: str) -> Round | HeadraceError:
        """A round of one domain, or why there is none."""
        domain = self._domains.get(name)
        if domain is None:
            domain = self._domains[name] = _Domain(self._within(self._client, name), self._within(self._admin, name))
        async with self._turns:
            try:
                return await _round(domain)
            except HeadraceError as error:
                return error

    def _within(self, client: C, domain: str) -> C:
        """The same client for another domain, over the same connections."""
        made = copy.copy(client)
        made._call_metadata = metadata(domain, self._common._token(), None, self._common.on_behalf_of)
        return made


async def _round(domain: _Domain) -> Round:
    admin, notes = domain.admin, list[str]()
    if domain.ahead is None:  # of the minutes the broker's own clock decides
        domain.ahead = (await admin.overview()).server_time - datetime.now(UTC)
    since = datetime.now(UTC) + domain.ahead - timedelta(seconds=WINDOW_S)
    asked: list[list[str]] = [[], domain.hidden] if domain.hidden else [[]]
    try:
        async with asyncio.TaskGroup() as calls:
            overview, types, agents = calls.create_task(admin.overview()), calls.create_task(admin.list_types()), calls.create_task(admin.list_agents())
            trend = calls.create_task(_if_told(admin.trend(by="type", since=since, step_s=60), "rates", notes))
            pages = [calls.create_task(_if_told(_oldest(domain.client, names), "waits", notes)) for names in asked]
    except ExceptionGroup as errors:
        told, others = errors.split(HeadraceError)
        if told is None or others is not None:
            raise
        raise _first(told) from None
    oldest = [page for task in pages if (page := task.result()) is not None]
    found = Round(overview.result(), types.result(), agents.result(), trend.result(), oldest, notes=list(dict.fromkeys(notes)))
    domain.ahead = found.overview.server_time - datetime.now(UTC)
    domain.hidden = sorted(oldest_waits(oldest[:1], waiting(found), found.overview.server_time)[1])[:MOST_TYPES]
    return found


async def _oldest(client: Client, names: Sequence[str]) -> Page:
    """The oldest jobs that wait. Those of one type may hide all others: what was hidden last time is asked for by name."""
    return names, await client.list(types=names, states=[State.WAITING], order=Order.OLDEST, page_size=OLDEST)


async def _if_told(call: Coroutine[Any, Any, T], what: str, notes: list[str]) -> T | None:
    try:
        return await call
    except HeadraceError as error:
        if what:  # who may not see the brokers has not asked for them
            notes.append(f"no {what}: {error.message}")
        return None


async def _answers(client: AdminClient) -> bool:
    """Whether that broker is there, whatever it says; asked once, so that one which is not there holds up nothing."""
    try:
        await client._brokers.current().brokers.ListBrokers(brokers_pb2.ListBrokersRequest(), timeout=PROBE_S, metadata=client._metadata)
    except grpc.aio.AioRpcError as error:
        found = from_rpc(error)
        return bool(found.reason) or not isinstance(found, Unavailable)
    return True


def _first(errors: ExceptionGroup[HeadraceError]) -> HeadraceError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, ExceptionGroup) else found
