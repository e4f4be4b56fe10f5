"""The calls of `headrace top`: one round of reads for each refresh, all at the same time."""

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from headrace_proto.v1 import brokers_pb2

from headrace_client.admin import AdminClient
from headrace_client.cli.common import Common
from headrace_client.cli.top_figures import WINDOW_S, Page, Round, oldest_waits, waiting
from headrace_client.errors import HeadraceError, Unavailable, from_rpc
from headrace_client.models import Order, State

T = TypeVar("T")
PROBE_S = 2.0
"""How long each broker of the list may take to say that it is there."""
OLDEST = 100
"""Waiting jobs that are read for how long the oldest of each type has waited."""
MOST_TYPES = 50


class Calls:
    """A client of all brokers of the list together, and where there are several one of each. An async context manager; `timeout_s` is for a round."""

    def __init__(self, common: Common, timeout_s: float) -> None:
        common = replace(common, timeout_s=timeout_s, codecs=None, claims=None)
        self._client, self._admin = common.client(), common.admin()
        addresses = self._admin.brokers
        self._each = {address: replace(common, broker=address).admin() for address in addresses} if len(addresses) > 1 else {}
        self._ahead: timedelta | None = None
        self._hidden: list[str] = []
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for client in (self._client, self._admin, *self._each.values()):
            await self._stack.enter_async_context(client)
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self._stack.aclose()

    async def round(self) -> Round:
        """One round. What the caller may not read, or what the database does not tell now, is left out and noted.

        Raises a HeadraceError when no broker tells what it has in memory.
        """
        # In a task of its own: before Python 3.11.4 a group that failed leaves its task with a cancellation, and the next timeout there ends it.
        return await asyncio.create_task(self._round())

    async def _round(self) -> Round:
        admin, notes = self._admin, list[str]()
        if self._ahead is None:  # of the minutes the broker's own clock decides
            self._ahead = (await admin.overview()).server_time - datetime.now(UTC)
        since = datetime.now(UTC) + self._ahead - timedelta(seconds=WINDOW_S)
        asked: list[list[str]] = [[], self._hidden] if self._hidden else [[]]
        try:
            async with asyncio.TaskGroup() as calls:
                overview, types, agents = calls.create_task(admin.overview()), calls.create_task(admin.list_types()), calls.create_task(admin.list_agents())
                trend = calls.create_task(_if_told(admin.trend(by="type", since=since, step_s=60), "rates", notes))
                pages = [calls.create_task(_if_told(self._oldest(names), "waits", notes)) for names in asked]
                brokers = calls.create_task(_if_told(admin.list_brokers(), "", notes))
                probes = {address: calls.create_task(_answers(client)) for address, client in self._each.items()}
        except ExceptionGroup as errors:
            told, others = errors.split(HeadraceError)
            if told is None or others is not None:
                raise
            raise _first(told) from None
        oldest = [page for task in pages if (page := task.result()) is not None]
        silent = [address for address, probe in probes.items() if not probe.result()]
        found = Round(overview.result(), types.result(), agents.result(), trend.result(), oldest, brokers.result(), silent, list(dict.fromkeys(notes)))
        self._ahead = found.overview.server_time - datetime.now(UTC)
        self._hidden = sorted(oldest_waits(oldest[:1], waiting(found), found.overview.server_time)[1])[:MOST_TYPES]
        return found

    async def _oldest(self, names: Sequence[str]) -> Page:
        """The oldest jobs that wait. Those of one type may hide all others: what was hidden last time is asked for by name."""
        return names, await self._client.list(types=names, states=[State.WAITING], order=Order.OLDEST, page_size=OLDEST)


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
