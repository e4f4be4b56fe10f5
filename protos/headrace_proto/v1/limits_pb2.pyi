from headrace_proto.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PauseRequest(_message.Message):
    __slots__ = ("domain", "type", "agent", "reason")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    domain: bool
    type: str
    agent: str
    reason: str
    def __init__(self, domain: bool = ..., type: _Optional[str] = ..., agent: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class PauseResponse(_message.Message):
    __slots__ = ("pause",)
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    pause: _types_pb2.Pause
    def __init__(self, pause: _Optional[_Union[_types_pb2.Pause, _Mapping]] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("domain", "type", "agent", "reason")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    domain: bool
    type: str
    agent: str
    reason: str
    def __init__(self, domain: bool = ..., type: _Optional[str] = ..., agent: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ResumeResponse(_message.Message):
    __slots__ = ("resumed",)
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    resumed: bool
    def __init__(self, resumed: bool = ...) -> None: ...

class CloseBreakerRequest(_message.Message):
    __slots__ = ("type", "reason")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    type: str
    reason: str
    def __init__(self, type: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CloseBreakerResponse(_message.Message):
    __slots__ = ("closed",)
    CLOSED_FIELD_NUMBER: _ClassVar[int]
    closed: bool
    def __init__(self, closed: bool = ...) -> None: ...

class ListPausesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPausesResponse(_message.Message):
    __slots__ = ("pauses",)
    PAUSES_FIELD_NUMBER: _ClassVar[int]
    pauses: _containers.RepeatedCompositeFieldContainer[_types_pb2.Pause]
    def __init__(self, pauses: _Optional[_Iterable[_Union[_types_pb2.Pause, _Mapping]]] = ...) -> None: ...

class DomainLimits(_message.Message):
    __slots__ = ("depth_limit", "weight")
    DEPTH_LIMIT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    depth_limit: int
    weight: float
    def __init__(self, depth_limit: _Optional[int] = ..., weight: _Optional[float] = ...) -> None: ...

class ListDomainsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListDomainsResponse(_message.Message):
    __slots__ = ("domains",)
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    domains: _containers.RepeatedCompositeFieldContainer[DomainInfo]
    def __init__(self, domains: _Optional[_Iterable[_Union[DomainInfo, _Mapping]]] = ...) -> None: ...

class DomainInfo(_message.Message):
    __slots__ = ("name", "limits", "pause")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    name: str
    limits: DomainLimits
    pause: _types_pb2.Pause
    def __init__(self, name: _Optional[str] = ..., limits: _Optional[_Union[DomainLimits, _Mapping]] = ..., pause: _Optional[_Union[_types_pb2.Pause, _Mapping]] = ...) -> None: ...

class GetDomainRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetDomainResponse(_message.Message):
    __slots__ = ("name", "limits", "waiting", "pause")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    name: str
    limits: DomainLimits
    waiting: int
    pause: _types_pb2.Pause
    def __init__(self, name: _Optional[str] = ..., limits: _Optional[_Union[DomainLimits, _Mapping]] = ..., waiting: _Optional[int] = ..., pause: _Optional[_Union[_types_pb2.Pause, _Mapping]] = ...) -> None: ...

class SetDomainRequest(_message.Message):
    __slots__ = ("limits", "clear", "reason")
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    CLEAR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    limits: DomainLimits
    clear: _containers.RepeatedScalarFieldContainer[str]
    reason: str
    def __init__(self, limits: _Optional[_Union[DomainLimits, _Mapping]] = ..., clear: _Optional[_Iterable[str]] = ..., reason: _Optional[str] = ...) -> None: ...

class SetDomainResponse(_message.Message):
    __slots__ = ("limits",)
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    limits: DomainLimits
    def __init__(self, limits: _Optional[_Union[DomainLimits, _Mapping]] = ...) -> None: ...
