"""The Brokers service: which broker processes there are."""

from typing import Any

from headrace_proto.v1 import brokers_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.model.errors import DatabaseUnavailable, DomainDenied
from headrace_broker.rpc import convert
from headrace_broker.rpc.access import TOKEN, sees_all_domains
from headrace_broker.store.brokers import BrokerRow, BrokerStore
from headrace_broker.store.pool import READ_FAILURES


class BrokersService:
    """See the module."""

    def __init__(self, brokers: BrokerStore) -> None:
        self._brokers = brokers

    async def ListBrokers(self, _request: brokers_pb2.ListBrokersRequest, context: Any) -> brokers_pb2.ListBrokersResponse:  # noqa: N802
        convert.domain_of(context)
        if not sees_all_domains():
            token = TOKEN.get()
            raise DomainDenied(f"{token.called if token is not None else 'the caller'} is for one domain; brokers serve all of them")
        try:
            rows = await self._brokers.all()
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached; ask again") from error
        return brokers_pb2.ListBrokersResponse(brokers=[_message(row) for row in rows])


def _message(row: BrokerRow) -> brokers_pb2.Broker:
    role = brokers_pb2.BROKER_ROLE_ACTIVE if row.shards else brokers_pb2.BROKER_ROLE_STANDBY
    return brokers_pb2.Broker(
        address=row.address, version=row.version, role=role, endpoint=row.endpoint, web=row.web, connected_at=to_timestamp(row.started_at), life_id=row.life_id,
        shards=row.shards,
    )  # fmt: skip
