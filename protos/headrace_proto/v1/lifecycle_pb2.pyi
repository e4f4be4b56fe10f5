from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_proto.v1 import admin_pb2 as _admin_pb2
from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class UpdateJobsRequest(_message.Message):
    __slots__ = ("job_ids", "reason", "priority", "payload", "content_type", "hold", "delete_after", "delete_at", "delete_by_type", "set_labels", "remove_labels")
    class SetLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    DELETE_AFTER_FIELD_NUMBER: _ClassVar[int]
    DELETE_AT_FIELD_NUMBER: _ClassVar[int]
    DELETE_BY_TYPE_FIELD_NUMBER: _ClassVar[int]
    SET_LABELS_FIELD_NUMBER: _ClassVar[int]
    REMOVE_LABELS_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    reason: str
    priority: int
    payload: bytes
    content_type: str
    hold: bool
    delete_after: _duration_pb2.Duration
    delete_at: _timestamp_pb2.Timestamp
    delete_by_type: bool
    set_labels: _containers.ScalarMap[str, str]
    remove_labels: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, job_ids: _Optional[_Iterable[int]] = ..., reason: _Optional[str] = ..., priority: _Optional[int] = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ..., hold: bool = ..., delete_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., delete_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., delete_by_type: bool = ..., set_labels: _Optional[_Mapping[str, str]] = ..., remove_labels: _Optional[_Iterable[str]] = ...) -> None: ...

class UpdateJobsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_admin_pb2.JobResult]
    def __init__(self, results: _Optional[_Iterable[_Union[_admin_pb2.JobResult, _Mapping]]] = ...) -> None: ...

class RequeueDescendantsRequest(_message.Message):
    __slots__ = ("job_id", "reason", "include_completed", "payload", "content_type")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_COMPLETED_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    reason: str
    include_completed: bool
    payload: bytes
    content_type: str
    def __init__(self, job_id: _Optional[int] = ..., reason: _Optional[str] = ..., include_completed: bool = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ...) -> None: ...

class RequeueDescendantsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_admin_pb2.JobResult]
    def __init__(self, results: _Optional[_Iterable[_Union[_admin_pb2.JobResult, _Mapping]]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("job_id", "view", "before_run", "page_size")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    BEFORE_RUN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    view: _types_pb2.JobView
    before_run: int
    page_size: int
    def __init__(self, job_id: _Optional[int] = ..., view: _Optional[_Union[_types_pb2.JobView, str]] = ..., before_run: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("run", "began_at", "actor", "reason", "state", "ending", "ended_at", "attempts", "losses", "started_at", "agent", "error", "payload_version", "payload_bytes", "payload", "result_bytes", "result", "data_withheld", "secrets_masked")
    RUN_FIELD_NUMBER: _ClassVar[int]
    BEGAN_AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_VERSION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RESULT_BYTES_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    DATA_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    SECRETS_MASKED_FIELD_NUMBER: _ClassVar[int]
    run: int
    began_at: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    state: _types_pb2.JobState
    ending: str
    ended_at: _timestamp_pb2.Timestamp
    attempts: int
    losses: int
    started_at: _timestamp_pb2.Timestamp
    agent: str
    error: _types_pb2.JobError
    payload_version: int
    payload_bytes: int
    payload: bytes
    result_bytes: int
    result: bytes
    data_withheld: bool
    secrets_masked: bool
    def __init__(self, run: _Optional[int] = ..., began_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., state: _Optional[_Union[_types_pb2.JobState, str]] = ..., ending: _Optional[str] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., attempts: _Optional[int] = ..., losses: _Optional[int] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., agent: _Optional[str] = ..., error: _Optional[_Union[_types_pb2.JobError, _Mapping]] = ..., payload_version: _Optional[int] = ..., payload_bytes: _Optional[int] = ..., payload: _Optional[bytes] = ..., result_bytes: _Optional[int] = ..., result: _Optional[bytes] = ..., data_withheld: bool = ..., secrets_masked: bool = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "more", "type")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    more: bool
    type: str
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., more: bool = ..., type: _Optional[str] = ...) -> None: ...

class ListPayloadsRequest(_message.Message):
    __slots__ = ("job_id", "before_version", "page_size")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    BEFORE_VERSION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    before_version: int
    page_size: int
    def __init__(self, job_id: _Optional[int] = ..., before_version: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class PayloadVersion(_message.Message):
    __slots__ = ("version", "at", "actor", "content_type", "payload_bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    version: int
    at: _timestamp_pb2.Timestamp
    actor: str
    content_type: str
    payload_bytes: int
    def __init__(self, version: _Optional[int] = ..., at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., content_type: _Optional[str] = ..., payload_bytes: _Optional[int] = ...) -> None: ...

class ListPayloadsResponse(_message.Message):
    __slots__ = ("versions", "more")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[PayloadVersion]
    more: bool
    def __init__(self, versions: _Optional[_Iterable[_Union[PayloadVersion, _Mapping]]] = ..., more: bool = ...) -> None: ...

class GetPayloadRequest(_message.Message):
    __slots__ = ("job_id", "version")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    version: int
    def __init__(self, job_id: _Optional[int] = ..., version: _Optional[int] = ...) -> None: ...

class GetPayloadResponse(_message.Message):
    __slots__ = ("version", "payload", "type")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    version: PayloadVersion
    payload: bytes
    type: str
    def __init__(self, version: _Optional[_Union[PayloadVersion, _Mapping]] = ..., payload: _Optional[bytes] = ..., type: _Optional[str] = ...) -> None: ...

class PreviewRetentionRequest(_message.Message):
    __slots__ = ("type", "settings", "clear", "sample")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    type: str
    settings: _types_pb2.JobTypeSettings
    clear: _containers.RepeatedScalarFieldContainer[str]
    sample: int
    def __init__(self, type: _Optional[str] = ..., settings: _Optional[_Union[_types_pb2.JobTypeSettings, _Mapping]] = ..., clear: _Optional[_Iterable[str]] = ..., sample: _Optional[int] = ...) -> None: ...

class RetentionOfState(_message.Message):
    __slots__ = ("state", "keep", "keep_then", "jobs", "undated", "due", "due_then", "gone_at_once")
    STATE_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    KEEP_THEN_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    UNDATED_FIELD_NUMBER: _ClassVar[int]
    DUE_FIELD_NUMBER: _ClassVar[int]
    DUE_THEN_FIELD_NUMBER: _ClassVar[int]
    GONE_AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    state: _types_pb2.JobState
    keep: _duration_pb2.Duration
    keep_then: _duration_pb2.Duration
    jobs: int
    undated: int
    due: _containers.RepeatedCompositeFieldContainer[DueJobs]
    due_then: _containers.RepeatedCompositeFieldContainer[DueJobs]
    gone_at_once: int
    def __init__(self, state: _Optional[_Union[_types_pb2.JobState, str]] = ..., keep: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., keep_then: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., jobs: _Optional[int] = ..., undated: _Optional[int] = ..., due: _Optional[_Iterable[_Union[DueJobs, _Mapping]]] = ..., due_then: _Optional[_Iterable[_Union[DueJobs, _Mapping]]] = ..., gone_at_once: _Optional[int] = ...) -> None: ...

class DueJobs(_message.Message):
    __slots__ = ("by", "jobs")
    BY_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    by: _timestamp_pb2.Timestamp
    jobs: int
    def __init__(self, by: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., jobs: _Optional[int] = ...) -> None: ...

class PreviewRetentionResponse(_message.Message):
    __slots__ = ("as_of", "states", "sample")
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    as_of: _timestamp_pb2.Timestamp
    states: _containers.RepeatedCompositeFieldContainer[RetentionOfState]
    sample: _containers.RepeatedCompositeFieldContainer[_types_pb2.Job]
    def __init__(self, as_of: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., states: _Optional[_Iterable[_Union[RetentionOfState, _Mapping]]] = ..., sample: _Optional[_Iterable[_Union[_types_pb2.Job, _Mapping]]] = ...) -> None: ...

class ApplyRetentionRequest(_message.Message):
    __slots__ = ("type", "reason", "page_token", "page_size")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    type: str
    reason: str
    page_token: str
    page_size: int
    def __init__(self, type: _Optional[str] = ..., reason: _Optional[str] = ..., page_token: _Optional[str] = ..., page_size: _Optional[int] = ...) -> None: ...

class ApplyRetentionResponse(_message.Message):
    __slots__ = ("looked_at", "changed", "next_page_token")
    LOOKED_AT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    looked_at: int
    changed: int
    next_page_token: str
    def __init__(self, looked_at: _Optional[int] = ..., changed: _Optional[int] = ..., next_page_token: _Optional[str] = ...) -> None: ...
