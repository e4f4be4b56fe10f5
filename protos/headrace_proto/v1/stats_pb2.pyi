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

class GetTrendRequest(_message.Message):
    __slots__ = ("types", "to", "step", "by")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    TO_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    to: _timestamp_pb2.Timestamp
    step: _duration_pb2.Duration
    by: str
    def __init__(self, types: _Optional[_Iterable[str]] = ..., to: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., step: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., by: _Optional[str] = ..., **kwargs) -> None: ...

class GetTrendResponse(_message.Message):
    __slots__ = ("step", "series", "week_before")
    STEP_FIELD_NUMBER: _ClassVar[int]
    SERIES_FIELD_NUMBER: _ClassVar[int]
    WEEK_BEFORE_FIELD_NUMBER: _ClassVar[int]
    step: _duration_pb2.Duration
    series: _containers.RepeatedCompositeFieldContainer[TrendSeries]
    week_before: TrendSeries
    def __init__(self, step: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., series: _Optional[_Iterable[_Union[TrendSeries, _Mapping]]] = ..., week_before: _Optional[_Union[TrendSeries, _Mapping]] = ...) -> None: ...

class TrendSeries(_message.Message):
    __slots__ = ("name", "points", "total")
    NAME_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    points: _containers.RepeatedCompositeFieldContainer[TrendPoint]
    total: TrendPoint
    def __init__(self, name: _Optional[str] = ..., points: _Optional[_Iterable[_Union[TrendPoint, _Mapping]]] = ..., total: _Optional[_Union[TrendPoint, _Mapping]] = ...) -> None: ...

class TrendPoint(_message.Message):
    __slots__ = ("at", "submitted", "granted", "completed", "failed", "timed_out", "lost", "error", "aborted", "requeued", "error_rate", "wait", "run", "waiting", "utilisation")
    AT_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    COMPLETED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    TIMED_OUT_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    REQUEUED_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    UTILISATION_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    submitted: int
    granted: int
    completed: int
    failed: int
    timed_out: int
    lost: int
    error: int
    aborted: int
    requeued: int
    error_rate: float
    wait: Spread
    run: Spread
    waiting: int
    utilisation: float
    def __init__(self, at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., submitted: _Optional[int] = ..., granted: _Optional[int] = ..., completed: _Optional[int] = ..., failed: _Optional[int] = ..., timed_out: _Optional[int] = ..., lost: _Optional[int] = ..., error: _Optional[int] = ..., aborted: _Optional[int] = ..., requeued: _Optional[int] = ..., error_rate: _Optional[float] = ..., wait: _Optional[_Union[Spread, _Mapping]] = ..., run: _Optional[_Union[Spread, _Mapping]] = ..., waiting: _Optional[int] = ..., utilisation: _Optional[float] = ...) -> None: ...

