"""What the listeners offer beside the calls: health, reflection, metrics; and what callers are told when the database is away."""

import asyncio
import json
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_client import Client, JobSpec, NotFound, State, Unavailable
from headrace_proto.v1 import jobs_pb2, types_pb2

from tests.support.processes import ROOT, BrokerProcess, Process, run_command, start_agent, start_broker, until
from tests.support.wire import SERVICES, Wire


async def fetch(broker: BrokerProcess, path: str) -> tuple[int, str]:
    """(status, body) of a page of the HTTP listener."""

    def get() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{broker.ready['http']}{path}", timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    return await asyncio.to_thread(get)


async def health(channel: grpc.aio.Channel, service: str = "") -> str:
    """What the standard health service says."""
    answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def test_health_reflection_metrics_and_readiness(broker: BrokerProcess, agent: Process, client: Client) -> None:
    await client.wait((await client.submit("echo", 1)).job_id)
    async with grpc.aio.insecure_channel(broker.address) as channel:
        for service in ("", *(service.full_name for service in SERVICES)):
            assert await health(channel, service) == "SERVING"

        async def ask() -> AsyncIterator[Any]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")
            yield reflection_pb2.ServerReflectionRequest(file_containing_symbol="headrace.v1.Jobs")

        answers = [answer async for answer in reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(ask())]
        names = {service.name for service in answers[0].list_services_response.service}
        assert {service.full_name for service in SERVICES} <= names
        file = FileDescriptorProto.FromString(answers[1].file_descriptor_response.file_descriptor_proto[0])
        assert "SubmitStream" in {method.name for method in file.service[0].method}
    status, text = await fetch(broker, "/metrics")
    assert status == 200
    values = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line and not line.startswith("#")}
    assert (values["headrace_active"], values["headrace_agents_connected"], values["headrace_slots"]) == (1, 1, 8)
    assert values["headrace_sessions"] == 1 and values["headrace_tasks"] > 5 and values["headrace_pool_connections"] > 0
    assert values['headrace_events_total{kind="completed"}'] == 1 == values['headrace_flush_rows_total{fact="job"}']
    assert await fetch(broker, "/healthz") == (200, '{"status":"ok"}')
    assert json.loads((await fetch(broker, "/readyz"))[1]) == {"ready": True, "role": "active"}
    assert (await fetch(broker, "/nothing"))[0] == 404


