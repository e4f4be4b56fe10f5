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

class AtStandby(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AT_STANDBY_UNSPECIFIED: _ClassVar[AtStandby]
    AT_STANDBY_WAIT: _ClassVar[AtStandby]
    AT_STANDBY_PASS_ON: _ClassVar[AtStandby]

class OutcomeKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_KIND_UNSPECIFIED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_COMPLETED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_FAILED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_TIMED_OUT: _ClassVar[OutcomeKind]
    OUTCOME_KIND_ABORTED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_RELEASED: _ClassVar[OutcomeKind]
    OUTCOME_KIND_SETTLED: _ClassVar[OutcomeKind]

class Disposition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DISPOSITION_UNSPECIFIED: _ClassVar[Disposition]
    DISPOSITION_ACCEPTED: _ClassVar[Disposition]
    DISPOSITION_ACCEPTED_LATE: _ClassVar[Disposition]
    DISPOSITION_ALREADY_APPLIED: _ClassVar[Disposition]
    DISPOSITION_SUPERSEDED: _ClassVar[Disposition]
    DISPOSITION_UNKNOWN: _ClassVar[Disposition]
    DISPOSITION_NOT_OWNER: _ClassVar[Disposition]

class AbortPhase(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ABORT_PHASE_UNSPECIFIED: _ClassVar[AbortPhase]
    ABORT_PHASE_DELIVERED: _ClassVar[AbortPhase]
    ABORT_PHASE_IGNORED: _ClassVar[AbortPhase]
AT_STANDBY_UNSPECIFIED: AtStandby
AT_STANDBY_WAIT: AtStandby
AT_STANDBY_PASS_ON: AtStandby
OUTCOME_KIND_UNSPECIFIED: OutcomeKind
OUTCOME_KIND_COMPLETED: OutcomeKind
OUTCOME_KIND_FAILED: OutcomeKind
OUTCOME_KIND_TIMED_OUT: OutcomeKind
OUTCOME_KIND_ABORTED: OutcomeKind
OUTCOME_KIND_RELEASED: OutcomeKind
OUTCOME_KIND_SETTLED: OutcomeKind
DISPOSITION_UNSPECIFIED: Disposition
DISPOSITION_ACCEPTED: Disposition
DISPOSITION_ACCEPTED_LATE: Disposition
DISPOSITION_ALREADY_APPLIED: Disposition
DISPOSITION_SUPERSEDED: Disposition
DISPOSITION_UNKNOWN: Disposition
DISPOSITION_NOT_OWNER: Disposition
ABORT_PHASE_UNSPECIFIED: AbortPhase
ABORT_PHASE_DELIVERED: AbortPhase
ABORT_PHASE_IGNORED: AbortPhase

class ConnectRequest(_message.Message):
    __slots__ = ("number", "hello", "credit", "accept", "heartbeat", "outcomes", "logs", "draining", "progress", "completions", "aborts")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    COMPLETIONS_FIELD_NUMBER: _ClassVar[int]
    ABORTS_FIELD_NUMBER: _ClassVar[int]
    number: int
    hello: Hello
    credit: Credit
    accept: Accept
    heartbeat: Heartbeat
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    logs: _containers.RepeatedCompositeFieldContainer[LogBatch]
    draining: bool
    progress: _containers.RepeatedCompositeFieldContainer[ProgressReport]
    completions: Completions
    aborts: _containers.RepeatedCompositeFieldContainer[AbortReport]
    def __init__(self, number: _Optional[int] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., accept: _Optional[_Union[Accept, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ..., logs: _Optional[_Iterable[_Union[LogBatch, _Mapping]]] = ..., draining: bool = ..., progress: _Optional[_Iterable[_Union[ProgressReport, _Mapping]]] = ..., completions: _Optional[_Union[Completions, _Mapping]] = ..., aborts: _Optional[_Iterable[_Union[AbortReport, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("agent_name", "incarnation_id", "host", "pid", "build", "sdk", "labels", "types", "slots", "held", "columns", "at_standby")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_NAME_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_ID_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    BUILD_FIELD_NUMBER: _ClassVar[int]
    SDK_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    AT_STANDBY_FIELD_NUMBER: _ClassVar[int]
    agent_name: str
    incarnation_id: str
    host: str
    pid: int
    build: str
    sdk: str
    labels: _containers.ScalarMap[str, str]
    types: _containers.RepeatedCompositeFieldContainer[ServedType]
    slots: int
    held: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    columns: bool
    at_standby: AtStandby
    def __init__(self, agent_name: _Optional[str] = ..., incarnation_id: _Optional[str] = ..., host: _Optional[str] = ..., pid: _Optional[int] = ..., build: _Optional[str] = ..., sdk: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., types: _Optional[_Iterable[_Union[ServedType, _Mapping]]] = ..., slots: _Optional[int] = ..., held: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ..., columns: bool = ..., at_standby: _Optional[_Union[AtStandby, str]] = ...) -> None: ...

class ServedType(_message.Message):
    __slots__ = ("type", "slots", "executor", "declared")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    EXECUTOR_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FIELD_NUMBER: _ClassVar[int]
    type: str
    slots: int
    executor: str
    declared: _types_pb2.JobTypeSettings
    def __init__(self, type: _Optional[str] = ..., slots: _Optional[int] = ..., executor: _Optional[str] = ..., declared: _Optional[_Union[_types_pb2.JobTypeSettings, _Mapping]] = ...) -> None: ...

class LeaseRef(_message.Message):
    __slots__ = ("job_id", "lease_epoch")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    lease_epoch: int
    def __init__(self, job_id: _Optional[int] = ..., lease_epoch: _Optional[int] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("assign_no", "free", "types")
    ASSIGN_NO_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    assign_no: int
    free: int
    types: _containers.RepeatedCompositeFieldContainer[TypeCredit]
    def __init__(self, assign_no: _Optional[int] = ..., free: _Optional[int] = ..., types: _Optional[_Iterable[_Union[TypeCredit, _Mapping]]] = ...) -> None: ...

class TypeCredit(_message.Message):
    __slots__ = ("type", "free")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    type: str
    free: int
    def __init__(self, type: _Optional[str] = ..., free: _Optional[int] = ...) -> None: ...

class Accept(_message.Message):
    __slots__ = ("assign_no", "rejected")
    ASSIGN_NO_FIELD_NUMBER: _ClassVar[int]
    REJECTED_FIELD_NUMBER: _ClassVar[int]
    assign_no: int
    rejected: _containers.RepeatedCompositeFieldContainer[Rejection]
    def __init__(self, assign_no: _Optional[int] = ..., rejected: _Optional[_Iterable[_Union[Rejection, _Mapping]]] = ...) -> None: ...

class Rejection(_message.Message):
    __slots__ = ("lease", "reason")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    reason: str
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("job_ids", "lease_epochs")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    lease_epochs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, job_ids: _Optional[_Iterable[int]] = ..., lease_epochs: _Optional[_Iterable[int]] = ...) -> None: ...

class ProgressReport(_message.Message):
    __slots__ = ("lease", "progress", "checkpoint")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    progress: _types_pb2.Progress
    checkpoint: bytes
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., progress: _Optional[_Union[_types_pb2.Progress, _Mapping]] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class Outcome(_message.Message):
    __slots__ = ("job_id", "lease_epoch", "kind", "result", "error", "permanent", "retry_after", "killed", "door")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    PERMANENT_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    KILLED_FIELD_NUMBER: _ClassVar[int]
    DOOR_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    lease_epoch: int
    kind: OutcomeKind
    result: bytes
    error: _types_pb2.JobError
    permanent: bool
    retry_after: _duration_pb2.Duration
    killed: bool
    door: bool
    def __init__(self, job_id: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., kind: _Optional[_Union[OutcomeKind, str]] = ..., result: _Optional[bytes] = ..., error: _Optional[_Union[_types_pb2.JobError, _Mapping]] = ..., permanent: bool = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., killed: bool = ..., door: bool = ...) -> None: ...

class Completions(_message.Message):
    __slots__ = ("job_ids", "lease_epochs", "results")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    lease_epochs: _containers.RepeatedScalarFieldContainer[int]
    results: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, job_ids: _Optional[_Iterable[int]] = ..., lease_epochs: _Optional[_Iterable[int]] = ..., results: _Optional[_Iterable[bytes]] = ...) -> None: ...

class LogBatch(_message.Message):
    __slots__ = ("lease", "lines")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    lines: _containers.RepeatedCompositeFieldContainer[_jobs_pb2.LogLine]
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., lines: _Optional[_Iterable[_Union[_jobs_pb2.LogLine, _Mapping]]] = ...) -> None: ...

class ConnectResponse(_message.Message):
    __slots__ = ("welcome", "assign", "outcome_acks", "heartbeat_ack", "aborts", "revoked", "go_away", "logs_stored_no", "acked", "stand_by")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ASSIGN_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_ACKS_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_ACK_FIELD_NUMBER: _ClassVar[int]
    ABORTS_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    GO_AWAY_FIELD_NUMBER: _ClassVar[int]
    LOGS_STORED_NO_FIELD_NUMBER: _ClassVar[int]
    ACKED_FIELD_NUMBER: _ClassVar[int]
    STAND_BY_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    assign: Assign
    outcome_acks: _containers.RepeatedCompositeFieldContainer[OutcomeAck]
    heartbeat_ack: HeartbeatAck
    aborts: _containers.RepeatedCompositeFieldContainer[AbortCommand]
    revoked: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    go_away: GoAway
    logs_stored_no: int
    acked: _containers.RepeatedCompositeFieldContainer[AckedOutcomes]
    stand_by: StandBy
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., assign: _Optional[_Union[Assign, _Mapping]] = ..., outcome_acks: _Optional[_Iterable[_Union[OutcomeAck, _Mapping]]] = ..., heartbeat_ack: _Optional[_Union[HeartbeatAck, _Mapping]] = ..., aborts: _Optional[_Iterable[_Union[AbortCommand, _Mapping]]] = ..., revoked: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ..., go_away: _Optional[_Union[GoAway, _Mapping]] = ..., logs_stored_no: _Optional[int] = ..., acked: _Optional[_Iterable[_Union[AckedOutcomes, _Mapping]]] = ..., stand_by: _Optional[_Union[StandBy, _Mapping]] = ...) -> None: ...

class StandBy(_message.Message):
    __slots__ = ("owner", "over")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    OVER_FIELD_NUMBER: _ClassVar[int]
    owner: str
    over: bool
    def __init__(self, owner: _Optional[str] = ..., over: bool = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("session_id", "broker_id", "lease", "heartbeat", "not_held", "payload_limit_bytes", "seen_no", "resumed")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    BROKER_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    NOT_HELD_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    SEEN_NO_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    broker_id: str
    lease: _duration_pb2.Duration
    heartbeat: _duration_pb2.Duration
    not_held: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    payload_limit_bytes: int
    seen_no: int
    resumed: bool
    def __init__(self, session_id: _Optional[str] = ..., broker_id: _Optional[str] = ..., lease: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., heartbeat: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., not_held: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ..., payload_limit_bytes: _Optional[int] = ..., seen_no: _Optional[int] = ..., resumed: bool = ...) -> None: ...

class Assign(_message.Message):
    __slots__ = ("number", "seen_no", "jobs", "plain")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    SEEN_NO_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    number: int
    seen_no: int
    jobs: _containers.RepeatedCompositeFieldContainer[AssignedJob]
    plain: _containers.RepeatedCompositeFieldContainer[PlainJobs]
    def __init__(self, number: _Optional[int] = ..., seen_no: _Optional[int] = ..., jobs: _Optional[_Iterable[_Union[AssignedJob, _Mapping]]] = ..., plain: _Optional[_Iterable[_Union[PlainJobs, _Mapping]]] = ...) -> None: ...

class PlainJobs(_message.Message):
    __slots__ = ("type", "priority", "timeout_ms", "max_attempts", "log_limit_lines", "log_limit_bytes", "job_ids", "lease_epochs", "payloads")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_LINES_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    type: str
    priority: int
    timeout_ms: int
    max_attempts: int
    log_limit_lines: int
    log_limit_bytes: int
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    lease_epochs: _containers.RepeatedScalarFieldContainer[int]
    payloads: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, type: _Optional[str] = ..., priority: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., max_attempts: _Optional[int] = ..., log_limit_lines: _Optional[int] = ..., log_limit_bytes: _Optional[int] = ..., job_ids: _Optional[_Iterable[int]] = ..., lease_epochs: _Optional[_Iterable[int]] = ..., payloads: _Optional[_Iterable[bytes]] = ...) -> None: ...

class AssignedJob(_message.Message):
    __slots__ = ("job_id", "lease_epoch", "type", "payload", "content_type", "run", "attempt", "timeout_ms", "instance_id", "priority", "max_attempts", "labels", "trace_context", "checkpoint", "losses", "log_limit_lines", "log_limit_bytes")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TRACE_CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_LINES_FIELD_NUMBER: _ClassVar[int]
    LOG_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    lease_epoch: int
    type: str
    payload: bytes
    content_type: str
    run: int
    attempt: int
    timeout_ms: int
    instance_id: str
    priority: int
    max_attempts: int
    labels: _containers.ScalarMap[str, str]
    trace_context: str
    checkpoint: bytes
    losses: int
    log_limit_lines: int
    log_limit_bytes: int
    def __init__(self, job_id: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., type: _Optional[str] = ..., payload: _Optional[bytes] = ..., content_type: _Optional[str] = ..., run: _Optional[int] = ..., attempt: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., instance_id: _Optional[str] = ..., priority: _Optional[int] = ..., max_attempts: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., trace_context: _Optional[str] = ..., checkpoint: _Optional[bytes] = ..., losses: _Optional[int] = ..., log_limit_lines: _Optional[int] = ..., log_limit_bytes: _Optional[int] = ...) -> None: ...

class OutcomeAck(_message.Message):
    __slots__ = ("job_id", "lease_epoch", "disposition")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCH_FIELD_NUMBER: _ClassVar[int]
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    lease_epoch: int
    disposition: Disposition
    def __init__(self, job_id: _Optional[int] = ..., lease_epoch: _Optional[int] = ..., disposition: _Optional[_Union[Disposition, str]] = ...) -> None: ...

class AckedOutcomes(_message.Message):
    __slots__ = ("disposition", "job_ids", "lease_epochs")
    DISPOSITION_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    LEASE_EPOCHS_FIELD_NUMBER: _ClassVar[int]
    disposition: Disposition
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    lease_epochs: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, disposition: _Optional[_Union[Disposition, str]] = ..., job_ids: _Optional[_Iterable[int]] = ..., lease_epochs: _Optional[_Iterable[int]] = ...) -> None: ...

class HeartbeatAck(_message.Message):
    __slots__ = ("seen_no", "server_time", "not_held")
    SEEN_NO_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_FIELD_NUMBER: _ClassVar[int]
    NOT_HELD_FIELD_NUMBER: _ClassVar[int]
    seen_no: int
    server_time: _timestamp_pb2.Timestamp
    not_held: _containers.RepeatedCompositeFieldContainer[LeaseRef]
    def __init__(self, seen_no: _Optional[int] = ..., server_time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., not_held: _Optional[_Iterable[_Union[LeaseRef, _Mapping]]] = ...) -> None: ...

class AbortCommand(_message.Message):
    __slots__ = ("lease", "actor", "reason", "grace")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GRACE_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    actor: str
    reason: str
    grace: _duration_pb2.Duration
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., grace: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AbortReport(_message.Message):
    __slots__ = ("lease", "phase")
    LEASE_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    lease: LeaseRef
    phase: AbortPhase
    def __init__(self, lease: _Optional[_Union[LeaseRef, _Mapping]] = ..., phase: _Optional[_Union[AbortPhase, str]] = ...) -> None: ...

class GoAway(_message.Message):
    __slots__ = ("reason", "reconnect_after", "stay_away")
    REASON_FIELD_NUMBER: _ClassVar[int]
    RECONNECT_AFTER_FIELD_NUMBER: _ClassVar[int]
    STAY_AWAY_FIELD_NUMBER: _ClassVar[int]
    reason: str
    reconnect_after: _duration_pb2.Duration
    stay_away: bool
    def __init__(self, reason: _Optional[str] = ..., reconnect_after: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., stay_away: bool = ...) -> None: ...

class ReportOutcomesRequest(_message.Message):
    __slots__ = ("incarnation_id", "outcomes")
    INCARNATION_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    incarnation_id: str
    outcomes: _containers.RepeatedCompositeFieldContainer[Outcome]
    def __init__(self, incarnation_id: _Optional[str] = ..., outcomes: _Optional[_Iterable[_Union[Outcome, _Mapping]]] = ...) -> None: ...

class ReportOutcomesResponse(_message.Message):
    __slots__ = ("acks",)
    ACKS_FIELD_NUMBER: _ClassVar[int]
    acks: _containers.RepeatedCompositeFieldContainer[OutcomeAck]
    def __init__(self, acks: _Optional[_Iterable[_Union[OutcomeAck, _Mapping]]] = ...) -> None: ...

class UploadLogsRequest(_message.Message):
    __slots__ = ("incarnation_id", "logs")
    INCARNATION_ID_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    incarnation_id: str
    logs: _containers.RepeatedCompositeFieldContainer[LogBatch]
    def __init__(self, incarnation_id: _Optional[str] = ..., logs: _Optional[_Iterable[_Union[LogBatch, _Mapping]]] = ...) -> None: ...

class UploadLogsResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
