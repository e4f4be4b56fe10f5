from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_WAITING: _ClassVar[JobState]
    JOB_STATE_PROCESSING: _ClassVar[JobState]
    JOB_STATE_COMPLETED: _ClassVar[JobState]
    JOB_STATE_ERROR: _ClassVar[JobState]
    JOB_STATE_ABORTED: _ClassVar[JobState]

class WaitReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_REASON_UNSPECIFIED: _ClassVar[WaitReason]
    WAIT_REASON_READY: _ClassVar[WaitReason]
    WAIT_REASON_SCHEDULED: _ClassVar[WaitReason]
    WAIT_REASON_RETRY: _ClassVar[WaitReason]
    WAIT_REASON_PAUSED: _ClassVar[WaitReason]
    WAIT_REASON_NO_AGENT: _ClassVar[WaitReason]
    WAIT_REASON_CAPPED: _ClassVar[WaitReason]
    WAIT_REASON_NO_MATCHING_AGENT: _ClassVar[WaitReason]
    WAIT_REASON_RATE_LIMITED: _ClassVar[WaitReason]
    WAIT_REASON_DEPENDENCY: _ClassVar[WaitReason]
    WAIT_REASON_BREAKER: _ClassVar[WaitReason]

class UniqueConflict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNIQUE_CONFLICT_UNSPECIFIED: _ClassVar[UniqueConflict]
    UNIQUE_CONFLICT_RETURN: _ClassVar[UniqueConflict]
    UNIQUE_CONFLICT_REJECT: _ClassVar[UniqueConflict]
    UNIQUE_CONFLICT_REPLACE: _ClassVar[UniqueConflict]

class JobView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_VIEW_UNSPECIFIED: _ClassVar[JobView]
    JOB_VIEW_BASIC: _ClassVar[JobView]
    JOB_VIEW_FULL: _ClassVar[JobView]

