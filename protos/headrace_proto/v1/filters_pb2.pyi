from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_proto.v1 import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FilterAges(_message.Message):
    __slots__ = ("created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to")
    CREATED_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATED_TO_FIELD_NUMBER: _ClassVar[int]
    STARTED_FROM_FIELD_NUMBER: _ClassVar[int]
    STARTED_TO_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FROM_FIELD_NUMBER: _ClassVar[int]
    SETTLED_TO_FIELD_NUMBER: _ClassVar[int]
    created_from: _duration_pb2.Duration
    created_to: _duration_pb2.Duration
    started_from: _duration_pb2.Duration
    started_to: _duration_pb2.Duration
    settled_from: _duration_pb2.Duration
    settled_to: _duration_pb2.Duration
    def __init__(self, created_from: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., created_to: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., started_from: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., started_to: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., settled_from: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., settled_to: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class SavedFilter(_message.Message):
    __slots__ = ("name", "shared", "filter", "ages", "order", "version", "saved_by", "saved_at", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    AGES_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SAVED_BY_FIELD_NUMBER: _ClassVar[int]
    SAVED_AT_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    shared: bool
    filter: _jobs_pb2.JobFilter
    ages: FilterAges
    order: _jobs_pb2.JobOrder
    version: int
    saved_by: str
    saved_at: _timestamp_pb2.Timestamp
    problem: str
    def __init__(self, name: _Optional[str] = ..., shared: bool = ..., filter: _Optional[_Union[_jobs_pb2.JobFilter, _Mapping]] = ..., ages: _Optional[_Union[FilterAges, _Mapping]] = ..., order: _Optional[_Union[_jobs_pb2.JobOrder, str]] = ..., version: _Optional[int] = ..., saved_by: _Optional[str] = ..., saved_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., problem: _Optional[str] = ...) -> None: ...

class ListFiltersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFiltersResponse(_message.Message):
    __slots__ = ("filters",)
    FILTERS_FIELD_NUMBER: _ClassVar[int]
    filters: _containers.RepeatedCompositeFieldContainer[SavedFilter]
    def __init__(self, filters: _Optional[_Iterable[_Union[SavedFilter, _Mapping]]] = ...) -> None: ...

class GetFilterRequest(_message.Message):
    __slots__ = ("name", "shared")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    name: str
    shared: bool
    def __init__(self, name: _Optional[str] = ..., shared: bool = ...) -> None: ...

class GetFilterResponse(_message.Message):
    __slots__ = ("filter", "now")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    filter: SavedFilter
    now: _jobs_pb2.JobFilter
    def __init__(self, filter: _Optional[_Union[SavedFilter, _Mapping]] = ..., now: _Optional[_Union[_jobs_pb2.JobFilter, _Mapping]] = ...) -> None: ...

class SaveFilterRequest(_message.Message):
    __slots__ = ("filter", "expected_version", "reason")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_VERSION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    filter: SavedFilter
    expected_version: int
    reason: str
    def __init__(self, filter: _Optional[_Union[SavedFilter, _Mapping]] = ..., expected_version: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class SaveFilterResponse(_message.Message):
    __slots__ = ("filter",)
    FILTER_FIELD_NUMBER: _ClassVar[int]
    filter: SavedFilter
    def __init__(self, filter: _Optional[_Union[SavedFilter, _Mapping]] = ...) -> None: ...

class DeleteFilterRequest(_message.Message):
    __slots__ = ("name", "shared", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHARED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    shared: bool
    reason: str
    def __init__(self, name: _Optional[str] = ..., shared: bool = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteFilterResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
