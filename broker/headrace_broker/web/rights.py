"""Which call of the RPC interface each page and form stands for: whoever may make the call may see the page or send the form, and nobody else.

`rpc/access.py` has the roles of each call. A page without a row is shown to nobody; a test sees to it that there is none, and another sends every form with every role.
"""

from collections.abc import Mapping
from typing import Protocol

from headrace_broker.actions.reach import May
from headrace_broker.model.access import Role
from headrace_broker.model.permissions import Act

EVERYBODY = ""
"""Of the session alone: whoever is logged in may."""

RIGHTS: dict[str, str] = {
    "/": "Stats/GetOverview",
    "/jobs": "Jobs/ListJobs",
    "/jobs/{job_id}": "Jobs/GetJob",
    "/jobs/{job_id}/tail": "Jobs/ListLogs",
    "/jobs/{job_id}/requeue": "Admin/RequeueJobs",
    "/jobs/{job_id}/abort": "Admin/AbortJobs",
    "/jobs/{job_id}/purge": "Admin/PurgeJobs",
    "/jobs/{job_id}/hold": "Lifecycle/UpdateJobs",
    "/jobs/{job_id}/release": "Lifecycle/UpdateJobs",
    "/jobs/{job_id}/priority": "Lifecycle/UpdateJobs",
    "/jobs/{job_id}/keep": "Lifecycle/UpdateJobs",
    "/jobs/{job_id}/payload": "Lifecycle/UpdateJobs",
    "/jobs-chosen": "Admin/RequeueJobs",
    "/job-priority": "Lifecycle/UpdateJobs",
    "/job-hold": "Lifecycle/UpdateJobs",
    "/job-release": "Lifecycle/UpdateJobs",
    "/job-requeue": "Admin/RequeueJobs",
    "/job-abort": "Admin/AbortJobs",
    "/job-purge": "Admin/PurgeJobs",
    "/filter-save": "Filters/SaveFilter",
    "/filter-delete": "Filters/DeleteFilter",
    "/types": "Admin/ListJobTypes",
    "/types/{name:path}": "Admin/GetJobType",
    "/type-preview/{name:path}": "Admin/GetJobType",
    "/type-settings/{name:path}": "Admin/SetJobType",
    "/type-pause/{name:path}": "Admin/SetJobType",
    "/type-breaker/{name:path}": "Limits/CloseBreaker",
    "/agents": "Admin/ListAgents",
    "/agent-drain": "Admin/DrainAgents",
    "/agent-resume": "Admin/ResumeAgents",
    "/operations": "Operations/ListOperations",
    "/operation-start": "Operations/StartOperation",
    "/operations/new": "Operations/PreviewOperation",
    "/operations/{operation_id}": "Operations/GetOperation",
    "/operations/{operation_id}/stop": "Operations/StopOperation",
    "/operations/{operation_id}/resume": "Operations/ResumeOperation",
    "/operations/{operation_id}/rate": "Operations/SetOperationRate",
    "/alerts": "Alerts/ListAlertGroups",
    "/alert-channel-put": "Alerts/PutChannel",
    "/alert-channel-delete": "Alerts/DeleteChannel",
    "/alert-channel-test": "Alerts/TestChannel",
    "/alert-rule-put": "Alerts/PutRule",
    "/alert-rule-delete": "Alerts/DeleteRule",
    "/alert-silence-add": "Alerts/AddSilence",
    "/alert-silence-end": "Alerts/EndSilence",
    "/trend": "Stats/GetTrend",
    "/capacity": "Stats/GetCapacity",
    "/schedules": "Schedules/ListSchedules",
    "/schedules/{name:path}": "Schedules/GetSchedule",
    "/schedule-new": "Schedules/PutSchedule",
    "/schedule-preview": "Schedules/PutSchedule",
    "/schedule-put": "Schedules/PutSchedule",
    "/schedule-pause/{name:path}": "Schedules/PauseSchedule",
    "/schedule-resume/{name:path}": "Schedules/ResumeSchedule",
    "/schedule-run/{name:path}": "Schedules/RunSchedule",
    "/schedule-delete/{name:path}": "Schedules/DeleteSchedule",
    "/audit": "Access/ListAudit",
    "/grants": "Grants/ListGrants",
    "/grant-add": "Grants/AddGrant",
    "/grant-end": "Grants/EndGrant",
    "/access": "Access/ListTokens",
    "/token-create": "Access/CreateToken",
    "/token-rotate": "Access/RotateToken",
    "/token-revoke": "Access/RevokeToken",
    "/user-put": "Users/PutUser",
    "/user-invite": "Users/InviteUser",
    "/user-disable": "Users/DisableUser",
    "/user-enable": "Users/EnableUser",
    "/user-logout": "Users/EndUserSessions",
    "/session-end": "Users/EndUserSessions",
    "/account": EVERYBODY,
    "/account-password": EVERYBODY,
    "/account-logout": EVERYBODY,
    "/domain": EVERYBODY,
}


class Need(Protocol):
    """What a call needs, as the table of the RPC interface has it. Where a call asks for the types itself, so do the pages and forms that stand for it: a right for some
    types is enough to see them. All others take a right for all types."""

    @property
    def by_type(self) -> bool:
        """Whether the call asks for the types itself."""

    @property
    def act(self) -> Act | None:
        """The action; None: any at all."""

    def __contains__(self, role: Role) -> bool: ...


class Rights:
    """`least`: what each call needs, by its path, such as "/headrace.v1.Jobs/GetJob"."""

    def __init__(self, least: Mapping[str, Need]) -> None:
        self._least = least

    def permit(self, may: May, path: str) -> bool:
        """Whether somebody with these rights may see the page, or send the form, of this route."""
        call = RIGHTS.get(path)
        need = self._least.get(f"/headrace.v1.{call}")
        if call == EVERYBODY or need is None or need.act is None:
            return call == EVERYBODY
        types = may.types(need.act)
        return types.everything or (bool(types) and need.by_type)

    def allow(self, role: Role, path: str) -> bool:
        """Whether the role alone may see the page, or send the form, of this route."""
        call = RIGHTS.get(path)
        return call == EVERYBODY or (call is not None and role in self._least.get(f"/headrace.v1.{call}", ()))

    def roles(self, path: str) -> list[str]:
        """Names of the roles that may, for people."""
        return [role.name.lower() for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN) if self.allow(role, path)]
