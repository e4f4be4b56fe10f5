"""What is changed after the database's clock was set back counts at once, here and at other brokers: it is not passed over as older than what was there.
Nor is what happens then taken for what happened before."""

from datetime import timedelta

from headrace_broker.actions.obstacles import _estimate
from headrace_broker.actions.tokens import TokenTable
from headrace_broker.model.access import Role, hash_of
from headrace_broker.model.amended import Update
from headrace_broker.model.job import Kind, NoteKind
from headrace_broker.model.permissions import Act, HolderKind, Source
from headrace_broker.shards.intents import Ending, Verb
from headrace_broker.shards.types import TypeTable
from headrace_broker.store.certificates import CertificateStore
from headrace_broker.store.grants import GrantStore
from headrace_broker.store.tokens import TokenStore
from headrace_broker.store.web_sessions import NewWebSession, WebSessionStore

from tests.fire.steps import granted, room, settings
from tests.property.machine import TESTER, Machine


async def test_settings_that_are_changed_then_are_in_force(machine: Machine) -> None:
    await machine.pool.execute("update headrace.job_type set changed_at = changed_at + interval '1 hour'")  # before it was set back
    other = TypeTable(machine.settings)
    for types in (machine.types, other):
        await types.load()
    await settings(machine, paused=True)
    fresh = await machine.types.ensure(machine.domain, "fresh")
    await other.load()
    assert machine.type.settings.paused and other.by_id[machine.type.type_id].settings.paused
    assert fresh.type_id in other.by_id
    await settings(machine, paused=False)
    await other.load()
    assert not machine.type.settings.paused and not other.by_id[machine.type.type_id].settings.paused


async def test_tokens_that_are_revoked_then_are_none(machine: Machine) -> None:
    store = TokenStore(machine.pool)
    here, there = TokenTable(store), TokenTable(store)
    hashes = {name: hash_of((await here.create(name, machine.domain, Role.VIEWER, None, caller=TESTER, reason=""))[1]) for name in ("before", "since")}
    await machine.pool.execute("update headrace.token set changed_at = changed_at + interval '1 hour' where name = 'before'")
    for table in (here, there):
        await table.refresh()
        assert all(table.known(hash_) is not None for hash_ in hashes.values())
    for name in hashes:
        await here.revoke(name, machine.domain, caller=TESTER, reason="")
    await there.refresh()
    for table in (here, there):
        assert {name for name, hash_ in hashes.items() if table.known(hash_) is not None} == set()


async def test_grants_that_are_ended_and_certificates_that_are_revoked_then_are_read(machine: Machine) -> None:
    grants, certificates = GrantStore(machine.pool), CertificateStore(machine.pool)
    given = await grants.add(HolderKind.TOKEN, 1, "ci", Source("", machine.domain, "*", frozenset({Act.VIEW})), caller=TESTER, reason="")
    revoked = await certificates.revoke("77", None, caller=TESTER, reason="")
    newest = revoked.revoked_at + timedelta(hours=1)  # that is known, of before it was set back
    assert [row.grant_id for row in await grants.changed_since(newest)] == [given.grant_id]
    assert [row.serial for row in await certificates.revoked_since(newest)] == ["77"]
    await machine.pool.execute("update headrace.access_grant set granted_at = granted_at - interval '1 day'")
    assert await grants.changed_since(newest) == []
    await grants.end(given, caller=TESTER, reason="")
    assert [row.grant_id for row in await grants.changed_since(newest)] == [given.grant_id]


async def test_sessions_of_the_manager_that_end_then_are_read(machine: Machine) -> None:
    store, hash_ = WebSessionStore(machine.pool), bytes(32)
    await store.add(NewWebSession(hash_, "1", "ann", Role.VIEWER, None, None, 0, None, None, "", "", machine.domain, 0.0, 0.0))
    [row] = await store.changed_since(None)
    newest = row.changed_at + timedelta(hours=1)
    await store.end([hash_])
    assert [row.ended for row in await store.changed_since(newest)] == [True]
    await machine.pool.execute("update headrace.web_session set changed_at = changed_at - interval '2 minutes'")
    assert await store.changed_since(newest) == []


