from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class BrokerRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BROKER_ROLE_UNSPECIFIED: _ClassVar[BrokerRole]
    BROKER_ROLE_ACTIVE: _ClassVar[BrokerRole]
    BROKER_ROLE_STANDBY: _ClassVar[BrokerRole]
BROKER_ROLE_UNSPECIFIED: BrokerRole
BROKER_ROLE_ACTIVE: BrokerRole
BROKER_ROLE_STANDBY: BrokerRole

class Broker(_message.Message):
    __slots__ = ("address", "version", "role", "endpoint", "web", "connected_at", "life_id", "shards")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    WEB_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_AT_FIELD_NUMBER: _ClassVar[int]
    LIFE_ID_FIELD_NUMBER: _ClassVar[int]
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    address: str
    version: str
    role: BrokerRole
    endpoint: str
    web: str
    connected_at: _timestamp_pb2.Timestamp
    life_id: int
    shards: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, address: _Optional[str] = ..., version: _Optional[str] = ..., role: _Optional[_Union[BrokerRole, str]] = ..., endpoint: _Optional[str] = ..., web: _Optional[str] = ..., connected_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., life_id: _Optional[int] = ..., shards: _Optional[_Iterable[int]] = ...) -> None: ...

class ListBrokersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListBrokersResponse(_message.Message):
    __slots__ = ("brokers",)
    BROKERS_FIELD_NUMBER: _ClassVar[int]
    brokers: _containers.RepeatedCompositeFieldContainer[Broker]
    def __init__(self, brokers: _Optional[_Iterable[_Union[Broker, _Mapping]]] = ...) -> None: ...
