"""The command line as a person and a script meet it: what it prints, where, and with which exit code."""

import asyncio
import json
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from headrace_client import Client, JobSpec, State

from tests.support.processes import BrokerProcess, Process, run_command, until


class Shell:
    """Runs `headrace` with a broker named in the environment."""

    def __init__(self, address: str) -> None:
        self._environment = {"HEADRACE_BROKER": address, "COLUMNS": "200"}

    async def __call__(self, *words: str, stdin: str = "", code: int = 0) -> "CompletedProcess[str]":
        done = await asyncio.to_thread(lambda: run_command("headrace", *words, environment=self._environment, stdin=stdin))
        assert done.returncode == code, f"headrace {' '.join(words)} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def shell(broker: BrokerProcess) -> Shell:
    return Shell(broker.address)


async def test_a_job_from_submit_to_its_log(shell: Shell, agent: Process, client: Client) -> None:
    submitted = await shell("submit", "echo", "--data", '{"n": 1.10}', "--instance", "case-1", "--label", "colour=red")
    job_id = submitted.stdout.strip()
    assert job_id.isdigit()
    waited = await shell("jobs", "wait", job_id, "-o", "json")
    job = json.loads(waited.stdout)
    assert (job["job_id"], job["state"], job["result"], job["instance_id"], job["labels"]) == (job_id, "completed", {"n": 1.1}, "case-1", {"colour": "red"})
    assert job["created_at"].endswith("Z")
    assert (await client.get(int(job_id), full=True)).payload == b'{"n": 1.10}'

    async def logged() -> bool:
        return "echo" in (await shell("jobs", "log", job_id)).stdout

    await until(logged)
    for command in (["show"], ["attempts"], ["events"]):
        table = await shell("jobs", *command, job_id)
        assert "completed" in table.stdout and not table.stderr
        json.loads((await shell("jobs", *command, job_id, "-o", "json")).stdout)
    listed = await shell("jobs", "list", "--type", "echo", "--state", "completed", "--since", "1h")
    assert job_id in listed.stdout
    [line] = (await shell("jobs", "list", "-o", "jsonl")).stdout.splitlines()
    assert json.loads(line)["job_id"] == job_id
    assert json.loads((await shell("jobs", "count", "-o", "json")).stdout)["totals"] == {"completed": 1}
    assert (await shell("jobs", "list", "--type", "none")).stderr == "no job matches\n"


async def test_jobs_are_found_by_everything_that_they_show(shell: Shell, agent: Process, client: Client) -> None:
    talk = (await client.submit("talk", 8, instance_id="case-1", labels={"team": "a", "size": "s"})).job_id
    failed = (await client.submit("permanent", None, labels={"team": "a"})).job_id
    waiting = (await client.submit("nobody", priority=5, delay_s=600)).job_id
    other = (await client.submit("nobody", priority=7)).job_id
    for job_id in (talk, failed):
        await client.wait(job_id)
    error = (await client.get(failed)).error
    assert error is not None

    async def listed(*words: str, code: int = 0) -> list[int]:
        done = await shell("jobs", "list", "-o", "jsonl", *words, code=code)
        return [int(json.loads(line)["job_id"]) for line in done.stdout.splitlines()]

    async def logged() -> bool:
        return "3 more lines not kept" in (await shell("jobs", "log", str(talk))).stdout

    await until(logged)
    assert await listed() == [other, waiting, failed, talk]
    assert await listed("--order", "oldest", "--limit", "3") == [talk, failed, waiting]
    assert await listed("--state", "waiting", "--order", "score") == [other, waiting]
    assert await listed("--label", "team=a", "--created-from", "1h") == [failed, talk]
    assert await listed("--label", "team=a", "--label", "size=s") == [talk]
    assert await listed("--fingerprint", error.fingerprint) == [failed]
    assert await listed("--agent", "tester", "--state", "completed") == [talk]
    assert await listed("--agent", "nobody") == []
    assert await listed("--log", "line 4 OF the") == [talk]
    assert await listed("--log", "line 6 of the") == []
    assert await listed("--settled-from", "1h", "--started-to", "2099-01-01", "--type", "talk", "--type", "permanent") == [failed, talk]
    assert await listed("--settled-to", "1h") == []
    assert await listed("--instance", "case-1", "--log", "talk") == [talk]
    await listed("--label", "team", code=2)
    await listed("--created-from", "yesterday", code=2)
    await listed("--state", "error", "--order", "score", code=4)
    counted = json.loads((await shell("jobs", "count", "--label", "team=a", "-o", "json")).stdout)
    assert (counted["totals"], counted["types"]) == ({"completed": 1, "error": 1}, {"permanent": {"error": 1}, "talk": {"completed": 1}})
    assert json.loads((await shell("jobs", "count", "--type", "nobody", "--state", "waiting", "-o", "json")).stdout)["totals"] == {"waiting": 2}


