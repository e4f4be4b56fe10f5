"""Who may call what: the one table, and the check that every call passes when the broker wants tokens.

A call's token is looked up in memory (`actions/tokens.py`), and so are the certificate of its connection (`peers.py`) and what either was granted (`actions/grants.py`).
Whoever shows both may do what both allow: a token that was stolen is worth nothing on another machine, and a machine's certificate no more than the token of who works
there. Calls that last end with either, and with the right to make them.
"""

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from headrace_proto.wire import DOMAIN_KEY, TOKEN_KEY

from headrace_broker.actions import reach
from headrace_broker.actions.grants import GrantTable
from headrace_broker.actions.reach import MAY, May, Principal, principal_of
from headrace_broker.actions.tokens import Credential, TokenTable
from headrace_broker.model.access import Identity, Role
from headrace_broker.model.errors import BrokerError, DomainDenied, NotOwner, RoleDenied, TokenEnded, TokenMissing, TypeDenied
from headrace_broker.model.permissions import EVERY, ROLE_ACTS, Act
from headrace_broker.rpc import convert
from headrace_broker.rpc.attest import ATTESTED_KEY, attested
from headrace_broker.rpc.peers import Holder, Peers, identity_of
from headrace_broker.store.tokens import TokenRow


@dataclass(frozen=True, slots=True)
class Need:
    """What a call needs. `act` None: any right at all in the domain. `by_type`: the call asks for the type of each job itself, so that a right for some types is
    enough to make it; without, the right must be one for all types. `anywhere`: the call asks for each domain itself, and the one that it names does not matter."""

    act: Act | None
    by_type: bool = False
    anywhere: bool = False

    def __contains__(self, role: Role) -> bool:
        """Whether the role alone is enough."""
        return self.anywhere or self.act in ROLE_ACTS[role] or (self.act is None and bool(ROLE_ACTS[role]))


READ = Need(Act.VIEW)
SUBMIT = Need(Act.SUBMIT)
SERVE = Need(Act.SERVE)
OVERSEE = Need(Act.OVERSEE)
OPERATE = Need(Act.OPERATE)
ADMINISTER = Need(Act.MANAGE_ACCESS)
ANYBODY = Need(None, by_type=True)


def _typed(act: Act) -> Need:
    return Need(act, by_type=True)


