"""The Limits service: pauses, breakers, and the limits of a domain."""

from typing import Any

from headrace_proto.v1 import limits_pb2, types_pb2
from headrace_proto.wire import to_timestamp

from headrace_broker.actions import reach
from headrace_broker.model.errors import InvalidField, TypeNotFound
from headrace_broker.model.permissions import Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.callers import caller_of
from headrace_broker.shards import reception
from headrace_broker.shards.breakers import Standing
from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.settings import Pause

MAX_DEPTH = 1_000_000_000
CLEARABLE = ("depth_limit", "weight")


class LimitsService:
    """See the module."""

    def __init__(self, ownership: Ownership) -> None:
        self._ownership = ownership

    async def Pause(self, request: limits_pb2.PauseRequest, context: Any) -> limits_pb2.PauseResponse:  # noqa: N802
        owner, caller = self._ownership.owner, caller_of(context)
        domain, reason = caller.domain, convert.text("reason", request.reason, convert.MAX_REASON)
        kind, name = _target(request)
        _allowed(kind, name)
        if kind == "type":
            entry = await owner.types.ensure(domain, name)
            await owner.types.override(entry, {"paused": True}, [], caller=caller, reason=reason)
        else:
            await owner.types.pause(domain, kind, name, caller=caller, reason=reason)
        reception.review_pauses(owner)
        made = Pause(domain, kind, name, caller.shown, reason, owner.clock.now())  # somebody may have resumed it meanwhile
        return limits_pb2.PauseResponse(pause=pause_message(owner.types.look(domain).pauses.get((kind, name), made)))

    async def Resume(self, request: limits_pb2.ResumeRequest, context: Any) -> limits_pb2.ResumeResponse:  # noqa: N802
        owner, caller = self._ownership.owner, caller_of(context)
        domain, reason = caller.domain, convert.text("reason", request.reason, convert.MAX_REASON)
        kind, name = _target(request)
        _allowed(kind, name)
        if kind == "type":
            entry = owner.types.find(domain, name)
            if entry is None:
                raise TypeNotFound(name)
            resumed = entry.settings.paused
            await owner.types.override(entry, {"paused": False}, [], caller=caller, reason=reason)
        else:
            resumed = await owner.types.resume(domain, kind, name, caller=caller, reason=reason)
        reception.review_pauses(owner)
        return limits_pb2.ResumeResponse(resumed=resumed)

    async def CloseBreaker(self, request: limits_pb2.CloseBreakerRequest, context: Any) -> limits_pb2.CloseBreakerResponse:  # noqa: N802
        owner, caller = self._ownership.owner, caller_of(context)
        reason, name = convert.text("reason", request.reason, convert.MAX_REASON), convert.type_name("type", request.type)
        reach.require(Act.EDIT_SETTINGS, name, "type")
        entry = owner.types.find(caller.domain, name)
        if entry is None:
            raise TypeNotFound(name)
        return limits_pb2.CloseBreakerResponse(closed=await owner.breakers.close(self._ownership.breaker_store, entry, caller=caller, reason=reason))

    async def ListPauses(self, request: limits_pb2.ListPausesRequest, context: Any) -> limits_pb2.ListPausesResponse:  # noqa: N802
        pauses = self._ownership.owner.types.look(convert.domain_of(context)).pauses
        return limits_pb2.ListPausesResponse(pauses=[pause_message(pause) for _, pause in sorted(pauses.items())])

    async def ListDomains(self, request: limits_pb2.ListDomainsRequest, context: Any) -> limits_pb2.ListDomainsResponse:  # noqa: N802
        convert.domain_of(context)
        types = self._ownership.owner.types  # of all shards
        stored = {name for name, domain in types.domains.items() if domain.domain_id} | {entry.domain for entry in types.by_id.values()}
        return limits_pb2.ListDomainsResponse(domains=[_info(types.look(name)) for name in sorted(stored) if reach.sees_domain(name)])

    async def GetDomain(self, request: limits_pb2.GetDomainRequest, context: Any) -> limits_pb2.GetDomainResponse:  # noqa: N802
        owner = self._ownership.owner
        domain = owner.types.look(convert.domain_of(context))
        pause = domain.pauses.get(("domain", ""))
        return limits_pb2.GetDomainResponse(
            name=domain.name, limits=_limits(domain), waiting=owner.depth.waiting_in(domain), pause=pause_message(pause) if pause is not None else None
        )

    async def SetDomain(self, request: limits_pb2.SetDomainRequest, context: Any) -> limits_pb2.SetDomainResponse:  # noqa: N802
        owner, caller, wanted = self._ownership.owner, caller_of(context), request.limits
        values: dict[str, float] = {}
        if wanted.HasField("depth_limit"):
            if wanted.depth_limit > MAX_DEPTH:
                raise InvalidField("limits.depth_limit", f"at most {MAX_DEPTH:,}, found {wanted.depth_limit}")
            values["depth_limit"] = wanted.depth_limit
        if wanted.HasField("weight"):
            if not 0.001 <= wanted.weight <= 1000:
                raise InvalidField("limits.weight", f"between 0.001 and 1000, found {wanted.weight!r}")
            values["weight"] = wanted.weight
        for index, name in enumerate(request.clear):
            if name not in CLEARABLE:
                raise InvalidField(f"clear[{index}]", f"there is no limit {name!r}; the limits are {', '.join(CLEARABLE)}")
        reason = convert.text("reason", request.reason, convert.MAX_REASON)
        domain = await owner.types.set_domain(caller.domain, values, list(request.clear), caller=caller, reason=reason)
        owner.wake.set()
        return limits_pb2.SetDomainResponse(limits=_limits(domain))


