from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_proto.v1 import jobs_pb2 as _jobs_pb2
from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_ACTION_UNSPECIFIED: _ClassVar[OperationAction]
    OPERATION_ACTION_REQUEUE: _ClassVar[OperationAction]
    OPERATION_ACTION_ABORT: _ClassVar[OperationAction]
    OPERATION_ACTION_PURGE: _ClassVar[OperationAction]
    OPERATION_ACTION_PRIORITY: _ClassVar[OperationAction]
    OPERATION_ACTION_HOLD: _ClassVar[OperationAction]
    OPERATION_ACTION_RELEASE: _ClassVar[OperationAction]

class OperationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPERATION_STATE_UNSPECIFIED: _ClassVar[OperationState]
    OPERATION_STATE_RUNNING: _ClassVar[OperationState]
    OPERATION_STATE_STOPPED: _ClassVar[OperationState]
    OPERATION_STATE_FINISHED: _ClassVar[OperationState]
OPERATION_ACTION_UNSPECIFIED: OperationAction
OPERATION_ACTION_REQUEUE: OperationAction
OPERATION_ACTION_ABORT: OperationAction
OPERATION_ACTION_PURGE: OperationAction
OPERATION_ACTION_PRIORITY: OperationAction
OPERATION_ACTION_HOLD: OperationAction
OPERATION_ACTION_RELEASE: OperationAction
OPERATION_STATE_UNSPECIFIED: OperationState
OPERATION_STATE_RUNNING: OperationState
OPERATION_STATE_STOPPED: OperationState
OPERATION_STATE_FINISHED: OperationState

class OperationSpec(_message.Message):
    __slots__ = ("filter", "all_jobs", "action", "include_completed", "grace", "force", "priority", "payload", "content_type", "payload_bytes")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ALL_JOBS_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    filter: _jobs_pb2.JobFilter
    all_jobs: bool
    action: OperationAction
    include_completed: bool
    grace: _duration_pb2.Duration
    force: bool
    priority: int
    payload: bytes
    content_type: str
    payload_bytes: int
    def __init__(self, filter: _Optional[_Union[_jobs_pb2.JobFilter, _Mapping]] = ..., all_jobs: bool = ..., action: _Optional[_Union[OperationAction, str]] = ..., include_completed: bool = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., force: bool = ..., priority: _Optional[int] = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ..., payload_bytes: _Optional[int] = ...) -> None: ...

class Operation(_message.Message):
    __slots__ = ("operation_id", "spec", "actor", "on_behalf_of", "request_id", "reason", "frozen_id", "expected", "expected_complete", "rate", "state", "created_at", "finished_at", "stopped_at", "stopped_by", "stopped_reason", "matched", "done", "skipped", "failed", "searched_until")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    ON_BEHALF_OF_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FROZEN_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    STOPPED_AT_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BY_FIELD_NUMBER: _ClassVar[int]
    STOPPED_REASON_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    operation_id: int
    spec: OperationSpec
    actor: str
    on_behalf_of: str
    request_id: str
    reason: str
    frozen_id: int
    expected: int
    expected_complete: bool
    rate: float
    state: OperationState
    created_at: _timestamp_pb2.Timestamp
    finished_at: _timestamp_pb2.Timestamp
    stopped_at: _timestamp_pb2.Timestamp
    stopped_by: str
    stopped_reason: str
    matched: int
    done: int
    skipped: int
    failed: int
    searched_until: _timestamp_pb2.Timestamp
    def __init__(self, operation_id: _Optional[int] = ..., spec: _Optional[_Union[OperationSpec, _Mapping]] = ..., actor: _Optional[str] = ..., on_behalf_of: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ..., frozen_id: _Optional[int] = ..., expected: _Optional[int] = ..., expected_complete: bool = ..., rate: _Optional[float] = ..., state: _Optional[_Union[OperationState, str]] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., finished_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., stopped_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., stopped_by: _Optional[str] = ..., stopped_reason: _Optional[str] = ..., matched: _Optional[int] = ..., done: _Optional[int] = ..., skipped: _Optional[int] = ..., failed: _Optional[int] = ..., searched_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SkippedJob(_message.Message):
    __slots__ = ("job_id", "failed", "code", "reason")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    failed: bool
    code: str
    reason: str
    def __init__(self, job_id: _Optional[int] = ..., failed: bool = ..., code: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PreviewOperationRequest(_message.Message):
    __slots__ = ("spec", "sample", "page_token")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    spec: OperationSpec
    sample: int
    page_token: str
    def __init__(self, spec: _Optional[_Union[OperationSpec, _Mapping]] = ..., sample: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class PreviewOperationResponse(_message.Message):
    __slots__ = ("matched", "acted_on", "types", "as_of", "complete", "searched_until", "next_page_token", "sample")
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    ACTED_ON_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    matched: int
    acted_on: int
    types: _containers.RepeatedCompositeFieldContainer[_jobs_pb2.TypeCount]
    as_of: _timestamp_pb2.Timestamp
    complete: bool
    searched_until: _timestamp_pb2.Timestamp
    next_page_token: str
    sample: _containers.RepeatedCompositeFieldContainer[_types_pb2.Job]
    def __init__(self, matched: _Optional[int] = ..., acted_on: _Optional[int] = ..., types: _Optional[_Iterable[_Union[_jobs_pb2.TypeCount, _Mapping]]] = ..., as_of: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., complete: bool = ..., searched_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_page_token: _Optional[str] = ..., sample: _Optional[_Iterable[_Union[_types_pb2.Job, _Mapping]]] = ...) -> None: ...

class StartOperationRequest(_message.Message):
    __slots__ = ("spec", "reason", "rate", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: OperationSpec
    reason: str
    rate: float
    request_id: str
    def __init__(self, spec: _Optional[_Union[OperationSpec, _Mapping]] = ..., reason: _Optional[str] = ..., rate: _Optional[float] = ..., request_id: _Optional[str] = ...) -> None: ...

class StartOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class GetOperationRequest(_message.Message):
    __slots__ = ("operation_id", "wait")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    operation_id: int
    wait: _duration_pb2.Duration
    def __init__(self, operation_id: _Optional[int] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ListOperationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListOperationsResponse(_message.Message):
    __slots__ = ("operations", "next_page_token")
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    operations: _containers.RepeatedCompositeFieldContainer[Operation]
    next_page_token: str
    def __init__(self, operations: _Optional[_Iterable[_Union[Operation, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListSkippedJobsRequest(_message.Message):
    __slots__ = ("operation_id", "page_size", "page_token")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    operation_id: int
    page_size: int
    page_token: str
    def __init__(self, operation_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSkippedJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[SkippedJob]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[SkippedJob, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SetOperationRateRequest(_message.Message):
    __slots__ = ("operation_id", "rate", "reason")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    operation_id: int
    rate: float
    reason: str
    def __init__(self, operation_id: _Optional[int] = ..., rate: _Optional[float] = ..., reason: _Optional[str] = ...) -> None: ...

class SetOperationRateResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class StopOperationRequest(_message.Message):
    __slots__ = ("operation_id", "reason")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    operation_id: int
    reason: str
    def __init__(self, operation_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class StopOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...

class ResumeOperationRequest(_message.Message):
    __slots__ = ("operation_id", "reason")
    OPERATION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    operation_id: int
    reason: str
    def __init__(self, operation_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeOperationResponse(_message.Message):
    __slots__ = ("operation",)
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ...) -> None: ...
