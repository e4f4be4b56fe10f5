"""Every call refuses what is missing, too large, of the wrong kind or unknown, and names the field; the broker serves on."""

import base64
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_broker.rpc import convert
from headrace_client import Client
from headrace_proto.keda.externalscaler_pb2_grpc import ExternalScalerStub
from headrace_proto.v1 import (
    access_pb2,
    admin_pb2,
    agents_pb2,
    alerts_pb2,
    certificates_pb2,
    grants_pb2,
    graph_pb2,
    instances_pb2,
    jobs_pb2,
    lifecycle_pb2,
    logs_pb2,
    operations_pb2,
    schedules_pb2,
    stats_pb2,
    testing_pb2,
    types_pb2,
    users_pb2,
)
from headrace_proto.v1.agents_pb2_grpc import AgentsStub
from headrace_proto.v1.jobs_pb2_grpc import JobsStub
from headrace_proto.v1.logs_pb2_grpc import LogsStub

from tests.rpc.refusals import ACCESS, FILTERS, GRAPH, LIMITS, SCALER, trigger
from tests.support.processes import BrokerProcess
from tests.support.wire import SERVICES, Wire, stream_refusal

BIG = "x" * 201
FAR = 2**63 - 1


def job(**fields: Any) -> types_pb2.JobSpec:
    """A job that is good but for these fields."""
    return types_pb2.JobSpec(**{"type": "t", "payload": b"1", **fields})


def submit(**fields: Any) -> jobs_pb2.SubmitRequest:
    return jobs_pb2.SubmitRequest(job=job(**fields))


def settings(**fields: Any) -> admin_pb2.SetJobTypeRequest:
    return admin_pb2.SetJobTypeRequest(name="t", settings=types_pb2.JobTypeSettings(**fields))


def listing(**fields: Any) -> jobs_pb2.ListJobsRequest:
    return jobs_pb2.ListJobsRequest(filter=jobs_pb2.JobFilter(**fields))


SPEC_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"type": ""}, "type"),
    ({"type": BIG}, "type"),
    ({"type": "a b"}, "type"),
    ({"type": "nul\x00"}, "type"),
    ({"payload": b"x" * (1024 * 1024 + 1)}, "payload"),
    ({"content_type": "x" * 101}, "content_type"),
    ({"content_type": "a\x00"}, "content_type"),
    ({"instance_id": BIG}, "instance_id"),
    ({"instance_id": "\x00"}, "instance_id"),
    ({"idempotency_key": BIG}, "idempotency_key"),
    ({"idempotency_key": "a\x00b"}, "idempotency_key"),
    ({"priority": 1_000_001}, "priority"),
    ({"priority": -(2**31)}, "priority"),
    ({"labels": {str(number): "" for number in range(33)}}, "labels"),
    ({"labels": {"": "x"}}, "labels"),
    ({"labels": {"k" * 64: "x"}}, "labels"),
    ({"labels": {"k": BIG}}, "labels[k]"),
    ({"labels": {"k": "\x00"}}, "labels[k]"),
    ({"trace_context": "x" * 101}, "trace_context"),
    ({"idempotency_key": "k", "payload_digests": [b"x" * 16] * 17}, "payload_digests"),
    ({"idempotency_key": "k", "payload_digests": [b"x" * 16, b"short"]}, "payload_digests[1]"),
    ({"idempotency_key": "k", "payload_digests": [b"x" * 65]}, "payload_digests[0]"),
    ({"delay": Duration(seconds=-1)}, "delay"),
    ({"delay": Duration(nanos=-1)}, "delay"),
    ({"delay": Duration(seconds=FAR)}, "delay"),
    ({"delay": Duration(seconds=1, nanos=2_000_000_000)}, "delay"),
    ({"start_at": Timestamp(seconds=-1)}, "start_at"),
    ({"start_at": Timestamp(seconds=FAR)}, "start_at"),
    ({"start_at": Timestamp(seconds=250_000_000_000)}, "start_at"),
    ({"start_at": Timestamp(seconds=1), "delay": Duration(seconds=1)}, "start_at"),
]
IDS: tuple[list[int], ...] = ([], [0], [-1], [2**63 - 1, 0], list(range(1, 1002)))


def put(**fields: Any) -> schedules_pb2.PutScheduleRequest:
    """A schedule that is good but for these fields."""
    return schedules_pb2.PutScheduleRequest(name="s", spec=schedules_pb2.ScheduleSpec(**{"cron": "0 0 1 1 *", "type": "t", **fields}))


