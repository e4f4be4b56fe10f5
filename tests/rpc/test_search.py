"""Searches over the wire: answered in time whatever holds them up, gone when nobody waits for them, and tokens that belong to their filter."""

import asyncio
from datetime import UTC
from typing import Any

import asyncpg
import grpc
import pytest
from headrace_broker.model.filter import JobFilter as Filter
from headrace_broker.model.filter import Source
from headrace_broker.model.ids import MAX_ID, created_at_s
from headrace_broker.store.search import Finder, query
from headrace_client import Client, InvalidRequest, JobFilter, JobSpec, Order, State
from headrace_proto.v1 import jobs_pb2, operations_pb2

from tests.support.processes import BrokerProcess, until
from tests.support.wire import SERVICES, Wire

SEARCHING = "select count(*) from pg_stat_activity where application_name = 'headrace search' and state = 'active' and datname = current_database()"


async def locked(database: str) -> "asyncpg.Connection[Any]":
    """A connection that holds the log lines locked against all readers, until it is closed."""
    holder = await asyncpg.connect(database)
    await holder.execute("begin")
    await holder.execute("lock table headrace.log_line in access exclusive mode")
    return holder


async def test_a_search_that_is_held_up_answers_in_time_and_goes_on_later(client: Client, database: str) -> None:
    [await client.submit("t", number) for number in range(3)]
    where = JobFilter(log_text="nowhere")
    holder = await locked(database)
    page = await client.list(where=where)  # while the lock is held
    assert not page.complete and page.next_page_token and not page.jobs
    plain = await client.list()
    assert len(plain.jobs) == 3, "other searches go on"
    await holder.close()
    while not page.complete:
        page = await client.list(where=where, page_token=page.next_page_token)
    assert not page.jobs


NOWHERE = jobs_pb2.JobFilter(log_text="nowhere")
SEARCHES: dict[str, Any] = {
    "Jobs.ListJobs": jobs_pb2.ListJobsRequest(filter=NOWHERE),
    "Jobs.CountJobs": jobs_pb2.CountJobsRequest(filter=NOWHERE),
    "Operations.PreviewOperation": operations_pb2.PreviewOperationRequest(
        spec=operations_pb2.OperationSpec(filter=NOWHERE, action=operations_pb2.OPERATION_ACTION_HOLD)
    ),
}  # fmt: skip
NO_SEARCH = {"Operations.StartOperation", "Filters.SaveFilter"}
"""One takes a filter and answers before it looks for anything; how far it came later is a field of the operation. The other keeps it."""


def test_every_call_that_takes_a_filter_is_one_of_these() -> None:
    calls = {f"{service.name}.{method.name}" for service in SERVICES for method in service.methods if _takes_filter(method.input_type)}
    assert calls == SEARCHES.keys() | NO_SEARCH


def _takes_filter(message: Any) -> bool:
    kinds = [field.message_type for field in message.fields if field.message_type is not None]
    return any(kind.full_name == jobs_pb2.JobFilter.DESCRIPTOR.full_name or (kind.full_name.startswith("headrace.") and _takes_filter(kind)) for kind in kinds)


async def test_every_answer_says_how_far_it_came_and_whether_that_is_all(client: Client, broker: BrokerProcess, database: str) -> None:
    first, last = [(await client.submit("t", number)).job_id for number in range(2)]
    async with grpc.aio.insecure_channel(broker.address) as channel:
        wire = Wire(channel)

        async def answers() -> list[Any]:
            return await asyncio.gather(*[wire.call(name, request, timeout_s=20) for name, request in SEARCHES.items()])

        for answer in await answers():
            assert answer.complete and not answer.next_page_token
            assert answer.HasField("searched_until") and answer.searched_until.ToDatetime(UTC).timestamp() <= created_at_s(first)
        holder = await locked(database)
        for answer in await answers():
            assert not answer.complete and answer.next_page_token
            assert answer.HasField("searched_until") and answer.searched_until.ToDatetime(UTC).timestamp() > created_at_s(last) - 0.001, "nothing was looked at"
        await holder.close()


