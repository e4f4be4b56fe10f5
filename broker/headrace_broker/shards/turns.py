"""When a waiting job has its turn: told to the lanes of jobs that have an entry more than they need, and to whoever puts a job into its lane or timer."""

from typing import TYPE_CHECKING

from headrace_broker.model.job import State
from headrace_broker.shards.live import Live

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner


def due(owner: "Owner", live: Live) -> float:
    """When a waiting job may be granted, on the monotonic clock."""
    return max(owner.clock.monotonic_at(live.available_at_s) if live.available_at_s else 0.0, live.not_before)


def waits(owner: "Owner", job_id: int, priority: int) -> bool | None:
    """Whether a job may be granted in this round, at this priority. None: its time has not come, and it is in the timers again."""
    live = owner.live_jobs.get(job_id)
    if live is None or live.state is not State.WAITING or live.priority != priority or live.round == owner.rounds or job_id in owner.graph.unmet:
        return False
    now = owner.now()
    if due(owner, live) <= now:
        return True
    owner.await_turn(live, now)
    return None