SCHEDULES: list[tuple[str, Any, str]] = [
    ("Schedules.PutSchedule", schedules_pb2.PutScheduleRequest(), "name"),
    ("Schedules.PutSchedule", schedules_pb2.PutScheduleRequest(name="s"), "spec.when"),
    ("Schedules.PutSchedule", put(cron=None, interval=Duration()), "spec.interval"),
    ("Schedules.PutSchedule", put(cron=None, interval=Duration(seconds=1, nanos=1)), "spec.interval"),
    ("Schedules.PutSchedule", put(cron=None, interval=Duration(seconds=5), anchor=Timestamp(seconds=FAR)), "spec.anchor"),
    ("Schedules.PutSchedule", put(cron=None, at=Timestamp(seconds=FAR)), "spec.at"),
    ("Schedules.PutSchedule", put(cron="* * *"), "spec.cron"),
    ("Schedules.PutSchedule", put(cron="*" * 201), "spec.cron"),
    ("Schedules.PutSchedule", put(time_zone="/etc/passwd"), "spec.time_zone"),
    ("Schedules.PutSchedule", put(start_at=Timestamp(seconds=-1)), "spec.start_at"),
    ("Schedules.PutSchedule", put(start_at=Timestamp(seconds=9), end_at=Timestamp(seconds=8)), "spec.end_at"),
    ("Schedules.PutSchedule", put(type=""), "spec.type"),
    ("Schedules.PutSchedule", put(content_type="x" * 101), "spec.content_type"),
    ("Schedules.PutSchedule", put(instance_id=BIG), "spec.instance_id"),
    ("Schedules.PutSchedule", put(priority=1_000_001), "spec.priority"),
    ("Schedules.PutSchedule", put(labels={"headrace.nominal_at": "x"}), "spec.labels"),
    ("Schedules.PutSchedule", put(overlap=5), "spec.overlap"),
    ("Schedules.PutSchedule", put(missed=4), "spec.missed"),
    ("Schedules.PutSchedule", put(max_missed=101), "spec.max_missed"),
    ("Schedules.PutSchedule", put(jitter=Duration(seconds=86_401)), "spec.jitter"),
    ("Schedules.GetSchedule", schedules_pb2.GetScheduleRequest(name="a b"), "name"),
    ("Schedules.GetSchedule", schedules_pb2.GetScheduleRequest(name="s", next=101), "next"),
    ("Schedules.ListSchedules", schedules_pb2.ListSchedulesRequest(page_size=1001), "page_size"),
    ("Schedules.ListSchedules", schedules_pb2.ListSchedulesRequest(page_token="?"), "page_token"),
    ("Schedules.PauseSchedule", schedules_pb2.PauseScheduleRequest(name="s", reason="x" * 1001), "reason"),
    ("Schedules.ResumeSchedule", schedules_pb2.ResumeScheduleRequest(), "name"),
    ("Schedules.RunSchedule", schedules_pb2.RunScheduleRequest(name="s", request_id=BIG), "request_id"),
    ("Schedules.DeleteSchedule", schedules_pb2.DeleteScheduleRequest(name=BIG), "name"),
]


def spec(**fields: Any) -> operations_pb2.OperationSpec:
    """A bulk operation that is good but for these fields."""
    good: dict[str, Any] = {"filter": jobs_pb2.JobFilter(types=["t"]), "action": operations_pb2.OPERATION_ACTION_REQUEUE}
    return operations_pb2.OperationSpec(**(good | fields))


