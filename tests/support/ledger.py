"""Checks a whole ledger against the model: what a test left behind must be possible, and the counts must be exact."""

from collections import Counter
from typing import Any

import asyncpg
from headrace_broker.model.job import Event, Head, Kind, State, fold

EVENTS = "select job_id, seq, kind, state, run, attempt, losses, delete_minute, type_id from headrace.event order by job_id, seq"

PENDING = (
    "select e.type_id, e.delete_minute from headrace.inbox i join headrace.event e on e.job_id = i.job_id and e.seq = i.lease_epoch + 1,"
    " headrace.job_type t, lateral (select done, upto, last_xid, last_id from headrace.inbox_cursor"
    " where shard = t.domain_id % (select count(*) from headrace.shard) order by cursor_no desc limit 1) c"
    " where t.type_id = e.type_id and i.kind = 2 and not pg_visible_in_snapshot(i.xid, c.done)"
    " and not coalesce(pg_visible_in_snapshot(i.xid, c.upto) and (i.xid::text::bigint, i.inbox_id) <= (c.last_xid, c.last_id), false)"
)
"""Completions in somebody's transaction that the owner has not taken up yet."""


async def check_ledger(con: "asyncpg.Connection[Any]", retired: Counter[tuple[int, int, int]] | None = None) -> dict[int, Head]:
    """Folds every history (which checks every step), compares the result with the SQL view and with the counts; returns the heads. `retired`: (type_id, state, delete
    minute) of jobs that are gone for good, which the counts still have.
    """
    types = {row["job_id"]: row["type_id"] for row in await con.fetch("select job_id, type_id from headrace.job")}
    histories: dict[int, list[Any]] = {job_id: [] for job_id in types}
    for row in await con.fetch(EVENTS):
        histories[row["job_id"]].append(row)
    heads = {job_id: fold(Event(r["seq"], Kind(r["kind"]), State(r["state"]), r["run"], r["attempt"], r["losses"]) for r in rows) for job_id, rows in histories.items()}
    view = {row["job_id"]: row for row in await con.fetch("select job_id, state, seq, run, attempt, losses from headrace.job_state")}
    assert view.keys() == heads.keys()
    for job_id, head in heads.items():
        row = view[job_id]
        assert row["state"] in (head.state.name.lower(), "gone"), f"job {job_id}: the view says {row['state']}, the fold {head}"
        assert (row["seq"], row["run"], row["attempt"], row["losses"]) == (head.seq, head.run, head.attempt, head.losses)
    wanted: Counter[tuple[int, int, int]] = Counter(retired or {})
    for job_id, head in heads.items():
        minute = (histories[job_id][-1]["delete_minute"] or 0) if histories[job_id] and head.state is not State.GONE else 0
        wanted[types[job_id], int(head.state), minute] += 1
    for row in await con.fetch(PENDING):  # the event is stored, its count comes with the row of the inbox
        wanted[row["type_id"], int(State.COMPLETED), row["delete_minute"] or 0] -= 1
        wanted[row["type_id"], int(State.PROCESSING), 0] += 1
    assert await stored_counts(con) == {key: n for key, n in wanted.items() if n}
    return heads


async def stored_counts(con: "asyncpg.Connection[Any]") -> dict[tuple[int, int, int], int]:
    """The sum of all flush rows, which stay for half an hour at least: (type_id, state, delete minute) -> jobs."""
    rows = await con.fetch(
        "select u.type_id, u.state, u.minute, sum(u.delta) as n from headrace.flush f,"
        " unnest(f.count_type, f.count_state, f.count_minute, f.count_delta) as u (type_id, state, minute, delta) group by 1, 2, 3 having sum(u.delta) <> 0"
    )
    return {(row["type_id"], row["state"], row["minute"]): row["n"] for row in rows}
