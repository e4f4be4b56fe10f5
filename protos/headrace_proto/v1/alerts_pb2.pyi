from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SmtpTls(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SMTP_TLS_UNSPECIFIED: _ClassVar[SmtpTls]
    SMTP_TLS_STARTTLS: _ClassVar[SmtpTls]
    SMTP_TLS_TLS: _ClassVar[SmtpTls]
    SMTP_TLS_NONE: _ClassVar[SmtpTls]

class RuleKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RULE_KIND_UNSPECIFIED: _ClassVar[RuleKind]
    RULE_KIND_OLDEST_WAITING: _ClassVar[RuleKind]
    RULE_KIND_ERROR_RATE: _ClassVar[RuleKind]
    RULE_KIND_AGENT_LOST: _ClassVar[RuleKind]
    RULE_KIND_NO_AGENT: _ClassVar[RuleKind]
    RULE_KIND_DATABASE: _ClassVar[RuleKind]
    RULE_KIND_DOOR_OPEN: _ClassVar[RuleKind]

class AlertGroupState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ALERT_GROUP_STATE_UNSPECIFIED: _ClassVar[AlertGroupState]
    ALERT_GROUP_STATE_FIRING: _ClassVar[AlertGroupState]
    ALERT_GROUP_STATE_RESOLVED: _ClassVar[AlertGroupState]
SMTP_TLS_UNSPECIFIED: SmtpTls
SMTP_TLS_STARTTLS: SmtpTls
SMTP_TLS_TLS: SmtpTls
SMTP_TLS_NONE: SmtpTls
RULE_KIND_UNSPECIFIED: RuleKind
RULE_KIND_OLDEST_WAITING: RuleKind
RULE_KIND_ERROR_RATE: RuleKind
RULE_KIND_AGENT_LOST: RuleKind
RULE_KIND_NO_AGENT: RuleKind
RULE_KIND_DATABASE: RuleKind
RULE_KIND_DOOR_OPEN: RuleKind
ALERT_GROUP_STATE_UNSPECIFIED: AlertGroupState
ALERT_GROUP_STATE_FIRING: AlertGroupState
ALERT_GROUP_STATE_RESOLVED: AlertGroupState

class EmailChannel(_message.Message):
    __slots__ = ("host", "port", "tls", "username", "sender", "recipients")
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    SENDER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    host: str
    port: int
    tls: SmtpTls
    username: str
    sender: str
    recipients: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, host: _Optional[str] = ..., port: _Optional[int] = ..., tls: _Optional[_Union[SmtpTls, str]] = ..., username: _Optional[str] = ..., sender: _Optional[str] = ..., recipients: _Optional[_Iterable[str]] = ...) -> None: ...

class WebhookChannel(_message.Message):
    __slots__ = ("url",)
    URL_FIELD_NUMBER: _ClassVar[int]
    url: str
    def __init__(self, url: _Optional[str] = ...) -> None: ...