SPECS = [
    (spec(filter=None), "spec.filter"),
    (spec(all_jobs=True), "spec.all_jobs"),
    (spec(filter=jobs_pb2.JobFilter(types=["a b"])), "spec.filter.types[0]"),
    (spec(filter=jobs_pb2.JobFilter(settled_to=Timestamp(seconds=FAR))), "spec.filter.settled_to"),
    (spec(action=0), "spec.action"),
    (spec(action=7), "spec.action"),
    (spec(action=2, include_completed=True), "spec.include_completed"),
    (spec(grace=Duration()), "spec.grace"),
    (spec(action=2, grace=Duration(seconds=86_401)), "spec.grace"),
    (spec(force=True), "spec.force"),
    (spec(priority=0), "spec.priority"),
    (spec(action=4), "spec.priority"),
    (spec(action=4, priority=1_000_001), "spec.priority"),
    (spec(action=2, payload=b"1"), "spec.payload"),
    (spec(payload=b"1" * (64 * 1024 + 1)), "spec.payload"),
    (spec(content_type="text/plain"), "spec.content_type"),
    (spec(payload=b"1", content_type="x" * 101), "spec.content_type"),
]
OPERATIONS: list[tuple[str, Any, str]] = [
    *[("Operations.PreviewOperation", operations_pb2.PreviewOperationRequest(spec=item), field) for item, field in SPECS],
    ("Operations.PreviewOperation", operations_pb2.PreviewOperationRequest(spec=spec(), sample=101), "sample"),
    ("Operations.PreviewOperation", operations_pb2.PreviewOperationRequest(spec=spec(), page_token="x"), "page_token"),
    *[("Operations.StartOperation", operations_pb2.StartOperationRequest(spec=item), field) for item, field in SPECS],
    ("Operations.StartOperation", operations_pb2.StartOperationRequest(spec=spec(), reason="x" * 1001), "reason"),
    ("Operations.StartOperation", operations_pb2.StartOperationRequest(spec=spec(), request_id=BIG), "request_id"),
    *[("Operations.StartOperation", operations_pb2.StartOperationRequest(spec=spec(), rate=rate), "rate") for rate in (-1.0, 1e7, float("nan"))],
    ("Operations.GetOperation", operations_pb2.GetOperationRequest(), "operation_id"),
    ("Operations.GetOperation", operations_pb2.GetOperationRequest(operation_id=1, wait=Duration(seconds=3601)), "wait"),
    ("Operations.ListOperations", operations_pb2.ListOperationsRequest(page_size=1001), "page_size"),
    ("Operations.ListOperations", operations_pb2.ListOperationsRequest(page_token="?"), "page_token"),
    ("Operations.ListSkippedJobs", operations_pb2.ListSkippedJobsRequest(operation_id=-1), "operation_id"),
    ("Operations.ListSkippedJobs", operations_pb2.ListSkippedJobsRequest(operation_id=1, page_size=10_001), "page_size"),
    ("Operations.ListSkippedJobs", operations_pb2.ListSkippedJobsRequest(operation_id=1, page_token="?"), "page_token"),
    ("Operations.SetOperationRate", operations_pb2.SetOperationRateRequest(), "operation_id"),
    ("Operations.SetOperationRate", operations_pb2.SetOperationRateRequest(operation_id=1, rate=-0.1), "rate"),
    ("Operations.StopOperation", operations_pb2.StopOperationRequest(), "operation_id"),
    ("Operations.StopOperation", operations_pb2.StopOperationRequest(operation_id=1, reason="\x00"), "reason"),
    ("Operations.ResumeOperation", operations_pb2.ResumeOperationRequest(operation_id=-1), "operation_id"),
]
LIFECYCLE: list[tuple[str, Any, str]] = [
    *[
        ("Lifecycle.UpdateJobs", lifecycle_pb2.UpdateJobsRequest(job_ids=ids, priority=1), "job_ids" if len(ids) in (0, 1001) else f"job_ids[{len(ids) - 1}]")
        for ids in IDS
    ],
    ("Lifecycle.UpdateJobs", lifecycle_pb2.UpdateJobsRequest(job_ids=[1], hold=True, reason="x" * 1001), "reason"),
    ("Lifecycle.RequeueDescendants", lifecycle_pb2.RequeueDescendantsRequest(), "job_id"),
    ("Lifecycle.RequeueDescendants", lifecycle_pb2.RequeueDescendantsRequest(job_id=1, reason="x" * 1001), "reason"),
    ("Lifecycle.RequeueDescendants", lifecycle_pb2.RequeueDescendantsRequest(job_id=1, payload=b"x" * (1024 * 1024 + 1)), "payload"),
    ("Lifecycle.RequeueDescendants", lifecycle_pb2.RequeueDescendantsRequest(job_id=1, content_type="text/plain"), "content_type"),
    ("Lifecycle.RequeueDescendants", lifecycle_pb2.RequeueDescendantsRequest(job_id=1, payload=b"", content_type="x" * 101), "content_type"),
    ("Lifecycle.ListRuns", lifecycle_pb2.ListRunsRequest(), "job_id"),
    ("Lifecycle.ListRuns", lifecycle_pb2.ListRunsRequest(job_id=1, page_size=101), "page_size"),
    ("Lifecycle.ListPayloads", lifecycle_pb2.ListPayloadsRequest(), "job_id"),
    ("Lifecycle.ListPayloads", lifecycle_pb2.ListPayloadsRequest(job_id=1, page_size=1001), "page_size"),
    ("Lifecycle.GetPayload", lifecycle_pb2.GetPayloadRequest(), "job_id"),
    ("Lifecycle.PreviewRetention", lifecycle_pb2.PreviewRetentionRequest(), "type"),
    ("Lifecycle.ApplyRetention", lifecycle_pb2.ApplyRetentionRequest(), "type"),
]
GRANTS: list[tuple[str, Any, str]] = [
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(actions=["view"]), "who"),
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(who="nobody", actions=["view"]), "who"),
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(who="certificate/x", actions=["view"]), "who"),
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(who="token/x"), "actions"),
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(who="token/x", actions=["view", "fly"]), "actions[1]"),
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(who="token/x", actions=["view"], domains="[a]"), "domains"),
    ("Grants.AddGrant", grants_pb2.AddGrantRequest(who="token/x", actions=["view"], types=BIG), "types"),
    ("Grants.EndGrant", grants_pb2.EndGrantRequest(grant_id=0), "grant_id"),
    ("Grants.ListGrants", grants_pb2.ListGrantsRequest(page_size=1001), "page_size"),
    ("Grants.ListGrants", grants_pb2.ListGrantsRequest(page_token="x"), "page_token"),
    ("Grants.CheckAccess", grants_pb2.CheckAccessRequest(action="fly"), "action"),
    ("Grants.CheckAccess", grants_pb2.CheckAccessRequest(action="view", type="a b"), "type"),
]
USERS: list[tuple[str, Any, str]] = [
    *[(f"Users.{name}", getattr(users_pb2, f"{name}Request")(), "name") for name in ("PutUser", "InviteUser", "DisableUser", "EnableUser", "EndUserSessions")],
    *[(f"Users.{name}", getattr(users_pb2, f"{name}Request")(name="u", reason="x" * 1001), "reason") for name in ("InviteUser", "DisableUser", "EnableUser")],
    ("Users.EndUserSessions", users_pb2.EndUserSessionsRequest(name="u", reason="\x00"), "reason"),
    ("Users.PutUser", users_pb2.PutUserRequest(name="two words", role=access_pb2.ROLE_VIEWER), "name"),
    ("Users.PutUser", users_pb2.PutUserRequest(name="x" * 101, role=access_pb2.ROLE_VIEWER), "name"),
    ("Users.PutUser", users_pb2.PutUserRequest(name="u"), "role"),
    ("Users.PutUser", users_pb2.PutUserRequest(name="u", role=access_pb2.ROLE_AGENT), "role"),
    ("Users.PutUser", users_pb2.PutUserRequest(name="u", role=99), "role"),  # type: ignore[arg-type]
    ("Users.InviteUser", users_pb2.InviteUserRequest(name="u", valid_for=Duration(seconds=59)), "valid_for"),
    ("Users.InviteUser", users_pb2.InviteUserRequest(name="u", valid_for=Duration(seconds=31 * 86_400)), "valid_for"),
    ("Users.SetUserPassword", users_pb2.SetUserPasswordRequest(name="a/b", password="x" * 20), "name"),
    ("Users.SetUserPassword", users_pb2.SetUserPasswordRequest(name="u", password="x" * 14), "password"),
    ("Users.SetUserPassword", users_pb2.SetUserPasswordRequest(name="u", password="x" * 257), "password"),
]


def mail(**fields: Any) -> alerts_pb2.PutChannelRequest:
    """A channel that is good but for these fields."""
    good: dict[str, Any] = {"host": "mx", "sender": "a@example.org", "recipients": ["b@example.org"]}
    return alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="c", email=alerts_pb2.EmailChannel(**{**good, **fields})))


def rule(**fields: Any) -> alerts_pb2.PutRuleRequest:
    """A rule that is good but for these fields."""
    return alerts_pb2.PutRuleRequest(rule=alerts_pb2.Rule(**{"name": "r", "kind": alerts_pb2.RULE_KIND_NO_AGENT, **fields}))


