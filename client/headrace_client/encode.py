"""From what callers give to messages; what cannot be sent is refused here, before anything is."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass, replace
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.claim import CLAIM_TYPE
from headrace_proto.v1 import jobs_pb2, types_pb2
from headrace_proto.wire import STATE_NUMBERS, to_duration, to_timestamp

from headrace_client import tracing
from headrace_client.claims import ClaimCheck
from headrace_client.codecs import Codecs, aside
from headrace_client.errors import InvalidRequest
from headrace_client.models import JobFilter, JobSpec, Order, State

P = ParamSpec("P")
T = TypeVar("T")

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode

UNIQUE_CONFLICTS: dict[str, types_pb2.UniqueConflict] = {
    "": types_pb2.UNIQUE_CONFLICT_UNSPECIFIED, "return": types_pb2.UNIQUE_CONFLICT_RETURN, "reject": types_pb2.UNIQUE_CONFLICT_REJECT,
    "replace": types_pb2.UNIQUE_CONFLICT_REPLACE,
}  # fmt: skip
"""What callers write, and the number on the wire."""
ORDER_NUMBERS = {"newest": 1, "oldest": 2, "score": 3}

MOST_WAIT_S = 10 * 366 * 86_400.0
BATCH_BYTES = 2 * 1024 * 1024
"""Bytes after which a batch is sent, well under what one message may hold."""


Spec = types_pb2.JobSpec | tuple[str, bytes]
"""A job as it travels: a message, or (type, payload) when it has nothing else and fits into a column."""


def encode(spec: JobSpec, codecs: Codecs | None = None) -> Spec:
    """A job as it travels. Raises InvalidRequest for what cannot be sent at all."""
    return encode_fields(
        spec.type, spec.data, spec.payload, spec.content_type, spec.instance_id, spec.key, spec.priority, spec.delay_s, spec.start_at, spec.labels, spec.trace_context,
        unique_key=spec.unique_key, on_conflict=spec.on_conflict, depends_on=spec.depends_on, parent_id=spec.parent_id,
        batch_id=spec.batch_id, codecs=codecs, limit_key=spec.limit_key,
        fairness_key=spec.fairness_key, required_labels=spec.required_labels, delete_after_s=spec.delete_after_s,
    )  # fmt: skip


def encode_fields(
    type_: str, data: Any, payload: bytes | None, content_type: str, instance_id: str, key: str, priority: int, delay_s: float, start_at: datetime | None,
    labels: Mapping[str, str], trace_context: str, *, unique_key: str = "", on_conflict: str = "", depends_on: Sequence[int] = (), parent_id: int = 0,
    batch_id: int = 0, codecs: Codecs | None = None,
    limit_key: str = "", fairness_key: str = "", required_labels: Mapping[str, str] | None = None, delete_after_s: float | None = None,
) -> Spec:  # fmt: skip
    """The same from the fields one by one: a single submit costs little else."""
    payload = plain = encode_payload(data, payload)
    if codecs is not None:
        payload = codecs.encode(plain, type_, "payload")
    terms = limit_key or fairness_key or required_labels
    trace_context = trace_context or tracing.current()
    details = content_type or instance_id or key or priority or labels or trace_context or terms
    ties = unique_key or on_conflict or depends_on or parent_id or batch_id
    bare = not (details or ties or delay_s or start_at is not None or delete_after_s is not None)
    if bare and type(payload) is bytes and isinstance(type_, str) and type_.isascii():
        return type_, payload
    try:
        message = types_pb2.JobSpec(type=type_, payload=payload)
        if details:
            message.content_type, message.instance_id, message.idempotency_key = content_type, instance_id, key
            message.priority, message.trace_context = priority, trace_context
            message.labels.update(labels)
            if key and payload is not plain and codecs is not None:
                message.payload_digests.extend(codecs.digests(plain))
        if terms:
            message.limit_key, message.fairness_key = limit_key, fairness_key
            message.required_labels.update(required_labels or {})
        if ties:
            message.unique_key, message.on_conflict = unique_key, _conflict_number(on_conflict)
            message.depends_on.extend(depends_on)
            message.parent_id, message.batch_id = parent_id, batch_id
        if delay_s:
            message.delay.CopyFrom(to_duration(delay_s))
        if delete_after_s is not None:
            message.delete_after.CopyFrom(to_duration(delete_after_s))
        if start_at is not None:
            message.start_at.CopyFrom(timestamp("start_at", start_at) or Timestamp())
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        if isinstance(priority, int) and not -(1 << 31) <= priority < 1 << 31:
            raise InvalidRequest(f"priority: {priority} is out of range", details={"field": "priority"}) from error
        raise InvalidRequest(f"the job cannot be sent: {error}") from error
    return message


def payload_of(spec: Spec) -> bytes:
    """Its payload as it travels."""
    return spec[1] if isinstance(spec, tuple) else spec.payload


async def kept(spec: Spec, claims: ClaimCheck | None) -> Spec:
    """The job as it travels when large payloads are kept outside: its own is there when this returns. Raises what `ClaimCheck.keep` does."""
    payload = payload_of(spec)
    if claims is None or not claims.takes(payload):
        return spec
    message = types_pb2.JobSpec(type=spec[0]) if isinstance(spec, tuple) else spec
    message.payload = await claims.keep(payload, message.content_type)
    message.content_type = CLAIM_TYPE
    return message


def _conflict_number(on_conflict: str) -> types_pb2.UniqueConflict:
    if on_conflict not in UNIQUE_CONFLICTS:
        raise InvalidRequest(f"on_conflict is one of {', '.join(filter(None, UNIQUE_CONFLICTS))}, found {on_conflict!r}", details={"field": "on_conflict"})
    return UNIQUE_CONFLICTS[on_conflict]


def encode_payload(data: Any, payload: bytes | None) -> bytes:
    """The bytes of a job's input. Raises InvalidRequest when both are given, or `data` is not JSON."""
    if payload is None:
        return encode_json(data)
    if data is not None:
        raise InvalidRequest("give data or payload, not both", details={"field": "payload"})
    return payload


