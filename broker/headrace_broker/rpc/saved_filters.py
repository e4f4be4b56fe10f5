"""The Filters service: filters of jobs that people keep under a name."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from headrace_proto.v1 import filters_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.actions.saved_filters import SavedFilters
from headrace_broker.model.saved_filter import SavedFilter, Sought, Unreadable
from headrace_broker.model.stored_filter import BOUNDS
from headrace_broker.rpc import convert, filters
from headrace_broker.rpc.callers import caller_of


class FiltersService:
    """See the module."""

    def __init__(self, saved: SavedFilters) -> None:
        self._saved = saved

    async def ListFilters(self, _request: filters_pb2.ListFiltersRequest, context: Any) -> filters_pb2.ListFiltersResponse:  # noqa: N802
        found = await self._saved.list(caller_of(context))
        return filters_pb2.ListFiltersResponse(filters=[_message(one, problem) for one, problem in found])

    async def GetFilter(self, request: filters_pb2.GetFilterRequest, context: Any) -> filters_pb2.GetFilterResponse:  # noqa: N802
        found, now = await self._saved.get(request.name, request.shared if request.HasField("shared") else None, caller_of(context))
        return filters_pb2.GetFilterResponse(filter=_message(found), now=filters.message(now))

    async def SaveFilter(self, request: filters_pb2.SaveFilterRequest, context: Any) -> filters_pb2.SaveFilterResponse:  # noqa: N802
        caller, asked = caller_of(context), request.filter
        sought = Sought(filters.job_filter("filter", asked.filter), _ages(asked.ages), filters.order(asked.order))
        stored = await self._saved.save(
            asked.name, sought, shared=asked.shared, expected_version=request.expected_version, caller=caller, reason=_reason(request)
        )  # fmt: skip
        return filters_pb2.SaveFilterResponse(filter=_message(stored))

    async def DeleteFilter(self, request: filters_pb2.DeleteFilterRequest, context: Any) -> filters_pb2.DeleteFilterResponse:  # noqa: N802
        await self._saved.delete(request.name, shared=request.shared, caller=caller_of(context), reason=_reason(request))
        return filters_pb2.DeleteFilterResponse()


def _reason(request: Any) -> str:
    return convert.text("reason", request.reason, convert.MAX_REASON)


def _ages(message: filters_pb2.FilterAges) -> dict[str, float]:
    return {bound: convert.seconds(f"ages.{bound}", getattr(message, bound)) for bound in BOUNDS if message.HasField(bound)}


def _message(one: SavedFilter, problem: str = "") -> filters_pb2.SavedFilter:
    message = filters_pb2.SavedFilter(name=one.name, shared=one.shared, version=one.version, saved_by=one.saved_by, saved_at=to_timestamp(one.saved_at), problem=problem)
    try:
        sought = one.sought()
    except Unreadable:
        return message  # the problem says so
    message.filter.CopyFrom(filters.message(sought.wanted))
    message.order = sought.order.value  # type: ignore[assignment]  # enum numbers
    for bound, age_s in sought.ages.items():
        age: Duration = getattr(message.ages, bound)
        age.CopyFrom(to_duration(age_s))
    return message
