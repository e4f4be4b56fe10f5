"""The administrator's client: change jobs, job types and agents."""

import json
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from headrace_proto.v1 import admin_pb2, doors_pb2, instances_pb2, lifecycle_pb2, limits_pb2, stats_pb2, testing_pb2, types_pb2
from headrace_proto.wire import DEPENDENCY_POLICY_NUMBERS, STATE_NUMBERS, to_datetime, to_duration

from headrace_client import decode, instances, limits, trends
from headrace_client.access import AccessCalls
from headrace_client.alerts import AlertCalls
from headrace_client.brokers import BrokerCalls
from headrace_client.certificates import CertificateCalls
from headrace_client.encode import build, duration, timestamp
from headrace_client.errors import InvalidRequest
from headrace_client.filters import FilterCalls
from headrace_client.grants import GrantCalls
from headrace_client.instances import InstancePriority, Rescore
from headrace_client.lifecycle import RetentionPreview, retention_preview
from headrace_client.limits import Domain, DomainInfo, Pause
from headrace_client.models import AgentInfo, Alert, Door, JobType, Overview
from headrace_client.operations import OperationCalls
from headrace_client.schedules import ScheduleCalls
from headrace_client.trends import Forecast, Trend, TypeCapacity
from headrace_client.users import UserCalls

_DURATIONS = (
    "timeout_s", "delete_completed_after_s", "delete_aborted_after_s", "delete_error_after_s", "start_within_s", "ageing_s", "alert_group_wait_s",
    "alert_group_interval_s", "alert_repeat_interval_s", "alert_resolve_after_s", "breaker_window_s", "breaker_open_s", "breaker_open_max_s",
)  # fmt: skip
_RETRY = ("retry_delay_s", "retry_factor", "retry_max_s", "retry_jitter")
_NUMBERS = (
    "priority", "ageing_max", "max_attempts", "max_losses", "log_limit_lines", "log_limit_bytes", "concurrency", "concurrency_per_key", "depth_limit",
    "breaker_share", "breaker_minimum", "breaker_canaries", "breaker_at_once",
)  # fmt: skip
_SWITCHES = ("paused", "alert_on_error", "alert_on_abort")
SETTINGS = (*_NUMBERS, *_SWITCHES, *_DURATIONS, *_RETRY, "exhausted_state", "on_dependency_failed", "rate_limit", "fairness_weights", "payload_schema", "alert_channels")
"""Names of job type settings: seconds as float, numbers, true or false; exhausted_state "error" or "aborted", on_dependency_failed "abort", "error" or "wait",
rate_limit a RateLimit, fairness_weights a dict by key, payload_schema a dict or JSON text, alert_channels names with commas between them."""


