"""Notes which agents are there, and forgets lives of agents that were there last long ago and that nothing names any more, in bounded passes.

An agent that runs a job is named by the job's events, also by those of later changes, as long as the job is kept; by the statistics of its time; and by what alerts know
of agents that are missed. Its jobs were made before it had gone, so only ranges of ids from before that are read, of which little is left: jobs that are kept for long.
Where much is left, as where jobs are kept for ever, nothing is forgotten: to find out would read all of it again and again.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from headrace_broker.model.ids import lowest_id_at
from headrace_broker.store.settings import SettingsStore

SEEN_PERIOD_S = 3600.0
PERIOD_S = 6 * 3600.0
KEPT_S = 65 * 86_400.0
"""Longer than statistics of hours are kept."""
MARGIN_S = 86_400.0
"""An agent may have been there, and have been granted jobs, for so long after it was noted last."""
MOST_BYTES = 256 * 1024 * 1024
"""Of events that are read in a pass: about a second."""
AT_ONCE = 20_000
ROUNDS = 10
"""Statements of one pass, at most."""

log = structlog.get_logger("headrace.agents")


@dataclass
class SeenAgents:
    """`connected`: agents of one owner that are there."""

    store: SettingsStore
    connected: Callable[[], Iterable[int]]

    async def run_once(self) -> dict[str, int]:
        """One pass; returns nothing worth a line in the log."""
        if agents := list(self.connected()):
            await self.store.seen(agents)
        return {}


@dataclass
class TidyAgents:
    """`now` is the database's clock in seconds since 1970."""

    store: SettingsStore
    now: Callable[[], float]

    async def run_once(self) -> dict[str, int]:
        """One pass; returns how many were forgotten."""
        before_s = self.now() - KEPT_S
        below_id = lowest_id_at(before_s + MARGIN_S)
        if (size := await self.store.named_by_bytes(below_id)) > MOST_BYTES:
            log.info("lives of agents are not forgotten: the events of old jobs that may name them are too many to be read", bytes=size)
            return {}
        total = 0
        for _ in range(ROUNDS):
            gone = await self.store.trim_agents(before_s, below_id, AT_ONCE)
            total += gone
            if gone < AT_ONCE:
                break
        return {"agents": total} if total else {}