async def test_a_log_is_followed_until_the_job_has_settled(shell: Shell, agent: Process, client: Client) -> None:
    job_id = (await client.submit("talk", 3, delay_s=1)).job_id
    followed = await shell("jobs", "log", str(job_id), "--follow")
    assert [line.split(" ", 3)[3].strip() for line in followed.stdout.splitlines()] == [f"Line {number} of the talk" for number in range(3)]
    assert len((await shell("jobs", "log", str(job_id), "-f", "-o", "jsonl")).stdout.splitlines()) == 3


async def test_a_key_gives_one_job_and_another_body_is_refused(shell: Shell) -> None:
    first = await shell("submit", "t", "--data", "1", "--key", "k")
    again = await shell("submit", "t", "--data", "1", "--key", "k")
    assert first.stdout == again.stdout
    refused = await shell("submit", "t", "--data", "2", "--key", "k", "-o", "json", code=4)
    assert not refused.stdout
    error = json.loads(refused.stderr)
    assert (error["code"], error["reason"]) == ("ALREADY_EXISTS", "IDEMPOTENCY_CONFLICT")


async def test_waiting_for_a_job_gives_its_outcome_as_exit_code(shell: Shell, agent: Process) -> None:
    assert "completed" in (await shell("submit", "echo", "--data", "1", "--wait")).stdout
    failed = await shell("submit", "permanent", "--wait", code=1)
    assert "never_again" in failed.stdout
    assert "never_again" in (await shell("alerts", "list")).stdout
    await shell("jobs", "wait", (await shell("submit", "nobody")).stdout.strip(), "--timeout", "0.1", code=1)


async def test_many_jobs_from_a_file_good_lines_in_bad_lines_named(shell: Shell, client: Client, directory: Path) -> None:
    deep = "[" * 10_000 + "]" * 10_000
    lines = [
        '{"type": "t", "data": {"a": [1, 2.50], "b": 1e400}, "instance_id": "i", "key": "k1", "priority": 3, "labels": {"x": "y"}}',
        "", "nonsense", '{"type": "t", "colour": 1}', '{"data": 1}', '{"type": "t", "priority": "high"}', '{"type": "t", "start_at": "soon"}', "[1]",
        '{"type": "t", "data": ' + deep + "}", '{"type": "t", "data": {"type": ":,{}[]\\""}, "delay_s": 60}', '{"type": "t", "data": NaN}', '{"type": "t"} trailing',
    ]  # fmt: skip
    path = directory / "jobs.jsonl"
    path.write_bytes("\n".join(lines).encode() + b'\n{"type": "t", "data": "\xff"}\n')
    done = await shell("submit", "--jsonl", str(path), "-o", "jsonl", code=4)
    ids = [int(json.loads(line)["job_id"]) for line in done.stdout.splitlines()]
    assert [line.split(":")[0] for line in done.stderr.splitlines() if line.startswith("line")] == [f"line {number}" for number in (3, 4, 5, 6, 7, 8, 11, 12, 13)]
    assert done.stderr.splitlines()[-1] == "3 jobs submitted, 9 lines refused"
    jobs = [await client.get(job_id, full=True) for job_id in ids]
    assert jobs[0].payload == b'{"a": [1, 2.50], "b": 1e400}' and (jobs[0].instance_id, jobs[0].priority, jobs[0].labels) == ("i", 3, {"x": "y"})
    assert jobs[1].payload == deep.encode()
    assert jobs[2].payload == b'{"type": ":,{}[]\\""}'
    shown = await shell("jobs", "show", str(ids[1]), "-o", "json")
    assert json.loads(shown.stdout)["payload"] == deep
    piped = await shell("submit", "--jsonl", "-", stdin='{"type": "t", "data": 1}\n' * 1200)
    assert len(piped.stdout.splitlines()) == 1200
    assert (await client.count()).totals == {State.WAITING: 1203}