def silence(lasts: int | None = 60, **fields: Any) -> alerts_pb2.AddSilenceRequest:
    """A silence that is good but for these fields."""
    message = alerts_pb2.Silence(**{"reason": "deploy", **fields})
    return alerts_pb2.AddSilenceRequest(silence=message, lasts=Duration(seconds=lasts) if lasts is not None else None)


ALERTS: list[tuple[str, Any, str]] = [
    ("Alerts.PutChannel", alerts_pb2.PutChannelRequest(), "channel.kind"),
    ("Alerts.PutChannel", alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="a b", webhook=alerts_pb2.WebhookChannel(url="http://x"))), "channel.name"),
    (
        "Alerts.PutChannel",
        alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="c", webhook=alerts_pb2.WebhookChannel(url="x")), secret="s"),
        "channel.webhook.url",
    ),
    ("Alerts.PutChannel", alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="c", webhook=alerts_pb2.WebhookChannel(url="http://x"))), "secret"),
    ("Alerts.PutChannel", alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="c", apprise=alerts_pb2.AppriseChannel())), "secret"),
    (
        "Alerts.PutChannel",
        alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="c", webhook=alerts_pb2.WebhookChannel(url="http://x")), secret="x" * 1001),
        "secret",
    ),
    ("Alerts.PutChannel", alerts_pb2.PutChannelRequest(channel=alerts_pb2.Channel(name="c", cap_per_hour=1001, email=mail().channel.email)), "channel.cap_per_hour"),
    ("Alerts.PutChannel", mail(host=""), "channel.email.host"),
    ("Alerts.PutChannel", mail(port=70_000), "channel.email.port"),
    ("Alerts.PutChannel", mail(tls=4), "channel.email.tls"),
    ("Alerts.PutChannel", mail(username="u"), "channel.email.username"),
    ("Alerts.PutChannel", mail(username=BIG), "channel.email.username"),
    ("Alerts.PutChannel", mail(sender="x"), "channel.email.sender"),
    ("Alerts.PutChannel", mail(recipients=["b@example.org", "c"]), "channel.email.recipients[1]"),
    ("Alerts.DeleteChannel", alerts_pb2.DeleteChannelRequest(), "name"),
    ("Alerts.TestChannel", alerts_pb2.TestChannelRequest(name="c", reason="x" * 1001), "reason"),
    ("Alerts.PutRule", rule(name=""), "rule.name"),
    ("Alerts.PutRule", rule(kind=0), "rule.kind"),
    ("Alerts.PutRule", rule(kind=7), "rule.kind"),
    ("Alerts.PutRule", rule(type="a b"), "rule.type"),
    ("Alerts.PutRule", rule(kind=alerts_pb2.RULE_KIND_DATABASE, type="t"), "rule.type"),
    ("Alerts.PutRule", rule(threshold=float("nan")), "rule.threshold"),
    ("Alerts.PutRule", rule(kind=alerts_pb2.RULE_KIND_ERROR_RATE, threshold=2.0), "rule.threshold"),
    ("Alerts.PutRule", rule(window=Duration(seconds=86_401)), "rule.window"),
    ("Alerts.PutRule", rule(minimum=2**31), "rule.minimum"),
    ("Alerts.PutRule", rule(lasting=Duration(seconds=-1)), "rule.lasting"),
    ("Alerts.PutRule", rule(channels=["a b"]), "rule.channels"),
    ("Alerts.PutRule", rule(channels=["c"] * 21), "rule.channels"),
    ("Alerts.PutRule", rule(group_wait=Duration(seconds=86_401)), "rule.group_wait"),
    ("Alerts.PutRule", rule(group_interval=Duration()), "rule.group_interval"),
    ("Alerts.PutRule", rule(repeat_interval=Duration()), "rule.repeat_interval"),
    ("Alerts.DeleteRule", alerts_pb2.DeleteRuleRequest(name=BIG), "name"),
    ("Alerts.AddSilence", silence(None), "lasts"),
    ("Alerts.AddSilence", silence(60, ends_at=Timestamp(seconds=9)), "lasts"),
    ("Alerts.AddSilence", silence(0), "lasts"),
    ("Alerts.AddSilence", silence(None, ends_at=Timestamp(seconds=9)), "silence.ends_at"),
    ("Alerts.AddSilence", silence(source="moon"), "silence.source"),
    ("Alerts.AddSilence", silence(type="a b"), "silence.type"),
    ("Alerts.AddSilence", silence(rule=BIG), "silence.rule"),
    ("Alerts.AddSilence", silence(fingerprint=BIG), "silence.fingerprint"),
    ("Alerts.AddSilence", silence(starts_at=Timestamp(seconds=-1)), "silence.starts_at"),
    ("Alerts.AddSilence", silence(reason=""), "silence.reason"),
    ("Alerts.EndSilence", alerts_pb2.EndSilenceRequest(), "silence_id"),
    ("Alerts.ListAlertGroups", alerts_pb2.ListAlertGroupsRequest(state=3), "state"),  # type: ignore[arg-type]
    ("Alerts.ListAlertGroups", alerts_pb2.ListAlertGroupsRequest(page_size=1001), "page_size"),
    ("Alerts.ListAlertGroups", alerts_pb2.ListAlertGroupsRequest(page_token="x"), "page_token"),
]


