"""`headrace.submit_job` in a caller's own transaction: a commit makes one job, a rollback none, and nobody waits for anybody's transaction."""

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.maintenance import tidy_inbox
from headrace_broker.maintenance.tidy_inbox import TidyInbox
from headrace_broker.store import pool as pools
from headrace_broker.store.inbox import SPEC_LIMIT, Cursor, Inbox
from headrace_broker.store.pool import open_pool
from headrace_client import AdminClient, Client, State

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess, Process, start_broker, until

SUBMIT = "select headrace.submit_job($1, $2)"


@pytest.fixture
async def con(database: str, stack: AsyncExitStack) -> "asyncpg.Connection[Any]":
    """A program's own connection."""
    found = await asyncpg.connect(database)
    stack.push_async_callback(found.close)
    return found


async def job_of(con: "asyncpg.Connection[Any]", inbox_id: int) -> int:
    """The job of a row of the inbox, once it is taken up."""

    async def taken() -> Any:
        return await con.fetchval("select headrace.submitted_job($1)", inbox_id)

    return int(await until(taken, what=f"the job of row {inbox_id}"))


async def refusal_of(con: "asyncpg.Connection[Any]", inbox_id: int) -> tuple[str, str]:
    """(reason, message) of a row that is refused."""

    async def taken() -> Any:
        return await con.fetchrow("select reason, message from headrace.inbox_result where inbox_id = $1 and reason is not null", inbox_id)

    row = await until(taken, what=f"the refusal of row {inbox_id}")
    return row["reason"], row["message"]


async def test_a_commit_makes_a_job_that_starts_within_a_second(client: Client, agent: Process, database: str, con: "asyncpg.Connection[Any]") -> None:
    await con.execute("create table orders (id int)")
    fastest = timedelta(days=1)
    for number in range(5):
        async with con.transaction():
            await con.execute("insert into orders values ($1)", number)
            inbox_id = await con.fetchval(SUBMIT, "echo", f'{{"order": {number}}}')
            assert await con.fetchval("select count(*) from headrace.job") == number
        committed = await con.fetchval("select clock_timestamp()")
        job = await client.wait(await job_of(con, inbox_id))
        assert (job.state, job.json_result()) == (State.COMPLETED, {"order": number})
        assert job.started_at is not None
        fastest = min(fastest, job.started_at - committed)
    assert fastest < timedelta(seconds=1)
    await agree(client, database)


async def test_a_rollback_leaves_nothing(client: Client, database: str, con: "asyncpg.Connection[Any]") -> None:
    transaction = con.transaction()
    await transaction.start()
    lost = await con.fetchval(SUBMIT, "echo", "1")
    await transaction.rollback()
    async with con.transaction():
        kept = await con.fetchval(SUBMIT, "echo", "2")
        savepoint = con.transaction()
        await savepoint.start()
        await con.fetchval(SUBMIT, "echo", "3")
        await savepoint.rollback()
    await job_of(con, kept)
    assert [(await client.get(job.job_id, full=True)).payload async for job in client.iter_jobs()] == [b"2"]
    assert await con.fetchval("select headrace.submitted_job($1)", lost) is None
    await agree(client, database)


async def test_everything_that_a_submit_says_arrives(client: Client, broker: BrokerProcess, con: "asyncpg.Connection[Any]") -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=5)
    inbox_id = await con.fetchval(
        "select headrace.submit_job('report', '{\"year\": 2026}', domain => 'other', instance_id => 'case-7', priority => 5, start_at => $1,"
        " labels => '{\"team\": \"a\"}', trace_context => 'trace', content_type => 'application/vnd.year+json', wake => false)",
        start,
    )
    job_id = await job_of(con, inbox_id)
    assert await client.find(job_id) is None  # another domain's
    async with Client(broker.address, domain="other", timeout_s=20) as other:
        job = await other.get(job_id, full=True)
    assert (job.type, job.instance_id, job.priority, job.labels, job.trace_context) == ("report", "case-7", 5, {"team": "a"}, "trace")
    assert (job.available_at, job.content_type, job.payload) == (start, "application/vnd.year+json", b'{"year": 2026}')
    delayed = await job_of(con, await con.fetchval("select headrace.submit_job('report', payload_bytes => '\\x00ff', delay => '1 hour')"))
    job = await client.get(delayed, full=True)
    assert (job.payload, job.wait_reason) == (b"\x00\xff", "scheduled")


