"""Which brokers there are; a part of the administrator's client."""

from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import brokers_pb2
from headrace_proto.wire import to_datetime

from headrace_client.base import Base

ROLES = {brokers_pb2.BROKER_ROLE_ACTIVE: "active", brokers_pb2.BROKER_ROLE_STANDBY: "standby"}


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker process. `role`: active (it owns the queue) or standby; `endpoint` and `web` are empty where it does not say how it is reached; `connected_at`: its start,
    or when its connection to the database last broke; `life_id`: rises with each connection, as in its log."""

    address: str
    version: str
    role: str
    endpoint: str
    web: str
    connected_at: datetime
    life_id: int


class BrokerCalls(Base):
    """For who may look at all domains."""

    async def list_brokers(self) -> list[Broker]:
        """The brokers that are connected to the database now, the oldest first."""
        answer = await self._call(lambda stubs: stubs.brokers.ListBrokers, brokers_pb2.ListBrokersRequest())
        return [Broker(b.address, b.version, ROLES.get(b.role, str(b.role)), b.endpoint, b.web, to_datetime(b.connected_at), b.life_id) for b in answer.brokers]
