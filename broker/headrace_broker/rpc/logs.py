"""The Logs service: what handlers log, as it is logged."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from headrace_proto.v1 import jobs_pb2, logs_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.actions.reads import JobReads
from headrace_broker.actions.tail import tail
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.job import State
from headrace_broker.rpc import convert
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.logs import LogWriter
from headrace_broker.store.reads import LogRow, Reads


class LogsService:
    """See the module."""

    def __init__(self, ownership: Ownership, reads: Reads, writer: LogWriter) -> None:
        self._ownership = ownership
        self._reads = reads
        self._writer = writer

    async def TailLogs(self, request: logs_pb2.TailLogsRequest, context: Any) -> AsyncIterator[logs_pb2.TailLogsResponse]:  # noqa: N802
        job_id = convert.job_id("job_id", request.job_id)
        epoch = convert.epoch("lease_epoch", request.lease_epoch)
        after = convert.epoch("after_lease_epoch", request.after_lease_epoch), convert.epoch("after_line_no", request.after_line_no)
        owner = self._ownership.owner
        reads = JobReads(owner, self._reads)
        following = tail(
            owner, reads, self._writer, job_id, convert.domain_of(context), lease_epoch=epoch, min_level=min_level(request.min_level), after=after,
        )  # fmt: skip
        async with aclosing(following):
            async for part in following:
                state = int(part.state) if part.state is not State.GONE else 0
                yield logs_pb2.TailLogsResponse(lines=map(log_line, part.lines), ended=part.ended, state=state)  # type: ignore[arg-type]  # enum numbers


def min_level(value: int) -> int:
    """The lowest level that is wanted."""
    if value not in range(5):
        raise InvalidField("min_level", f"a log level is 1 to 4, found {value}")
    return value


def log_line(line: LogRow) -> jobs_pb2.LogLine:
    """A stored line as a message."""
    return jobs_pb2.LogLine(
        lease_epoch=line.lease_epoch, line_no=line.line_no, at=to_timestamp(line.at), level=line.level, text=line.text, run=line.run,  # type: ignore[arg-type]
        attempt=line.attempt,
    )  # fmt: skip
