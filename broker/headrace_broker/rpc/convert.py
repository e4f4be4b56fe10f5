"""Between protobuf and the broker's values; refuses what is missing, oversized, malformed or unknown, naming the field."""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping, Sized
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.v1 import admin_pb2, lifecycle_pb2, types_pb2
from headrace_proto.wire import DEFAULT_DOMAIN, DOMAIN_KEY, DOMAIN_NAME, to_duration, to_seconds

from headrace_broker.model import fields
from headrace_broker.model.amended import DELETE_AFTER
from headrace_broker.model.errors import BadPageToken, InvalidField, TooLarge
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.job import State
from headrace_broker.model.settings import TEXTS, YEARS_10_S, Settings, Value, check
from headrace_broker.model.terms import make
from headrace_broker.shards.schemas import Schema
from headrace_broker.store.batch import Body, FullBody

S = TypeVar("S", bound=Sized)
MAX_REASON = fields.MAX_REASON
MAX_BATCH = 10_000
MAX_DEPENDENCIES = 1000
MAX_DIGESTS = 16
MAX_PRIORITY = fields.MAX_PRIORITY
MAX_EPOCH = 2**31 - 1  # what the database holds
MAX_TYPES = 10_000  # as many as a broker holds


def named_domain(context: Any) -> str:
    """The domain that the call's metadata names, right or wrong. Raises InvalidField where it names two: rights must not be asked for in another than is worked in."""
    named: str | None = None
    for key, value in context.invocation_metadata() or ():
        if key == DOMAIN_KEY:
            if named is not None and value != named:
                raise InvalidField(DOMAIN_KEY, "it is sent more than once, with different values; send one")
            named = value
    return DEFAULT_DOMAIN if named is None else named


def domain_of(context: Any) -> str:
    """The domain that the call's metadata names."""
    domain = named_domain(context)
    if DOMAIN_NAME.fullmatch(domain):
        return domain
    raise InvalidField(DOMAIN_KEY, f"a domain is 1 to 100 characters of A-Z a-z 0-9 . _ -, found {domain!r}")


text, type_name = fields.text, fields.type_name


def bounded(field: str, values: S, most: int) -> S:
    """Values of which a request has at most so many: counted before anything is made of them, since a message may hold millions, and the event loop belongs to all."""
    if len(values) > most:
        raise TooLarge(field, f"at most {most:,} in a message, found {len(values):,}")
    return values


def type_names(field: str, values: Any) -> list[str]:
    """Names of job types."""
    return [type_name(f"{field}[{index}]", name) for index, name in enumerate(bounded(field, values, MAX_TYPES))]


def job_id(field: str, value: int, what: str = "a job id") -> int:
    """A job's id, or one of the kind."""
    if not 0 < value <= MAX_ID:
        raise InvalidField(field, f"{what} is a positive number, found {value}")
    return value


def epoch(field: str, value: int) -> int:
    """A lease epoch, or a number of the kind."""
    if value > MAX_EPOCH:
        raise InvalidField(field, f"a lease epoch is at most {MAX_EPOCH}, found {value}")
    return value


def job_ids(field: str, values: Any, limit: int = 1000) -> list[int]:
    """1 to `limit` job ids."""
    if not 1 <= len(values) <= limit:
        raise InvalidField(field, f"1 to {limit} ids, found {len(values)}")
    return [job_id(f"{field}[{index}]", value) for index, value in enumerate(values)]


def seconds(field: str, duration: Duration, most: float = YEARS_10_S) -> float:
    """A duration in seconds, from 0 to `most`."""
    value = to_seconds(duration)
    if not 0 <= value <= most or not 0 <= duration.nanos < 1_000_000_000:
        raise InvalidField(field, f"a duration from 0 to {most:g} s, found {value:g} s")
    return value


def unix_s(field: str, timestamp: Timestamp) -> float:
    """A time in seconds since 1970, between the years 1970 and 9999."""
    value = timestamp.seconds + timestamp.nanos / 1e9
    if not 0 <= value < 253_402_300_000:
        raise InvalidField(field, "a time between the years 1970 and 9999")
    return value