forged = convert.make_token  # it fits the filters
DEEP = base64.urlsafe_b64encode(b"[" * 100_000).decode()  # deeper than Python reads
HUGE = (1 << 63) - 1
TOKENS: list[tuple[str, Any, str]] = [
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(page_token=DEEP), "page_token"),
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(page_token=forged("/1", 1, 2, 3)), "page_token"),
    ("Jobs.CountJobs", jobs_pb2.CountJobsRequest(page_token=forged("/count", 1)), "page_token"),
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(job_id=1, page_token=forged("1/0/0", HUGE, 1)), "page_token"),
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(job_id=1, page_token=forged("1/0/0", 1, HUGE)), "page_token"),
    ("Admin.ListAlerts", admin_pb2.ListAlertsRequest(page_token=forged("alerts", 1, 2)), "page_token"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(instance_id="i", page_token=forged("i", 1, 2)), "page_token"),
    ("Schedules.ListSchedules", schedules_pb2.ListSchedulesRequest(page_token=forged("schedules default", 1, 2)), "page_token"),
    ("Operations.ListOperations", operations_pb2.ListOperationsRequest(page_token=forged("operations default", 1, 2)), "page_token"),
    ("Operations.ListSkippedJobs", operations_pb2.ListSkippedJobsRequest(operation_id=1, page_token=forged("skipped 1", 1, 2)), "page_token"),
    ("Alerts.ListAlertGroups", alerts_pb2.ListAlertGroupsRequest(page_token=forged("alert groups default 0", 1, 2)), "page_token"),
    ("Grants.ListGrants", grants_pb2.ListGrantsRequest(page_token=forged("grants default  False", HUGE)), "page_token"),
    ("Access.ListAudit", access_pb2.ListAuditRequest(page_token=forged("default ", HUGE, 1)), "page_token"),
    ("Access.ListAudit", access_pb2.ListAuditRequest(page_token=forged("default ", 1)), "page_token"),
]


