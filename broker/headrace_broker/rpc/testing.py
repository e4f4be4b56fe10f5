"""The Testing service: time for tests, at a broker that was started for them."""

from typing import Any

import grpc
from headrace_proto.v1 import testing_pb2, testing_pb2_grpc
from headrace_proto.wire import to_timestamp

from headrace_broker.model.errors import InvalidField, InvalidState
from headrace_broker.rpc import convert
from headrace_broker.shards.ownership import Ownership

TESTING = testing_pb2.DESCRIPTOR.services_by_name["Testing"].full_name
MAX_ADVANCE_S = 1000 * 86_400.0


class TestingService:
    """See the module."""

    __test__ = False  # no test, whatever its name looks like

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    async def AdvanceClock(self, request: testing_pb2.AdvanceClockRequest, context: Any) -> testing_pb2.AdvanceClockResponse:  # noqa: N802
        by_s = convert.seconds("by", request.by, MAX_ADVANCE_S)
        if not by_s:
            raise InvalidField("by", "more than 0 s: time does not go back")
        if not self._ownership.testing:
            raise InvalidState("this broker does not run with --testing: its clock is the database's")
        return testing_pb2.AdvanceClockResponse(now=to_timestamp(await self._ownership.advance_clock(by_s)))


def add_testing(server: grpc.aio.Server, ownership: Ownership) -> None:
    """Adds the service to a server."""
    testing_pb2_grpc.add_TestingServicer_to_server(TestingService(ownership), server)  # type: ignore[no-untyped-call]
