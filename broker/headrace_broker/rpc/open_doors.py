"""The Doors service: transactions that are about to complete jobs."""

from typing import Any

from headrace_proto.v1 import doors_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.model.errors import DatabaseUnavailable
from headrace_broker.rpc import convert
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.pool import READ_FAILURES


class DoorsService:
    """Shows them. A door is known by its lock, whose number is a job's id."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    async def ListDoors(self, request: doors_pb2.ListDoorsRequest, context: Any) -> doors_pb2.ListDoorsResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        try:
            found = await self._ownership.inbox.open_doors()
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached") from error
        settling = set(owner.doors.settling())
        answer = doors_pb2.ListDoorsResponse()
        for door in found:
            live = owner.live_jobs.get(door.job_id)
            if live is not None and live.entry.domain == domain:
                answer.doors.add(
                    job_id=door.job_id, type=live.entry.name, pid=door.pid, opened_at=to_timestamp(door.opened_at) if door.opened_at is not None else None,
                    open_for=to_duration(max(0.0, door.open_s)),
                    application=door.application, state=door.state, settling=door.job_id in settling,
                )  # fmt: skip
        return answer
