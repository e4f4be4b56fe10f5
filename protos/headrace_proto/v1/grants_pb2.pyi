from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Grant(_message.Message):
    __slots__ = ("grant_id", "who", "domains", "types", "actions", "granted_at", "granted_by", "reason", "ended_at", "ended_by")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    GRANTED_AT_FIELD_NUMBER: _ClassVar[int]
    GRANTED_BY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_BY_FIELD_NUMBER: _ClassVar[int]
    grant_id: int
    who: str
    domains: str
    types: str
    actions: _containers.RepeatedScalarFieldContainer[str]
    granted_at: _timestamp_pb2.Timestamp
    granted_by: str
    reason: str
    ended_at: _timestamp_pb2.Timestamp
    ended_by: str
    def __init__(self, grant_id: _Optional[int] = ..., who: _Optional[str] = ..., domains: _Optional[str] = ..., types: _Optional[str] = ..., actions: _Optional[_Iterable[str]] = ..., granted_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., granted_by: _Optional[str] = ..., reason: _Optional[str] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_by: _Optional[str] = ...) -> None: ...

class AddGrantRequest(_message.Message):
    __slots__ = ("who", "actions", "domains", "types", "reason")
    WHO_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    DOMAINS_FIELD_NUMBER: _ClassVar[int]
    TYPES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    who: str
    actions: _containers.RepeatedScalarFieldContainer[str]
    domains: str
    types: str
    reason: str
    def __init__(self, who: _Optional[str] = ..., actions: _Optional[_Iterable[str]] = ..., domains: _Optional[str] = ..., types: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class AddGrantResponse(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class EndGrantRequest(_message.Message):
    __slots__ = ("grant_id", "reason")
    GRANT_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    grant_id: int
    reason: str
    def __init__(self, grant_id: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class EndGrantResponse(_message.Message):
    __slots__ = ("grant",)
    GRANT_FIELD_NUMBER: _ClassVar[int]
    grant: Grant
    def __init__(self, grant: _Optional[_Union[Grant, _Mapping]] = ...) -> None: ...

class ListGrantsRequest(_message.Message):
    __slots__ = ("who", "include_ended", "all_domains", "page_size", "page_token")
    WHO_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_ENDED_FIELD_NUMBER: _ClassVar[int]
    ALL_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    who: str
    include_ended: bool
    all_domains: bool
    page_size: int
    page_token: str
    def __init__(self, who: _Optional[str] = ..., include_ended: bool = ..., all_domains: bool = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListGrantsResponse(_message.Message):
    __slots__ = ("grants", "next_page_token")
    GRANTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    grants: _containers.RepeatedCompositeFieldContainer[Grant]
    next_page_token: str
    def __init__(self, grants: _Optional[_Iterable[_Union[Grant, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CheckAccessRequest(_message.Message):
    __slots__ = ("who", "action", "type")
    WHO_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    who: str
    action: str
    type: str
    def __init__(self, who: _Optional[str] = ..., action: _Optional[str] = ..., type: _Optional[str] = ...) -> None: ...

class CheckAccessResponse(_message.Message):
    __slots__ = ("allowed", "action", "reasons", "who")
    class Reason(_message.Message):
        __slots__ = ("allows", "text")
        ALLOWS_FIELD_NUMBER: _ClassVar[int]
        TEXT_FIELD_NUMBER: _ClassVar[int]
        allows: bool
        text: str
        def __init__(self, allows: bool = ..., text: _Optional[str] = ...) -> None: ...
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    WHO_FIELD_NUMBER: _ClassVar[int]
    allowed: bool
    action: str
    reasons: _containers.RepeatedCompositeFieldContainer[CheckAccessResponse.Reason]
    who: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, allowed: bool = ..., action: _Optional[str] = ..., reasons: _Optional[_Iterable[_Union[CheckAccessResponse.Reason, _Mapping]]] = ..., who: _Optional[_Iterable[str]] = ...) -> None: ...