class AdminClient(AccessCalls, BrokerCalls, CertificateCalls, ScheduleCalls, OperationCalls, UserCalls, AlertCalls, GrantCalls, FilterCalls):
    """Calls over several jobs give a result for each. Errors are those of `headrace_client.errors`; a repeated call does no harm."""

    async def list_types(self) -> list[JobType]:
        """All job types of the domain, by name."""
        return [decode.job_type(item) for item in (await self._call(lambda stubs: stubs.admin.ListJobTypes, admin_pb2.ListJobTypesRequest())).types]

    async def get_type(self, name: str) -> JobType:
        """One job type. Raises NotFound."""
        return decode.job_type((await self._call(lambda stubs: stubs.admin.GetJobType, build(admin_pb2.GetJobTypeRequest, name=name))).type)

    async def set_type(self, name: str, *, clear: Sequence[str] = (), reason: str = "", **settings: Any) -> JobType:
        """Changes a person's settings of a type (see SETTINGS for names); `clear` takes some back. The type is made if it is new. `reason` is for the audit."""
        cleared = {"retry" if item in _RETRY else item.removesuffix("_s") if item in _DURATIONS else item for item in clear}
        message = settings_message(settings, await self._retry_now(name, settings))
        request = build(admin_pb2.SetJobTypeRequest, name=name, settings=message, clear=sorted(cleared), reason=reason)
        return decode.job_type((await self._call(lambda stubs: stubs.admin.SetJobType, request)).type)

    async def pause_type(self, name: str, *, reason: str = "") -> JobType:
        """No job of this type is granted until it is resumed, over restarts too; what runs goes on."""
        return await self.set_type(name, reason=reason, paused=True)

    async def resume_type(self, name: str, *, reason: str = "") -> JobType:
        """Jobs of this type are granted again."""
        return await self.set_type(name, reason=reason, paused=False)

    async def preview_retention(
        self, name: str, *, delete_completed_after_s: float | None = None, delete_aborted_after_s: float | None = None, delete_error_after_s: float | None = None,
        clear: Sequence[str] = (), sample: int = 0,
    ) -> RetentionPreview:  # fmt: skip
        """How many settled jobs of a type these settings would delete, and by when; `clear` tries some without the person's word. Changes nothing."""
        given = {
            "delete_completed_after_s": delete_completed_after_s, "delete_aborted_after_s": delete_aborted_after_s, "delete_error_after_s": delete_error_after_s,
        }  # fmt: skip
        settings = {setting: value for setting, value in given.items() if value is not None}
        request = build(
            lifecycle_pb2.PreviewRetentionRequest, type=name, settings=settings_message(settings), clear=[item.removesuffix("_s") for item in clear], sample=sample
        )
        return retention_preview(await self._call(lambda stubs: stubs.lifecycle.PreviewRetention, request))

    async def apply_retention(self, name: str, *, reason: str = "") -> AsyncGenerator[tuple[int, int], None]:
        """Gives settled jobs of a type the delete dates that follow from the settings now in force; yields (looked at, changed) after each part. May be repeated."""
        token, looked_at, changed = "", 0, 0
        while True:
            request = build(lifecycle_pb2.ApplyRetentionRequest, type=name, reason=reason, page_token=token)
            answer = await self._call(lambda stubs: stubs.lifecycle.ApplyRetention, request)
            looked_at, changed, token = looked_at + answer.looked_at, changed + answer.changed, answer.next_page_token
            yield looked_at, changed
            if not token:
                return

    async def pause_domain(self, *, reason: str = "") -> Pause:
        """No job of this client's domain is granted until it is resumed; what runs goes on."""
        return limits.pause((await self._call(lambda stubs: stubs.limits.Pause, build(limits_pb2.PauseRequest, domain=True, reason=reason))).pause)

    async def resume_domain(self, *, reason: str = "") -> bool:
        """Jobs of the domain are granted again; returns whether it was paused."""
        return bool((await self._call(lambda stubs: stubs.limits.Resume, build(limits_pb2.ResumeRequest, domain=True, reason=reason))).resumed)

    async def pause_agent(self, agent: str, *, reason: str = "") -> Pause:
        """Agents of this name, those to come included, are granted nothing until they are resumed; what they run goes on."""
        return limits.pause((await self._call(lambda stubs: stubs.limits.Pause, build(limits_pb2.PauseRequest, agent=agent, reason=reason))).pause)

    async def unpause_agent(self, agent: str, *, reason: str = "") -> bool:
        """Agents of this name are granted jobs again; returns whether they were paused."""
        return bool((await self._call(lambda stubs: stubs.limits.Resume, build(limits_pb2.ResumeRequest, agent=agent, reason=reason))).resumed)

    async def close_breaker(self, name: str, *, reason: str = "") -> bool:
        """Closes the breaker of a type by hand: its jobs are granted again, and what has failed so far is forgotten. Returns whether it was not closed."""
        return bool((await self._call(lambda stubs: stubs.limits.CloseBreaker, build(limits_pb2.CloseBreakerRequest, type=name, reason=reason))).closed)

    async def list_pauses(self) -> list[Pause]:
        """Everything of the domain that is paused, with who and why."""
        return [limits.pause(item) for item in (await self._call(lambda stubs: stubs.limits.ListPauses, limits_pb2.ListPausesRequest())).pauses]

    async def list_domains(self) -> list[DomainInfo]:
        """The domains of which this client may see anything, by name; of all brokers. It needs no right in the domain that it is for."""
        answer = await self._call(lambda stubs: stubs.limits.ListDomains, limits_pb2.ListDomainsRequest())
        return [limits.domain_info(item) for item in answer.domains]

    async def get_domain(self) -> Domain:
        """The limits of this client's domain, and how much of them is used."""
        return limits.domain(await self._call(lambda stubs: stubs.limits.GetDomain, limits_pb2.GetDomainRequest()))

    async def set_domain(self, *, depth_limit: int | None = None, weight: float | None = None, clear: Sequence[str] = (), reason: str = "") -> Domain:
        """Changes limits of the domain: jobs that may wait (0: no limit), and its share against other domains; `clear` takes some back."""
        wanted = build(limits_pb2.DomainLimits, depth_limit=depth_limit, weight=weight)
        await self._call(lambda stubs: stubs.limits.SetDomain, build(limits_pb2.SetDomainRequest, limits=wanted, clear=clear, reason=reason))
        return await self.get_domain()

    async def list_agents(self) -> list[AgentInfo]:
        """Agents that are connected, or awaited."""
        return [decode.agent(item) for item in (await self._call(lambda stubs: stubs.admin.ListAgents, admin_pb2.ListAgentsRequest())).agents]

    async def drain_agent(self, agent: str, *, reason: str = "") -> int:
        """Agents of this name or incarnation finish what runs and get no more; returns how many there are."""
        return int((await self._call(lambda stubs: stubs.admin.DrainAgents, build(admin_pb2.DrainAgentsRequest, agent=agent, reason=reason))).agents)

    async def resume_agent(self, agent: str, *, reason: str = "") -> int:
        """Agents of this name or incarnation get jobs again; returns how many there are."""
        return int((await self._call(lambda stubs: stubs.admin.ResumeAgents, build(admin_pb2.ResumeAgentsRequest, agent=agent, reason=reason))).agents)

    async def list_alerts(self, *, page_size: int = 50, page_token: str = "") -> tuple[list[Alert], str]:
        """(alerts, newest first; token of the next page or empty)."""
        answer = await self._call(lambda stubs: stubs.admin.ListAlerts, build(admin_pb2.ListAlertsRequest, page_size=page_size, page_token=page_token))
        return [decode.alert(item) for item in answer.alerts], answer.next_page_token

    async def list_doors(self) -> list[Door]:
        """Transactions of other programs that have completed jobs of the domain and are not committed, the oldest first."""
        return [decode.door(item) for item in (await self._call(lambda stubs: stubs.doors.ListDoors, doors_pb2.ListDoorsRequest())).doors]

    async def overview(self) -> Overview:
        """The broker and the domain at a glance."""
        return decode.overview(await self._call(lambda stubs: stubs.stats.GetOverview, stats_pb2.GetOverviewRequest()))

    async def advance_clock(self, seconds: float) -> datetime:
        """Sets the clock of a broker that runs with --testing forward; returns what it shows then. Raises InvalidState at any other broker."""
        request = build(testing_pb2.AdvanceClockRequest, by=duration("seconds", seconds))
        return to_datetime((await self._call(lambda stubs: stubs.testing.AdvanceClock, request, repeatable=False)).now)

    async def trend(
        self, *, types: Sequence[str] = (), since: datetime | None = None, until: datetime | None = None, step_s: float | None = None, by: str = "",
    ) -> Trend:  # fmt: skip
        """What happened from `since` (default: a day before the end) to `until` (default: now), and a week earlier. `by`: "", "type" or "agent" gives a series for each.

        `step_s`: 60, 300, 900, 3600, 21600, 86400 or 604800 seconds a point; default: about 180 points.
        """
        request = build(
            stats_pb2.GetTrendRequest, types=types, by=by, step=duration("step_s", step_s), to=timestamp("until", until), **{"from": timestamp("since", since)}
        )
        return trends.trend(await self._call(lambda stubs: stubs.stats.GetTrend, request))

    async def capacity(self, *, types: Sequence[str] = (), window_s: float | None = None, wished_wait_s: float | None = None) -> list[TypeCapacity]:
        """Demand against slots by type over the last `window_s` (default 900), and how many agents a mean wait of `wished_wait_s` (default 10) asks for."""
        request = build(stats_pb2.GetCapacityRequest, types=types, window=duration("window_s", window_s), wished_wait=duration("wished_wait_s", wished_wait_s))
        return [trends.capacity(item) for item in (await self._call(lambda stubs: stubs.stats.GetCapacity, request)).types]

    async def forecast(
        self, *, types: Sequence[str] = (), hours: int = 24, window_s: float | None = None, wished_wait_s: float | None = None, more_slots: int = 0,
        arrivals_factor: float = 1.0, work_factor: float = 1.0,
    ) -> Forecast:  # fmt: skip
        """What the next `hours` bring to the types as one queue, if there were `more_slots`, and arrivals and running times were the present ones times a factor.

        Demand at present is that of the last `window_s` (default 900); slots are such that the mean wait is at most `wished_wait_s` (default 10).
        """
        request = build(
            stats_pb2.GetForecastRequest, types=types, hours=hours, window=duration("window_s", window_s), wished_wait=duration("wished_wait_s", wished_wait_s),
            more_slots=more_slots, arrivals_factor=arrivals_factor, work_factor=work_factor,
        )  # fmt: skip
        return trends.forecast(await self._call(lambda stubs: stubs.stats.GetForecast, request))

    async def set_instance_priority(self, instance_id: str, priority: int, *, reason: str = "") -> Rescore:
        """Sets what an instance adds to the score of its jobs; 0: nothing. How far its waiting jobs have followed; ask on with `list_rescores`."""
        request = build(instances_pb2.SetInstancePriorityRequest, instance_id=instance_id, priority=priority, reason=reason)
        return instances.rescore((await self._call(lambda stubs: stubs.instances.SetInstancePriority, request)).rescore)

    async def list_instance_priorities(self, *, page_size: int = 50, page_token: str = "") -> tuple[list[InstancePriority], str]:
        """(instances that have a priority, by name; token of the next page or empty)."""
        request = build(instances_pb2.ListInstancePrioritiesRequest, page_size=page_size, page_token=page_token)
        answer = await self._call(lambda stubs: stubs.instances.ListInstancePriorities, request)
        return [instances.instance_priority(item) for item in answer.instances], answer.next_page_token

    async def list_rescores(self, *, number: int = 0, page_size: int = 50) -> list[Rescore]:
        """The newest changes of priorities of types and instances, and how many of the jobs that waited have followed; or one of them."""
        request = build(instances_pb2.ListRescoresRequest, number=number, page_size=page_size)
        return [instances.rescore(item) for item in (await self._call(lambda stubs: stubs.instances.ListRescores, request)).rescores]

    async def _retry_now(self, name: str, settings: dict[str, Any]) -> dict[str, Any]:
        """The retry rule in force, when some but not all of it is to change: the wire takes the rule as a whole."""
        if not any(item in settings for item in _RETRY) or all(item in settings for item in _RETRY):
            return {}
        known = {item.name: item.effective for item in await self.list_types()}
        return known.get(name, {"retry_delay_s": 5.0, "retry_factor": 2.0, "retry_max_s": 600.0, "retry_jitter": 0.2})