async def test_health_turns_before_a_broker_drains(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=database)
    stack.push_async_callback(broker.kill)
    async with grpc.aio.insecure_channel(broker.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stopping = asyncio.ensure_future(broker.stop())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert await stopping == 0


@pytest.fixture
def own_postgres(directory: Path) -> "EmbeddedPostgres":
    """A server that a test may stop."""
    return EmbeddedPostgres(directory / "own", durable=False, shared_buffers="32MB")


async def test_a_broker_whose_database_is_gone_says_so_and_recovers_by_itself(own_postgres: EmbeddedPostgres, directory: Path, stack: AsyncExitStack) -> None:
    own_postgres.start()
    stack.callback(own_postgres.stop)
    broker = await start_broker(directory, "--lease-s", "30", database=own_postgres.dsn)  # an agent stops what it runs when its lease ends
    stack.push_async_callback(broker.kill)
    agent = await start_agent(directory, broker.address)
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(broker.address, timeout_s=20))
    done = (await client.submit("echo", 1)).job_id
    await client.wait(done)
    gated = (await client.submit("gate", "open")).job_id
    ran = directory / "ran.txt"
    await until(lambda: _contains(ran, f"start {gated} "))
    wire = Wire(await stack.enter_async_context(grpc.aio.insecure_channel(broker.address)))
    own_postgres.stop()
    health_channel = await stack.enter_async_context(grpc.aio.insecure_channel(broker.address))
    await until(lambda: _says(health_channel, "NOT_SERVING"))
    assert (await fetch(broker, "/readyz"))[0] == 503
    for method, request in (
        ("Jobs.Submit", jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="echo", payload=b"2"))),
        ("Jobs.GetJob", jobs_pb2.GetJobRequest(job_id=done)),
        ("Jobs.ListJobs", jobs_pb2.ListJobsRequest()),
        ("Jobs.ListEvents", jobs_pb2.ListEventsRequest(job_id=done)),
    ):
        refusal = await wire.refused(method, request)
        assert (refusal.code, refusal.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE"), (method, refusal)
    with pytest.raises(Unavailable, match="database"):
        await client.submit("echo", 2, timeout_s=3)
    (directory / "open").touch()  # the job ends while nobody can store its outcome
    own_postgres.start()
    await until(lambda: _says(health_channel, "SERVING"))
    assert (await client.wait(gated, timeout_s=20)).state is State.COMPLETED
    assert (await client.wait((await client.submit("echo", 3)).job_id, timeout_s=20)).json_result() == 3
    assert (await client.count()).totals == {State.COMPLETED: 3}
    assert len(ran.read_text().split(f"start {gated} ")) == 2


async def _contains(path: Path, text: str) -> bool:
    return path.exists() and text in path.read_text()


async def _says(channel: grpc.aio.Channel, wanted: str) -> bool:
    return await health(channel) == wanted


async def test_a_unix_socket_serves(database: str, directory: Path, stack: AsyncExitStack) -> None:
    broker = await start_broker(directory, database=database, listen=f"unix:{directory}/b.sock")
    stack.push_async_callback(broker.kill)
    assert broker.address == f"unix:{directory}/b.sock" and stat.S_ISSOCK((directory / "b.sock").stat().st_mode)
    async with Client(broker.address) as client:
        assert (await client.submit("t")).job_id


async def test_domains_do_not_see_each_other(broker: BrokerProcess, client: Client, stack: AsyncExitStack) -> None:
    other = await stack.enter_async_context(Client(broker.address, domain="other"))
    job = (await client.submit("t", 1, key="k")).job_id
    theirs = (await other.submit("t", 2, key="k")).job_id
    assert job != theirs
    with pytest.raises(NotFound):
        await other.get(job)
    for results in (await other.abort([job]), await other.requeue([job]), await other.purge([job])):
        assert [result.reason for result in results] == ["JOB_NOT_FOUND"]
    assert [found.job_id for found in (await other.list()).jobs] == [theirs]
    assert (await client.count()).totals == {State.WAITING: 1} == (await other.count()).totals
    assert [item for item in await other.submit_many([JobSpec("t", 3)]) if isinstance(item, Exception)] == []


async def test_a_second_broker_stands_by_and_passes_calls_on(database: str, directory: Path, broker: BrokerProcess, stack: AsyncExitStack) -> None:
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    assert (broker.ready["role"], second.ready["role"]) == ("active", "standby")
    wire = Wire(await stack.enter_async_context(grpc.aio.insecure_channel(second.address)))
    job_id = (await wire.call("Jobs.Submit", jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="t")))).job_id
    async with Client(broker.address) as client:
        assert (await client.get(job_id)).type == "t"
    assert json.loads((await fetch(second, "/readyz"))[1]) == {"ready": False, "role": "standby"}


async def test_ports_that_are_taken_are_named_and_the_default_http_port_gives_way(database: str, directory: Path, broker: BrokerProcess, stack: AsyncExitStack) -> None:
    for option in ("--listen", "--http-listen"):
        taken = broker.address if option == "--listen" else str(broker.ready["http"])
        command = ["headrace-broker", "run", "--database-url", database, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", option, taken]
        refused = await asyncio.to_thread(run_command, *command)
        assert (refused.returncode, refused.stdout) == (1, "") and taken in refused.stderr and "Traceback" not in refused.stderr
    first = await start_default_http(directory, database, "first", stack)
    second = await start_default_http(directory, database, "second", stack)
    assert first.ready["http"] != second.ready["http"]
    assert (await fetch(second, "/healthz"))[0] == 200


async def start_default_http(directory: Path, database: str, name: str, stack: AsyncExitStack) -> BrokerProcess:
    """A broker that is told nothing about HTTP."""
    log = directory / f"{name}.log"
    with open(log, "wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_broker", "run", "--database-url", database, "--listen", "127.0.0.1:0", stdout=subprocess.PIPE, stderr=output, cwd=ROOT
        )
    broker = BrokerProcess(process, log)
    stack.push_async_callback(broker.kill)
    assert process.stdout is not None
    async with asyncio.timeout(30):
        broker.ready = json.loads(await process.stdout.readline())
    return broker
