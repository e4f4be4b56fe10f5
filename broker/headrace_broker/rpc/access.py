"""Who may call what: the one table, and the check that every call passes when the broker wants tokens.

A call's token is looked up in memory (`actions/tokens.py`), and so is the certificate of its connection (`peers.py`). Whoever shows both may do what both allow: a token
that was stolen is worth nothing on another machine, and a machine's certificate no more than the token of who works there. Calls that last end with either.
"""

import asyncio
import math
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from headrace_proto.wire import DEFAULT_DOMAIN, DOMAIN_KEY, TOKEN_KEY

from headrace_broker.actions.tokens import Credential, TokenTable
from headrace_broker.model.access import Identity, Role
from headrace_broker.model.errors import DomainDenied, NotOwner, RoleDenied, TokenEnded, TokenMissing
from headrace_broker.rpc.attest import ATTESTED_KEY, attested
from headrace_broker.rpc.peers import Holder, Peers, identity_of
from headrace_broker.store.tokens import TokenRow

READ = frozenset(Role)
SUBMIT = frozenset({Role.SUBMITTER, Role.AGENT, Role.OPERATOR, Role.ADMIN})
SERVE = frozenset({Role.AGENT, Role.ADMIN})
OVERSEE = frozenset({Role.VIEWER, Role.OPERATOR, Role.ADMIN})
OPERATE = frozenset({Role.OPERATOR, Role.ADMIN})
ADMINISTER = frozenset({Role.ADMIN})

