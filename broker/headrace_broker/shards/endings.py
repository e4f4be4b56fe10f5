"""How attempts end: what an agent reported, or the broker found, moves the job on, once, and only under the lease that is current."""

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from headrace_broker.model import retry
from headrace_broker.model.job import UNCHARGED, AbortStep, Disposition, Kind, State
from headrace_broker.shards import aborts
from headrace_broker.shards.intents import Completions, Ending
from headrace_broker.shards.live import Live
from headrace_broker.shards.round import Round
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import MAX_ROWS

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

_COMPLETED = Kind.COMPLETED | State.COMPLETED << 8


def take(owner: "Owner", round_: Round) -> None:
    """Decides the endings that are queued, until there are MAX_ROWS of them."""
    taken = 0
    for _ in range(len(owner.endings)):  # some go back into the queue
        if taken >= MAX_ROWS:
            return
        ending = owner.endings.popleft()
        if (owner.doors.restored or type(ending) is Ending) and owner.doors.take_aside(owner, ending):  # it came after the locks were asked for
            continue
        if isinstance(ending, Completions):
            taken += len(ending)
            _complete(owner, round_, ending)
        else:
            taken += 1
            _end(owner, round_, ending)


def _complete(owner: "Owner", round_: Round, done: Completions) -> None:
    """Settles what completed under its current lease, as `_end` would; in one loop, because nearly all jobs come through here."""
    if owner.aborting or owner.amended:  # usually nobody's
        done = _set_apart(owner, round_, done)
    live_jobs, batch = owner.live_jobs, round_.batch
    lives: list[Live] = []
    job_ids: list[int] = []
    epochs: list[int] = []
    places, whos, steps = batch.event_place, batch.event_who, batch.event_step
    before = len(batch.event_job)
    late: list[tuple[Ending, Live | None]] = []
    agent_id = done.sink.agent_id
    minutes: dict[TypeEntry, int] = {}
    settled: Counter[TypeEntry] = Counter()
    for index, (job_id, epoch) in enumerate(zip(done.job_ids, done.epochs, strict=True)):
        live = live_jobs.get(job_id)
        if live is None or live.seq != epoch or live.state is not State.PROCESSING or live.agent_id != agent_id:
            late.append((Ending(job_id, epoch, Kind.COMPLETED, done.sink, done.result(index)), live))
            continue
        entry, session = live.entry, live.session
        minute = minutes.get(entry)
        if minute is None:
            minute = minutes[entry] = owner.delete_minute(entry, State.COMPLETED) or 0
        settled[entry] += 1
        del live_jobs[job_id]
        if session is not None:
            session.leases.pop(job_id, None)
            if not live.assign_no:
                session.unsent.pop(live, None)
        live.seq, live.state = epoch + 1, State.COMPLETED
        if done.results is not None and (result := done.results[index]):
            batch.set_result(before + len(job_ids), result)
        lives.append(live)
        job_ids.append(job_id)
        epochs.append(epoch)
        places.append((epoch + 1) << 32 | minute)
        whos.append(entry.type_id << 32 | (live.agent_id or 0))
        steps.append(_COMPLETED | live.run << 16 | live.attempt << 32 | live.losses << 48)
    batch.event_job += job_ids
    for entry, count in settled.items():
        batch.counts[entry.type_id, State.PROCESSING, 0] -= count
        batch.counts[entry.type_id, State.COMPLETED, minutes[entry]] += count
    if owner.lines.leased:
        for live in lives:
            if live.line is not None:
                owner.lines.moved(live.line, State.PROCESSING, State.COMPLETED)
                owner.lines.members.pop(live.job_id, None)
    if job_ids:
        owner.note_moved(job_ids)
        if owner.graph.waiters:
            owner.graph.completed(job_ids)
        round_.moved.append((lives, Kind.COMPLETED))
        round_.acks.append((done.sink, job_ids, epochs, Disposition.ACCEPTED))
    for ending, live in late:
        _end_late(owner, round_, ending, live)


def _set_apart(owner: "Owner", round_: Round, done: Completions) -> Completions:
    """Settles those that are not as plain as the others, one by one: their end is that of an abort, or they have amendments of their own. Returns the others."""
    apart = {index for index, job_id in enumerate(done.job_ids) if job_id in owner.aborting or job_id in owner.amended}
    if not apart:
        return done
    for index in sorted(apart):
        _end(owner, round_, done.ending(index))
    rest = [index for index in range(len(done)) if index not in apart]
    results = [done.results[index] for index in rest] if done.results is not None else None
    return Completions([done.job_ids[index] for index in rest], [done.epochs[index] for index in rest], results, done.sink)


