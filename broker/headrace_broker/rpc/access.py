"""Who may call what: the one table, and the check that every call passes when the broker wants tokens.

A call's token is looked up in memory (`actions/tokens.py`). Calls that last watch it, and end with it.
"""

import asyncio
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from headrace_proto.wire import DEFAULT_DOMAIN, DOMAIN_KEY, TOKEN_KEY

from headrace_broker.actions.tokens import Secret, TokenTable
from headrace_broker.model.access import Role
from headrace_broker.model.errors import DomainDenied, RoleDenied, TokenEnded, TokenMissing
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
    "/headrace.v1.Lifecycle/ListRuns": READ,
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
    "/headrace.v1.Access/ListAudit": OPERATE,
    "/headrace.v1.Access/ExportAudit": OPERATE,
}
"""The roles that may make each call. A call without a row is refused to all of them; a test sees to it that there is none."""

LONG = frozenset({"/headrace.v1.Jobs/WaitJob", "/headrace.v1.Operations/GetOperation"})
"""Calls with one answer that may be long in coming: they end with their token, as streams do."""

TOKEN: ContextVar[TokenRow | None] = ContextVar("TOKEN", default=None)
"""The token of the call that is being served; None: this broker wants none."""


class Gate:
    """Checks each call; `Guard` asks it before anything of the request is looked at."""

    def __init__(self, tokens: TokenTable) -> None:
        self._tokens = tokens

    async def admit(self, method: str, context: Any) -> Secret:
        """The secret that the call came with; its token is the one of the call from now on.

        Raises:
            TokenMissing, TokenInvalid, DomainDenied, RoleDenied, DatabaseUnavailable (it cannot be told yet).
        """
        header, domain = "", DEFAULT_DOMAIN
        for key, value in context.invocation_metadata() or ():
            if key == TOKEN_KEY:
                header = str(value)
            elif key == DOMAIN_KEY:
                domain = str(value)
        scheme, _, secret = header.partition(" ")
        if scheme.lower() != "bearer" or not secret:
            raise TokenMissing
        found = await self._tokens.find(secret.strip())
        token = found.token
        if token.domain is not None and token.domain != domain:
            raise DomainDenied(f"the token {token.name!r} is not for domain {domain!r}; send the domain that it is for as metadata `{DOMAIN_KEY}` (HEADRACE_DOMAIN)")
        if token.role not in LEAST.get(method, ()):
            raise RoleDenied(f"the token {token.name!r} has the role {token.role.name.lower()}, which may not call {method.rpartition('.')[2]}")
        TOKEN.set(token)
        return found


class Hold:
    """Around the service's part of a call that lasts: when the secret ends, whatever the call waits for is cancelled, and it ends with TokenEnded.

    Entered and left in the task of the call. A stream sets `inside` to False while an answer is on its way to the reader, and calls `check` afterwards: gRPC's own
    waits must not be cancelled.
    """

    def __init__(self, secret: Secret) -> None:
        self._secret = secret
        self._ended = False
        self._task: asyncio.Task[Any] | None = None
        self.inside = True

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._secret.watchers.add(self._end)
        self.check()
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._secret.watchers.discard(self._end)
        if self._ended and type_ is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            self.check()

    def check(self) -> None:
        """Raises TokenEnded once the secret has ended."""
        if self._secret.ended:
            raise TokenEnded(f"the token {self._secret.token.name!r} was revoked, or this secret of it has ended")

    def _end(self) -> None:
        self._ended = True
        if self.inside and self._task is not None:
            self._task.cancel()


def sees_all_domains() -> bool:
    """Whether the call may do what concerns all domains."""
    token = TOKEN.get()
    return token is None or token.domain is None
