"""JSON Schema of a job type: set by a person or declared by code, held against every way of submitting, refused with the place of the fault."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from headrace_client import AdminClient, AesGcm, Client, HeadraceError, InvalidRequest, JobSpec, State, Submitted, Zstd
from headrace_proto.v1 import admin_pb2, agents_pb2, jobs_pb2, types_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.rpc.test_agent_stream import channel, connect
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.wire import Wire, stream_refusal

__all__ = ["channel"]  # a fixture
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"to": {"type": "string", "minLength": 3}, "lines": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}}},
    "required": ["to"],
    "additionalProperties": False,
}


async def test_a_payload_is_refused_with_the_place_of_its_fault(client: Client, admin: AdminClient, channel: grpc.aio.Channel) -> None:
    await client.submit("mail", {"anything": 1})  # before
    await admin.set_type("mail", payload_schema=SCHEMA)
    await client.submit("mail", {"to": "ada"})
    with pytest.raises(InvalidRequest) as refused:
        await client.submit("mail", {"to": "ada", "lines": [{"n": 1}, {"n": "4111-1111"}]})
    error = refused.value
    assert (error.reason, error.field) == ("PAYLOAD_SCHEMA", "payload/lines/1/n")
    assert "4111" not in error.message and "integer" in error.message
    refusal = await Wire(channel).refused("Jobs.Submit", jobs_pb2.SubmitRequest(job=types_pb2.JobSpec(type="mail", payload=b'{"to": 5}', instance_id="i")))
    assert (refusal.code, refusal.reason, refusal.field) == ("INVALID_ARGUMENT", "PAYLOAD_SCHEMA", "payload/to")
    with pytest.raises(InvalidRequest, match="not JSON"):
        await client.submit("mail", payload=b"\x89PNG", key="k")
    await client.submit("other", {"to": 5})
    assert (await client.count()).types == {"mail": {State.WAITING: 2}, "other": {State.WAITING: 1}}


async def test_each_job_of_a_batch_is_held_against_the_schema_by_itself(client: Client, admin: AdminClient, channel: grpc.aio.Channel) -> None:
    await admin.set_type("mail", payload_schema=json.dumps(SCHEMA))
    good, bad, keyed = JobSpec("mail", {"to": "ada"}), JobSpec("mail", {"to": ""}), JobSpec("mail", {"to": ""}, key="k")
    results = await client.submit_many([good, bad, JobSpec("other", 5), keyed, JobSpec("mail", {"to": "bob"}, instance_id="i"), JobSpec("mail", [], instance_id="i")])
    assert [isinstance(result, Submitted) for result in results] == [True, False, True, False, True, False]
    assert [result.reason for result in results if isinstance(result, HeadraceError)] == ["PAYLOAD_SCHEMA"] * 3
    plain = types_pb2.PlainSpecs(type="mail", payloads=[b'{"to": "ada"}', b"x" * (1024 * 1024 + 1), b'{"to": 1}', b'{"to": "bob"}', b"{"])
    request = jobs_pb2.SubmitManyRequest(jobs=[types_pb2.JobSpec(type="mail", payload=b"{}")], plain=[types_pb2.PlainSpecs(type="free", payloads=[b"1"]), plain])
    answer = (await Wire(channel).call("Jobs.SubmitMany", request)).results
    assert [bool(job_id) for job_id in answer.job_ids] == [False, True, True, False, False, True, False]
    assert {failure.index: (failure.reason, failure.field) for failure in answer.failures} == {
        0: ("PAYLOAD_SCHEMA", "jobs[0].payload"), 3: ("TOO_LARGE", "jobs[3].payload"), 4: ("PAYLOAD_SCHEMA", "jobs[4].payload/to"),
        6: ("PAYLOAD_SCHEMA", "jobs[6].payload"),
    }  # fmt: skip
    for place, payload in ((2, b'{"to": "ada"}'), (5, b'{"to": "bob"}')):
        assert (await client.get(answer.job_ids[place], full=True)).payload == payload


async def test_a_bad_schema_is_refused_when_it_is_set_and_the_old_one_stays(client: Client, admin: AdminClient) -> None:
    await admin.set_type("mail", payload_schema=SCHEMA)
    for wrong, said in (({"type": "nope"}, "/type"), ({"$ref": "http://127.0.0.1:9/s"}, "nothing is fetched"), ("{", "not JSON"), ("", "not JSON")):
        with pytest.raises(InvalidRequest, match=said) as refused:
            await admin.set_type("mail", payload_schema=wrong)
        assert refused.value.field == "settings.payload_schema"
    found = await admin.get_type("mail")
    assert found.effective["payload_schema"] == found.overrides["payload_schema"] == SCHEMA
    with pytest.raises(InvalidRequest):
        await client.submit("mail", 5)
    cleared = await admin.set_type("mail", clear=["payload_schema"])
    assert "payload_schema" not in cleared.effective
    await client.submit("mail", 5)


async def test_code_declares_a_schema_and_a_person_overrides_it(client: Client, admin: AdminClient, channel: grpc.aio.Channel, stack: AsyncExitStack) -> None:
    await connect(channel, stack, payload_schema='{"type": "string"}')
    with pytest.raises(InvalidRequest):
        await client.submit("t", 5)
    found = await admin.set_type("t", payload_schema={"type": "integer"})
    assert (found.declared["payload_schema"], found.effective["payload_schema"]) == ({"type": "string"}, {"type": "integer"})
    await client.submit("t", 5)
    bad = agents_pb2.ServedType(type="t", declared=types_pb2.JobTypeSettings(payload_schema='{"$ref": "file:///x"}'))
    hello = agents_pb2.Hello(agent_name="a", incarnation_id="i" * 20, slots=1, types=[bad])
    refusal = await stream_refusal(AgentsStub(channel).Connect(), agents_pb2.ConnectRequest(number=1, hello=hello))  # type: ignore[no-untyped-call]
    assert refusal.field == "hello.types[0].declared.payload_schema" and "nothing is fetched" in refusal.message


async def test_encoded_payloads_are_refused_unless_the_schema_allows_them(broker: BrokerProcess, client: Client, admin: AdminClient, stack: AsyncExitStack) -> None:
    sealing = await stack.enter_async_context(Client(broker.address, codecs=[Zstd(), AesGcm({"k": b"k" * 32})]))
    await admin.set_type("mail", payload_schema=SCHEMA)
    with pytest.raises(InvalidRequest, match="encoded") as refused:
        await sealing.submit("mail", {"to": "ada"})
    assert refused.value.reason == "PAYLOAD_SCHEMA"
    await admin.set_type("mail", payload_schema={**SCHEMA, "x-headrace-encoded": "allow"})
    submitted = await sealing.submit("mail", {"to": "ada"})
    assert (await sealing.get(submitted.job_id, full=True)).payload == b'{"to":"ada"}'
    with pytest.raises(InvalidRequest):
        await client.submit("mail", {"to": 1})


async def test_another_broker_learns_of_the_schema_and_a_new_owner_has_it(
    database: str, directory: Path, broker: BrokerProcess, client: Client, admin: AdminClient, stack: AsyncExitStack
) -> None:  # fmt: skip
    await admin.set_type("mail", payload_schema=SCHEMA)
    with pytest.raises(InvalidRequest):
        await client.submit("mail", {"to": 1})
    await broker.kill()
    second = await start_broker(directory, database=database, name="second")
    stack.push_async_callback(second.kill)
    after = await stack.enter_async_context(Client(second.address, timeout_s=20))
    with pytest.raises(InvalidRequest):
        await after.submit("mail", {"to": 1})
    await after.submit("mail", {"to": "ada"})


async def test_settings_of_other_kinds_do_not_take_texts(channel: grpc.aio.Channel, admin: AdminClient) -> None:
    request = admin_pb2.SetJobTypeRequest(name="t", settings=types_pb2.JobTypeSettings(payload_schema="[]"))
    refusal = await Wire(channel).refused("Admin.SetJobType", request)
    assert (refusal.field, refusal.reason) == ("settings.payload_schema", "INVALID_FIELD")

    async def stored() -> bool:
        return bool((await admin.get_type("t")).effective["priority"] == 3)

    await admin.set_type("t", priority=3)
    await until(stored)
