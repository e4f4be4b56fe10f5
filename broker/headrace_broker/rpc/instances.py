"""The Instances service: priorities of business cases."""

import base64
import binascii
from typing import Any

from headrace_proto.v1 import instances_pb2, instances_pb2_grpc
from headrace_proto.wire import to_timestamp

from headrace_broker.model.errors import BadPageToken, DatabaseUnavailable, InvalidField
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.rescore import Rescore
from headrace_broker.store.instances import PriorityRow
from headrace_broker.store.pool import READ_FAILURES

INSTANCES = instances_pb2.DESCRIPTOR.services_by_name["Instances"].full_name


class InstancesService:
    """See the module."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership
        self._store = ownership.instances

    async def SetInstancePriority(self, request: instances_pb2.SetInstancePriorityRequest, context: Any) -> instances_pb2.SetInstancePriorityResponse:  # noqa: N802
        instance_id, priority = convert.text("instance_id", request.instance_id, required=True), request.priority
        if not -convert.MAX_PRIORITY <= priority <= convert.MAX_PRIORITY:
            raise InvalidField("priority", f"between -{convert.MAX_PRIORITY:,} and {convert.MAX_PRIORITY:,}, found {priority}")
        reason = convert.text("reason", request.reason, convert.MAX_REASON)
        rescores, caller = self._ownership.rescores, caller_of(context)
        try:
            row = await self._store.set(instance_id, priority, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
        operation = rescores.instance(caller.domain, row.domain_id, instance_id, priority)
        return instances_pb2.SetInstancePriorityResponse(instance=_instance(row), rescore=_rescore(operation))

    async def ListInstancePriorities(  # noqa: N802
        self, request: instances_pb2.ListInstancePrioritiesRequest, context: Any
    ) -> instances_pb2.ListInstancePrioritiesResponse:  # fmt: skip
        limit = convert.page_size(request.page_size, 50, 1000)
        try:
            after = base64.b64decode(request.page_token, altchars=b"-_", validate=True).decode()
        except (ValueError, binascii.Error) as error:
            raise BadPageToken("page_token", "it was not made by this call; leave it empty for the first page") from error
        try:
            rows = await self._store.page(convert.domain_of(context), convert.text("page_token", after), limit)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database did not answer in time") from error
        more = base64.urlsafe_b64encode(rows[-1].instance_id.encode()).decode() if len(rows) == limit else ""
        return instances_pb2.ListInstancePrioritiesResponse(instances=[_instance(row) for row in rows], next_page_token=more)

    async def ListRescores(self, request: instances_pb2.ListRescoresRequest, context: Any) -> instances_pb2.ListRescoresResponse:  # noqa: N802
        limit = convert.page_size(request.page_size, 50, 1000)
        domain = convert.domain_of(context)
        found = [operation for operation in self._ownership.rescores.recent if operation.domain == domain and request.number in (0, operation.number)]
        return instances_pb2.ListRescoresResponse(rescores=[_rescore(operation) for operation in found[:limit]])


def _instance(row: PriorityRow) -> instances_pb2.InstancePriority:
    return instances_pb2.InstancePriority(instance_id=row.instance_id, priority=row.priority, changed_at=to_timestamp(row.changed_at), actor=row.actor, reason=row.reason)


def _rescore(operation: Rescore) -> instances_pb2.Rescore:
    return instances_pb2.Rescore(
        number=operation.number, kind=operation.kind, name=operation.name, priority=operation.priority, state=operation.state, done=operation.done,
        total=operation.total, started_at=to_timestamp(operation.started_at), ended_at=to_timestamp(operation.ended_at) if operation.ended_at is not None else None,
    )  # fmt: skip


def add_instances(server: Any, ownership: Ownership) -> None:
    """Adds the service to a server."""
    instances_pb2_grpc.add_InstancesServicer_to_server(InstancesService(ownership), server)  # type: ignore[no-untyped-call]