async def test_a_key_is_one_job_whichever_door_it_comes_through(client: Client, database: str, con: "asyncpg.Connection[Any]") -> None:
    first = await client.submit("t", payload=b'{"a": 1}', key="k")
    same = await con.fetchval("select headrace.submit_job('t', '{\"a\":1}', idempotency_key => 'k')")
    other = await con.fetchval("select headrace.submit_job('t', '{\"a\":2}', idempotency_key => 'k')")
    assert await job_of(con, same) == first.job_id
    reason, message = await refusal_of(con, other)
    assert reason == "IDEMPOTENCY_CONFLICT" and str(first.job_id) in message
    with pytest.raises(asyncpg.PostgresError, match="refused") as refused:
        await con.fetchval("select headrace.submitted_job($1)", other)
    assert refused.value.sqlstate == "HR002"
    unique = [await con.fetchval("select headrace.submit_job('t', '1', more => '{\"unique_key\": \"u\"}')") for _ in range(2)]
    assert await job_of(con, unique[0]) == await job_of(con, unique[1])
    await agree(client, database)


@pytest.mark.parametrize("tie", ["depends_on", "parent_id", "batch_id"])
async def test_a_job_that_names_others_is_refused_when_they_are_not_there_in_its_domain(
    client: Client, broker: BrokerProcess, database: str, con: "asyncpg.Connection[Any]", tie: str
) -> None:
    async with Client(broker.address, domain="other", timeout_s=20) as elsewhere:
        foreign = (await elsewhere.submit("t", 1)).job_id
    for job_id in (foreign, 77):
        more = json.dumps({tie: [str(job_id)] if tie == "depends_on" else str(job_id)})
        reason, message = await refusal_of(con, await con.fetchval("select headrace.submit_job('t', '1', more => $1)", more))
        assert reason == "JOB_NOT_FOUND" and str(job_id) in message
    mine = (await client.submit("t", 1)).job_id
    children = {"depends_on": [str(mine)], "parent_id": str(mine)}
    job = await client.get(await job_of(con, await con.fetchval("select headrace.submit_job('t', '1', more => $1)", json.dumps(children))))
    assert (job.wait_reason, job.depends_on, job.parent_id) == ("dependency", (mine,), mine)
    await agree(client, database, "default")


async def test_a_submit_that_the_broker_refuses_says_why_and_holds_up_nobody(client: Client, database: str, con: "asyncpg.Connection[Any]") -> None:
    large = await con.fetchval("select headrace.submit_job('t', payload_bytes => convert_to(repeat('x', 2000000), 'UTF8'))")
    unknown = await con.fetchval("select headrace.submit_job('t', '1', more => '{\"no_such_field\": 1}')")
    number, depth = '{"batch_id": 1e5000}', '{"x": ' + 3000 * "[" + 3000 * "]" + "}"  # more than can be read here, although Postgres takes them
    unreadable = [await con.fetchval("select headrace.submit_job('t', '1', more => $1)", more) for more in (number, depth)]
    good = await con.fetchval(SUBMIT, "t", "1")
    await job_of(con, good)
    assert (await refusal_of(con, large))[0] == "TOO_LARGE"
    reason, message = await refusal_of(con, unknown)
    assert reason == "INVALID_FIELD" and "no_such_field" in message
    assert [(await refusal_of(con, inbox_id))[0] for inbox_id in unreadable] == ["INVALID_FIELD"] * 2
    assert (await client.count()).totals == {State.WAITING: 1}


async def test_a_submission_that_says_more_than_a_job_can_have_is_refused_unread(client: Client, con: "asyncpg.Connection[Any]") -> None:
    """To read it would hold up the broker, and each that takes over from it; Postgres takes 255 MB."""
    more = "jsonb_build_object('depends_on', (select jsonb_agg(n::text) from generate_series(1, 100000) n))"
    entry = await con.fetchval(f"select headrace.submit_job('t', '1', more => {more})")
    await job_of(con, await con.fetchval(SUBMIT, "t", "1"))
    reason, message = await refusal_of(con, entry)
    assert reason == "TOO_LARGE" and message.startswith("more: ")