class Spread(_message.Message):
    __slots__ = ("count", "p50", "p95", "p99", "sum")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    P50_FIELD_NUMBER: _ClassVar[int]
    P95_FIELD_NUMBER: _ClassVar[int]
    P99_FIELD_NUMBER: _ClassVar[int]
    SUM_FIELD_NUMBER: _ClassVar[int]
    count: int
    p50: _duration_pb2.Duration
    p95: _duration_pb2.Duration
    p99: _duration_pb2.Duration
    sum: _duration_pb2.Duration
    def __init__(self, count: _Optional[int] = ..., p50: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., p95: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., p99: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., sum: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetCapacityRequest(_message.Message):
    __slots__ = ("types", "window", "wished_wait")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    WISHED_WAIT_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    window: _duration_pb2.Duration
    wished_wait: _duration_pb2.Duration
    def __init__(self, types: _Optional[_Iterable[str]] = ..., window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wished_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetCapacityResponse(_message.Message):
    __slots__ = ("types",)
    TYPES_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedCompositeFieldContainer[TypeCapacity]
    def __init__(self, types: _Optional[_Iterable[_Union[TypeCapacity, _Mapping]]] = ...) -> None: ...

class TypeCapacity(_message.Message):
    __slots__ = ("type", "waiting", "processing", "slots", "agents", "arrivals_per_s", "work", "load", "utilisation", "drain", "mean_wait", "slots_needed", "agents_needed")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PROCESSING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_PER_S_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    UTILISATION_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    MEAN_WAIT_FIELD_NUMBER: _ClassVar[int]
    SLOTS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    AGENTS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    type: str
    waiting: int
    processing: int
    slots: int
    agents: int
    arrivals_per_s: float
    work: _duration_pb2.Duration
    load: float
    utilisation: float
    drain: _duration_pb2.Duration
    mean_wait: _duration_pb2.Duration
    slots_needed: int
    agents_needed: int
    def __init__(self, type: _Optional[str] = ..., waiting: _Optional[int] = ..., processing: _Optional[int] = ..., slots: _Optional[int] = ..., agents: _Optional[int] = ..., arrivals_per_s: _Optional[float] = ..., work: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., load: _Optional[float] = ..., utilisation: _Optional[float] = ..., drain: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., mean_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., slots_needed: _Optional[int] = ..., agents_needed: _Optional[int] = ...) -> None: ...

class GetForecastRequest(_message.Message):
    __slots__ = ("types", "hours", "window", "wished_wait", "more_slots", "arrivals_factor", "work_factor")
    TYPES_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    WISHED_WAIT_FIELD_NUMBER: _ClassVar[int]
    MORE_SLOTS_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_FACTOR_FIELD_NUMBER: _ClassVar[int]
    WORK_FACTOR_FIELD_NUMBER: _ClassVar[int]
    types: _containers.RepeatedScalarFieldContainer[str]
    hours: int
    window: _duration_pb2.Duration
    wished_wait: _duration_pb2.Duration
    more_slots: int
    arrivals_factor: float
    work_factor: float
    def __init__(self, types: _Optional[_Iterable[str]] = ..., hours: _Optional[int] = ..., window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., wished_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., more_slots: _Optional[int] = ..., arrivals_factor: _Optional[float] = ..., work_factor: _Optional[float] = ...) -> None: ...

class GetForecastResponse(_message.Message):
    __slots__ = ("method", "history_hours", "agents", "present", "changed", "hours")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HISTORY_HOURS_FIELD_NUMBER: _ClassVar[int]
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    method: str
    history_hours: int
    agents: int
    present: Outlook
    changed: Outlook
    hours: _containers.RepeatedCompositeFieldContainer[ForecastHour]
    def __init__(self, method: _Optional[str] = ..., history_hours: _Optional[int] = ..., agents: _Optional[int] = ..., present: _Optional[_Union[Outlook, _Mapping]] = ..., changed: _Optional[_Union[Outlook, _Mapping]] = ..., hours: _Optional[_Iterable[_Union[ForecastHour, _Mapping]]] = ...) -> None: ...

class Outlook(_message.Message):
    __slots__ = ("waiting", "slots", "arrivals_per_s", "work", "load", "utilisation", "wait_probability", "mean_wait", "grows_per_s", "drain", "slots_needed", "words")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_PER_S_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    UTILISATION_FIELD_NUMBER: _ClassVar[int]
    WAIT_PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    MEAN_WAIT_FIELD_NUMBER: _ClassVar[int]
    GROWS_PER_S_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    SLOTS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    waiting: int
    slots: int
    arrivals_per_s: float
    work: _duration_pb2.Duration
    load: float
    utilisation: float
    wait_probability: float
    mean_wait: _duration_pb2.Duration
    grows_per_s: float
    drain: _duration_pb2.Duration
    slots_needed: int
    words: str
    def __init__(self, waiting: _Optional[int] = ..., slots: _Optional[int] = ..., arrivals_per_s: _Optional[float] = ..., work: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., load: _Optional[float] = ..., utilisation: _Optional[float] = ..., wait_probability: _Optional[float] = ..., mean_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., grows_per_s: _Optional[float] = ..., drain: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., slots_needed: _Optional[int] = ..., words: _Optional[str] = ...) -> None: ...

class Expected(_message.Message):
    __slots__ = ("mean", "low", "high")
    MEAN_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    mean: float
    low: float
    high: float
    def __init__(self, mean: _Optional[float] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class ForecastHour(_message.Message):
    __slots__ = ("at", "arrivals_per_s", "waiting", "slots_needed", "slots_low", "slots_high", "agents_needed")
    AT_FIELD_NUMBER: _ClassVar[int]
    ARRIVALS_PER_S_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    SLOTS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    SLOTS_LOW_FIELD_NUMBER: _ClassVar[int]
    SLOTS_HIGH_FIELD_NUMBER: _ClassVar[int]
    AGENTS_NEEDED_FIELD_NUMBER: _ClassVar[int]
    at: _timestamp_pb2.Timestamp
    arrivals_per_s: Expected
    waiting: Expected
    slots_needed: int
    slots_low: int
    slots_high: int
    agents_needed: int
    def __init__(self, at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., arrivals_per_s: _Optional[_Union[Expected, _Mapping]] = ..., waiting: _Optional[_Union[Expected, _Mapping]] = ..., slots_needed: _Optional[int] = ..., slots_low: _Optional[int] = ..., slots_high: _Optional[int] = ..., agents_needed: _Optional[int] = ...) -> None: ...
