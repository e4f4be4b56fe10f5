"""The Admin service: what operators do to jobs, job types and agents; and the Stats service's overview."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace_proto.v1 import admin_pb2, types_pb2
from headrace_proto.wire import to_duration, to_timestamp

from headrace_broker.actions import changing, reach, reachable
from headrace_broker.actions.agents import hold_back, serving
from headrace_broker.actions.reads import JobReads
from headrace_broker.model.errors import InvalidField, TypeNotFound
from headrace_broker.model.ids import MAX_ID
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.rpc.errors import reason_of, status_code
from headrace_broker.rpc.jobs import state_counts
from headrace_broker.rpc.limits import breaker_message, pause_message
from headrace_broker.shards.intents import Change, Verb
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.ownership import Ownership
from headrace_broker.shards.session import Session
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.reads import Reads

MAX_GRACE_S = 86_400.0
DEFAULT_GRACE_S = 30.0


class AdminService:
    """See the module."""

    def __init__(self, ownership: Ownership, reads: Reads, audit: AuditStore, payload_limit: int) -> None:
        self._ownership = ownership
        self._reads = reads
        self._audit = audit
        self._payload_limit = payload_limit

    async def RequeueJobs(self, request: admin_pb2.RequeueJobsRequest, context: Any) -> admin_pb2.RequeueJobsResponse:  # noqa: N802
        payload = convert.new_payload(request, self._payload_limit)
        if request.HasField("grace") and not request.abort_first:
            raise InvalidField("grace", "it belongs to abort_first; set both")
        done = await self._change(
            Verb.REQUEUE, request.job_ids, request.reason, context, include_completed=request.include_completed, abort_first=request.abort_first,
            grace_s=_grace_s(request), payload=payload, content_type=convert.text("content_type", request.content_type, 100),
        )  # fmt: skip
        return admin_pb2.RequeueJobsResponse(results=results(done))

    async def AbortJobs(self, request: admin_pb2.AbortJobsRequest, context: Any) -> admin_pb2.AbortJobsResponse:  # noqa: N802
        done = await self._change(Verb.ABORT, request.job_ids, request.reason, context, grace_s=_grace_s(request), force=request.force)
        return admin_pb2.AbortJobsResponse(results=results(done))

    async def PurgeJobs(self, request: admin_pb2.PurgeJobsRequest, context: Any) -> admin_pb2.PurgeJobsResponse:  # noqa: N802
        return admin_pb2.PurgeJobsResponse(results=results(await self._change(Verb.PURGE, request.job_ids, request.reason, context)))

    async def _change(self, verb: Verb, job_ids: Any, reason: str, context: Any, **options: Any) -> list[Change]:
        return await changing.change(
            self._ownership.owner, self._ownership.heads, verb, convert.job_ids("job_ids", job_ids), caller=caller_of(context),
            reason=convert.text("reason", reason, convert.MAX_REASON), **options,
        )  # fmt: skip

    async def ListJobTypes(self, request: admin_pb2.ListJobTypesRequest, context: Any) -> admin_pb2.ListJobTypesResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        counts, agents = owner.counts(domain), serving(owner)
        types = [_type(owner, entry, counts.get(entry.name, {}), agents) for entry in reachable.entries(owner, domain, Act.OVERSEE)]
        return admin_pb2.ListJobTypesResponse(types=types)

    async def GetJobType(self, request: admin_pb2.GetJobTypeRequest, context: Any) -> admin_pb2.GetJobTypeResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        entry = owner.types.find(domain, convert.type_name("name", request.name))
        if entry is None or not reach.types_for(Act.OVERSEE).allow(entry.name):
            raise TypeNotFound(request.name)
        return admin_pb2.GetJobTypeResponse(type=_type(owner, entry, owner.counts(domain).get(entry.name, {}), serving(owner)))

    async def SetJobType(self, request: admin_pb2.SetJobTypeRequest, context: Any) -> admin_pb2.SetJobTypeResponse:  # noqa: N802
        owner, caller = self._ownership.owner, caller_of(context)
        domain, reason = caller.domain, convert.text("reason", request.reason, convert.MAX_REASON)
        name = convert.type_name("name", request.name)
        reach.require(Act.EDIT_SETTINGS, name, "name")
        values = convert.settings_values("settings", request.settings)
        clear: list[str] = []
        for index, setting in enumerate(request.clear):
            if setting not in convert.CLEARABLE:
                raise InvalidField(f"clear[{index}]", f"there is no setting {setting!r}; the settings are {', '.join(convert.CLEARABLE)}")
            clear += convert.CLEARABLE[setting]
        entry = await owner.types.ensure(domain, name)
        await owner.types.override(entry, values, clear, caller=caller, reason=reason)
        owner.breakers.review()
        owner.wake.set()
        if "priority" in values or "priority" in clear:
            self._ownership.rescores.type(entry, owner.counts(domain).get(entry.name, {}).get(State.WAITING, 0))
        return admin_pb2.SetJobTypeResponse(type=_type(owner, entry, owner.counts(domain).get(entry.name, {}), serving(owner)))

    async def ListAgents(self, request: admin_pb2.ListAgentsRequest, context: Any) -> admin_pb2.ListAgentsResponse:  # noqa: N802
        owner, domain = self._ownership.owner, convert.domain_of(context)
        sessions = sorted((s for s in owner.sessions() if s.facts.domain == domain and _seen(s)), key=lambda s: (s.facts.name, s.facts.incarnation_id))
        return admin_pb2.ListAgentsResponse(agents=[_agent(owner, session) for session in sessions])

    async def DrainAgents(self, request: admin_pb2.DrainAgentsRequest, context: Any) -> admin_pb2.DrainAgentsResponse:  # noqa: N802
        return admin_pb2.DrainAgentsResponse(agents=await self._hold_back(request, context, held_back=True))

    async def ResumeAgents(self, request: admin_pb2.ResumeAgentsRequest, context: Any) -> admin_pb2.ResumeAgentsResponse:  # noqa: N802
        return admin_pb2.ResumeAgentsResponse(agents=await self._hold_back(request, context, held_back=False))

    async def _hold_back(self, request: admin_pb2.DrainAgentsRequest | admin_pb2.ResumeAgentsRequest, context: Any, *, held_back: bool) -> int:
        caller, reason = caller_of(context), convert.text("reason", request.reason, convert.MAX_REASON)
        name = convert.text("agent", request.agent, required=True)
        return len(await hold_back(self._ownership.owner, self._audit, name, held_back=held_back, caller=caller, reason=reason))

    async def ListAlerts(self, request: admin_pb2.ListAlertsRequest, context: Any) -> admin_pb2.ListAlertsResponse:  # noqa: N802
        owner = self._ownership.owner
        limit = convert.page_size(request.page_size, 50, 1000)
        token = convert.page_token(request.page_token, "alerts", MAX_ID)
        alerts = await JobReads(owner, self._reads).alerts(convert.domain_of(context), below=min(MAX_ID, *token, MAX_ID), limit=limit)
        found = [
            admin_pb2.Alert(
                alert_id=a.alert_id, at=to_timestamp(a.at), kind=a.kind, job_id=a.job_id, type=owner.types.by_id[a.type_id].name,
                instance_id=a.instance_id or "", error=convert.error_message(a.error),
            )
            for a in alerts
        ]  # fmt: skip
        convert.shorten(found)
        more = convert.make_token("alerts", alerts[-1].alert_id) if len(alerts) == limit else ""
        return admin_pb2.ListAlertsResponse(alerts=found, next_page_token=more)


def _grace_s(request: admin_pb2.AbortJobsRequest | admin_pb2.RequeueJobsRequest) -> float:
    return convert.seconds("grace", request.grace, MAX_GRACE_S) if request.HasField("grace") else DEFAULT_GRACE_S


def results(done: Sequence[Change]) -> list[admin_pb2.JobResult]:
    """What became of each job of a call."""
    messages = []
    for change in done:
        message = admin_pb2.JobResult(job_id=change.job_id, ok=change.error is None)
        if change.state is not None and change.state is not State.GONE:
            message.state = int(change.state)  # type: ignore[assignment]  # enum numbers
        if change.error is not None:
            message.code, message.reason, message.message = status_code(reason_of(change.error)).value[0], reason_of(change.error), str(change.error)
        messages.append(message)
    return messages


def _type(owner: Owner, entry: TypeEntry, counts: dict[State, int], agents: Mapping[int, int]) -> types_pb2.JobType:
    """`agents`: how many serve each type."""
    pause, breaker = entry.pause if entry.halted else None, owner.breakers.standing(entry)
    return types_pb2.JobType(
        name=entry.name, effective=convert.settings_in_force(entry.settings), declared=convert.settings_message(entry.declared),
        overrides=convert.settings_message(entry.overrides), counts=state_counts(counts), agents=agents.get(entry.type_id, 0),
        pause=pause_message(pause) if pause is not None else None, running=owner.caps.running(owner, entry),
        breaker=breaker_message(breaker) if breaker is not None else None,
    )  # fmt: skip


def _seen(session: Session) -> bool:
    """Whether the call may see the agent: one that serves a type that it may see."""
    types = reach.types_for(Act.OVERSEE)
    return types.everything or any(types.allow(served.entry.name) for served in session.served.values())


def _agent(owner: Owner, session: Session) -> admin_pb2.AgentInfo:
    facts, seen = session.facts, reach.types_for(Act.OVERSEE)
    pause = owner.types.domain(facts.domain).pauses.get(("agent", facts.name))
    return admin_pb2.AgentInfo(
        name=facts.name, incarnation_id=facts.incarnation_id, host=facts.host, pid=facts.pid, build=facts.build, sdk=facts.sdk, labels=facts.labels,
        types=[admin_pb2.AgentType(type=s.entry.name, slots=s.slots, executor=s.executor) for s in session.served.values() if seen.allow(s.entry.name)],
        slots=session.slots, slots_in_use=len(session.leases), connected=session.stream is not None, draining=session.draining or session.held_back,
        connected_at=to_timestamp(facts.first_seen), silent_for=to_duration(max(0.0, owner.silent_s(session))),
        pause=pause_message(pause) if pause is not None else None,
    )  # fmt: skip
