"""Submissions that came through the SQL door, understood and refused as those of the Submit calls are."""

import asyncio
import json

from google.protobuf.json_format import ParseDict
from headrace_proto.v1 import types_pb2

from headrace_broker.model.errors import BrokerError, InvalidField, TooLarge
from headrace_broker.rpc import convert
from headrace_broker.rpc.admission import EndlessPatience
from headrace_broker.rpc.errors import reason_of
from headrace_broker.rpc.submit import SubmitCalls
from headrace_broker.shards.doors import DoorJob
from headrace_broker.shards.owner import Owner
from headrace_broker.store.heads import Heads
from headrace_broker.store.inbox import SPEC_LIMIT, InboxRow

MESSAGE = 1000
"""Characters of what is said of a row that cannot be read."""


class DoorReader(SubmitCalls):
    """Reads rows of the inbox as specs of jobs."""

    def __init__(self, payload_limit: int) -> None:
        self._payload_limit = payload_limit

    async def job(self, owner: Owner, row: InboxRow, heads: Heads) -> DoorJob:
        """See `shards.doors.Reader`. A job that rides with keyed ones gets a key of its own when it has none, so that reading its row again finds the same job."""
        if len(row.spec) > SPEC_LIMIT:
            raise TooLarge("more", f"all that is said of a job beside its payload has at most {SPEC_LIMIT:,} characters as JSON")
        spec = types_pb2.JobSpec()
        try:
            ParseDict(json.loads(row.spec), spec)
        except Exception as error:  # ParseError, and whatever else JSON is that is too deep or has too large numbers: the row is refused, and holds nobody up
            raise InvalidField("more", str(error)[:MESSAGE]) from error
        spec.payload = row.payload
        if convert.replaces(spec):
            raise InvalidField("on_conflict", "jobs of the SQL door replace no others: choose return or reject, or submit over gRPC")
        if not owner.types.has_room(row.domain, spec.type):  # which does not pass by itself: the row would be tried for ever, and those after it wait
            raise InvalidField("type", owner.types.full())
        job, size = await self._read(owner, row.domain, spec)
        if not convert.is_keyed(spec):
            return DoorJob(job, None)
        await self._find_tied(owner, heads, row.domain, [spec])
        if not spec.idempotency_key:
            spec.idempotency_key = f"inbox:{row.inbox_id}"
        answer: asyncio.Future[tuple[int, bool]] = await self._queue_keyed(owner, spec, job, size, EndlessPatience())
        answer.add_done_callback(_looked_at)
        return DoorJob(job, answer)

    def reason(self, error: BrokerError) -> str:
        """The stable reason of a refusal."""
        return str(reason_of(error))


def _looked_at(answer: "asyncio.Future[tuple[int, bool]]") -> None:
    if not answer.cancelled():
        answer.exception()  # who waits for it may have given up on the chunk