class OnDependencyFailed(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ON_DEPENDENCY_FAILED_UNSPECIFIED: _ClassVar[OnDependencyFailed]
    ON_DEPENDENCY_FAILED_ABORT: _ClassVar[OnDependencyFailed]
    ON_DEPENDENCY_FAILED_ERROR: _ClassVar[OnDependencyFailed]
    ON_DEPENDENCY_FAILED_WAIT: _ClassVar[OnDependencyFailed]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_WAITING: JobState
JOB_STATE_PROCESSING: JobState
JOB_STATE_COMPLETED: JobState
JOB_STATE_ERROR: JobState
JOB_STATE_ABORTED: JobState
WAIT_REASON_UNSPECIFIED: WaitReason
WAIT_REASON_READY: WaitReason
WAIT_REASON_SCHEDULED: WaitReason
WAIT_REASON_RETRY: WaitReason
WAIT_REASON_PAUSED: WaitReason
WAIT_REASON_NO_AGENT: WaitReason
WAIT_REASON_CAPPED: WaitReason
WAIT_REASON_NO_MATCHING_AGENT: WaitReason
WAIT_REASON_RATE_LIMITED: WaitReason
WAIT_REASON_DEPENDENCY: WaitReason
WAIT_REASON_BREAKER: WaitReason
UNIQUE_CONFLICT_UNSPECIFIED: UniqueConflict
UNIQUE_CONFLICT_RETURN: UniqueConflict
UNIQUE_CONFLICT_REJECT: UniqueConflict
UNIQUE_CONFLICT_REPLACE: UniqueConflict
JOB_VIEW_UNSPECIFIED: JobView
JOB_VIEW_BASIC: JobView
JOB_VIEW_FULL: JobView
ON_DEPENDENCY_FAILED_UNSPECIFIED: OnDependencyFailed
ON_DEPENDENCY_FAILED_ABORT: OnDependencyFailed
ON_DEPENDENCY_FAILED_ERROR: OnDependencyFailed
ON_DEPENDENCY_FAILED_WAIT: OnDependencyFailed

class JobSpec(_message.Message):
    __slots__ = ("type", "payload", "content_type", "instance_id", "idempotency_key", "priority", "delay", "start_at", "labels", "trace_context", "limit_key", "fairness_key", "required_labels", "unique_key", "on_conflict", "delete_after", "parent_id", "depends_on", "batch_id", "payload_digests")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class RequiredLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    START_AT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    LIMIT_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_LABELS_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_KEY_FIELD_NUMBER: _ClassVar[int]
    ON_CONFLICT_FIELD_NUMBER: _ClassVar[int]
    DELETE_AFTER_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    type: str
    payload: bytes
    content_type: str
    instance_id: str
    idempotency_key: str
    priority: int
    delay: _duration_pb2.Duration
    start_at: _timestamp_pb2.Timestamp
    labels: _containers.ScalarMap[str, str]
    trace_context: str
    limit_key: str
    fairness_key: str
    required_labels: _containers.ScalarMap[str, str]
    unique_key: str
    on_conflict: UniqueConflict
    delete_after: _duration_pb2.Duration
    parent_id: int
    depends_on: _containers.RepeatedScalarFieldContainer[int]
    batch_id: int
    payload_digests: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, type: _Optional[str] = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ..., instance_id: _Optional[str] = ..., idempotency_key: _Optional[str] = ..., priority: _Optional[int] = ..., delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., start_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., trace_context: _Optional[str] = ..., limit_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., required_labels: _Optional[_Mapping[str, str]] = ..., unique_key: _Optional[str] = ..., on_conflict: _Optional[_Union[UniqueConflict, str]] = ..., delete_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., parent_id: _Optional[int] = ..., depends_on: _Optional[_Iterable[int]] = ..., batch_id: _Optional[int] = ..., payload_digests: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PlainSpecs(_message.Message):
    __slots__ = ("type", "priority", "payloads")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    type: str
    priority: int
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, type: _Optional[str] = ..., priority: _Optional[int] = ..., payloads: _Optional[_Iterable[bytes]] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("code", "message", "fingerprint", "traceback")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TRACEBACK_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    fingerprint: str
    traceback: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., fingerprint: _Optional[str] = ..., traceback: _Optional[str] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("job_id", "domain", "type", "instance_id", "state", "wait_reason", "run", "attempt", "losses", "lease_epoch", "priority", "score", "created_at", "available_at", "started_at", "settled_at", "delete_at", "idempotency_key", "labels", "trace_context", "progress", "error", "agent", "abort", "payload_bytes", "content_type", "payload", "result", "hold", "delete_after", "payload_version", "data_withheld", "secrets_masked", "limit_key", "fairness_key", "required_labels", "unique_key", "parent_id", "depends_on", "batch_id", "encoding", "result_encoding")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class RequiredLabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_AT_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    SETTLED_AT_FIELD_NUMBER: _ClassVar[int]
    DELETE_AT_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ABORT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    DELETE_AFTER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_VERSION_FIELD_NUMBER: _ClassVar[int]
    DATA_WITHHELD_FIELD_NUMBER: _ClassVar[int]
    SECRETS_MASKED_FIELD_NUMBER: _ClassVar[int]
    LIMIT_KEY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_LABELS_FIELD_NUMBER: _ClassVar[int]
    UNIQUE_KEY_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DEPENDS_ON_FIELD_NUMBER: _ClassVar[int]
    BATCH_ID_FIELD_NUMBER: _ClassVar[int]
    ENCODING_FIELD_NUMBER: _ClassVar[int]
    RESULT_ENCODING_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    domain: str
    type: str
    instance_id: str
    state: JobState
    wait_reason: WaitReason
    run: int
    attempt: int
    losses: int
    lease_epoch: int
    priority: int
    score: int
    created_at: _timestamp_pb2.Timestamp
    available_at: _timestamp_pb2.Timestamp
    started_at: _timestamp_pb2.Timestamp
    settled_at: _timestamp_pb2.Timestamp
    delete_at: _timestamp_pb2.Timestamp
    idempotency_key: str
    labels: _containers.ScalarMap[str, str]
    trace_context: str
    progress: Progress
    error: JobError
    agent: str
    abort: AbortRequest
    payload_bytes: int
    content_type: str
    payload: bytes
    result: bytes
    hold: bool
    delete_after: _duration_pb2.Duration
    payload_version: int
    data_withheld: bool
    secrets_masked: bool
    limit_key: str
    fairness_key: str
    required_labels: _containers.ScalarMap[str, str]
    unique_key: str
    parent_id: int
    depends_on: _containers.RepeatedScalarFieldContainer[int]
    batch_id: int
    encoding: str
    result_encoding: str
    def __init__(self, job_id: _Optional[int] = ..., domain: _Optional[str] = ..., type: _Optional[str] = ..., instance_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., wait_reason: _Optional[_Union[WaitReason, str]] = ..., run: _Optional[int] = ..., attempt: _Optional[int] = ..., losses: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., priority: _Optional[int] = ..., score: _Optional[int] = ..., created_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., available_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., settled_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., delete_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., trace_context: _Optional[str] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., agent: _Optional[str] = ..., abort: _Optional[_Union[AbortRequest, _Mapping]] = ..., payload_bytes: _Optional[int] = ..., content_type: _Optional[str] = ..., payload: _Optional[bytes] = ..., result: _Optional[bytes] = ..., hold: bool = ..., delete_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., payload_version: _Optional[int] = ..., data_withheld: bool = ..., secrets_masked: bool = ..., limit_key: _Optional[str] = ..., fairness_key: _Optional[str] = ..., required_labels: _Optional[_Mapping[str, str]] = ..., unique_key: _Optional[str] = ..., parent_id: _Optional[int] = ..., depends_on: _Optional[_Iterable[int]] = ..., batch_id: _Optional[int] = ..., encoding: _Optional[str] = ..., result_encoding: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("percent", "text")
    PERCENT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    percent: float
    text: str
    def __init__(self, percent: _Optional[float] = ..., text: _Optional[str] = ...) -> None: ...

class AbortRequest(_message.Message):
    __slots__ = ("actor", "reason", "requested_at", "grace", "lease_epoch", "force", "requeue", "delivered_at", "agent", "ignored_at", "ended_at", "ending")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_AT_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    REQUEUE_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_AT_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    IGNORED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    actor: str
    reason: str
    requested_at: _timestamp_pb2.Timestamp
    grace: _duration_pb2.Duration
    lease_epoch: int
    force: bool
    requeue: bool
    delivered_at: _timestamp_pb2.Timestamp
    agent: str
    ignored_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    ending: str
    def __init__(self, actor: _Optional[str] = ..., reason: _Optional[str] = ..., requested_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., lease_epoch: _Optional[int] = ..., force: bool = ..., requeue: bool = ..., delivered_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., agent: _Optional[str] = ..., ignored_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ending: _Optional[str] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("delay", "factor", "max", "jitter")
    DELAY_FIELD_NUMBER: _ClassVar[int]
    FACTOR_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    JITTER_FIELD_NUMBER: _ClassVar[int]
    delay: _duration_pb2.Duration
    factor: float
    max: _duration_pb2.Duration
    jitter: float
    def __init__(self, delay: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., factor: _Optional[float] = ..., max: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., jitter: _Optional[float] = ...) -> None: ...

class JobTypeSettings(_message.Message):
    __slots__ = ("priority", "timeout", "max_attempts", "retry", "exhausted_state", "max_losses", "delete_completed_after", "delete_aborted_after", "delete_error_after", "paused", "alert_on_error", "alert_on_abort", "log_limit_lines", "log_limit_bytes", "start_within", "concurrency", "concurrency_per_key", "rate_limit", "depth_limit", "fairness_weights", "on_dependency_failed", "payload_schema", "ageing", "ageing_max", "alert_channels", "alert_group_wait", "alert_group_interval", "alert_repeat_interval", "alert_resolve_after", "breaker_share", "breaker_minimum", "breaker_window", "breaker_open", "breaker_open_max", "breaker_canaries", "breaker_at_once")
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTED_STATE_FIELD_NUMBER: _ClassVar[int]
    MAX_LOSSES_FIELD_NUMBER: _ClassVar[int]
    DELETE_COMPLETED_AFTER_FIELD_NUMBER: _ClassVar[int]
    DELETE_ABORTED_AFTER_FIELD_NUMBER: _ClassVar[int]
    DELETE_ERROR_AFTER_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    ALERT_ON_ERROR_FIELD_NUMBER: _ClassVar[int]
    ALERT_ON_ABORT_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_LINES_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    START_WITHIN_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_PER_KEY_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    DEPTH_LIMIT_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    ON_DEPENDENCY_FAILED_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    AGEING_FIELD_NUMBER: _ClassVar[int]
    AGEING_MAX_FIELD_NUMBER: _ClassVar[int]
    ALERT_CHANNELS_FIELD_NUMBER: _ClassVar[int]
    ALERT_GROUP_WAIT_FIELD_NUMBER: _ClassVar[int]
    ALERT_GROUP_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ALERT_REPEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ALERT_RESOLVE_AFTER_FIELD_NUMBER: _ClassVar[int]
    BREAKER_SHARE_FIELD_NUMBER: _ClassVar[int]
    BREAKER_MINIMUM_FIELD_NUMBER: _ClassVar[int]
    BREAKER_WINDOW_FIELD_NUMBER: _ClassVar[int]
    BREAKER_OPEN_FIELD_NUMBER: _ClassVar[int]
    BREAKER_OPEN_MAX_FIELD_NUMBER: _ClassVar[int]
    BREAKER_CANARIES_FIELD_NUMBER: _ClassVar[int]
    BREAKER_AT_ONCE_FIELD_NUMBER: _ClassVar[int]
    priority: int
    timeout: _duration_pb2.Duration
    max_attempts: int
    retry: RetryPolicy
    exhausted_state: JobState
    max_losses: int
    delete_completed_after: _duration_pb2.Duration
    delete_aborted_after: _duration_pb2.Duration
    delete_error_after: _duration_pb2.Duration
    paused: bool
    alert_on_error: bool
    alert_on_abort: bool
    log_limit_lines: int
    log_limit_bytes: int
    start_within: _duration_pb2.Duration
    concurrency: int
    concurrency_per_key: int
    rate_limit: RateLimit
    depth_limit: int
    fairness_weights: FairnessWeights
    on_dependency_failed: OnDependencyFailed
    payload_schema: str
    ageing: _duration_pb2.Duration
    ageing_max: int
    alert_channels: str
    alert_group_wait: _duration_pb2.Duration
    alert_group_interval: _duration_pb2.Duration
    alert_repeat_interval: _duration_pb2.Duration
    alert_resolve_after: _duration_pb2.Duration
    breaker_share: float
    breaker_minimum: int
    breaker_window: _duration_pb2.Duration
    breaker_open: _duration_pb2.Duration
    breaker_open_max: _duration_pb2.Duration
    breaker_canaries: int
    breaker_at_once: int
    def __init__(self, priority: _Optional[int] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., max_attempts: _Optional[int] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., exhausted_state: _Optional[_Union[JobState, str]] = ..., max_losses: _Optional[int] = ..., delete_completed_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., delete_aborted_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., delete_error_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., paused: bool = ..., alert_on_error: bool = ..., alert_on_abort: bool = ..., log_limit_lines: _Optional[int] = ..., log_limit_bytes: _Optional[int] = ..., start_within: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., concurrency: _Optional[int] = ..., concurrency_per_key: _Optional[int] = ..., rate_limit: _Optional[_Union[RateLimit, _Mapping]] = ..., depth_limit: _Optional[int] = ..., fairness_weights: _Optional[_Union[FairnessWeights, _Mapping]] = ..., on_dependency_failed: _Optional[_Union[OnDependencyFailed, str]] = ..., payload_schema: _Optional[str] = ..., ageing: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., ageing_max: _Optional[int] = ..., alert_channels: _Optional[str] = ..., alert_group_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., alert_group_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., alert_repeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., alert_resolve_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., breaker_share: _Optional[float] = ..., breaker_minimum: _Optional[int] = ..., breaker_window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., breaker_open: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., breaker_open_max: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., breaker_canaries: _Optional[int] = ..., breaker_at_once: _Optional[int] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("count", "per", "burst")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PER_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    count: int
    per: _duration_pb2.Duration
    burst: int
    def __init__(self, count: _Optional[int] = ..., per: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., burst: _Optional[int] = ...) -> None: ...

class FairnessWeights(_message.Message):
    __slots__ = ("weights",)
    class WeightsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    weights: _containers.ScalarMap[str, float]
    def __init__(self, weights: _Optional[_Mapping[str, float]] = ...) -> None: ...

class JobType(_message.Message):
    __slots__ = ("name", "effective", "declared", "overrides", "counts", "agents", "pause", "running", "breaker")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    name: str
    effective: JobTypeSettings
    declared: JobTypeSettings
    overrides: JobTypeSettings
    counts: _containers.RepeatedCompositeFieldContainer[StateCount]
    agents: int
    pause: Pause
    running: int
    breaker: Breaker
    def __init__(self, name: _Optional[str] = ..., effective: _Optional[_Union[JobTypeSettings, _Mapping]] = ..., declared: _Optional[_Union[JobTypeSettings, _Mapping]] = ..., overrides: _Optional[_Union[JobTypeSettings, _Mapping]] = ..., counts: _Optional[_Iterable[_Union[StateCount, _Mapping]]] = ..., agents: _Optional[int] = ..., pause: _Optional[_Union[Pause, _Mapping]] = ..., running: _Optional[int] = ..., breaker: _Optional[_Union[Breaker, _Mapping]] = ...) -> None: ...

class Breaker(_message.Message):
    __slots__ = ("phase", "since", "until", "step", "ended", "failed", "running", "completed", "openings")
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    OPENINGS_FIELD_NUMBER: _ClassVar[int]
    phase: str
    since: _timestamp_pb2.Timestamp
    until: _timestamp_pb2.Timestamp
    step: int
    ended: int
    failed: int
    running: int
    completed: int
    openings: int
    def __init__(self, phase: _Optional[str] = ..., since: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., until: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[int] = ..., ended: _Optional[int] = ..., failed: _Optional[int] = ..., running: _Optional[int] = ..., completed: _Optional[int] = ..., openings: _Optional[int] = ...) -> None: ...

class Pause(_message.Message):
    __slots__ = ("kind", "name", "actor", "reason", "at")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    actor: str
    reason: str
    at: _timestamp_pb2.Timestamp
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class StateCount(_message.Message):
    __slots__ = ("state", "count")
    STATE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    state: JobState
    count: int
    def __init__(self, state: _Optional[_Union[JobState, str]] = ..., count: _Optional[int] = ...) -> None: ...
