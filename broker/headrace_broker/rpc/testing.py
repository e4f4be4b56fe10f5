"""The Testing service: time for tests, at a broker that was started for them."""

from typing import Any

from headrace_proto.v1 import testing_pb2, testing_pb2_grpc
from headrace_proto.wire import to_timestamp

from headrace_broker.model.errors import DatabaseUnavailable, InvalidField, InvalidState
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.shards.ownerships import Ownerships
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.pool import READ_FAILURES

TESTING = testing_pb2.DESCRIPTOR.services_by_name["Testing"].full_name
MAX_ADVANCE_S = 1000 * 86_400.0


class TestingService:
    """See the module."""

    __test__ = False  # no test, whatever its name looks like

    def __init__(self, ownerships: Ownerships, audit: AuditStore) -> None:
        self._ownerships = ownerships
        self._audit = audit

    async def AdvanceClock(self, request: testing_pb2.AdvanceClockRequest, context: Any) -> testing_pb2.AdvanceClockResponse:  # noqa: N802
        by_s = convert.seconds("by", request.by, MAX_ADVANCE_S)
        if not by_s:
            raise InvalidField("by", "more than 0 s: time does not go back")
        if not self._ownerships.first.testing:
            raise InvalidState("this broker does not run with --testing: its clock is the database's")
        row = caller_of(context).entry("testing.advance_clock", "broker/clock", after={"seconds": by_s}, everywhere=True)
        try:
            await self._audit.add([row])  # the clock is known to memory only, so the row comes first
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; the clock shows what it showed") from error
        shown = [ownership.advance_clock(by_s) for ownership in self._ownerships.owned() or [self._ownerships.first]]
        return testing_pb2.AdvanceClockResponse(now=to_timestamp(shown[0]))


def add_testing(server: Any, ownerships: Ownerships, audit: AuditStore) -> None:
    """Adds the service to a server."""
    testing_pb2_grpc.add_TestingServicer_to_server(TestingService(ownerships, audit), server)  # type: ignore[no-untyped-call]
