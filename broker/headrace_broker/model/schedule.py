"""Schedules: when they tick, and what is to be done at a time. Pure: the time is passed in.

The rule at changes of the clock is that of Debian's cron. A cron line whose minute and hour both name times ("30 2 * * *") keeps to the wall
clock, and runs once a day: what falls into the hour that is left out in spring runs at the first minute that exists; what falls into the hour that comes twice in autumn
runs the first time. A line whose minute or hour begins with "*" keeps to elapsed time: it runs at every minute that matches, in both hours of autumn, and in no minute
that does not exist.
"""

import zlib
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from headrace_broker.model.errors import InvalidField

LATE_S = 60.0
"""A tick that can be fired only after this time is missed; so is one that another tick follows before it could be fired."""
MAX_MISSED = 100
OVERLAPS = ("allow", "skip", "queue", "abort")
MISSED = ("skip", "once", "all")
EPOCH, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)
LABELS = ("headrace.schedule", "headrace.nominal_at")
"""Labels of the jobs of a schedule: its name, and the time that the tick is of."""


@dataclass(frozen=True, slots=True)
class When:
    """The times of a schedule: one of `cron` (five fields, in `time_zone`), `interval_s` (whole seconds from `anchor` on, default 1970) and `at` (once).

    No tick comes before `start_at` or after `end_at`. All times are aware.
    """

    cron: str | None = None
    time_zone: str = "UTC"
    interval_s: int | None = None
    anchor: datetime | None = None
    at: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None

    def check(self) -> None:
        """Raises InvalidField for what makes no sense; the fields are those of ScheduleSpec."""
        if sum(item is not None for item in (self.cron, self.interval_s, self.at)) != 1:
            raise InvalidField("spec.when", "one of cron, interval and at must be set")
        try:
            ZoneInfo(self.time_zone)
        except (ValueError, OSError, KeyError):
            raise InvalidField("spec.time_zone", f"a name of the IANA time zone database such as Europe/Berlin, found {self.time_zone[:60]!r}") from None
        if self.cron is not None:
            if len(self.cron.split()) != 5:
                raise InvalidField("spec.cron", f"five fields: minute, hour, day of month, month, day of week; found {self.cron[:60]!r}")
            try:
                CronSim(self.cron, EPOCH)
            except CronSimError as error:
                raise InvalidField("spec.cron", f"{self.cron[:60]!r}: {error}") from None
        if self.start_at is not None and self.end_at is not None and self.end_at < self.start_at:
            raise InvalidField("spec.end_at", "is before start_at")

    def following(self, after: datetime) -> datetime | None:
        """The first tick after this time; None: there is none."""
        return next(self.ticks(after), None)

    def ticks(self, after: datetime) -> Iterator[datetime]:
        """The ticks after this time, in UTC, rising."""
        if self.start_at is not None:
            after = max(after, self.start_at - timedelta(microseconds=1))
        every = self._once(after) if self.at is not None else self._by_cron(self.cron, after) if self.cron is not None else self._by_interval(after)
        return every if self.end_at is None else takewhile(lambda tick: self.end_at is None or tick <= self.end_at, every)

    def due(self, first: datetime, now: datetime, most: int) -> list[datetime]:
        """The newest ticks from `first`, which is one, to `now`, at most so many; in a time that does not grow with how long ago the first is."""
        span = 2 * MINUTE
        while True:
            begin = max(first, now - span)
            found = list(takewhile(lambda tick: tick <= now, self.ticks(begin - timedelta(microseconds=1))))
            if len(found) >= most or begin == first:
                return found[-most:]
            span *= 16

    def _once(self, after: datetime) -> Iterator[datetime]:
        if self.at is not None and self.at > after:
            yield self.at

    def _by_interval(self, after: datetime) -> Iterator[datetime]:
        step, anchor = timedelta(seconds=self.interval_s or 1), self.anchor or EPOCH
        try:
            tick = anchor + ((after - anchor) // step + 1) * step
            while True:
                yield tick
                tick += step
        except OverflowError:  # beyond the year 9999
            return

    def _by_cron(self, cron: str, after: datetime) -> Iterator[datetime]:
        for tick in _instants(cron, ZoneInfo(self.time_zone), after):
            if tick > after:  # of a time that is left out several ticks become one
                yield tick
                after = tick


def _instants(cron: str, zone: ZoneInfo, after: datetime) -> Iterator[datetime]:
    """What a cron line matches from about `after` on, in UTC, rising. cronsim says which times of the wall clock match; what they are when it changes is decided here."""
    by_elapsed_time = any(field.startswith("*") for field in cron.split()[:2])
    again: deque[datetime] = deque()  # second times
    try:
        wall = after.astimezone(zone)
        twice = wall.replace(fold=1).astimezone(UTC) - wall.replace(fold=0).astimezone(UTC)  # how long the time that comes twice lasts, if this is in it
        for local in CronSim(cron, wall.replace(tzinfo=None, fold=0) - max(timedelta(), twice) - MINUTE):
            first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
            if first > second:  # left out
                if by_elapsed_time:
                    continue
                first = _first_after_gap(local, zone)
            while again and again[0] < first:
                yield again.popleft()
            yield first
            if first < second and by_elapsed_time:
                again.append(second)
    except OverflowError:  # beyond the year 9999
        return


def _first_after_gap(local: datetime, zone: ZoneInfo) -> datetime:
    """The first minute that exists after one that does not."""
    while (at := local.replace(tzinfo=zone).astimezone(UTC)).astimezone(zone).replace(tzinfo=None) != local:
        local += MINUTE
    return at


@dataclass(frozen=True, slots=True)
class Spec:
    """What a schedule is: its times, the job that each tick becomes, and the policies."""

    when: When
    type: str
    payload: bytes = b""
    content_type: str = ""
    instance_id: str = ""
    priority: int = 0
    labels: Mapping[str, str] | None = None
    overlap: str = "allow"
    missed: str = "once"
    max_missed: int = 10
    jitter_s: float = 0.0

    def shown(self) -> dict[str, object]:
        """For the audit: everything but the payload, of which the size is told."""
        when = {name: getattr(self.when, name) for name in When.__dataclass_fields__}
        times = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in when.items() if value is not None}
        rest = {name: getattr(self, name) for name in Spec.__dataclass_fields__ if name not in ("when", "payload", "labels")}
        return {**times, **rest, "labels": dict(self.labels or {}), "payload_bytes": len(self.payload)}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A stored schedule; `version` rises with every change."""

    schedule_id: int
    domain: str
    name: str
    version: int
    deleted: bool
    spec: Spec
    type_id: int
    paused_at: datetime | None
    paused_by: str
    paused_reason: str
    next_at: datetime | None
    ticked_at: datetime | None
    fired_at: datetime | None
    last_job_id: int | None
    queued_at: datetime | None
    aborting_id: int | None
    fired: int
    skipped: int
    created_at: datetime
    changed_at: datetime

    def due_at(self, tick: datetime) -> datetime:
        """When the tick is to be fired: its time and its jitter, which is the same for every broker that looks. No later than times go, which is the year 9999."""
        share = zlib.crc32(f"{self.schedule_id}/{tick.timestamp():.6f}".encode()) / 2**32
        return tick + min(timedelta(seconds=self.spec.jitter_s * share), LATEST - tick)


@dataclass(frozen=True, slots=True)
class Tick:
    """A tick to be decided now: `missed` ones become no job. `next_at` is the first tick after it."""

    nominal_at: datetime
    missed: bool
    next_at: datetime | None


def pick(schedule: Schedule, now: datetime) -> Tick | None:
    """The tick that is to be decided now; None: nothing is due."""
    spec, first = schedule.spec, schedule.next_at
    if first is None or schedule.due_at(first) > now:
        return None
    nominal = _turn(schedule, first, now)
    late = now - schedule.due_at(nominal) > timedelta(seconds=LATE_S)
    return Tick(nominal, late and spec.missed == "skip", spec.when.following(nominal))


def _turn(schedule: Schedule, first: datetime, now: datetime) -> datetime:
    """Of the ticks that are due, of which `first` is the oldest: the newest, or, where missed ones are made up for, the oldest of the newest `max_missed`.

    The last ones before `now` may be held back by their jitter. They are not due, and those before them are no newer for it.
    """
    spec = schedule.spec
    most, held_back = spec.max_missed if spec.missed == "all" else 1, MAX_MISSED if spec.jitter_s else 0
    due = [tick for tick in spec.when.due(first, now, most + held_back) if schedule.due_at(tick) <= now]
    due = due or spec.when.due(first, now - timedelta(seconds=spec.jitter_s), most)  # more are held back than were looked at
    return (due[-most:] or [first])[0]


def first_tick(when: When, ticked_at: datetime | None, now: datetime) -> datetime | None:
    """The next tick of a schedule that begins, or goes on, now: above all that were decided. One that ticks once does so even if its time is over: it is missed then."""
    if when.at is not None:
        return when.following(ticked_at or when.at - SECOND)
    return when.following(max(now, ticked_at or now))


def after_change(old: Schedule | None, when: When, now: datetime) -> datetime | None:
    """The next tick when a schedule is put anew with these times. Where they are the same, a tick that is due stays due."""
    if old is None or old.deleted:
        return first_tick(when, old.ticked_at if old is not None else None, now)
    if old.paused_at is not None:
        return None
    return old.next_at if old.spec.when == when else first_tick(when, old.ticked_at, now)
