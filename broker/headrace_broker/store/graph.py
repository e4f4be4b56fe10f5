"""Reads of who is tied to whom. Every statement is bounded; each raises what asyncpg raises when Postgres is away or too slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import asyncpg

from headrace_broker.model.job import State
from headrace_broker.store.statements import sql


class EdgeKind(IntEnum):
    """How two jobs are tied; the numbers are stored and are those of the wire."""

    DEPENDS = 1  # the child waits until the parent has completed
    SUBMITTED = 2  # the parent's handler submitted the child
    MEMBER = 3  # the parent is a member of the batch whose callback the child is


@dataclass(frozen=True, slots=True)
class Edge:
    """Two jobs and how they are tied."""

    parent_id: int
    child_id: int
    kind: EdgeKind


class GraphReads:
    """Reads on the pool."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def edges(self, job_ids: Sequence[int], limit: int) -> list[Edge]:
        """At most `limit` edges that touch these jobs."""
        return [Edge(r["parent_id"], r["child_id"], EdgeKind(r["kind"])) for r in await self._pool.fetch(sql("graph_edges"), list(job_ids), limit)]

    async def descendants(self, job_ids: Sequence[int], limit: int) -> list[int]:
        """At most `limit` ids: these jobs and all that is below them, along edges of every kind."""
        return [r["job_id"] for r in await self._pool.fetch(sql("graph_descendants"), list(job_ids), limit)]

    async def ties(self, job_ids: Sequence[int], limit: int) -> list[Edge]:
        """At most `limit` edges between these jobs of which one waits for the other."""
        return [Edge(r["parent_id"], r["child_id"], EdgeKind(r["kind"])) for r in await self._pool.fetch(sql("graph_ties"), list(job_ids), limit)]

    async def of_instance(self, type_ids: Sequence[int], instance_id: str, above: int, limit: int) -> list[int]:
        """Ids of the jobs of an instance above an id, oldest first."""
        return [r["job_id"] for r in await self._pool.fetch(sql("graph_instance"), list(type_ids), instance_id, above, limit)]

    async def batch_members(self, batch_id: int, above: int, limit: int) -> list[tuple[int, State]]:
        """Members of a batch above an id, with where they stand; ascending."""
        return [(r["job_id"], State(r["state"])) for r in await self._pool.fetch(sql("batch_members"), batch_id, above, limit)]
