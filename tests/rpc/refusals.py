"""Rows of test_validation.py by services: (call, a request that is refused, the field that is named)."""

from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from headrace_proto.keda import externalscaler_pb2
from headrace_proto.v1 import access_pb2, filters_pb2, graph_pb2, jobs_pb2, limits_pb2, types_pb2

BIG = "x" * 201
FAR = 2**63 - 1

LIMITS: list[tuple[str, Any, str]] = [
    ("Limits.Pause", limits_pb2.PauseRequest(), "target"),
    ("Limits.Pause", limits_pb2.PauseRequest(domain=False), "target"),
    ("Limits.Pause", limits_pb2.PauseRequest(type="a b"), "type"),
    ("Limits.Pause", limits_pb2.PauseRequest(agent=BIG), "agent"),
    ("Limits.Pause", limits_pb2.PauseRequest(type="t", reason="x" * 1001), "reason"),
    ("Limits.CloseBreaker", limits_pb2.CloseBreakerRequest(), "type"),
    ("Limits.CloseBreaker", limits_pb2.CloseBreakerRequest(type="a b"), "type"),
    ("Limits.CloseBreaker", limits_pb2.CloseBreakerRequest(type="t", reason="x" * 1001), "reason"),
    ("Limits.Resume", limits_pb2.ResumeRequest(), "target"),
    ("Limits.Resume", limits_pb2.ResumeRequest(agent=""), "agent"),
    ("Limits.Resume", limits_pb2.ResumeRequest(domain=True, reason="\x00"), "reason"),
    ("Limits.SetDomain", limits_pb2.SetDomainRequest(limits=limits_pb2.DomainLimits(depth_limit=2**31)), "limits.depth_limit"),
    ("Limits.SetDomain", limits_pb2.SetDomainRequest(limits=limits_pb2.DomainLimits(weight=0)), "limits.weight"),
    ("Limits.SetDomain", limits_pb2.SetDomainRequest(limits=limits_pb2.DomainLimits(weight=float("nan"))), "limits.weight"),
    ("Limits.SetDomain", limits_pb2.SetDomainRequest(clear=["weight", "colour"]), "clear[1]"),
    ("Limits.SetDomain", limits_pb2.SetDomainRequest(reason="x" * 1001), "reason"),
]
GRAPH: list[tuple[str, Any, str]] = [
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(), "job_id"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(job_id=1, instance_id="i"), "job_id"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(job_id=-1), "job_id"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(job_id=1, page_token="x"), "page_token"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(instance_id=BIG), "instance_id"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(instance_id="i", page_token="x"), "page_token"),
    ("Graph.GetGraph", graph_pb2.GetGraphRequest(instance_id="i", page_size=1001), "page_size"),
    ("Graph.ListDependencies", graph_pb2.ListDependenciesRequest(), "job_id"),
    ("Graph.ListDependencies", graph_pb2.ListDependenciesRequest(job_id=1, max_bytes=8 * 1024 * 1024 + 1), "max_bytes"),
    ("Graph.CreateBatch", graph_pb2.CreateBatchRequest(), "callback"),
    ("Graph.CreateBatch", graph_pb2.CreateBatchRequest(callback=types_pb2.JobSpec(type="t", depends_on=[1])), "callback.depends_on"),
    (
        "Graph.CreateBatch",
        graph_pb2.CreateBatchRequest(callback=types_pb2.JobSpec(type="t", unique_key="k", on_conflict="UNIQUE_CONFLICT_REPLACE")),
        "callback.on_conflict",
    ),
    ("Graph.SealBatch", graph_pb2.SealBatchRequest(), "batch_id"),
    ("Graph.GetBatch", graph_pb2.GetBatchRequest(batch_id=-1), "batch_id"),
]
ACCESS: list[tuple[str, Any, str]] = [
    *[(f"Access.{name}", getattr(access_pb2, f"{name}Request")(name="a b"), "name") for name in ("CreateToken", "RotateToken", "RevokeToken")],
    *[(f"Access.{name}", getattr(access_pb2, f"{name}Request")(name="t", reason="x" * 1001), "reason") for name in ("RotateToken", "RevokeToken")],
    ("Access.CreateToken", access_pb2.CreateTokenRequest(name="t"), "role"),
    ("Access.CreateToken", access_pb2.CreateTokenRequest(name="t", role=9), "role"),  # type: ignore[arg-type]
    ("Access.CreateToken", access_pb2.CreateTokenRequest(name="t", role=access_pb2.ROLE_VIEWER, expires_in=Duration(nanos=1)), "expires_in"),
    ("Access.CreateToken", access_pb2.CreateTokenRequest(name="t", role=access_pb2.ROLE_VIEWER, reason="\x00"), "reason"),
    ("Access.RotateToken", access_pb2.RotateTokenRequest(name="t", overlap=Duration(seconds=-1)), "overlap"),
    ("Access.ListAudit", access_pb2.ListAuditRequest(page_size=1001), "page_size"),
    ("Access.ListAudit", access_pb2.ListAuditRequest(page_token="x"), "page_token"),
    ("Access.ListAudit", access_pb2.ListAuditRequest(filter=access_pb2.AuditFilter(at_from=Timestamp(seconds=FAR))), "filter.at_from"),
]