async def test_jobs_are_aborted_requeued_and_purged_with_a_question_for_several(shell: Shell) -> None:
    ids = [(await shell("submit", "t", "--data", str(number))).stdout.strip() for number in range(2)]
    unasked = await shell("jobs", "abort", *ids, code=2)
    assert "2 jobs to abort" in unasked.stderr and "--yes" in unasked.stderr
    aborted = await shell("jobs", "abort", *ids, "--yes", "--reason", "test", "-o", "json")
    assert [item["state"] for item in json.loads(aborted.stdout)] == ["aborted", "aborted"]
    assert "waiting" in (await shell("jobs", "requeue", ids[0])).stdout
    await shell("jobs", "purge", ids[0], code=4)
    await shell("jobs", "purge", "-", "--yes", stdin=f"{ids[1]}\n")
    await shell("jobs", "show", ids[1], code=3)
    await shell("jobs", "abort", "12345", code=3)


async def test_a_watch_ends_when_all_its_jobs_have_settled(shell: Shell, agent: Process) -> None:
    job_id = (await shell("submit", "echo", "--data", "1", "--delay", "5")).stdout.strip()  # for longer than a command takes to start
    seen = await shell("jobs", "watch", job_id)
    assert f"{job_id} echo completed -> completed" in seen.stdout


async def test_times_are_given_as_people_say_them(shell: Shell, client: Client) -> None:
    day = datetime.now(UTC).date() + timedelta(days=2)
    late, fixed = [int((await shell("submit", "nobody", *when)).stdout) for when in (("--delay", "90m", "--delete-after", "2 h"), ("--start-at", f"{day}"))]
    job = await client.get(late)
    assert job.available_at is not None and 5395 < (job.available_at - job.created_at).total_seconds() < 5405
    assert (await client.get(fixed)).available_at == datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert "'soon' is not a duration: give 90s, 15m, 2h or 7d" in (await shell("submit", "nobody", "--delay", "soon", code=2)).stderr
    assert "'1 May' is not a time" in (await shell("submit", "nobody", "--start-at", "1 May", code=2)).stderr
    await shell("types", "set", "nobody", "timeout_s=15m")
    assert json.loads((await shell("types", "show", "nobody", "-o", "json")).stdout)["effective"]["timeout_s"] == 900