def page_size(value: int, default: int, most: int, *, field: str = "page_size") -> int:
    """A page's size; 0 means the default."""
    if value > most:
        raise InvalidField(field, f"at most {most}, found {value}")
    return value or default


def page_token(token: str, filters: str, *most: int) -> list[int]:
    """The numbers that a token carries, as many as there are bounds in `most` and none above its own; empty for the first page.

    Raises BadPageToken if it was not made for these filters: anybody can make one up.
    """
    if not token:
        return []
    try:
        version, digest, *numbers = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, TypeError, UnicodeError, RecursionError):
        raise BadPageToken("page_token", "it was not made by this call; leave it empty for the first page") from None
    if version != 1 or len(numbers) != len(most) or not all(type(n) is int and 0 <= n <= bound for n, bound in zip(numbers, most, strict=True)):
        raise BadPageToken("page_token", "it was not made by this call; leave it empty for the first page")
    if digest != _digest(filters):
        raise BadPageToken("page_token", "it belongs to another filter; keep the filter, or begin with an empty token")
    return list(numbers)


def make_token(filters: str, *numbers: int) -> str:
    """A token that `page_token` reads."""
    return base64.urlsafe_b64encode(json.dumps([1, _digest(filters), *numbers]).encode()).decode()


def _digest(filters: str) -> str:
    return hashlib.sha256(filters.encode()).hexdigest()[:12]


def states(field: str, values: Any) -> set[State]:
    """Job states."""
    found = set()
    for index, value in enumerate(bounded(field, values, 100)):
        if value not in range(1, 6):
            raise InvalidField(f"{field}[{index}]", f"a job state is 1 to 5, found {value}")
        found.add(State(value))
    return found


# Submissions -----------------------------------------------------------------------------------------------------------------------------------


def body(spec: types_pb2.JobSpec, payload_limit: int, *, callback: bool = False) -> tuple[Body, int]:
    """(what is stored of a job beside its type, size of the payload in bytes). Cheap for a job that has nothing but a type and a payload."""
    payload = spec.payload
    if len(payload) > payload_limit:
        raise payload_too_large(payload, payload_limit)
    content_type, instance_id, trace_context, labels = spec.content_type, spec.instance_id, spec.trace_context, spec.labels
    more = _more(spec)
    if callback:
        more["depends_on"] = []  # says that it waits for the members of its batch
    if not (content_type or instance_id or trace_context or labels or more):
        return payload, len(payload)
    return FullBody(
        payload,
        text("content_type", content_type, 100) or None,
        text("instance_id", instance_id) or None,
        _labels("labels", labels) if labels else None,
        text("trace_context", trace_context, 100) or None,
        json.dumps(more) if more else None,
    ), len(payload)


def _more(spec: types_pb2.JobSpec) -> dict[str, Any]:
    """What few jobs have, by the names under which it is stored."""
    more: dict[str, Any] = {}
    if spec.unique_key:
        more["unique_key"] = text("unique_key", spec.unique_key)
    if spec.HasField("delete_after"):
        more[DELETE_AFTER] = seconds("delete_after", spec.delete_after)
    if spec.depends_on:
        more["depends_on"] = depends_on(spec)
    if spec.parent_id:
        more["parent_id"] = job_id("parent_id", spec.parent_id)
    if spec.batch_id:
        more["batch_id"] = job_id("batch_id", spec.batch_id)
    return more | _terms(spec)


def _terms(spec: types_pb2.JobSpec) -> dict[str, Any]:
    if not (spec.limit_key or spec.fairness_key or spec.required_labels):
        return {}
    terms = make(text("limit_key", spec.limit_key), text("fairness_key", spec.fairness_key), json.loads(_labels("required_labels", spec.required_labels)))
    return terms.members() if terms is not None else {}


def payload_too_large(payload: bytes, limit: int) -> TooLarge:
    """Why a payload is refused."""
    return TooLarge("payload", f"at most {limit} bytes, found {len(payload)}; store it elsewhere and submit where it is")


def new_payload(request: lifecycle_pb2.UpdateJobsRequest | lifecycle_pb2.RequeueDescendantsRequest | admin_pb2.RequeueJobsRequest, limit: int) -> bytes | None:
    """The input that jobs are to have from now on; None: what they have."""
    if not request.HasField("payload"):
        if request.content_type:
            raise InvalidField("content_type", "it is that of a payload; set both")
        return None
    if len(request.payload) > limit:
        raise payload_too_large(request.payload, limit)
    return request.payload


