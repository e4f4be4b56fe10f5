"""Saved filters through a real broker: one's own and shared ones, ages that move along, two who save the same one, who may do what, and what is not there any more."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from headrace_broker.model.saved_filter import MOST_OF_DOMAIN, MOST_OF_OWNER
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, Conflict, InvalidRequest, InvalidState, JobFilter, NotFound, Order, PermissionDenied, SavedFilter, State

from tests.support.web import Shared, shared_broker

_domains = itertools.count()


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Shared]:
    """One broker that wants tokens."""
    with shared_broker(postgres, "saved_filters", "--auth", "required", "--testing") as found:
        yield found


class World:
    """A domain of its own, with jobs of the types a and b, and clients of whoever the test needs."""

    def __init__(self, shared: Shared, stack: AsyncExitStack) -> None:
        self.shared, self._stack, self.domain = shared, stack, f"d{next(_domains)}"
        self.root: AdminClient

    async def of(self, secret: str, on_behalf_of: str = "") -> AdminClient:
        """An administrator's client with this secret."""
        made = AdminClient(self.shared.broker.address, domain=self.domain, token=secret, on_behalf_of=on_behalf_of or None, timeout_s=20)
        return await self._stack.enter_async_context(made)

    async def token(self, name: str, *grants: tuple[str, str], role: str = "guest") -> str:
        """The secret of a token with this role in the domain, and grants of (actions, types)."""
        secret = (await self.root.create_token(f"{name}-{self.domain}", role)).secret
        for actions, types in grants:
            await self.root.grant(f"token/{name}-{self.domain}", actions.split(), types=types)
        return secret


@pytest.fixture
async def world(shared: Shared, stack: AsyncExitStack) -> World:
    found = World(shared, stack)
    found.root = await found.of(shared.secrets["admin@all"])
    async with Client(shared.broker.address, domain=found.domain, token=shared.secrets["admin@all"]) as client:
        for type_ in ("a", "b"):
            await client.submit(type_)
    return found


@pytest.fixture
async def con(shared: Shared) -> AsyncIterator["asyncpg.Connection[Any]"]:
    """To the broker's database."""
    con = await asyncpg.connect(shared.database)
    yield con
    await con.close()


def names(found: list[SavedFilter]) -> list[tuple[str, bool]]:
    return [(one.name, one.shared) for one in found]


async def test_a_filter_is_kept_used_replaced_and_deleted_with_a_row_in_the_audit_each(world: World) -> None:
    where = JobFilter(types=["a"], states=[State.WAITING], labels={"shop": "north"}, created_to=datetime(2036, 1, 1, tzinfo=UTC), agent="mailer", log_text="50 %")
    made = await world.root.save_filter("failed today", where, ages={"created_from": 86_400.0}, order=Order.OLDEST, reason="asked for daily")
    assert (made.name, made.shared, dict(made.ages), made.order, made.problem) == ("failed today", False, {"created_from": 86_400.0}, Order.OLDEST, "")
    assert made.saved_by == "admin@all" and made.saved_at is not None and made.version > 0
    assert (await world.root.list_filters()) == [made] and (list(made.where.types), dict(made.where.labels), made.where.agent) == (["a"], {"shop": "north"}, "mailer")
    assert made.where.created_from is None and made.where.created_to == where.created_to
    assert await world.root.save_filter("failed today", where, ages={"created_from": 86_400.0}, order=Order.OLDEST) == made, "the same again changes nothing"
    again = await world.root.save_filter("failed today", JobFilter(types=["b"]), replaces=made.version)
    assert again.version > made.version and list(again.where.types) == ["b"] and not again.ages
    await world.root.delete_filter("failed today", reason="nobody looks")
    assert await world.root.list_filters() == []
    rows, _ = await world.root.list_audit(target="saved_filter/failed today")
    told = [(row.action, row.reason, row.before or {}, row.after or {}) for row in rows]
    assert [(action, reason) for action, reason, _, _ in told] == [("filter.delete", "nobody looks"), ("filter.save", ""), ("filter.save", "asked for daily")]
    assert told[1][2]["types"] == ["a"] and told[1][2]["ages"] == {"created_from": 86_400.0} and told[1][3]["types"] == ["b"] and told[0][2]["shared"] is False
    with pytest.raises(NotFound, match="failed today"):
        await world.root.delete_filter("failed today")


async def test_an_age_moves_along_with_the_clock(world: World) -> None:
    await world.root.save_filter("lately", JobFilter(types=["a"]), ages={"created_from": 3600.0, "created_to": 60.0})
    _, first = await world.root.get_filter("lately")
    assert first.created_from is not None and first.created_to is not None and first.created_to - first.created_from == timedelta(seconds=3540)
    await world.root.advance_clock(500.0)
    saved, later = await world.root.get_filter("lately")
    assert later.created_from is not None and later.created_from - first.created_from >= timedelta(seconds=500)
    assert saved.where.created_from is None and dict(saved.ages) == {"created_from": 3600.0, "created_to": 60.0}
    assert (await world.root.preview_operation("abort", later)).matched == 1


