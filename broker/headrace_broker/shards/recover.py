"""Builds an owner's memory from the ledger."""

from headrace_broker.model.job import State
from headrace_broker.shards.live import Abort, Live
from headrace_broker.shards.owner import Owner
from headrace_broker.store.partitions import FactRange
from headrace_broker.store.recovery import Recovery, StoredLive


async def recover(owner: Owner, recovery: Recovery, ranges: list[FactRange]) -> None:
    """Fills the memory of an owner that serves nobody yet. A lease that was open stays its agent's: whoever held it may claim it for a full lease from now.

    Raises whatever asyncpg raises; the owner is then of no use.
    """
    counts, max_id = await recovery.counts()
    owner.counted.update(counts)
    owner.recover_tick(max_id)
    leases: list[Live] = []
    for range_ in ranges:
        for stored in await recovery.live(range_):
            live = _live(owner, stored)
            owner.recover_live(live)
            if live.state is State.PROCESSING:
                leases.append(live)
    for stored_abort in await recovery.aborts([(live.job_id, live.seq) for live in leases]) if leases else []:
        owner.live_jobs[stored_abort.job_id].abort = Abort(stored_abort.actor, stored_abort.reason, stored_abort.grace_s)
    for live in leases:
        if live.agent_id is not None:
            owner.orphans.setdefault(live.agent_id, []).append(live)
    for range_ in sorted(ranges, key=lambda r: r.lo):
        for type_id, priority, job_ids in await recovery.ready(range_):
            owner.recover_ready(type_id, priority, job_ids)


def _live(owner: Owner, stored: StoredLive) -> Live:
    live = Live(stored.job_id, owner.types.by_id[stored.type_id], stored.priority, stored.instance_id)
    live.seq, live.kind, live.state = stored.seq, stored.kind, stored.state
    live.run, live.attempt, live.losses, live.agent_id = stored.run, stored.attempt, stored.losses, stored.agent_id
    live.owner_changes = stored.owner_changes
    live.available_at_s = stored.available_at.timestamp() if stored.available_at is not None else 0.0
    if live.state is State.PROCESSING:
        live.lease_end = owner.taken_over_at + max(stored.lease_s or 0.0, owner.limits.lease_s)
        live.deadline = owner.taken_over_at + live.entry.settings.timeout_s + owner.limits.lease_s
    return live