def priority(spec: types_pb2.JobSpec | types_pb2.PlainSpecs | lifecycle_pb2.UpdateJobsRequest) -> int:
    """The job's own part of the score."""
    value = spec.priority
    if not -MAX_PRIORITY <= value <= MAX_PRIORITY:
        raise InvalidField("priority", f"between -{MAX_PRIORITY:,} and {MAX_PRIORITY:,}, found {value}")
    return value


def available_at_s(spec: types_pb2.JobSpec, now_s: float) -> float:
    """When the job may start, in seconds since 1970; 0: at once. `now_s` is the database's time."""
    delayed, timed = spec.HasField("delay"), spec.HasField("start_at")
    if delayed and timed:
        raise InvalidField("start_at", "delay and start_at are both set; set one of them")
    if delayed:
        delay_s = seconds("delay", spec.delay)
        return now_s + delay_s if delay_s else 0.0
    if not timed:
        return 0.0
    start_s = unix_s("start_at", spec.start_at)
    if start_s > now_s + YEARS_10_S:
        raise InvalidField("start_at", "at most 10 years from now")
    return start_s if start_s > now_s else 0.0


def body_hashes(spec: types_pb2.JobSpec) -> list[bytes]:
    """Submissions share one of these when they have the same body: everything but the key, and but when it may start relative to now. The first is the one to be kept."""
    digests = spec.payload_digests
    if not digests:
        return [_body_hash(spec, spec.payload)]
    if len(digests) > MAX_DIGESTS:
        raise TooLarge("payload_digests", f"at most {MAX_DIGESTS} digests, found {len(digests)}")
    for index, given in enumerate(digests):
        if not 16 <= len(given) <= 64:
            raise InvalidField(f"payload_digests[{index}]", f"a digest has 16 to 64 bytes, found {len(given)}")
    return [_body_hash(spec, b"digest " + given) for given in digests]


def _body_hash(spec: types_pb2.JobSpec, payload: bytes) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    if spec.parent_id:  # a handler that is tried again submits the same child, though its body may have the time of day in it
        digest.update(f"child of {spec.parent_id} {spec.type}".encode())
        return digest.digest()
    labels = json.dumps(sorted(spec.labels.items()))
    start = f"{to_seconds(spec.delay)}/{spec.start_at.seconds}.{spec.start_at.nanos}"
    for part in (spec.type, spec.content_type, spec.instance_id, str(spec.priority), labels, start, *_tied(spec)):
        digest.update(part.encode() + b"\x00")
    terms = _terms(spec)
    if terms:  # left out else: keys that were stored before keep their hashes
        digest.update(json.dumps(terms, sort_keys=True).encode() + b"\x00")
    digest.update(payload)
    if spec.HasField("delete_after"):
        digest.update(f"{DELETE_AFTER} {to_seconds(spec.delete_after)}".encode())
    return digest.digest()


def _tied(spec: types_pb2.JobSpec) -> list[str]:
    """What a body has beside the fields that every body had from the first; nothing where there is nothing, so that stored hashes stay as they are."""
    ties = [spec.unique_key, *map(str, spec.depends_on), *([f"batch {spec.batch_id}"] if spec.batch_id else [])]
    return ties if any(ties) else []


def tied(spec: types_pb2.JobSpec) -> list[tuple[str, int]]:
    """(field, id) of the jobs that it names; ids that no job can have, and too many of them, are refused elsewhere."""
    named = [(f"depends_on[{place}]", other) for place, other in enumerate(spec.depends_on)] if 0 < len(spec.depends_on) <= MAX_DEPENDENCIES else []
    if spec.parent_id:
        named.append(("parent_id", spec.parent_id))
    if spec.batch_id:
        named.append(("batch_id", spec.batch_id))
    return [(field, other) for field, other in named if 0 < other <= MAX_ID]


