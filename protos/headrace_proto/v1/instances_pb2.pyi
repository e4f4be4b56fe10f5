from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class InstancePriority(_message.Message):
    __slots__ = ("instance_id", "priority", "changed_at", "actor", "reason")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CHANGED_AT_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    priority: int
    changed_at: _timestamp_pb2.Timestamp
    actor: str
    reason: str
    def __init__(self, instance_id: _Optional[str] = ..., priority: _Optional[int] = ..., changed_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Rescore(_message.Message):
    __slots__ = ("number", "kind", "name", "priority", "state", "done", "total", "started_at", "ended_at")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ENDED_AT_FIELD_NUMBER: _ClassVar[int]
    number: int
    kind: str
    name: str
    priority: int
    state: str
    done: int
    total: int
    started_at: _timestamp_pb2.Timestamp
    ended_at: _timestamp_pb2.Timestamp
    def __init__(self, number: _Optional[int] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., priority: _Optional[int] = ..., state: _Optional[str] = ..., done: _Optional[int] = ..., total: _Optional[int] = ..., started_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., ended_at: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SetInstancePriorityRequest(_message.Message):
    __slots__ = ("instance_id", "priority", "reason")
    INSTANCE_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    instance_id: str
    priority: int
    reason: str
    def __init__(self, instance_id: _Optional[str] = ..., priority: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class SetInstancePriorityResponse(_message.Message):
    __slots__ = ("instance", "rescore")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    RESCORE_FIELD_NUMBER: _ClassVar[int]
    instance: InstancePriority
    rescore: Rescore
    def __init__(self, instance: _Optional[_Union[InstancePriority, _Mapping]] = ..., rescore: _Optional[_Union[Rescore, _Mapping]] = ...) -> None: ...

class ListInstancePrioritiesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListInstancePrioritiesResponse(_message.Message):
    __slots__ = ("instances", "next_page_token")
    INSTANCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    instances: _containers.RepeatedCompositeFieldContainer[InstancePriority]
    next_page_token: str
    def __init__(self, instances: _Optional[_Iterable[_Union[InstancePriority, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListRescoresRequest(_message.Message):
    __slots__ = ("number", "page_size")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    number: int
    page_size: int
    def __init__(self, number: _Optional[int] = ..., page_size: _Optional[int] = ...) -> None: ...

class ListRescoresResponse(_message.Message):
    __slots__ = ("rescores",)
    RESCORES_FIELD_NUMBER: _ClassVar[int]
    rescores: _containers.RepeatedCompositeFieldContainer[Rescore]
    def __init__(self, rescores: _Optional[_Iterable[_Union[Rescore, _Mapping]]] = ...) -> None: ...