LEAST: dict[str, frozenset[Role]] = {
    "/headrace.v1.Jobs/Submit": SUBMIT,
    "/headrace.v1.Jobs/SubmitMany": SUBMIT,
    "/headrace.v1.Jobs/SubmitStream": SUBMIT,
    "/headrace.v1.Jobs/GetJob": READ,
    "/headrace.v1.Jobs/ListJobs": READ,
    "/headrace.v1.Jobs/CountJobs": READ,
    "/headrace.v1.Jobs/WaitJob": READ,
    "/headrace.v1.Jobs/ExplainJob": READ,
    "/headrace.v1.Jobs/WatchJobs": READ,
    "/headrace.v1.Jobs/ListAttempts": READ,
    "/headrace.v1.Jobs/ListEvents": READ,
    "/headrace.v1.Jobs/ListLogs": READ,
    "/headrace.v1.Agents/Connect": SERVE,
    "/headrace.v1.Agents/ReportOutcomes": SERVE,
    "/headrace.v1.Agents/UploadLogs": SERVE,
    "/headrace.v1.Admin/RequeueJobs": OPERATE,
    "/headrace.v1.Admin/AbortJobs": OPERATE,
    "/headrace.v1.Admin/PurgeJobs": OPERATE,
    "/headrace.v1.Admin/ListJobTypes": OVERSEE,
    "/headrace.v1.Admin/GetJobType": OVERSEE,
    "/headrace.v1.Admin/SetJobType": OPERATE,
    "/headrace.v1.Admin/ListAgents": OVERSEE,
    "/headrace.v1.Admin/DrainAgents": OPERATE,
    "/headrace.v1.Admin/ResumeAgents": OPERATE,
    "/headrace.v1.Admin/ListAlerts": OVERSEE,
    "/headrace.v1.Doors/ListDoors": OVERSEE,
    "/headrace.v1.Alerts/PutChannel": ADMINISTER,
    "/headrace.v1.Alerts/ListChannels": OVERSEE,
    "/headrace.v1.Alerts/DeleteChannel": ADMINISTER,
    "/headrace.v1.Alerts/TestChannel": OPERATE,
    "/headrace.v1.Alerts/PutRule": OPERATE,
    "/headrace.v1.Alerts/ListRules": OVERSEE,
    "/headrace.v1.Alerts/DeleteRule": OPERATE,
    "/headrace.v1.Alerts/AddSilence": OPERATE,
    "/headrace.v1.Alerts/ListSilences": OVERSEE,
    "/headrace.v1.Alerts/EndSilence": OPERATE,
    "/headrace.v1.Alerts/ListAlertGroups": OVERSEE,
    "/headrace.v1.Stats/GetOverview": OVERSEE,
    "/headrace.v1.Stats/GetTrend": OVERSEE,
    "/headrace.v1.Stats/GetCapacity": OVERSEE,
    "/headrace.v1.Logs/TailLogs": READ,
    "/headrace.v1.Graph/GetGraph": READ,
    "/headrace.v1.Graph/ListDependencies": READ,
    "/headrace.v1.Graph/CreateBatch": SUBMIT,
    "/headrace.v1.Graph/SealBatch": SUBMIT,
    "/headrace.v1.Graph/GetBatch": READ,
    "/headrace.v1.Lifecycle/UpdateJobs": OPERATE,
    "/headrace.v1.Lifecycle/RequeueDescendants": OPERATE,
    "/headrace.v1.Lifecycle/ListRuns": READ,
    "/headrace.v1.Lifecycle/ListPayloads": READ,
    "/headrace.v1.Lifecycle/GetPayload": READ,
    "/headrace.v1.Lifecycle/PreviewRetention": OVERSEE,
    "/headrace.v1.Lifecycle/ApplyRetention": OPERATE,
    "/headrace.v1.Limits/Pause": OPERATE,
    "/headrace.v1.Limits/Resume": OPERATE,
    "/headrace.v1.Limits/ListPauses": OVERSEE,
    "/headrace.v1.Limits/GetDomain": OVERSEE,
    "/headrace.v1.Limits/SetDomain": ADMINISTER,
    "/headrace.v1.Schedules/PutSchedule": OPERATE,
    "/headrace.v1.Schedules/GetSchedule": OVERSEE,
    "/headrace.v1.Schedules/ListSchedules": OVERSEE,
    "/headrace.v1.Schedules/PauseSchedule": OPERATE,
    "/headrace.v1.Schedules/ResumeSchedule": OPERATE,
    "/headrace.v1.Schedules/RunSchedule": OPERATE,
    "/headrace.v1.Schedules/DeleteSchedule": OPERATE,
    "/headrace.v1.Operations/PreviewOperation": OVERSEE,
    "/headrace.v1.Operations/StartOperation": OPERATE,
    "/headrace.v1.Operations/GetOperation": OVERSEE,
    "/headrace.v1.Operations/ListOperations": OVERSEE,
    "/headrace.v1.Operations/ListSkippedJobs": OVERSEE,
    "/headrace.v1.Operations/SetOperationRate": OPERATE,
    "/headrace.v1.Operations/StopOperation": OPERATE,
    "/headrace.v1.Operations/ResumeOperation": OPERATE,
    "/headrace.v1.Testing/AdvanceClock": ADMINISTER,
    "/headrace.v1.Instances/SetInstancePriority": OPERATE,
    "/headrace.v1.Instances/ListInstancePriorities": OVERSEE,
    "/headrace.v1.Instances/ListRescores": OVERSEE,
    "/headrace.v1.Access/CreateToken": ADMINISTER,
    "/headrace.v1.Access/ListTokens": ADMINISTER,
    "/headrace.v1.Access/RotateToken": ADMINISTER,
    "/headrace.v1.Access/RevokeToken": ADMINISTER,
    "/headrace.v1.Certificates/RevokeCertificate": ADMINISTER,
    "/headrace.v1.Certificates/ListRevokedCertificates": ADMINISTER,
    "/headrace.v1.Users/PutUser": ADMINISTER,
    "/headrace.v1.Users/ListUsers": ADMINISTER,
    "/headrace.v1.Users/InviteUser": ADMINISTER,
    "/headrace.v1.Users/SetUserPassword": ADMINISTER,
    "/headrace.v1.Users/DisableUser": ADMINISTER,
    "/headrace.v1.Users/EnableUser": ADMINISTER,
    "/headrace.v1.Users/EndUserSessions": ADMINISTER,
    "/headrace.v1.Access/ListAudit": OPERATE,
    "/headrace.v1.Access/ExportAudit": OPERATE,
}
"""The roles that may make each call. A call without a row is refused to all of them; a test sees to it that there is none."""

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

    def __init__(self, tokens: TokenTable, peers: Peers | None = None, *, required: bool = True, key: bytes = b"") -> None:
        """`key`: with which other brokers attest whom they pass on calls of."""
        self._tokens = tokens
        self._peers = peers
        self._key = key
        self._required = required

    async def admit(self, method: str, context: Any) -> tuple[Credential, ...]:
        """What the call came with, all of it good: who makes it is `TOKEN` from now on.

        Raises:
            TokenMissing, TokenInvalid, CertificateInvalid, DomainDenied, RoleDenied, DatabaseUnavailable (it cannot be told yet).
        """
        holder = self._peers.holder(context.auth_context()) if self._peers is not None else None
        if not self._required:
            return (holder,) if holder is not None else ()
        header, domain, sealed, metadata = "", DEFAULT_DOMAIN, None, context.invocation_metadata() or ()
        for key, value in metadata:
            if key == TOKEN_KEY:
                header = str(value)
            elif key == DOMAIN_KEY:
                domain = str(value)
            elif key == ATTESTED_KEY:
                sealed = bytes(value)
        if sealed is not None and self._peers is not None:
            holder = self._passed_on(method, metadata, sealed)
        if holder is not None and holder.identity is not None:
            _allow(holder.identity, method, domain)
            IDENTITY.set(holder.identity)
        return await self._admit(header, method, domain, holder)

    def _passed_on(self, method: str, metadata: Any, sealed: bytes) -> Holder | None:
        """Whom the caller's certificate named at the broker that passed the call on. That broker looks whether it stays good, and ends the call if it does not."""
        uri = attested(self._key, method, metadata, sealed) if self._key else None
        if uri is None:
            raise NotOwner("the call was passed on by a broker that knows this one as it was before, or not at all; nothing was stored, try again")
        if not uri:
            return None
        identity = identity_of(uri)
        return Holder(identity.called, "", b"", identity, math.inf)

    async def _admit(self, header: str, method: str, domain: str, holder: Holder | None) -> tuple[Credential, ...]:
        scheme, _, secret = header.partition(" ")
        if not header and holder is not None and holder.identity is not None:
            TOKEN.set(holder.identity)
            return (holder,)
        if scheme.lower() != "bearer" or not secret:
            raise TokenMissing
        found = await self._tokens.find(secret.strip())
        _allow(found.token, method, domain)
        TOKEN.set(found.token)
        return (found,) if holder is None else (found, holder)


