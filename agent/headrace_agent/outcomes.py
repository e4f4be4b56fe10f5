"""How an attempt ended, as the message that goes to the broker."""

import hashlib
import logging
import traceback
from typing import Any

from google.protobuf.duration_pb2 import Duration
from headrace_proto.v1 import agents_pb2, types_pb2
from headrace_proto.wire import to_duration

from headrace_agent import codec
from headrace_agent.errors import Fail, InvalidPayload, PayloadUnavailable, ProcessDied, ResultNotKept, Retry, Snooze, UndecodablePayload
from headrace_agent.job import Job
from headrace_agent.registry import Handler

log = logging.getLogger("headrace.agent")
MAX_MESSAGE = 8000
MAX_TRACEBACK = 64 * 1024
MAX_DELAY_S = 3650 * 86_400.0
"""For how long a job may be put off: a broker takes a little more, and ends the stream over what is longer, each time that it comes."""


Ended = agents_pb2.Outcome | bytes | None
"""How an attempt ended: an outcome; the result of one that completed; or nothing to be reported, since its lease is not ours any more."""


def completed(job: Job, result: Any, limit_bytes: int) -> agents_pb2.Outcome | bytes:
    """The handler returned: its result as bytes. One that cannot be sent is a permanent failure."""
    outcome = result_bytes(job, result)
    return fitting(job, outcome, limit_bytes) if isinstance(outcome, bytes) else outcome


def result_bytes(job: Job, result: Any) -> agents_pb2.Outcome | bytes:
    """The same of a result of any size."""
    try:
        return codec.encode_result(result)
    except Fail as error:
        return _permanent(job, error.code, str(error))


def fitting(job: Job, encoded: bytes, limit_bytes: int) -> agents_pb2.Outcome | bytes:
    """An encoded result as it travels; one that is larger than the broker takes is a permanent failure."""
    if len(encoded) > limit_bytes:
        message = f"the result has {len(encoded)} bytes; the broker keeps at most {limit_bytes}: Agent(claims=...) keeps what is larger outside"
        return _permanent(job, "result_too_large", message)
    return encoded


def raised(job: Job, handler: Handler | None, error: BaseException) -> agents_pb2.Outcome:
    """The handler raised."""
    error = alone(error)
    if isinstance(error, Snooze):
        return released(job, error.after_s)
    permanent = isinstance(error, InvalidPayload) or (isinstance(error, Fail) and error.permanent)
    own_word = isinstance(error, (Retry, Fail, InvalidPayload, ProcessDied)) and not hasattr(error, "remote_classes")
    if handler is not None and not own_word:
        permanent = _is(error, handler.fail_on) or (bool(handler.retry_on) and not _is(error, handler.retry_on))
    outcome = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_FAILED, error=describe(error), permanent=permanent)
    if isinstance(error, Retry) and error.after_s is not None:
        outcome.retry_after.CopyFrom(_delay(error.after_s))
    return outcome


def alone(error: BaseException) -> BaseException:
    """The exception in a group of one, as a TaskGroup raises it: what it says counts, as it would without the group."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def undecodable(job: Job, error: UndecodablePayload) -> agents_pb2.Outcome:
    """The payload cannot be read here: the job waits for an agent that can, or has failed for good."""
    return released(job, error.after_s) if error.after_s is not None else _permanent(job, "undecodable_payload", str(error))


def unavailable(job: Job, error: PayloadUnavailable) -> agents_pb2.Outcome:
    """The payload cannot be had now: an ordinary failure, which the type's rule has tried again, whatever the handler says of its own exceptions."""
    return _failed(job, "payload_unavailable", str(error), permanent=False)


def not_kept(job: Job, error: ResultNotKept) -> agents_pb2.Outcome:
    """The handler returned, and its result could not be kept: the job runs again, unless that would not help."""
    return _failed(job, "result_too_large" if error.permanent else "result_not_kept", str(error), permanent=error.permanent)


def timed_out(job: Job) -> agents_pb2.Outcome:
    """The attempt took longer than its timeout."""
    error = types_pb2.JobError(code="timeout", message=f"the attempt took longer than {job.terms.timeout_s:g} s", fingerprint="timeout")
    return agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_TIMED_OUT, error=error)