LEAST: dict[str, Need] = {
    "/headrace.v1.Jobs/Submit": _typed(Act.SUBMIT),
    "/headrace.v1.Jobs/SubmitMany": _typed(Act.SUBMIT),
    "/headrace.v1.Jobs/SubmitStream": _typed(Act.SUBMIT),
    "/headrace.v1.Jobs/GetJob": _typed(Act.VIEW),
    "/headrace.v1.Jobs/ListJobs": _typed(Act.VIEW),
    "/headrace.v1.Jobs/CountJobs": _typed(Act.VIEW),
    "/headrace.v1.Jobs/WaitJob": _typed(Act.VIEW),
    "/headrace.v1.Jobs/ExplainJob": _typed(Act.VIEW),
    "/headrace.v1.Jobs/WatchJobs": _typed(Act.VIEW),
    "/headrace.v1.Jobs/ListAttempts": _typed(Act.VIEW),
    "/headrace.v1.Jobs/ListEvents": _typed(Act.VIEW),
    "/headrace.v1.Jobs/ListLogs": _typed(Act.VIEW),
    "/headrace.v1.Agents/Connect": _typed(Act.SERVE),
    "/headrace.v1.Agents/ReportOutcomes": _typed(Act.SERVE),
    "/headrace.v1.Agents/UploadLogs": _typed(Act.SERVE),
    "/headrace.v1.Admin/RequeueJobs": _typed(Act.REQUEUE),
    "/headrace.v1.Admin/AbortJobs": _typed(Act.ABORT),
    "/headrace.v1.Admin/PurgeJobs": _typed(Act.PURGE),
    "/headrace.v1.Admin/ListJobTypes": _typed(Act.OVERSEE),
    "/headrace.v1.Admin/GetJobType": _typed(Act.OVERSEE),
    "/headrace.v1.Admin/SetJobType": _typed(Act.EDIT_SETTINGS),
    "/headrace.v1.Admin/ListAgents": _typed(Act.OVERSEE),
    "/headrace.v1.Admin/DrainAgents": _typed(Act.MANAGE_AGENTS),
    "/headrace.v1.Admin/ResumeAgents": _typed(Act.MANAGE_AGENTS),
    "/headrace.v1.Admin/ListAlerts": _typed(Act.OVERSEE),
    "/headrace.v1.Doors/ListDoors": OVERSEE,
    "/headrace.v1.Alerts/PutChannel": Need(Act.MANAGE_CHANNELS),
    "/headrace.v1.Alerts/ListChannels": OVERSEE,
    "/headrace.v1.Alerts/DeleteChannel": Need(Act.MANAGE_CHANNELS),
    "/headrace.v1.Alerts/TestChannel": Need(Act.MANAGE_ALERTS),
    "/headrace.v1.Alerts/PutRule": Need(Act.MANAGE_ALERTS),
    "/headrace.v1.Alerts/ListRules": OVERSEE,
    "/headrace.v1.Alerts/DeleteRule": Need(Act.MANAGE_ALERTS),
    "/headrace.v1.Alerts/AddSilence": Need(Act.MANAGE_ALERTS),
    "/headrace.v1.Alerts/ListSilences": OVERSEE,
    "/headrace.v1.Alerts/EndSilence": Need(Act.MANAGE_ALERTS),
    "/headrace.v1.Alerts/ListAlertGroups": OVERSEE,
    "/headrace.v1.Stats/GetOverview": _typed(Act.OVERSEE),
    "/headrace.v1.Stats/GetTrend": _typed(Act.OVERSEE),
    "/headrace.v1.Stats/GetCapacity": _typed(Act.OVERSEE),
    "/headrace.v1.Stats/GetForecast": _typed(Act.OVERSEE),
    "/headrace.v1.Logs/TailLogs": _typed(Act.VIEW),
    "/headrace.v1.Graph/GetGraph": _typed(Act.VIEW),
    "/headrace.v1.Graph/ListDependencies": _typed(Act.VIEW),
    "/headrace.v1.Graph/CreateBatch": _typed(Act.SUBMIT),
    "/headrace.v1.Graph/SealBatch": _typed(Act.SUBMIT),
    "/headrace.v1.Graph/GetBatch": _typed(Act.VIEW),
    "/headrace.v1.Lifecycle/UpdateJobs": _typed(Act.UPDATE),
    "/headrace.v1.Lifecycle/RequeueDescendants": _typed(Act.REQUEUE),
    "/headrace.v1.Lifecycle/ListRuns": _typed(Act.VIEW),
    "/headrace.v1.Lifecycle/ListPayloads": _typed(Act.VIEW),
    "/headrace.v1.Lifecycle/GetPayload": _typed(Act.VIEW_DATA),
    "/headrace.v1.Lifecycle/PreviewRetention": _typed(Act.OVERSEE),
    "/headrace.v1.Lifecycle/ApplyRetention": _typed(Act.EDIT_SETTINGS),
    "/headrace.v1.Limits/Pause": _typed(Act.EDIT_SETTINGS),
    "/headrace.v1.Limits/Resume": _typed(Act.EDIT_SETTINGS),
    "/headrace.v1.Limits/CloseBreaker": _typed(Act.EDIT_SETTINGS),
    "/headrace.v1.Limits/ListPauses": OVERSEE,
    "/headrace.v1.Limits/ListDomains": Need(None, by_type=True, anywhere=True),
    "/headrace.v1.Limits/GetDomain": OVERSEE,
    "/headrace.v1.Limits/SetDomain": Need(Act.MANAGE_DOMAIN),
    "/headrace.v1.Schedules/PutSchedule": _typed(Act.MANAGE_SCHEDULES),
    "/headrace.v1.Schedules/GetSchedule": _typed(Act.OVERSEE),
    "/headrace.v1.Schedules/ListSchedules": _typed(Act.OVERSEE),
    "/headrace.v1.Schedules/PauseSchedule": _typed(Act.MANAGE_SCHEDULES),
    "/headrace.v1.Schedules/ResumeSchedule": _typed(Act.MANAGE_SCHEDULES),
    "/headrace.v1.Schedules/RunSchedule": _typed(Act.MANAGE_SCHEDULES),
    "/headrace.v1.Schedules/DeleteSchedule": _typed(Act.MANAGE_SCHEDULES),
    "/headrace.v1.Operations/PreviewOperation": _typed(Act.OVERSEE),
    "/headrace.v1.Operations/StartOperation": _typed(Act.OPERATE),
    "/headrace.v1.Operations/GetOperation": _typed(Act.OVERSEE),
    "/headrace.v1.Operations/ListOperations": _typed(Act.OVERSEE),
    "/headrace.v1.Operations/ListSkippedJobs": _typed(Act.OVERSEE),
    "/headrace.v1.Operations/SetOperationRate": _typed(Act.OPERATE),
    "/headrace.v1.Operations/StopOperation": _typed(Act.OPERATE),
    "/headrace.v1.Operations/ResumeOperation": _typed(Act.OPERATE),
    "/headrace.v1.Filters/ListFilters": _typed(Act.VIEW),
    "/headrace.v1.Filters/GetFilter": _typed(Act.VIEW),
    "/headrace.v1.Filters/SaveFilter": _typed(Act.VIEW),
    "/headrace.v1.Filters/DeleteFilter": _typed(Act.VIEW),
    "/headrace.v1.Testing/AdvanceClock": Need(Act.MANAGE_DOMAIN),
    "/headrace.v1.Instances/SetInstancePriority": Need(Act.UPDATE),
    "/headrace.v1.Instances/ListInstancePriorities": OVERSEE,
    "/headrace.v1.Instances/ListRescores": OVERSEE,
    "/headrace.v1.Access/CreateToken": ADMINISTER,
    "/headrace.v1.Access/ListTokens": ADMINISTER,
    "/headrace.v1.Access/RotateToken": ADMINISTER,
    "/headrace.v1.Access/RevokeToken": ADMINISTER,
    "/headrace.v1.Grants/AddGrant": _typed(Act.MANAGE_ACCESS),
    "/headrace.v1.Grants/EndGrant": _typed(Act.MANAGE_ACCESS),
    "/headrace.v1.Grants/ListGrants": _typed(Act.MANAGE_ACCESS),
    "/headrace.v1.Grants/CheckAccess": ANYBODY,
    "/headrace.v1.Brokers/ListBrokers": OVERSEE,
    "/externalscaler.ExternalScaler/IsActive": _typed(Act.OVERSEE),
    "/externalscaler.ExternalScaler/StreamIsActive": _typed(Act.OVERSEE),
    "/externalscaler.ExternalScaler/GetMetricSpec": _typed(Act.OVERSEE),
    "/externalscaler.ExternalScaler/GetMetrics": _typed(Act.OVERSEE),
    "/headrace.v1.Certificates/RevokeCertificate": ADMINISTER,
    "/headrace.v1.Certificates/ListRevokedCertificates": ADMINISTER,
    "/headrace.v1.Users/PutUser": ADMINISTER,
    "/headrace.v1.Users/ListUsers": ADMINISTER,
    "/headrace.v1.Users/InviteUser": ADMINISTER,
    "/headrace.v1.Users/SetUserPassword": ADMINISTER,
    "/headrace.v1.Users/DisableUser": ADMINISTER,
    "/headrace.v1.Users/EnableUser": ADMINISTER,
    "/headrace.v1.Users/EndUserSessions": ADMINISTER,
    "/headrace.v1.Access/ListAudit": Need(Act.VIEW_AUDIT),
    "/headrace.v1.Access/ExportAudit": Need(Act.VIEW_AUDIT),
}
"""What each call needs. A call without a row is refused to everybody; a test sees to it that there is none."""