async def test_what_is_read_at_once_is_bounded_whatever_is_said_beside_payloads(database: str, con: "asyncpg.Connection[Any]", stack: AsyncExitStack) -> None:
    pool = await open_pool(database)
    stack.push_async_callback(pool.close)
    more = "jsonb_build_object('limit_key', (select string_agg(md5(random()::text), '') from generate_series(n, n + 6000)))"
    await con.execute(f"select headrace.submit_job('t', '1', more => {more}) from generate_series(1, 30) n")
    await con.execute("insert into headrace.inbox (kind, domain, spec) select 1, 'default', jsonb_build_object('type', repeat('x', 1000000))")
    cursor, seen = Cursor(), list[int]()
    while True:
        rows, cursor = await Inbox(pool).read(cursor, 500, 1 << 20)
        if not rows:
            break
        assert sum(len(row.spec) for row in rows) < 4 << 20
        seen += [len(row.spec) for row in rows]
    assert len(seen) == 31 and seen[-1] == SPEC_LIMIT + 1
    await con.execute("delete from headrace.inbox")


async def test_a_refusal_is_told_whatever_characters_are_in_what_it_names(client: Client, broker: BrokerProcess, con: "asyncpg.Connection[Any]") -> None:
    async with AdminClient(broker.address) as admin:
        await admin.set_type("checked", payload_schema={"additionalProperties": {"type": "string"}})
    wrong = await con.fetchval("select headrace.submit_job('checked', payload_bytes => $1)", b'{"a\\u0000b": 1}')
    await job_of(con, await con.fetchval(SUBMIT, "t", "1"))
    reason, message = await refusal_of(con, wrong)
    assert reason == "PAYLOAD_SCHEMA" and message.startswith("payload/a\ufffdb: ")


async def test_rows_that_no_door_would_write_hold_up_nobody(client: Client, con: "asyncpg.Connection[Any]") -> None:
    nowhere = await con.fetchval("insert into headrace.inbox (kind, domain, spec) values (1, '', '{\"type\": \"t\"}') returning inbox_id")
    stored = await job_of(con, await con.fetchval(SUBMIT, "t", "1"))
    await client.abort([stored])  # an event of a job has to be there, or nobody looks at the number
    await con.execute("insert into headrace.inbox (kind, job_id, lease_epoch) values (2, $1, 2147483647)", stored)
    await job_of(con, await con.fetchval(SUBMIT, "t", "1"))
    reason, message = await refusal_of(con, nowhere)
    assert reason == "INVALID_FIELD" and "a value that the database does not take" in message
    await con.execute("delete from headrace.inbox where kind = 2")  # what looks at the ledger after a test cannot read it either


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("null, '1'", "type: "),
        ("'with space', '1'", "type: "),
        ("'t', '1', domain => 'a/b'", "domain: "),
        ("'t', '1', payload_bytes => '\\x00'", "payload_bytes: "),
        ("'t', '1', priority => 2000000", "priority: "),
        ("'t', '1', instance_id => repeat('x', 201)", "instance_id: "),
        ("'t', '1', idempotency_key => 'inbox:1'", "idempotency_key: "),
        ("'t', '1', delay => '1 s', start_at => now()", "start_at: "),
        ("'t', '1', delay => '-1 s'", "delay: "),
        ("'t', '1', start_at => 'infinity'", "start_at: "),
        ("'t', '1', labels => '[]'", "labels: "),
        ("'t', '1', labels => '{\"a\": 1}'", "labels: "),
        ("'t', '1', more => '{\"payload\": \"x\"}'", "more: "),
    ],
)
async def test_wrong_arguments_are_refused_at_once(database: str, con: "asyncpg.Connection[Any]", call: str, says: str) -> None:
    with pytest.raises(asyncpg.InvalidParameterValueError, match=f"headrace.submit_job: {says}"):
        await con.fetchval(f"select headrace.submit_job({call})")
    assert await con.fetchval("select count(*) from headrace.inbox") == 0


async def test_a_transaction_left_open_stalls_nobody(client: Client, database: str, con: "asyncpg.Connection[Any]", stack: AsyncExitStack) -> None:
    """Counted in events: while it is open, other doors and plain submits come and go over many flushes; what it submitted comes when it commits."""
    holder = await asyncpg.connect(database)
    stack.push_async_callback(holder.close)
    transaction = holder.transaction()
    await transaction.start()
    held = await holder.fetchval(SUBMIT, "t", '"held"')
    flushes = "select count(*) from headrace.flush"
    before = await con.fetchval(flushes)
    for number in range(60):
        await client.submit("t", number)
        inbox_id = await con.fetchval(SUBMIT, "t", f'"other {number}"')
        await job_of(con, inbox_id)
    assert await con.fetchval(flushes) >= before + 60
    assert await con.fetchval("select headrace.submitted_job($1)", held) is None
    await transaction.commit()
    await job_of(con, held)
    assert (await client.count()).totals == {State.WAITING: 121}
    await agree(client, database)


