"""Saved filters: filters of jobs that people keep under a name. The calls of AdminClient about them, and what they give."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from headrace_proto.v1 import filters_pb2, jobs_pb2
from headrace_proto.wire import to_datetime, to_seconds

from headrace_client.base import Base
from headrace_client.decode import state, time_of
from headrace_client.encode import ORDER_NUMBERS, build, duration, filter_message, order_number
from headrace_client.errors import InvalidRequest
from headrace_client.models import JobFilter, Order

BOUNDS = ("created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to")
"""Of the periods of a filter."""
_ORDERS = {number: Order(name) for name, number in ORDER_NUMBERS.items()}


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter that is kept under a name: of the caller alone, or `shared` with everybody in the domain.

    `ages`: bounds of its periods that move along, by the name of `where`'s field, such as created_from, in seconds before the moment of use. `version` is another number
    with every change. `problem`: why it cannot be used now; empty: it can.
    """

    name: str
    shared: bool
    where: JobFilter
    ages: Mapping[str, float] = field(default_factory=dict)
    order: Order = Order.NEWEST
    version: int = 0
    saved_by: str = ""
    saved_at: datetime | None = None
    problem: str = ""


class FilterCalls(Base):
    """The part of AdminClient that is about saved filters."""

    async def list_filters(self) -> list[SavedFilter]:
        """The caller's own saved filters, then those that are shared with the domain, each by name."""
        return [_saved(item) for item in (await self._call(lambda stubs: stubs.filters.ListFilters, filters_pb2.ListFiltersRequest())).filters]

    async def get_filter(self, name: str, *, shared: bool | None = None) -> tuple[SavedFilter, JobFilter]:
        """(a saved filter, what it comes to now: for `Client.list`, `Client.count`, `start_operation`). `shared` None: the caller's own, or else the shared one.

        Raises:
            NotFound. InvalidState: it cannot be used, since it names something that is not there any more; the text says what.
        """
        return await get_filter(self, name, shared=shared)

    async def save_filter(
        self, name: str, where: JobFilter | None = None, *, ages: Mapping[str, float] | None = None, order: Order | str = Order.NEWEST, shared: bool = False,
        replaces: int = 0, reason: str = "",
    ) -> SavedFilter:  # fmt: skip
        """Keeps a filter under a name. `ages`: bounds that `where` leaves open and that move along, such as created_from=86400.0: in the 24 hours before it is used.

        `replaces`: the version that it takes the place of; 0: there must be none of this name. The same again changes nothing.

        Raises:
            InvalidRequest. Conflict: there is one, or another version: somebody has saved it meanwhile. NotFound: what it is to replace is not there.
            InvalidState: there are as many as may be. PermissionDenied: a shared one takes the right to start operations on what it can match.
        """
        number: Any = order_number(order)
        message = build(filters_pb2.SavedFilter, name=name, shared=shared, order=number, filter=filter_message(where or JobFilter()))
        message.ages.CopyFrom(_ages(ages or {}))
        request = build(filters_pb2.SaveFilterRequest, filter=message, expected_version=replaces, reason=reason)
        return _saved((await self._call(lambda stubs: stubs.filters.SaveFilter, request)).filter)

    async def delete_filter(self, name: str, *, shared: bool = False, reason: str = "") -> None:
        """Deletes the caller's own saved filter of this name, or the shared one. Raises NotFound, PermissionDenied."""
        request = build(filters_pb2.DeleteFilterRequest, name=name, shared=shared, reason=reason)
        await self._call(lambda stubs: stubs.filters.DeleteFilter, request, repeatable=False)


async def get_filter(client: Base, name: str, *, shared: bool | None = None) -> tuple[SavedFilter, JobFilter]:
    """As `FilterCalls.get_filter`, with a client of whatever kind."""
    request = build(filters_pb2.GetFilterRequest, name=name, shared=shared)  # type: ignore[arg-type]  # the stub does not know that an optional field may be None
    answer = await client._call(lambda stubs: stubs.filters.GetFilter, request)
    return _saved(answer.filter), _where(answer.now)


def _ages(ages: Mapping[str, float]) -> filters_pb2.FilterAges:
    message = filters_pb2.FilterAges()
    for name, age_s in ages.items():
        if name not in BOUNDS:
            raise InvalidRequest(f"ages has bounds of periods: {', '.join(BOUNDS)}; found {name!r}", details={"field": "ages"})
        found = duration(f"ages.{name}", age_s)
        assert found is not None
        getattr(message, name).CopyFrom(found)
    return message


def _saved(message: filters_pb2.SavedFilter) -> SavedFilter:
    ages = {name: to_seconds(getattr(message.ages, name)) for name in BOUNDS if message.ages.HasField(name)}
    order = _ORDERS.get(message.order, Order.NEWEST)
    return SavedFilter(
        message.name, message.shared, _where(message.filter), ages, order, message.version, message.saved_by, to_datetime(message.saved_at), message.problem
    )


def _where(message: jobs_pb2.JobFilter) -> JobFilter:
    states = tuple(map(state, message.states))  # all of them: without one that has no name here it would match more
    return JobFilter(
        tuple(message.types), states, message.instance_id, **{name: time_of(message, name) for name in BOUNDS}, agent=message.agent,
        fingerprint=message.error_fingerprint, labels=dict(message.labels), log_text=message.log_text,
    )  # fmt: skip