REFUSED: list[tuple[str, Any, str]] = [
    *TOKENS,
    *LIMITS,
    *GRAPH,
    *ACCESS,
    *SCALER,
    *SCHEDULES,
    *OPERATIONS,
    *LIFECYCLE,
    *USERS,
    *GRANTS,
    *ALERTS,
    *FILTERS,
    ("Jobs.Submit", jobs_pb2.SubmitRequest(), "job"),
    *[("Jobs.Submit", submit(**fields), field) for fields, field in SPEC_ROWS],
    ("Jobs.SubmitMany", jobs_pb2.SubmitManyRequest(), "jobs"),
    ("Jobs.SubmitMany", jobs_pb2.SubmitManyRequest(jobs=[job()] * 10_001), "jobs"),
    ("Jobs.GetJob", jobs_pb2.GetJobRequest(), "job_id"),
    ("Jobs.GetJob", jobs_pb2.GetJobRequest(job_id=-5), "job_id"),
    ("Jobs.GetJob", jobs_pb2.GetJobRequest(job_id=1, view=9), "view"),  # type: ignore[arg-type]
    ("Jobs.ListJobs", listing(types=["a b"]), "filter.types[0]"),
    ("Jobs.ListJobs", listing(types=["a", ""]), "filter.types[1]"),
    ("Jobs.ListJobs", listing(states=[0]), "filter.states[0]"),
    ("Jobs.ListJobs", listing(states=[1, 6]), "filter.states[1]"),
    ("Jobs.ListJobs", listing(instance_id=BIG), "filter.instance_id"),
    ("Jobs.ListJobs", listing(instance_id="\x00"), "filter.instance_id"),
    ("Jobs.ListJobs", listing(created_from=Timestamp(seconds=-1)), "filter.created_from"),
    ("Jobs.ListJobs", listing(created_to=Timestamp(seconds=FAR)), "filter.created_to"),
    ("Jobs.ListJobs", listing(started_from=Timestamp(seconds=-1)), "filter.started_from"),
    ("Jobs.ListJobs", listing(started_to=Timestamp(seconds=FAR)), "filter.started_to"),
    ("Jobs.ListJobs", listing(settled_from=Timestamp(seconds=-1)), "filter.settled_from"),
    ("Jobs.ListJobs", listing(settled_to=Timestamp(seconds=FAR)), "filter.settled_to"),
    ("Jobs.ListJobs", listing(agent=BIG), "filter.agent"),
    ("Jobs.ListJobs", listing(error_fingerprint="x" * 65), "filter.error_fingerprint"),
    ("Jobs.ListJobs", listing(labels={"": "x"}), "filter.labels"),
    ("Jobs.ListJobs", listing(labels={"k": BIG}), "filter.labels[k]"),
    ("Jobs.ListJobs", listing(log_text=BIG), "filter.log_text"),
    ("Jobs.ListJobs", listing(log_text="\x00"), "filter.log_text"),
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(order=4), "order"),  # type: ignore[arg-type]
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(order=jobs_pb2.JOB_ORDER_SCORE), "order"),
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(page_size=1001), "page_size"),
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(page_token="x"), "page_token"),
    ("Jobs.ListJobs", jobs_pb2.ListJobsRequest(page_token="WzEsIngiLC0xXQ=="), "page_token"),
    ("Jobs.CountJobs", jobs_pb2.CountJobsRequest(types=["\x00"]), "types[0]"),
    ("Jobs.CountJobs", jobs_pb2.CountJobsRequest(types=["a"], filter=jobs_pb2.JobFilter(types=["b"])), "types"),
    ("Jobs.CountJobs", jobs_pb2.CountJobsRequest(filter=jobs_pb2.JobFilter(agent=BIG)), "filter.agent"),
    ("Jobs.CountJobs", jobs_pb2.CountJobsRequest(page_token="x"), "page_token"),
    ("Jobs.WaitJob", jobs_pb2.WaitJobRequest(), "job_id"),
    ("Jobs.WaitJob", jobs_pb2.WaitJobRequest(job_id=1, wait=Duration(seconds=-1)), "wait"),
    ("Jobs.WaitJob", jobs_pb2.WaitJobRequest(job_id=1, wait=Duration(seconds=3601)), "wait"),
    ("Jobs.WaitJob", jobs_pb2.WaitJobRequest(job_id=1, view=3), "view"),  # type: ignore[arg-type]
    ("Jobs.ExplainJob", jobs_pb2.ExplainJobRequest(), "job_id"),
    ("Jobs.ListAttempts", jobs_pb2.ListAttemptsRequest(), "job_id"),
    ("Jobs.ListEvents", jobs_pb2.ListEventsRequest(job_id=-1), "job_id"),
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(), "job_id"),
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(job_id=1, min_level=5), "min_level"),  # type: ignore[arg-type]
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(job_id=1, page_size=10_001), "page_size"),
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(job_id=1, page_token="x"), "page_token"),
    ("Jobs.ListLogs", jobs_pb2.ListLogsRequest(job_id=1, lease_epoch=2**32 - 1), "lease_epoch"),
    *[
        (f"Admin.{name}Jobs", request(job_ids=ids), "job_ids" if len(ids) in (0, 1001) else f"job_ids[{len(ids) - 1}]")
        for name, request in (("Requeue", admin_pb2.RequeueJobsRequest), ("Abort", admin_pb2.AbortJobsRequest), ("Purge", admin_pb2.PurgeJobsRequest))
        for ids in IDS
    ],
    *[
        (f"Admin.{name}Jobs", request(job_ids=[1], reason=reason), "reason")
        for name, request in (("Requeue", admin_pb2.RequeueJobsRequest), ("Abort", admin_pb2.AbortJobsRequest), ("Purge", admin_pb2.PurgeJobsRequest))
        for reason in ("x" * 1001, "\x00")
    ],
    ("Admin.AbortJobs", admin_pb2.AbortJobsRequest(job_ids=[1], grace=Duration(seconds=-1)), "grace"),
    ("Admin.AbortJobs", admin_pb2.AbortJobsRequest(job_ids=[1], grace=Duration(seconds=86_401)), "grace"),
    ("Admin.GetJobType", admin_pb2.GetJobTypeRequest(), "name"),
    ("Admin.GetJobType", admin_pb2.GetJobTypeRequest(name=BIG), "name"),
    ("Admin.SetJobType", admin_pb2.SetJobTypeRequest(), "name"),
    ("Admin.SetJobType", settings(priority=2**31 - 1), "settings.priority"),
    ("Admin.SetJobType", settings(timeout=Duration()), "settings.timeout"),
    ("Admin.SetJobType", settings(timeout=Duration(seconds=-1)), "settings.timeout"),
    ("Admin.SetJobType", settings(max_attempts=0), "settings.max_attempts"),
    ("Admin.SetJobType", settings(max_losses=2**31 - 1), "settings.max_losses"),
    ("Admin.SetJobType", settings(exhausted_state=types_pb2.JOB_STATE_COMPLETED), "settings.exhausted_state"),
    ("Admin.SetJobType", settings(exhausted_state=99), "settings.exhausted_state"),
    ("Admin.SetJobType", settings(delete_completed_after=Duration(seconds=FAR)), "settings.delete_completed_after"),
    ("Admin.SetJobType", settings(retry=types_pb2.RetryPolicy(delay=Duration(seconds=-1))), "settings.retry.delay"),
    ("Admin.SetJobType", settings(retry=types_pb2.RetryPolicy(factor=0.5)), "settings.retry.factor"),
    ("Admin.SetJobType", settings(retry=types_pb2.RetryPolicy(factor=float("nan"))), "settings.retry.factor"),
    ("Admin.SetJobType", settings(retry=types_pb2.RetryPolicy(jitter=2)), "settings.retry.jitter"),
    ("Admin.SetJobType", settings(log_limit_lines=2**31 - 1), "settings.log_limit_lines"),
    ("Admin.SetJobType", settings(log_limit_bytes=2**31 - 1), "settings.log_limit_bytes"),
    ("Admin.SetJobType", admin_pb2.SetJobTypeRequest(name="t", clear=["priority", "colour"]), "clear[1]"),
    ("Admin.DrainAgents", admin_pb2.DrainAgentsRequest(), "agent"),
    ("Admin.DrainAgents", admin_pb2.DrainAgentsRequest(agent=BIG), "agent"),
    ("Admin.ResumeAgents", admin_pb2.ResumeAgentsRequest(), "agent"),
    ("Admin.ListAlerts", admin_pb2.ListAlertsRequest(page_size=1001), "page_size"),
    ("Admin.ListAlerts", admin_pb2.ListAlertsRequest(page_token="?"), "page_token"),
    ("Agents.ReportOutcomes", agents_pb2.ReportOutcomesRequest(), "outcomes"),
    ("Agents.ReportOutcomes", agents_pb2.ReportOutcomesRequest(outcomes=[agents_pb2.Outcome(job_id=1, lease_epoch=1)]), "outcomes[0].kind"),
    ("Agents.ReportOutcomes", agents_pb2.ReportOutcomesRequest(outcomes=[agents_pb2.Outcome(job_id=1, lease_epoch=1, kind=77)]), "outcomes[0].kind"),  # type: ignore[arg-type]
    (
        "Agents.ReportOutcomes",
        agents_pb2.ReportOutcomesRequest(outcomes=[agents_pb2.Outcome(lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_COMPLETED)]),
        "outcomes[0].job_id",
    ),
    (
        "Agents.ReportOutcomes",
        agents_pb2.ReportOutcomesRequest(outcomes=[agents_pb2.Outcome(job_id=1, lease_epoch=1, kind=agents_pb2.OUTCOME_KIND_FAILED, retry_after=Duration(seconds=-1))]),
        "outcomes[0].retry_after",
    ),
    (
        "Agents.ReportOutcomes",
        agents_pb2.ReportOutcomesRequest(outcomes=[agents_pb2.Outcome(job_id=1, lease_epoch=2**31, kind=agents_pb2.OUTCOME_KIND_COMPLETED)]),
        "outcomes[0].lease_epoch",
    ),
    ("Agents.UploadLogs", agents_pb2.UploadLogsRequest(logs=[agents_pb2.LogBatch()]), "logs[0].lease.job_id"),
    (
        "Agents.UploadLogs",
        agents_pb2.UploadLogsRequest(
            logs=[agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=1, lease_epoch=1), lines=[jobs_pb2.LogLine(line_no=1, at=Timestamp(seconds=FAR), text="x")])]
        ),
        "logs[0].lines[0].at",
    ),
    (
        "Agents.UploadLogs",
        agents_pb2.UploadLogsRequest(logs=[agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=1, lease_epoch=1), lines=[jobs_pb2.LogLine()])]),
        "logs[0].lines[0].line_no",
    ),
    (
        "Agents.UploadLogs",
        agents_pb2.UploadLogsRequest(logs=[agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=1, lease_epoch=2**32 - 1))]),
        "logs[0].lease.lease_epoch",
    ),
    ("Instances.SetInstancePriority", instances_pb2.SetInstancePriorityRequest(), "instance_id"),
    ("Instances.SetInstancePriority", instances_pb2.SetInstancePriorityRequest(instance_id="i", priority=1_000_001), "priority"),
    ("Instances.SetInstancePriority", instances_pb2.SetInstancePriorityRequest(instance_id="i", reason="x" * 1001), "reason"),
    ("Instances.ListInstancePriorities", instances_pb2.ListInstancePrioritiesRequest(page_size=1001), "page_size"),
    ("Instances.ListInstancePriorities", instances_pb2.ListInstancePrioritiesRequest(page_token="x"), "page_token"),
    ("Instances.ListRescores", instances_pb2.ListRescoresRequest(page_size=1001), "page_size"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(), "serial"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(serial="1", fingerprint="2"), "serial"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(serial="xyz"), "serial"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(serial="1" * 41), "serial"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(serial="000"), "serial"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(fingerprint="ab"), "fingerprint"),
    ("Certificates.RevokeCertificate", certificates_pb2.RevokeCertificateRequest(serial="1", reason="x" * 1001), "reason"),
    ("Testing.AdvanceClock", testing_pb2.AdvanceClockRequest(), "by"),
    ("Testing.AdvanceClock", testing_pb2.AdvanceClockRequest(by=Duration(seconds=-1)), "by"),
    ("Testing.AdvanceClock", testing_pb2.AdvanceClockRequest(by=Duration(seconds=1001 * 86_400)), "by"),
    ("Stats.GetTrend", stats_pb2.GetTrendRequest(by="colour"), "by"),
    ("Stats.GetTrend", stats_pb2.GetTrendRequest(step=Duration(seconds=30)), "step"),
    ("Stats.GetCapacity", stats_pb2.GetCapacityRequest(window=Duration(seconds=30)), "window"),
    ("Stats.GetCapacity", stats_pb2.GetCapacityRequest(wished_wait=Duration(seconds=-1)), "wished_wait"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(hours=169), "hours"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(window=Duration(seconds=30)), "window"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(wished_wait=Duration(seconds=0)), "wished_wait"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(more_slots=-1_000_001), "more_slots"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(arrivals_factor=0), "arrivals_factor"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(arrivals_factor=float("nan")), "arrivals_factor"),
    ("Stats.GetForecast", stats_pb2.GetForecastRequest(work_factor=1001), "work_factor"),
]
NOTHING_TO_REFUSE = {
    "Admin.ListJobTypes",
    "Admin.ListAgents",
    "Stats.GetOverview",
    "Users.ListUsers",
    "Alerts.ListChannels",
    "Alerts.ListRules",
    "Alerts.ListSilences",
    "Brokers.ListBrokers",
    "Filters.ListFilters",
    "Certificates.ListRevokedCertificates",
    "Access.ListTokens",
    "Doors.ListDoors",
    "Limits.GetDomain",
    "Limits.ListDomains",
    "Limits.ListPauses",
}
STREAMS = {"Jobs.SubmitStream", "Jobs.WatchJobs", "Agents.Connect", "Logs.TailLogs", "Access.ExportAudit", "ExternalScaler.StreamIsActive"}