async def test_whoever_takes_over_believes_a_database_that_was_set_back(machine: Machine) -> None:
    """As after a failover to a standby that was behind: what is in memory alone is in no job's history."""
    lost = await machine.types.ensure(machine.domain, "lost")
    other = await machine.types.ensure(machine.domain, "other")
    await settings(machine, paused=True)
    await machine.pool.execute("delete from headrace.job_type where type_id = $1", lost.type_id)
    await machine.pool.execute("update headrace.job_type set name = 'another' where type_id = $1", other.type_id)
    await machine.pool.execute("update headrace.job_type set overrides = '{}', changed_at = changed_at - interval '1 hour' where type_id = $1", machine.type.type_id)
    await machine.types.load(everything=True)
    assert [entry.name for entry in machine.types.of_domain(machine.domain)] == ["another", "work"]
    assert not machine.type.settings.paused
    made = await machine.types.ensure(machine.domain, "lost")
    assert await machine.pool.fetchval("select name from headrace.job_type where type_id = $1", made.type_id) == "lost"
    assert machine.types.find(machine.domain, "other") is None


async def test_the_checkpoint_of_the_newer_attempt_is_handed_on(machine: Machine) -> None:
    [job_id] = await granted(machine)
    for epoch, data in ((1, b"older"), (3, b"newer")):
        machine.owner.checkpoint(job_id, epoch, data)
        machine.owner.end([Ending(job_id, epoch, Kind.RELEASED)])
        await machine.flush()
        assert await room(machine) == {job_id}
    await machine.pool.execute("update headrace.note set at = at + interval '1 hour' where lease_epoch = 1")  # before it was set back
    _, checkpoint, _ = (await machine.heads.bodies([job_id]))[job_id]
    assert checkpoint == b"newer"


async def test_how_soon_a_job_starts_is_told_by_what_was_started_lately(machine: Machine) -> None:
    await machine.submit(20)
    await machine.grant(5)
    clock = machine.owner.clock
    clock.set(clock.now_s() - 3600.0, machine.now, machine.now)
    for _ in range(10):
        machine.pass_time(60.0)
        await machine.grant(1)
    start_s, basis = _estimate(machine.owner, 0, [machine.type.type_id], 0)
    assert start_s is not None and 25 <= start_s - clock.now_s() <= 70, basis


async def _noted(machine: Machine, job_id: int, kind: NoteKind, data: bytes) -> None:
    """A note of a lease, stored before the clock was set back."""
    statement = "insert into headrace.note (job_id, lease_epoch, kind, actor, data, at) values ($1, 1, $2, 'before', $3, now() + interval '1 hour')"
    await machine.pool.execute(statement, job_id, kind, data)


async def test_the_newest_checkpoint_of_an_attempt_is_handed_on(machine: Machine) -> None:
    [job_id] = await granted(machine)
    await _noted(machine, job_id, NoteKind.CHECKPOINT, b"older")
    machine.owner.checkpoint(job_id, 1, b"newer")
    await machine.flush()
    _, checkpoint, _ = (await machine.heads.bodies([job_id]))[job_id]
    assert checkpoint == b"newer"


async def test_the_newest_word_about_a_job_that_runs_counts_after_a_takeover(machine: Machine) -> None:
    [job_id] = await granted(machine)
    await _noted(machine, job_id, NoteKind.AMENDED, b'{"priority": 1}')
    await _noted(machine, job_id, NoteKind.ABORT_REQUESTED, b"30")
    await machine.change(Verb.UPDATE, job_id, update=Update(priority=2))
    await machine.change(Verb.ABORT, job_id)
    _, _, amended = (await machine.heads.bodies([job_id]))[job_id]
    head = (await machine.heads.heads([job_id]))[job_id]
    await machine.crash(check=False)
    live = machine.owner.live_jobs[job_id]
    assert amended is not None and live.abort is not None
    assert (amended.priority, head.priority, live.priority, live.abort.actor) == (2, 2, 2, TESTER.shown)
