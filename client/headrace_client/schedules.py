"""Schedules: jobs that the broker submits at times. The calls of AdminClient about them, and what they give and take."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from headrace_proto.v1 import schedules_pb2
from headrace_proto.wire import name_of, to_datetime, to_seconds

from headrace_client.base import Base
from headrace_client.decode import time_of
from headrace_client.encode import build, duration, encode_json, timestamp
from headrace_client.errors import InvalidRequest

OVERLAPS = ("allow", "skip", "queue", "abort")
MISSED = ("skip", "once", "all")
_OVERLAPS = dict(enumerate(("allow", *OVERLAPS)))
_MISSED = dict(enumerate(("once", *MISSED)))
"""By their numbers on the wire; the first is what 0 stands for."""


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """What a schedule is. One of `cron` (five fields, in `time_zone`), `interval_s` (whole seconds, counted from `anchor`, default 1970) and `at` (once) says when.

    `type`, `data` (JSON) or `payload` (bytes), `instance_id`, `priority` and `labels` are those of the jobs. `overlap`, while the job of the tick before lives:
    "allow", "skip" (no job), "queue" (once it has ended; one waits like that), "abort" (the one before). `missed`, for ticks that no broker could fire within a minute,
    or that another tick followed before: "skip", "once" (for the newest), "all" (for the newest `max_missed`). `jitter_s`: each tick comes up to this much later.
    """

    type: str
    cron: str = ""
    interval_s: float | None = None
    at: datetime | None = None
    time_zone: str = "UTC"
    anchor: datetime | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    data: Any = None
    payload: bytes | None = None
    content_type: str = ""
    instance_id: str = ""
    priority: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    overlap: str = "allow"
    missed: str = "once"
    max_missed: int = 10
    jitter_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ScheduleFire:
    """What became of a tick, or of a run that was asked for: "fired", "manual", "skipped" (the job before lived) or "missed"."""

    nominal_at: datetime
    outcome: str
    job_id: int | None
    fired_at: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it stands. `spec.payload` are the bytes that each job gets. `next` and `fires` are told by get_schedule alone.
    `data_withheld`: the payload is not for this caller to see; `secrets_masked`: nor are values of fields and labels with secret names."""

    name: str
    spec: ScheduleSpec
    paused: bool
    paused_at: datetime | None
    paused_by: str
    paused_reason: str
    next_at: datetime | None
    fired_at: datetime | None
    last_job_id: int | None
    queued_at: datetime | None
    fired: int
    skipped: int
    created_at: datetime
    next: tuple[datetime, ...] = ()
    fires: tuple[ScheduleFire, ...] = ()
    data_withheld: bool = False
    secrets_masked: bool = False


class ScheduleCalls(Base):
    """The part of AdminClient that is about schedules."""

    async def put_schedule(self, name: str, spec: ScheduleSpec, *, reason: str = "") -> tuple[Schedule, bool]:
        """(the schedule, whether anything changed). Makes it, or replaces what it does and when; a paused one stays paused."""
        request = build(schedules_pb2.PutScheduleRequest, name=name, spec=_message(spec), reason=reason)
        answer = await self._call(lambda stubs: stubs.schedules.PutSchedule, request)
        return _schedule(answer.schedule), answer.changed

    async def get_schedule(self, name: str, *, next: int = 5) -> Schedule:  # noqa: A002
        """One schedule with its `next` ticks and what became of the last ones. Raises NotFound."""
        answer = await self._call(lambda stubs: stubs.schedules.GetSchedule, build(schedules_pb2.GetScheduleRequest, name=name, next=next))
        fires = [ScheduleFire(to_datetime(f.nominal_at), f.outcome, f.job_id or None, to_datetime(f.fired_at)) for f in answer.fires]
        return replace(_schedule(answer.schedule), next=tuple(to_datetime(tick) for tick in answer.next), fires=tuple(fires))

    async def list_schedules(self) -> list[Schedule]:
        """All schedules of the domain, by name."""
        found: list[Schedule] = []
        token = ""
        while True:
            answer = await self._call(lambda stubs: stubs.schedules.ListSchedules, schedules_pb2.ListSchedulesRequest(page_size=1000, page_token=token))
            found += [_schedule(item) for item in answer.schedules]
            token = answer.next_page_token
            if not token:
                return sorted(found, key=lambda schedule: schedule.name)

    async def pause_schedule(self, name: str, *, reason: str = "") -> Schedule:
        """No tick until it is resumed. Raises NotFound."""
        request = build(schedules_pb2.PauseScheduleRequest, name=name, reason=reason)
        return _schedule((await self._call(lambda stubs: stubs.schedules.PauseSchedule, request)).schedule)

    async def resume_schedule(self, name: str, *, reason: str = "") -> Schedule:
        """Goes on with the first tick after now. Raises NotFound."""
        request = build(schedules_pb2.ResumeScheduleRequest, name=name, reason=reason)
        return _schedule((await self._call(lambda stubs: stubs.schedules.ResumeSchedule, request)).schedule)

    async def run_schedule(self, name: str, *, reason: str = "", request_id: str = "") -> int:
        """Makes a job now, beside the ticks; returns its id. Calls with the same `request_id` make one job. Raises NotFound."""
        request = build(schedules_pb2.RunScheduleRequest, name=name, reason=reason, request_id=request_id or uuid.uuid4().hex)
        return int((await self._call(lambda stubs: stubs.schedules.RunSchedule, request)).job_id)

    async def delete_schedule(self, name: str, *, reason: str = "") -> None:
        """Ends a schedule; its jobs stay. Raises NotFound."""
        await self._call(lambda stubs: stubs.schedules.DeleteSchedule, build(schedules_pb2.DeleteScheduleRequest, name=name, reason=reason), repeatable=False)