def _allow(who: TokenRow | Identity, method: str, domain: str) -> None:
    if who.domain is not None and who.domain != domain:
        raise DomainDenied(f"{who.called} is not for domain {domain!r}; send the domain that it is for as metadata `{DOMAIN_KEY}` (HEADRACE_DOMAIN)")
    if who.role not in LEAST.get(method, ()):
        raise RoleDenied(f"{who.called} has the role {who.role.name.lower()}, which may not call {method.rpartition('.')[2]}")


class Hold:
    """Around the service's part of a call that lasts: when what it came with ends, whatever the call waits for is cancelled, and it ends with TokenEnded.

    Entered and left in the task of the call. A stream sets `inside` to False while an answer is on its way to the reader, and calls `check` afterwards: gRPC's own
    waits must not be cancelled.
    """

    def __init__(self, credentials: tuple[Credential, ...]) -> None:
        self._credentials = credentials
        self._ended = False
        self._task: asyncio.Task[Any] | None = None
        self.inside = True

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        for credential in self._credentials:
            credential.watchers.add(self._end)
        self.check()
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        for credential in self._credentials:
            credential.watchers.discard(self._end)
        if self._ended and type_ is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            self.check()

    def check(self) -> None:
        """Raises TokenEnded once one of them has ended."""
        for credential in self._credentials:
            if credential.ended:
                raise TokenEnded(f"{credential.called} was revoked, or has ended")

    def _end(self) -> None:
        self._ended = True
        if self.inside and self._task is not None:
            self._task.cancel()


def sees_all_domains() -> bool:
    """Whether the call may do what concerns all domains."""
    token = TOKEN.get()
    return token is None or token.domain is None
