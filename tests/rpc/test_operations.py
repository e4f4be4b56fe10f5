"""Bulk operations over the wire: exactly the jobs that were there and matched, each once, whoever stops, starts or dies."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from cyclopts import App
from headrace_broker.maintenance.tidy_operations import TidyOperations
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.operations import OperationStore
from headrace_broker.store.pool import open_pool
from headrace_client import Action, AdminClient, Client, InvalidRequest, InvalidState, JobFilter, JobSpec, NotFound, OperationState, State
from headrace_client.cli import main as command_line
from headrace_client.cli.output import Done

from tests.support.databases import clone
from tests.support.ledger import check_ledger
from tests.support.pg_proxy import Fate, PgProxy, Request
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.scripted_agent import ScriptedAgent, outcome

PAGE_STORED = "insert into headrace.operation_page"
SIGNED = "select count(*) from headrace.note where kind = 12 and convert_from(data, 'UTF8')::bigint = $1"


@pytest.fixture(scope="module")
def served(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """(address, DSN) of one broker for the module; each test has a domain of its own."""
    dsn = postgres.dsn.replace("/headrace?", "/operations?")
    place = tmp_path_factory.mktemp("operations")

    async def statement(text: str) -> None:
        con = await asyncpg.connect(postgres.dsn.replace("/headrace?", "/postgres?"))
        await con.execute(text)
        await con.close()

    async def check() -> None:
        con = await asyncpg.connect(dsn)
        await check_ledger(con)
        await con.close()

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(statement(clone("operations")))
        broker: BrokerProcess = runner.run(start_broker(place, database=dsn))
        yield broker.address, dsn
        runner.run(broker.kill())
        runner.run(check())
        runner.run(statement("drop database operations with (force)"))


@pytest.fixture
def domain() -> str:
    """Of the test."""
    return f"d{uuid.uuid4().hex}"


@pytest.fixture
async def user(served: tuple[str, str], domain: str) -> AsyncIterator[Client]:
    """Submits."""
    async with Client(served[0], domain=domain, timeout_s=20) as client:
        yield client


@pytest.fixture
async def operator(served: tuple[str, str], domain: str) -> AsyncIterator[AdminClient]:
    """Starts operations."""
    async with AdminClient(served[0], domain=domain, actor="ada", timeout_s=20) as client:
        yield client


@pytest.fixture
async def con(served: tuple[str, str]) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """To the database."""
    con = await asyncpg.connect(served[1])
    yield con
    await con.close()


async def submitted(client: Client, count: int, type_: str = "t", **fields: Any) -> list[int]:
    """Ids of jobs that nobody runs."""
    results = await client.submit_many([JobSpec(type_, number, **fields) for number in range(count)])
    return [result.job_id for result in results if not isinstance(result, Exception)]


async def states(client: Client) -> dict[State, int]:
    """How many jobs of the domain there are, without zeros."""
    return {state: jobs for state, jobs in (await client.count()).totals.items() if jobs}


async def run(operator: AdminClient, action: str, where: JobFilter, **options: Any) -> Any:
    """An operation from its start to its end."""
    return await operator.wait_operation((await operator.start_operation(action, where, **options)).operation_id)


async def test_an_operation_does_one_thing_to_each_job_and_says_so(user: Client, operator: AdminClient, con: "asyncpg.Connection[Any]", domain: str) -> None:
    mine, others = await submitted(user, 700), await submitted(user, 5, "other")
    preview = await operator.preview_operation("abort", JobFilter(types=["t"]), sample=3)
    assert (preview.matched, preview.acted_on, preview.complete) == (700, 700, True)
    assert [job.job_id for job in preview.sample] == sorted(mine, reverse=True)[:3]
    assert (await operator.preview_operation("requeue", JobFilter(types=["t"]))).acted_on == 0
    assert await states(user) == {State.WAITING: 705}, "a preview changes nothing"
    behalf = await _on_behalf(operator, domain)
    started = await behalf.start_operation("abort", JobFilter(types=["t"]), reason="the shop is closed")
    await behalf.close()
    assert (started.action, started.expected, started.expected_complete, started.actor, started.on_behalf_of) == (Action.ABORT, 700, True, "ada", "grace")
    ended = await operator.wait_operation(started.operation_id)
    assert (ended.state, ended.matched, ended.done, ended.skipped, ended.failed) == (OperationState.FINISHED, 700, 700, 0, 0)
    assert ended.finished_at is not None and ended.where.types == ("t",) and ended.searched_until is not None
    assert await states(user) == {State.WAITING: 5, State.ABORTED: 700}
    assert await con.fetchval(SIGNED, started.operation_id) == 700
    events = await user.events(mine[0])
    assert [(event.kind, event.actor, event.reason) for event in events if event.kind == "aborted"] == [("aborted", "ada (grace)", "the shop is closed")]
    assert [(event.detail, event.seq) for event in events if event.kind == "operation"] == [(str(started.operation_id), 1)]
    rows = await con.fetch("select * from headrace.audit where domain = $1 order by audit_id", domain)
    assert [(row["action"], row["target"], row["reason"], row["actor"], row["on_behalf_of"]) for row in rows] == [
        ("bulk.abort", "filter/types=t", "the shop is closed", "ada", "grace"),
        ("operation.finish", f"operation/{started.operation_id}", "the shop is closed", "ada", "grace"),
    ], "one row at the start and one at the end, whatever the number of jobs"
    assert rows[0]["request_id"] == started.request_id
    again = await run(operator, "requeue", JobFilter(states=[State.ABORTED]))
    assert again.done == 700 and await states(user) == {State.WAITING: 705}
    assert (await user.get(mine[-1])).run == 2 and (await user.get(others[0])).run == 1


async def _on_behalf(operator: AdminClient, domain: str) -> AdminClient:
    return AdminClient(operator.brokers[0], domain=domain, actor="ada", on_behalf_of="grace")


async def test_jobs_that_are_left_as_they_are_are_listed_with_the_reason(user: Client, operator: AdminClient) -> None:
    mine = {name: (await user.submit("u", name, instance_id="case")).job_id for name in ("waiting", "held", "other")}
    await user.abort([mine["held"]])
    await user.hold([mine["held"]])
    await user.abort([mine["other"]])
    purged = await run(operator, "purge", JobFilter(types=["u"], states=[State.ABORTED], instance_id="case"))
    assert (purged.matched, purged.done, purged.skipped) == (2, 1, 1) and await user.find(mine["other"]) is None
    [skip] = [skip async for skip in operator.skipped_jobs(purged.operation_id)]
    assert (skip.job_id, skip.failed, skip.code) == (mine["held"], False, "INVALID_STATE") and "is held" in skip.reason
    first = (await user.submit("u", 1, unique_key="two")).job_id
    await user.abort([first])
    second = (await user.submit("u", 2, unique_key="two")).job_id
    await user.abort([second])
    requeued = await run(operator, "requeue", JobFilter(types=["u"]))
    skips = {skip.job_id: skip async for skip in operator.skipped_jobs(requeued.operation_id, page_size=1)}
    assert {job_id: skip.code for job_id, skip in skips.items()} == {mine["waiting"]: "INVALID_STATE", second: "UNIQUE_KEY_TAKEN"}
    assert "only settled jobs can be requeued" in skips[mine["waiting"]].reason and f"job {first} holds" in skips[second].reason
    assert (requeued.done, requeued.skipped, requeued.matched) == (2, 2, 4)
    held = await run(operator, "hold", JobFilter(types=["u"]))
    assert (held.done, {skip.job_id: skip.code async for skip in operator.skipped_jobs(held.operation_id)}) == (3, {mine["held"]: "UNCHANGED"})
    released = await run(operator, "release", JobFilter(types=["u"], instance_id="case"))
    assert released.done == 2 and not (await user.get(mine["held"])).hold and (await user.get(first)).hold
    risen = await run(operator, "priority", JobFilter(types=["u"]), priority=-5)
    assert risen.done == 4 and (await user.get(first)).priority == -5


async def test_new_runs_get_another_payload_where_their_type_takes_it(user: Client, operator: AdminClient, con: "asyncpg.Connection[Any]", domain: str) -> None:
    await operator.set_type("strict", payload_schema={"type": "object"})
    plain, strict = await submitted(user, 3), (await user.submit("strict", {})).job_id
    assert (await run(operator, "abort", JobFilter(types=["t", "strict"]))).done == 4
    ended = await run(operator, "requeue", JobFilter(states=[State.ABORTED]), data=[1, 2], reason="other shops")
    assert (ended.done, ended.skipped, ended.payload_bytes) == (3, 1, 5)
    assert [(skip.job_id, skip.code) async for skip in operator.skipped_jobs(ended.operation_id)] == [(strict, "PAYLOAD_REFUSED")]
    for job_id in plain:
        job = await user.get(job_id, full=True)
        assert (job.run, job.payload, job.content_type) == (2, b"[1,2]", "application/json")
        assert [version.version for version in await user.payloads(job_id)] == [2, 0]
    assert (await user.get(strict)).state is State.ABORTED
    [told] = await con.fetch("select after::text from headrace.audit where domain = $1 and action = 'bulk.requeue'", domain)
    assert '"payload_bytes": 5' in told["after"] and 'payload"' not in told["after"]


async def test_jobs_that_run_and_jobs_that_have_completed(served: tuple[str, str]) -> None:
    agent = ScriptedAgent(served[0], types=["runs"])
    async with Client(served[0]) as user, AdminClient(served[0], actor="ada") as operator:
        ids = await submitted(user, 3, "runs")
        await agent.connect()
        jobs = {job.job_id: job for job in await agent.take(3)}
        assert await agent.report(outcome(jobs[ids[0]], "completed")) == ["accepted"]
        requeued = await run(operator, "requeue", JobFilter(types=["runs"]))
        skips = {skip.job_id: skip.reason async for skip in operator.skipped_jobs(requeued.operation_id)}
        assert requeued.done == 0 and "has completed" in skips[ids[0]] and "is processing" in skips[ids[1]]
        assert (await run(operator, "requeue", JobFilter(types=["runs"], states=[State.COMPLETED]), include_completed=True)).done == 1
        aborted = await run(operator, "abort", JobFilter(types=["runs"], states=[State.PROCESSING]), reason="enough", grace_s=7)
        assert (aborted.done, aborted.grace_s) == (2, 7)
        job = await user.get(ids[1])
        assert job.state is State.PROCESSING and job.abort is not None and (job.abort.reason, job.abort.actor) == ("enough", "ada")
        assert [event.detail for event in await user.events(ids[1]) if event.kind == "operation"] == [str(aborted.operation_id)]
        forced = await run(operator, "abort", JobFilter(types=["runs"], states=[State.PROCESSING]), force=True)
        assert forced.done == 2 and (await user.get(ids[2])).state is State.ABORTED
    await agent.close()


async def test_a_stopped_operation_does_nothing_and_goes_on_where_it_was(user: Client, operator: AdminClient, con: "asyncpg.Connection[Any]", domain: str) -> None:
    await submitted(user, 300)
    where = JobFilter(types=["t"])
    started = await operator.start_operation("abort", where, rate=40, reason="slowly", request_id="r")
    assert (await operator.start_operation("abort", where, rate=40, reason="slowly", request_id="r")).operation_id == started.operation_id
    with pytest.raises(InvalidRequest) as refused:
        await operator.start_operation("abort", where, reason="another one", request_id="r")
    assert refused.value.field == "request_id"
    later = await submitted(user, 20)

    async def some() -> bool:
        return (await operator.get_operation(started.operation_id)).done >= 20

    await until(some, what="two pages")
    stopped = await operator.stop_operation(started.operation_id, reason="wait")
    assert stopped.state is OperationState.STOPPED and (stopped.stopped_by, stopped.stopped_reason) == ("ada", "wait") and 20 <= stopped.done < 300
    assert (await operator.stop_operation(started.operation_id)).stopped_reason == "wait", "it is so already"
    other = await run(operator, "hold", JobFilter(types=["t"], states=[State.ABORTED]))  # the broker goes on with others
    assert other.done == stopped.done, "and nothing more was done of it"
    changed = await operator.set_operation_rate(started.operation_id, 0)
    assert changed.rate == 0 and changed.state is OperationState.STOPPED
    assert (await operator.get_operation(started.operation_id)).done == stopped.done
    assert (await operator.resume_operation(started.operation_id, reason="now")).state is OperationState.RUNNING
    ended = await operator.wait_operation(started.operation_id)
    assert (ended.done, ended.matched, ended.skipped) == (300, 300, 0)
    assert await states(user) == {State.ABORTED: 300, State.WAITING: 20}
    assert all([(await user.get(job_id)).state is State.WAITING for job_id in later[:3]]), "what is submitted afterwards is never touched"
    for call in (operator.stop_operation, operator.resume_operation):
        with pytest.raises(InvalidState):
            await call(started.operation_id)
    actions = await con.fetch("select action from headrace.audit where domain = $1 and target = $2 order by audit_id", domain, f"operation/{started.operation_id}")
    assert [row["action"] for row in actions] == ["operation.stop", "operation.set_rate", "operation.resume", "operation.finish"]


async def test_a_rate_bounds_how_many_jobs_a_second_are_done(user: Client, operator: AdminClient) -> None:
    await submitted(user, 150)
    ended = await run(operator, "priority", JobFilter(types=["t"]), rate=60, priority=1)
    assert ended.done == 150 and ended.finished_at is not None
    assert 1.9 < (ended.finished_at - ended.created_at).total_seconds() < 10


async def test_all_jobs_are_named_and_domains_do_not_see_each_other(served: tuple[str, str], user: Client, operator: AdminClient) -> None:
    await submitted(user, 3)
    async with Client(served[0], domain="elsewhere") as other:
        stranger = (await other.submit("t", 1)).job_id
        asks: tuple[Awaitable[object], ...] = (operator.start_operation("hold", JobFilter()), operator.preview_operation("hold", JobFilter()))
        for asked in asks:
            with pytest.raises(InvalidRequest) as refused:
                await asked
            assert refused.value.field == "spec.filter" and "all_jobs" in refused.value.message
        assert (await operator.preview_operation("hold", JobFilter(), all_jobs=True)).matched == 3
        ended = await run(operator, "hold", JobFilter(), all_jobs=True)
        assert ended.done == 3 and ended.all_jobs and not (await other.get(stranger)).hold
        nothing = await run(operator, "hold", JobFilter(types=["nobody-has-it"]))
        assert (nothing.state, nothing.matched, nothing.expected) == (OperationState.FINISHED, 0, 0)
    async with AdminClient(served[0], domain="elsewhere") as foreign:
        number = ended.operation_id
        for asked in (foreign.get_operation(number), foreign.stop_operation(number), foreign.resume_operation(number)):
            with pytest.raises(NotFound):
                await asked
        with pytest.raises(NotFound):
            [skip async for skip in foreign.skipped_jobs(ended.operation_id)]
        assert await foreign.list_operations() == ([], "")
    first, token = await operator.list_operations(page_size=1)
    rest, end = await operator.list_operations(page_size=5, page_token=token)
    assert [op.operation_id for op in (*first, *rest)] == [nothing.operation_id, ended.operation_id] and end == ""


async def test_several_operations_go_on_beside_each_other(user: Client, operator: AdminClient) -> None:
    await submitted(user, 600, "a")
    await submitted(user, 600, "b", labels={"team": "x"})
    slow = await operator.start_operation("hold", JobFilter(types=["a"]), rate=1)
    fast = await run(operator, "abort", JobFilter(labels={"team": "x"}))
    assert fast.done == 600
    assert (await operator.get_operation(slow.operation_id)).state is OperationState.RUNNING
    both = await asyncio.gather(run(operator, "priority", JobFilter(types=["a"]), priority=3), run(operator, "requeue", JobFilter(types=["b"])))
    assert [op.done for op in both] == [600, 600]
    await operator.stop_operation(slow.operation_id)


async def test_finished_operations_are_forgotten_after_a_while(operator: AdminClient, user: Client, con: "asyncpg.Connection[Any]", served: tuple[str, str]) -> None:
    await submitted(user, 1200)
    ended = await run(operator, "requeue", JobFilter(types=["t"]))
    assert ended.skipped == 1200
    stopped = await operator.start_operation("hold", JobFilter(types=["t"]), rate=1)
    await operator.stop_operation(stopped.operation_id)
    pages = "select count(*) from headrace.operation_page where operation_id = $1"
    assert await con.fetchval(pages, ended.operation_id) >= 3
    pool = await open_pool(served[1], size=1)
    tidy = TidyOperations(OperationStore(pool), kept_s=3600)
    assert await tidy.run_once() == {}
    assert await con.fetchval(pages, ended.operation_id) == 1 and (await operator.get_operation(ended.operation_id)).skipped == 1200
    await con.execute("update headrace.operation set finished_at = now() - interval '2 hours' where operation_id = $1", ended.operation_id)
    done = await tidy.run_once()
    await pool.close()
    assert (done["skips"], done["operations"]) == (1200, 1)
    with pytest.raises(NotFound):
        await operator.get_operation(ended.operation_id)
    assert (await operator.get_operation(stopped.operation_id)).state is OperationState.STOPPED


class Hold:
    """Stalls one request of a page's transaction. `what`: "page" (before it is sent), "commit" (before the commit is sent) or "answer" (it has taken effect)."""

    def __init__(self, proxy: PgProxy, what: str, page: int) -> None:
        self._proxy, self._what, self._pages, self._inside, self._held = proxy, what, page, False, False
        proxy.fate = self._fate

    async def holds(self) -> bool:
        """Whether it does, now; an answer that is held has taken effect."""
        return self._proxy.stalled > 0

    def _fate(self, request: Request) -> Fate:
        if request.application != "headrace flush" or self._held:
            return Fate.PASS
        if PAGE_STORED in request.statement:
            self._pages -= 1
            self._inside = self._pages == 0
            if self._inside and self._what == "page":
                self._held = True
                return Fate.STALL
        elif self._inside and request.statement.upper().startswith("COMMIT"):
            self._held = True
            return Fate.STALL if self._what == "commit" else Fate.STALL_ANSWER
        return Fate.PASS