async def test_a_transaction_that_is_open_for_an_hour_is_taken_up_when_it_ends(
    database: str, directory: Path, con: "asyncpg.Connection[Any]", stack: AsyncExitStack
) -> None:
    """As the broker's clock tells it: what tidies up, looks for delete dates and reads anew passes by several times."""
    broker = await start_broker(directory, "--testing", database=database)
    stack.push_async_callback(broker.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    admin = await stack.enter_async_context(AdminClient(broker.address, timeout_s=20))
    holder = await asyncpg.connect(database)
    stack.push_async_callback(holder.close)
    async with holder.transaction():
        held = await holder.fetchval(SUBMIT, "t", '"held"')
        for _ in range(6):
            await admin.advance_clock(600)
            await client.submit("t", 1)
            await job_of(con, await con.fetchval(SUBMIT, "t", '"other"'))
        assert await con.fetchval("select headrace.submitted_job($1)", held) is None
    await job_of(con, held)
    assert (await client.count()).totals == {State.WAITING: 13}
    await agree(client, database)


async def test_transactions_that_overlap_in_every_way_are_taken_once_each(client: Client, database: str, con: "asyncpg.Connection[Any]", stack: AsyncExitStack) -> None:
    """Five at a time, ended in another order than they began, some rolled back; rows of one transaction come in between those of others."""
    holders = [await asyncpg.connect(database) for _ in range(5)]
    for holder in holders:
        stack.push_async_callback(holder.close)
    wanted: dict[int, bool] = {}
    for step in range(8):
        open_ = []
        for index, holder in enumerate(holders):
            transaction = holder.transaction()
            await transaction.start()
            wanted[await holder.fetchval(SUBMIT, "t", f"{step * 10 + index}")] = keeps = (step + index) % 3 != 0
            open_.append((transaction, keeps))
        for index in [(step + offset * 2) % 5 for offset in range(5)]:
            second = await holders[index].fetchval(SUBMIT, "t", f"{1000 + step * 10 + index}")
            transaction, keeps = open_[index]
            wanted[second] = keeps
            await (transaction.commit() if keeps else transaction.rollback())
            await job_of(con, await con.fetchval(SUBMIT, "t", "0"))  # the cursor moves on in between
    kept = [inbox_id for inbox_id, keeps in wanted.items() if keeps]
    jobs = [await job_of(con, inbox_id) for inbox_id in kept]
    assert len(set(jobs)) == len(kept)
    assert (await client.count()).totals == {State.WAITING: len(kept) + 40}
    await agree(client, database)


async def test_more_than_fits_into_one_flush_is_taken_in_portions(client: Client, database: str, con: "asyncpg.Connection[Any]") -> None:
    await con.execute("select headrace.submit_job('t', to_jsonb(n)) from generate_series(1, 1203) n")
    await con.execute("select headrace.submit_job('t', payload_bytes => convert_to(repeat('x', 900000), 'UTF8')) from generate_series(1, 12)")

    async def taken() -> bool:
        return bool(await con.fetchval("select count(*) = 1215 from headrace.inbox_result"))

    await until(taken, what="all rows")
    assert await con.fetchval("select count(distinct job_id) from headrace.job") == 1215
    assert await con.fetchval("select count(distinct payload) from headrace.job where octet_length(payload) < 10") == 1203
    await agree(client, database)


async def test_a_depth_limit_refuses_what_comes_through_the_door(client: Client, broker: BrokerProcess, con: "asyncpg.Connection[Any]") -> None:
    async with AdminClient(broker.address) as admin:
        await admin.set_type("narrow", depth_limit=3)
    entries = [row[0] for row in await con.fetch("select headrace.submit_job('narrow', '1') from generate_series(1, 5)")]
    for entry in entries[:3]:
        await job_of(con, entry)
    for entry in entries[3:]:
        assert "depth limit" in (await refusal_of(con, entry))[1]
    await client.submit("wide", 1)
    assert (await client.count()).totals == {State.WAITING: 4}


async def test_a_role_needs_nothing_but_the_door(client: Client, database: str, con: "asyncpg.Connection[Any]") -> None:
    role = f"app_{await con.fetchval('select current_database()')}"
    await con.execute(f"create role {role}; grant usage on schema headrace to {role}")
    try:
        await con.execute(f"set role {role}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await con.fetchval(SUBMIT, "t", "1")
        await con.execute("reset role")
        await con.execute(f"grant execute on function headrace.submit_job, headrace.submitted_job to {role}; set role {role}")
        job_id = await job_of(con, await con.fetchval(SUBMIT, "t", "1"))
        for table in ("inbox", "job", "inbox_result"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await con.fetch(f"select * from headrace.{table}")
        assert await client.find(job_id) is not None
    finally:
        await con.execute(f"reset role; drop owned by {role}; drop role {role}")


async def test_what_is_taken_up_is_deleted_in_passes(client: Client, database: str, con: "asyncpg.Connection[Any]", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tidy_inbox, "AT_ONCE", 3)
    good = [await con.fetchval(SUBMIT, "t", str(number)) for number in range(10)]
    refused = await con.fetchval("select headrace.submit_job('t', '1', more => '{\"no_such_field\": 1}')")
    await refusal_of(con, refused)
    await job_of(con, good[-1])
    cursor = await con.fetchval("select done::text from headrace.inbox_cursor order by cursor_no desc limit 1")
    open_row = await con.fetchval("insert into headrace.inbox (kind, domain, spec) values (1, 'default', '{\"type\": \"t\"}') returning inbox_id")
    pool = await open_pool(database)

    async def taken() -> list[str]:
        return [cursor]

    try:
        tidy = TidyInbox(Inbox(pool), taken)
        await tidy.run_once()
        left = {row["inbox_id"] for row in await con.fetch("select inbox_id from headrace.inbox")}
        assert refused in left and not left & set(good) and left <= {refused, open_row}
        assert await con.fetchval("select count(*) from headrace.inbox_result") >= 11  # kept for a day
        await con.execute("update headrace.inbox_result set at = at - interval '2 days'")
        assert (await TidyInbox(Inbox(pool), taken).run_once())["results"] >= 10
        assert [row["inbox_id"] for row in await con.fetch("select inbox_id from headrace.inbox_result where reason is not null")] == [refused]
        await con.execute("update headrace.inbox_result set at = at - interval '40 days'")
        await TidyInbox(Inbox(pool), taken).run_once()
        assert await con.fetchval("select count(*) from headrace.inbox where inbox_id = $1", refused) == 0
    finally:
        await pool.close()


@pytest.mark.parametrize("cursor", ["900000000:900000000:", "1:1:"], ids=["newer than the rows", "older: the door was hardly used"])
async def test_an_inbox_restored_on_another_server_is_taken_up(database: str, con: "asyncpg.Connection[Any]", directory: Any, stack: AsyncExitStack, cursor: str) -> None:
    """Transaction numbers mean nothing there: what has a result is done, all else is taken."""
    await con.execute(
        "insert into headrace.inbox (xid, kind, domain, spec, payload)"
        " select xid::xid8, 1, 'default', '{\"type\": \"t\"}', payload from (values ('800000000', '1'::bytea), ('800000001', '2')) v (xid, payload)"
    )
    done, due = [row["inbox_id"] for row in await con.fetch("select inbox_id from headrace.inbox order by inbox_id")]
    await con.execute("insert into headrace.inbox_result (inbox_id, job_id) values ($1, 77)", done)
    await con.execute("insert into headrace.inbox_cursor (done) values ($1::text::pg_snapshot)", cursor)
    broker: BrokerProcess = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    await job_of(con, due)
    assert await con.fetchval("select array_agg(convert_from(payload, 'UTF8')) from headrace.job") == ["2"]


async def test_an_inbox_restored_on_another_server_is_adopted_however_long_that_takes(
    database: str, con: "asyncpg.Connection[Any]", stack: AsyncExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have millions of rows: an end after the time of a read would have it begun anew for ever."""
    monkeypatch.setattr(pools, "STATEMENT_TIMEOUT_MS", 200)
    pool = await open_pool(database)
    stack.push_async_callback(pool.close)
    await con.execute("insert into headrace.inbox (xid, kind, domain, spec) values ('800000000', 1, 'default', '{\"type\": \"t\"}')")
    waits = (
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%headrace.inbox set xid%'"
        " and query_start < clock_timestamp() - interval '0.4 s'"
    )
    async with con.transaction():
        await con.fetch("select from headrace.inbox for update")
        adopting = asyncio.ensure_future(Inbox(pool).cursor())

        async def over_the_time() -> Any:
            return adopting.done() or await pool.fetchval(waits)

        await until(over_the_time, what="the adoption, for longer than a read may take")
        assert not adopting.done()
    assert await adopting == Cursor()