async def test_two_who_save_the_same_filter_do_not_overwrite_each_other_unknowingly(world: World) -> None:
    outcomes = await asyncio.gather(
        *(world.root.save_filter("ours", JobFilter(instance_id=f"case-{number}"), shared=True) for number in range(6)), return_exceptions=True
    )
    made = [one for one in outcomes if isinstance(one, SavedFilter)]
    assert len(made) == 1 and all(isinstance(one, Conflict) for one in outcomes if one is not made[0]), outcomes
    replaced = await world.root.save_filter("ours", JobFilter(instance_id="new"), shared=True, replaces=made[0].version)
    with pytest.raises(Conflict, match=f"version {replaced.version}, saved by admin@all") as error:
        await world.root.save_filter("ours", JobFilter(instance_id="mine"), shared=True, replaces=made[0].version)
    assert error.value.reason == "FILTER_CHANGED"
    await world.root.delete_filter("ours", shared=True)
    with pytest.raises(NotFound):
        await world.root.save_filter("ours", JobFilter(instance_id="mine"), shared=True, replaces=replaced.version)
    anew = await world.root.save_filter("ours", JobFilter(instance_id="x"), shared=True)
    assert anew.version > replaced.version, "no version is ever used again"


async def test_own_filters_are_their_owners_alone_and_come_before_the_shared_one_of_the_name(world: World) -> None:
    ada, bob = [await world.of(await world.token(name, role="operator")) for name in ("ada", "bob")]
    await ada.save_filter("late", JobFilter(types=["a"]))
    await bob.save_filter("late", JobFilter(types=["b"]), shared=True)
    assert names(await ada.list_filters()) == [("late", False), ("late", True)] and names(await bob.list_filters()) == [("late", True)]
    assert [list((await ada.get_filter("late", shared=shared))[1].types) for shared in (None, False, True)] == [["a"], ["a"], ["b"]]
    assert list((await bob.get_filter("late"))[1].types) == ["b"]
    for call in (bob.get_filter("late", shared=False), bob.delete_filter("late"), bob.get_filter("early"), ada.get_filter("early", shared=True)):
        with pytest.raises(NotFound) as error:
            await call
        assert error.value.reason == "FILTER_NOT_FOUND"
    for_eve, for_joe = [await world.of(await world.token(f"gate-{name}", role="operator"), on_behalf_of=name) for name in ("eve", "joe")]
    await for_eve.save_filter("hers", JobFilter(types=["a"]))
    assert ("hers", False) in names(await for_eve.list_filters()) and ("hers", False) not in names(await for_joe.list_filters())
    other = World(world.shared, world._stack)
    other.root = await other.of(world.shared.secrets["admin@all"])
    assert await other.root.list_filters() == [], "nor do other domains know of any"


async def test_who_may_view_jobs_keeps_filters_and_who_may_not_has_none(world: World) -> None:
    viewer, blind = [await world.of(await world.token(name, *grants)) for name, grants in (("viewer", [("view", "*")]), ("blind", [("oversee operate", "*")]))]
    await viewer.save_filter("mine", JobFilter(types=["a"]))
    assert names(await viewer.list_filters()) == [("mine", False)]
    for call in (blind.list_filters(), blind.get_filter("x"), blind.save_filter("x", JobFilter(types=["a"])), blind.delete_filter("x")):
        with pytest.raises(PermissionDenied) as error:
            await call
        assert error.value.reason == "ROLE_DENIED"


async def test_a_shared_filter_takes_the_right_to_operate_on_all_that_it_can_match(world: World) -> None:
    viewer = await world.of(await world.token("looker", ("view", "*")))
    some = await world.of(await world.token("some", ("view", "*"), ("operate", "a")))
    made = await world.root.save_filter("of b", JobFilter(types=["b"]), shared=True)
    await world.root.save_filter("of all", JobFilter(instance_id="i"), shared=True)
    of_a, of_b, of_both, of_any = *(JobFilter(types=types) for types in (["a"], ["b"], ["a", "b"])), JobFilter(instance_id="i")
    refused = [
        viewer.save_filter("x", of_a, shared=True), viewer.delete_filter("of b", shared=True), some.save_filter("x", of_b, shared=True),
        some.save_filter("x", of_both, shared=True), some.save_filter("x", of_any, shared=True),
        some.save_filter("of b", of_a, shared=True, replaces=made.version), some.delete_filter("of b", shared=True), some.delete_filter("of all", shared=True),
    ]  # fmt: skip
    for call in refused:
        with pytest.raises(PermissionDenied, match="operate") as error:
            await call
        assert error.value.reason == "TYPE_DENIED"
    await some.save_filter("of a", JobFilter(types=["a"]), shared=True)
    assert names(await viewer.list_filters()) == [("of a", True), ("of all", True), ("of b", True)]
    assert list((await viewer.get_filter("of b"))[1].types) == ["b"]
    await some.delete_filter("of a", shared=True)