async def test_a_broker_that_is_killed_in_the_middle_is_followed_by_one_that_goes_on(database: str, directory: Path, stack: AsyncExitStack) -> None:
    con = await asyncpg.connect(database)
    stack.push_async_callback(con.close)
    broker = await start_broker(directory, database=database, name="first")
    async with Client(broker.address) as client, AdminClient(broker.address) as admin:
        mine, others = await submitted(client, 3000), await submitted(client, 30, "other")
        assert (await run(admin, "abort", JobFilter(types=["t"]))).done == 3000
        await client.abort(others)
    await broker.stop()
    number = 0
    for index, what in enumerate(("page", "commit", "answer")):
        async with PgProxy(database) as proxy:
            hold = Hold(proxy, what, 2)
            broker = await start_broker(directory, database=proxy.dsn, name=f"killed at {what}")
            if not index:
                async with AdminClient(broker.address) as admin:
                    number = (await admin.start_operation("requeue", JobFilter(types=["t"]), reason="again")).operation_id
            await until(hold.holds, what=f"the {what}")
            done = await _requeued(con)
            await broker.kill()
            proxy.cut_all()
        await until(lambda: con.fetchval("select count(*) = 0 from pg_stat_activity where application_name = 'headrace flush' and datname = current_database()"))
        assert len(await _requeued(con)) == len(done) == 500 * ((1, 2, 4)[index]), f"killed at {what}"
    broker = await start_broker(directory, database=database, name="last")
    stack.push_async_callback(broker.kill)
    async with Client(broker.address) as client, AdminClient(broker.address) as admin:
        ended = await admin.wait_operation(number)
        assert (ended.matched, ended.done, ended.skipped, ended.failed) == (3000, 3000, 0, 0)
        assert await _requeued(con) == Counter(mine), "each job once, and no other"
        assert await con.fetchval(SIGNED, number) == 3000
        assert await states(client) == {State.WAITING: 3000, State.ABORTED: 30}
        assert await con.fetchval("select count(*) from headrace.operation_skip") == 0
        assert await con.fetchval("select count(*) from headrace.audit where action = 'operation.finish' and target = $1", f"operation/{number}") == 1


