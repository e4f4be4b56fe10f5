"""Grants: by domain, type pattern and action; one broker for the module, and a token of its own for each principal."""

import asyncio
import io
import itertools
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from google.protobuf import descriptor_pool
from headrace_agent import Agent, JobContext
from headrace_broker.model.access import Role
from headrace_broker.model.permissions import ROLE_ACTS, Act
from headrace_broker.model.redaction import MASK
from headrace_broker.rpc.access import LEAST
from headrace_broker.rpc.server import SERVICES
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import AdminClient, Client, HeadraceError, JobFilter, JobGraph, NotFound, PermissionDenied, ScheduleSpec, State
from headrace_client.cli.trees import trees
from headrace_proto.v1 import agents_pb2, graph_pb2, jobs_pb2, types_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub
from headrace_proto.v1.graph_pb2_grpc import GraphStub
from headrace_proto.v1.jobs_pb2_grpc import JobsStub
from rich.console import Console

from tests.support.processes import start_broker, until
from tests.support.web import PASSWORD, Shared, shared_broker

_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(postgres: EmbeddedPostgres) -> Iterator[Shared]:
    """One broker that wants tokens."""
    with shared_broker(postgres, "permissions", "--auth", "required", "--lease-s", "60") as found:
        yield found


class World:
    """Clients of the broker."""

    def __init__(self, shared: Shared, stack: AsyncExitStack) -> None:
        self.address, self.secrets, self._stack = shared.broker.address, shared.secrets, stack
        self.root: AdminClient

    async def client(self, secret: str, domain: str = "default", on_behalf_of: str | None = None) -> AdminClient:
        """An administrator's client with this secret; `submit` and reads are `jobs`."""
        return await self._stack.enter_async_context(AdminClient(self.address, domain=domain, token=secret, on_behalf_of=on_behalf_of, timeout_s=20))

    async def jobs(self, secret: str, domain: str = "default") -> Client:
        """A client with this secret."""
        return await self._stack.enter_async_context(Client(self.address, domain=domain, token=secret, timeout_s=20))

    async def token(self, *grants: tuple[str, str], role: str = "guest") -> tuple[str, str]:
        """(name, secret) of a token with grants of (actions, types) in the default domain."""
        name = f"t{next(_numbers)}"
        secret = (await self.root.create_token(name, role)).secret
        for actions, types in grants:
            await self.root.grant(f"token/{name}", actions.split(), types=types)
        return name, secret


@pytest.fixture
async def world(shared: Shared, stack: AsyncExitStack) -> World:
    found = World(shared, stack)
    found.root = await found.client(shared.secrets["admin@all"])
    return found


async def denied(call: Awaitable[Any], reason: str) -> PermissionDenied:
    """What a broker has against a call."""
    with pytest.raises(PermissionDenied) as error:
        await call
    assert error.value.reason == reason, error.value
    return error.value


def _methods() -> dict[str, Any]:
    pool = descriptor_pool.Default()
    services = [pool.FindServiceByName(name) for name in SERVICES if not name.startswith("grpc.")]
    return {f"/{service.full_name}/{method.name}": method for service in services for method in service.methods}


async def _code(channel: grpc.aio.Channel, path: str, method: Any, secret: str, domain: str) -> str:
    """What is answered to bytes that are no message: INVALID_ARGUMENT for whoever is let in."""
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    metadata = (("authorization", f"Bearer {secret}"), ("headrace-domain", domain))
    while True:
        call = getattr(channel, kind)(path)(iter([b"\xff"]) if method.client_streaming else b"\xff", metadata=metadata, timeout=20)
        code: grpc.StatusCode = await call.code()
        if await call.details() != "Internal error from Core":
            return str(code.name)


