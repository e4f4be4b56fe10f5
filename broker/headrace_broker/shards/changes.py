"""Requeue, abort, update and purge: what people and programs ask to be done to jobs.

A change reads where the jobs stand, queues an intent, and the owner decides it in its next round: by what it remembers of a job that is live, else by what was
read. A job that moved between the read and the decision is read again, so nothing is decided on an old state.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace_broker.model import starting
from headrace_broker.model.amended import Update
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, Busy, DatabaseUnavailable, InvalidState, JobNotFound, Unavailable, UniqueKeyTaken
from headrace_broker.model.job import MAX_RUN, SETTLED, Head, Kind, State
from headrace_broker.shards import aborts, requeues, turns, updates
from headrace_broker.shards.descents import Descent
from headrace_broker.shards.intents import Change, ChangeIntent, Requeue, Verb
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import Round
from headrace_broker.store.batch import UniqueName, payload_of
from headrace_broker.store.heads import Heads, ReadFailed, StoredHead

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

TRIES = 20


async def request(
    owner: "Owner", heads: Heads, verb: Verb, job_ids: Sequence[int], *, caller: Caller, reason: str,
    include_completed: bool = False, grace_s: float = 30.0, force: bool = False, abort_first: bool = False, payload: bytes | None = None, content_type: str = "",
    update: Update | None = None, descent: Descent | None = None,
) -> list[Change]:  # fmt: skip
    """Changes jobs and returns what became of each, in order, once it is durable. A job of another domain than the caller's is not found; an id that comes
    twice is changed once. Each job that was changed has a row in the audit, in the same commit; a `descent` has one for all of them.

    Raises:
        Unavailable: nothing was changed, or (ResultUnknown) it is not known what was. Busy: nothing was changed, since the jobs move too fast. When some were changed
        before, nothing is raised and the others have that error: who called again for all of them would change some twice.

    Cancellation: changes that were queued happen all the same.
    """

    def intent(read: Read) -> ChangeIntent | None:
        if descent is not None:
            for job_id in read.gone:
                descent.left(job_id, State.GONE)
        if not read.found:
            return None
        return ChangeIntent(
            verb, read.found, caller, reason, read.moved, read.done, include_completed, grace_s, force, abort_first, payload, content_type, update, read.holders,
            read.keys_moved, descent,
        )  # fmt: skip

    results: dict[int, Change] = {}
    todo = list(dict.fromkeys(job_ids))
    for _ in range(TRIES):
        try:
            done = await ask(owner, heads, todo, caller.domain, intent)
        except Unavailable as error:
            return _partly(job_ids, results, todo, error)
        results.update((change.job_id, change) for change in done if change is not None)
        todo = [job_id for job_id in todo if job_id not in results]
        if not todo:
            return [results[job_id] for job_id in job_ids]
    return _partly(job_ids, results, todo, Busy(f"jobs {todo[:5]} move too fast to be changed; try again", retry_after_s=1.0))


def _partly(job_ids: Sequence[int], results: dict[int, Change], left: Sequence[int], error: BrokerError) -> list[Change]:
    """What became of each job when those that are left cannot be changed. Raises the error when no other was changed."""
    if all(change.error is not None for change in results.values()):
        raise error
    results |= {job_id: Change(job_id, None, error) for job_id in left}
    return [results[job_id] for job_id in job_ids]


@dataclass(slots=True, eq=False)
class Read:
    """Where jobs stood: those `found`, and those that are not there (`gone`). `moved` and `keys_moved` grow until the intent that is made of it is decided."""

    found: list[StoredHead]
    gone: list[int]
    holders: dict[UniqueName, int]
    moved: set[int]
    keys_moved: set[UniqueName]
    done: "asyncio.Future[list[Change | None]]"


async def ask(owner: "Owner", heads: Heads, job_ids: Sequence[int], domain: str, make: Callable[[Read], ChangeIntent | None]) -> list[Change | None]:
    """One try: reads where these jobs stand, queues the intent that `make` makes of it (None: there is nothing to ask), and returns what became of each job, in no
    order; None stands for one that moved meanwhile: ask again. Raises as `request`.
    """
    moved: set[int] = set()
    keys_moved: set[UniqueName] = set()
    owner.readers.append(moved)
    owner.keyed.readers.append(keys_moved)
    try:
        moved.update(owner.moving())  # may or may not be in what is read now
        keys_moved.update(owner.claiming())
        try:
            stored = await heads.heads(job_ids)
            holders = await heads.unique_holders({name for head in stored.values() if (name := _unique_name(owner, head)) is not None})
        except ReadFailed as error:
            raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
        found = [stored[job_id] for job_id in job_ids if visible(owner, stored.get(job_id), domain)]
        there = {head.job_id for head in found}
        gone = [job_id for job_id in job_ids if job_id not in there]
        read = Read(found, gone, holders, moved, keys_moved, asyncio.get_running_loop().create_future())
        missing: list[Change | None] = [Change(job_id, None, JobNotFound(job_id)) for job_id in gone]
        intent = make(read)
        if intent is None:
            return missing
        if owner.refusing is not None:
            raise owner.refusing
        owner.change(intent)
        return missing + await read.done
    finally:
        owner.readers = [other for other in owner.readers if other is not moved]  # by identity: the sets of two calls may be equal
        owner.keyed.readers = [other for other in owner.keyed.readers if other is not keys_moved]


def _unique_name(owner: "Owner", head: StoredHead) -> UniqueName | None:
    """The job's unique key within all domains."""
    return (owner.types.by_id[head.type_id].domain_id, head.unique_key) if head.unique_key is not None else None


