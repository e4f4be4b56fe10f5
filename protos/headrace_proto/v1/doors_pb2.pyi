from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Door(_message.Message):
    __slots__ = ("job_id", "type", "pid", "opened_at", "open_for", "application", "state", "settling")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_FIELD_NUMBER: _ClassVar[int]
    OPEN_FOR_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SETTLING_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    type: str
    pid: int
    opened_at: _timestamp_pb2.Timestamp
    open_for: _duration_pb2.Duration
    application: str
    state: str
    settling: bool
    def __init__(self, job_id: _Optional[int] = ..., type: _Optional[str] = ..., pid: _Optional[int] = ..., opened_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., open_for: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., application: _Optional[str] = ..., state: _Optional[str] = ..., settling: bool = ...) -> None: ...

class ListDoorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDoorsResponse(_message.Message):
    __slots__ = ("doors",)
    DOORS_FIELD_NUMBER: _ClassVar[int]
    doors: _containers.RepeatedCompositeFieldContainer[Door]
    def __init__(self, doors: _Optional[_Iterable[_Union[Door, _Mapping]]] = ...) -> None: ...
