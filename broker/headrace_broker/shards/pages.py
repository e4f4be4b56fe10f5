"""Pages of bulk operations: what the owner decides about the jobs of one, and the row that goes into the same commit.

A standing is ahead of what is stored by the round under way, as all memory of the owner is: it moves when a page is decided, and it is read from the database only by an
owner that knows nothing of the operation yet. So no page is decided twice: a broker that dies before the commit has done nothing of it, one that dies after it has
stored that it did.
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace_broker.model.audit import AuditEntry
from headrace_broker.model.errors import BrokerError, Busy, InvalidState, JobNotFound
from headrace_broker.model.job import NoteKind, State
from headrace_broker.model.operation import Operation, OperationState, Skip
from headrace_broker.shards.intents import Change
from headrace_broker.store.operations import PageRow, Standing, told

if TYPE_CHECKING:
    from headrace_broker.shards.round import Round

_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Unchanged(InvalidState):
    """The job is already as it is asked to be."""


class StateChanged(InvalidState):
    """The job was found in a state that the filter names, and has left it since."""


@dataclass(slots=True, eq=False)
class Page:
    """Members to be decided: `job_ids`, of which `gone` are not there any more; `new` of them were found now, up to the id `after`, and `searched` says that there
    are no more. `last_try`: those that still cannot be decided have failed."""

    operation: Operation
    standing: Standing
    job_ids: list[int]
    after: int
    searched: bool
    new: int
    last_try: bool = False
    gone: tuple[int, ...] = ()

    def check(self, job_id: int, state: State) -> None:
        """Raises StateChanged: the job matched when it was looked at, and does not any more."""
        wanted = self.operation.plan.wanted.wanted_states
        if state not in wanted:
            raise StateChanged(f"job {job_id} is {state.name.lower()} by now, which the filter does not name")

    def sign(self, round_: "Round", job_id: int, epoch: int, *, changed: bool) -> None:
        """The job's history says which operation changed it: a note of its newest event, or of its lease (`epoch`) if there is none. Raises Unchanged."""
        if not changed:
            raise Unchanged(f"job {job_id} is so already")
        batch = round_.batch
        seq = batch.event_place[-1] >> 32 if batch.event_job and batch.event_job[-1] == job_id else epoch
        batch.add_note(job_id, seq, NoteKind.OPERATION, actor=self.operation.caller.shown, data=str(self.operation.operation_id).encode())

    def decided(self, round_: "Round", changes: list[Change | None]) -> None:
        """Takes what became of the jobs, None: to be asked again, into the standing and the batch."""
        results = {change.job_id: change for change in changes if change is not None}
        results |= {job_id: Change(job_id, None, JobNotFound(job_id)) for job_id in self.gone}
        standing, skips, left, done = self.standing, list[Skip](), list[int](), 0
        for job_id in self.job_ids:
            change = results.get(job_id)
            if change is None and not self.last_try:
                left.append(job_id)
            elif change is None:
                skips.append(_skip(job_id, Busy(f"job {job_id} moves too fast to be changed", retry_after_s=1.0)))
            elif change.error is not None:
                skips.append(_skip(job_id, change.error))
            else:
                done += 1
        if (left, self.after, self.searched) == (standing.todo, standing.after, standing.searched):
            return  # nothing was decided, and nothing found
        failed = sum(skip.failed for skip in skips)
        standing.n, standing.after, standing.todo, standing.searched = standing.n + 1, self.after, left, self.searched
        standing.matched, standing.done = standing.matched + self.new, standing.done + done
        standing.skipped, standing.failed = standing.skipped + len(skips) - failed, standing.failed + failed
        numbers = standing.matched, standing.done, standing.skipped, standing.failed
        round_.batch.pages.append(PageRow(standing.operation_id, standing.n, standing.after, left, standing.searched, numbers, skips))
        if standing.finished:
            round_.batch.audit.append(self._finish(numbers))

    def _finish(self, numbers: tuple[int, int, int, int]) -> AuditEntry:
        """The audit's row of the end, in the name of whoever started it."""
        after = told(self.operation) | {"state": OperationState.FINISHED.value} | dict(zip(("matched", "done", "skipped", "failed"), numbers, strict=True))
        return self.operation.caller.entry("operation.finish", self.operation.target, reason=self.operation.plan.reason, after=after)


def _skip(job_id: int, error: BrokerError) -> Skip:
    """Why a job was not changed. What may be possible later has failed."""
    return Skip(job_id, isinstance(error, Busy), _WORDS.sub("_", type(error).__name__).upper(), str(error))