def _message(spec: ScheduleSpec) -> schedules_pb2.ScheduleSpec:
    """The message of a spec. Raises InvalidRequest for what cannot be sent."""
    if sum(item is not None for item in (spec.cron or None, spec.interval_s, spec.at)) != 1:
        raise InvalidRequest("one of cron, interval_s and at says when", details={"field": "cron"})
    if spec.payload is not None and spec.data is not None:
        raise InvalidRequest("give data or payload, not both", details={"field": "payload"})
    for name, value, known in (("overlap", spec.overlap, OVERLAPS), ("missed", spec.missed, MISSED)):
        if value not in known:
            raise InvalidRequest(f"{name} is one of {', '.join(known)}, found {value!r}", details={"field": name})
    numbers: dict[str, Any] = {"overlap": OVERLAPS.index(spec.overlap) + 1, "missed": MISSED.index(spec.missed) + 1}
    times: dict[str, Any] = {name: getattr(spec, name) for name in ("at", "anchor", "start_at", "end_at")}
    for name, at in times.items():
        if isinstance(at, datetime) and at.tzinfo is None:
            raise InvalidRequest(f"{name} must say its time zone", details={"field": name})
    messages: dict[str, Any] = {name: timestamp(name, at) for name, at in times.items()}
    return build(
        schedules_pb2.ScheduleSpec, cron=spec.cron or None, interval=duration("interval_s", spec.interval_s), **messages,
        time_zone=spec.time_zone, type=spec.type, payload=encode_json(spec.data) if spec.payload is None else spec.payload, content_type=spec.content_type,
        instance_id=spec.instance_id, priority=spec.priority, labels=spec.labels, **numbers,
        max_missed=spec.max_missed, jitter=duration("jitter_s", spec.jitter_s),
    )  # fmt: skip


def _schedule(message: schedules_pb2.Schedule) -> Schedule:
    found = message.spec
    spec = ScheduleSpec(
        found.type, found.cron, to_seconds(found.interval) if found.HasField("interval") else None, time_of(found, "at"), found.time_zone, time_of(found, "anchor"),
        time_of(found, "start_at"), time_of(found, "end_at"), None, found.payload, found.content_type, found.instance_id, found.priority, dict(found.labels),
        name_of(found.overlap, _OVERLAPS), name_of(found.missed, _MISSED), found.max_missed, to_seconds(found.jitter),
    )  # fmt: skip
    return Schedule(
        message.name, spec, message.HasField("paused_at"), time_of(message, "paused_at"), message.paused_by, message.paused_reason, time_of(message, "next_at"),
        time_of(message, "fired_at"), message.last_job_id or None, time_of(message, "queued_at"), message.fired, message.skipped, to_datetime(message.created_at),
        data_withheld=message.data_withheld, secrets_masked=message.secrets_masked,
    )  # fmt: skip
