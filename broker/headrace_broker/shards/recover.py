"""Builds an owner's memory from the ledger: from the newest checkpoint and what came since, or from all of history when there is no checkpoint.

Open leases are complete before anything else is: a job that is leased must not be granted. However much there is to be remembered, others have their turn in between: the
proofs that this life lives, without which a broker that stands by ends it, and the other shards of the broker.
"""

import asyncio
import itertools
from array import array
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import TypeVar

from headrace_broker.model.amended import Amended
from headrace_broker.model.ids import lowest_id_at
from headrace_broker.model.job import State
from headrace_broker.shards import aborts, turns
from headrace_broker.shards.live import Live
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.timers import chosen
from headrace_broker.store.checkpoints import CheckpointStore, Chunk, ChunkKind, StoredCheckpoint
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.recovery import Recovery, StoredLive

T = TypeVar("T")
PORTION = 5000
"""Jobs after which others have their turn: 5 to 15 ms."""


async def recover(owner: Owner, recovery: Recovery, checkpoints: CheckpointStore, ranges: list[FactRange]) -> datetime | None:
    """Fills the memory of an owner that serves nobody yet. A lease that was open stays its agent's: whoever held it may claim it for a full lease from now.

    Ranges in which nothing can be yet, those of later ids, are not asked. Returns the time before which no event since the newest checkpoint was stored, or None when
    there is no checkpoint. Raises whatever asyncpg raises; the owner is then of no use.
    """
    counts, max_id = await recovery.counts(owner.shard.number)
    owner.counted.load(counts)
    owner.numbering.recover(max_id)
    highest = max(max_id, lowest_id_at(owner.clock.now_s()))
    ranges = [range_ for range_ in ranges if range_.lo <= highest]
    stored = await checkpoints.find()
    above = stored.max_id if stored is not None else 0
    await _hold_back(owner, recovery, ranges)
    touched, settled = await _touched(recovery, ranges, stored) if stored is not None else (set[int](), set[int]())
    known = [chunk async for chunk in checkpoints.chunks(stored)] if stored is not None else []
    live = {job_id for chunk in known if chunk.kind is ChunkKind.LIVE for job_id in chunk.job_ids}
    await _add_live(owner, recovery, [found async for found in recovery.heads(touched | live)])
    for range_ in ranges:
        await _add_live(owner, recovery, await recovery.live(range_, above))
    await _restore_leases(owner, recovery)
    passed = touched | settled | live | {job_id for chunk in known if chunk.kind is ChunkKind.DROPPED for job_id in chunk.job_ids}
    for chunk in known:
        await _restore(owner, chunk, passed)
        await asyncio.sleep(0)
    await _restore_owed(owner, recovery, ranges)
    for range_ in sorted(ranges, key=lambda r: r.lo):
        await _add_waiting(owner, recovery, range_, above)
    return stored.floor if stored is not None else None


async def _hold_back(owner: Owner, recovery: Recovery, ranges: list[FactRange]) -> None:
    """Jobs whose lease was ended by force a moment ago are held back: their agents may go on until it is over, which may be longer than leases are now."""
    for range_ in ranges:
        found = await recovery.forced(range_, owner.clock.now(), owner.limits.lease_s)
        owner.not_before.update({job_id: owner.taken_over_at + lease_s for job_id, lease_s in found})


async def _touched(recovery: Recovery, ranges: list[FactRange], stored: StoredCheckpoint) -> tuple[set[int], set[int]]:
    """Jobs that a checkpoint may know of and to which something happened since: those that are not settled by then, and those that are."""
    touched, settled = set[int](), set[int]()
    for range_ in ranges:
        found, ended = await recovery.touched(range_, stored.max_id, stored.floor)
        touched.update(found)
        settled.update(ended)
    return touched, settled


async def _restore(owner: Owner, chunk: Chunk, passed: set[int]) -> None:
    """Jobs of a checkpoint to which nothing has happened yet."""
    if chunk.kind is ChunkKind.READY:
        assert chunk.type_id is not None
        assert chunk.priority is not None
        ids: Iterable[int] = chunk.job_ids if passed.isdisjoint(chunk.job_ids) else [job_id for job_id in chunk.job_ids if job_id not in passed]
        owner.lanes.extend(chunk.type_id, chunk.priority, ids)
    elif chunk.kind is ChunkKind.TIMED:
        assert chunk.what is not None
        assert chunk.due is not None
        job_ids, whats, due = chunk.job_ids, chunk.what, chunk.due
        if not passed.isdisjoint(job_ids):
            kept = [job_id not in passed for job_id in job_ids]
            job_ids, whats, due = chosen(job_ids, kept), chosen(whats, kept), chosen(due, kept)
        await _enter_all(owner, job_ids, whats, due)
    elif chunk.kind is ChunkKind.TERMS:
        assert chunk.what is not None
        assert chunk.due is not None
        assert chunk.terms is not None
        async for part in _in_turns(zip(chunk.job_ids, chunk.what, chunk.due, strict=True)):
            for job_id, what, due_s in part:
                if job_id in passed:
                    continue
                type_id, terms = chunk.terms[what >> 32]
                turns.enter_terms(owner, job_id, type_id, terms, (what & 0xFFFF_FFFF) - 0x8000_0000, due_s)


async def _in_turns(jobs: Iterable[T]) -> AsyncIterator[list[T]]:
    """Jobs in portions; after each of them others have their turn."""
    left = iter(jobs)
    while part := list(itertools.islice(left, PORTION)):
        yield part
        await asyncio.sleep(0)