def aborted(job: Job, *, killed: bool = False) -> agents_pb2.Outcome:
    """The handler stopped because somebody asked for the job's end, or (`killed`) was stopped."""
    return agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_ABORTED, killed=killed)


def released(job: Job, after_s: float | None = None) -> agents_pb2.Outcome:
    """The job is given back unfinished; nothing is charged."""
    outcome = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_RELEASED)
    if after_s:
        outcome.retry_after.CopyFrom(_delay(after_s))
    return outcome


def after_door(job: Job, outcome: Ended, *, committed: bool) -> Ended:
    """The outcome of an attempt whose handler has used a transaction that completes the job.

    Committed: the job is completed, and the broker is told only that the attempt is over. Otherwise nobody here knows for sure, and the broker looks before it believes.
    """
    if committed:
        if isinstance(outcome, agents_pb2.Outcome) and outcome.kind == agents_pb2.OUTCOME_KIND_FAILED:
            log.warning("job %s (%s) was completed by its transaction; what its handler raised afterwards is not kept: %s", job.job_id, job.type, outcome.error.message)
        return agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_SETTLED)
    if isinstance(outcome, bytes):
        outcome = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED, result=outcome)
    if outcome is not None:
        outcome.door = True
    return outcome


def untold(job: Job, error: BaseException, raised: BaseException | None = None) -> agents_pb2.Outcome:
    """What the handler raised cannot be put into a message: `error` says why, and whose fault it is stands in its traceback. An ordinary failure. `raised`: what that
    was, None: what was being handled.
    """
    text = codec.words("".join(traceback.format_exception(error)))
    cause = next(type(found).__name__ for found in (raised, error.__context__, error) if found is not None)
    told = types_pb2.JobError(
        code="untold_error", message=f"{cause} of the handler cannot be told: {type(error).__name__}, see the traceback", traceback=text[-MAX_TRACEBACK:],
        fingerprint=hashlib.sha256(f"untold_error {cause} {type(error).__name__}".encode()).hexdigest()[:16],
    )  # fmt: skip
    return agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_FAILED, error=told)


def describe(error: BaseException) -> types_pb2.JobError:
    """An exception for people and for grouping: the fingerprint hashes its code and the innermost place in the handler's code."""
    names: dict[type[BaseException], str] = {InvalidPayload: "invalid_payload", ProcessDied: "process_died"}
    code = getattr(error, "remote_code", None) or names.get(type(error), type(error).__name__)
    if isinstance(error, Fail) and error.code:
        code = error.code
    remote = getattr(error, "remote_traceback", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "headrace_agent" not in frame.filename] or list(frames)
    place = f"{own[-1].filename.rsplit('/', 1)[-1]}:{own[-1].name}" if own else ""
    text = remote or "".join(traceback.format_exception(error))
    return types_pb2.JobError(
        code=codec.words(code)[:200], message=codec.words(str(error) or code)[:MAX_MESSAGE], traceback=codec.words(text)[-MAX_TRACEBACK:],
        fingerprint=getattr(error, "remote_fingerprint", None) or hashlib.sha256(f"{code} {place}".encode()).hexdigest()[:16],
    )  # fmt: skip


def _is(error: BaseException, classes: tuple[type[BaseException], ...]) -> bool:
    """isinstance, also for the likeness of an exception of another process, which knows its classes by name."""
    remote = getattr(error, "remote_classes", None)
    return isinstance(error, classes) if remote is None else any(class_.__name__ in remote for class_ in classes)


def _delay(after_s: float) -> Duration:
    """As a message. Raises TypeError for what is no number, and ValueError for what is too long."""
    if after_s > MAX_DELAY_S:
        raise ValueError(f"a job is put off for at most ten years, found {after_s:g} s")
    return to_duration(max(0.0, after_s))


def _permanent(job: Job, code: str, message: str) -> agents_pb2.Outcome:
    return _failed(job, code, message, permanent=True)


def _failed(job: Job, code: str, message: str, *, permanent: bool) -> agents_pb2.Outcome:
    error = types_pb2.JobError(code=code, message=codec.words(message)[:MAX_MESSAGE], fingerprint=code)
    return agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_FAILED, error=error, permanent=permanent)
