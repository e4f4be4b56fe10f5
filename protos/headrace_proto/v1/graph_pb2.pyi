from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EdgeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_KIND_UNSPECIFIED: _ClassVar[EdgeKind]
    EDGE_KIND_DEPENDS: _ClassVar[EdgeKind]
    EDGE_KIND_SUBMITTED: _ClassVar[EdgeKind]
    EDGE_KIND_MEMBER: _ClassVar[EdgeKind]
EDGE_KIND_UNSPECIFIED: EdgeKind
EDGE_KIND_DEPENDS: EdgeKind
EDGE_KIND_SUBMITTED: EdgeKind
EDGE_KIND_MEMBER: EdgeKind

class Edge(_message.Message):
    __slots__ = ("parent_id", "child_id", "kind")
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    CHILD_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    parent_id: int
    child_id: int
    kind: EdgeKind
    def __init__(self, parent_id: _Optional[int] = ..., child_id: _Optional[int] = ..., kind: _Optional[_Union[EdgeKind, str]] = ...) -> None: ...

class GetGraphRequest(_message.Message):
    __slots__ = ("job_id", "instance_id", "page_size", "page_token")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    instance_id: str
    page_size: int
    page_token: str
    def __init__(self, job_id: _Optional[int] = ..., instance_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetGraphResponse(_message.Message):
    __slots__ = ("jobs", "edges", "complete", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    EDGES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_types_pb2.Job]
    edges: _containers.RepeatedCompositeFieldContainer[Edge]
    complete: bool
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_types_pb2.Job, _Mapping]]] = ..., edges: _Optional[_Iterable[_Union[Edge, _Mapping]]] = ..., complete: bool = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListDependenciesRequest(_message.Message):
    __slots__ = ("job_id", "max_bytes")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    max_bytes: int
    def __init__(self, job_id: _Optional[int] = ..., max_bytes: _Optional[int] = ...) -> None: ...

class ListDependenciesResponse(_message.Message):
    __slots__ = ("jobs", "left_out")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_types_pb2.Job]
    left_out: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, jobs: _Optional[_Iterable[_Union[_types_pb2.Job, _Mapping]]] = ..., left_out: _Optional[_Iterable[int]] = ...) -> None: ...

class CreateBatchRequest(_message.Message):
    __slots__ = ("callback",)
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    callback: _types_pb2.JobSpec
    def __init__(self, callback: _Optional[_Union[_types_pb2.JobSpec, _Mapping]] = ...) -> None: ...

class CreateBatchResponse(_message.Message):
    __slots__ = ("batch_id", "existing")
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    existing: bool
    def __init__(self, batch_id: _Optional[int] = ..., existing: bool = ...) -> None: ...

class SealBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    def __init__(self, batch_id: _Optional[int] = ...) -> None: ...

class SealBatchResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetBatchRequest(_message.Message):
    __slots__ = ("batch_id",)
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    batch_id: int
    def __init__(self, batch_id: _Optional[int] = ...) -> None: ...

class GetBatchResponse(_message.Message):
    __slots__ = ("open", "total", "counts", "deleted", "failed_ids", "callback")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_IDS_FIELD_NUMBER: _ClassVar[int]
    CALLBACK_FIELD_NUMBER: _ClassVar[int]
    open: bool
    total: int
    counts: _containers.RepeatedCompositeFieldContainer[_types_pb2.StateCount]
    deleted: int
    failed_ids: _containers.RepeatedScalarFieldContainer[int]
    callback: _types_pb2.Job
    def __init__(self, open: bool = ..., total: _Optional[int] = ..., counts: _Optional[_Iterable[_Union[_types_pb2.StateCount, _Mapping]]] = ..., deleted: _Optional[int] = ..., failed_ids: _Optional[_Iterable[int]] = ..., callback: _Optional[_Union[_types_pb2.Job, _Mapping]] = ...) -> None: ...
