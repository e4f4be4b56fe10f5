"""What callers give and get that concerns limits and pauses: frozen values."""

from dataclasses import dataclass
from datetime import datetime

from headrace_proto.v1 import limits_pb2, types_pb2
from headrace_proto.wire import to_datetime


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `count` jobs of a type start in `per_s` seconds, evenly; `burst` at once after a quiet time, 0: what a tenth of a second allows, at least 1."""

    count: int
    per_s: float = 1.0
    burst: int = 0

    @classmethod
    def parse(cls, text: str) -> "RateLimit":
        """From COUNT/SECONDS or COUNT/SECONDS/BURST. Raises ValueError."""
        count, _, rest = text.partition("/")
        per_s, _, burst = rest.partition("/")
        return cls(int(count), float(per_s or 1.0), int(burst or 0))

    def __str__(self) -> str:
        return f"{self.count}/{self.per_s:g}" + (f"/{self.burst}" if self.burst else "")


@dataclass(frozen=True, slots=True)
class Pause:
    """What is granted nothing until it is resumed: `kind` domain, type or agent; who paused it, why, and since when."""

    kind: str
    name: str
    actor: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Breaker:
    """How the breaker of a job type stands: `phase` closed, open (no job is granted) or half_open (canaries are).

    `since` when it is not closed, `until` when the next canary may be granted; `step`: openings in a row; `ended`, `failed`: attempts of the window, when it opened or so
    far; `running`, `completed`: canaries, while it is half-open; `openings`: since the owner of the queue began. Times are the database's.
    """

    phase: str
    since: datetime | None
    until: datetime | None
    step: int
    ended: int
    failed: int
    running: int
    completed: int
    openings: int


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain: its limits (`depth_limit` 0: none), how many jobs wait in it, and who paused it."""

    name: str
    depth_limit: int
    weight: float
    waiting: int
    pause: Pause | None


@dataclass(frozen=True, slots=True)
class DomainInfo:
    """A domain as lists have it: its limits (`depth_limit` 0: none), and who paused it."""

    name: str
    depth_limit: int
    weight: float
    pause: Pause | None


def pause(message: types_pb2.Pause) -> Pause:
    """A pause from its message."""
    return Pause(message.kind, message.name, message.actor, message.reason, to_datetime(message.at))


def breaker(message: types_pb2.Breaker) -> Breaker:
    """A breaker from its message."""
    since = to_datetime(message.since) if message.HasField("since") else None
    until = to_datetime(message.until) if message.HasField("until") else None
    return Breaker(message.phase, since, until, message.step, message.ended, message.failed, message.running, message.completed, message.openings)


def domain_info(message: limits_pb2.DomainInfo) -> DomainInfo:
    """A domain from its message."""
    return DomainInfo(message.name, message.limits.depth_limit, message.limits.weight, pause(message.pause) if message.HasField("pause") else None)


def domain(message: limits_pb2.GetDomainResponse) -> Domain:
    """A domain from its message."""
    return Domain(message.name, message.limits.depth_limit, message.limits.weight, message.waiting, pause(message.pause) if message.HasField("pause") else None)