@pytest.fixture
async def channel(broker: BrokerProcess, stack: AsyncExitStack) -> grpc.aio.Channel:
    return await stack.enter_async_context(grpc.aio.insecure_channel(broker.address, options=[("grpc.max_send_message_length", 64 * 1024 * 1024)]))


@pytest.fixture
def wire(channel: grpc.aio.Channel) -> Wire:
    return Wire(channel)


def test_the_table_has_rows_for_every_call() -> None:
    calls = {f"{service.name}.{method.name}" for service in SERVICES for method in service.methods}
    assert {method for method, _, _ in REFUSED} | NOTHING_TO_REFUSE | STREAMS == calls


async def test_every_wrong_value_is_refused_by_the_name_of_its_field(wire: Wire, client: Client) -> None:
    wrong: list[str] = []
    for method, request, field in REFUSED:
        refusal = await wire.refused(method, request)
        if (refusal.code, refusal.field) != ("INVALID_ARGUMENT", field) or refusal.reason not in ("INVALID_FIELD", "TOO_LARGE", "PAGE_TOKEN"):
            wrong.append(f"{method} {field}: {refusal}")
        elif not refusal.message.startswith(field):
            wrong.append(f"{method} {field}: the message does not name the field: {refusal.message}")
    assert not wrong, "\n".join(wrong)
    assert (await client.count()).totals == {}