def _end(owner: "Owner", round_: Round, ending: Ending) -> None:
    live = owner.live_jobs.get(ending.job_id)
    if ending.settled:  # the ledger has it already, and tells; memory learns of it from the inbox
        owner.doors.wake.set()
        _end_late(owner, round_, ending, None)
        return
    if live is None or live.seq != ending.epoch or live.state is not State.PROCESSING:
        _end_late(owner, round_, ending, live)
        return
    if ending.sink is not None and ending.sink.agent_id != live.agent_id:
        _end_late(owner, round_, ending, live)
        return
    if ending.unclaimed and live.session is not None and not live.session.lost:
        return  # its agent has come back while the end waited for the job's lock, and was told that the lease is its own
    if ending.sink is not None:
        round_.acks.append((ending.sink, [ending.job_id], [ending.epoch], Disposition.ACCEPTED))
    if ending.kind is Kind.COMPLETED:
        pending = aborts.before_end(owner, live)
        minute = owner.settle_job(round_, live, Kind.COMPLETED, State.COMPLETED, result=ending.result)
        if pending is not None:
            aborts.after_end(owner, round_, live, pending, minute, AbortStep.FINISHED)
        return
    _end_badly(owner, round_, live, ending)


def _end_badly(owner: "Owner", round_: Round, live: Live, ending: Ending) -> None:
    """Failed, timed out, lost, released, rejected or aborted: back to waiting, or settled."""
    settings = live.entry.settings
    if ending.lease_until:
        owner.caps.owe(owner, live, ending.lease_until, owner.now())
    abort, kind, error = live.abort, ending.kind, ending.error
    if kind in UNCHARGED:
        live.attempt -= 1
    lost = kind is Kind.LOST
    live.losses += lost
    if abort is not None or kind is Kind.ABORTED:
        if kind in UNCHARGED:  # an abort ends the attempt as it is
            live.attempt, live.losses = live.attempt + 1, live.losses - lost
        pending = aborts.before_end(owner, live)
        minute = owner.settle_job(round_, live, Kind.ABORTED, State.ABORTED, again=pending is not None and pending.again)
        actor, reason = (abort.actor, abort.reason) if abort is not None else ("", "the handler ended it")
        round_.batch.extend_event(actor=actor, reason=reason, error=error)
        owner.raise_alert(round_, live, error)
        if pending is not None:
            aborts.after_end(owner, round_, live, pending, minute, aborts.step_of(ending))
        return
    charged = kind in (Kind.FAILED, Kind.TIMED_OUT)
    spent = live.losses >= settings.max_losses if lost else charged and (ending.permanent or live.attempt >= settings.max_attempts)
    if spent:
        owner.settle_job(round_, live, kind, settings.exhausted_state)
        round_.batch.extend_event(reason=ending.reason, error=error)
        owner.raise_alert(round_, live, error)
        return
    delay_s = ending.delay_s
    if delay_s is None:
        delay_s = retry.delay_s(settings, live.attempt, owner.random()) if charged else 0.0
    owner.release_lease(live)
    live.available_at_s = owner.clock.now_s() + delay_s if delay_s else 0.0
    owner.record(round_, live, kind, State.WAITING)
    available_at = datetime.fromtimestamp(live.available_at_s, UTC) if delay_s else None
    round_.batch.extend_event(available_at=available_at, reason=ending.reason, error=error)
    round_.waiting_again.append(live)


def _end_late(owner: "Owner", round_: Round, ending: Ending, live: Live | None) -> None:
    """An ending whose lease is not the current one: still good if the lease was lost and nobody started since; otherwise the ledger tells what it was."""
    if ending.sink is None:
        return
    if live is not None and live.seq == ending.epoch and live.agent_id != ending.sink.agent_id:
        owner.metrics.foreign_leases.labels("outcome").inc()
        round_.acks.append((ending.sink, [ending.job_id], [ending.epoch], Disposition.UNKNOWN))
        return
    late = live is not None and live.state is State.WAITING and live.seq == ending.epoch + 1 and live.kind in (Kind.LOST, Kind.OWNER_CHANGED)
    if late and live is not None and live.agent_id != ending.sink.agent_id:
        late = False  # the ledger knows whose lease it was
    if late and live is not None and ending.kind is Kind.COMPLETED:
        if owner.is_moving(live):  # one event at a time
            owner.endings.append(ending)
            return
        owner.lanes.discard(live.job_id)
        owner.settle_job(round_, live, Kind.COMPLETED, State.COMPLETED, result=ending.result)
        round_.acks.append((ending.sink, [ending.job_id], [ending.epoch], Disposition.ACCEPTED_LATE))
        return
    owner.stale.append(ending)
    owner.stale_wake.set()
