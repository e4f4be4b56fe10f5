"""A session is the same at every broker of a database: known, used, and ended at all of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import asyncpg
import pytest
from headrace_broker.actions.passwords import Passwords
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.actions.users import Users
from headrace_broker.model.access import Role, hash_of
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import DatabaseUnavailable, InvalidState
from headrace_broker.store.pool import open_pool
from headrace_broker.store.tokens import TokenStore
from headrace_broker.store.users import UserStore
from headrace_broker.store.web_sessions import NewWebSession, WebSessionRow, WebSessionStore
from headrace_broker.web.login import person_of
from headrace_broker.web.manager import _foreign
from headrace_broker.web.register import FRESH_S, SEEN_S, TRIM_S, Register
from headrace_broker.web.sessions import IDLE_S, SESSION_S, Person, Session, Sessions
from starlette.datastructures import FormData

PASSWORD = "correct horse battery staple"
BOSS = Caller("boss", "default", "r" * 16)


class Line(WebSessionStore):
    """The table, at the end of a line that can be cut."""

    cut = False

    async def changed_since(self, since: datetime | None) -> list[WebSessionRow]:
        self._pass()
        return await super().changed_since(since)

    async def add(self, new: NewWebSession) -> None:
        self._pass()
        await super().add(new)

    async def end(self, hashes: Any) -> None:
        self._pass()
        await super().end(hashes)

    def _pass(self) -> None:
        if self.cut:
            raise OSError("the line is cut")


class Broker:
    """What one broker knows of sessions; its clock goes on as the real one, and when it is told to."""

    def __init__(self, pool: "asyncpg.Pool[Any]", passwords: Passwords) -> None:
        self.ahead_s = 0.0
        self.line = Line(pool)
        self.users = Users(UserStore(pool), passwords)
        self.tokens = TokenTable(TokenStore(pool))
        self.sessions = Sessions(lambda: asyncio.get_running_loop().time() + self.ahead_s)
        self.register = Register(self.sessions, self.line, self.users, self.tokens, refresh_tokens=True)

    async def knows(self, value: str) -> Session:
        found = await self.register.find(value)
        assert found is not None
        return found


Make = Callable[[], Broker]


@pytest.fixture
async def make(database: str) -> AsyncIterator[Make]:
    """Makes brokers of one database."""
    pool, passwords = await open_pool(database), Passwords()
    yield lambda: Broker(pool, passwords)
    passwords.close()
    await pool.close()


async def test_a_session_is_known_to_all_brokers_with_the_same_forms_and_domain_and_ends_at_all(make: Make) -> None:
    here, there, later = make(), make(), make()
    await there.register.run_once()
    value = await here.register.begin(Person("manager", Role.ADMIN), address="192.0.2.7", browser="a browser")
    assert value is not None
    mine, yours = await here.knows(value), await there.knows(value)
    assert (yours.csrf, yours.number, yours.address, yours.browser, yours.role, yours.person) == (
        mine.csrf, mine.number, "192.0.2.7", "a browser", Role.ADMIN, mine.person,
    )  # fmt: skip
    assert value not in str(mine) and value not in str(await here.line.changed_since(None)) and await there.register.find(value + "x") is None
    await there.register.show(yours, "billing")
    await here.register.run_once()
    assert mine.domain == "billing" and mine.csrf == yours.csrf
    await here.register.end([mine])
    await there.register.run_once()
    assert yours.ended and await there.register.find(value) is None and await later.register.find(value) is None
    with pytest.raises(InvalidState):
        await there.register.show(yours, "default")


async def test_a_use_at_one_broker_keeps_the_session_at_all_and_its_age_ends_it_at_all(make: Make) -> None:
    here, there = make(), make()
    value = await here.register.begin(Person("manager", Role.ADMIN))
    assert value is not None
    await there.knows(value)
    con = here.line._pool  # the table's own times are moved instead of the database's clock
    await con.execute("update headrace.web_session set began_at = began_at - make_interval(secs => $1), seen_at = seen_at - make_interval(secs => $1)", IDLE_S + 5)
    for broker in (here, there):
        broker.ahead_s += IDLE_S - 5
    await here.knows(value)
    await here.register.run_once()  # stores the use, since the last one that is stored is older than half a minute
    there.ahead_s += 10
    assert there.sessions.find(value) is None, "idle, as far as this one has heard"
    assert await there.register.find(value) is not None
    here.ahead_s += SEEN_S / 3
    await here.knows(value)
    before = await con.fetchval("select changed_at from headrace.web_session")
    await here.register.run_once()
    assert await con.fetchval("select changed_at from headrace.web_session") == before, "a use is stored now and then"
    await con.execute("update headrace.web_session set began_at = began_at - make_interval(secs => $1), seen_at = now()", SESSION_S)
    assert await make().register.find(value) is None


async def test_what_ends_the_sessions_of_a_user_ends_them_at_every_broker(make: Make) -> None:
    here, there = make(), make()
    await here.users.put("ada", "default", Role.OPERATOR, caller=BOSS, reason="")
    await here.users.set_password("ada", "default", PASSWORD, caller=BOSS, reason="")
    password = PASSWORD
    for change in ("logged out", "another role", "its own logout", "another password", "disabled"):
        user = await here.users.log_in("ada", password)
        assert user is not None
        value = await here.register.begin(person_of(user))
        assert value is not None
        assert (await there.knows(value)).person == person_of(user)
        if change == "logged out":
            await here.users.end_sessions("ada", "default", caller=BOSS, reason="")
        elif change == "another role":
            await here.users.put("ada", "default", Role.VIEWER, caller=BOSS, reason="")
        elif change == "its own logout":
            await here.users.end_own(user.user_id)
        elif change == "another password":
            password += "!"
            await here.users.change_own(user.user_id, PASSWORD, password)
        else:
            await here.users.disable("ada", "default", caller=BOSS, reason="")
        assert await make().register.find(value) is None, "a broker that has never seen it"
        for broker in (there, here):
            await broker.register.run_once()
            assert await broker.register.find(value) is None, change
        assert all(row.ended for row in await here.line.changed_since(None))


async def test_a_session_of_a_token_ends_everywhere_with_its_secret(make: Make) -> None:
    here, there = make(), make()
    _, secret = await here.tokens.create("pager", "default", Role.VIEWER, None, caller=BOSS, reason="")
    found = await here.tokens.find(secret)
    value = await here.register.begin(Person("pager", Role.VIEWER, "default", token_id=found.token.token_id), secret=found)
    assert value is not None
    yours = await there.knows(value)
    assert yours.secret is not None and yours.secret.hash == hash_of(secret)
    await here.tokens.revoke("pager", "default", caller=BOSS, reason="")
    assert await here.register.find(value) is None and not yours.ended
    assert await make().register.find(value) is None, "of a broker that sees neither before"
    await there.register.run_once()
    assert yours.ended and await make().register.find(value) is None


async def test_without_the_database_who_is_known_stays_nobody_else_comes_and_nothing_may_be_changed(make: Make) -> None:
    here, there = make(), make()
    value = await here.register.begin(Person("manager", Role.ADMIN))
    other = await here.register.begin(Person("manager", Role.ADMIN))
    assert value is not None and other is not None
    yours = await there.knows(value)
    await there.register.assure()
    there.line.cut = True
    assert await there.register.find(value) is yours
    with pytest.raises(DatabaseUnavailable):
        await there.register.find("of a broker that this one has not heard of")
    await there.register.assure()  # it was compared a moment ago
    there.ahead_s += FRESH_S + 1
    with pytest.raises(DatabaseUnavailable):
        await there.register.assure()
    assert await there.register.find(value) is yours, "to look is allowed still"
    mine = await there.register.begin(Person("manager", Role.ADMIN))
    assert mine is not None and await there.knows(mine)
    await there.register.end_of(value)
    assert await there.register.find(value) is None and await here.register.find(mine) is None and await here.register.find(value) is not None
    there.line.cut = False
    await there.register.run_once()
    await here.register.run_once()
    assert await here.register.find(value) is None and await here.register.find(mine) is not None and await there.register.find(other) is not None


async def test_a_cookie_that_nobody_knows_costs_one_look_for_all_who_ask(make: Make) -> None:
    broker, looks = make(), 0
    true = broker.line.changed_since

    async def counted(since: datetime | None) -> list[WebSessionRow]:
        nonlocal looks
        looks += 1
        return await true(since)

    broker.line.changed_since = counted  # type: ignore[method-assign]  # counts
    assert await asyncio.gather(*(broker.register.find(f"guess {number}") for number in range(50))) == [None] * 50
    assert looks <= 2


async def test_what_ended_long_ago_is_forgotten(make: Make) -> None:
    broker = make()
    value = await broker.register.begin(Person("manager", Role.ADMIN))
    assert value is not None
    pool = broker.line._pool
    await pool.execute("update headrace.web_session set changed_at = now() - interval '8 days', began_at = now() - interval '8 days'")
    broker.ahead_s += TRIM_S
    await broker.register.run_once()
    assert await pool.fetchval("select count(*) from headrace.web_session") == 0


def test_a_form_that_was_made_for_another_domain_in_another_window_is_not_taken() -> None:
    session = Session(Person("manager", Role.ADMIN), b"", 0.0, 0.0, key="k" * 40)
    form = FormData({"csrf": session.csrf})
    assert _foreign(form, session, "/job-abort") == ""
    session.domain = "billing"
    assert "made for the domain default, and you look at billing" in _foreign(form, session, "/job-abort")
    assert _foreign(form, session, "/domain") == "" == _foreign(form, session, "/account-logout"), "these are of no domain"
    for value in ("", "x.billing", ".billing", "\N{SNOWMAN}"):
        assert "not of your session" in _foreign(FormData({"csrf": value}), session, "/job-abort")
    session.key = ""
    assert "not of your session" in _foreign(FormData({"csrf": ".billing"}), session, "/job-abort")
