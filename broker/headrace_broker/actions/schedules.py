"""What is done with schedules, by calls and by forms alike."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from headrace_broker.actions.reach import require, types_for
from headrace_broker.model import fields
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidField, ScheduleNotFound, TooLarge
from headrace_broker.model.permissions import Act
from headrace_broker.model.schedule import LABELS, MAX_MISSED, MISSED, OVERLAPS, Schedule, Spec, When, first_tick
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.schedules import Fire

MAX_SCHEDULES = 100_000
FIRES = 10
DAY_S = 86_400.0
TRIES = 20
AGAIN_S = 0.1
AWAY = "the database cannot be reached; nothing was changed"


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule, its next ticks, and what became of the newest ones, newest first."""

    schedule: Schedule
    next: list[datetime]
    fires: list[Fire]


def check(spec: Spec, payload_limit: int) -> Spec:
    """The spec, if it makes sense. Raises InvalidField and TooLarge with the names of ScheduleSpec's fields."""
    fields.text("spec.cron", spec.when.cron or "")
    fields.text("spec.time_zone", spec.when.time_zone, 100)
    interval_s = spec.when.interval_s
    if interval_s is not None and interval_s < 1:
        raise InvalidField("spec.interval", f"a whole number of seconds, one at least; found {interval_s} s")
    spec.when.check()
    for field, value, known in (("overlap", spec.overlap, OVERLAPS), ("missed", spec.missed, MISSED)):
        if value not in known:
            raise InvalidField(f"spec.{field}", f"one of {', '.join(known)}, found {value[:60]!r}")
    if not 1 <= spec.max_missed <= MAX_MISSED:
        raise InvalidField("spec.max_missed", f"1 to {MAX_MISSED}, found {spec.max_missed}")
    if not 0 <= spec.jitter_s <= DAY_S:
        raise InvalidField("spec.jitter", f"a duration from 0 to {DAY_S:g} s, found {spec.jitter_s:g} s")
    if interval_s is not None and spec.jitter_s >= interval_s:
        raise InvalidField("spec.jitter", f"less than the interval, {interval_s} s; found {spec.jitter_s:g} s")
    if len(spec.payload) > payload_limit:
        raise TooLarge("payload", f"at most {payload_limit} bytes, found {len(spec.payload)}; store it elsewhere and submit where it is")
    if not -fields.MAX_PRIORITY <= spec.priority <= fields.MAX_PRIORITY:
        raise InvalidField("spec.priority", f"between -{fields.MAX_PRIORITY:,} and {fields.MAX_PRIORITY:,}, found {spec.priority}")
    for label in LABELS:
        if label in fields.labels("spec.labels", spec.labels or {}):
            raise InvalidField("spec.labels", f"{label} is set by the broker")
    fields.type_name("spec.type", spec.type)
    fields.text("spec.content_type", spec.content_type, 100)
    fields.text("spec.instance_id", spec.instance_id)
    return spec


def following(when: When, first: datetime | None, count: int) -> list[datetime]:
    """The ticks from this one on, at most so many."""
    return [] if first is None else [first, *islice(when.ticks(first), count - 1)]


