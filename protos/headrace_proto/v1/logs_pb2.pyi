from headrace_proto.v1 import jobs_pb2 as _jobs_pb2
from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TailLogsRequest(_message.Message):
    __slots__ = ("job_id", "lease_epoch", "min_level", "after_lease_epoch", "after_line_no")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    MIN_LEVEL_FIELD_NUMBER: _ClassVar[int]
    AFTER_LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    AFTER_LINE_NO_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    lease_epoch: int
    min_level: _jobs_pb2.LogLevel
    after_lease_epoch: int
    after_line_no: int
    def __init__(self, job_id: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., min_level: _Optional[_Union[_jobs_pb2.LogLevel, str]] = ..., after_lease_epoch: _Optional[int] = ..., after_line_no: _Optional[int] = ...) -> None: ...

class TailLogsResponse(_message.Message):
    __slots__ = ("lines", "ended", "state")
    LINES_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[_jobs_pb2.LogLine]
    ended: bool
    state: _types_pb2.JobState
    def __init__(self, lines: _Optional[_Iterable[_Union[_jobs_pb2.LogLine, _Mapping]]] = ..., ended: bool = ..., state: _Optional[_Union[_types_pb2.JobState, str]] = ...) -> None: ...