async def test_types_are_shown_set_paused_and_cleared(shell: Shell, agent: Process) -> None:
    await shell("submit", "echo", "--wait")
    assert "echo" in (await shell("types", "list")).stdout
    shown = await shell("types", "set", "echo", "timeout_s=12.5", "max_attempts=2", "alert_on_abort=true", "retry_delay_s=1")
    assert "12.5" in shown.stdout and "set by a person" in shown.stdout
    effective = json.loads((await shell("types", "show", "echo", "-o", "json")).stdout)["effective"]
    assert (effective["timeout_s"], effective["max_attempts"], effective["alert_on_abort"], effective["retry_delay_s"], effective["retry_factor"]) == (
        12.5,
        2,
        True,
        1,
        2,
    )
    await shell("types", "pause", "echo")
    job_id = (await shell("submit", "echo")).stdout.strip()
    assert json.loads((await shell("jobs", "show", job_id, "-o", "json")).stdout)["wait_reason"] == "paused"
    await shell("types", "resume", "echo")
    await shell("jobs", "wait", job_id)
    await shell("types", "set", "echo", "--clear", "timeout_s")
    assert json.loads((await shell("types", "show", "echo", "-o", "json")).stdout)["effective"]["timeout_s"] == 3600
    await shell("types", "show", "absent", code=3)
    paused = (await shell("types", "pause", "echo", "--reason", "see [/etc/x] and [red]")).stdout
    assert "see [/etc/x] and [red]" in paused, "brackets are no markup"
    rows = [line.split()[0] for line in paused.splitlines() if line.endswith("set by a person")]
    assert "paused" in rows and rows[0] != "priority" and paused.rindex("set by a person") < paused.index(" default")
    await shell("types", "pause", "absent", code=3)
    for wrong in (["timeout_s=soon"], ["colour=red"], [], ["max_attempts=1.5"]):
        await shell("types", "set", "echo", *wrong, code=2)
    refused = await shell("types", "set", "echo", "max_attempts=0", code=4)
    assert "max_attempts" in refused.stderr


async def test_agents_are_listed_drained_and_resumed(shell: Shell, agent: Process, client: Client) -> None:
    await client.wait((await client.submit("echo")).job_id)
    [listed] = json.loads((await shell("agents", "list", "-o", "json")).stdout)
    assert (listed["name"], listed["pid"], listed["connected"], listed["draining"]) == ("tester", agent.pid, True, False)
    table = (await shell("agents", "list")).stdout
    assert "tester" in table and str(agent.pid) in table and os.uname().nodename in table and "thread" in table
    [broker] = json.loads((await shell("brokers", "-o", "json")).stdout)
    assert broker["role"] == "active" and broker["endpoint"] in (await shell("brokers")).stdout
    await shell("agents", "drain", "tester")
    assert "draining" in (await shell("agents", "list")).stdout
    await shell("agents", "resume", "tester")
    await client.wait((await client.submit("echo")).job_id)
    await shell("agents", "drain", "absent", code=3)
    overview = json.loads((await shell("stats", "-o", "json")).stdout)
    assert (overview["agents"], overview["slots"], overview["slots_in_use"]) == (1, 8, 0)
    assert "slots in use" in (await shell("stats")).stdout


@pytest.mark.parametrize(
    "words",
    [
        ["submit"], ["submit", "t", "--data", "{"], ["submit", "t", "--data", "@/does/not/exist"], ["submit", "t", "--label", "red"],
        ["submit", "t", "--priority", "high"],
        ["submit", "t", "--jsonl", "x"], ["submit", "--jsonl", "/does/not/exist"], ["submit", "t", "--data", "\udcff"], ["jobs", "show", "abc"], ["jobs", "show", "²"],
        ["jobs", "show", "9" * 5000], ["jobs", "list", "--state", "done"], ["jobs", "list", "--since", "yesterday"], ["jobs", "list", "--type", "\udcff"], ["jobs"],
        ["jobs", "log", "1", "--level", "loud"], ["jobs", "abort"], ["nonsense"], ["jobs", "list", "-o", "xml"], ["jobs", "list", "--limit", "-1"],
    ],
)  # fmt: skip
def test_wrong_use_is_told_and_gives_exit_code_2(words: list[str]) -> None:
    done = run_command("headrace", *words, environment={"HEADRACE_BROKER": "127.0.0.1:1", "HEADRACE_TIMEOUT_S": "1"})
    assert "Traceback" not in done.stderr, done.stderr
    if words == ["jobs"]:  # a group alone shows its help
        assert done.returncode in (0, 2)
        return
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert done.stderr.strip() and not done.stdout.strip()


