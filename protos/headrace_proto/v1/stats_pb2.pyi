from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetOverviewRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetOverviewResponse(_message.Message):
    __slots__ = ("version", "broker_id", "uptime", "server_time", "counts", "agents", "slots", "slots_in_use", "postgres_version")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    BROKER_ID_FIELD_NUMBER: _ClassVar[int]
    UPTIME_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_IN_USE_FIELD_NUMBER: _ClassVar[int]
    POSTGRES_VERSION_FIELD_NUMBER: _ClassVar[int]
    version: str
    broker_id: str
    uptime: _duration_pb2.Duration
    server_time: _timestamp_pb2.Timestamp
    counts: _containers.RepeatedCompositeFieldContainer[_types_pb2.StateCount]
    agents: int
    slots: int
    slots_in_use: int
    postgres_version: str
    def __init__(self, version: _Optional[str] = ..., broker_id: _Optional[str] = ..., uptime: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., server_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., counts: _Optional[_Iterable[_Union[_types_pb2.StateCount, _Mapping]]] = ..., agents: _Optional[int] = ..., slots: _Optional[int] = ..., slots_in_use: _Optional[int] = ..., postgres_version: _Optional[str] = ...) -> None: ...
