"""Between the messages of an agent's stream and the broker's values. What breaks the protocol is refused by the name of its field; what only exceeds a limit is cut, or
turned into the failure that it is, since the agent cannot send it any better a second time."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from headrace_proto.v1 import agents_pb2, jobs_pb2
from headrace_proto.wire import EPOCH, to_datetime, to_duration, to_timestamp

from headrace_broker.model.errors import InvalidField, TooLarge
from headrace_broker.model.job import AbortStep, Kind
from headrace_broker.model.settings import Settings
from headrace_broker.rpc import convert
from headrace_broker.shards.intents import AckSink, Completions, Ending
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.session import Assigned, Outbound, Session
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import FullBody, payload_of
from headrace_broker.store.log_limits import LogBatch

MAX_OUTCOMES = 10_000
MAX_LEASES = 100_000
"""That one message names, by its heartbeat and so on: as many as an agent may have slots."""
MAX_LINES = 10_000
"""Log lines in one message."""
MAX_LINE = 16 * 1024
"""Characters of one log line."""
DEFAULT_LIMITS = (Settings().log_limit_lines, Settings().log_limit_bytes)
_KINDS = {1: Kind.COMPLETED, 2: Kind.FAILED, 3: Kind.TIMED_OUT, 4: Kind.ABORTED, 5: Kind.RELEASED, 6: Kind.COMPLETED}

_PHASES = {1: AbortStep.DELIVERED, 2: AbortStep.IGNORED}


def endings(outcomes: Iterable[agents_pb2.Outcome], sink: AckSink, result_limit: int) -> list[Ending]:
    """Outcomes as intents. Raises InvalidField for one that cannot be understood."""
    found = []
    for index, outcome in enumerate(outcomes):
        kind = _KINDS.get(outcome.kind)
        if kind is None:
            raise InvalidField(f"outcomes[{index}].kind", f"an outcome's kind is 1 to 6, found {outcome.kind}")
        if outcome.job_id <= 0:
            raise InvalidField(f"outcomes[{index}].job_id", f"a job id is a positive number, found {outcome.job_id}")
        if outcome.lease_epoch > convert.MAX_EPOCH:
            raise InvalidField(f"outcomes[{index}].lease_epoch", f"at most {convert.MAX_EPOCH}, found {outcome.lease_epoch}")
        ending = Ending(outcome.job_id, outcome.lease_epoch, kind, sink, door=outcome.door, settled=outcome.kind == agents_pb2.OUTCOME_KIND_SETTLED)
        if kind is not Kind.COMPLETED:
            ending.error = convert.job_error(outcome.error) if outcome.HasField("error") else None
            ending.permanent, ending.killed = outcome.permanent, outcome.killed
            ending.delay_s = convert.seconds(f"outcomes[{index}].retry_after", outcome.retry_after) if outcome.HasField("retry_after") else None
        elif len(outcome.result) <= result_limit:
            ending.result = outcome.result or None
        else:
            ending.kind, ending.permanent = Kind.FAILED, True
            message = f"the result has {len(outcome.result)} bytes; at most {result_limit} are kept"
            ending.error = json.dumps({"code": "result_too_large", "message": message, "fingerprint": "result_too_large", "traceback": ""})
        found.append(ending)
    return found


def abort_step(report: agents_pb2.AbortReport) -> AbortStep:
    """How far an abort came. Raises InvalidField for a phase that is not known."""
    step = _PHASES.get(report.phase)
    if step is None:
        raise InvalidField("aborts.phase", f"a phase is 1 or 2, found {report.phase}")
    return step


def completions(message: agents_pb2.Completions, sink: AckSink, result_limit: int) -> list[Completions | Ending]:
    """Completed attempts as intents; those whose result is too large are failures. Raises InvalidField when the columns do not fit together."""
    job_ids, epochs, results = list(message.job_ids), list(message.lease_epochs), list(message.results) or None
    if len(job_ids) != len(epochs) or (results is not None and len(results) != len(job_ids)):
        raise InvalidField("completions", f"columns of equal length, found {len(job_ids)} job_ids, {len(epochs)} lease_epochs and {len(message.results)} results")
    if job_ids and min(job_ids) <= 0:
        raise InvalidField("completions.job_ids", "a job id is a positive number")
    if epochs and max(epochs) > convert.MAX_EPOCH:  # more than the database holds: it would be asked, and the owner would fall
        raise InvalidField("completions.lease_epochs", f"at most {convert.MAX_EPOCH}, found {max(epochs)}")
    if results is None or max(map(len, results)) <= result_limit:
        return [Completions(job_ids, epochs, results, sink)]
    outcomes = [agents_pb2.Outcome(job_id=i, lease_epoch=e, kind=agents_pb2.OUTCOME_KIND_COMPLETED, result=r) for i, e, r in zip(job_ids, epochs, results, strict=True)]
    return [*endings(outcomes, sink, result_limit)]


def log_batches(owner: Owner, batches: Sequence[agents_pb2.LogBatch], agent_id: int) -> list[LogBatch]:
    """Lines as they came from an agent, with what is known of their attempts. Raises InvalidField for what cannot be understood, TooLarge for too many lines; too long
    ones are cut."""
    count = sum([len(batch.lines) for batch in convert.bounded("logs", batches, MAX_LINES)])
    if count > MAX_LINES:
        raise TooLarge("logs", f"at most {MAX_LINES:,} lines in a message, found {count:,}")
    found = []
    for number, batch in enumerate(batches):
        job_id = convert.job_id(f"logs[{number}].lease.job_id", batch.lease.job_id)
        epoch = convert.epoch(f"logs[{number}].lease.lease_epoch", batch.lease.lease_epoch)
        live = owner.live_jobs.get(job_id)
        granted_here = live is not None and live.seq == epoch and live.round > 0
        holder_id = live.agent_id if live is not None and live.seq == epoch else None
        lines = [_log_line(f"logs[{number}].lines[{index}]", line) for index, line in enumerate(batch.lines)]
        found.append(LogBatch((job_id, epoch), live.entry.type_id if live is not None else None, granted_here, lines, agent_id, holder_id))
    return found


def _log_line(field: str, line: jobs_pb2.LogLine) -> tuple[int, datetime, int, str]:
    try:
        at = to_datetime(line.at)
    except OverflowError:
        at = datetime.min.replace(tzinfo=UTC)
    if at < EPOCH:
        raise InvalidField(f"{field}.at", "a time between the years 1970 and 9999")
    if not 1 <= line.line_no <= convert.MAX_EPOCH:
        raise InvalidField(f"{field}.line_no", f"lines are numbered from 1 to {convert.MAX_EPOCH}, found {line.line_no}")
    return line.line_no, at, line.level if 1 <= line.level <= 4 else 2, line.text[:MAX_LINE].replace("\x00", "\ufffd")


def log_limits(settings: Settings) -> tuple[int, int]:
    """(lines, bytes) that are kept of one attempt."""
    return settings.log_limit_lines, settings.log_limit_bytes


def refs(leases: Iterable[tuple[int, int]]) -> list[agents_pb2.LeaseRef]:
    """Leases as messages."""
    return [agents_pb2.LeaseRef(job_id=job_id, lease_epoch=epoch) for job_id, epoch in leases]


def response(owner: Owner, session: Session, out: Outbound) -> agents_pb2.ConnectResponse:
    """One message with everything that is due."""
    message = agents_pb2.ConnectResponse(logs_stored_no=out.logs_no)
    if out.assigned:
        _assign(message.assign, session, out)
    for disposition, (job_ids, epochs) in out.acks.items():
        if session.columns:
            message.acked.add(disposition=int(disposition), job_ids=job_ids, lease_epochs=epochs)
            continue
        for job_id, epoch in zip(job_ids, epochs, strict=True):
            message.outcome_acks.add(job_id=job_id, lease_epoch=epoch, disposition=int(disposition))
    if out.proven_no:
        message.heartbeat_ack.seen_no = out.proven_no
        message.heartbeat_ack.server_time.CopyFrom(to_timestamp(owner.clock.now_s()))
    if out.not_held:
        message.heartbeat_ack.not_held.extend(refs(out.not_held))
    for job_id, epoch, abort in out.aborts:
        lease = agents_pb2.LeaseRef(job_id=job_id, lease_epoch=epoch)
        message.aborts.append(agents_pb2.AbortCommand(lease=lease, actor=abort.actor, reason=abort.reason, grace=to_duration(abort.grace_s)))
    message.revoked.extend(refs(out.revoked))
    if out.go_away is not None:
        message.go_away.CopyFrom(agents_pb2.GoAway(reason=out.go_away, reconnect_after=to_duration(0.2), stay_away=out.stay_away))
    return message


def _assign(assign: agents_pb2.Assign, session: Session, out: Outbound) -> None:
    assign.number, assign.seen_no = session.assign_no, out.seen_no
    add = assign.jobs.add
    for live, epoch, body, checkpoint in _assign_plain(assign, out.assigned) if session.columns else out.assigned:
        settings = live.entry.settings
        job: agents_pb2.AssignedJob = add(
            job_id=live.job_id, lease_epoch=epoch, type=live.entry.name, payload=payload_of(body), run=live.run,
            attempt=live.attempt, timeout_ms=round(settings.timeout_s * 1000), max_attempts=settings.max_attempts, priority=live.priority,
            losses=live.losses, checkpoint=checkpoint,
        )  # fmt: skip
        if not isinstance(body, bytes):
            _add_details(job, body)
        limits = log_limits(settings)
        if limits != DEFAULT_LIMITS:
            job.log_limit_lines, job.log_limit_bytes = limits


def _assign_plain(assign: agents_pb2.Assign, assigned: list[Assigned]) -> list[Assigned]:
    """Puts what can travel as columns into columns; returns the rest. Jobs of a lane come one after another, so a column is as long as it can be."""
    rest: list[Assigned] = []
    entry, priority = None, 0
    job_ids: list[int] = []
    epochs: list[int] = []
    payloads: list[bytes] = []
    columns: list[tuple[TypeEntry, int, list[int], list[int], list[bytes]]] = []
    for item in assigned:
        live, epoch, body, checkpoint = item
        if type(body) is not bytes or checkpoint is not None or live.attempt != 1 or live.run != 1 or live.losses:
            rest.append(item)
            continue
        if live.entry is not entry or live.priority != priority:
            entry, priority, job_ids, epochs, payloads = live.entry, live.priority, [], [], []
            columns.append((entry, priority, job_ids, epochs, payloads))
        job_ids.append(live.job_id)
        epochs.append(epoch)
        payloads.append(body)
    for entry, priority, job_ids, epochs, payloads in columns:
        settings = entry.settings
        plain = assign.plain.add(
            type=entry.name, priority=priority, timeout_ms=round(settings.timeout_s * 1000), max_attempts=settings.max_attempts, job_ids=job_ids,
            lease_epochs=epochs, payloads=payloads,
        )  # fmt: skip
        limits = log_limits(settings)
        if limits != DEFAULT_LIMITS:
            plain.log_limit_lines, plain.log_limit_bytes = limits
    return rest


def _add_details(job: agents_pb2.AssignedJob, body: FullBody) -> None:
    """What most jobs do not have."""
    if body.content_type:
        job.content_type = body.content_type
    if body.instance_id:
        job.instance_id = body.instance_id
    if body.labels:
        job.labels.update(json.loads(body.labels))
    if body.trace_context:
        job.trace_context = body.trace_context
