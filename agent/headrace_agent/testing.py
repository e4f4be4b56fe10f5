"""For tests: `run_job` runs a handler in the test's own process, without any broker, where codec, hooks, middleware and context are the real ones; `drain` runs an agent
through a real broker until nothing waits that could run. The fixtures for pytest are in `headrace_pytest`.

result = await run_job(agent, "mail.send", {"to": "ada@example.org"})
assert result.value == {"sent": True}
"""

import asyncio
import json
import math
from dataclasses import dataclass, field
from typing import Any

from headrace_client import JobSpec, Submitted
from headrace_client.encode import encode_payload
from headrace_proto.claim import is_reference
from headrace_proto.v1 import agents_pb2, jobs_pb2

from headrace_agent.agent import Agent
from headrace_agent.context import LEVELS
from headrace_agent.drain import Drained, drain
from headrace_agent.errors import AgentError
from headrace_agent.job import MAX_BYTES, MAX_LINES, Job, Terms
from headrace_agent.outcomes import Ended
from headrace_agent.work import Work

__all__ = ["Drained", "JobRun", "drain", "run_job"]
KINDS = {1: "completed", 2: "failed", 3: "timed_out", 4: "aborted", 5: "released", 6: "completed"}  # 6: by the handler's own transaction
LEVEL_NAMES = {number: name for name, number in LEVELS.items()}


@dataclass(slots=True)
class JobRun:
    """How an attempt ended. `value` is the result decoded from JSON; `logs` are (level, text); `submitted` are child jobs."""

    outcome: str
    value: Any
    result: bytes
    error_code: str
    error_message: str
    error_traceback: str
    permanent: bool
    retry_after_s: float | None
    logs: list[tuple[str, str]] = field(default_factory=list)
    progress: list[tuple[float, str]] = field(default_factory=list)
    checkpoint: bytes | None = None
    submitted: list[JobSpec] = field(default_factory=list)


class _Reports:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.done: asyncio.Future[Ended] = loop.create_future()
        self.run = JobRun("", None, b"", "", "", "", False, None)

    def ended(self, job: Job, outcome: Ended) -> None:
        self._loop.call_soon_threadsafe(self._end, outcome)

    def _end(self, outcome: Ended) -> None:
        if not self.done.done():  # nobody waits for it any more
            self.done.set_result(outcome)

    def unstoppable(self, job: Job, *, aborted: bool) -> None:
        return

    def lease_end(self, key: tuple[int, int]) -> float:
        return math.inf

    def log(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
        self.run.logs.append((LEVEL_NAMES[line.level], line.text))

    def progress(self, job_id: int, epoch: int, percent: float, text: str) -> None:
        self.run.progress.append((percent, text))

    def checkpoint(self, job_id: int, epoch: int, data: bytes) -> None:
        self.run.checkpoint = data

    async def submit(self, *args: Any, **kwargs: Any) -> Submitted:
        return self.submit_blocking(*args, **kwargs)

    def submit_blocking(self, *args: Any, **kwargs: Any) -> Submitted:
        self.run.submitted.append(JobSpec(*args, **kwargs))
        return Submitted(len(self.run.submitted))

    async def ask(self, method: str, *args: Any) -> Any:
        return self.ask_blocking(method, *args)

    def ask_blocking(self, method: str, *args: Any) -> Any:
        raise AgentError("there is no broker here that could tell what a job depends on, or how its batch stands")


async def run_job(
    agent: Agent, type: str, data: Any = None, *, payload: bytes | None = None, attempt: int = 1, run: int = 1, instance_id: str = "",  # noqa: A002
    checkpoint: bytes | None = None, timeout_s: float = 60.0, labels: dict[str, str] | None = None, raw: bool = False,
) -> JobRun:  # fmt: skip
    """Runs one attempt of a handler of `agent` and says how it ended. Hooks run before and after, as in an agent's life. Raises AgentError for an unknown type.

    When the agent has codecs or claims, payload and checkpoint go through them on their way in, and result and checkpoint on their way out; `raw`: those that are given
    are as the broker has them.
    """
    if type not in agent.handlers:
        raise AgentError(f"agent {agent.name!r} has no handler for {type!r}; it has {', '.join(sorted(agent.handlers))}")
    reports = _Reports(asyncio.get_running_loop())
    codecs, claims = agent.codecs_for(None), agent.claims
    given = encode_payload(data, payload)
    if codecs is not None and not raw:
        given = codecs.encode(given, type, "payload")
    if claims is not None and not raw:
        given = await claims.keep(given)
    job = Job((1, 1), given, Terms(type, 0, timeout_s, 5, MAX_LINES, MAX_BYTES))
    job.run, job.attempt, job.instance_id, job.labels, job.checkpoint = run, attempt, instance_id, labels or {}, checkpoint
    if codecs is not None and checkpoint is not None and not raw:
        job.checkpoint = codecs.encode(checkpoint, type, "checkpoint")
    work = Work(
        {type: agent.handlers[type]}, middleware=agent.middlewares, lifespans=agent.lifespans, threads=1, reports=reports, client_options={}, codecs=codecs,
        on_undecodable=agent.on_undecodable, encode_errors=agent.encode_errors, claims=claims,
    )  # fmt: skip
    try:
        await asyncio.to_thread(work.start)
        work.assign([job])
        outcome = await reports.done
    finally:
        await asyncio.to_thread(work.close)
    if isinstance(outcome, bytes):
        outcome = agents_pb2.Outcome(kind=agents_pb2.OUTCOME_KIND_COMPLETED, result=outcome)
    assert outcome is not None
    done = reports.run
    if claims is not None and is_reference(outcome.result):
        outcome.result, _ = await claims.fetch(outcome.result, "result")
    if codecs is not None:
        outcome.result = codecs.decode(outcome.result, type, "result") if outcome.result else b""
        done.checkpoint = codecs.decode(done.checkpoint, type, "checkpoint") if done.checkpoint is not None else None
    done.outcome, done.result, done.permanent = KINDS[outcome.kind], outcome.result, outcome.permanent
    done.error_code, done.error_message, done.error_traceback = outcome.error.code, outcome.error.message, outcome.error.traceback
    done.retry_after_s = outcome.retry_after.ToTimedelta().total_seconds() if outcome.HasField("retry_after") else None
    try:
        done.value = json.loads(done.result) if done.result else None
    except (ValueError, RecursionError):
        done.value = None
    return done
