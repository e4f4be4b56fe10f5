"""Three brokers that own a queue's shards together, with agents and submitters of eight domains at all of them, and what is held against it: each job ran once."""

import asyncio
import contextlib
import functools
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
from headrace_agent import Agent, JobContext
from headrace_client import AdminClient, Client, HeadraceError, State

from tests.support.ledger import check_ledger
from tests.support.ports import free_ports
from tests.support.processes import BrokerProcess, start_broker, until
from tests.support.shards import set_shards

SHARDS = 6
DOMAINS = [f"domain{number}" for number in range(8)]
EACH_S = 0.1
"""Between two jobs of a domain."""


class Cluster:
    """See the module. `ran`: how often each (domain, job) was started; `ids`: those that were acknowledged."""

    def __init__(self, directory: Path, database: str, stack: AsyncExitStack) -> None:
        self.directory = directory
        self.database = database
        self._stack = stack
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        self.all = ",".join(self.addresses)
        self.brokers: list[BrokerProcess | None] = [None] * 3
        self.ran = Counter[tuple[str, int]]()
        self.ids: dict[str, list[int]] = {domain: [] for domain in DOMAINS}
        self._stopping = False

    async def start(self, *places: int) -> None:
        """Starts brokers at the same time."""
        async with asyncio.TaskGroup() as starting:
            begun = {
                place: starting.create_task(start_broker(self.directory, database=self.database, listen=self.addresses[place], name=f"broker{place}")) for place in places
            }
        for place, task in begun.items():
            self.brokers[place] = task.result()
            self._stack.push_async_callback(task.result().kill)

    def at(self, place: int) -> BrokerProcess:
        """A broker that runs."""
        found = self.brokers[place]
        assert found is not None
        return found

    async def loads(self) -> dict[str, int]:
        """How many shards each broker owns, by its address; as any broker tells that runs."""
        for address in self.addresses:
            with contextlib.suppress(HeadraceError):
                async with AdminClient(address, timeout_s=2) as admin:
                    return {broker.endpoint: len(broker.shards) for broker in await admin.list_brokers()}
        return {}

    async def evenly(self, *places: int) -> None:
        """Returns once these brokers, and no others, own all shards, each the same number or one more."""
        wanted = {self.addresses[place] for place in places}

        async def even() -> bool:
            owned = {address: load for address, load in (await self.loads()).items() if load or address in wanted}
            return owned.keys() == wanted and sum(owned.values()) == SHARDS and max(owned.values()) - min(owned.values()) <= 1

        await until(even, what=f"shards spread over the brokers {places}", timeout_s=40)

    @asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Agents and submitters of all domains; at the end every job that was begun is acknowledged, and has completed."""
        async with AsyncExitStack() as agents:
            for domain in DOMAINS:
                await self._agent(agents, domain)
            async with asyncio.TaskGroup() as tasks:
                for domain in DOMAINS:
                    tasks.create_task(self._submit(domain))
                try:
                    yield
                finally:
                    self._stopping = True
            for domain in DOMAINS:
                await until(functools.partial(self._done, domain), what=f"the end of the jobs of {domain}", timeout_s=60)

    async def goes_on(self, timeout_s: float = 40) -> None:
        """Returns once each domain has had jobs acknowledged since, and started."""
        before, ran = {domain: len(ids) for domain, ids in self.ids.items()}, Counter(domain for domain, _ in self.ran)

        async def more() -> bool:
            now = Counter(domain for domain, _ in self.ran)
            return all(len(self.ids[domain]) > before[domain] + 2 and now[domain] > ran[domain] + 1 for domain in DOMAINS)

        await until(more, what="work in every domain", timeout_s=timeout_s)

    async def judge(self) -> int:
        """Nothing is lost, and nothing ran twice; counts are those of the ledger. Returns the number of jobs."""
        for domain, ids in self.ids.items():
            assert len(set(ids)) == len(ids)
            assert {job_id for of, job_id in self.ran if of == domain} == set(ids), domain
        again = {job: times for job, times in self.ran.items() if times != 1}
        assert not again, "each ran once"
        every = [job_id for ids in self.ids.values() for job_id in ids]
        assert len(set(every)) == len(every), "owners beside each other give no id twice"
        con = await asyncpg.connect(self.database)
        try:
            heads = await check_ledger(con)
        finally:
            await con.close()
        assert heads.keys() == set(every)
        return len(every)

    async def _done(self, domain: str) -> bool:
        with contextlib.suppress(HeadraceError):
            async with Client(self.all, domain=domain, timeout_s=10) as client:
                return {state: count for state, count in ((await client.count()).totals or {}).items() if count} == {State.COMPLETED: len(self.ids[domain])}
        return False

    async def _agent(self, stack: AsyncExitStack, domain: str) -> None:
        agent, drain = Agent(f"agent of {domain}", slots=4), asyncio.Event()

        @agent.job("work")
        async def work(ctx: JobContext, _data: int) -> None:
            self.ran[domain, ctx.job_id] += 1

        running = asyncio.create_task(agent.run(self.all, domain=domain, drain=drain))

        async def end() -> None:
            drain.set()
            await running

        stack.push_async_callback(end)

    async def _submit(self, domain: str) -> None:
        """Jobs with keys, one after another; what was refused or is unknown is submitted again under its key."""
        async with Client(self.all, domain=domain, timeout_s=20) as client:
            for number in itertools.count():
                if self._stopping:
                    return
                while True:
                    with contextlib.suppress(HeadraceError):
                        self.ids[domain].append((await client.submit("work", number, key=f"{domain}-{number}")).job_id)
                        break
                    await asyncio.sleep(0.02)
                await asyncio.sleep(EACH_S)


async def three(directory: Path, database: str, stack: AsyncExitStack) -> Cluster:
    """Three brokers on a new database, its shards spread over them."""
    await set_shards(database, SHARDS)
    cluster = Cluster(directory, database, stack)
    await cluster.start(0, 1, 2)
    await cluster.evenly(0, 1, 2)
    return cluster
