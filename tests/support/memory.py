"""What the owner remembers beside the jobs themselves, held against SQL: who waits for whom, batches, unique keys, leases under limits, how far bulk operations came.

The same facts are told by the calls of a broker (`tests/support/agreement.py`); both hold them against `Ties`, which is read from the tables alone.
"""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

import asyncpg
from headrace_broker.model.job import Kind, NoteKind
from headrace_broker.shards.owner import Owner

UNSETTLED = ("waiting", "processing")
JOBS = (
    "select v.job_id, v.state, j.type_id, t.domain_id, j.more from headrace.job_state v join headrace.job j using (job_id)"
    " join headrace.job_type t on t.type_id = j.type_id where j.more is not null or v.state = 'processing'"
)
EVENTS = "select job_id, kind, max(seq) as seq, max(run) as run from headrace.event where kind in (2, 13) group by job_id, kind"
NOTES = "select job_id, kind, lease_epoch, data from headrace.note where kind in (4, 13) order by lease_epoch"


@dataclass(frozen=True, slots=True)
class Ties:
    """`unmet`: who is held, and what each still waits for; `members`, `sealed`: of batches whose callback is held; `holders`: (domain_id, unique key) -> live job;
    `running`: leases by (type_id, limit key), with those of the whole type under the key None.
    """

    unmet: dict[int, set[int]]
    members: dict[int, set[int]]
    sealed: set[int]
    holders: dict[tuple[int, str], int]
    running: dict[tuple[int, str | None], int]


PROGRESS = (
    "select o.operation_id, o.state, p.* from headrace.operation o"
    " left join lateral (select * from headrace.operation_page where operation_id = o.operation_id order by n desc limit 1) p using (operation_id)"
)
SIGNED = "select convert_from(data, 'UTF8')::bigint as operation_id, count(*) as n from headrace.note where kind = 12 group by 1"
SKIPPED = "select operation_id, count(*) filter (where not failed) as skipped, count(*) filter (where failed) as failed from headrace.operation_skip group by 1"


@dataclass(frozen=True, slots=True)
class Came:
    """How far a bulk operation came; `todo`: members that were found and are not decided."""

    state: str
    matched: int
    done: int
    skipped: int
    failed: int
    todo: tuple[int, ...]


async def read_progress(con: "asyncpg.Connection[Any]", *, retired: bool = False) -> dict[int, Came]:
    """By operation. Fails when its numbers are not those of the jobs that bear its name and of those that it skipped. `retired`: some jobs are gone for good."""
    signed = {row["operation_id"]: row["n"] for row in await con.fetch(SIGNED)}
    skips = {row["operation_id"]: (row["skipped"], row["failed"]) for row in await con.fetch(SKIPPED)}
    found = {}
    for row in await con.fetch(PROGRESS):
        number = row["operation_id"]
        came = found[number] = Came(row["state"], row["matched"] or 0, row["done"] or 0, row["skipped"] or 0, row["failed"] or 0, tuple(row["todo"] or ()))
        bear = signed.get(number, 0)
        assert bear <= came.done if retired else bear == came.done, f"operation {number} says that it did {came.done} jobs, {bear} bear its name"
        assert skips.get(number, (0, 0)) == (came.skipped, came.failed), f"operation {number} says {came}, and skipped {skips.get(number)}"
    return found


