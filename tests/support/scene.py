"""Work that goes on while something breaks, and the judgement of it: submitters in this process, agents as processes, files of the outside that tell what happened."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
from headrace_client import Client

from tests.support import submitter
from tests.support.agreement import agree
from tests.support.processes import start_agent, start_broker, until
from tests.support.record import Reader
from tests.support.verdict import Verdict, count, drained, judge

AGREE_UP_TO = 1500  # jobs; beyond that what is counted, searched and judged must suffice


class Scene:
    """Submitters of all kinds; `told` counts what they were told: got, none (nothing was stored), unknown. `end` stops and judges them."""

    def __init__(self, brokers: str, directory: Path) -> None:
        self.brokers = brokers
        self.directory = directory
        self.told: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()  # why nothing was stored
        self._record = Reader(directory / "submitted.txt")
        self._load: asyncio.Task[None] | None = None

    async def start(self, run: str = "run") -> None:
        """Submits from now on."""
        self._load = asyncio.ensure_future(submitter.main(self.brokers, str(self.directory / "submitted.txt"), run))
        await self.acknowledged(20)

    def look(self) -> Counter[str]:
        """What was told up to now."""
        for what, _, *rest in self._record.read():
            self.told[what] += 1
            if what == "none":
                self.reasons[rest[0].replace("_", " ")] += 1
        return self.told

    async def acknowledged(self, more: int, timeout_s: float = 60) -> None:
        """Waits until so many more jobs were acknowledged."""
        wanted = self.look()["got"] + more

        async def check() -> bool:
            self._alive()
            return self.look()["got"] >= wanted

        await until(check, timeout_s=timeout_s, what=f"the acknowledgement of {more} more jobs")

    async def refused(self, more: int = 1, timeout_s: float = 60) -> None:
        """Waits until so many more submits were told that nothing was stored or that it is unknown."""
        wanted = self.look()["none"] + self.told["unknown"] + more

        async def check() -> bool:
            self._alive()
            return self.look()["none"] + self.told["unknown"] >= wanted

        await until(check, timeout_s=timeout_s, what=f"{more} refused submits")

    async def stop(self) -> None:
        """Submits no more."""
        if self._load is not None:
            self._load.cancel()
            with suppress(asyncio.CancelledError):
                await self._load
            self._load = None

    async def end(self, database: str, what: str, killed_at: Mapping[int, float] | None = None, *, others: bool = False) -> Verdict:
        """Stops, waits until every job has settled, and judges those of the submitters. `others`: the test has submitted jobs of its own, and looks after them."""
        await self.stop()
        counts = await drained(self.brokers, timeout_s=90)
        con = await asyncpg.connect(database)
        try:
            verdict = await judge(con, self.directory / "submitted.txt", self.directory / "ran.txt", killed_at or {})
        finally:
            await con.close()
        self.look()
        print(f"\n{what}: {self.told['none']} told that nothing was stored, {self.told['unknown']} that it is unknown; {verdict}")
        assert not verdict.faults(), verdict.faults()
        assert others or counts == Counter(completed=verdict.jobs)
        assert await count(self.brokers, searched=True) == counts
        if verdict.jobs <= AGREE_UP_TO:
            async with Client(self.brokers, timeout_s=20) as client:
                await agree(client, database)
        return verdict

    def _alive(self) -> None:
        if self._load is not None and self._load.done():
            self._load.result()


@asynccontextmanager
async def at_work(directory: Path, database: str, *options: str) -> AsyncIterator[Scene]:
    """Submitters with a broker and an agent of their own, as processes; all end with it."""
    async with AsyncExitStack() as stack:
        broker = await start_broker(directory, "--log-level", "warning", *options, database=database)
        stack.push_async_callback(broker.kill)
        agent = await start_agent(directory, broker.address, "--slots", "40", "--log-level", "error")
        stack.push_async_callback(agent.kill)
        scene = Scene(broker.address, directory)
        stack.push_async_callback(scene.stop)
        await scene.start()
        yield scene