class AppriseChannel(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Channel(_message.Message):
    __slots__ = ("name", "email", "webhook", "apprise", "default", "send_resolved", "cap_per_hour", "has_secret", "waiting", "error", "sent_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EMAIL_FIELD_NUMBER: _ClassVar[int]
    WEBHOOK_FIELD_NUMBER: _ClassVar[int]
    APPRISE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    SEND_RESOLVED_FIELD_NUMBER: _ClassVar[int]
    CAP_PER_HOUR_FIELD_NUMBER: _ClassVar[int]
    HAS_SECRET_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    email: EmailChannel
    webhook: WebhookChannel
    apprise: AppriseChannel
    default: bool
    send_resolved: bool
    cap_per_hour: int
    has_secret: bool
    waiting: int
    error: str
    sent_at: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., email: _Optional[_Union[EmailChannel, _Mapping]] = ..., webhook: _Optional[_Union[WebhookChannel, _Mapping]] = ..., apprise: _Optional[_Union[AppriseChannel, _Mapping]] = ..., default: bool = ..., send_resolved: bool = ..., cap_per_hour: _Optional[int] = ..., has_secret: bool = ..., waiting: _Optional[int] = ..., error: _Optional[str] = ..., sent_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("name", "kind", "type", "threshold", "window", "minimum", "lasting", "channels", "group_wait", "group_interval", "repeat_interval")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    LASTING_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    GROUP_WAIT_FIELD_NUMBER: _ClassVar[int]
    GROUP_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    REPEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: RuleKind
    type: str
    threshold: float
    window: _duration_pb2.Duration
    minimum: int
    lasting: _duration_pb2.Duration
    channels: _containers.RepeatedScalarFieldContainer[str]
    group_wait: _duration_pb2.Duration
    group_interval: _duration_pb2.Duration
    repeat_interval: _duration_pb2.Duration
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[RuleKind, str]] = ..., type: _Optional[str] = ..., threshold: _Optional[float] = ..., window: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., minimum: _Optional[int] = ..., lasting: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., channels: _Optional[_Iterable[str]] = ..., group_wait: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., group_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ..., repeat_interval: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class Silence(_message.Message):
    __slots__ = ("silence_id", "type", "source", "rule", "fingerprint", "starts_at", "ends_at", "author", "reason", "ended_by")
    SILENCE_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    STARTS_AT_FIELD_NUMBER: _ClassVar[int]
    ENDS_AT_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    silence_id: int
    type: str
    source: str
    rule: str
    fingerprint: str
    starts_at: _timestamp_pb2.Timestamp
    ends_at: _timestamp_pb2.Timestamp
    author: str
    reason: str
    ended_by: str
    def __init__(self, silence_id: _Optional[int] = ..., type: _Optional[str] = ..., source: _Optional[str] = ..., rule: _Optional[str] = ..., fingerprint: _Optional[str] = ..., starts_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ends_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., author: _Optional[str] = ..., reason: _Optional[str] = ..., ended_by: _Optional[str] = ...) -> None: ...

class AlertGroup(_message.Message):
    __slots__ = ("group_id", "source", "rule", "type", "fingerprint", "summary", "firing", "silenced_now", "started_at", "changed_at", "notified_at", "resolved_at", "total", "pending", "silenced", "notices", "first_job_id", "last_job_id")
    GROUP_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FIRING_FIELD_NUMBER: _ClassVar[int]
    SILENCED_NOW_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    NOTIFIED_AT_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_AT_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    SILENCED_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    FIRST_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    group_id: int
    source: str
    rule: str
    type: str
    fingerprint: str
    summary: str
    firing: bool
    silenced_now: bool
    started_at: _timestamp_pb2.Timestamp
    changed_at: _timestamp_pb2.Timestamp
    notified_at: _timestamp_pb2.Timestamp
    resolved_at: _timestamp_pb2.Timestamp
    total: int
    pending: int
    silenced: int
    notices: int
    first_job_id: int
    last_job_id: int
    def __init__(self, group_id: _Optional[int] = ..., source: _Optional[str] = ..., rule: _Optional[str] = ..., type: _Optional[str] = ..., fingerprint: _Optional[str] = ..., summary: _Optional[str] = ..., firing: bool = ..., silenced_now: bool = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., changed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., notified_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., resolved_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., total: _Optional[int] = ..., pending: _Optional[int] = ..., silenced: _Optional[int] = ..., notices: _Optional[int] = ..., first_job_id: _Optional[int] = ..., last_job_id: _Optional[int] = ...) -> None: ...

class PutChannelRequest(_message.Message):
    __slots__ = ("channel", "secret", "reason")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    channel: Channel
    secret: str
    reason: str
    def __init__(self, channel: _Optional[_Union[Channel, _Mapping]] = ..., secret: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PutChannelResponse(_message.Message):
    __slots__ = ("channel",)
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    channel: Channel
    def __init__(self, channel: _Optional[_Union[Channel, _Mapping]] = ...) -> None: ...

class ListChannelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListChannelsResponse(_message.Message):
    __slots__ = ("channels",)
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    channels: _containers.RepeatedCompositeFieldContainer[Channel]
    def __init__(self, channels: _Optional[_Iterable[_Union[Channel, _Mapping]]] = ...) -> None: ...

class DeleteChannelRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteChannelResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class TestChannelRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class TestChannelResponse(_message.Message):
    __slots__ = ("delivered", "error")
    DELIVERED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    delivered: bool
    error: str
    def __init__(self, delivered: bool = ..., error: _Optional[str] = ...) -> None: ...

class PutRuleRequest(_message.Message):
    __slots__ = ("rule", "reason")
    RULE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    reason: str
    def __init__(self, rule: _Optional[_Union[Rule, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class PutRuleResponse(_message.Message):
    __slots__ = ("rule",)
    RULE_FIELD_NUMBER: _ClassVar[int]
    rule: Rule
    def __init__(self, rule: _Optional[_Union[Rule, _Mapping]] = ...) -> None: ...

class ListRulesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRulesResponse(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    def __init__(self, rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ...) -> None: ...

class DeleteRuleRequest(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DeleteRuleResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AddSilenceRequest(_message.Message):
    __slots__ = ("silence", "lasts")
    SILENCE_FIELD_NUMBER: _ClassVar[int]
    LASTS_FIELD_NUMBER: _ClassVar[int]
    silence: Silence
    lasts: _duration_pb2.Duration
    def __init__(self, silence: _Optional[_Union[Silence, _Mapping]] = ..., lasts: _Optional[_Union[_duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class AddSilenceResponse(_message.Message):
    __slots__ = ("silence",)
    SILENCE_FIELD_NUMBER: _ClassVar[int]
    silence: Silence
    def __init__(self, silence: _Optional[_Union[Silence, _Mapping]] = ...) -> None: ...

class ListSilencesRequest(_message.Message):
    __slots__ = ("include_ended",)
    INCLUDE_ENDED_FIELD_NUMBER: _ClassVar[int]
    include_ended: bool
    def __init__(self, include_ended: bool = ...) -> None: ...

class ListSilencesResponse(_message.Message):
    __slots__ = ("silences",)
    SILENCES_FIELD_NUMBER: _ClassVar[int]
    silences: _containers.RepeatedCompositeFieldContainer[Silence]
    def __init__(self, silences: _Optional[_Iterable[_Union[Silence, _Mapping]]] = ...) -> None: ...

class EndSilenceRequest(_message.Message):
    __slots__ = ("silence_id", "reason")
    SILENCE_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    silence_id: int
    reason: str
    def __init__(self, silence_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class EndSilenceResponse(_message.Message):
    __slots__ = ("silence",)
    SILENCE_FIELD_NUMBER: _ClassVar[int]
    silence: Silence
    def __init__(self, silence: _Optional[_Union[Silence, _Mapping]] = ...) -> None: ...

class ListAlertGroupsRequest(_message.Message):
    __slots__ = ("state", "page_size", "page_token")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    state: AlertGroupState
    page_size: int
    page_token: str
    def __init__(self, state: _Optional[_Union[AlertGroupState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAlertGroupsResponse(_message.Message):
    __slots__ = ("groups", "next_page_token")
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedCompositeFieldContainer[AlertGroup]
    next_page_token: str
    def __init__(self, groups: _Optional[_Iterable[_Union[AlertGroup, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
