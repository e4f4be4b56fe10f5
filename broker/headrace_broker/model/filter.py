"""Which jobs a reader wants, and in which order. Every field is about what a job shows of itself at the moment it is looked at."""

import math
from dataclasses import dataclass
from enum import Enum

from headrace_broker.model.ids import MAX_BORROWED_MS, MAX_ID, lowest_id_at
from headrace_broker.model.job import SETTLED, State

UNSETTLED = frozenset({State.WAITING, State.PROCESSING})


@dataclass(frozen=True, slots=True)
class Period:
    """Times `from_s` <= t < `to_s`, in seconds since 1970; None: without that end."""

    from_s: float | None = None
    to_s: float | None = None

    def __bool__(self) -> bool:
        return self.from_s is not None or self.to_s is not None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Fields that are empty do not narrow; those given must all hold. `labels`: all of these; `log_text`: in some line of any attempt, in whatever case."""

    types: tuple[str, ...] = ()
    states: frozenset[State] = frozenset()
    instance_id: str | None = None
    created: Period = Period()
    started: Period = Period()
    settled: Period = Period()
    agent: str | None = None
    fingerprint: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    log_text: str | None = None

    @property
    def counted(self) -> bool:
        """Whether the counts by type and state answer it without looking at any job."""
        return self == JobFilter(types=self.types, states=self.states)

    @property
    def wanted_states(self) -> frozenset[State]:
        """The states that jobs which match can be in."""
        states = self.states or frozenset({*UNSETTLED, *SETTLED})
        return states & SETTLED if self.settled else states

    def id_bounds(self) -> tuple[int, int]:
        """(lowest id, id above the highest) of jobs that can match: a job is created before it starts and settles; ids may run ahead of the clock."""
        lowest = _first_id(self.created.from_s) if self.created.from_s is not None else 0
        above = _first_id(self.created.to_s) if self.created.to_s is not None else MAX_ID
        for later in (self.started.to_s, self.settled.to_s):
            if later is not None:
                above = min(above, _first_id(later + MAX_BORROWED_MS / 1000))
        return lowest, above


class Order(Enum):
    """Of a list: by creation, or by what waiting jobs are granted by."""

    NEWEST_FIRST = 1
    OLDEST_FIRST = 2
    SCORE = 3


class Source(Enum):
    """Where candidates come from: facts that every job which matches must have. What they lack of the filter is looked at afterwards."""

    JOBS = "the submissions"
    GRANTS = "grants, by agent and time"
    ENDINGS = "events that settled a job, by state and time"
    RARE = "events that led to error or aborted"
    ERRORS = "events with an error of this fingerprint"
    LOGS = "log lines"


def source_of(wanted: JobFilter) -> tuple[Source, bool]:
    """The source that looks at the fewest facts, and whether an index leads to them: then there is no need to go through time in small steps."""
    if wanted.instance_id is not None:
        return Source.JOBS, True
    if wanted.fingerprint is not None:
        return Source.ERRORS, True
    if wanted.wanted_states <= {State.ERROR, State.ABORTED}:
        return Source.RARE, True
    if wanted.log_text is not None:
        return Source.LOGS, False
    if wanted.settled:
        return Source.ENDINGS, wanted.settled.from_s is not None
    if wanted.agent is not None or wanted.started:
        return Source.GRANTS, wanted.started.from_s is not None
    if wanted.wanted_states <= SETTLED and not wanted.labels:
        return Source.ENDINGS, False
    return Source.JOBS, False


def like_pattern(text: str) -> str:
    """The pattern that matches texts which hold this one."""
    return "%" + "".join("\\" + character if character in "\\%_" else character for character in text) + "%"


def _first_id(at_s: float) -> int:
    """The lowest id whose creation time, which is known to the millisecond, is not before `at_s`."""
    return lowest_id_at(math.ceil(at_s * 1000 - 0.001) / 1000)