async def test_a_search_that_nobody_waits_for_ends_in_the_database_too(client: Client, database: str, con: "asyncpg.Connection[Any]") -> None:
    await client.submit("t")
    holder = await locked(database)
    searching = [asyncio.ensure_future(client.list(where=JobFilter(log_text=f"nowhere {number}"))) for number in range(2)]
    await until(lambda: con.fetchval(SEARCHING), what="the search")
    for task in searching:
        task.cancel()
    await asyncio.wait(searching)
    await until(lambda: _none(con), what="the end of the statements")
    await holder.close()


async def test_a_statement_whose_caller_gives_it_up_is_cancelled_in_the_database(database: str, con: "asyncpg.Connection[Any]") -> None:
    holder = await locked(database)
    pool = await asyncpg.create_pool(database, min_size=1, max_size=1, server_settings={"application_name": "headrace search", "statement_timeout": "0"})
    arguments = query(Filter(log_text="nowhere"), [1], None, 0.0)
    asking = asyncio.ensure_future(Finder(pool).candidates(Source.LOGS, arguments, 0, MAX_ID, rows=5, oldest_first=False, timeout_s=3600))
    await until(lambda: con.fetchval(SEARCHING), what="the search")
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await until(lambda: _none(con), what="the end of the statement")
    await pool.close()
    await holder.close()


async def _none(con: "asyncpg.Connection[Any]") -> bool:
    return not await con.fetchval(SEARCHING)


def _job(number: int) -> JobSpec:
    """One of them, with or without terms, for now or for later."""
    return JobSpec("t", number, priority=number % 3, delay_s=600 if number % 5 == 0 else 0, fairness_key=f"f{number % 4}" if number % 2 else "")


async def test_pages_follow_each_other_in_either_order_while_jobs_come(client: Client) -> None:
    results = await client.submit_many([_job(number) for number in range(60)])
    ids = [result.job_id for result in results if not isinstance(result, Exception)]
    for order, wanted in ((Order.NEWEST, sorted(ids, reverse=True)), (Order.OLDEST, sorted(ids))):
        found: list[int] = []
        token = ""
        while True:
            page = await client.list(states=[State.WAITING], types=["t"], order=order, page_size=7, page_token=token)
            found += [job.job_id for job in page.jobs]
            token = page.next_page_token
            if not token or len(found) >= 60:
                break
            await client.submit("other", 0)
        assert found == wanted
    by_score = [job.job_id async for job in client.iter_jobs(states=[State.WAITING], types=["t"], order=Order.SCORE, page_size=11)]
    assert by_score == [ids[number] for number in sorted(range(60), key=lambda number: (-(number % 3), ids[number]))]


async def test_a_token_belongs_to_its_filter_and_order(client: Client) -> None:
    await client.submit_many([JobSpec("t", number) for number in range(3)])
    token = (await client.list(types=["t"], page_size=1)).next_page_token
    assert len((await client.list(types=["t"], page_size=1, page_token=token)).jobs) == 1
    for where, order in ((JobFilter(), Order.NEWEST), (JobFilter(types=["t"], labels={"a": "b"}), Order.NEWEST), (JobFilter(types=["t"]), Order.OLDEST)):
        with pytest.raises(InvalidRequest, match="page_token"):
            await client.list(where=where, order=order, page_token=token)


async def test_counts_of_any_filter_are_those_of_the_jobs(client: Client) -> None:
    await client.submit_many([JobSpec(f"t{number % 2}", number, labels={"third": str(number % 3)}) for number in range(30)])
    counts = await client.count(where=JobFilter(labels={"third": "1"}))
    assert counts.complete and counts.totals == {State.WAITING: 10} and counts.types == {"t0": {State.WAITING: 5}, "t1": {State.WAITING: 5}}
    exact = await client.count(where=JobFilter(types=["t1"], states=[State.WAITING, State.ERROR]))
    assert exact.complete and exact.totals == {State.WAITING: 15}
    assert (await client.count(where=JobFilter(types=["t1"], states=[State.ERROR]))).totals == {}