LONG = frozenset({"/headrace.v1.Jobs/WaitJob", "/headrace.v1.Operations/GetOperation"})
"""Calls with one answer that may be long in coming: they end with their token, as streams do."""

TOKEN: ContextVar[TokenRow | Identity | None] = ContextVar("TOKEN", default=None)
"""Who makes the call that is being served: its token, or else its certificate; None: this broker wants neither."""
IDENTITY: ContextVar[Identity | None] = ContextVar("IDENTITY", default=None)
"""Whom the certificate of the connection names, whoever makes the call; None: nobody."""


class Gate:
    """Checks each call; `Guard` asks it before anything of the request is looked at. `peers` None: connections show no certificates.

    `required` False: certificates that were revoked are refused, and nothing else is asked.
    """

    def __init__(self, tokens: TokenTable, grants: GrantTable, peers: Peers | None = None, *, required: bool = True, key: bytes = b"") -> None:
        """`key`: with which other brokers attest whom they pass on calls of."""
        self._tokens = tokens
        self._grants = grants
        self._peers = peers
        self._key = key
        self._required = required

    async def admit(self, method: str, context: Any) -> "Admitted":
        """What the call came with, all of it good, and allowed to make it: who makes it is `TOKEN` from now on, and what it may do is `reach.MAY`.

        Raises:
            TokenMissing, TokenInvalid, CertificateInvalid, DomainDenied, RoleDenied, TypeDenied, DatabaseUnavailable (it cannot be told yet), InvalidField (it names two
            domains).
        """
        holder = self._peers.holder(context.auth_context()) if self._peers is not None else None
        if not self._required:
            return Admitted((holder,) if holder is not None else (), None, method, self._grants)
        await self._grants.known()
        header, domain, sealed, metadata = "", convert.named_domain(context), None, context.invocation_metadata() or ()
        for key, value in metadata:
            if key == TOKEN_KEY:
                header = str(value)
            elif key == ATTESTED_KEY:
                sealed = bytes(value)
        if sealed is not None and self._peers is not None:
            holder = self._passed_on(method, metadata, sealed)
        principals: list[Principal] = []
        credentials: list[Credential] = []
        if holder is not None:
            credentials.append(holder)
            if holder.identity is not None:
                principals.append(principal_of(holder.identity))
                IDENTITY.set(holder.identity)
        await self._find(header, holder, principals, credentials)
        need = LEAST.get(method)
        may = May(self._grants, principals, domain, need.act if need is not None else None, whole=need is not None and not need.by_type)
        allow(may, need, method)
        MAY.set(may)
        return Admitted(tuple(credentials), may, method, self._grants)

    def _passed_on(self, method: str, metadata: Any, sealed: bytes) -> Holder | None:
        """Whom the caller's certificate named at the broker that passed the call on. That broker looks whether it stays good, and ends the call if it does not."""
        uri = attested(self._key, method, metadata, sealed) if self._key else None
        if uri is None:
            raise NotOwner("the call was passed on by a broker that knows this one as it was before, or not at all; nothing was stored, try again")
        if not uri:
            return None
        identity = identity_of(uri)
        return Holder(identity.called, "", b"", identity, math.inf)

    async def _find(self, header: str, holder: Holder | None, principals: list[Principal], credentials: list[Credential]) -> None:
        scheme, _, secret = header.partition(" ")
        if not header and holder is not None and holder.identity is not None:
            TOKEN.set(holder.identity)
            return
        if scheme.lower() != "bearer" or not secret:
            raise TokenMissing
        found = await self._tokens.find(secret.strip())
        principals.append(found.principal)
        credentials.append(found)
        TOKEN.set(found.token)


