"""Watches while more happens than anybody reads, and of jobs of which memory knows little."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from headrace_broker.actions.reach import MAY
from headrace_broker.model.job import State
from headrace_broker.rpc.jobs import JobsService
from headrace_broker.shards.hub import JobChange
from headrace_broker.store.batch import FullBody
from headrace_broker.store.reads import Reads
from headrace_broker.store.search import Finder
from headrace_proto.v1 import jobs_pb2

from tests.fire.services import Call, Ownership
from tests.property.machine import Job, Machine


class Some:
    """A call that may see one type."""

    def __init__(self, name: str) -> None:
        self.name = name

    def types(self, _act: object) -> Any:
        """As `May.types`."""
        return SimpleNamespace(allow=lambda name: name == self.name, everything=False)


@asynccontextmanager
async def watching(machine: Machine, **request: Any) -> AsyncIterator[Any]:
    """A watch that listens, and whose reader is at work; gives what it is told."""
    ownership: Any = Ownership(machine)
    service = JobsService(ownership, Reads(machine.pool), Finder(machine.pool), 1 << 20)
    told: asyncio.Queue[jobs_pb2.WatchJobsResponse] = asyncio.Queue()

    async def read() -> None:
        async for answer in service.WatchJobs(jobs_pb2.WatchJobsRequest(**request), Call()):
            told.put_nowait(answer)

    reader = asyncio.ensure_future(read())
    try:
        while not machine.owner.hub.active:
            await asyncio.sleep(0)
        yield told
    finally:
        reader.cancel()
        await asyncio.wait([reader])


def crowd(type_id: int) -> list[JobChange]:
    """More changes of jobs of a type than a watch has room for."""
    return [JobChange(number, type_id, State.WAITING, 0, "submitted") for number in range(1200)]


async def first(machine: Machine, told: "asyncio.Queue[jobs_pb2.WatchJobsResponse]") -> jobs_pb2.WatchJobsResponse:
    """What a watch tells first, once job 7777 of the machine's type has completed."""
    machine.owner.hub.publish([JobChange(7777, machine.type.type_id, State.COMPLETED, 2, "completed")])
    async with asyncio.timeout(20):
        return await told.get()


async def test_a_watch_of_one_type_hears_all_of_it_whatever_others_do(machine: Machine) -> None:
    other = await machine.types.ensure("default", "other")
    elsewhere = await machine.types.ensure("elsewhere", "work")
    for type_id in (other.type_id, elsewhere.type_id):
        async with watching(machine, types=["work"]) as told:
            machine.owner.hub.publish(crowd(type_id))
            answer = await first(machine, told)
            assert (answer.job_id, answer.kind, answer.gap) == (7777, "completed", False)


async def test_a_watch_of_what_one_may_see_is_not_filled_by_what_one_may_not(machine: Machine) -> None:
    other = await machine.types.ensure("default", "other")
    may: Any = Some("work")
    token = MAY.set(may)
    async with watching(machine) as told:
        MAY.reset(token)
        machine.owner.hub.publish(crowd(other.type_id))
        answer = await first(machine, told)
        assert (answer.job_id, answer.gap) == (7777, False)


async def test_a_gap_is_told_though_the_change_that_says_so_is_not_for_the_reader_any_more(machine: Machine) -> None:
    other = await machine.types.ensure("default", "other")
    may: Any = Some("other")
    token = MAY.set(may)
    async with watching(machine) as told:
        MAY.reset(token)
        machine.owner.hub.publish(crowd(other.type_id))
        may.name = "work"  # before anything is read
        await asyncio.sleep(0)
        answer = await first(machine, told)
        assert (answer.job_id, answer.gap) == (7777, True)


async def test_a_watch_that_could_not_keep_up_comes_to_the_newest_change_and_says_so(machine: Machine) -> None:
    async with watching(machine) as told:
        machine.owner.hub.publish([JobChange(number, machine.type.type_id, State.COMPLETED, 2, "completed") for number in range(1200)])
        async with asyncio.timeout(20):
            answers = [await told.get() for _ in range(1000)]
        assert (answers[-1].job_id, answers[-1].gap) == (1199, True) and [answer.job_id for answer in answers[:-1]] == list(range(999))


async def test_a_watch_of_an_instance_hears_of_the_grant_of_a_job_whose_body_memory_does_not_have(machine: Machine) -> None:
    done = machine.owner.submit([(machine.type, 0, 0.0, FullBody(b"{}", instance_id="case"))], 2)
    await machine.flush()
    [job_id] = done.result()
    machine.jobs[job_id] = Job()
    await machine.crash()
    with machine.owner.hub.subscribe(instance_id="case") as changes, machine.owner.hub.subscribe() as everything:
        await machine.grant(1)
        machine.owner.hub.close()
        assert [(change.job_id, change.kind, change.state, change.seq) async for change in changes] == [(job_id, "granted", State.PROCESSING, 1)]
        assert [change.kind async for change in everything] == ["granted"], "who was told is not told again"