def settings_message(settings: dict[str, Any], retry_now: dict[str, Any] | None = None) -> types_pb2.JobTypeSettings:
    """The message of some settings. Raises InvalidRequest for unknown names and wrong types."""
    message = types_pb2.JobTypeSettings()
    retry = {item: (retry_now or {}).get(item) for item in _RETRY} | {name: value for name, value in settings.items() if name in _RETRY}
    for name, value in settings.items():
        if name not in SETTINGS:
            raise InvalidRequest(f"there is no setting {name!r}; the settings are {', '.join(SETTINGS)}", details={"field": name})
        try:
            if name in _DURATIONS:
                getattr(message, name.removesuffix("_s")).CopyFrom(to_duration(value))
            elif name == "exhausted_state":
                message.exhausted_state = STATE_NUMBERS[str(value)]  # type: ignore[assignment]  # enum numbers
            elif name == "rate_limit":
                message.rate_limit.count, message.rate_limit.burst = value.count, value.burst
                message.rate_limit.per.CopyFrom(to_duration(value.per_s))
            elif name == "fairness_weights":
                message.fairness_weights.SetInParent()
                message.fairness_weights.weights.update(value)
            elif name == "on_dependency_failed":
                message.on_dependency_failed = DEPENDENCY_POLICY_NUMBERS[str(value)]  # type: ignore[assignment]  # enum numbers
            elif name == "payload_schema":
                message.payload_schema = value if isinstance(value, str) else json.dumps(value, allow_nan=False)
            elif name not in _RETRY:
                setattr(message, name, value)
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError) as error:
            raise InvalidRequest(f"setting {name}: {value!r} does not fit", details={"field": name}) from error
    if any(name in settings for name in _RETRY):
        defaults = {"retry_delay_s": 5.0, "retry_factor": 2.0, "retry_max_s": 600.0, "retry_jitter": 0.2}
        try:
            full = {name: defaults[name] if value is None else float(value) for name, value in retry.items()}
            message.retry.delay.CopyFrom(to_duration(full["retry_delay_s"]))
            message.retry.max.CopyFrom(to_duration(full["retry_max_s"]))
            message.retry.factor, message.retry.jitter = full["retry_factor"], full["retry_jitter"]
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidRequest(f"the rule for retries does not fit: {error}", details={"field": "retry"}) from error
    return message
