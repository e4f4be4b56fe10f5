"""Whether everybody says the same of every job: the ledger folded by the model, the SQL view, the RPCs, the owner's memory and its counts.

Beside where each job stands: whom it waits for, how batches stand, that no two live jobs hold one unique key, and how far bulk operations came.
"""

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
from headrace_broker.model.job import Head
from headrace_client import AdminClient, Client, HeadraceError, Job, JobFilter, Order, State

from tests.support.ledger import check_ledger
from tests.support.memory import Came, Ties, read_progress, read_ties
from tests.support.processes import pause

STATES = (State.WAITING, State.PROCESSING, State.COMPLETED, State.ERROR, State.ABORTED)
PATIENCE_S = 30.0


async def agree(client: Client, database: str, domain: str | None = None) -> dict[int, Head]:
    """The heads of all jobs, once two looks at the ledger with everybody else's word between them are the same. `domain`: the client's, where there are others too, whose
    jobs are passed over.

    Jobs may move when this is called (a retry falls due, a lease ends): then it looks again. What still differs after `PATIENCE_S` fails the test.
    """
    loop = asyncio.get_running_loop()
    con = await asyncpg.connect(database)
    try:
        end = loop.time() + PATIENCE_S
        while True:
            heads, view, ties, came = await _ledger(con)
            if domain is not None:
                view, ties, came = _of(domain, view, ties)
            wrong = await _differences(client, view, ties) + await _untied(client, ties) + await _elsewhere(client, came)
            if not wrong and (await _ledger(con))[0] == heads:
                return heads
            assert loop.time() < end, "\n".join(wrong) or "the jobs do not come to rest"
            await pause()
    finally:
        await con.close()


def _of(domain: str, view: dict[int, Any], ties: Ties) -> tuple[dict[int, Any], Ties, dict[int, Came]]:
    """What of it is of a domain, but for bulk operations."""
    own = {job_id: row for job_id, row in view.items() if row["domain"] == domain}
    ties = replace(
        ties,
        unmet={job_id: unmet for job_id, unmet in ties.unmet.items() if job_id in own},
        members={job_id: found for job_id, found in ties.members.items() if job_id in own},
    )
    return own, ties, {}


async def history(client: Client, job_id: int) -> list[str]:
    """The kinds of a job's events and, in brackets, notes; in the order of their seq, without the submission."""
    return [f"({event.kind})" if event.note else event.kind for event in (await client.events(job_id))[1:]]


async def _ledger(con: "asyncpg.Connection[Any]") -> tuple[dict[int, Head], dict[int, Any], Ties, dict[int, Came]]:
    """The folded ledger (checked against the view and the stored counts), the view, who is tied to whom, and how far operations came, of one moment."""
    async with con.transaction(isolation="repeatable_read", readonly=True):
        heads = await check_ledger(con)
        rows = await con.fetch(
            "select v.*, (select coalesce(max(e.seq), 0) from headrace.event e where e.job_id = v.job_id and e.kind = 1) as lease_epoch from headrace.job_state v"
        )
        return heads, {row["job_id"]: row for row in rows}, await read_ties(con), await read_progress(con)


async def _elsewhere(client: Client, came: dict[int, Came]) -> list[str]:
    """One line for each bulk operation of which the broker says something else."""
    if not came:
        return []
    wrong = []
    async with AdminClient(client.brokers) as admin:
        for number, stored in came.items():
            told = await admin.get_operation(number)
            said = Came(told.state.value, told.matched, told.done, told.skipped, told.failed, stored.todo)
            if said != stored:
                wrong.append(f"operation {number}: the broker says {said}, the tables {stored}")
    return wrong


async def _untied(client: Client, ties: Ties) -> list[str]:
    """The same for what held jobs wait for, by the owner's memory, and for batches."""
    wrong = []
    for job_id, unmet in ties.unmet.items():
        try:
            explained = await client.explain(job_id)
        except HeadraceError:  # it moved, or is gone: what follows says so
            continue
        named = {blocker.job_id for blocker in explained.blockers}
        if explained.blockers_total != len(unmet) or not named <= unmet:
            wrong.append(f"job {job_id} waits for {explained.blockers_total} others, {sorted(named)} among them; by the tables for {sorted(unmet)}")
    for batch_id, members in ties.members.items():
        status = await client.batch_status(batch_id)
        if (status.open, status.total) != (batch_id not in ties.sealed, len(members)):
            wrong.append(f"batch {batch_id} stands so: {status}; by the tables it has {sorted(members)}")
    return wrong


def _told(job: Job) -> tuple[Any, ...]:
    """What a call says of a job beside where it stands: when it may start, settled and will be gone, whether it is kept from that, and whether it has an error."""
    return job.available_at, job.settled_at, job.delete_at, job.hold, job.error is not None


def _shown(row: Any) -> tuple[Any, ...]:
    """The same by the view."""
    available_at = (row["available_at"] or row["created_at"]) if row["state"] == "waiting" else None
    return available_at, row["settled_at"], row["delete_at"], row["hold"], row["error"] is not None


async def _differences(client: Client, view: dict[int, Any], ties: Ties) -> list[str]:
    """One line for each word that differs from the ledger's."""
    wrong = []
    for job_id, row in view.items():
        job = await client.find(job_id)
        said = None if job is None else (job.state.value, job.run, job.attempt, job.losses, job.lease_epoch)
        wanted = None if row["state"] == "gone" else (row["state"], row["run"], row["attempt"], row["losses"], row["lease_epoch"])
        if said != wanted:
            wrong.append(f"job {job_id}: GetJob says {said}, the ledger {wanted}")
        elif job is not None and (told := _told(job)) != (shown := _shown(row)):
            wrong.append(f"job {job_id}: GetJob says {told}, the view {shown}")
        if job is not None and (job.wait_reason == "dependency") != (job_id in ties.unmet):
            wrong.append(f"job {job_id} waits because of {job.wait_reason}, by the tables for {ties.unmet.get(job_id)}")
    ids = {state: {job_id for job_id, row in view.items() if row["state"] == state.value} for state in STATES}
    for state in STATES:
        listed = [job.job_id async for job in client.iter_jobs(states=[state])]
        if sorted(listed) != sorted(ids[state]):
            wrong.append(f"the list of {state.value} jobs has {sorted(set(listed) - ids[state])} too many and lacks {sorted(ids[state] - set(listed))}")
    listed = [job.job_id async for job in client.iter_jobs()]
    if sorted(listed) != sorted(set().union(*ids.values())):
        wrong.append("the list of all jobs is not that of the ledger")
    listed = [job.job_id async for job in client.iter_jobs(order=Order.OLDEST)]
    if listed != sorted(set().union(*ids.values())):
        wrong.append("the list of all jobs, oldest first, is not that of the ledger")
    searched = await client.count(where=JobFilter(created_from=datetime(2025, 1, 1, tzinfo=UTC)))
    if {state: n for state, n in searched.totals.items() if n} != {state: len(found) for state, found in ids.items() if found}:
        wrong.append(f"a search counts {searched.totals}")
    wanted_types = Counter((row["type"], State(row["state"])) for row in view.values() if row["state"] != "gone")
    counted = await client.count()
    said_types = {(type_, state): n for type_, by_state in counted.types.items() for state, n in by_state.items() if n}
    if said_types != dict(wanted_types):
        wrong.append(f"CountJobs says {said_types}, the ledger {dict(wanted_types)}")
    if {state: n for state, n in counted.totals.items() if n} != {state: len(found) for state, found in ids.items() if found}:
        wrong.append(f"the totals are {counted.totals}")
    return wrong
