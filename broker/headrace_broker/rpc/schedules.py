"""The Schedules service: jobs that are submitted at times."""

import asyncio
import uuid
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.v1 import schedules_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import Busy, DatabaseUnavailable, InvalidField, ScheduleNotFound
from headrace_broker.model.schedule import LABELS, MAX_MISSED, MISSED, OVERLAPS, Schedule, Spec, When, first_tick
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.pool import READ_FAILURES

MAX_SCHEDULES = 100_000
MAX_NEXT = 100
FIRES = 10
DAY_S = 86_400.0
TRIES = 20
AGAIN_S = 0.1
AWAY = "the database cannot be reached; nothing was changed"


class SchedulesService:
    """See the module."""

    def __init__(self, ownership: Ownership, payload_limit: int) -> None:
        self._ownership = ownership
        self._payload_limit = payload_limit

    async def PutSchedule(self, request: schedules_pb2.PutScheduleRequest, context: Any) -> schedules_pb2.PutScheduleResponse:  # noqa: N802
        owner, caller, name, reason = self._begin(request, context)
        spec = _spec(request.spec, self._payload_limit)
        if owner.schedules.find(caller.domain, name) is None and len(owner.schedules.by_id) >= MAX_SCHEDULES:
            raise Busy(f"there are {MAX_SCHEDULES} schedules already; are ids part of their names?", retry_after_s=60)
        entry = await owner.types.ensure(caller.domain, spec.type)
        if entry.schema is not None:
            entry.schema.check(spec.payload, spec.content_type)
        try:
            schedule, changed = await self._ownership.schedules.put(name, spec, entry.type_id, owner.clock.now(), caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        owner.schedules.apply([schedule])
        return schedules_pb2.PutScheduleResponse(schedule=_schedule(schedule), changed=changed)

    async def GetSchedule(self, request: schedules_pb2.GetScheduleRequest, context: Any) -> schedules_pb2.GetScheduleResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        if request.next > MAX_NEXT:
            raise InvalidField("next", f"at most {MAX_NEXT}, found {request.next}")
        schedule = _find(owner, domain, convert.type_name("name", request.name))
        try:
            fires = await self._ownership.schedules.fires(schedule.schedule_id, FIRES)
        except READ_FAILURES as error:
            raise DatabaseUnavailable("the database cannot be reached") from error
        when, now = schedule.spec.when, owner.clock.now()
        first = schedule.next_at if schedule.paused_at is None else first_tick(when, schedule.ticked_at, now)
        following = [] if first is None else [first, *islice(when.ticks(first), (request.next or 5) - 1)]
        return schedules_pb2.GetScheduleResponse(
            schedule=_schedule(schedule), next=[to_timestamp(tick) for tick in following],
            fires=[
                schedules_pb2.ScheduleFire(nominal_at=_at(fire.nominal_at), outcome=fire.outcome, job_id=fire.job_id or 0, fired_at=_at(fire.fired_at))
                for fire in fires
            ],
        )  # fmt: skip

    async def ListSchedules(self, request: schedules_pb2.ListSchedulesRequest, context: Any) -> schedules_pb2.ListSchedulesResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        limit = convert.page_size(request.page_size, 100, 1000)
        [above] = convert.page_token(request.page_token, f"schedules {domain}") or [0]
        found = sorted((s for s in owner.schedules.of_domain(domain) if s.schedule_id > above), key=lambda s: s.schedule_id)[:limit]
        token = convert.make_token(f"schedules {domain}", found[-1].schedule_id) if len(found) == limit else ""
        return schedules_pb2.ListSchedulesResponse(schedules=[_schedule(s) for s in sorted(found, key=lambda s: s.name)], next_page_token=token)

    async def PauseSchedule(self, request: schedules_pb2.PauseScheduleRequest, context: Any) -> schedules_pb2.PauseScheduleResponse:  # noqa: N802
        return schedules_pb2.PauseScheduleResponse(schedule=_schedule(await self._pause(request, context, True)))

    async def ResumeSchedule(self, request: schedules_pb2.ResumeScheduleRequest, context: Any) -> schedules_pb2.ResumeScheduleResponse:  # noqa: N802
        return schedules_pb2.ResumeScheduleResponse(schedule=_schedule(await self._pause(request, context, False)))

    async def _pause(self, request: Any, context: Any, paused: bool) -> Schedule:
        owner, caller, name, reason = self._begin(request, context)
        try:
            schedule = await self._ownership.schedules.pause(name, paused, owner.clock.now(), caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        owner.schedules.apply([schedule])
        return schedule

    async def RunSchedule(self, request: schedules_pb2.RunScheduleRequest, context: Any) -> schedules_pb2.RunScheduleResponse:  # noqa: N802
        owner, caller, name, reason = self._begin(request, context)
        request_id = convert.text("request_id", request.request_id) or uuid.uuid4().hex
        store = self._ownership.schedules
        try:
            for _ in range(TRIES):
                schedule = _find(owner, caller.domain, name)
                job_id = await store.run(schedule.schedule_id, request_id) or await owner.schedules.run_now(schedule.schedule_id, request_id, caller, reason)
                if job_id is not None:
                    return schedules_pb2.RunScheduleResponse(job_id=job_id)
                await asyncio.sleep(AGAIN_S)  # it changed at the same moment
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        raise Busy(f"schedule {name} changes too fast to be run; try again", retry_after_s=1.0)

    async def DeleteSchedule(self, request: schedules_pb2.DeleteScheduleRequest, context: Any) -> schedules_pb2.DeleteScheduleResponse:  # noqa: N802
        owner, caller, name, reason = self._begin(request, context)
        try:
            schedule = await self._ownership.schedules.delete(name, caller=caller, reason=reason)
        except READ_FAILURES as error:
            raise DatabaseUnavailable(AWAY) from error
        owner.schedules.apply([schedule])
        return schedules_pb2.DeleteScheduleResponse()

    def _begin(self, request: Any, context: Any) -> tuple[Owner, Caller, str, str]:
        """(owner, caller, name, reason) of a call that changes something."""
        owner, caller = self._ownership.owner, caller_of(context)
        return owner, caller, convert.type_name("name", request.name), convert.text("reason", request.reason, convert.MAX_REASON)


def _find(owner: Owner, domain: str, name: str) -> Schedule:
    found = owner.schedules.find(domain, name)
    if found is None:
        raise ScheduleNotFound(name)
    return found


def _spec(message: schedules_pb2.ScheduleSpec, payload_limit: int) -> Spec:
    """A checked spec."""
    kind = message.WhichOneof("when")
    interval_s = convert.seconds("spec.interval", message.interval) if kind == "interval" else None
    if interval_s is not None and (interval_s < 1 or interval_s % 1):
        raise InvalidField("spec.interval", f"a whole number of seconds, one at least; found {interval_s:g} s")
    when = When(
        convert.text("spec.cron", message.cron) if kind == "cron" else None, convert.text("spec.time_zone", message.time_zone, 100) or "UTC",
        int(interval_s) if interval_s is not None else None, _time("spec.anchor", message, "anchor") if kind == "interval" else None,
        _time("spec.at", message, "at"), _time("spec.start_at", message, "start_at"), _time("spec.end_at", message, "end_at"),
    )  # fmt: skip
    when.check()
    for field, value, known in (("overlap", message.overlap, OVERLAPS), ("missed", message.missed, MISSED)):
        if value not in range(len(known) + 1):
            raise InvalidField(f"spec.{field}", f"one of 1 to {len(known)}, found {value}")
    if message.max_missed > MAX_MISSED:
        raise InvalidField("spec.max_missed", f"at most {MAX_MISSED}, found {message.max_missed}")
    jitter_s = convert.seconds("spec.jitter", message.jitter, DAY_S)
    if interval_s is not None and jitter_s >= interval_s:
        raise InvalidField("spec.jitter", f"less than the interval, {interval_s:g} s; found {jitter_s:g} s")
    if len(message.payload) > payload_limit:
        raise convert.payload_too_large(message.payload, payload_limit)
    if not -convert.MAX_PRIORITY <= message.priority <= convert.MAX_PRIORITY:
        raise InvalidField("spec.priority", f"between -{convert.MAX_PRIORITY:,} and {convert.MAX_PRIORITY:,}, found {message.priority}")
    labels = convert.labels("spec.labels", message.labels)
    for label in LABELS:
        if label in labels:
            raise InvalidField("spec.labels", f"{label} is set by the broker")
    return Spec(
        when, convert.type_name("spec.type", message.type), message.payload, convert.text("spec.content_type", message.content_type, 100),
        convert.text("spec.instance_id", message.instance_id), message.priority, labels, OVERLAPS[max(0, message.overlap - 1)],
        MISSED[message.missed - 1] if message.missed else "once", message.max_missed or 10, jitter_s,
    )  # fmt: skip


def _time(field: str, message: schedules_pb2.ScheduleSpec, name: str) -> datetime | None:
    return datetime.fromtimestamp(round(convert.unix_s(field, getattr(message, name)), 6), UTC) if message.HasField(name) else None


def _at(time: datetime | None) -> Timestamp | None:
    return None if time is None else to_timestamp(time)


def _schedule(schedule: Schedule) -> schedules_pb2.Schedule:
    spec, when = schedule.spec, schedule.spec.when
    numbers: dict[str, Any] = {"overlap": OVERLAPS.index(spec.overlap) + 1, "missed": MISSED.index(spec.missed) + 1}
    message = schedules_pb2.ScheduleSpec(
        cron=when.cron, interval=to_duration(when.interval_s) if when.interval_s is not None else None, at=_at(when.at), time_zone=when.time_zone,
        anchor=_at(when.anchor), start_at=_at(when.start_at), end_at=_at(when.end_at), type=spec.type, payload=spec.payload, content_type=spec.content_type,
        instance_id=spec.instance_id, priority=spec.priority, labels=spec.labels, **numbers, max_missed=spec.max_missed, jitter=to_duration(spec.jitter_s),
    )  # fmt: skip
    return schedules_pb2.Schedule(
        name=schedule.name, spec=message, paused_at=_at(schedule.paused_at), paused_by=schedule.paused_by, paused_reason=schedule.paused_reason,
        next_at=_at(schedule.next_at), fired_at=_at(schedule.fired_at), last_job_id=schedule.last_job_id or 0, queued_at=_at(schedule.queued_at), fired=schedule.fired,
        skipped=schedule.skipped, created_at=_at(schedule.created_at),
    )  # fmt: skip