def trigger(**metadata: str) -> externalscaler_pb2.ScaledObjectRef:
    """A trigger of KEDA that is good but for these."""
    return externalscaler_pb2.ScaledObjectRef(name="agent", scalerMetadata={"scalerAddress": "headrace:7233", "type": "t", "jobsPerReplica": "5", **metadata})


SCALER: list[tuple[str, Any, str]] = [
    ("ExternalScaler.IsActive", externalscaler_pb2.ScaledObjectRef(), "metadata.type"),
    ("ExternalScaler.IsActive", externalscaler_pb2.ScaledObjectRef(scalerMetadata={"type": "t"}), "metadata.jobsPerReplica"),
    ("ExternalScaler.IsActive", trigger(type="t,,u"), "metadata.type"),
    ("ExternalScaler.IsActive", trigger(type="mail.[ab]"), "metadata.type"),
    ("ExternalScaler.IsActive", trigger(type=",".join(["t"] * 101)), "metadata.type"),
    ("ExternalScaler.IsActive", trigger(typeFromEnv="t"), "metadata.type"),
    ("ExternalScaler.IsActive", trigger(types="t"), "metadata.types"),
    ("ExternalScaler.IsActive", trigger(domain="a b"), "metadata.domain"),
    ("ExternalScaler.IsActive", trigger(token="a b"), "metadata.token"),
    ("ExternalScaler.IsActive", trigger(includeRunning="maybe"), "metadata.includeRunning"),
    ("ExternalScaler.IsActive", trigger(activationThreshold="-1"), "metadata.activationThreshold"),
    ("ExternalScaler.IsActive", trigger(activationThreshold=""), "metadata.activationThreshold"),
    *[("ExternalScaler.GetMetricSpec", trigger(jobsPerReplica=value), "metadata.jobsPerReplica") for value in ("0", "-1", "nan", "inf", "five", "1e10", "")],
    ("ExternalScaler.GetMetrics", externalscaler_pb2.GetMetricsRequest(metricName="headrace-jobs"), "metadata.type"),
    ("ExternalScaler.GetMetrics", externalscaler_pb2.GetMetricsRequest(scaledObjectRef=trigger(), metricName="s0-headrace-jobs"), "metricName"),
]


def kept(**fields: Any) -> filters_pb2.SaveFilterRequest:
    """A saved filter that is good but for these fields."""
    return filters_pb2.SaveFilterRequest(filter=filters_pb2.SavedFilter(**{"name": "f", "filter": jobs_pb2.JobFilter(instance_id="i"), **fields}))


FILTERS: list[tuple[str, Any, str]] = [
    *[("Filters.SaveFilter", kept(name=name), "name") for name in ("", " a", "a ", "a/b", "é", "x" * 61, "a\nb")],
    ("Filters.SaveFilter", kept(filter=None), "filter"),
    ("Filters.SaveFilter", kept(filter=jobs_pb2.JobFilter(types=["a b"])), "filter.types[0]"),
    ("Filters.SaveFilter", kept(filter=jobs_pb2.JobFilter(types=["nobody.made.it"])), "filter.types"),
    ("Filters.SaveFilter", kept(filter=jobs_pb2.JobFilter(states=[9])), "filter.states[0]"),  # type: ignore[list-item]
    ("Filters.SaveFilter", kept(filter=jobs_pb2.JobFilter(log_text=BIG)), "filter.log_text"),
    ("Filters.SaveFilter", kept(filter=jobs_pb2.JobFilter(labels={str(n): "x" * 150 for n in range(32)})), "filter"),
    ("Filters.SaveFilter", kept(ages=filters_pb2.FilterAges(created_from=Duration(seconds=-1))), "ages.created_from"),
    ("Filters.SaveFilter", kept(ages=filters_pb2.FilterAges(settled_to=Duration(seconds=11 * 366 * 86_400))), "ages.settled_to"),
    (
        "Filters.SaveFilter",
        kept(filter=jobs_pb2.JobFilter(created_from=Timestamp(seconds=9)), ages=filters_pb2.FilterAges(created_from=Duration(seconds=9))),
        "ages.created_from",
    ),
    ("Filters.SaveFilter", kept(order=4), "order"),
    ("Filters.SaveFilter", kept(order=jobs_pb2.JOB_ORDER_SCORE), "order"),
    ("Filters.SaveFilter", filters_pb2.SaveFilterRequest(filter=kept().filter, reason="x" * 1001), "reason"),
    ("Filters.GetFilter", filters_pb2.GetFilterRequest(), "name"),
    ("Filters.DeleteFilter", filters_pb2.DeleteFilterRequest(name="a/b"), "name"),
    ("Filters.DeleteFilter", filters_pb2.DeleteFilterRequest(name="f", reason="\x00"), "reason"),
]