async def _requeued(con: "asyncpg.Connection[Any]") -> Counter[int]:
    return Counter(row["job_id"] for row in await con.fetch("select job_id from headrace.event where kind = 10"))


def test_the_command_line(served: tuple[str, str], domain: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_BROKER", served[0])
    monkeypatch.setenv("HEADRACE_DOMAIN", domain)
    app: App = command_line.app

    def run(*words: str, expected: int = 0) -> str:
        try:
            code = app(list(words), exit_on_error=False, print_error=False) or 0
        except Done as done:
            code = done.code
        told = capsys.readouterr()
        assert code == expected, told.err
        return told.out

    for data in range(3):
        run("submit", "t", "--data", str(data))
    run("bulk", "abort", "--type", "t", expected=2)  # nobody is there to be asked
    run("bulk", "abort", "--yes", expected=2)  # which jobs?
    assert "3 jobs match; 3 of them are in a state that takes abort" in run("bulk", "abort", "--type", "t", "--preview")
    out = run("bulk", "abort", "--type", "t", "--yes", "--wait", "--reason", "try", "-o", "json")
    assert '"done": 3' in out and '"state": "finished"' in out
    assert '"done": 3' in run("bulk", "requeue", "--state", "aborted", "--yes", "--wait", "-o", "json")
    assert '"priority": -4' in run("bulk", "priority", "-4", "--all-jobs", "--yes", "--wait", "-o", "json")
    run("bulk", "hold", "--all-jobs", "--yes", "--wait")
    slow = run("bulk", "release", "--all-jobs", "--yes", "--rate", "0.1", "-o", "jsonl")
    number = slow.split('"operation_id": "')[1].split('"')[0]
    assert '"state": "stopped"' in run("operations", "stop", number, "--reason", "later", "-o", "json")
    run("operations", "wait", number, expected=1)
    run("operations", "rate", number, "0")
    run("operations", "resume", number)
    run("operations", "wait", number)
    assert "release" in run("operations", "list") and "finished" in run("operations", "show", number)
    run("operations", "stop", number, expected=4)
    run("operations", "show", "999999", expected=3)
    purge = run("bulk", "purge", "--all-jobs", "--yes", "--wait", "-o", "jsonl").split('"operation_id": "')[1].split('"')[0]
    assert run("operations", "skipped", purge).count("only settled jobs can be purged") == 3
    run("submit", "single")
    assert "1 job matches; it is in a state that takes abort" in run("bulk", "abort", "--type", "single", "--preview")
