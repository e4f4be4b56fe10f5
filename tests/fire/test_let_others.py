"""Whoever brings much at once lets others have the event loop meanwhile: jobs that name many others, and schemas that are compiled."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from headrace_broker.rpc import convert, submit
from headrace_broker.rpc.admission import Patience
from headrace_broker.rpc.agents import AgentsService
from headrace_broker.rpc.submit import SubmitCalls
from headrace_broker.shards.schemas import Schema
from headrace_proto.v1 import agents_pb2, types_pb2

from tests.fire.services import Ownership
from tests.fire.steps import granted
from tests.property.machine import TESTER, Machine


class Turns:
    """Counts the turns of the event loop, while it is entered."""

    def __init__(self) -> None:
        self.number = 0

    def __enter__(self) -> "Turns":
        self._next = asyncio.get_running_loop().call_soon(self._pass)
        return self

    def __exit__(self, *_: object) -> None:
        self._next.cancel()

    def _pass(self) -> None:
        self.number += 1
        self._next = asyncio.get_running_loop().call_soon(self._pass)


async def test_jobs_that_name_many_others_are_looked_at_in_turns(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message has room for almost two million names."""
    monkeypatch.setattr(submit, "LET_OTHERS_S", 0.0)
    parents = await granted(machine, 3)
    turns, looked = Turns(), dict[str, list[int]]()

    def note(name: str) -> None:
        read, at = getattr(convert, name), looked.setdefault(name, [])

        def noted(spec: types_pb2.JobSpec) -> Any:
            at.append(turns.number)
            return read(spec)

        monkeypatch.setattr(convert, name, noted)

    for name in ("tied", "body_hashes"):
        note(name)
    calls: Any = SubmitCalls()
    calls._ownership, calls._payload_limit = SimpleNamespace(heads=machine.heads), 1000
    specs = [types_pb2.JobSpec(type="work", payload=b"{}", depends_on=parents)] * 5
    batch = submit._Batch(len(specs), Patience())
    with turns:
        await calls._queue_specs(machine.owner, machine.domain, specs, batch)
    assert {name: len(set(at)) for name, at in looked.items()} == {"tied": len(specs), "body_hashes": len(specs)}
    await machine.store_keyed()
    assert len({(await done)[0] for _, done in batch.keyed}) == len(specs) and not batch.refused


async def test_schemas_that_an_agent_declares_are_compiled_in_turns(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hello has room for hundreds of the largest."""
    turns, compiled = Turns(), list[int]()

    class Noted(Schema):
        def __init__(self, text: str, field: str = "payload_schema") -> None:
            compiled.append(turns.number)
            super().__init__(text, field)

    monkeypatch.setattr(convert, "Schema", Noted)
    declared = types_pb2.JobTypeSettings(payload_schema='{"type": "object"}')
    types = [agents_pb2.ServedType(type=f"t{number}", declared=declared) for number in range(5)]
    tasks: Any = None  # nothing is done beside
    service: Any = AgentsService(Ownership(machine), machine.settings, tasks, tasks)  # type: ignore[arg-type]  # what is asked of one
    with turns:
        served = await service._served(machine.owner, TESTER, agents_pb2.Hello(types=types))
    assert len(set(compiled)) == len(types)
    assert all(each.entry.schema is not None for each in served)