def new_payload(data: Any, payload: bytes | None) -> bytes | None:
    """The bytes of a job's new input; None: neither is given. Raises InvalidRequest as `encode_payload`."""
    return None if data is None and payload is None else encode_payload(data, payload)


def size_of(spec: Spec) -> int:
    """How many bytes it takes in a message, roughly."""
    return len(spec[1]) if isinstance(spec, tuple) else spec.ByteSize()


def put(request: jobs_pb2.SubmitStreamRequest, specs: Sequence[Spec]) -> list[int]:
    """Puts jobs into a request, plain ones as one column for each type; returns their positions in `specs` in the order in which the answer will name them."""
    columns: dict[str, tuple[list[int], list[bytes]]] = {}
    order: list[int] = []
    for index, spec in enumerate(specs):
        if isinstance(spec, tuple):
            column = columns.get(spec[0])
            if column is None:
                column = columns[spec[0]] = ([], [])
            column[0].append(index)
            column[1].append(spec[1])
        else:
            request.jobs.append(spec)
            order.append(index)
    for type_, (places, payloads) in columns.items():
        request.plain.add(type=type_, payloads=payloads)
        order += places
    return order


def encode_json(data: Any) -> bytes:
    """JSON of plain values and dataclasses. Raises InvalidRequest for anything else."""
    try:
        return _to_json(asdict(data) if is_dataclass(data) and not isinstance(data, type) else data).encode()
    except (TypeError, ValueError, RecursionError) as error:
        hint = ": give them as payload=..." if isinstance(data, (bytes, bytearray, memoryview)) else ""
        raise InvalidRequest(f"data is not JSON: {error}{hint}", details={"field": "data"}) from error


def build(make: Callable[P, T], *args: P.args, **fields: P.kwargs) -> T:
    """The message with these fields. Raises InvalidRequest for what does not fit into it, which protobuf tells as TypeError or ValueError."""
    try:
        return make(*args, **fields)
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the request cannot be sent: {error}") from error


def duration(field: str, seconds: float | None) -> Duration | None:
    """Seconds as a message; None stays None."""
    try:
        return None if seconds is None else to_duration(seconds)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"{field}: {seconds!r} is not a number of seconds: {error}", details={"field": field}) from error