def test_without_a_broker_the_exit_code_is_5_and_the_address_is_named(directory: Path) -> None:
    environment = {"HEADRACE_BROKER": "127.0.0.1:1", "HEADRACE_TIMEOUT_S": "0.5"}
    for words in (["jobs", "count"], ["submit", "t"], ["agents", "list"]):
        done = run_command("headrace", *words, environment=environment)
        assert (done.returncode, "127.0.0.1:1" in done.stderr, done.stdout) == (5, True, "")
    path = directory / "jobs.jsonl"
    path.write_text('{"type": "t"}\n' * 5000)
    done = run_command("headrace", "submit", "--jsonl", str(path), environment=environment)
    assert done.returncode == 5 and "0 jobs submitted" in done.stderr and len(done.stderr.splitlines()) < 5


def test_help_version_and_completion_work_without_a_broker(directory: Path) -> None:
    assert run_command("headrace", "--version").stdout.strip() == "0.1.0"
    for words in ([], ["jobs"], ["jobs", "list"], ["submit"], ["types", "set"]):
        done = run_command("headrace", *words, "--help")
        assert done.returncode == 0 and "Usage" in done.stdout
    home = {"HOME": str(directory), "SHELL": "/bin/bash"}
    done = run_command("headrace", "--install-completion", "--shell", "bash", environment=home)
    assert done.returncode == 0, done.stderr
    assert any("headrace" in path.read_text() for path in directory.rglob("*") if path.is_file())


async def test_output_cut_off_by_its_reader_is_no_error(shell: Shell, broker: BrokerProcess, client: Client) -> None:
    await client.submit_many([JobSpec("t", "x" * 100, instance_id=str(number)) for number in range(3000)])
    program = f"headrace jobs list --limit 0 -o jsonl --broker {broker.address} | head -1; exit ${{PIPESTATUS[0]}}"
    done = await asyncio.to_thread(lambda: run_command("bash", "-c", f'PATH="{Path(sys.executable).parent}:$PATH"; {program}'))
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 1)


async def test_common_mistakes_are_told_with_what_to_do(shell: Shell, broker: BrokerProcess) -> None:
    gone = await shell("jobs", "list", "--broker", "127.0.0.1:1", "--timeout-s", "2", code=5)
    assert "no broker reached at 127.0.0.1:1" in gone.stderr and "headrace-broker run" in gone.stderr and "HEADRACE_BROKER" in gone.stderr
    nowhere = await shell("jobs", "list", "--broker", "no-such-host.invalid:7233", "--timeout-s", "2", code=5)
    assert "no broker reached at no-such-host.invalid:7233; there is no host of that name" in nowhere.stderr
    url = await shell("jobs", "list", "--broker", f"http://{broker.address}", code=2)
    assert "give HOST:PORT of its gRPC listener, without http://" in url.stderr
    early = await shell("--broker", broker.address, "jobs", "list", code=2)
    assert "options stand behind the command" in early.stderr
    typed = await shell("submit", "bad type!", code=4)
    assert "[" not in typed.stderr and typed.stderr.startswith("headrace: type: a job type is")
    assert "did you mean timeout_s=3?" in (await shell("types", "set", "t", "timeout=3", code=2)).stderr
    assert "a number of seconds" in (await shell("types", "set", "t", "timeout_s=abc", code=2)).stderr


async def test_tables_that_nobody_looks_at_have_a_line_for_each_row_and_no_spaces_at_its_end(shell: Shell, client: Client) -> None:
    name = "com.example." + "department." * 12 + "recount"
    await client.submit(name, instance_id="case " * 40)
    await client.abort([(await client.submit("nobody")).job_id], reason="why " * 60)
    for command, rows in ((("jobs", "list"), 2), (("types", "list"), 2), (("audit", "list"), 1), (("jobs", "count"), 3)):
        lines = (await shell(*command)).stdout.splitlines()
        assert len(lines) == 1 + rows and all(line == line.rstrip() for line in lines), lines
    assert name in (await shell("types", "list")).stdout
