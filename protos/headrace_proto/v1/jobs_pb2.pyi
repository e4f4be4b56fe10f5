from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobOrder(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_ORDER_UNSPECIFIED: _ClassVar[JobOrder]
    JOB_ORDER_NEWEST_FIRST: _ClassVar[JobOrder]
    JOB_ORDER_OLDEST_FIRST: _ClassVar[JobOrder]
    JOB_ORDER_SCORE: _ClassVar[JobOrder]

class LogLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_LEVEL_UNSPECIFIED: _ClassVar[LogLevel]
    LOG_LEVEL_DEBUG: _ClassVar[LogLevel]
    LOG_LEVEL_INFO: _ClassVar[LogLevel]
    LOG_LEVEL_WARNING: _ClassVar[LogLevel]
    LOG_LEVEL_ERROR: _ClassVar[LogLevel]
JOB_ORDER_UNSPECIFIED: JobOrder
JOB_ORDER_NEWEST_FIRST: JobOrder
JOB_ORDER_OLDEST_FIRST: JobOrder
JOB_ORDER_SCORE: JobOrder
LOG_LEVEL_UNSPECIFIED: LogLevel
LOG_LEVEL_DEBUG: LogLevel
LOG_LEVEL_INFO: LogLevel
LOG_LEVEL_WARNING: LogLevel
LOG_LEVEL_ERROR: LogLevel

class SubmitRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _types_pb2.JobSpec
    def __init__(self, job: _Optional[_Union[_types_pb2.JobSpec, _Mapping]] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("job_id", "existing", "replaced", "pressure")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    existing: bool
    replaced: bool
    pressure: float
    def __init__(self, job_id: _Optional[int] = ..., existing: bool = ..., replaced: bool = ..., pressure: _Optional[float] = ...) -> None: ...

class SubmitManyRequest(_message.Message):
    __slots__ = ("jobs", "plain")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_types_pb2.JobSpec]
    plain: _containers.RepeatedCompositeFieldContainer[_types_pb2.PlainSpecs]
    def __init__(self, jobs: _Optional[_Iterable[_Union[_types_pb2.JobSpec, _Mapping]]] = ..., plain: _Optional[_Iterable[_Union[_types_pb2.PlainSpecs, _Mapping]]] = ...) -> None: ...

class SubmitManyResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: SubmitResults
    def __init__(self, results: _Optional[_Union[SubmitResults, _Mapping]] = ...) -> None: ...

class SubmitStreamRequest(_message.Message):
    __slots__ = ("request_no", "jobs", "plain", "refusal_at_once")
    REQUEST_NO_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    request_no: int
    jobs: _containers.RepeatedCompositeFieldContainer[_types_pb2.JobSpec]
    plain: _containers.RepeatedCompositeFieldContainer[_types_pb2.PlainSpecs]
    refusal_at_once: bool
    def __init__(self, request_no: _Optional[int] = ..., jobs: _Optional[_Iterable[_Union[_types_pb2.JobSpec, _Mapping]]] = ..., plain: _Optional[_Iterable[_Union[_types_pb2.PlainSpecs, _Mapping]]] = ..., refusal_at_once: bool = ...) -> None: ...

class SubmitStreamResponse(_message.Message):
    __slots__ = ("request_no", "results")
    REQUEST_NO_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    request_no: int
    results: SubmitResults
    def __init__(self, request_no: _Optional[int] = ..., results: _Optional[_Union[SubmitResults, _Mapping]] = ...) -> None: ...

class SubmitResults(_message.Message):
    __slots__ = ("job_ids", "existing", "failures", "replaced", "refused", "pressure")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    existing: _containers.RepeatedScalarFieldContainer[int]
    failures: _containers.RepeatedCompositeFieldContainer[SubmitFailure]
    replaced: _containers.RepeatedScalarFieldContainer[int]
    refused: SubmitFailure
    pressure: float
    def __init__(self, job_ids: _Optional[_Iterable[int]] = ..., existing: _Optional[_Iterable[int]] = ..., failures: _Optional[_Iterable[_Union[SubmitFailure, _Mapping]]] = ..., replaced: _Optional[_Iterable[int]] = ..., refused: _Optional[_Union[SubmitFailure, _Mapping]] = ..., pressure: _Optional[float] = ...) -> None: ...

class SubmitFailure(_message.Message):
    __slots__ = ("index", "code", "reason", "message", "field", "job_id", "retry_after")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    index: int
    code: int
    reason: str
    message: str
    field: str
    job_id: int
    retry_after: _duration_pb2.Duration
    def __init__(self, index: _Optional[int] = ..., code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., job_id: _Optional[int] = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job_id", "view")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    view: _types_pb2.JobView
    def __init__(self, job_id: _Optional[int] = ..., view: _Optional[_Union[_types_pb2.JobView, str]] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _types_pb2.Job
    def __init__(self, job: _Optional[_Union[_types_pb2.Job, _Mapping]] = ...) -> None: ...

class JobFilter(_message.Message):
    __slots__ = ("types", "states", "instance_id", "created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to", "agent", "error_fingerprint", "labels", "log_text")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPES_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_FROM_FIELD_NUMBER: _ClassVar[int]
    CREATED_TO_FIELD_NUMBER: _ClassVar[int]
    STARTED_FROM_FIELD_NUMBER: _ClassVar[int]
    STARTED_TO_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FROM_FIELD_NUMBER: _ClassVar[int]
    SETTLED_TO_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LOG_TEXT_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedScalarFieldContainer[_types_pb2.JobState]
    instance_id: str
    created_from: _timestamp_pb2.Timestamp
    created_to: _timestamp_pb2.Timestamp
    started_from: _timestamp_pb2.Timestamp
    started_to: _timestamp_pb2.Timestamp
    settled_from: _timestamp_pb2.Timestamp
    settled_to: _timestamp_pb2.Timestamp
    agent: str
    error_fingerprint: str
    labels: _containers.ScalarMap[str, str]
    log_text: str
    def __init__(self, types: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[_types_pb2.JobState, str]]] = ..., instance_id: _Optional[str] = ..., created_from: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., created_to: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_from: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_to: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., settled_from: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., settled_to: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., agent: _Optional[str] = ..., error_fingerprint: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., log_text: _Optional[str] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("filter", "page_size", "page_token", "order")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    filter: JobFilter
    page_size: int
    page_token: str
    order: JobOrder
    def __init__(self, filter: _Optional[_Union[JobFilter, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., order: _Optional[_Union[JobOrder, str]] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token", "complete", "searched_until")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_types_pb2.Job]
    next_page_token: str
    complete: bool
    searched_until: _timestamp_pb2.Timestamp
    def __init__(self, jobs: _Optional[_Iterable[_Union[_types_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., complete: bool = ..., searched_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class CountJobsRequest(_message.Message):
    __slots__ = ("types", "filter", "page_token")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    filter: JobFilter
    page_token: str
    def __init__(self, types: _Optional[_Iterable[str]] = ..., filter: _Optional[_Union[JobFilter, _Mapping]] = ..., page_token: _Optional[str] = ...) -> None: ...

class TypeCount(_message.Message):
    __slots__ = ("type", "counts")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    type: str
    counts: _containers.RepeatedCompositeFieldContainer[_types_pb2.StateCount]
    def __init__(self, type: _Optional[str] = ..., counts: _Optional[_Iterable[_Union[_types_pb2.StateCount, _Mapping]]] = ...) -> None: ...

class CountJobsResponse(_message.Message):
    __slots__ = ("totals", "types", "as_of", "complete", "searched_until", "next_page_token")
    TOTALS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    totals: _containers.RepeatedCompositeFieldContainer[_types_pb2.StateCount]
    types: _containers.RepeatedCompositeFieldContainer[TypeCount]
    as_of: _timestamp_pb2.Timestamp
    complete: bool
    searched_until: _timestamp_pb2.Timestamp
    next_page_token: str
    def __init__(self, totals: _Optional[_Iterable[_Union[_types_pb2.StateCount, _Mapping]]] = ..., types: _Optional[_Iterable[_Union[TypeCount, _Mapping]]] = ..., as_of: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., complete: bool = ..., searched_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WaitJobRequest(_message.Message):
    __slots__ = ("job_id", "wait", "view")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    wait: _duration_pb2.Duration
    view: _types_pb2.JobView
    def __init__(self, job_id: _Optional[int] = ..., wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., view: _Optional[_Union[_types_pb2.JobView, str]] = ...) -> None: ...

class WaitJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _types_pb2.Job
    def __init__(self, job: _Optional[_Union[_types_pb2.Job, _Mapping]] = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    def __init__(self, job_id: _Optional[int] = ...) -> None: ...

class ExplainJobResponse(_message.Message):
    __slots__ = ("state", "wait_reason", "text", "ahead", "agents", "slots", "slots_free", "score", "type_priority", "instance_priority", "job_priority", "age_points", "blockers", "blockers_total", "limit_key", "paused", "paused_by", "paused_reason", "paused_at", "not_before", "rate_limited_until", "estimated_start", "estimate_basis", "breaker")
    STATE_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FREE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TYPE_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    JOB_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    AGE_POINTS_FIELD_NUMBER: _ClassVar[int]
    BLOCKERS_FIELD_NUMBER: _ClassVar[int]
    BLOCKERS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_KEY_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    PAUSED_BY_FIELD_NUMBER: _ClassVar[int]
    PAUSED_REASON_FIELD_NUMBER: _ClassVar[int]
    PAUSED_AT_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMITED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_BASIS_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    state: _types_pb2.JobState
    wait_reason: _types_pb2.WaitReason
    text: str
    ahead: int
    agents: int
    slots: int
    slots_free: int
    score: int
    type_priority: int
    instance_priority: int
    job_priority: int
    age_points: int
    blockers: _containers.RepeatedCompositeFieldContainer[Blocker]
    blockers_total: int
    limit_key: str
    paused: str
    paused_by: str
    paused_reason: str
    paused_at: _timestamp_pb2.Timestamp
    not_before: _timestamp_pb2.Timestamp
    rate_limited_until: _timestamp_pb2.Timestamp
    estimated_start: _timestamp_pb2.Timestamp
    estimate_basis: str
    breaker: _types_pb2.Breaker
    def __init__(self, state: _Optional[_Union[_types_pb2.JobState, str]] = ..., wait_reason: _Optional[_Union[_types_pb2.WaitReason, str]] = ..., text: _Optional[str] = ..., ahead: _Optional[int] = ..., agents: _Optional[int] = ..., slots: _Optional[int] = ..., slots_free: _Optional[int] = ..., score: _Optional[int] = ..., type_priority: _Optional[int] = ..., instance_priority: _Optional[int] = ..., job_priority: _Optional[int] = ..., age_points: _Optional[int] = ..., blockers: _Optional[_Iterable[_Union[Blocker, _Mapping]]] = ..., blockers_total: _Optional[int] = ..., limit_key: _Optional[str] = ..., paused: _Optional[str] = ..., paused_by: _Optional[str] = ..., paused_reason: _Optional[str] = ..., paused_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., not_before: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., rate_limited_until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., estimated_start: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., estimate_basis: _Optional[str] = ..., breaker: _Optional[_Union[_types_pb2.Breaker, _Mapping]] = ...) -> None: ...

class Blocker(_message.Message):
    __slots__ = ("job_id", "type", "state", "why")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    type: str
    state: _types_pb2.JobState
    why: str
    def __init__(self, job_id: _Optional[int] = ..., type: _Optional[str] = ..., state: _Optional[_Union[_types_pb2.JobState, str]] = ..., why: _Optional[str] = ...) -> None: ...

class WatchJobsRequest(_message.Message):
    __slots__ = ("job_ids", "types", "instance_id")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    instance_id: str
    def __init__(self, job_ids: _Optional[_Iterable[int]] = ..., types: _Optional[_Iterable[str]] = ..., instance_id: _Optional[str] = ...) -> None: ...

class WatchJobsResponse(_message.Message):
    __slots__ = ("job_id", "type", "state", "seq", "kind", "gap")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    type: str
    state: _types_pb2.JobState
    seq: int
    kind: str
    gap: bool
    def __init__(self, job_id: _Optional[int] = ..., type: _Optional[str] = ..., state: _Optional[_Union[_types_pb2.JobState, str]] = ..., seq: _Optional[int] = ..., kind: _Optional[str] = ..., gap: bool = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("run", "attempt", "lease_epoch", "agent", "started_at", "ended_at", "ending", "error", "late_outcome", "payload_version")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    LATE_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_VERSION_FIELD_NUMBER: _ClassVar[int]
    run: int
    attempt: int
    lease_epoch: int
    agent: str
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    ending: str
    error: _types_pb2.JobError
    late_outcome: str
    payload_version: int
    def __init__(self, run: _Optional[int] = ..., attempt: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., agent: _Optional[str] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ending: _Optional[str] = ..., error: _Optional[_Union[_types_pb2.JobError, _Mapping]] = ..., late_outcome: _Optional[str] = ..., payload_version: _Optional[int] = ...) -> None: ...

class ListAttemptsRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    def __init__(self, job_id: _Optional[int] = ...) -> None: ...

class ListAttemptsResponse(_message.Message):
    __slots__ = ("attempts",)
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    def __init__(self, attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("seq", "kind", "note", "at", "state", "run", "attempt", "actor", "reason", "agent", "available_at", "error", "detail")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    seq: int
    kind: str
    note: bool
    at: _timestamp_pb2.Timestamp
    state: _types_pb2.JobState
    run: int
    attempt: int
    actor: str
    reason: str
    agent: str
    available_at: _timestamp_pb2.Timestamp
    error: _types_pb2.JobError
    detail: str
    def __init__(self, seq: _Optional[int] = ..., kind: _Optional[str] = ..., note: bool = ..., at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[_types_pb2.JobState, str]] = ..., run: _Optional[int] = ..., attempt: _Optional[int] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., agent: _Optional[str] = ..., available_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[_types_pb2.JobError, _Mapping]] = ..., detail: _Optional[str] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("job_id",)
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    def __init__(self, job_id: _Optional[int] = ...) -> None: ...

class ListEventsResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("lease_epoch", "line_no", "at", "level", "text", "run", "attempt")
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    LINE_NO_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    lease_epoch: int
    line_no: int
    at: _timestamp_pb2.Timestamp
    level: LogLevel
    text: str
    run: int
    attempt: int
    def __init__(self, lease_epoch: _Optional[int] = ..., line_no: _Optional[int] = ..., at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., level: _Optional[_Union[LogLevel, str]] = ..., text: _Optional[str] = ..., run: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class ListLogsRequest(_message.Message):
    __slots__ = ("job_id", "lease_epoch", "min_level", "page_size", "page_token")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    MIN_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    lease_epoch: int
    min_level: LogLevel
    page_size: int
    page_token: str
    def __init__(self, job_id: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., min_level: _Optional[_Union[LogLevel, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLogsResponse(_message.Message):
    __slots__ = ("lines", "next_page_token")
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[LogLine]
    next_page_token: str
    def __init__(self, lines: _Optional[_Iterable[_Union[LogLine, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