def allow(may: May, need: Need | None, method: str) -> None:
    """Raises unless this call may be made. A call without a row is refused."""
    if need is not None and need.anywhere:
        return
    stranger = may.stranger
    if stranger is not None and stranger.domain not in (None, may.domain):
        text = f"{stranger.called} is not for domain {may.domain!r}; send the domain that it is for as metadata `{DOMAIN_KEY}` (HEADRACE_DOMAIN)"
        raise DomainDenied(text)
    call = method.rpartition(".")[2]
    if need is None or stranger is not None:
        raise RoleDenied(f"{(stranger or may.principals[0]).called} may not call {call}")
    if need.act is None:
        return
    types = may.types(need.act)
    if not types:
        named = " and ".join(f"{principal.called}, with the role {principal.role.name.lower()}," for principal in may.principals)
        raise RoleDenied(f"{named} may not call {call}: that takes the right {need.act}")
    if not need.by_type and not types.everything:
        raise TypeDenied(need.act, EVERY)


@dataclass(frozen=True, slots=True)
class Admitted:
    """A call that was let in: what it came with, and its rights. `may` None: everything is allowed."""

    credentials: tuple[Credential, ...]
    may: May | None
    method: str
    grants: GrantTable

    def check_credentials(self) -> None:
        """Raises TokenEnded once one of its credentials has ended."""
        for credential in self.credentials:
            if credential.ended:
                raise TokenEnded(f"{credential.called} was revoked, or has ended")

    def check_rights(self) -> None:
        """Raises as `allow` when it may not be made any more."""
        if self.may is not None:
            allow(self.may, LEAST.get(self.method), self.method)


class Hold:
    """Around the service's part of a call that lasts: when what it came with ends, whatever the call waits for is cancelled, and it ends with TokenEnded; and likewise
    when grants change and it may not be made any more, or a condition that was added raises.

    Entered and left in the task of the call. A stream sets `inside` to False while an answer is on its way to the reader, and calls `check` afterwards: gRPC's own
    waits must not be cancelled.
    """

    def __init__(self, admitted: Admitted) -> None:
        self._admitted = admitted
        self._version = -1  # of the grants that were looked at last
        self._ended = False
        self._task: asyncio.Task[Any] | None = None
        self.inside = True
        self._conditions: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        HOLD.set(self)
        for credential in self._admitted.credentials:
            credential.watchers.add(self._end)
        if self._admitted.may is not None:
            self._admitted.grants.watchers.add(self._review)
        self.check()
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for credential in self._admitted.credentials:
            credential.watchers.discard(self._end)
        self._admitted.grants.watchers.discard(self._review)
        if self._ended and type_ is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            self.check()

    def check(self) -> None:
        """Raises once the call may not go on."""
        self._admitted.check_credentials()
        if self._version != self._admitted.grants.version:
            self._admitted.check_rights()
            for condition in self._conditions:
                condition()
            self._version = self._admitted.grants.version

    def add(self, condition: Callable[[], None]) -> None:
        """Checks this too, from now on: it raises when the call may not go on."""
        condition()
        self._conditions.append(condition)

    def _review(self) -> None:
        try:
            self.check()
        except BrokerError:
            self._end()

    def _end(self) -> None:
        self._ended = True
        if self.inside and self._task is not None:
            self._task.cancel()


HOLD: ContextVar[Hold | None] = ContextVar("HOLD", default=None)
"""Of the call that is being served, if it is one that lasts and has to be allowed."""


def sees_all_domains() -> bool:
    """Whether the call may do what concerns all domains."""
    return reach.everywhere()