def visible(owner: "Owner", head: StoredHead | None, domain: str) -> bool:
    """Whether the job is there for callers in this domain."""
    if head is None or head.state is State.GONE:
        return False
    if head.state in SETTLED and head.delete_minute is not None and head.delete_minute * 60 <= owner.clock.now_s() and head.job_id not in owner.graph.waiters:
        return False
    entry = owner.types.by_id.get(head.type_id)
    return entry is not None and entry.domain == domain


def needs_locks(intent: ChangeIntent) -> bool:
    """Whether the intent may end leases by force, although somebody's transaction may be about to complete their jobs."""
    return intent.force and intent.verb in (Verb.ABORT, Verb.REQUEUE)


def contested(owner: "Owner", intent: ChangeIntent) -> list[tuple[int, int]]:
    """Leases that the intent ends by force."""
    if not needs_locks(intent):
        return []
    found = (owner.live_jobs.get(head.job_id) for head in intent.heads)
    return [(live.job_id, live.seq) for live in found if live is not None and live.state is State.PROCESSING]


def decide(owner: "Owner", round_: Round, intent: ChangeIntent, now: float) -> None:
    """Decides one intent within a round."""
    results: list[Change | None] = []
    for head in intent.heads:
        live = owner.live_jobs.get(head.job_id)
        results.append(None if _must_be_read_again(owner, round_, intent, head, live) else _decided(owner, round_, intent, head, live, now))
    if intent.page is not None:
        intent.page.decided(round_, results)
    round_.answers.append((intent.done, results))


def _must_be_read_again(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None) -> bool:
    if (live is None and head.job_id in intent.moved) or (live is not None and owner.is_moving(live)) or head.job_id in round_.noted:
        return True  # it moved since it was read, or has its one event of this round already
    if live is not None and head.seq > live.seq:
        owner.doors.wake.set()
        return True  # somebody's transaction has completed it, which memory learns from the inbox
    if live is None and head.state is State.PROCESSING:
        return True  # it was settled before this call began to take note
    if intent.verb is Verb.REQUEUE and _unique_name(owner, head) in intent.keys_moved:
        return True  # another job took its unique key, or is about to
    return intent.descent is not None and intent.descent.must_wait(head.job_id)