def is_keyed(spec: types_pb2.JobSpec) -> bool:
    """Whether the job goes the way of those that carry a key or are tied to others."""
    return bool(spec.idempotency_key or spec.unique_key or spec.on_conflict or spec.depends_on or spec.parent_id or spec.batch_id)


def depends_on(spec: types_pb2.JobSpec) -> list[int]:
    """The jobs that it depends on, each once."""
    if len(spec.depends_on) > MAX_DEPENDENCIES:
        raise TooLarge("depends_on", f"at most {MAX_DEPENDENCIES} jobs, found {len(spec.depends_on)}; let jobs between gather them")
    return list(dict.fromkeys(job_id(f"depends_on[{index}]", value) for index, value in enumerate(spec.depends_on)))


def returns_holder(spec: types_pb2.JobSpec) -> bool:
    """Whether the job that has the unique key is the answer, instead of a refusal."""
    if spec.on_conflict not in (0, 1, 2, 3):
        raise InvalidField("on_conflict", f"return (1), reject (2) or replace (3), found {spec.on_conflict}")
    if spec.on_conflict and not spec.unique_key:
        raise InvalidField("on_conflict", "says something about unique_key, which is not set")
    if replaces(spec) and (spec.depends_on or spec.batch_id):
        raise InvalidField("on_conflict", "what a job depends on, and its batch, cannot be replaced: leave out depends_on and batch_id, or choose return or reject")
    return spec.on_conflict not in (types_pb2.UNIQUE_CONFLICT_REJECT, types_pb2.UNIQUE_CONFLICT_REPLACE)


def replaces(spec: types_pb2.JobSpec) -> bool:
    """Whether the job that has the unique key is to become as this one, while it waits."""
    return spec.on_conflict == types_pb2.UNIQUE_CONFLICT_REPLACE


def _labels(field: str, values: Any) -> str:
    return json.dumps(fields.labels(field, values))


def labels(field: str, values: Any) -> dict[str, str]:
    """Checked labels."""
    return json.loads(_labels(field, values)) if values else {}


# Errors of handlers ----------------------------------------------------------------------------------------------------------------------------


def job_error(error: types_pb2.JobError) -> str:
    """A handler's error as the JSON that is stored; too long texts are cut."""
    return json.dumps(
        {
            "code": _clean(error.code)[:200],
            "message": _clean(error.message)[:8000],
            "fingerprint": _clean(error.fingerprint)[:64],
            "traceback": _clean(error.traceback)[-65_536:],
        }
    )


def _clean(value: str) -> str:
    return value.replace("\x00", "\ufffd")


def error_message(stored: dict[str, str] | None) -> types_pb2.JobError | None:
    """The stored error as a message."""
    if stored is None:
        return None
    return types_pb2.JobError(
        code=stored.get("code", ""), message=stored.get("message", ""), fingerprint=stored.get("fingerprint", ""), traceback=stored.get("traceback", "")
    )


MOST_ERRORS_BYTES = 8 * 1024 * 1024
"""Of the errors of one answer: a message of more than 16 MiB is not sent."""
SHORT_MESSAGE = 200


def shorten(answers: Iterable[Any]) -> None:
    """Cuts the errors of these messages where they are too large for one answer together: the first ones are whole, the others without traceback, and of their
    message the first characters."""
    left = MOST_ERRORS_BYTES
    for answer in answers:
        if answer.HasField("error"):
            left -= answer.error.ByteSize()
            if left < 0:
                answer.error.traceback, answer.error.message = "", answer.error.message[:SHORT_MESSAGE]


# Settings --------------------------------------------------------------------------------------------------------------------------------------

