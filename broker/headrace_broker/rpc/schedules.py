"""The Schedules service: jobs that are submitted at times."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.v1 import schedules_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.actions.reach import secrets, types_for
from headrace_broker.actions.schedules import DAY_S, ScheduleActions
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import InvalidField
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.permissions import Act
from headrace_broker.model.redaction import masked_labels, redacted
from headrace_broker.model.schedule import MAX_MISSED, MISSED, OVERLAPS, Schedule, Spec, When
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.shards.ownership import Ownership

MAX_NEXT = 100


class SchedulesService:
    """See the module."""

    def __init__(self, ownership: Ownership, payload_limit: int) -> None:
        self._ownership = ownership
        self._actions = ScheduleActions(ownership, payload_limit)

    async def PutSchedule(self, request: schedules_pb2.PutScheduleRequest, context: Any) -> schedules_pb2.PutScheduleResponse:  # noqa: N802
        caller, name, reason = self._begin(request, context)
        schedule, changed = await self._actions.put(name, _spec(request.spec), caller=caller, reason=reason)
        return schedules_pb2.PutScheduleResponse(schedule=await _shown(schedule), changed=changed)

    async def GetSchedule(self, request: schedules_pb2.GetScheduleRequest, context: Any) -> schedules_pb2.GetScheduleResponse:  # noqa: N802
        domain = convert.domain_of(context)
        if request.next > MAX_NEXT:
            raise InvalidField("next", f"at most {MAX_NEXT}, found {request.next}")
        found = await self._actions.view(domain, convert.type_name("name", request.name), request.next or 5)
        return schedules_pb2.GetScheduleResponse(
            schedule=await _shown(found.schedule), next=[to_timestamp(tick) for tick in found.next],
            fires=[
                schedules_pb2.ScheduleFire(nominal_at=_at(fire.nominal_at), outcome=fire.outcome, job_id=fire.job_id or 0, fired_at=_at(fire.fired_at))
                for fire in found.fires
            ],
        )  # fmt: skip

    async def ListSchedules(self, request: schedules_pb2.ListSchedulesRequest, context: Any) -> schedules_pb2.ListSchedulesResponse:  # noqa: N802
        domain, limit = convert.domain_of(context), convert.page_size(request.page_size, 100, 1000)
        [above] = convert.page_token(request.page_token, f"schedules {domain}", MAX_ID) or [0]
        found = sorted((s for s in self._actions.of_domain(domain) if s.schedule_id > above), key=lambda s: s.schedule_id)[:limit]
        token = convert.make_token(f"schedules {domain}", found[-1].schedule_id) if len(found) == limit else ""
        return schedules_pb2.ListSchedulesResponse(schedules=[await _shown(s) for s in sorted(found, key=lambda s: s.name)], next_page_token=token)

    async def PauseSchedule(self, request: schedules_pb2.PauseScheduleRequest, context: Any) -> schedules_pb2.PauseScheduleResponse:  # noqa: N802
        caller, name, reason = self._begin(request, context)
        return schedules_pb2.PauseScheduleResponse(schedule=await _shown(await self._actions.pause(name, True, caller=caller, reason=reason)))

    async def ResumeSchedule(self, request: schedules_pb2.ResumeScheduleRequest, context: Any) -> schedules_pb2.ResumeScheduleResponse:  # noqa: N802
        caller, name, reason = self._begin(request, context)
        return schedules_pb2.ResumeScheduleResponse(schedule=await _shown(await self._actions.pause(name, False, caller=caller, reason=reason)))

    async def RunSchedule(self, request: schedules_pb2.RunScheduleRequest, context: Any) -> schedules_pb2.RunScheduleResponse:  # noqa: N802
        caller, name, reason = self._begin(request, context)
        request_id = convert.text("request_id", request.request_id) or uuid.uuid4().hex
        return schedules_pb2.RunScheduleResponse(job_id=await self._actions.run(name, request_id, caller=caller, reason=reason))

    async def DeleteSchedule(self, request: schedules_pb2.DeleteScheduleRequest, context: Any) -> schedules_pb2.DeleteScheduleResponse:  # noqa: N802
        caller, name, reason = self._begin(request, context)
        await self._actions.delete(name, caller=caller, reason=reason)
        return schedules_pb2.DeleteScheduleResponse()

    def _begin(self, request: Any, context: Any) -> tuple[Caller, str, str]:
        """(caller, name, reason) of a call that changes something. Raises what `Ownership.owner` raises, before anything is said of the request."""
        _ = self._ownership.owner
        caller = caller_of(context)
        return caller, convert.type_name("name", request.name), convert.text("reason", request.reason, convert.MAX_REASON)


def _spec(message: schedules_pb2.ScheduleSpec) -> Spec:
    """A spec of which what the message alone can say is checked; `actions.schedules.check` does the rest."""
    kind = message.WhichOneof("when")
    interval_s = convert.seconds("spec.interval", message.interval) if kind == "interval" else None
    if interval_s is not None and (interval_s < 1 or interval_s % 1):
        raise InvalidField("spec.interval", f"a whole number of seconds, one at least; found {interval_s:g} s")
    when = When(
        message.cron if kind == "cron" else None, message.time_zone or "UTC",
        int(interval_s) if interval_s is not None else None, _time("spec.anchor", message, "anchor") if kind == "interval" else None,
        _time("spec.at", message, "at"), _time("spec.start_at", message, "start_at"), _time("spec.end_at", message, "end_at"),
    )  # fmt: skip
    for field, value, known in (("overlap", message.overlap, OVERLAPS), ("missed", message.missed, MISSED)):
        if value not in range(len(known) + 1):
            raise InvalidField(f"spec.{field}", f"one of 1 to {len(known)}, found {value}")
    if message.max_missed > MAX_MISSED:
        raise InvalidField("spec.max_missed", f"at most {MAX_MISSED}, found {message.max_missed}")
    return Spec(
        when, message.type, message.payload, message.content_type, message.instance_id, message.priority, dict(message.labels),
        OVERLAPS[max(0, message.overlap - 1)], MISSED[message.missed - 1] if message.missed else "once", message.max_missed or 10,
        convert.seconds("spec.jitter", message.jitter, DAY_S),
    )  # fmt: skip


def _time(field: str, message: schedules_pb2.ScheduleSpec, name: str) -> datetime | None:
    return datetime.fromtimestamp(round(convert.unix_s(field, getattr(message, name)), 6), UTC) if message.HasField(name) else None


def _at(time: datetime | None) -> Timestamp | None:
    return None if time is None else to_timestamp(time)


async def _shown(schedule: Schedule) -> schedules_pb2.Schedule:
    """The schedule as the call may see it."""
    name, spec = schedule.spec.type, schedule.spec
    withheld, secret = not types_for(Act.VIEW_DATA).allow(name), secrets(name)
    if withheld or secret:
        payload = b"" if withheld else await asyncio.to_thread(redacted, spec.payload, secret)
        schedule = replace(schedule, spec=replace(spec, payload=payload, labels=masked_labels(spec.labels or {}, secret)))
    message = _schedule(schedule)
    message.data_withheld, message.secrets_masked = withheld, bool(secret)
    return message


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