async def _enter_all(owner: Owner, job_ids: "array[int]", whats: "array[int]", due: "array[float]") -> None:
    """Jobs that wait for a time, in columns; after each portion others have their turn."""
    for at in range(0, len(job_ids), PORTION):
        turns.enter_all(owner, job_ids[at : at + PORTION], whats[at : at + PORTION], due[at : at + PORTION])
        await asyncio.sleep(0)


def _holds(owner: Owner, type_id: int) -> bool:
    """Whether jobs of a type are this owner's: others own those of other shards beside it. A type that is not known yet was just made by one of them."""
    if owner.shard.of == 1:
        return True
    entry = owner.types.by_id.get(type_id)
    return entry is not None and owner.shard.holds(entry.domain_id)


async def _add_waiting(owner: Owner, recovery: Recovery, range_: FactRange, above: int) -> None:
    async for group in recovery.waiting(range_, above):
        if not _holds(owner, group.type_id):
            continue
        if group.held:
            await _add_live(owner, recovery, [found async for found in recovery.heads(group.job_ids)])
        elif group.terms is not None:
            async for part in _in_turns(zip(group.job_ids, group.due or itertools.repeat(0.0), strict=False)):
                for job_id, due_s in part:
                    turns.enter_terms(owner, job_id, group.type_id, group.terms, group.priority, due_s)
        elif group.due is None:
            owner.lanes.extend(group.type_id, group.priority, group.job_ids)
        else:
            what = array("q", [group.type_id << 32 | group.priority + 0x8000_0000])
            await _enter_all(owner, array("q", group.job_ids), what * len(group.job_ids), array("d", group.due))


async def _add_live(owner: Owner, recovery: Recovery, found: list[StoredLive]) -> None:
    found = [stored for stored in found if _holds(owner, stored.type_id)]
    amended = await recovery.amended(stored.job_id for stored in found)
    owner.amended.update(amended)
    async for part in _in_turns(found):
        for stored in part:
            if stored.waits_for is not None and stored.state is State.WAITING:
                owner.graph.hold(stored.job_id, stored.waits_for)
            _enter(owner, _live(owner, stored, amended.get(stored.job_id)))


def _enter(owner: Owner, live: Live) -> None:
    """A job to which something happened: it waits again, or its lease is open."""
    owner.live_jobs[live.job_id] = live
    if live.line is not None:
        live.line.jobs += 1
        if live.state is State.PROCESSING:
            owner.lines.began(live.line, 1)
    if live.state is State.WAITING:
        turns.await_turn(owner, live, owner.now())


async def _restore_leases(owner: Owner, recovery: Recovery) -> None:
    """What concerns open leases: requests to abort, and who may claim them."""
    leases = [live for live in owner.live_jobs.values() if live.state is State.PROCESSING]
    for stored in await recovery.aborts([(live.job_id, live.seq) for live in leases]) if leases else []:
        aborts.recover(owner, stored)
    for live in leases:
        owner.doors.restored[live.job_id] = live.seq
        if live.agent_id is not None:
            owner.orphans.setdefault(live.agent_id, []).append(live)


async def _restore_owed(owner: Owner, recovery: Recovery, ranges: list[FactRange]) -> None:
    """Leases that ended a moment ago and may go on at their agents count against limits until a full lease from now. Read only where
    there are such limits. Rates begin now.
    """
    own = [entry for entry in owner.types.by_id.values() if _holds(owner, entry.type_id)]
    for entry in own:
        if entry.settings.rate_limit_count:
            owner.caps.tokens(entry, owner.taken_over_at)
    limited = {entry.type_id for entry in own if entry.settings.concurrency or entry.settings.concurrency_per_key}
    if not limited:
        return
    ends = [*owner.not_before.values(), *(live.lease_end for live in owner.live_jobs.values() if live.state is State.PROCESSING)]
    longest_s = max([owner.limits.lease_s, *(end - owner.taken_over_at for end in ends)])
    for range_ in ranges:
        for type_id, limit_key, count in await recovery.owed(range_, longest_s):
            if type_id in limited:
                entry = owner.types.by_id[type_id]
                owner.caps.owe_all(owner, entry, owner.lines.cell(entry, limit_key) if limit_key else None, count, owner.taken_over_at + longest_s)


def _live(owner: Owner, stored: StoredLive, amended: Amended | None) -> Live:
    priority = amended.priority if amended is not None and amended.priority is not None else stored.priority
    live = Live(stored.job_id, owner.types.by_id[stored.type_id], priority, stored.instance_id)
    live.seq, live.kind, live.state = stored.seq, stored.kind, stored.state
    live.run, live.attempt, live.losses, live.agent_id = stored.run, stored.attempt, stored.losses, stored.agent_id
    live.owner_changes = stored.owner_changes
    if stored.terms is not None:
        live.line = owner.lines.of(live.entry, stored.terms)
    live.available_at_s = stored.available_at.timestamp() if stored.available_at is not None else 0.0
    if live.state is State.WAITING:
        live.not_before = owner.not_before.get(stored.job_id, 0.0)
    if live.state is State.PROCESSING:
        live.lease_end = owner.taken_over_at + max(stored.lease_s or 0.0, owner.limits.lease_s)
        live.deadline = owner.taken_over_at + live.entry.settings.timeout_s + owner.limits.lease_s
    return live