def pause_message(pause: Pause) -> types_pb2.Pause:
    """A pause as a message."""
    return types_pb2.Pause(kind=pause.kind, name=pause.name or pause.domain, actor=pause.actor, reason=pause.reason, at=to_timestamp(pause.at))


def breaker_message(standing: Standing) -> types_pb2.Breaker:
    """A breaker as a message."""
    message = types_pb2.Breaker(
        phase=standing.phase.value, step=standing.step, ended=standing.ended, failed=standing.failed, running=standing.running, completed=standing.completed,
        openings=standing.openings,
    )  # fmt: skip
    if standing.since_s is not None:
        message.since.CopyFrom(to_timestamp(standing.since_s))
    if standing.until_s is not None:
        message.until.CopyFrom(to_timestamp(standing.until_s))
    return message


def _target(request: limits_pb2.PauseRequest | limits_pb2.ResumeRequest) -> tuple[str, str]:
    """(kind, name) of what is to be paused or resumed."""
    kind = request.WhichOneof("target")
    if kind == "type":
        return kind, convert.type_name("type", request.type)
    if kind == "agent":
        return kind, convert.text("agent", request.agent, required=True)
    if kind == "domain" and request.domain:
        return kind, ""
    raise InvalidField("target", "name a type or an agent, or set domain to true")


def _allowed(kind: str, name: str) -> None:
    """Raises TypeDenied unless the call may pause and resume it: one type, or with a right for all types an agent or the domain."""
    if kind == "type":
        reach.require(Act.EDIT_SETTINGS, name, "type")
    else:
        reach.require_all(Act.MANAGE_AGENTS if kind == "agent" else Act.EDIT_SETTINGS)


def _info(domain: DomainEntry) -> limits_pb2.DomainInfo:
    pause = domain.pauses.get(("domain", ""))
    return limits_pb2.DomainInfo(name=domain.name, limits=_limits(domain), pause=pause_message(pause) if pause is not None else None)


def _limits(domain: DomainEntry) -> limits_pb2.DomainLimits:
    return limits_pb2.DomainLimits(depth_limit=domain.depth_limit or 0, weight=domain.weight)
