"""Groups of alerts, and when somebody is told of them: a state machine without clock, database or network.

What fires is gathered in a group: failures of one job type with one fingerprint, or what one rule finds. The timers are those of Prometheus Alertmanager
(https://prometheus.io/docs/alerting/latest/configuration/#route):

    (no group) --first failure, or the rule finds something--> open, looked at after group_wait
    open --looked at: something is new, or repeat_interval has passed--> a notice "firing"; looked at again after group_interval
    open --looked at: nothing came for resolve_after, or the rule finds nothing any more--> a notice "resolved"; closed for good. The next failure opens a new group
    open --what it tells of is over--> looked at after settle, where that is set, and not before: what begins again meanwhile is told neither as over nor as new

A group counts its failures, and each of them is in exactly one notice (`pending` becomes the notice's `count`), or in `silenced`: none is counted twice, none left out.
All times are seconds since 1970 by the database's clock.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

MAX_FINGERPRINTS = 100
"""Open groups of one type by fingerprint; the failures of further fingerprints share one group, so that messages with ids in them cannot make a group for each job."""
OTHER = "(others)"


class Source(StrEnum):
    """What fires: failures of jobs, or rules of these kinds. The texts are stored."""

    JOB_ERROR = "job_error"
    JOB_ABORTED = "job_aborted"
    OLDEST_WAITING = "oldest_waiting"
    ERROR_RATE = "error_rate"
    AGENT_LOST = "agent_lost"
    NO_AGENT = "no_agent"
    DATABASE = "database"
    DOOR_OPEN = "door_open"
    BREAKER_OPEN = "breaker_open"


OWN_TYPE = frozenset({Source.BREAKER_OPEN})
"""Sources that no rule is needed for: settings of the job type say who is told, and when."""
JOBS = frozenset({Source.JOB_ERROR, Source.JOB_ABORTED})
"""Sources whose groups end when nothing has come for a time; those of rules end when the rule finds nothing any more."""


@dataclass(frozen=True, slots=True)
class Timing:
    """See the module; seconds. `settle_s` None: that something is over is told at the next look, whenever that is."""

    group_wait_s: float = 30.0
    group_interval_s: float = 300.0
    repeat_interval_s: float = 4 * 3600.0
    resolve_after_s: float = 900.0
    settle_s: float | None = None


@dataclass(frozen=True, slots=True)
class GroupKey:
    """What makes a group. `rule` is empty for failures of jobs; `type` for what concerns no type; `fingerprint` names what is alike: of an error, or an agent."""

    domain: str
    source: Source
    rule: str
    type: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Group:
    """An open group, or one that has just ended (`resolved_s`). `group_id` 0: not stored yet; `ended_s`: since when its rule finds nothing."""

    key: GroupKey
    started_s: float
    changed_s: float
    next_s: float
    group_id: int = 0
    notified_s: float | None = None
    ended_s: float | None = None
    resolved_s: float | None = None
    total: int = 0
    pending: int = 0
    silenced: int = 0
    notices: int = 0
    summary: str = ""
    first_job_id: int | None = None
    last_job_id: int | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told of a group: `count` failures that no notice has told of, `total` since it began. `repeated`: nothing is new, it merely goes on."""

    group: Group
    resolved: bool
    count: int
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """Nobody is told of what matches until `ends_s`. Empty texts match everything."""

    silence_id: int
    domain: str
    type: str
    source: str
    rule: str
    fingerprint: str
    starts_s: float
    ends_s: float
    author: str
    reason: str

    def matches(self, key: GroupKey, now: float) -> bool:
        """Whether it holds now for groups of this key."""
        if self.domain != key.domain or not self.starts_s <= now < self.ends_s:
            return False
        return all(not wanted or wanted == found for wanted, found in (
            (self.type, key.type), (self.source, key.source), (self.rule, key.rule), (self.fingerprint, key.fingerprint),
        ))  # fmt: skip


def is_silenced(silences: Iterable[Silence], key: GroupKey, now: float) -> bool:
    """Whether nobody is to be told of this key now."""
    return any(silence.matches(key, now) for silence in silences)


def fired(
    group: Group | None, key: GroupKey, now: float, timing: Timing, *, count: int, summary: str, first_job_id: int | None = None, last_job_id: int | None = None
) -> Group:
    """`count` more failures, or (0) a rule that still finds what it found. `group` None: there is no open one."""
    if group is None:
        group = Group(key, now, now, now + timing.group_wait_s, first_job_id=first_job_id)
    return replace(
        group, changed_s=now, ended_s=None, total=group.total + count, pending=group.pending + count, summary=summary or group.summary,
        last_job_id=last_job_id or group.last_job_id,
    )  # fmt: skip


def ended(group: Group, now: float, timing: Timing) -> Group:
    """The rule of the group finds nothing any more."""
    if group.ended_s is not None:
        return group
    return replace(group, ended_s=now, next_s=group.next_s if timing.settle_s is None else now + timing.settle_s)


def look(group: Group, now: float, timing: Timing, *, silenced: bool = False) -> tuple[Group, Notice | None]:
    """The group as it is after a look at `now`, and what is to be told; before `next_s` it is left as it is."""
    if now < group.next_s:
        return group, None
    over = group.ended_s is not None if group.key.source not in JOBS else now - group.changed_s >= timing.resolve_after_s
    group = replace(group, next_s=now + timing.group_interval_s, resolved_s=now if over else None)
    if silenced:
        return (replace(group, silenced=group.silenced + group.pending, pending=0) if over else group), None
    new = group.pending > 0
    if over:
        told = group.notified_s is not None or (new and group.key.source in JOBS)  # a condition that passed within its group_wait never was worth a word
        notice = Notice(group, True, group.pending) if told else None
    elif new or group.notified_s is None:
        notice = Notice(group, False, group.pending)
    elif now - group.notified_s >= timing.repeat_interval_s:
        notice = Notice(group, False, 0, repeated=True)
    else:
        return group, None
    group = replace(group, pending=0, notified_s=now if notice is not None else group.notified_s, notices=group.notices + (notice is not None))
    return group, replace(notice, group=group) if notice is not None else None


def place(key: GroupKey, *, is_open: bool, alike: int) -> GroupKey:
    """The key of the group that a failure goes into: its own, or, where `alike` groups of its type are open and its own is not, that of all others."""
    return key if is_open or alike < MAX_FINGERPRINTS else replace(key, fingerprint=OTHER)


def places(found: Iterable[GroupKey], groups: Iterable[GroupKey]) -> dict[GroupKey, GroupKey]:
    """The key of the group that each thing goes into which rules find, where these `groups` are open."""
    there = {*groups}
    alike = Counter((key.domain, key.source, key.rule, key.type) for key in there)
    placed: dict[GroupKey, GroupKey] = {}
    for own in found:
        key = placed[own] = place(own, is_open=own in there, alike=alike[own.domain, own.source, own.rule, own.type])
        alike[key.domain, key.source, key.rule, key.type] += key not in there
        there.add(key)
    return placed