async def test_each_action_opens_its_calls_in_its_domain_for_all_types_or_for_some(world: World, stack: AsyncExitStack) -> None:
    """Each call with its action alone, for all types and for some, in this domain and another; and with all actions but that one: from the table and the descriptors."""
    channel = await stack.enter_async_context(grpc.aio.insecure_channel(world.address))
    holders = {(act, types): (await world.token((act, types)))[1] for act in Act for types in ("*", "mail.*")}
    others = {act: (await world.token((" ".join(other for other in Act if other is not act), "*")))[1] for act in Act}
    wrong = []
    room = asyncio.Semaphore(8)

    async def look(path: str, method: Any, what: str, domain: str, secret: str, *, allowed: bool) -> None:
        async with room:
            code = await _code(channel, path, method, secret, domain)
        if code != ("INVALID_ARGUMENT" if allowed else "PERMISSION_DENIED"):
            wrong.append((path, what, domain, code))

    async with asyncio.TaskGroup() as tasks:
        for path, method in _methods().items():
            need = LEAST[path]
            act = need.act or Act.VIEW
            for types in ("*", "mail.*"):
                for domain in ("default", "other"):
                    allowed = need.anywhere or (domain == "default" and (need.act is None or types == "*" or need.by_type))
                    tasks.create_task(look(path, method, f"{act} {types}", domain, holders[act, types], allowed=allowed))
            tasks.create_task(look(path, method, f"all but {act}", "default", others[act], allowed=need.act is None))
    assert not wrong


def test_roles_are_sets_of_actions_and_every_action_opens_something() -> None:
    assert set(LEAST) == set(_methods())
    assert ROLE_ACTS[Role.ADMIN] == set(Act) and not ROLE_ACTS[Role.GUEST]
    assert {need.act for need in LEAST.values() if need.act is not None} | {Act.ACT_FOR, Act.VIEW_SECRETS} == set(Act)


async def test_everybody_is_told_of_the_domains_in_which_they_see_something(world: World) -> None:
    for domain in ("default", "north", "south", "west"):
        await (await world.jobs(world.secrets["admin@all"], domain)).submit("mail.send", 1)
    await (await world.client(world.secrets["admin@all"], "south")).pause_domain(reason="no money")
    name, secret = await world.token(("oversee", "mail.*"))
    everything = [domain.name for domain in await world.root.list_domains()]
    assert {"default", "north", "south", "west"} <= set(everything) and everything == sorted(everything)

    async def seen(domain: str = "default") -> list[str]:
        return [item.name for item in await (await world.client(secret, domain)).list_domains()]

    assert await seen() == await seen("north") == await seen("nowhere") == ["default"], "the domain of the call does not matter"
    grant = await world.root.grant(f"token/{name}", ["oversee"], types="mail.*", domains="*th")
    await world.root.grant(f"token/{name}", ["submit"], domains="west")
    assert await seen() == ["default", "north", "south"], "who may submit there sees nothing there"
    [south] = [item for item in await (await world.client(secret)).list_domains() if item.name == "south"]
    assert south.pause is not None and south.pause.reason == "no money" and (south.depth_limit, south.weight) == (0, 1.0)
    await (await world.client(world.secrets["admin@all"], "north")).end_grant(grant.grant_id)
    assert await seen() == ["default"]
    _, nobody = await world.token()
    assert await (await world.client(nobody)).list_domains() == []


async def test_submits_are_refused_by_type_and_name_the_field(world: World, stack: AsyncExitStack) -> None:
    _, secret = await world.token(("submit view", "mail.*"))
    client = await world.jobs(secret)
    await client.submit("mail.send", 1)
    assert (await denied(client.submit("billing.pay", 1), "TYPE_DENIED")).details["field"] == "type"
    stubs: Any = JobsStub(await stack.enter_async_context(grpc.aio.insecure_channel(world.address)))  # type: ignore[no-untyped-call]
    jobs = [types_pb2.JobSpec(type=name, payload=b"1") for name in ("mail.send", "billing.pay")]
    plain = [types_pb2.PlainSpecs(type=name, payloads=[b"1", b"2"]) for name in ("billing.pay", "mail.send")]
    metadata = (("authorization", f"Bearer {secret}"),)
    results = (await stubs.SubmitMany(jobs_pb2.SubmitManyRequest(jobs=jobs, plain=plain), metadata=metadata, timeout=20)).results
    assert {(f.index, f.field, f.reason) for f in results.failures} == {
        (1, "jobs[1].type", "TYPE_DENIED"), (2, "plain[0].type", "TYPE_DENIED"), (3, "plain[0].type", "TYPE_DENIED"),
    }  # fmt: skip
    assert [bool(job_id) for job_id in results.job_ids] == [True, False, False, False, True, True]