def _decided(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> Change:
    """Decides one job of an intent: its facts and its row in the audit are in the round then, or the answer says why not."""
    before, facts, page = _stands(live or head), round_.batch.rows(), intent.page
    if intent.verb is Verb.UPDATE:
        before |= updates.said(owner.amended.get(head.job_id) or head.amended)
    elif intent.verb is Verb.SEAL:
        before["batch"] = "open"
    try:
        if page is not None:
            page.check(head.job_id, live.state if live is not None else head.state)
        state = _DECIDE[intent.verb](owner, round_, intent, head, live, now)
        changed = round_.batch.rows() > facts  # an update may find everything as it is asked to be
        if page is not None:
            page.sign(round_, head.job_id, live.seq if live is not None else head.seq, changed=changed)
        elif changed:
            _audit(round_, intent, head, before, state)
        return Change(head.job_id, state)
    except BrokerError as error:
        stands = live.state if live is not None else head.state
        if intent.descent is not None:
            intent.descent.left(head.job_id, stands)
        return Change(head.job_id, stands, error)


def _stands(job: Live | StoredHead) -> dict[str, object]:
    """Where a job stands, for the audit."""
    return {"state": job.state.name.lower(), "run": job.run, "attempt": job.attempt}


def _audit(round_: Round, intent: ChangeIntent, head: StoredHead, before: dict[str, object], state: State) -> None:
    """The row of a change that was decided: it is stored by the flush that stores the change."""
    if intent.verb is Verb.EXPIRE or intent.descent is not None:  # nobody asked for it, and the event says why; the call as a whole has a row
        return
    after: dict[str, object] = {"state": state.name.lower()}
    if intent.verb is Verb.SEAL:
        after["batch"] = "sealed"
    elif intent.update is not None:
        after |= updates.asked(intent.update)
    elif state is State.PROCESSING:
        after |= {"abort": "requested", "grace_s": intent.grace_s, "requeue": intent.verb is Verb.REQUEUE}
    elif intent.force:
        after["force"] = True
    if intent.replacement is not None:
        after |= {"priority": intent.replacement[1], "payload_bytes": len(payload_of(intent.replacement[3]))}
    elif intent.payload is not None:
        after["payload_bytes"] = len(intent.payload)
    round_.batch.audit.append(intent.caller.entry(f"job.{intent.verb.value}", f"job/{head.job_id}", reason=intent.reason, before=before, after=after))


def _revive(owner: "Owner", head: StoredHead, live: Live | None) -> Live:
    """The job as memory would know it."""
    if live is not None:
        if head.amended is not None:  # memory may not know of them yet: they are read with what the first agent is sent
            owner.amended.setdefault(head.job_id, head.amended)
        return live
    live = Live(head.job_id, owner.types.by_id[head.type_id], head.priority, head.instance_id)
    live.seq, live.kind, live.state = head.seq, head.kind, head.state
    live.run, live.attempt, live.losses, live.agent_id = head.run, head.attempt, head.losses, head.agent_id
    live.available_at_s = head.available_at.timestamp() if head.available_at is not None else 0.0
    if head.amended is not None and live.state not in SETTLED:
        owner.amended.setdefault(head.job_id, head.amended)
    live.line = owner.lines.members.get(head.job_id)
    if live.line is None and head.terms is not None and live.state not in SETTLED:
        live.line = owner.lines.of(live.entry, head.terms)
    return live


def _requeue(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    state, descent = live.state if live is not None else head.state, intent.descent
    named = descent is None or descent.root == head.job_id  # not merely below the job that was
    payload, include_completed = intent.payload if named else None, intent.include_completed and named
    _check_payload(owner, head, payload, intent.content_type)
    if (live.run if live is not None else head.run) >= MAX_RUN:
        raise InvalidState(f"job {head.job_id} has had {MAX_RUN:,} runs, the most that there can be: submit a new one")
    wish = Requeue(intent.actor, intent.reason, payload, intent.content_type, include_completed)
    if state not in SETTLED:
        if not intent.abort_first:
            raise InvalidState(f"job {head.job_id} is {state.name.lower()}: only settled jobs can be requeued; have it aborted first (abort_first), or wait")
        return _stop(owner, round_, intent, _revive(owner, head, live), wish, now)
    if state is State.COMPLETED and not include_completed:
        raise InvalidState(f"job {head.job_id} has completed: say so by name (include_completed) to run it again")
    waits_for = head.waits_for if descent is None else descent.waits_for(owner, head)
    name = _unique_name(owner, head)
    if name is not None:
        holder = intent.unique_holders.get(name)
        if holder is not None and holder != head.job_id:
            raise UniqueKeyTaken(name[1], holder)
        round_.batch.claims[name] = head.job_id
        owner.keyed.note_moved(name)
    live = _revive(owner, head, live)
    if head.terms is not None:
        live.line = owner.lines.of(live.entry, head.terms)
    live.not_before = owner.not_before.get(head.job_id, 0.0)
    requeues.begin(owner, round_, live, head.delete_minute, head.amended, wish, waits_for)
    if descent is not None:
        descent.requeued(round_, live, head, waits_for, intent.actor)
    return State.WAITING


def _check_payload(owner: "Owner", head: StoredHead, payload: bytes | None, content_type: str) -> None:
    schema = owner.types.by_id[head.type_id].schema
    if payload is not None and schema is not None:
        schema.check(payload, content_type)


def _abort(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    state = live.state if live is not None else head.state
    if state in SETTLED:
        raise InvalidState(f"job {head.job_id} is {state.name.lower()} already: there is nothing to abort")
    return _stop(owner, round_, intent, _revive(owner, head, live), None, now)


def _stop(owner: "Owner", round_: Round, intent: ChangeIntent, live: Live, again: Requeue | None, now: float) -> State:
    """Aborts a job that is not settled."""
    if live.state is State.PROCESSING and not intent.force:
        aborts.request(owner, round_, intent, live, again)
        return State.PROCESSING
    if live.state is State.PROCESSING and live.job_id in owner.doors.busy:
        raise Busy(f"job {live.job_id} is about to be completed by a transaction that is open; `headrace doors list` shows whose", retry_after_s=1.0)
    return aborts.at_once(owner, round_, intent, live, again, now)


def _update(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    assert intent.update is not None  # the verb says so
    _check_payload(owner, head, intent.update.payload, intent.update.content_type)
    return updates.decide(owner, round_, intent, head, _revive(owner, head, live))


def _replace(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    return updates.replace(owner, round_, intent, head, _revive(owner, head, live))


def _purge(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    state = live.state if live is not None else head.state
    if state not in SETTLED:
        raise InvalidState(f"job {head.job_id} is {state.name.lower()}: only settled jobs can be purged; abort it first")
    live = _revive(owner, head, live)
    if head.amended is not None and head.amended.hold:
        raise InvalidState(f"job {head.job_id} is held: release it first, then purge it")
    owner.graph.purged(head.job_id)
    owner.record(round_, live, Kind.PURGED, State.GONE, old_minute=head.delete_minute)
    round_.batch.extend_event(actor=intent.actor, reason=intent.reason)
    return State.GONE


def _seal(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    if live is None or head.job_id not in owner.graph.sealed:
        raise InvalidState(f"job {head.job_id} is not the callback of a batch that waits: it was released or ended, or is an ordinary job")
    owner.graph.seal(round_, live, intent.caller.actor)
    return State.WAITING


def _expire(owner: "Owner", round_: Round, intent: ChangeIntent, head: StoredHead, live: Live | None, now: float) -> State:
    """Transition 17: a job that has not started in time ends as its type says."""
    if live is not None and live.seq != head.seq:
        raise starting.NotYet(0.0)  # what was read is not so any more: look again
    if head.job_id in owner.graph.unmet:  # its time begins when what it depends on has completed
        raise starting.NotYet(starting.EVER)
    starting.check(
        head.job_id, Head(head.seq, head.state, head.run, head.attempt, head.losses), owner.types.by_id[head.type_id].settings,
        moved_at_s=head.at.timestamp() if head.at is not None else None,
        available_at_s=head.available_at.timestamp() if head.available_at is not None else None, now_s=owner.clock.now_s(),
    )  # fmt: skip
    live = _revive(owner, head, live)
    turns.leave(owner, head.job_id)
    owner.bodies.pop(head.type_id, head.job_id)
    owner.settle_job(round_, live, Kind.EXPIRED, live.entry.settings.exhausted_state)
    round_.batch.extend_event(reason=intent.reason, error=starting.ERROR)
    owner.raise_alert(round_, live, starting.ERROR)
    return live.state


_DECIDE = {
    Verb.SEAL: _seal, Verb.REQUEUE: _requeue, Verb.ABORT: _abort, Verb.PURGE: _purge, Verb.UPDATE: _update, Verb.REPLACE: _replace, Verb.EXPIRE: _expire,
}  # fmt: skip
