"""Jobs that carry a key or are tied to others: they ride in flushes of their own, so that unkeyed work never waits for a key, and are granted in a later one.

Two kinds of keys. An **idempotency key** belongs to one job for as long as that is kept: the same key again is the same job. A **unique key** belongs to at most one live
job; a submit that meets it is told who holds it. Which keys are free the database decides, in the flush itself (`flush_keyed.sql`); nothing is decided beside it, so what
it says of a holder is still so when the answers are given.

A call that comes with a key that is in the flush being built waits for the next one; when it has no other key, the answer to the first is its answer too (`followers`).
"""

from collections import Counter, deque
from typing import TYPE_CHECKING

from headrace_broker.model.amended import submitted
from headrace_broker.model.errors import IdempotencyConflict, InvalidField, InvalidState, UniqueKeyTaken
from headrace_broker.model.job import State
from headrace_broker.shards import turns
from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.hub import JobChange
from headrace_broker.shards.intents import KeyedJob
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import KeyedRound
from headrace_broker.store.batch import Batch, FullBody, UniqueName, instance_of
from headrace_broker.store.ledger import Flushed, KeyHolder

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

AT_ONCE = 1000
TIES_AT_ONCE = 10_000
"""Jobs that those of one flush depend on, about: a row for each, and a thousand jobs may name a million."""


