"""Tokens as programs and people use them: files that change, the command line, the first token."""

import asyncio
import json
import os
import re
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_agent import Agent, JobContext
from headrace_agent.session import Session
from headrace_client import Client, InvalidRequest, SyncClient, TokenFile, Unauthenticated, Unavailable
from headrace_client.access import AuditRow, Token

from tests.support.processes import BrokerProcess, run_command, start_agent, start_broker, until
from tests.support.tokens import make_tokens


def _write(path: Path, secret: str) -> Path:
    """Replaces the file as a whole."""
    new = path.with_suffix(".new")
    new.write_text(secret + "\n")
    os.replace(new, path)
    return path


@pytest.fixture
async def secrets(database: str) -> dict[str, str]:
    """Of the domain `default`, by role."""
    return await make_tokens(database)


@pytest.fixture
async def guarded(secrets: dict[str, str], database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """A broker that wants tokens, and knows those."""
    broker = await start_broker(directory, "--auth", "required", database=database)
    stack.push_async_callback(broker.kill)
    return broker


def _headrace(guarded: BrokerProcess, secret: str, *words: str, code: int = 0) -> str:
    done = run_command("headrace", *words, environment={"HEADRACE_BROKER": guarded.address, "HEADRACE_TOKEN": secret, "COLUMNS": "200"})
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


async def test_a_client_takes_a_new_secret_over_from_its_file(guarded: BrokerProcess, secrets: dict[str, str], directory: Path) -> None:
    path = _write(directory / "token", secrets["admin"])
    async with Client(guarded.address, token=TokenFile(path), timeout_s=20) as client:
        await client.submit("t", 1)
        fresh = await asyncio.to_thread(_headrace, guarded, secrets["admin"], "tokens", "rotate", "admin@default", "--overlap-s", "3600")
        _write(path, fresh.strip())
        await client.submit("t", 2)  # over a new stream: the old one carries the old secret
        await asyncio.to_thread(_headrace, guarded, fresh.strip(), "tokens", "rotate", "admin@default", "--overlap-s", "3600")  # which ends with this
        await client.submit("t", 3)
        path.unlink()
        await client.submit("t", 4)  # the last that was read stays in use
        assert sum((await client.count()).totals.values()) == 4


class Vault:
    """Gives tokens, and fails when it is told to."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.failing = 0  # so many times, from now on

    def __call__(self) -> str:
        """The token."""
        if self.failing:
            self.failing -= 1
            raise OSError("away")
        return self.secret


async def test_a_token_that_cannot_be_had_for_a_while_fails_calls_and_ends_neither_client_nor_agent(guarded: BrokerProcess, secrets: dict[str, str]) -> None:
    of_client, of_agent, done = Vault(secrets["submitter"]), Vault(secrets["agent"]), asyncio.Event()
    agent, drain = Agent("tester"), asyncio.Event()

    @agent.job("t")
    def work(_ctx: JobContext) -> None:
        loop.call_soon_threadsafe(done.set)

    loop = asyncio.get_running_loop()
    async with Client(guarded.address, token=of_client, timeout_s=20) as client:
        of_client.failing = 2
        for _ in range(2):
            with pytest.raises(Unavailable, match="gives the token failed with OSError"):
                await client.submit("t", 1)
        assert (await client.submit("t", 1)).job_id
        of_client.failing = 1
        assert (await client.submit("t", 2)).job_id, "over the stream that there is"
    begin = Session.run

    async def run(session: Session) -> None:
        of_agent.failing = 2
        await begin(session)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Session, "run", run)
        running = asyncio.create_task(agent.run(guarded.address, token=of_agent, drain=drain))
        async with asyncio.timeout(30):
            await asyncio.wait([running, asyncio.ensure_future(done.wait())], return_when=asyncio.FIRST_COMPLETED)
            assert not running.done() and not of_agent.failing
            drain.set()
            await running


async def test_who_watches_waits_for_a_token_that_cannot_be_had_for_a_while(guarded: BrokerProcess, secrets: dict[str, str]) -> None:
    vault = Vault(secrets["operator"])
    async with Client(guarded.address, token=vault, timeout_s=20) as client:
        job_id = (await client.submit("t", 1)).job_id
        vault.failing = 2
        assert (await anext(client.watch(job_ids=[job_id]))).job_id == job_id
        assert not vault.failing
        await client.abort([job_id])
        vault.failing = 2
        assert [line async for line in client.tail_logs(job_id)] == []
        assert not vault.failing
    async with Client(guarded.address, token=vault, timeout_s=0.3) as client:
        vault.failing = 1_000_000
        for stream in (client.watch(job_ids=[job_id]), client.tail_logs(job_id)):
            with pytest.raises(Unavailable, match="gives the token failed with OSError"):
                await anext(stream)


async def test_a_function_that_gives_no_text_as_the_token_ends_neither_client_nor_agent() -> None:
    given: list[Any] = ["hr_x"]
    async with Client("127.0.0.1:1", token=lambda: given[-1], timeout_s=20) as client:
        given.append(None)
        for _ in range(2):
            with pytest.raises(Unavailable, match="gave NoneType where text is wanted"):
                await client.submit("t", 1)


async def test_a_submit_with_a_token_that_ended_says_so(guarded: BrokerProcess, secrets: dict[str, str]) -> None:
    async with Client(guarded.address, token=secrets["submitter"], timeout_s=20) as client:
        await client.submit("t", 1)
        await asyncio.to_thread(_headrace, guarded, secrets["admin"], "tokens", "revoke", "submitter@default")
        with pytest.raises(Unauthenticated) as refused:
            await client.submit("t", 2)
        assert refused.value.reason == "TOKEN_INVALID"


async def test_an_agent_takes_a_new_secret_over_while_a_job_runs(guarded: BrokerProcess, secrets: dict[str, str], directory: Path, stack: AsyncExitStack) -> None:
    path = _write(directory / "token", secrets["agent"])
    agent = await start_agent(directory, guarded.address, "--token-file", str(path))
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(guarded.address, token=secrets["operator"], timeout_s=20))
    job_id = (await client.submit("gate", "open")).job_id

    async def runs() -> bool:
        return (await client.get(job_id)).state == "processing"

    await until(runs, what="processing")
    fresh = (await asyncio.to_thread(_headrace, guarded, secrets["admin"], "tokens", "rotate", "agent@default")).strip()
    _write(path, fresh)
    await asyncio.to_thread(_headrace, guarded, secrets["admin"], "tokens", "rotate", "agent@default", "--overlap-s", "3600")  # ends the agent's stream

    async def again() -> bool:
        return ", resumed)" in agent.log.read_text()

    await until(again, what="a session with the new secret")
    (directory / "open").touch()
    job = await client.wait(job_id, timeout_s=20)
    assert (job.state, job.attempt, job.losses) == ("completed", 1, 0)


async def test_who_follows_a_log_goes_on_with_a_new_secret(guarded: BrokerProcess, secrets: dict[str, str], directory: Path) -> None:
    path = _write(directory / "token", secrets["operator"])
    agent, may_end, drain = Agent("tester"), threading.Event(), asyncio.Event()

    @agent.job("talk")
    def talk(ctx: JobContext) -> None:
        ctx.log.info("first")
        assert may_end.wait(30)
        ctx.log.info("last")

    running = asyncio.create_task(agent.run(guarded.address, token=secrets["agent"], drain=drain))
    async with asyncio.timeout(60), Client(guarded.address, token=TokenFile(path), timeout_s=20) as client:
        lines = client.tail_logs((await client.submit("talk")).job_id)
        assert (await anext(lines)).text == "first"
        fresh = await asyncio.to_thread(_headrace, guarded, secrets["admin"], "tokens", "rotate", "operator@default", "--overlap-s", "3600")
        _write(path, fresh.strip())
        after = asyncio.ensure_future(anext(lines))
        await asyncio.to_thread(_headrace, guarded, secrets["admin"], "tokens", "rotate", "operator@default", "--overlap-s", "3600")  # ends the stream
        may_end.set()
        assert (await after).text == "last"
        assert [line async for line in lines] == []
    drain.set()
    await running


async def test_tokens_and_the_audit_on_the_command_line(guarded: BrokerProcess, secrets: dict[str, str]) -> None:
    def headrace(*words: str, code: int = 0, role: str = "admin") -> str:
        return _headrace(guarded, secrets[role], *words, code=code)

    def run() -> None:
        secret = headrace("tokens", "create", "ci", "--role", "submitter", "--expires-in-s", "3600", "--reason", "build").strip()
        assert re.fullmatch(r"hr_[A-Za-z0-9_-]{43}", secret)
        secrets["ci"] = secret
        assert headrace("submit", "t", "--data", "1", role="ci").strip().isdigit()
        assert "ROLE_DENIED" in headrace("audit", "list", "-o", "json", role="ci", code=4)
        assert "valid already" in headrace("tokens", "create", "ci", "--role", "viewer", code=4)
        made = json.loads(headrace("tokens", "rotate", "ci", "-o", "json"))
        assert made["secret"].startswith("hr_") and made["token"]["role"] == "submitter" and made["token"]["old_secret_until"]
        listed = [json.loads(line) for line in headrace("tokens", "list", "-o", "jsonl").splitlines()]
        assert [token["name"] for token in listed][:3] == ["admin@default", "agent@default", "ci"]
        assert "ci" in headrace("tokens", "list")
        headrace("tokens", "revoke", "ci")
        assert "ci" not in headrace("tokens", "list") and "ci" in headrace("tokens", "list", "--revoked")
        headrace("tokens", "revoke", "ci", code=3)
        assert "TOKEN_INVALID" in headrace("submit", "t", "--data", "1", "-o", "json", role="ci", code=4)
        assert "token.rotate" in headrace("audit", "list", "--target", "token/ci")
        rows = [json.loads(line) for line in headrace("audit", "export", "--target", "token/ci", "-o", "jsonl").splitlines()]
        assert [row["action"] for row in rows] == ["token.revoke", "token.rotate", "token.create"] and rows[2]["after"]["role"] == "submitter"
        assert headrace("audit", "list", "--from", "2100-01-01", "-o", "json").strip() == "[]"
        headrace("jobs", "list", "--domain", "other", code=4)

    await asyncio.to_thread(run)


async def test_the_blocking_client_and_the_environment_carry_tokens_too(guarded: BrokerProcess, secrets: dict[str, str], directory: Path) -> None:
    path = _write(directory / "token", secrets["viewer"])

    def run() -> None:
        with SyncClient(guarded.address, token=lambda: secrets["viewer"], timeout_s=20) as client:
            client.count()
        done = run_command("headrace", "jobs", "count", environment={"HEADRACE_BROKER": guarded.address, "HEADRACE_TOKEN_FILE": str(path)})
        assert done.returncode == 0, done.stderr

    await asyncio.to_thread(run)


@pytest.mark.parametrize("address", ["10.0.0.1:7233", "broker.example", "127.0.0.1:1,broker:7233"])
async def test_a_token_does_not_travel_in_the_clear(address: str, monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    with pytest.raises(InvalidRequest, match="in the clear"):
        Client(address, token="hr_x")
    Client(address)
    Client("127.0.0.1:1,[::1]:1,localhost,unix:/tmp/x", token="hr_x")
    Client(address, token="hr_x", tls_ca=directory / "ca.pem")
    monkeypatch.setenv("HEADRACE_PLAINTEXT_TOKEN", "1")
    Client(address, token="hr_x")


def test_a_token_file_that_is_not_there_is_named(directory: Path) -> None:
    with pytest.raises(InvalidRequest, match="absent"):
        TokenFile(directory / "absent")
    done = run_command("headrace", "jobs", "count", "--token-file", str(directory / "absent"))
    assert done.returncode == 2 and "absent" in done.stderr
    agent = run_command("headrace-agent", "run", "tests.support.handlers:agent", "--token-file", str(directory / "absent"))
    assert agent.returncode == 1 and "absent" in agent.stderr


async def test_the_first_token_is_made_in_the_database(database: str, directory: Path, stack: AsyncExitStack) -> None:
    def create(*words: str, code: int = 0) -> str:
        done = run_command("headrace-broker", "token", "create", *words, "--database-url", database)
        assert done.returncode == code, done.stderr
        return done.stdout.strip()

    root = await asyncio.to_thread(create, "root")
    scoped = await asyncio.to_thread(create, "ops", "--role", "operator", "--domain", "default", "--expires-in-s", "3600")
    await asyncio.to_thread(create, "root", code=1)
    await asyncio.to_thread(create, "two words", code=2)
    broker = await start_broker(directory, "--auth", "required", database=database)
    stack.push_async_callback(broker.kill)
    for secret, domain in ((root, "anything"), (scoped, "default")):
        async with Client(broker.address, token=secret, domain=domain, timeout_s=20) as client:
            await client.count()
    con = await asyncpg.connect(database)
    rows = await con.fetch("select actor, domain, target from headrace.audit order by audit_id")
    await con.close()
    assert [(row["domain"], row["target"]) for row in rows] == [(None, "token/root"), ("default", "token/ops")]
    assert all(row["actor"].startswith("headrace-broker token, ") for row in rows)


async def test_a_broker_with_its_own_database_shows_the_first_token_once(directory: Path, stack: AsyncExitStack) -> None:
    shown = []
    for number in range(2):
        broker = await start_broker(directory, "--auth", "required", "--data-dir", str(directory / "data"), name=f"broker{number}")
        stack.push_async_callback(broker.kill)
        shown.append(re.findall(r"hr_[A-Za-z0-9_-]{43}", broker.log.read_text()))
        async with Client(broker.address, token=shown[0][0], timeout_s=20) as client:
            await client.count()
        await broker.stop()
    assert [len(secrets) for secrets in shown] == [1, 0]


@pytest.mark.parametrize(
    ("options", "auth"),
    [
        ([], "off"),
        (["--listen", "unix:/tmp/x"], "off"),
        (["--listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k"], "required"),
        (["--listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k", "--tls-client-ca", "a"], "required"),
        (["--listen", "0.0.0.0:1", "--insecure"], "off"),
        (["--listen", "0.0.0.0:1", "--insecure", "--auth", "required"], "required"),
        (["--listen", "0.0.0.0:1", "--tls-cert", "c", "--tls-key", "k", "--auth", "off"], "off"),
    ],
)
def test_tokens_are_wanted_where_other_machines_can_come_from(options: list[str], auth: str) -> None:
    from headrace_broker.config import parse

    assert parse(options).options.auth == auth


def test_tokens_and_rows_have_no_secret_to_give_away() -> None:
    assert not {"secret", "hash"} & {*Token.__dataclass_fields__, *AuditRow.__dataclass_fields__}