class ScheduleActions:
    """Of the schedules of a broker; each raises what `Ownership.owner` raises when it owns none."""

    def __init__(self, ownership: Ownership, payload_limit: int) -> None:
        self._ownership = ownership
        self.payload_limit = payload_limit

    def find(self, domain: str, name: str) -> Schedule:
        """The schedule of this name. Raises ScheduleNotFound."""
        found = self._ownership.owner.schedules.find(domain, name)
        if found is None or not types_for(Act.OVERSEE).allow(found.spec.type):
            raise ScheduleNotFound(name)
        return found

    def of_domain(self, domain: str) -> Sequence[Schedule]:
        """Schedules of the domain, of the types whose schedules the call may see, in no order."""
        seen, found = types_for(Act.OVERSEE), self._ownership.owner.schedules.of_domain(domain)
        return [schedule for schedule in found if seen.everything or seen.allow(schedule.spec.type)]

    def _changeable(self, domain: str, name: str) -> None:
        """Raises ScheduleNotFound, TypeDenied: the call may not change schedules of its type."""
        require(Act.MANAGE_SCHEDULES, self.find(domain, name).spec.type)

    async def put(self, name: str, spec: Spec, *, caller: Caller, reason: str) -> tuple[Schedule, bool]:
        """(the schedule, whether anything changed). Makes it, or replaces what it does and when. Raises InvalidField, TooLarge, PayloadRefused, Busy,
        TypeDenied: the call may not make schedules, or jobs, of this type."""
        owner = self._ownership.owner
        check(spec, self.payload_limit)
        for act in (Act.MANAGE_SCHEDULES, Act.SUBMIT):
            require(act, spec.type, "spec.type")
        there = owner.schedules.find(caller.domain, name)
        if there is not None:
            require(Act.MANAGE_SCHEDULES, there.spec.type, "name")
        else:
            fields.new_name("name", name)
        if there is None and len(owner.schedules.by_id) >= MAX_SCHEDULES:
            raise Busy(f"there are {MAX_SCHEDULES} schedules already; are ids part of their names?", retry_after_s=60)
        entry = await owner.types.ensure(caller.domain, spec.type)
        if entry.schema is not None:
            entry.schema.check(spec.payload, spec.content_type)
        try:
            schedule, changed = await self._ownership.schedules.put(name, spec, entry.type_id, owner.clock.now(), caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        owner.schedules.apply([schedule])
        return schedule, changed

    async def view(self, domain: str, name: str, count: int = 5) -> ScheduleView:
        """A schedule with so many next ticks. Raises ScheduleNotFound."""
        schedule = self.find(domain, name)
        try:
            fires = await self._ownership.schedules.fires(schedule.schedule_id, FIRES)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached") from error
        when, now = schedule.spec.when, self._ownership.owner.clock.now()
        first = schedule.next_at if schedule.paused_at is None else first_tick(when, schedule.ticked_at, now)
        return ScheduleView(schedule, following(when, first, count), fires)

    def preview(self, when: When, count: int = 5) -> list[datetime]:
        """The next ticks of a schedule that would be made now. Raises InvalidField."""
        when.check()
        now = self._ownership.owner.clock.now()
        return following(when, when.following(now), count)

    async def pause(self, name: str, paused: bool, *, caller: Caller, reason: str) -> Schedule:
        """Pauses or resumes. Raises ScheduleNotFound, TypeDenied."""
        owner = self._ownership.owner
        self._changeable(caller.domain, name)
        try:
            schedule = await self._ownership.schedules.pause(name, paused, owner.clock.now(), caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        owner.schedules.apply([schedule])
        return schedule

    async def run(self, name: str, request_id: str, *, caller: Caller, reason: str) -> int:
        """The job that a run made; the same one for the same request id. Raises ScheduleNotFound, TypeDenied, Busy."""
        owner, store = self._ownership.owner, self._ownership.schedules
        self._changeable(caller.domain, name)
        try:
            for _ in range(TRIES):
                schedule = self.find(caller.domain, name)
                job_id = await store.run(schedule.schedule_id, request_id) or await owner.schedules.run_now(schedule.schedule_id, request_id, caller, reason)
                if job_id is not None:
                    return job_id
                await asyncio.sleep(AGAIN_S)  # it changed at the same moment
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        raise Busy(f"schedule {name} changes too fast to be run; try again", retry_after_s=1.0)

    async def delete(self, name: str, *, caller: Caller, reason: str) -> None:
        """Ends a schedule; its jobs stay. Raises ScheduleNotFound, TypeDenied."""
        owner = self._ownership.owner
        self._changeable(caller.domain, name)
        try:
            schedule = await self._ownership.schedules.delete(name, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        owner.schedules.apply([schedule])