class Keyed:
    """What waits for the next keyed flush. Written by RPC handlers (`put`) and the flusher's task."""

    def __init__(self, owner: "Owner") -> None:
        self._owner = owner
        self._waiting: deque[KeyedJob] = deque()
        self._unread: dict[int, list[KeyedJob]] = {}  # what waits until a batch was read, by its callback: nothing can be decided about it before
        self._deciding: list[KeyedJob] = []  # for whoever is in the middle of it, and when an error broke it off
        self._of_domain: Counter[DomainEntry] = Counter()  # how many of them
        self.readers: list[set[UniqueName]] = []  # one for each change between its read and its decision: unique keys that changed hands meanwhile

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def put(self, job: KeyedJob) -> None:
        """Queues a job; its future is told what became of it."""
        self._waiting.append(job)
        self._of_domain[job.job[0].domain_entry] += 1

    def jobs(self, domain: DomainEntry) -> int:
        """Jobs of a domain that wait here."""
        return self._of_domain[domain]

    def refuse(self, error: Exception) -> None:
        """Nothing of what waits is stored."""
        for job in (*self._deciding, *self._waiting, *(job for jobs in self._unread.values() for job in jobs)):
            self._owner.depth.release(job.reserved)
            _fail(job, error)
        self._deciding = []
        self._waiting.clear()
        self._unread.clear()
        self._of_domain.clear()

    def batch_is_known(self, batch_id: int) -> None:
        """The batch was read, or takes no more jobs: those that waited for that are decided in the next flush, in their order."""
        jobs = self._unread.pop(batch_id, None)
        if jobs:
            self._waiting.extendleft(reversed(jobs))
            self._owner.wake.set()

    def note_moved(self, name: UniqueName) -> None:
        """Another job holds this key now: changes that read its holder before must read it again."""
        for moved in self.readers:
            moved.add(name)

    def build(self) -> KeyedRound | None:
        """The next jobs, each key once; None: there are none."""
        chosen, followers, closed = self._choose()
        taken = self._deciding = [*chosen, *(follower for _, follower in followers), *closed]
        if not taken:
            return None
        self._owner.admitted(len(taken), sum(job.size_bytes for job in taken))
        self._of_domain.subtract([job.job[0].domain_entry for job in taken])
        chosen.sort(key=lambda job: (job.domain_id, job.unique_key, job.key))
        batch = Batch()
        self._owner.numbering.begin(self._owner.rounds)
        for job in chosen:
            self._owner.numbering.add_job(batch, job.job)
        batch.max_id = self._owner.numbering.highest
        self._deciding = []
        return KeyedRound(batch, chosen, followers, closed)

    def _choose(self) -> tuple[list[KeyedJob], list[tuple[KeyedJob, KeyedJob]], list[KeyedJob]]:
        """Takes from what waits: (jobs, each key once; (one of these, a job whose only key it has too); jobs whose batch takes them no more)."""
        by_key: dict[UniqueName, KeyedJob] = {}
        by_unique_key: dict[UniqueName, KeyedJob] = {}
        chosen: list[KeyedJob] = []
        followers: list[tuple[KeyedJob, KeyedJob]] = []
        closed: list[KeyedJob] = []
        later: list[KeyedJob] = []
        after: dict[int, set[int]] = {}
        ties = 0
        while self._waiting and len(chosen) + len(closed) < AT_ONCE and ties < TIES_AT_ONCE:
            job = self._waiting.popleft()
            if job.batch_id in self._owner.graph.unread_batches:
                self._unread.setdefault(job.batch_id, []).append(job)
                continue
            self._deciding.append(job)
            ties += len(job.depends_on or ())
            if job.batch_id and self._refusal(job, after) is not None:
                closed.append(job)
                continue
            leader = (by_key.get(job.key_name) if job.key else None) or (by_unique_key.get(job.unique_name) if job.unique_key else None)
            if leader is None:
                chosen.append(job)
                if job.key:
                    by_key[job.key_name] = job
                if job.unique_key:
                    by_unique_key[job.unique_name] = job
            elif _has_one_key(job) and _has_one_key(leader):
                followers.append((leader, job))
            else:
                later.append(job)
        self._waiting.extendleft(reversed(later))
        return chosen, followers, closed

    def _refusal(self, job: KeyedJob, after: dict[int, set[int]]) -> InvalidState | InvalidField | None:
        """Why a job cannot become a member of its batch. `after`: who waits for the callbacks that were asked about, as long as nothing changes."""
        graph = self._owner.graph
        if not graph.is_open(job.batch_id):
            return InvalidState(f"batch {job.batch_id} takes no more jobs: it is sealed, or its callback has ended")
        if job.depends_on and job.batch_id not in after:
            after[job.batch_id] = graph.after(job.batch_id)
        if job.depends_on and not after[job.batch_id].isdisjoint(job.depends_on):
            return InvalidField("depends_on", f"the callback of batch {job.batch_id} would wait for this job, and this job for the callback: a circle")
        return None

    def settle(self, round_: KeyedRound, flushed: Flushed, holders: dict[UniqueName, KeyHolder], unique_holders: dict[UniqueName, int]) -> None:
        """The flush is durable: the jobs whose keys were free are ready, the others are answered with what holds their key."""
        stored: dict[KeyedJob, int] = {}
        refused: list[KeyedJob] = []
        for keyed in (*round_.jobs, *round_.closed, *(follower for _, follower in round_.followers)):
            self._owner.depth.release(keyed.reserved)
            keyed.reserved = None  # one that goes back into the queue was admitted, and stays so
        for job_id, keyed in zip(round_.batch.job_id, round_.jobs, strict=True):
            if job_id in flushed.stored:
                stored[keyed] = job_id
                self._store(job_id, keyed)
            else:
                refused.append(keyed)
        for keyed in refused:
            self._answer(keyed, holders.get(keyed.key_name) if keyed.key else None, unique_holders.get(keyed.unique_name) if keyed.unique_key else None)
        for leader, keyed in round_.followers:
            job_id = stored.get(leader, 0)
            if keyed.key:
                self._answer(keyed, KeyHolder(job_id, leader.body_hash) if job_id else holders.get(keyed.key_name), None)
            else:
                self._answer(keyed, None, job_id or unique_holders.get(keyed.unique_name))
        after: dict[int, set[int]] = {}
        for keyed in round_.closed:
            holder, refusal = holders.get(keyed.key_name) if keyed.key else None, self._refusal(keyed, after)
            if holder is None and refusal is not None:
                _fail(keyed, refusal)
            else:
                self._answer(keyed, holder, None)
        if stored:
            self._owner.grant_soon()
        if self._waiting:
            self._owner.wake.set()

    def _store(self, job_id: int, keyed: KeyedJob) -> None:
        owner = self._owner
        entry, priority, available_at_s, body = keyed.job
        owner.counted[entry.type_id, State.WAITING, 0] += 1
        owner.tally.submitted(owner.clock.now_s(), entry.type_id, 1)
        owner.bodies.put(entry.type_id, job_id, body)
        if keyed.unique_key:
            self.note_moved(keyed.unique_name)
        if keyed.batch_id:
            owner.graph.join(job_id, keyed.batch_id)
        if keyed.depends_on is None:
            turns.enter_job(owner, job_id, keyed.job)
        else:
            live = owner.live_jobs[job_id] = Live(job_id, entry, priority, instance_of(body))
            live.available_at_s = available_at_s
            live.line = turns.line_of(owner, entry, body)
            if live.line is not None:
                live.line.jobs += 1
            if isinstance(body, FullBody) and (amended := submitted(body.more)) is not None:  # it may end before any agent has it
                owner.amended[job_id] = amended
            if keyed.depends_on:
                owner.graph.hold(job_id, dict.fromkeys(keyed.depends_on, 1))
            else:
                owner.graph.hold_batch(job_id)
        if owner.hub.active:
            owner.hub.publish([JobChange(job_id, entry.type_id, State.WAITING, 0, "submitted", instance_of(body))])
        _resolve(keyed, job_id, existing=False)

    def _answer(self, keyed: KeyedJob, holder: KeyHolder | None, unique_holder: int | None) -> None:
        """A job that is not stored: the idempotency key is looked at first."""
        if holder is not None and (holder.body_hash == keyed.body_hash or holder.body_hash in keyed.other_hashes):
            _resolve(keyed, holder.job_id, existing=True)
        elif holder is not None:
            _fail(keyed, IdempotencyConflict(keyed.key, holder.job_id))
        elif unique_holder is not None and keyed.return_holder:
            _resolve(keyed, unique_holder, existing=True)
        elif unique_holder is not None:
            _fail(keyed, UniqueKeyTaken(keyed.unique_key, unique_holder))
        else:  # its holder was deleted between the two statements
            self.put(keyed)
            self._owner.admitted(-1, -keyed.size_bytes)


def _resolve(keyed: KeyedJob, job_id: int, *, existing: bool) -> None:
    if not keyed.done.done():
        keyed.done.set_result((job_id, existing))


def _fail(keyed: KeyedJob, error: Exception) -> None:
    if not keyed.done.done():
        keyed.done.set_exception(error)


def _has_one_key(job: KeyedJob) -> bool:
    return bool(job.key) != bool(job.unique_key)