async def test_jobs_of_other_types_are_not_there_and_lists_and_counts_show_none(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    mine, other = (await root.submit("mail.seen", {"a": 1})).job_id, (await root.submit("billing.seen", {"b": 2})).job_id
    _, secret = await world.token(("view view_data oversee", "mail.*"))
    client, admin = await world.jobs(secret), await world.client(secret)
    assert (await client.get(mine, full=True)).payload == b'{"a":1}'
    for call in (client.get, client.wait, client.explain, client.attempts, client.events):
        with pytest.raises(NotFound):
            await call(other)
    with pytest.raises(NotFound):
        await anext(client.logs(other))
    counted = await client.count()
    assert set(counted.types) and all(name.startswith("mail.") for name in counted.types)
    assert (await client.count(types=["billing.seen"])).totals == {}
    assert all(job.type.startswith("mail.") for job in (await client.list(page_size=1000)).jobs)
    assert (await client.list(types=["billing.seen"])).jobs == []
    assert all(item.name.startswith("mail.") for item in await admin.list_types())
    with pytest.raises(NotFound):
        await admin.get_type("billing.seen")


def drawn(graph: JobGraph) -> str:
    """As the command line has it."""
    console = Console(file=io.StringIO(), width=200)
    for tree in trees(graph):
        console.print(tree)
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # it is the one above


async def test_jobs_of_other_types_have_no_numbers_in_what_is_told_of_those_that_are_tied_to_them(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    hidden = [(await root.submit("billing.first", number)).job_id for number in range(2)]
    seen = (await root.submit("mail.first")).job_id
    async with root.batch("mail.done") as batch:
        await batch.submit("billing.member")
        mine = (await batch.submit("mail.next", depends_on=[hidden[0], seen, hidden[1]], parent_id=hidden[0])).job_id
    for role, expected in (("guest", [0, seen, 0]), ("viewer", [hidden[0], seen, hidden[1]])):
        client = await world.jobs((await world.token(("view submit", "mail.*"), role=role))[1])
        restricted = role == "guest"
        [listed] = (await client.list(types=["mail.next"])).jobs
        for job in (await client.get(mine), listed):
            assert (list(job.depends_on), job.parent_id, job.batch_id) == (expected, 0 if restricted else hidden[0], batch.batch_id)
        graph = await client.graph(mine)
        above = [edge.parent_id for edge in graph.edges if edge.child_id == mine]
        assert sorted(above) == sorted([*expected, 0 if restricted else hidden[0]]) and (0 in above) == restricted
        assert sum(edge.parent_id == 0 and edge.child_id == batch.batch_id for edge in graph.edges) == restricted
        why = (await client.explain(mine)).text
        assert "until 3 jobs have completed" in why and str(seen) in why and any(str(job_id) in why for job_id in hidden) != restricted
        assert not restricted or not any(str(job_id) in str((graph, why)) for job_id in hidden)
        assert ("after 2 jobs that you may not see" in drawn(graph) and "callback of a job that you may not see" in drawn(graph)) == restricted
        assert [job.job_id for job in await client.dependencies(mine)] == ([seen] if restricted else expected)
    boss = await world.client(world.secrets["admin"])
    await boss.abort(hidden)
    assert hidden[0] not in (await (await world.jobs((await world.token(("view", "mail.*")))[1])).batch_status(batch.batch_id)).failed_ids


async def test_watches_graphs_and_dependencies_know_no_jobs_of_other_types(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    boss = await world.client(world.secrets["admin"])
    mine = (await root.submit("mail.tied", instance_id="tied")).job_id
    other = (await root.submit("billing.tied", instance_id="tied", depends_on=[mine])).job_id
    name, secret = await world.token(("view submit", "mail.*"))
    client = await world.jobs(secret)
    for graph in (await client.graph(mine), await client.graph(instance_id="tied")):
        assert [job.job_id for job in graph.jobs] == [mine]
        assert [(edge.parent_id, edge.child_id, edge.kind) for edge in graph.edges] == [(mine, 0, "depends")], "that there is one, and no number"
    assert [job.job_id for job in (await client.list(where=JobFilter(instance_id="tied"))).jobs] == [mine]
    for call in (client.graph(other), client.dependencies(other), client.submit("mail.next", depends_on=[other]), client.submit("mail.next", parent_id=other)):
        with pytest.raises(NotFound):
            await call
    changes = client.watch(job_ids=[mine, other])
    async with asyncio.timeout(20):
        assert (await anext(changes)).job_id == mine
        unseen = await anext(changes)
        assert (unseen.job_id, unseen.state, unseen.type) == (other, None, ""), "as one that is not there"
        await boss.hold([other])
        await boss.hold([mine])
        assert (await anext(changes)).job_id == mine
    await changes.aclose()
    tail = client.tail_logs(mine)
    following = asyncio.ensure_future(anext(tail))
    [grant] = (await world.root.list_grants(f"token/{name}"))[0]
    await world.root.end_grant(grant.grant_id)
    async with asyncio.timeout(20):
        with pytest.raises(PermissionDenied):
            await following


async def test_data_is_withheld_and_said_so(world: World) -> None:
    job_id = (await (await world.jobs(world.secrets["admin"])).submit("mail.secret", {"a": 1})).job_id
    _, secret = await world.token(("view", "*"))
    client = await world.jobs(secret)
    job = await client.get(job_id, full=True)
    assert (job.data_withheld, job.payload, job.payload_bytes) == (True, b"", 7)
    _, sees = await world.token(("view view_data", "mail.*"))
    seen = await (await world.jobs(sees)).get(job_id, full=True)
    assert (seen.data_withheld, seen.payload) == (False, b'{"a":1}')


async def test_secrets_are_masked_wherever_data_is_given(world: World) -> None:
    secret, labels = {"user": "ada", "API-key": "hunter2"}, {"authToken": "hunter2", "who": "ada"}
    boss = await world.client(world.secrets["admin"])
    root = await world.jobs(world.secrets["admin"])
    job_id = (await root.submit("mail.key", secret, labels=labels)).job_id
    await boss.abort([job_id])
    await boss.requeue([job_id], data={**secret, "n": 2})
    await boss.update([job_id], set_labels={"more": "1"})
    text = (await root.submit("mail.key", payload=b"password=hunter2", content_type="text/plain")).job_id
    await boss.put_schedule("mail.key", ScheduleSpec("mail.key", cron="0 0 1 1 *", data=secret, labels=labels))

    async def given(reader: str) -> list[Any]:
        client, admin = await world.jobs(reader), await world.client(reader)
        job, schedule = await client.get(job_id, full=True), await admin.get_schedule("mail.key")
        runs = await client.runs(job_id, full=True)
        versions = [(await client.payload(job_id, version)).payload for version in (0, job.payload_version)]
        details = [event.detail for event in await client.events(job_id)]
        listed = [one.labels for one in (await client.list(types=["mail.key"])).jobs]
        other = await client.get(text, full=True)
        return [job, runs, versions, details, listed, other.payload, schedule, await admin.list_schedules()]

    masked = await given((await world.token(("view view_data oversee", "mail.*")))[1])
    assert "hunter2" not in str(masked) and masked[0].secrets_masked and masked[6].secrets_masked and masked[5] == b""
    assert json.loads(masked[0].payload) == {"user": "ada", "API-key": MASK, "n": 2} and masked[0].labels == {"authToken": MASK, "who": "ada", "more": "1"}
    assert masked[2] == [f'{{"user":"ada","API-key":"{MASK}"}}'.encode(), f'{{"user":"ada","API-key":"{MASK}","n":2}}'.encode()]
    everything = await given((await world.token(("view view_data view_secrets oversee", "mail.*")))[1])
    assert not everything[0].secrets_masked and all("hunter2" in str(part) for part in everything)
    withheld = await (await world.client((await world.token(("oversee", "mail.*")))[1])).get_schedule("mail.key")
    assert (withheld.data_withheld, withheld.spec.payload) == (True, b"")


async def test_masked_labels_are_not_searched_for_so_that_no_guess_is_confirmed(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    job_id = (await root.submit("mail.pin", 1, labels={"authToken": "4711", "who": "ada"})).job_id
    guess, plain = JobFilter(types=["mail.pin"], labels={"authToken": "4711"}), JobFilter(types=["mail.pin"], labels={"who": "ada"})
    masked, everything = [(await world.token((f"view view_data {more} oversee operate abort", "mail.*")))[1] for more in ("", "view_secrets")]
    client, admin = await world.jobs(masked), await world.client(masked)
    for asked in (client.list(where=guess), client.count(where=guess), admin.preview_operation("abort", guess), admin.start_operation("abort", guess)):
        assert "view_secrets" in str(await denied(asked, "TYPE_DENIED"))
    for reader, where in ((client, plain), (await world.jobs(everything), guess), (root, guess)):
        assert [job.job_id for job in (await reader.list(where=where)).jobs] == [job_id]


async def test_secrets_in_words_are_masked_wherever_they_are_told(world: World) -> None:
    said = 'login of ada with {"password": "hunter2"}'
    agent, drain, end = Agent("teller"), asyncio.Event(), threading.Event()

    @agent.job("mail.tell", max_attempts=1)
    async def tell(ctx: JobContext) -> None:
        ctx.log.info(said)
        ctx.progress(50, said)
        while not end.is_set():
            await asyncio.sleep(0.02)
        raise ValueError(said)

    serving = asyncio.create_task(agent.run(world.address, token=world.secrets["agent"], drain=drain))
    root, boss = await world.jobs(world.secrets["admin"]), await world.client(world.secrets["admin"])
    job_id = (await root.submit("mail.tell")).job_id
    masked, everything = [(await world.token((f"view view_data {more} oversee", "mail.*")))[1] for more in ("", "view_secrets")]

    async def running() -> bool:
        return bool((await root.get(job_id)).progress) and bool([line async for line in root.logs(job_id)])

    await until(running, what="its log line and its progress")

    async def given(reader: str) -> dict[str, Any]:
        client, admin = await world.jobs(reader), await world.client(reader)
        job = await client.get(job_id)
        found: dict[str, Any] = {"job": job.error or job.progress, "lines": [line async for line in client.logs(job_id)], "explained": await client.explain(job_id)}
        if job.state.settled:
            found |= {"attempts": await client.attempts(job_id), "runs": await client.runs(job_id), "alerts": await admin.list_alerts()}
            found |= {"events": await client.events(job_id), "tail": [line async for line in client.tail_logs(job_id)]}
            found |= {"listed": (await client.list(types=["mail.tell"])).jobs}
        return found

    async def compare() -> None:
        whole, part = await given(everything), await given(masked)
        assert all("hunter2" in str(words) and MASK not in str(words) for words in whole.values()), whole
        assert all("hunter2" not in str(words) and MASK in str(words) and "ada" in str(words) for words in part.values()), part

    await compare()
    aborted = (await root.submit("mail.tell")).job_id

    async def begun() -> bool:
        return (await root.get(aborted)).state is State.PROCESSING

    await until(begun, what="its start")
    await boss.abort([aborted], reason="see password=hunter2 of ada", grace_s=60)
    await root.wait(aborted, timeout_s=20)
    end.set()
    await root.wait(job_id, timeout_s=20)
    await compare()
    for reader, said in ((everything, "hunter2"), (masked, MASK)):
        client = await world.jobs(reader)
        job, reasons = await client.get(aborted), {event.reason for event in await client.events(aborted)}
        assert job.abort is not None and job.abort.reason == f"see password={said} of ada" and job.abort.reason in reasons
        assert ("hunter2" in str(reasons)) is (reader == everything)
    await denied((await world.jobs(masked)).list(where=JobFilter(log_text="hunter2")), "TYPE_DENIED")
    assert [job.job_id for job in (await (await world.jobs(everything)).list(where=JobFilter(log_text="hunter2", states=[State.ERROR]))).jobs] == [job_id]
    summaries = {role: await _summaries(await world.client(world.secrets[role])) for role in ("admin", "viewer")}
    assert "hunter2" in summaries["admin"] and "hunter2" not in summaries["viewer"] and MASK in summaries["viewer"]
    drain.set()
    await serving


async def _summaries(admin: AdminClient) -> str:
    """What the groups of failures say, once there are some."""

    async def said() -> str:
        return str([group.summary for group in (await admin.list_alert_groups())[0] if group.type == "mail.tell"]).replace("[]", "")

    return str(await until(said, what="a group of failures"))


async def test_what_may_be_seen_and_not_changed_is_denied_and_the_rest_is_not_found(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    first, second, third = [(await root.submit(name, 1)).job_id for name in ("mail.a", "order.a", "billing.a")]
    _, secret = await world.token(("view abort update", "mail.*"), ("view", "order.*"))
    admin = await world.client(secret)
    for change in (admin.abort, admin.hold):
        results = await change([first, second, third])
        assert [(one.ok, one.reason) for one in results] == [(True, ""), (False, "TYPE_DENIED"), (False, "JOB_NOT_FOUND")], results
    assert (await root.get(second)).state == (await root.get(third)).state == "waiting"


async def test_who_may_act_for_somebody_for_some_types_does_so_for_no_others(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    mail, order = [(await root.submit(name, 1)).job_id for name in ("mail.for", "order.for")]
    _, secret = await world.token(("view abort update oversee edit_settings manage_access", "*"), ("act_for", "mail.*"))
    own, for_ada = await world.client(secret), await world.client(secret, on_behalf_of="Ada")
    done, refused = await for_ada.abort([mail, order])
    assert (done.ok, refused.ok, refused.reason) == (True, False, "TYPE_DENIED") and "act_for" in refused.message
    for change in (for_ada.set_type("order.for", priority=1), for_ada.set_instance_priority("case", 1)):
        assert "act_for" in str(await denied(change, "TYPE_DENIED"))
    await denied(for_ada.grant("user/nobody", ["view"]), "RIGHT_DENIED")
    assert (await root.get(order)).state is State.WAITING
    assert (await own.abort([order]))[0].ok and (await for_ada.set_type("mail.for", priority=1)).name == "mail.for"


async def test_who_may_act_for_somebody_for_some_types_replaces_no_jobs_of_others(world: World, stack: AsyncExitStack) -> None:
    stubs: Any = JobsStub(await stack.enter_async_context(grpc.aio.insecure_channel(world.address)))  # type: ignore[no-untyped-call]
    _, secret = await world.token(("view submit", "*"), ("act_for", "mail.*"))
    metadata = (("authorization", f"Bearer {secret}"), ("headrace-on-behalf-of", "Ada"))
    mail, order = [types_pb2.JobSpec(type=name, payload=b"1", unique_key=name, on_conflict=types_pb2.UNIQUE_CONFLICT_REPLACE) for name in ("mail.one", "order.one")]
    await stubs.Submit(jobs_pb2.SubmitRequest(job=mail), metadata=metadata, timeout=20)
    with pytest.raises(grpc.aio.AioRpcError, match="act_for"):
        await stubs.Submit(jobs_pb2.SubmitRequest(job=order), metadata=metadata, timeout=20)
    results = (await stubs.SubmitMany(jobs_pb2.SubmitManyRequest(jobs=[mail, order]), metadata=metadata, timeout=20)).results
    assert [(failure.index, failure.reason, "act_for" in failure.message) for failure in results.failures] == [(1, "TYPE_DENIED", True)]


async def test_a_requeue_with_another_payload_takes_the_right_to_change_it_too(world: World) -> None:
    root = await world.client(world.secrets["admin"])
    job_id = (await (await world.jobs(world.secrets["admin"])).submit("mail.again", 1)).job_id
    await root.abort([job_id])
    _, secret = await world.token(("view requeue", "mail.*"))
    admin = await world.client(secret)
    [result] = await admin.requeue([job_id], data=2)
    assert (result.ok, result.reason) == (False, "TYPE_DENIED")
    await denied(admin.requeue([job_id], data=2, descendants=True), "TYPE_DENIED")
    [result] = await admin.requeue([job_id], descendants=True)
    assert result.ok, result


async def test_whoever_submits_a_batch_seals_it_without_the_right_to_see_jobs(world: World) -> None:
    _, secret = await world.token(("submit", "mail.*"))
    stubs: Any = GraphStub(grpc.aio.insecure_channel(world.address))  # type: ignore[no-untyped-call]
    metadata = (("authorization", f"Bearer {secret}"),)
    made = await stubs.CreateBatch(graph_pb2.CreateBatchRequest(callback=types_pb2.JobSpec(type="mail.done", payload=b"1")), metadata=metadata, timeout=20)
    await stubs.SealBatch(graph_pb2.SealBatchRequest(batch_id=made.batch_id), metadata=metadata, timeout=20)


async def test_a_standby_answers_as_the_owner_does(world: World, shared: Shared, directory: Path, stack: AsyncExitStack) -> None:
    root = await world.jobs(world.secrets["admin"])
    mine, other = [(await root.submit(name, 1)).job_id for name in ("mail.far", "billing.far")]
    name, secret = await world.token()
    grant = await world.root.grant(f"token/{name}", ["view", "submit"], types="mail.*")
    standby = await start_broker(directory, "--auth", "required", database=shared.database, name="standby")
    stack.push_async_callback(standby.kill)
    client = await stack.enter_async_context(Client(standby.address, token=secret, timeout_s=20))
    assert (await client.get(mine, full=True)).data_withheld and all(name.startswith("mail.") for name in (await client.count()).types)
    with pytest.raises(NotFound):
        await client.get(other)
    await denied(client.submit("billing.far", 1), "TYPE_DENIED")
    await world.root.end_grant(grant.grant_id)

    async def refused() -> bool:
        try:
            await client.get(mine)
        except PermissionDenied:
            return True
        return False

    await until(refused, what="the standby knows that the grant has ended")


async def test_an_operation_touches_the_types_that_its_starter_may_change(world: World) -> None:
    root = await world.jobs(world.secrets["admin"])
    ids = {name: (await root.submit(name, 1, instance_id="bulk")).job_id for name in ("mail.b", "billing.b")}
    _, secret = await world.token(("view oversee operate abort", "mail.*"))
    admin = await world.client(secret)
    started = await admin.start_operation("abort", JobFilter(instance_id="bulk"), reason="test")
    ended = await admin.wait_operation(started.operation_id)
    assert (ended.done, (await root.get(ids["mail.b"])).state, (await root.get(ids["billing.b"])).state) == (1, "aborted", "waiting")


async def test_an_operation_is_shown_without_the_secrets_that_its_filter_and_reasons_name(world: World) -> None:
    boss, viewer = await world.client(world.secrets["admin"]), await world.client(world.secrets["viewer"])
    where = JobFilter(instance_id="nobody", labels={"api_token": "hunter2", "who": "ada"})
    number = (await boss.start_operation("hold", where, rate=0.1, reason="as password=hunter2 of ada says")).operation_id
    await boss.wait_operation(number)
    for reader, said in ((boss, "hunter2"), (viewer, MASK)):
        for shown in (await reader.get_operation(number), next(one for one in (await reader.list_operations())[0] if one.operation_id == number)):
            assert shown.where.labels == {"api_token": said, "who": "ada"} and shown.reason == f"as password={said} of ada says"


async def test_an_export_of_all_domains_ends_with_the_right_to_see_them(world: World, shared: Shared) -> None:
    con = await asyncpg.connect(shared.database)
    rows = "select 'other', 'a', 'b.c', 'd/e', repeat('x', 1000), 'r' from generate_series(1, 30000)"  # more than gRPC has under way at a time
    await con.execute(f"insert into headrace.audit (domain, actor, action, target, reason, request_id) {rows}")
    await con.close()
    name, secret = await world.token(("view_audit", "*"))
    grant = await world.root.grant(f"token/{name}", ["view_audit"], domains="*")
    exported = (await world.client(secret)).export_audit(all_domains=True)
    await anext(exported)
    await world.root.end_grant(grant.grant_id)

    async def all_of_it() -> list[Any]:
        return [row async for row in exported]

    await denied(all_of_it(), "DOMAIN_DENIED")
    assert not [row async for row in (await world.client(secret)).export_audit() if row.domain == "other"], "that of its own domain it may have"


async def test_an_agent_serves_its_types_until_the_grant_ends(world: World, stack: AsyncExitStack) -> None:
    name, secret = await world.token()
    grant = await world.root.grant(f"token/{name}", ["serve"], types="mail.*")
    stub: Any = AgentsStub(await stack.enter_async_context(grpc.aio.insecure_channel(world.address)))  # type: ignore[no-untyped-call]

    async def connect(number: str, types: list[str]) -> Any:
        call = stub.Connect(metadata=(("authorization", f"Bearer {secret}"),))
        served = [agents_pb2.ServedType(type=one) for one in types]
        await call.write(agents_pb2.ConnectRequest(number=1, hello=agents_pb2.Hello(agent_name="a", incarnation_id=number * 16, slots=1, types=served)))
        return call

    refused = await connect("1", ["mail.x", "billing.x"])
    assert await refused.code() is grpc.StatusCode.PERMISSION_DENIED
    said = dict(await refused.trailing_metadata() or ())
    assert (said["headrace-reason"], said["headrace-field"]) == ("TYPE_DENIED", "hello.types[1].type")
    stream = await connect("2", ["mail.x"])
    assert (await stream.read()).HasField("welcome")
    await world.root.end_grant(grant.grant_id)
    async with asyncio.timeout(10):
        assert await stream.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_delegate_gives_what_it_has_in_its_domain_and_never_more(world: World) -> None:
    name, secret = await world.token(("manage_access view submit", "mail.*"), ("manage_access view", "*"))
    friend, _ = await world.token()
    delegate = await world.client(secret)
    made = await delegate.grant(f"token/{friend}", ["view", "submit"], types="mail.in.*", reason="helps out")
    assert (made.who, made.domains, made.types, made.granted_by) == (f"token/{friend}", "default", "mail.in.*", name)
    assert made in (await delegate.list_grants(f"token/{friend}"))[0]
    await world.root.put_user("chief", "operator")
    attempts: list[Callable[[], Awaitable[Any]]] = [
        lambda: delegate.grant(f"token/{name}", ["abort"]),  # raises itself
        lambda: delegate.grant(f"token/{friend}", ["submit"], types="*"),  # wider types
        lambda: delegate.grant(f"token/{friend}", ["submit"], types="m*"),
        lambda: delegate.grant(f"token/{friend}", ["view"], domains="*"),  # other domains
        lambda: delegate.grant(f"token/{friend}", ["view"], domains="other"),
        lambda: delegate.create_token("boss", "admin"),
        lambda: delegate.put_user("boss", "operator"),
        lambda: delegate.revoke_token("admin@default"),
        lambda: delegate.rotate_token("admin@default"),
        lambda: delegate.rotate_token("operator@default"),
        lambda: delegate.disable_user("chief"),
        lambda: delegate.invite_user("chief"),
        lambda: delegate.set_user_password("chief", PASSWORD),
        lambda: delegate.put_user("chief", "guest"),
    ]
    for attempt in attempts:
        await denied(attempt(), "RIGHT_DENIED")
    admins = await world.root.grant("token/viewer@default", [str(act) for act in Act])
    await denied(delegate.end_grant(admins.grant_id), "RIGHT_DENIED")
    await denied(delegate.list_tokens(all_domains=True), "DOMAIN_DENIED")
    elsewhere = await world.client(secret, "other")
    await denied(elsewhere.list_grants(), "DOMAIN_DENIED")
    assert (await delegate.end_grant(made.grant_id)).ended_by == name
    with pytest.raises(NotFound):
        await delegate.end_grant(made.grant_id)
    await world.root.end_grant(admins.grant_id)
    rows = [row for row in (await world.root.list_audit(target=f"token/{friend}"))[0] if row.action.startswith("access.")]
    assert [(row.action, row.actor) for row in rows] == [("access.revoke", name), ("access.grant", name)]


async def test_check_says_why(world: World) -> None:
    name, secret = await world.token(("view", "mail.*"))
    mine = await world.client(secret)
    allowed, refused = await mine.check_access("Jobs/GetJob", type="mail.x"), await mine.check_access("view", type="billing.x")
    assert (allowed.allowed, allowed.action, refused.allowed) == (True, "view", False)
    assert any("mail.*" in text and "billing.x" in text for _, text in refused.reasons)
    assert (await world.root.check_access("view", who=f"token/{name}", type="mail.x")).allowed
    scaling = await mine.check_access("ExternalScaler/GetMetrics", type="mail.x")
    assert (scaling.allowed, scaling.action) == (False, "oversee"), "calls of other packages are known too"
    with pytest.raises(HeadraceError):
        await mine.check_access("view", who="token/admin@default")


async def test_who_gives_access_in_one_domain_is_not_told_of_grants_in_others(world: World) -> None:
    _, secret = await world.token(("manage_access view", "*"))
    delegate, robot = await world.client(secret), "certificate/headrace://other/agent/robot"
    await world.root.grant(robot, ["submit"], domains="north", types="hidden.*")
    seen = await world.root.grant(robot, ["view"], types="mail.*")
    here, whole = await delegate.check_access("submit", who=robot), await world.root.check_access("submit", who=robot)
    assert not here.allowed and "hidden" not in str(here.reasons) and "north" not in str(here.reasons) and "does not have submit" in str(here.reasons)
    assert not whole.allowed and "north" in str(whole.reasons)
    await world.root.end_grant(seen.grant_id)
    assert [text for _, text in (await delegate.check_access("submit", who=robot)).reasons] == [
        "the certificate 'headrace://other/agent/robot': nothing counts in the domain 'default'"
    ]