async def read_ties(con: "asyncpg.Connection[Any]") -> Ties:
    """What the tables say, of one moment if `con` is in a transaction that sees one. Fails when a unique key has two live holders, or another one than its row says."""
    completed: dict[int, int] = {}
    released: dict[int, int] = {}
    for row in await con.fetch(EVENTS):
        if row["kind"] == Kind.COMPLETED:
            completed[row["job_id"]] = row["run"]
        else:
            released[row["job_id"]] = row["seq"]
    notes: dict[int, tuple[int, Any]] = {}
    sealed: set[int] = set()
    for row in await con.fetch(NOTES):
        if row["kind"] == NoteKind.BATCH_SEALED:
            sealed.add(row["job_id"])
        else:
            notes[row["job_id"]] = row["lease_epoch"], json.loads(row["data"])
    rows = await con.fetch(JOBS)
    state = {row["job_id"]: row["state"] for row in await con.fetch("select job_id, state from headrace.job_state")}
    members: defaultdict[int, set[int]] = defaultdict(set)
    for edge in await con.fetch("select parent_id, child_id from headrace.edge where kind = 3"):
        members[edge["child_id"]].add(edge["parent_id"])
    unmet: dict[int, set[int]] = {}
    holders: dict[tuple[int, str], int] = {}
    running: Counter[tuple[int, str | None]] = Counter()
    for row in rows:
        job_id, more = row["job_id"], json.loads(row["more"] or "{}")
        if row["state"] == "processing":
            running[row["type_id"], None] += 1
            if more.get("limit_key"):
                running[row["type_id"], more["limit_key"]] += 1
        if row["state"] in UNSETTLED and more.get("unique_key"):
            name = row["domain_id"], more["unique_key"]
            assert name not in holders, f"jobs {holders[name]} and {job_id} live with the unique key {name}"
            holders[name] = job_id
        since, waits_for = notes.get(job_id, (0, more.get("depends_on")))
        if row["state"] != "waiting" or waits_for is None or released.get(job_id, -1) > since:
            continue
        runs = {int(other): run for other, run in waits_for.items()} if isinstance(waits_for, dict) else dict.fromkeys(waits_for, 1)
        if runs:
            unmet[job_id] = {other for other, run in runs.items() if completed.get(other, 0) < run}
        else:
            unmet[job_id] = {member for member in members[job_id] if state.get(member) in UNSETTLED}
    stored = {(row["domain_id"], row["key"]): row["job_id"] for row in await con.fetch("select domain_id, key, job_id from headrace.unique_key")}
    wrong = {name: (job_id, stored.get(name)) for name, job_id in holders.items() if stored.get(name) != job_id}
    assert not wrong, f"live holders of unique keys, and who their rows name: {wrong}"
    batches = {job_id: members[job_id] for job_id in unmet if _is_callback(job_id, notes, rows)}
    return Ties(unmet, batches, sealed & batches.keys(), holders, dict(running))


def _is_callback(job_id: int, notes: dict[int, tuple[int, Any]], rows: list[Any]) -> bool:
    if job_id in notes:
        return not notes[job_id][1]
    return any(row["job_id"] == job_id and json.loads(row["more"])["depends_on"] == [] for row in rows)


async def differences(owner: Owner, con: "asyncpg.Connection[Any]") -> list[str]:
    """One line for each thing that an owner which has nothing left to decide remembers otherwise than the tables say."""
    ties, graph = await read_ties(con), owner.graph
    wrong = [f"job {job_id} waits for {graph.unmet.get(job_id)}, by the tables for {ties.unmet.get(job_id)}" for job_id in _differ(graph.unmet, ties.unmet)]
    wrong += [f"batch {job_id} has {graph.members.get(job_id)}, by the tables {ties.members.get(job_id)}" for job_id in _differ(graph.members, ties.members)]
    sealed = {job_id for job_id, closed in graph.sealed.items() if closed}
    wrong += [f"batch {job_id} is sealed here or there alone" for job_id in sealed ^ ties.sealed]
    waiters: defaultdict[int, set[int]] = defaultdict(set)
    for job_id, others in graph.unmet.items():
        for other in others:
            waiters[other].add(job_id)
    known = {other: set(jobs) for other, jobs in graph.waiters.items()}
    wrong += [f"job {other} is waited for by {known.get(other)}, and {waiters.get(other)} wait for it" for other in _differ(known, waiters)]
    return wrong + _limits(owner, ties)


def _limits(owner: Owner, ties: Ties) -> list[str]:
    """Leases under limits: those that are owed count in memory alone."""
    owed = Counter[tuple[int, str]]()
    for _, _, entry, cell, count in owner.caps._debts:
        if cell is not None:
            owed[entry.type_id, cell.key] += count
    wrong = []
    for type_id, entry in owner.types.by_id.items():
        crowd = owner.lines.crowds.get(type_id)
        said: dict[str | None, int] = {None: owner.caps.running(owner, entry) - owner.caps.owed[type_id]}
        if crowd is not None:
            said |= {key: cell.running - owed[type_id, key] for key, cell in crowd.cells.items()}
        wanted = {key: count for (of, key), count in ties.running.items() if of == type_id}
        wrong += [f"type {entry.name}, limit key {key}: {said.get(key)} leases, by the tables {wanted.get(key)}" for key in _differ(said, wanted, empty=0)]
        if owner.depth._reserved[entry]:
            wrong.append(f"type {entry.name}: room for {owner.depth._reserved[entry]} jobs is still reserved")
    for type_id, count in owner.caps.owed.items():
        if count != sum(debt[4] for debt in owner.caps._debts if debt[2].type_id == type_id):
            wrong.append(f"type {type_id} owes {count} leases, which are not its debts")
    return wrong


def _differ(one: "dict[Any, Any]", other: "dict[Any, Any]", empty: object = None) -> list[Any]:
    return [key for key in {**one, **other} if one.get(key, empty) != other.get(key, empty)]
