"""Which brokers there are; a part of the administrator's client."""

from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import brokers_pb2
from headrace_proto.wire import name_of, to_datetime

from headrace_client.base import Base

ROLES: dict[int, str] = {brokers_pb2.BROKER_ROLE_ACTIVE: "active", brokers_pb2.BROKER_ROLE_STANDBY: "standby"}


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker process. `role`: active (it owns the queue) or standby; `endpoint` and `web` are empty where it does not say how it is reached; `connected_at`: its start,
    or when its connection to the database last broke; `life_id`: rises with each connection, as in its log; `shards`: which it owns (a queue with one shard: 0)."""

    address: str
    version: str
    role: str
    endpoint: str
    web: str
    connected_at: datetime
    life_id: int
    shards: tuple[int, ...]


class BrokerCalls(Base):
    """For who may look at all domains."""

    async def list_brokers(self) -> list[Broker]:
        """The brokers that are connected to the database now, the oldest first."""
        answer = await self._call(lambda stubs: stubs.brokers.ListBrokers, brokers_pb2.ListBrokersRequest())
        return [_broker(item) for item in answer.brokers]


def _broker(item: brokers_pb2.Broker) -> Broker:
    role, shards = name_of(item.role, ROLES), tuple(item.shards)
    return Broker(item.address, item.version, role, item.endpoint, item.web, to_datetime(item.connected_at), item.life_id, shards)
