"""The Testing service: time for tests, at a broker that was started for them."""

from typing import Any

from headrace_proto.v1 import testing_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.model.errors import InvalidField, InvalidState
from headrace_broker.rpc import convert
from headrace_broker.shards.ownership import Ownership

MAX_ADVANCE_S = 1000 * 86_400.0


class TestingService:
    """See the module. `allowed`: the broker runs with --testing."""

    __test__ = False  # no test, whatever its name looks like

    def __init__(self, ownership: Ownership, *, allowed: bool) -> None:
        self._ownership = ownership
        self._allowed = allowed

    async def AdvanceClock(self, request: testing_pb2.AdvanceClockRequest, context: Any) -> testing_pb2.AdvanceClockResponse:  # noqa: N802
        by_s = convert.seconds("by", request.by, MAX_ADVANCE_S)
        if not by_s:
            raise InvalidField("by", "more than 0 s: time does not go back")
        if not self._allowed:
            raise InvalidState("this broker does not run with --testing: its clock is the database's")
        return testing_pb2.AdvanceClockResponse(now=to_timestamp(await self._ownership.advance_clock(by_s)))
