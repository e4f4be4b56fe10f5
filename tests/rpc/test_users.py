"""Users through the client, the command line and the database: who may be what, whose they are, and that no password stands anywhere."""

import dataclasses
import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace_broker.actions.passwords import Passwords
from headrace_broker.actions.users import Users
from headrace_broker.store.pool import open_pool
from headrace_broker.store.users import UserStore
from headrace_client import AdminClient, Conflict, InvalidRequest, InvalidState, NotFound, PermissionDenied

from tests.support.processes import BrokerProcess, run_command, start_broker
from tests.support.tokens import make_tokens
from tests.support.web import PASSWORD


async def test_a_user_s_life_and_its_rows_in_the_audit(admin: AdminClient, con: "asyncpg.Connection[Any]", broker: BrokerProcess) -> None:
    made, created = await admin.put_user("ada", "viewer", reason="new here")
    assert created and (made.role, made.domain, made.password_at, made.created_by) == ("viewer", "default", None, "tester")
    again, created = await admin.put_user("Ada", "viewer")
    assert not created and again == made, "the same again changes nothing"
    invitation = await admin.invite_user("ada", valid_for_s=3600)
    assert invitation.user.invited_until is not None and invitation.path.startswith("/invitation?key=hr_")
    changed, _ = await admin.put_user("ada", "operator", reason="on call")
    await admin.set_user_password("ada", PASSWORD)
    await admin.disable_user("ada", reason="left")
    assert (await admin.disable_user("ada")).disabled_at is not None
    assert await admin.list_users() == [] and [user.name for user in await admin.list_users(include_disabled=True)] == ["ada"]
    with pytest.raises(InvalidState):
        await admin.invite_user("ada")
    back = await admin.enable_user("ada")
    assert (back.user_id, changed.role, back.disabled_at, back.invited_until) == (made.user_id, "operator", None, None) and back.password_at is not None
    await admin.end_user_sessions("ada")
    rows, _ = await admin.list_audit(target="user/ada")
    assert [row.action.removeprefix("user.") for row in reversed(rows)] == ["create", "invite", "role", "password", "disable", "enable", "logout"]
    assert [row.reason for row in reversed(rows)][:4] == ["new here", "", "on call", ""] and {row.actor for row in rows} == {"tester"}
    kept = await con.fetchval("select password from headrace.account")
    stored = str(await con.fetch("select a::text from headrace.audit a")) + broker.log.read_text()
    for secret in (PASSWORD, kept, kept.rpartition("$")[2], invitation.path.partition("key=")[2]):
        assert secret not in stored
    assert PASSWORD not in kept and kept.startswith("$argon2id$")


async def test_what_is_not_there_or_makes_no_sense_is_refused(admin: AdminClient) -> None:
    for call in (admin.invite_user, admin.disable_user, admin.enable_user, admin.end_user_sessions):
        with pytest.raises(NotFound, match="no user 'nobody' here"):
            await call("nobody")
    with pytest.raises(NotFound):
        await admin.set_user_password("nobody", PASSWORD)
    with pytest.raises(InvalidRequest):
        await admin.put_user("ada", "agent")
    with pytest.raises(InvalidRequest) as refused:
        await admin.set_user_password("ada", "short")
    assert refused.value.field == "password"


async def test_a_domain_s_administrator_has_the_users_of_that_domain_alone(database: str, directory: Path, stack: AsyncExitStack) -> None:
    ours, theirs, every = [await make_tokens(database, domain) for domain in ("default", "other", None)]
    broker = await start_broker(directory, "--auth", "required", database=database)
    stack.push_async_callback(broker.kill)

    async def client(secret: str, domain: str = "default") -> AdminClient:
        return await stack.enter_async_context(AdminClient(broker.address, token=secret, domain=domain, timeout_s=20))

    us, them, all_ = await client(ours["admin"]), await client(theirs["admin"], "other"), await client(every["admin"])
    await us.put_user("ada", "viewer")
    await all_.put_user("root", "admin", all_domains=True)
    for call in (them.invite_user, them.disable_user, them.enable_user, them.end_user_sessions):
        for name in ("ada", "root", "nobody"):
            with pytest.raises(NotFound):
                await call(name)
    with pytest.raises(NotFound):
        await us.set_user_password("root", PASSWORD)  # it is of all domains
    with pytest.raises(Conflict):
        await them.put_user("ADA", "admin")
    for refused in (us.put_user("x", "viewer", all_domains=True), us.list_users(all_domains=True), us.set_user_password("root", PASSWORD, all_domains=True)):
        with pytest.raises(PermissionDenied):
            await refused
    assert [user.name for user in await us.list_users()] == ["ada"] and await them.list_users() == []
    assert [user.name for user in await all_.list_users(all_domains=True)] == ["root"]


async def test_a_login_renews_what_was_made_with_other_costs_and_ends_nothing(database: str, con: "asyncpg.Connection[Any]", admin: AdminClient) -> None:
    await admin.put_user("ada", "viewer")
    pool = await open_pool(database, size=2)
    cheap, now = Passwords(memory_kib=8 * 1024, passes=1), Passwords()
    await con.execute("update headrace.account set password = $1", await cheap.hash(PASSWORD))
    users = Users(UserStore(pool), now)
    first = await users.log_in("ada", PASSWORD)
    kept = await con.fetchval("select password from headrace.account")
    assert first is not None and not now.is_outdated(kept) and await now.verify(kept, PASSWORD)
    second = await users.log_in("ada", PASSWORD)
    assert second is not None and second.epoch == first.epoch and kept == await con.fetchval("select password from headrace.account")
    assert await users.log_in("ada", PASSWORD + "x") is None
    for passwords in (cheap, now):
        passwords.close()
    await pool.close()


async def test_a_password_that_changed_while_it_was_verified_lets_nobody_in(database: str, admin: AdminClient) -> None:
    """The old password was right when it was read; the session that it would begin would outlive what the change was to end."""
    await admin.put_user("ada", "viewer")
    await admin.set_user_password("ada", PASSWORD)
    pool = await open_pool(database, size=2)
    passwords = Passwords()

    class Slow(UserStore):
        async def find(self, name: str) -> Any:
            row = await super().find(name)
            await admin.set_user_password("ada", PASSWORD + "!")
            assert row is not None
            return dataclasses.replace(row)

    assert await Users(Slow(pool), passwords).log_in("ada", PASSWORD) is None
    passwords.close()
    await pool.close()


async def test_the_command_line(broker: BrokerProcess) -> None:
    def run(*words: str, expected: int = 0, stdin: str = "") -> str:
        done = run_command("headrace", "users", *words, environment={"HEADRACE_BROKER": broker.address}, stdin=stdin)
        assert done.returncode == expected, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout

    assert run("add", "ada", "--role", "operator", "--reason", "on call").startswith("/invitation?key=hr_")
    run("passwd", "ada", stdin=PASSWORD + "\n")
    run("passwd", "ada", stdin="short\n", expected=4)
    assert run("add", "ada", "--role", "viewer") == "", "who has a password needs no link"
    assert json.loads(run("invite", "ada", "--valid-for-s", "600", "-o", "json"))["path"].startswith("/invitation?key=")
    run("disable", "ada")
    assert run("list", "-o", "jsonl") == "" and "ada" in run("list", "--disabled")
    run("enable", "ada")
    [found] = json.loads(run("list", "-o", "json"))
    assert (found["name"], found["role"], found["domain"], found["disabled_at"]) == ("ada", "viewer", "default", None)
    run("passwd", "nobody", stdin=PASSWORD, expected=3)
    run("add", "ada", "--role", "agent", expected=2)
