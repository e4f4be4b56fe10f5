"""The commands of the lifecycle as a person meets them: abort, requeue, update, hold, how long jobs are kept. They run in the test's own process, which is quicker."""

import asyncio
import contextlib
import io
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest
from headrace_client import Client, State, SyncAdminClient, SyncClient
from headrace_client.cli.main import app
from headrace_client.cli.output import Done
from headrace_client.schedules import ScheduleSpec

from tests.support.agreement import agree
from tests.support.processes import BrokerProcess
from tests.support.scripted_agent import ScriptedAgent, outcome


class Shell:
    """Runs `headrace jobs` (or another group) at one broker."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __call__(self, *words: str, group: str = "jobs", code: int = 0) -> str:
        """What the command printed, after its exit code was looked at; with another code than 0, what it complained of."""
        return await asyncio.to_thread(self._run, [group, *words, "--broker", self._address], code)

    def _run(self, words: list[str], wanted: int) -> str:
        out, err = io.TextIOWrapper(io.BytesIO(), write_through=True), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = app(words, exit_on_error=False, print_error=True)
            except Done as done:
                code = done.code
        out.seek(0)
        told = out.read()
        assert (code or 0) == wanted, f"headrace {' '.join(words)} gave {code}\n{told}\n{err.getvalue()}"
        return err.getvalue() + told if wanted else told

    async def json(self, *words: str, group: str = "jobs", code: int = 0) -> Any:
        """The same as JSON."""
        return json.loads(await self(*words, "-o", "json", group=group, code=code))


@pytest.fixture
def shell(broker: BrokerProcess) -> Shell:
    return Shell(broker.address)


@pytest.fixture
async def hand(broker: BrokerProcess, stack: AsyncExitStack) -> ScriptedAgent:
    agent = ScriptedAgent(broker.address)
    stack.push_async_callback(agent.close)
    await agent.connect()
    return agent


async def test_jobs_are_aborted_run_again_and_their_runs_shown(shell: Shell, client: Client, hand: ScriptedAgent, database: str) -> None:
    job = str((await client.submit("t", {"n": 1})).job_id)
    [first] = await hand.take(1)
    assert "processing" in await shell("abort", job, "--reason", "wrong customer", "--grace", "7")
    shown = await shell.json("show", job)
    assert (shown["abort"]["reason"], shown["abort"]["grace_s"], shown["abort"]["ending"]) == ("wrong customer", 7.0, "")
    assert await hand.report(outcome(first, "aborted")) == ["accepted"]
    assert "nothing to abort" in await shell("abort", job, code=4)
    assert "waiting" in await shell("requeue", job, "--data", '{"n": 2}', "--reason", "right one")
    [second] = await hand.take(1)
    assert second.payload == b'{"n": 2}'
    assert "processing" in await shell("requeue", job, "--abort-first", "--data", '{"n": 3}')
    assert await hand.report(outcome(second, "aborted")) == ["accepted"]
    [third] = await hand.take(1)
    assert await hand.report(outcome(third, "completed", result=b'"fine"')) == ["accepted"]
    assert "include_completed" in await shell("requeue", job, code=4)
    assert "waiting" in await shell("requeue", job, "--include-completed")
    await shell("abort", job, "--force")
    runs = await shell.json("runs", job, "--full")
    found = [(run["run"], run["state"], run["payload"]["n"]) for run in runs]
    assert found == [(1, "aborted", 1), (2, "aborted", 2), (3, "completed", 3), (4, "aborted", 3)]
    assert "right one" in await shell("runs", job) and runs[2]["result"] == "fine"
    assert await shell("payloads", job, "--version", "0") == '{"n":1}'
    versions = [int(line.split()[0]) for line in (await shell("payloads", job)).splitlines()[1:]]
    assert len(versions) == 3 and await shell("payloads", job, "--version", str(versions[0])) == '{"n": 3}'
    await shell("payloads", job, "--version", "77", code=4)
    assert "abort_stopped" in await shell("events", job)
    await shell("requeue", "123", code=3)
    for wrong in (["requeue", "x"], ["requeue", job, "--data", "{"], ["runs", "x"]):
        await shell(*wrong, code=2)
    await agree(client, database)


async def test_what_failed_below_a_job_runs_again_after_it(shell: Shell, client: Client, hand: ScriptedAgent, database: str) -> None:
    first = (await client.submit("t", 1)).job_id
    second = (await client.submit("t", 2, depends_on=[first])).job_id
    await client.abort([first])
    assert (await client.wait(second, timeout_s=20)).state is State.ABORTED
    done = await shell.json("requeue", str(first), "--descendants", "--reason", "once more", "--data", '"again"')
    assert [(item["job_id"], item["ok"], item["state"]) for item in done] == [(str(first), True, "waiting"), (str(second), True, "waiting")]
    told = await shell.json("requeue", str(first), "--descendants", code=4)
    assert [(item["job_id"], item["ok"]) for item in told] == [(str(first), False)], "what is on its way is left"
    assert "does not go together" in await shell("requeue", str(first), "--descendants", "--abort-first", code=2)
    [job] = await hand.take(1)
    assert (job.job_id, job.payload, job.run) == (first, b'"again"', 2)
    assert (await client.get(second)).wait_reason == "dependency"
    assert await hand.report(outcome(job, "completed")) == ["accepted"]
    [after] = await hand.take(1)
    assert (after.job_id, after.payload, after.run) == (second, b"2", 2)
    await shell("requeue", "123", "--descendants", code=3)
    await agree(client, database)


async def test_jobs_are_changed_held_and_given_a_date(shell: Shell, client: Client, hand: ScriptedAgent, database: str) -> None:
    job = str((await client.submit("t", 1, labels={"team": "a", "old": "x"}, delay_s=600)).job_id)
    await shell("update", job, "--priority", "9", "--label", "team=b", "--remove-label", "old", "--data", "2", "--delete-after", "2h", "--reason", "urgent")
    shown = await shell.json("show", job)
    assert (shown["priority"], shown["labels"], shown["payload"], shown["delete_after_s"]) == (9, {"team": "b"}, 2, 7200.0)
    assert "settled" in await shell("update", job, "--delete-at", "2099-01-01", code=4)
    await shell("hold", job, "--reason", "for the audit")
    await shell("abort", job)
    assert "held" in await shell("purge", job, code=4)
    await shell("update", job, "--delete-at", "2099-01-01")
    assert (await shell.json("show", job))["hold"] is True
    await shell("release", job)
    assert (await shell.json("show", job))["delete_at"].startswith("2099-01-01")
    await shell("update", job, "--delete-after", "type")
    assert not (await shell.json("show", job))["delete_at"].startswith("2099")
    assert "nothing is to be changed" in await shell("update", job, code=2)
    assert "is not a duration" in await shell("update", job, "--delete-after", "soon", code=2)
    assert "is not a time" in await shell("update", job, "--delete-at", "soon", code=2)
    await shell("update", "123", "--priority", "1", code=3)
    await shell("purge", job)
    await shell("show", job, code=3)
    await agree(client, database)


async def test_a_preview_says_what_other_settings_delete_and_they_are_applied(shell: Shell, client: Client) -> None:
    jobs = [(await client.submit("t", number)).job_id for number in range(3)]
    await client.abort(jobs)
    found = await shell.json("preview-retention", "t", "--delete-aborted-after", "1d", "--sample", "2", group="types")
    [aborted] = [item for item in found["states"] if item["state"] == "aborted"]
    assert (aborted["jobs"], aborted["due"][-1]["jobs"], aborted["gone_at_once"]) == (3, 3, 0) and aborted["keep_then_s"] == 86_400
    assert "1 d" in await shell("preview-retention", "t", "--delete-aborted-after", "1d", group="types")
    await shell("set", "t", "delete_aborted_after_s=3600", group="types")
    assert "--yes" in await shell("apply-retention", "t", group="types", code=2)
    assert await shell.json("apply-retention", "t", "--yes", group="types") == {"looked_at": 3, "changed": 3}
    moved = await client.get(jobs[0])
    assert moved.delete_at is not None and moved.settled_at is not None and 3500 < (moved.delete_at - moved.settled_at).total_seconds() < 3700
    await shell("preview-retention", "absent", group="types", code=3)


async def test_a_blocking_administrator_does_the_same(broker: BrokerProcess, database: str, client: Client) -> None:
    def work() -> list[State]:
        with SyncAdminClient(broker.address, actor="me") as admin, SyncClient(broker.address) as jobs:
            schedule, changed = admin.put_schedule("nightly", ScheduleSpec(type="t", cron="0 3 * * *"))
            assert changed and schedule.spec.type == "t" and [item.name for item in admin.list_schedules()] == ["nightly"]
            job_id = admin.run_schedule("nightly")
            admin.delete_schedule("nightly")
            with jobs.batch("t", "report") as batch:
                member = batch.submit("t", 1).job_id
            assert (batch.status().open, batch.status().total) == (False, 1)
            streamed = [item.job_id for item in jobs.submit_stream([]) if not isinstance(item, Exception)]
            admin.abort([job_id, member, batch.batch_id])
            admin.set_type("t", delete_aborted_after_s=60.0)
            assert [pair[0] for pair in admin.apply_retention("t")][-1] == 3
            assert {row.action for row in admin.export_audit()} >= {"schedule.put", "job.abort", "type.set"} and not streamed
            return [jobs.get(item).state for item in (job_id, member, batch.batch_id)]

    assert await asyncio.to_thread(work) == [State.ABORTED] * 3
    await agree(client, database)