async def test_in_a_batch_each_wrong_job_is_named_and_the_others_are_stored(wire: Wire, client: Client) -> None:
    jobs = [job(), *[job(**fields) for fields, _ in SPEC_ROWS], job()]
    answer = await wire.call("Jobs.SubmitMany", jobs_pb2.SubmitManyRequest(jobs=jobs))
    assert [failure.field for failure in answer.results.failures] == [f"jobs[{index}].{field}" for index, (_, field) in enumerate(SPEC_ROWS, 1)]
    assert [index for index, job_id in enumerate(answer.results.job_ids) if job_id] == [0, len(jobs) - 1]
    assert sum((await client.count()).totals.values()) == 2


async def test_bytes_that_are_no_message_and_wrong_domains_are_refused(wire: Wire) -> None:
    for method in sorted({method for method, _, _ in REFUSED} | NOTHING_TO_REFUSE):
        garbage = await wire.refused(method, b"\xff\xff\xff\xff\x0fnot a message")
        assert (garbage.code, garbage.reason, garbage.field) == ("INVALID_ARGUMENT", "INVALID_FIELD", "request"), method
        good = next((request for name, request, _ in REFUSED if name == method), b"")
        for domain in ("", "a b", "x" * 101):
            refusal = await wire.refused(method, good if method.startswith("Agents.") else b"", domain=domain)
            assert refusal.code == "INVALID_ARGUMENT", method


async def test_streams_refuse_wrong_first_messages(channel: grpc.aio.Channel) -> None:
    jobs, agents = JobsStub(channel), AgentsStub(channel)  # type: ignore[no-untyped-call]
    watch: list[tuple[dict[str, Any], str]] = [
        ({"job_ids": [0]}, "job_ids[0]"),
        ({"types": ["a b"]}, "types[0]"),
        ({"instance_id": BIG}, "instance_id"),
        ({"job_ids": range(1, 1002)}, "job_ids"),
    ]
    for fields, field in watch:
        assert (await stream_refusal(jobs.WatchJobs(jobs_pb2.WatchJobsRequest(**fields)))).field == field
    logs: Any = LogsStub(channel)  # type: ignore[no-untyped-call]
    tail: list[tuple[dict[str, Any], str]] = [
        ({"job_id": 0}, "job_id"), ({"min_level": 5}, "min_level"), ({"lease_epoch": 2**32 - 1}, "lease_epoch"),
        ({"after_lease_epoch": 2**32 - 1}, "after_lease_epoch"), ({"after_line_no": 2**32 - 1}, "after_line_no"),
    ]  # fmt: skip
    for fields, field in tail:
        assert (await stream_refusal(logs.TailLogs(logs_pb2.TailLogsRequest(**{"job_id": 1, **fields})))).field == field
    assert (await stream_refusal(jobs.SubmitStream(iter([jobs_pb2.SubmitStreamRequest(request_no=1)])))).field == "jobs"
    keda: Any = ExternalScalerStub(channel)  # type: ignore[no-untyped-call]
    assert (await stream_refusal(keda.StreamIsActive(trigger(type="")))).field == "metadata.type"
    good: dict[str, Any] = {"agent_name": "a", "incarnation_id": "i" * 16, "slots": 1, "types": [agents_pb2.ServedType(type="t", slots=1)]}
    hello: list[tuple[dict[str, Any], str]] = [
        ({"agent_name": ""}, "hello.agent_name"), ({"agent_name": BIG}, "hello.agent_name"), ({"incarnation_id": "short"}, "hello.incarnation_id"),
        ({"incarnation_id": "i" * 101}, "hello.incarnation_id"), ({"slots": 0}, "hello.slots"), ({"slots": 2**32 - 1}, "hello.slots"), ({"types": []}, "hello.types"),
        ({"types": [agents_pb2.ServedType(type="a b")]}, "hello.types[0].type"), ({"host": BIG}, "hello.host"), ({"build": "\x00"}, "hello.build"),
        ({"labels": {"": "x"}}, "hello.labels"),
        ({"types": [agents_pb2.ServedType(type="t", declared=types_pb2.JobTypeSettings(max_attempts=0))]}, "hello.types[0].declared.max_attempts"),
    ]  # fmt: skip
    for fields, field in hello:
        refusal = await stream_refusal(agents.Connect(iter([agents_pb2.ConnectRequest(number=1, hello=agents_pb2.Hello(**{**good, **fields}))])))
        assert (refusal.code, refusal.field) == ("INVALID_ARGUMENT", field), refusal
    assert (await stream_refusal(agents.Connect(iter([agents_pb2.ConnectRequest(number=1)])))).field == "hello"
    assert (await stream_refusal(agents.Connect(iter([])))).field == "hello"


@pytest.mark.parametrize(
    "payload",
    [b"", b"\x00" * 1000, b"\xff\xfe\xfa", b"[" * 10_000 + b"]" * 10_000, b'{"a": NaN}', b"\xed\xa0\x80", "\u202e\U0001f4a9".encode()],
    ids=["empty", "nul", "invalid-utf-8", "deep", "nan", "surrogate", "unicode"],
)
async def test_any_bytes_pass_unchanged(wire: Wire, client: Client, payload: bytes) -> None:
    job_id = (await wire.call("Jobs.Submit", submit(payload=payload))).job_id
    answer = await wire.call("Jobs.GetJob", jobs_pb2.GetJobRequest(job_id=job_id, view=types_pb2.JOB_VIEW_FULL))
    assert answer.job.payload == payload
    assert (await client.get(job_id, full=True)).payload == payload


async def test_a_message_larger_than_the_limit_is_refused_and_the_channel_goes_on(wire: Wire, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await wire.call("Jobs.Submit", b"\x0a\xff" + b"x" * (20 * 1024 * 1024))
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await wire.call("Stats.GetOverview", stats_pb2.GetOverviewRequest())