_PLAIN = (
    "priority", "ageing_max", "max_attempts", "max_losses", "paused", "alert_on_error", "alert_on_abort", "log_limit_lines", "log_limit_bytes", "concurrency",
    "concurrency_per_key", "depth_limit", "breaker_share", "breaker_minimum", "breaker_canaries", "breaker_at_once",
)  # fmt: skip
_ENUMS = ("exhausted_state", "on_dependency_failed")
_DURATIONS = (
    "timeout", "delete_completed_after", "delete_aborted_after", "delete_error_after", "start_within", "ageing",
    "alert_group_wait", "alert_group_interval", "alert_repeat_interval",
    "alert_resolve_after", "breaker_window", "breaker_open", "breaker_open_max",
)  # fmt: skip
CLEARABLE = {
    **{name: (name,) for name in (*_PLAIN, *TEXTS, *_ENUMS, "fairness_weights")},
    **{name: (f"{name}_s",) for name in _DURATIONS},
    "retry": ("retry_delay_s", "retry_factor", "retry_max_s", "retry_jitter"),
    "rate_limit": ("rate_limit_count", "rate_limit_per_s", "rate_limit_burst"),
}
"""Setting names of the wire, and what they are stored as."""
_WIRE_NAMES = {
    **{f"{name}_s": name for name in _DURATIONS},
    "retry_delay_s": "retry.delay",
    "retry_max_s": "retry.max",
    "retry_factor": "retry.factor",
    "retry_jitter": "retry.jitter",
    "rate_limit_count": "rate_limit.count",
    "rate_limit_per_s": "rate_limit.per",
    "rate_limit_burst": "rate_limit.burst",
}


def settings_values(field: str, message: types_pb2.JobTypeSettings) -> dict[str, Value]:
    """The settings that are set in a message, by their stored names; checked."""
    values: dict[str, Value] = {name: getattr(message, name) for name in _PLAIN if message.HasField(name)}
    for name in _DURATIONS:
        if message.HasField(name):
            values[f"{name}_s"] = seconds(f"{field}.{name}", getattr(message, name))
    values |= {name: int(getattr(message, name)) for name in _ENUMS if message.HasField(name)}
    if message.HasField("payload_schema"):
        values["payload_schema"] = Schema(message.payload_schema, f"{field}.payload_schema").text
    if message.HasField("alert_channels"):
        values["alert_channels"] = message.alert_channels
    if message.HasField("retry"):
        retry = message.retry
        if retry.HasField("delay"):
            values["retry_delay_s"] = seconds(f"{field}.retry.delay", retry.delay)
        if retry.HasField("max"):
            values["retry_max_s"] = seconds(f"{field}.retry.max", retry.max)
        values["retry_factor"] = retry.factor or 1.0
        values["retry_jitter"] = retry.jitter
    if message.HasField("rate_limit"):
        limit = message.rate_limit
        per_s = seconds(f"{field}.rate_limit.per", limit.per) if limit.HasField("per") else 1.0
        values |= {"rate_limit_count": limit.count, "rate_limit_per_s": per_s, "rate_limit_burst": limit.burst}
    if message.HasField("fairness_weights"):
        values["fairness_weights"] = dict(message.fairness_weights.weights)
    try:
        check(values)
    except InvalidField as error:
        raise InvalidField(f"{field}.{_WIRE_NAMES.get(error.field, error.field)}", str(error).split(": ", 1)[1]) from error
    return values


def settings_message(values: dict[str, Value]) -> types_pb2.JobTypeSettings:
    """A message with the settings of these stored names."""
    message = types_pb2.JobTypeSettings()
    for name, value in values.items():
        if name in _PLAIN or name in TEXTS:
            setattr(message, name, value)
        elif isinstance(value, Mapping):
            message.fairness_weights.SetInParent()
            message.fairness_weights.weights.update(value)
        elif name in _ENUMS:
            setattr(message, name, int(value))
        elif name.startswith("retry_"):
            part = name.removeprefix("retry_")
            if part.endswith("_s"):
                getattr(message.retry, part[:-2]).CopyFrom(to_duration(float(value)))
            else:
                setattr(message.retry, part, float(value))
        elif name == "rate_limit_per_s":
            if values.get("rate_limit_count") is not None:
                message.rate_limit.per.CopyFrom(to_duration(float(value)))
        elif name.startswith("rate_limit_"):
            setattr(message.rate_limit, name.removeprefix("rate_limit_"), value)
        elif name.endswith("_s") and name[:-2] in _DURATIONS:
            getattr(message, name[:-2]).CopyFrom(to_duration(float(value)))
    return message


def settings_in_force(settings: Settings) -> types_pb2.JobTypeSettings:
    """All settings that are in force."""
    values = {name: getattr(settings, name) for name in settings.__slots__}
    return settings_message({name: value for name, value in values.items() if value is not None})