async def test_a_shared_filter_is_hidden_from_those_who_may_not_see_what_it_names(world: World) -> None:
    await world.root.save_filter("of b", JobFilter(types=["a", "b"]), shared=True)
    await world.root.save_filter("secret", JobFilter(types=["a"], labels={"api_token": "s3cr3t"}), shared=True)
    await world.root.save_filter("any secret", JobFilter(labels={"api_token": "s3cr3t"}), shared=True)
    await world.root.save_filter("plain", JobFilter(types=["a"]), shared=True)
    some = await world.of(await world.token("only-a", ("view operate", "a")))
    assert names(await some.list_filters()) == [("plain", True)]
    with pytest.raises(NotFound):
        await some.get_filter("of b")
    for call in (some.save_filter("of b", JobFilter(types=["a"]), shared=True), some.delete_filter("of b", shared=True)):
        with pytest.raises(PermissionDenied, match="may not see") as error:
            await call
        assert error.value.reason == "RIGHT_DENIED"
    trusted = await world.of(await world.token("trusted", ("view view_secrets", "*")))
    assert len(await trusted.list_filters()) == 4


async def test_a_filter_that_names_what_is_not_there_says_so_when_it_is_saved_and_when_it_is_used(world: World, con: "asyncpg.Connection[Any]") -> None:
    with pytest.raises(InvalidRequest, match=r"no job type 'mail\.sned'") as refused:
        await world.root.save_filter("typo", JobFilter(types=["a", "mail.sned"]))
    assert refused.value.field == "filter.types"
    secret = await world.token("narrowed", ("view", "a"))
    narrowed = await world.of(secret)
    grant = await world.root.grant(f"token/narrowed-{world.domain}", ["view"], types="b")
    await narrowed.save_filter("both", JobFilter(types=["a", "b"]))
    assert (await narrowed.list_filters())[0].problem == ""
    await world.root.end_grant(grant.grant_id)
    [kept] = await narrowed.list_filters()
    assert kept.name == "both" and "no job type 'b' in this domain, or you may not see its jobs" in kept.problem
    with pytest.raises(InvalidState, match="'both' cannot be used: there is no job type 'b'"):
        await narrowed.get_filter("both")
    await world.root.save_filter("newer", JobFilter(types=["a"]))
    await con.execute("update headrace.saved_filter set filter = filter || '{\"colour\": \"red\"}' where domain = $1 and name = 'newer'", world.domain)
    with pytest.raises(InvalidState, match="colour, which this broker does not know"):
        await world.root.get_filter("newer")
    [told] = [one for one in await world.root.list_filters() if one.name == "newer"]
    assert "colour" in told.problem
    await world.root.delete_filter("newer")


async def test_there_is_room_for_so_many_and_no_more(world: World, con: "asyncpg.Connection[Any]") -> None:
    columns, sought = "domain, owner, name, filter, saved_by", '{"types": ["a"]}'
    fill = f"insert into headrace.saved_filter ({columns}) select $1, $2, 'f' || n, '{sought}', 'ada' from generate_series(1, $3::int) n"
    await con.execute(fill, world.domain, "token/admin@all", MOST_OF_OWNER - 1)
    last = await world.root.save_filter("last", JobFilter(types=["a"]))
    with pytest.raises(InvalidState, match=f"{MOST_OF_OWNER} saved filters of yours"):
        await world.root.save_filter("one more", JobFilter(types=["a"]))
    await world.root.save_filter("last", JobFilter(types=["b"]), replaces=last.version)
    await con.execute(fill, world.domain, "", MOST_OF_OWNER)
    with pytest.raises(InvalidState, match="shared with this domain"):
        await world.root.save_filter("one more", JobFilter(types=["a"]), shared=True)
    ada = await world.of(await world.token("ada", role="viewer"))
    await con.execute(fill, world.domain, "token/crowd", MOST_OF_DOMAIN - 2 * MOST_OF_OWNER)
    with pytest.raises(InvalidState, match=f"{MOST_OF_DOMAIN:,} saved filters in this domain"):
        await ada.save_filter("first", JobFilter(types=["a"]))
    assert len(await world.root.list_filters()) == 2 * MOST_OF_OWNER
