"""What a broker does beside its calls while it owns a shard: the duties of `maintenance` and `alerts`, each with what it works on."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any

from headrace_broker.alerts.duty import Alerting
from headrace_broker.alerts.facts import Watch
from headrace_broker.maintenance import tidy_agents, tidy_inbox, tidy_lives, tidy_operations
from headrace_broker.maintenance.index_logs import IndexLogs
from headrace_broker.maintenance.loop import repeat
from headrace_broker.maintenance.retention import Retention
from headrace_broker.maintenance.rollup import PERIOD_S as ROLLUP_PERIOD_S
from headrace_broker.maintenance.rollup import Rollup
from headrace_broker.maintenance.tidy_agents import SeenAgents, TidyAgents
from headrace_broker.maintenance.tidy_inbox import TidyInbox
from headrace_broker.maintenance.tidy_lives import TidyLives
from headrace_broker.maintenance.tidy_operations import TidyOperations
from headrace_broker.maintenance.watch_doors import WatchDoors
from headrace_broker.metrics import Metrics
from headrace_broker.parts import Parts
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store import partitions
from headrace_broker.store.alerts import AlertStore
from headrace_broker.store.log_index import LogIndexes
from headrace_broker.store.retire import Retirement
from headrace_broker.store.statistics import Statistics

INDEX_LOGS_S = 60.0
WATCH_DOORS_S = 10.0


def once_for_all(parts: Parts, metrics: Metrics, *, retention_period_s: float) -> Iterator[Coroutine[Any, Any, None]]:
    """The duties that are done once for all shards, by the owner of the first."""
    pool, first, several = parts.pool, parts.ownerships.first, len(parts.ownerships.each) > 1

    def now_s() -> float:
        return first.owner.clock.now_s()

    inbox = TidyInbox(first.inbox, first.inbox.done if several else _taken(first))
    yield repeat("inbox", inbox.run_once, period_s=tidy_inbox.PERIOD_S, ownership=first)
    yield repeat("operations", TidyOperations(first.operation_store).run_once, period_s=tidy_operations.PERIOD_S, ownership=first)
    yield repeat("agents", TidyAgents(parts.settings, now_s).run_once, period_s=tidy_agents.PERIOD_S, ownership=first)
    yield repeat("lives", TidyLives(parts.brokers).run_once, period_s=tidy_lives.PERIOD_S, ownership=first)
    retention = Retention(Retirement(pool), functools.partial(partitions.ranges, pool), now_s, metrics)
    yield repeat("retention", retention.run_once, period_s=retention_period_s, ownership=first)
    yield repeat("log index", IndexLogs(LogIndexes(pool), now_s).run_once, period_s=INDEX_LOGS_S, ownership=first)


def of_each_shard(parts: Parts, rollups: Sequence[Rollup], metrics: Metrics) -> Iterator[Coroutine[Any, Any, None]]:
    """The duties that each owner has for its shard. `rollups`: of each shard."""
    for ownership, rollup in zip(parts.ownerships.each, rollups, strict=True):
        watch = Watch(parts.statistics, ownership.inbox, ownership.health, asyncio.get_running_loop().time)
        yield Alerting(AlertStore(parts.pool, ownership.shard), ownership, watch, metrics).run()
        yield repeat("agents that are there", _seen_agents(parts, ownership).run_once, period_s=tidy_agents.SEEN_PERIOD_S, ownership=ownership)
        yield repeat("doors", _watch_doors(ownership).run_once, period_s=WATCH_DOORS_S, ownership=ownership)
        yield repeat("statistics", rollup.run_once, period_s=ROLLUP_PERIOD_S, ownership=ownership)


def rollups_of(parts: Parts) -> list[Rollup]:
    """Who writes the statistics of each shard."""
    return [_rollup(parts.statistics, ownership) for ownership in parts.ownerships.each]


def _rollup(statistics: Statistics, ownership: Ownership) -> Rollup:
    return Rollup(statistics, lambda: ownership.owner, sums=ownership.shard.number == 0)


def _seen_agents(parts: Parts, ownership: Ownership) -> SeenAgents:
    return SeenAgents(parts.settings, lambda: [session.agent_id for session in ownership.owner.sessions()])


def _watch_doors(ownership: Ownership) -> WatchDoors:
    return WatchDoors(ownership.inbox, lambda job_id: ownership.owner.live(job_id))


def _taken(ownership: Ownership) -> Callable[[], Awaitable[list[str]]]:
    """How far the inbox is taken up, where one owner takes all of it: its memory knows more than what is stored."""

    async def done() -> list[str]:
        return [ownership.owner.doors.cursor.done]

    return done
