"""The command line at its edges: interrupts at a question, values that JSON does not have, times out of range, a terminal that lacks characters."""

import asyncio
import contextlib
import importlib
import json
import os
import pkgutil
import pty
import re
import signal
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import headrace_client
import pytest
from headrace_agent import Agent, Fail, JobContext
from headrace_client import AdminClient, Client, HeadraceError, State, Unavailable
from headrace_client.cli import bench, common
from headrace_client.cli.output import ID_FIELDS, ID_LISTS, Output, plain
from headrace_client.models import JobResult

from tests.support.processes import PATIENCE_S, BrokerProcess, run_command

PROGRAM = str(Path(sys.executable).parent / "headrace")


class Asked:
    """`headrace` at a terminal of its own, at the moment at which it asks something, or reads."""

    def __init__(self, address: str, *words: str) -> None:
        self._screen, inside = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "HEADRACE_BROKER": address, "GRPC_VERBOSITY": "NONE"}
        self._process = subprocess.Popen(["setsid", "--ctty", PROGRAM, *words], stdin=inside, stdout=inside, stderr=inside, env=environment)
        os.close(inside)
        self.output = ""

    def until(self, text: str) -> None:
        """Reads until it is there."""
        while text not in self.output:
            self.output += os.read(self._screen, 4096).decode(errors="replace")

    def ends(self) -> int:
        """Waits for its end; the exit code."""
        try:
            return self._process.wait(PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            os.close(self._screen)

    def write(self, key: bytes) -> None:
        """Presses a key at a prompt that has been read."""
        os.write(self._screen, key)

    def press(self, key: bytes) -> int:
        """Presses a key once it is read, since Python may miss a signal a moment before; the exit code of what follows."""
        while not _reads(self._process.pid):
            assert self._process.poll() is None
        os.write(self._screen, key)
        try:
            return self._process.wait(PATIENCE_S / 3)
        finally:
            self._process.kill()
            self._process.wait()
            os.set_blocking(self._screen, False)
            with contextlib.suppress(OSError):
                self.output += os.read(self._screen, 65_536).decode(errors="replace")
            os.close(self._screen)


@pytest.mark.parametrize(("key", "code"), [(b"\x03", 130), (b"\x04", 2)], ids=["Ctrl-C", "Ctrl-D"])
async def test_a_question_is_left_by_one_key(broker: BrokerProcess, client: Client, key: bytes, code: int) -> None:
    ids = [(await client.submit("t", number)).job_id for number in range(2)]

    def person() -> Asked:
        asked = Asked(broker.address, "jobs", "abort", *map(str, ids))
        asked.until("abort them?")
        assert asked.press(key) == code, asked.output
        return asked

    assert "Traceback" not in (await asyncio.to_thread(person)).output
    assert [(await client.get(job_id)).state for job_id in ids] == ["waiting", "waiting"]


@pytest.mark.parametrize("prompt", ["new password: ", "the same again: "])
async def test_a_password_that_nobody_gives_is_said_in_a_line(broker: BrokerProcess, admin: AdminClient, prompt: str) -> None:
    await admin.put_user("ada", "viewer")

    def person() -> str:
        asked = Asked(broker.address, "users", "passwd", "ada")
        asked.until("new password: ")
        if prompt not in asked.output:
            asked.write(b"four words nobody joins\r")
            asked.until(prompt)
        asked.write(b"\x04")  # Ctrl-D
        asked.until("nothing was done")
        assert asked.ends() == 2
        return asked.output

    assert "Traceback" not in await asyncio.to_thread(person)
    [user] = await admin.list_users()
    assert user.password_at is None


async def test_times_are_taken_as_people_type_them_wherever_one_is_asked_for(broker: BrokerProcess, client: Client, admin: AdminClient) -> None:
    async def said(*words: str, code: int = 0) -> str:
        done = await asyncio.to_thread(run_command, "headrace", *words, environment={"HEADRACE_BROKER": broker.address})
        assert done.returncode == code and "Traceback" not in done.stderr, (words, done.stderr)
        return done.stdout if code == 0 else done.stderr

    job_id = (await client.submit("t", 1)).job_id
    assert "DEADLINE" in await said("jobs", "wait", str(job_id), "--timeout", "0.05s", "-o", "json", code=1)
    await said("jobs", "abort", str(job_id), "--grace", "5m")
    abort = (await client.get(job_id)).abort
    assert abort is not None and abort.grace_s == 300
    await said("jobs", "requeue", str(job_id), "--abort-first", "--grace", "1.5h")
    assert json.loads(await said("bulk", "abort", "--type", "t", "--grace", "5m", "--yes", "--wait", "-o", "json"))["grace_s"] == 300
    await said("schedules", "put", "s", "--type", "t", "--every", "1d", "--jitter", "2m")
    schedule = (await admin.get_schedule("s")).spec
    assert (schedule.interval_s, schedule.jitter_s) == (86_400, 120)
    assert json.loads(await said("top", "--every", "1m", "--once", "-o", "json"))
    audited = json.loads(await said("audit", "list", "--from", "1h", "--to", "2099-01-01", "--target", f"job/{job_id}", "-o", "json"))
    assert audited[-1]["action"] == "job.abort"
    assert json.loads(await said("audit", "export", "--to", "1h", "-o", "json")) == []
    assert "is not a time" in await said("audit", "list", "--from", "lately", code=2)
    for words in (
        ("jobs", "wait", "1", "--timeout", "soon"), ("jobs", "abort", "1", "--grace", "5x"), ("jobs", "requeue", "1", "--abort-first", "--grace", "1y"),
        ("bulk", "abort", "--type", "t", "--grace", "nan"), ("schedules", "put", "s", "--type", "t", "--every", "often"), ("top", "--every", "x"),
        ("bench", "--duration", "x"),
    ):  # fmt: skip
        assert "is not a duration: give 90s, 15m, 2h or 7d" in await said(*words, code=2)


def test_ids_of_jobs_are_text_wherever_they_stand_in_json() -> None:
    modules = [importlib.import_module(f"headrace_client.{module.name}") for module in pkgutil.iter_modules(headrace_client.__path__)]
    classes = {class_ for module in modules for class_ in vars(module).values() if isinstance(class_, type) and is_dataclass(class_)}
    names = {field.name for class_ in classes for field in fields(class_) if field.name.endswith(("job_id", "job_ids"))}
    assert {"job_id", "first_job_id", "last_job_id"} <= names <= ID_FIELDS | ID_LISTS
    assert plain({"first_job_id": 1 << 62}) == {"first_job_id": str(1 << 62)}, "as a number it is another one for whoever reads numbers as most readers of JSON do"


def test_a_bulk_command_says_in_its_own_words_what_is_missing() -> None:
    both = ["hold", "--type", "t", "--all-jobs"]
    for words, hint in ((["abort"], "say which jobs, such as --type TYPE --state error, or --all-jobs"), (both, "leave one of them out")):
        done = run_command("headrace", "bulk", *words, "--yes", "--broker", "127.0.0.1:1")
        assert done.returncode == 2 and hint in done.stderr and "all_jobs" not in done.stderr, done.stderr


async def test_what_became_of_the_first_jobs_is_told_where_the_next_ones_meet_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(common, "AT_ONCE", 2)

    async def call(ids: list[int]) -> list[JobResult]:
        if 3 in ids:
            raise Unavailable("the broker has gone")
        return [JobResult(job_id, True, State.WAITING, "", "") for job_id in ids]

    with pytest.raises(Unavailable):
        await common.change([1, 2, 3, 4, 5], "requeue", True, call, Output("json"))
    told = capsys.readouterr()
    assert [(one["job_id"], one["ok"]) for one in json.loads(told.out)] == [("1", True), ("2", True)]
    assert "so it is with the first 2 of 5 jobs" in told.err


async def test_what_is_read_from_standard_input_is_left_by_one_key(broker: BrokerProcess) -> None:
    def person() -> None:
        for words in (["jobs", "abort", "-"], ["submit", "--jsonl", "-"]):
            reading, writing = os.pipe()
            environment = {**os.environ, "HEADRACE_BROKER": broker.address, "GRPC_VERBOSITY": "NONE"}
            process = subprocess.Popen([PROGRAM, *words], stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
            os.close(reading)
            try:
                while not _reads(process.pid):
                    assert process.poll() is None
                process.send_signal(signal.SIGINT)
                _, errors = process.communicate(timeout=PATIENCE_S / 3)
                assert process.returncode == 130 and b"Traceback" not in errors, errors
            finally:
                process.kill()
                process.wait()
                os.close(writing)

    await asyncio.to_thread(person)


def _reads(pid: int) -> bool:
    """Whether its main thread waits for input: in read(2), or as readline does in select(2), pselect6(2), poll(2) or ppoll(2), by their numbers on x86-64."""
    try:
        words = Path(f"/proc/{pid}/syscall").read_text().split()
    except OSError:
        return False
    return words[:2] == ["0", "0x0"] or words[0] in ("7", "23", "270", "271")


async def test_output_is_json_whatever_jobs_hold(broker: BrokerProcess, client: Client) -> None:
    payloads = [b'"half \\ud800"', b'{"n": NaN}', b"[1e999]", '"€ und 😀"'.encode()]
    ids = [str((await client.submit("t", payload=payload)).job_id) for payload in payloads]

    def refuse(word: str) -> Any:
        raise AssertionError(f"{word} is not JSON")

    async def shown(job_id: str, form: str, encoding: str = "utf-8") -> str:
        environment = {"HEADRACE_BROKER": broker.address, "PYTHONIOENCODING": encoding}
        done = await asyncio.to_thread(
            lambda: subprocess.run([PROGRAM, "jobs", "show", job_id, "-o", form], capture_output=True, env={**os.environ, **environment}, check=False)
        )
        assert (done.returncode, done.stderr) == (0, b""), done.stderr
        return done.stdout.decode(encoding)

    found = [json.loads(await shown(job_id, "json"), parse_constant=refuse)["payload"] for job_id in ids]
    assert found == ["half \ud800", '{"n": NaN}', "[1e999]", "€ und 😀"]
    assert json.loads(await shown(ids[3], "jsonl", "ascii"))["payload"] == "€ und 😀"
    assert "half" in await shown(ids[0], "table") and "u20ac" in await shown(ids[3], "table", "ascii")
    assert plain({"at": float("nan"), "most": float("inf"), "n": 1.5}) == {"at": None, "most": None, "n": 1.5}


STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
RUDE = "x\x1b]0;owned\x07\x1b[2J\r\x08\x9b31m\u202ey\nnext line"


async def test_a_job_does_not_steer_the_terminal_of_who_looks_at_it(broker: BrokerProcess, client: Client) -> None:
    agent, drain = Agent("rude\x1b[31m", build=RUDE), asyncio.Event()

    @agent.job("rude")
    async def work(ctx: JobContext, data: str) -> None:
        ctx.log.info(data)
        raise Fail(data, code=data)

    running = asyncio.create_task(agent.run(broker.address, drain=drain))
    job_id = str((await client.submit("rude", RUDE, instance_id=RUDE, labels={"label": RUDE})).job_id)
    await client.wait(int(job_id))
    assert (await client.update([int(job_id)], reason=RUDE, hold=True))[0].ok
    held = str((await client.submit("rude", RUDE, delay_s=600, depends_on=[int(job_id)])).job_id)
    drain.set()
    await running  # its log is stored

    async def shown(*words: str, form: str = "table") -> str:
        done = await asyncio.to_thread(run_command, "headrace", *words, "-o", form, environment={"HEADRACE_BROKER": broker.address})
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    one = [("jobs", verb, job_id) for verb in ("show", "log", "attempts", "events", "runs", "explain", "graph")]
    for words in (*one, ("jobs", "list"), ("jobs", "graph", held), ("alerts", "list"), ("alerts", "groups"), ("agents", "list"), ("audit", "list"), ("top",)):
        for form in ("table", "json", "jsonl")[: 2 if words == ("top",) else 3]:
            assert STEERING.search(await shown(*words, form=form)) is None, (words, form)
    assert "\\x1b]0;owned\\x07" in await shown("jobs", "show", job_id)
    assert json.loads(await shown("jobs", "show", job_id, form="json"))["payload"] == RUDE, "in JSON it is what it is"
    [line] = json.loads(await shown("jobs", "log", job_id, form="json"))
    assert line["text"] == RUDE
    first, second = (await shown("jobs", "log", job_id)).splitlines()
    assert first.endswith("\\u202ey") and second == "    next line", "a line that a job writes is not taken for one of ours"
    exact = await asyncio.to_thread(subprocess.run, [PROGRAM, "jobs", "payloads", job_id, "--version", "0", "--broker", broker.address], capture_output=True, check=True)
    assert exact.stdout == json.dumps(RUDE).encode() == (await client.get(int(job_id), full=True)).payload


async def test_bytes_are_exact_in_a_file_and_harmless_at_a_terminal(broker: BrokerProcess, client: Client) -> None:
    job_id = str((await client.submit("t", payload=b"\x1b[2Jx\x9b\xff")).job_id)

    def person() -> Asked:
        asked = Asked(broker.address, "jobs", "payloads", job_id, "--version", "0")
        asked.until("\\xff")
        assert asked.ends() == 0
        return asked

    assert (await asyncio.to_thread(person)).output == "\\x1b[2Jx\\x9b\\xff"
    exact = await asyncio.to_thread(subprocess.run, [PROGRAM, "jobs", "payloads", job_id, "--version", "0", "--broker", broker.address], capture_output=True, check=True)
    assert exact.stdout == b"\x1b[2Jx\x9b\xff"


async def test_what_people_read_reads_well(broker: BrokerProcess, client: Client) -> None:
    job_id = str((await client.submit("t", 1, instance_id="case 7")).job_id)

    async def said(*words: str, code: int = 0, stdin: str = "") -> str:
        done = await asyncio.to_thread(run_command, "headrace", *words, environment={"HEADRACE_BROKER": broker.address}, stdin=stdin)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        return done.stdout + done.stderr

    shown = await said("jobs", "show", job_id)
    assert job_id in shown and not re.search("parent id|batch id|depends on", shown), "what there is not is not shown"
    assert re.search("where +--type t --instance 'case 7'\n", await said("bulk", "hold", "--type", "t", "--instance", "case 7", "--yes", "--wait"))
    await said("jobs", "abort", job_id)
    assert re.fullmatch(rf"\S+Z {job_id} t is aborted\n", await said("jobs", "watch", job_id))
    assert await said("schedules", "put", "--file", "/no/such/file", code=2) == "headrace: cannot read /no/such/file: No such file or directory\n"
    assert "not UTF-8" in await said("schedules", "put", "--file", sys.executable, code=2)
    assert await said("submit", "t", "--priority", "99999999999", code=2) == "headrace: priority: 99999999999 is out of range\n"


def test_values_out_of_range_are_told_with_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (
        ["jobs", "list", "--since", "99999999999d"],
        ["jobs", "list", "--since", "\u00b2d"],
        ["types", "set", "t", "retry_delay_s=nan", "retry_factor=2", "retry_max_s=1e300", "retry_jitter=0"],
        ["bench", "--rate", "nan"],
        ["bench", "--duration", "inf"],
        ["bench", "--slots", "0"],
        ["jobs", "wait", "1", "--timeout", "nan"],
        ["jobs", "list", "--timeout-s", "nan"],
        ["audit", "list", "--limit", "0"],
        ["access", "list", "--limit", "0"],
        ["alerts", "list", "-n", "0"],
    ):
        done = run_command("headrace", *words, "--broker", "127.0.0.1:1")
        assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == "", (words, done.stderr)


async def test_a_wait_that_takes_too_long_is_told_as_json_where_that_is_wanted(broker: BrokerProcess, client: Client) -> None:
    job_id = (await client.submit("t", 1)).job_id
    done = await asyncio.to_thread(run_command, "headrace", "jobs", "wait", str(job_id), "--timeout", "0.05", "-o", "json", "--broker", broker.address)
    assert (done.returncode, done.stdout, json.loads(done.stderr)["code"]) == (1, "", "DEADLINE_EXCEEDED")


async def test_a_load_that_a_broker_cannot_keep_up_with_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        """A client whose calls are never answered."""

        async def submit(self, *_words: Any, **_options: Any) -> None:
            """Waits."""
            await asyncio.Event().wait()

    monkeypatch.setattr(bench, "MOST_OPEN", 10)
    away: Any = Away()
    with pytest.raises(HeadraceError, match="the broker cannot keep up"):
        await bench._send(away, bench.Load("t", 1000, 10, 100, 0, 0, 1))


def test_streams_that_are_closed_or_full_are_no_fault_of_the_command(broker: BrokerProcess) -> None:
    for redirection, words, code in (
        (">&-", "jobs list", 0),
        (">&-", "jobs count -o json", 0),
        ("2>&-", "jobs show 999999", 3),
        ("<&-", "jobs abort -", 2),
        ("<&-", "jobs abort 1 2", 2),
        ("> /dev/full", "jobs count", 1),
    ):
        done = run_command("sh", "-c", f"{PROGRAM} {words} --broker {broker.address} {redirection}")
        assert (done.returncode, done.stdout) == (code, ""), (redirection, done.stderr)
        assert "Traceback" not in done.stderr and "Exception ignored" not in done.stderr, (redirection, done.stderr)
