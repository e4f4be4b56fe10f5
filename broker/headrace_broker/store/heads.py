"""Point reads that the owner's decisions need: where jobs stand, what agents need of them, how leases ended.

They run on the read pool, never on the flush connection. Ids are grouped by retention class, so that each statement names the partition it reads.
"""

import itertools
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from headrace_broker.model.amended import Amended, effective
from headrace_broker.model.ids import class_of
from headrace_broker.model.job import Kind, NoteKind, State
from headrace_broker.model.terms import Terms, make
from headrace_broker.store.batch import Body, FullBody, UniqueName
from headrace_broker.store.pool import READ_FAILURES
from headrace_broker.store.statements import sql

READ_TIMEOUT_S = 10.0
MEMBERS_AT_ONCE = 5000
"""Of a batch: how each of them stands is looked up, and a million would take longer than a read may."""
WaitsFor = dict[int, int]
"""What a job waits for: jobs, each with the run in which, or after which, it must have completed. Empty: the job is a callback, and waits for its batch."""

_NO_DETAILS = [None] * 5


class ReadFailed(Exception):
    """Postgres is away or did not answer in time."""


@dataclass(frozen=True, slots=True)
class StoredHead:
    """Where a stored job stands. `kind` None: nothing happened since it was submitted."""

    job_id: int
    type_id: int
    priority: int
    instance_id: str | None
    seq: int
    kind: Kind | None
    state: State
    run: int
    attempt: int
    losses: int
    delete_minute: int | None
    available_at: datetime | None
    agent_id: int | None
    unique_key: str | None = None
    waits_for: WaitsFor | None = None  # None: it waits for no other, or has waited already
    at: datetime | None = None  # of the newest event that moved it
    terms: Terms | None = None
    labels: str | None = None  # JSON
    amended: Amended | None = None

    @property
    def settled_at_s(self) -> float:
        """When it settled, in seconds since 1970; of a job that has settled."""
        return self.at.timestamp() if self.at is not None else 0.0


def terms_of(row: Any) -> Terms | None:
    """The terms of a job's row; None: it has none."""
    required = row["required_labels"]
    return make(row["limit_key"], row["fairness_key"], json.loads(required) if required else None)


class Heads:
    """Point reads; each call raises ReadFailed when Postgres does not answer."""

    def __init__(self, pool: "asyncpg.Pool[Any]") -> None:
        self._pool = pool

    async def heads(self, job_ids: Sequence[int]) -> dict[int, StoredHead]:
        """Where these jobs stand, by id; ids that are not stored are absent. Purged and expired jobs are there, with their state and date."""
        rows = [row for class_, ids in _by_class(job_ids) for row in await self._fetch(sql("heads"), ids, class_)]
        return {
            r["job_id"]: StoredHead(
                r["job_id"], r["type_id"], r["priority"], r["instance_id"], r["seq"], Kind(r["kind"]) if r["kind"] else None, State(r["state"]),
                r["run"], r["attempt"], r["losses"], r["delete_minute"], r["available_at"], r["agent_id"],
                r["unique_key"], waits_for(r["waits_for"]), r["at"], terms_of(r), r["labels"], effective(r["amended"], r["more"]),
            )
            for r in rows
        }  # fmt: skip

    async def batch(self, batch_id: int) -> tuple[bool, list[int], list[int]]:
        """The batch of a callback: (whether it is sealed, ids of its members, ids of those that are not settled). Members are read in portions, each as of then."""
        members, unsettled = list[int](), list[int]()
        while True:
            [row] = await self._fetch(sql("batch_read"), batch_id, class_of(batch_id), members[-1] if members else 0, MEMBERS_AT_ONCE)
            members += row["members"]
            unsettled += row["unsettled"]
            if len(row["members"]) < MEMBERS_AT_ONCE:
                return row["sealed"], members, unsettled

    async def standings(self, job_ids: Sequence[int]) -> dict[int, tuple[State, int]]:
        """(state, last run in which it completed, 0: none) of these jobs; ids that are not stored are absent."""
        rows = [row for class_, ids in _by_class(job_ids) for row in await self._fetch(sql("standings"), ids, class_)]
        return {r["job_id"]: (State(r["state"]), r["completed"]) for r in rows}

    async def unique_holders(self, names: Collection[UniqueName]) -> dict[UniqueName, int]:
        """Which live jobs hold these unique keys; keys that no live job holds are absent."""
        if not names:
            return {}
        rows = await self._fetch(sql("unique_holders"), [name[0] for name in names], [name[1] for name in names])
        return {(r["domain_id"], r["key"]): r["job_id"] for r in rows}

    async def bodies(self, job_ids: Sequence[int]) -> dict[int, tuple[Body, bytes | None, Amended | None]]:
        """What agents need of these jobs: body, and the newest checkpoint of the present run; with the amendments that hold for the job."""
        rows = [row for class_, ids in _by_class(job_ids) for row in await self._fetch(sql("bodies"), ids, class_)]
        return {
            job_id: (payload or b"" if details == _NO_DETAILS else FullBody(payload or b"", *details), checkpoint, effective(amended, details[-1]))
            for job_id, payload, *details, checkpoint, amended in rows
        }

    async def endings(self, leases: Sequence[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, bool, int | None]]:
        """How leases (job_id, epoch) ended: (kind of the ending or 0, whether an abort was asked for under it, agent_id); leases never granted are absent."""
        found = {}
        for class_, group in itertools.groupby(sorted(leases, key=lambda lease: class_of(lease[0])), key=lambda lease: class_of(lease[0])):
            chunk = list(group)
            rows = await self._fetch(sql("endings"), [c[0] for c in chunk], [c[1] for c in chunk], class_)
            found.update({(r["job_id"], r["lease_epoch"]): (r["kind"], r["abort_requested"], r["agent_id"]) for r in rows})
        return found

    async def abort_requests(self, leases: Sequence[tuple[int, int]]) -> list[tuple[int, str, str, bytes]]:
        """Requests to abort these leases (job_id, epoch): (job_id, who, why, what was asked for; see shards/aborts.py), newest last."""
        rows = await self._fetch(sql("recover_aborts"), [job_id for job_id, _ in leases], [epoch for _, epoch in leases])
        return [(r["job_id"], r["actor"] or "", r["reason"] or "", r["data"] or b"") for r in rows if r["kind"] == NoteKind.ABORT_REQUESTED]

    async def _fetch(self, query: str, *args: Any) -> list[Any]:
        try:
            rows: list[Any] = await self._pool.fetch(query, *args, timeout=READ_TIMEOUT_S)
            return rows
        except READ_FAILURES as error:
            raise ReadFailed(f"{type(error).__name__}: {error}") from error


def _by_class(job_ids: Sequence[int]) -> list[tuple[int, list[int]]]:
    return [(class_, list(group)) for class_, group in itertools.groupby(sorted(job_ids, key=class_of), key=class_of)]


def waits_for(text: str | None) -> WaitsFor | None:
    """What a job waits for, as it is stored: ids as they were submitted, or ids with runs."""
    if text is None:
        return None
    stored: list[int] | dict[str, int] = json.loads(text)
    return {int(job_id): run for job_id, run in stored.items()} if isinstance(stored, dict) else dict.fromkeys(stored, 1)