def check_timeout(field: str, seconds: float | None) -> float | None:
    """Seconds to wait, ten years at most; None stays None. Raises InvalidRequest for what is no number: no time is ever later than it."""
    if seconds is None:
        return None
    if not isinstance(seconds, (int, float)) or seconds != seconds:
        raise InvalidRequest(f"{field} is a number of seconds, found {seconds!r}", details={"field": field})
    return min(seconds, MOST_WAIT_S)


def check_call_timeout(seconds: float) -> float:
    """Seconds that a call may take. Raises InvalidRequest for what is no number above 0."""
    checked = check_timeout("timeout_s", seconds) or 0.0
    if checked <= 0:
        raise InvalidRequest(f"timeout_s is how many seconds a call may take, above 0, found {seconds!r}", details={"field": "timeout_s"})
    return checked


def timestamp(field: str, at: datetime | None) -> Timestamp | None:
    """A time as a message; None stays None. Raises InvalidRequest for what is none, or says no time zone."""
    if isinstance(at, datetime) and at.tzinfo is None:
        raise InvalidRequest(f"{field} must say its time zone", details={"field": field})
    try:
        return None if at is None else to_timestamp(at)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidRequest(f"{field}: {at!r} is not a time: {error}", details={"field": field}) from error


async def batches(specs: Iterable[JobSpec] | AsyncIterable[JobSpec], most: int, codecs: Codecs | None = None) -> AsyncIterator[list[Spec | InvalidRequest]]:
    """Messages in batches of at most `most` jobs, each ended by the job that makes it pass BATCH_BYTES; a job that cannot be sent is its error."""
    batch: list[Spec | InvalidRequest] = []
    used = 0
    async for spec in _aiter(specs):
        try:
            if not isinstance(spec, JobSpec):
                raise InvalidRequest(f"jobs are given as JobSpec(type, data, ...), found {type(spec).__name__}", details={"field": "type"})
            message = encode(spec) if codecs is None else await _encoded(spec, codecs)
            used += size_of(message)
            batch.append(message)
        except InvalidRequest as error:
            batch.append(error)
        if len(batch) >= most or used > BATCH_BYTES:
            yield batch
            batch, used = [], 0
    if batch:
        yield batch


async def _encoded(spec: JobSpec, codecs: Codecs) -> Spec:
    """As `encode`, in a thread when there is much for codecs to do. Raises as that."""
    payload = encode_payload(spec.data, spec.payload)
    return await aside(payload, lambda: encode(replace(spec, data=None, payload=payload), codecs))


def check_id(job_id: int) -> int:
    """The id, when it can be one."""
    if not isinstance(job_id, int) or not 0 < job_id < 1 << 63:
        raise InvalidRequest(f"a job id is a positive number, found {job_id!r}", details={"field": "job_id"})
    return job_id


def state_number(state: State | str) -> int:
    """The state's number on the wire."""
    number = STATE_NUMBERS.get(str(state))
    if number is None:
        raise InvalidRequest(f"a state is one of {', '.join(STATE_NUMBERS)}, found {str(state)!r}", details={"field": "states"})
    return number


def order_number(order: Order | str) -> int:
    """The order's number on the wire."""
    number = ORDER_NUMBERS.get(str(order))
    if number is None:
        raise InvalidRequest(f"an order is one of {', '.join(ORDER_NUMBERS)}, found {str(order)!r}", details={"field": "order"})
    return number


def filter_message(wanted: JobFilter) -> jobs_pb2.JobFilter:
    """A filter as a message. Raises InvalidRequest for what cannot be sent."""
    message = build(
        jobs_pb2.JobFilter, types=wanted.types, states=[state_number(state) for state in wanted.states], instance_id=wanted.instance_id, agent=wanted.agent,  # type: ignore[misc]
        error_fingerprint=wanted.fingerprint, labels=wanted.labels, log_text=wanted.log_text,
    )  # fmt: skip
    for name in ("created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to"):
        at = timestamp(name, getattr(wanted, name))
        if at is not None:
            getattr(message, name).CopyFrom(at)
    return message


async def _aiter(specs: Iterable[JobSpec] | AsyncIterable[JobSpec]) -> AsyncIterator[JobSpec]:
    if isinstance(specs, AsyncIterable):
        async for spec in specs:
            yield spec
    else:
        for spec in specs:
            yield spec
