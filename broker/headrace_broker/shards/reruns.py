"""New runs of jobs that were completed in somebody's transaction, where somebody had asked for one whatever became of the old.

Between the commit of that transaction and the round that takes the completion up the job is settled, and its unique key is free for anybody. Whoever took it keeps it:
the job does not run again then, and the audit says why.
"""

from types import TracebackType
from typing import TYPE_CHECKING

import structlog

from headrace_broker.model.audit import AuditEntry, Caller
from headrace_broker.shards import aborts, changes
from headrace_broker.shards.intents import Requeue, Verb
from headrace_broker.shards.round import Round
from headrace_broker.store.batch import UniqueName
from headrace_broker.store.heads import Heads
from headrace_broker.store.inbox import DoorCompletion

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

log = structlog.get_logger("headrace.doors")


class Reruns:
    """Those of one chunk of the inbox. To be entered before its completions are read, and left when it is durable: unique keys that change hands meanwhile are noted.
    `refused`: rows of the audit for runs that do not begin.
    """

    def __init__(self, owner: "Owner") -> None:
        self.refused: list[AuditEntry] = []
        self._owner = owner
        self._holders: dict[UniqueName, int] = {}  # of the unique keys of these jobs, where a live job has it
        self._moved: set[UniqueName] = set()  # unique keys that changed hands since that was read

    def __enter__(self) -> "Reruns":
        self._owner.keyed.readers.append(self._moved)
        self._moved.update(self._owner.claiming())  # may or may not be in what is read now
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        keyed = self._owner.keyed
        keyed.readers = [other for other in keyed.readers if other is not self._moved]  # by identity: the sets of two readers may be equal

    async def read(self, heads: Heads, completions: list[DoorCompletion]) -> None:
        """Who has the unique keys of these jobs."""
        self._holders = await heads.unique_holders({self._name(done) for done in completions if done.unique_key is not None})

    async def begin_unknown(self, heads: Heads, completions: list[DoorCompletion]) -> None:
        """Begins those of jobs that were completed before a takeover. The owner that was asked for them would begin them in the round that takes the completion up;
        whoever took over knows of no lease, and begins them before that: a broker that dies in between finds that something happened to the job since, and begins none.
        """
        owner = self._owner
        unknown = {done.job_id: done for done in completions if done.newest and done.job_id not in owner.live_jobs}
        asked = await heads.abort_requests([(done.job_id, done.epoch) for done in unknown.values()]) if unknown else []
        wishes = {job_id: aborts.asked_for(actor, reason, data).requeue for job_id, actor, reason, data in asked}
        for job_id, wish in wishes.items():
            if wish is None or not wish.include_completed:
                continue
            [change] = await changes.request(
                owner, heads, Verb.REQUEUE, [job_id], caller=self._caller(unknown[job_id], wish), reason=wish.reason, include_completed=True, payload=wish.payload,
                content_type=wish.content_type,
            )  # fmt: skip
            if change.error is not None:
                self._refuse(unknown[job_id], wish, str(change.error))

    def may_begin(self, round_: Round, done: DoorCompletion, wish: Requeue) -> bool:
        """Whether the job has its unique key in the run that the round begins, or needs none."""
        if done.unique_key is None:
            return True
        name = self._name(done)
        holder = self._holders.get(name)
        if holder is not None or name in self._moved:
            self._refuse(done, wish, f"job {holder or '(a newer one)'} took the unique key {done.unique_key!r} when this one had completed")
            return False
        round_.batch.claims[name] = done.job_id
        self._owner.keyed.note_moved(name)
        return True

    def _name(self, done: DoorCompletion) -> UniqueName:
        return self._owner.types.by_id[done.type_id].domain_id, done.unique_key or ""

    def _caller(self, done: DoorCompletion, wish: Requeue) -> Caller:
        return Caller(wish.actor, self._owner.types.by_id[done.type_id].domain, "")

    def _refuse(self, done: DoorCompletion, wish: Requeue, why: str) -> None:
        log.warning("a job that was to run again after its completion does not", job_id=done.job_id, reason=why)
        after = {"state": "completed", "refused": why}
        self.refused.append(self._caller(done, wish).entry("job.requeue", f"job/{done.job_id}", reason=wish.reason, before={"state": "completed"}, after=after))
