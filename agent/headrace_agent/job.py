"""One job and its lease, as the agent knows it: made from a column of plain jobs, or from a message of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from headrace_proto.v1 import agents_pb2

MAX_LINES = 10_000
MAX_BYTES = 4 * 1024 * 1024
"""Log lines, and bytes of their text, that are kept of an attempt unless its type says otherwise."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What jobs of a column share."""

    type: str
    priority: int
    timeout_s: float
    max_attempts: int
    log_limit_lines: int
    log_limit_bytes: int


class Job:
    """Immutable. A plain job sets only what __init__ sets; the class has the rest of it, and the jobs that differ set it on themselves."""

    run: int = 1
    attempt: int = 1
    losses: int = 0
    content_type: str = ""
    instance_id: str = ""
    trace_context: str = ""
    labels: Mapping[str, str] = MappingProxyType({})
    checkpoint: bytes | None = None

    def __init__(self, key: tuple[int, int], payload: bytes, terms: Terms) -> None:
        """`key`: (job_id, lease epoch)."""
        self.key = key
        self.payload = payload
        self.terms = terms

    @property
    def job_id(self) -> int:
        """Identifies the job for ever."""
        return self.key[0]

    @property
    def lease_epoch(self) -> int:
        """seq of the grant."""
        return self.key[1]

    @property
    def type(self) -> str:
        """Job type."""
        return self.terms.type


def plain_jobs(column: agents_pb2.PlainJobs) -> Iterator[Job]:
    """The jobs of a column."""
    terms = Terms(column.type, column.priority, column.timeout_ms / 1000, column.max_attempts, *_log_limits(column))
    for key, payload in zip(zip(column.job_ids, column.lease_epochs, strict=True), column.payloads, strict=True):
        yield Job(key, payload, terms)


def from_message(message: agents_pb2.AssignedJob) -> Job:
    """A job that came by itself."""
    terms = Terms(message.type, message.priority, message.timeout_ms / 1000, message.max_attempts, *_log_limits(message))
    job = Job((message.job_id, message.lease_epoch), message.payload, terms)
    job.run, job.attempt, job.losses = message.run, message.attempt, message.losses
    job.content_type, job.instance_id, job.trace_context = message.content_type, message.instance_id, message.trace_context
    job.labels = dict(message.labels)
    job.checkpoint = message.checkpoint if message.HasField("checkpoint") else None
    return job


def _log_limits(message: agents_pb2.PlainJobs | agents_pb2.AssignedJob) -> tuple[int, int]:
    return (
        message.log_limit_lines if message.HasField("log_limit_lines") else MAX_LINES,
        message.log_limit_bytes if message.HasField("log_limit_bytes") else MAX_BYTES,
    )
