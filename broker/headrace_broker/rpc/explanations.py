"""Explanations as messages."""

from headrace_proto.v1 import jobs_pb2
from headrace_proto.wire import WAIT_REASONS, to_timestamp

from headrace_broker.actions.explain import Explanation
from headrace_broker.model.job import State
from headrace_broker.rpc.limits import breaker_message

_REASON_NUMBERS = {name: number for number, name in WAIT_REASONS.items()}


def explanation_message(found: Explanation) -> jobs_pb2.ExplainJobResponse:
    """The answer of ExplainJob."""
    row, obstacles = found.job.row, found.obstacles
    message = jobs_pb2.ExplainJobResponse(
        state=int(row.state), wait_reason=_REASON_NUMBERS[found.job.wait_reason], text=found.text, ahead=max(0, found.ahead), agents=found.agents,  # type: ignore[arg-type]
        slots=found.slots, slots_free=found.slots_free, score=found.job.score + found.age_points, type_priority=found.type_priority,
        instance_priority=found.instance_priority, job_priority=row.priority, age_points=found.age_points, blockers_total=obstacles.blockers_total,
        limit_key=obstacles.limit_key, estimate_basis=obstacles.basis,
        blockers=[jobs_pb2.Blocker(job_id=blocker.row.job_id, type=blocker.type, state=int(blocker.row.state), why=why) for blocker, why in found.blockers],  # type: ignore[arg-type]
    )  # fmt: skip
    if obstacles.pause is not None:
        pause = obstacles.pause
        message.paused, message.paused_by, message.paused_reason = f"{pause.kind} {pause.name or pause.domain}", pause.actor, pause.reason
        message.paused_at.CopyFrom(to_timestamp(pause.at))
    if row.state is State.WAITING and found.job.wait_reason in ("scheduled", "retry") and row.available_at is not None:
        message.not_before.CopyFrom(to_timestamp(row.available_at))
    if obstacles.breaker is not None:
        message.breaker.CopyFrom(breaker_message(obstacles.breaker))
    if obstacles.rate_until_s is not None:
        message.rate_limited_until.CopyFrom(to_timestamp(obstacles.rate_until_s))
    if obstacles.start_s is not None:
        message.estimated_start.CopyFrom(to_timestamp(obstacles.start_s))
    return message
