"""Answers about much are no larger than can be sent: what does not fit comes with the next page, or is cut where there is none."""

from typing import Any

import asyncpg
from headrace_client import AdminClient, Client, JobSpec, Order

LONG = 100_000
"""Characters of a traceback: of 200 of them a message of 16 MiB has no room."""


async def _long_errors(con: "asyncpg.Connection[Any]") -> None:
    """Whatever was aborted ended with a long traceback."""
    error = "jsonb_build_object('code', 'x', 'message', 'm', 'fingerprint', 'f', 'traceback', repeat('x', $1))"
    await con.execute(f"update headrace.event set error = {error} where state = 5", LONG)


async def test_a_page_of_jobs_with_long_errors_holds_as_many_as_can_be_sent(client: Client, con: "asyncpg.Connection[Any]") -> None:
    results = await client.submit_many([JobSpec("t", number) for number in range(300)])
    ids = [result.job_id for result in results if not isinstance(result, Exception)]
    await client.abort(ids)
    await _long_errors(con)
    for order, wanted in ((Order.NEWEST, sorted(ids, reverse=True)), (Order.OLDEST, sorted(ids))):
        found: list[int] = []
        token, pages = "", 0
        while token or not pages:
            page = await client.list(types=["t"], order=order, page_size=1000, page_token=token)
            assert all(job.error is not None and len(job.error.traceback) == LONG for job in page.jobs)
            assert page.complete is not bool(page.next_page_token)
            found += [job.job_id for job in page.jobs]
            token, pages = page.next_page_token, pages + 1
        assert found == wanted and 2 < pages < 9


async def test_a_long_history_of_one_job_is_read_in_answers_that_can_be_sent(client: Client, admin: AdminClient, con: "asyncpg.Connection[Any]") -> None:
    job_id = (await client.submit("t", "x" * 900_000)).job_id
    for _ in range(300):
        await client.abort([job_id])
        await client.requeue([job_id])
    await _long_errors(con)
    events = [event for event in await client.events(job_id) if event.kind == "aborted"]
    assert all(event.error is not None and (event.error.code, event.error.message) == ("x", "m") for event in events)
    lengths = [len(event.error.traceback) for event in events if event.error is not None]
    assert len(lengths) > 200 and lengths[-50:] == [LONG] * 50 and lengths[0] == 0, "of the newest all is told"
    runs = await client.runs(job_id, full=True)
    assert 1 < len(runs) < 20 and [run.run for run in runs] == list(range(302 - len(runs), 302)) and all(len(run.payload) == 900_002 for run in runs)
    before = await client.runs(job_id, full=True, before_run=runs[0].run)
    assert before[-1].run == runs[0].run - 1


async def test_a_log_of_long_lines_is_read_in_answers_that_can_be_sent(client: Client, con: "asyncpg.Connection[Any]") -> None:
    job_id = (await client.submit("t")).job_id
    await client.abort([job_id])
    await con.execute(
        "insert into headrace.log_line (job_id, lease_epoch, line_no, at, level, text) select $1, 1, n, now(), 2, repeat('\u20ac', 16000) from generate_series(1, 600) n",
        job_id,
    )
    assert [line.line_no async for line in client.logs(job_id)] == list(range(1, 601))
    assert [line.line_no async for line in client.tail_logs(job_id)] == list(range(1, 601))
