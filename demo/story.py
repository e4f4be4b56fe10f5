"""What happens in the demo, in order, and what is said about it."""

import asyncio
import statistics
import sysconfig
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headrace_client import AdminClient, Client, HeadraceError, Job, JobSpec, State, Submitted
from rich.console import Console
from rich.live import Live
from rich.table import Table

from demo.check import check_documents, check_mails, check_package
from demo.servers import MailServer, Server

STATES = [state for state in State if state is not State.UNKNOWN]  # which a newer broker would have
DOCUMENTS = 350
MAILS = 40
REFUSED_MAILS = 12


@dataclass
class Seen:
    """What the watch has seen: events by kind, and which jobs were granted in which order."""

    kinds: Counter[str] = field(default_factory=Counter)
    granted: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


def find_documents() -> list[str]:
    """Sources of this Python's standard library: the same ones every time, large and small."""
    root = Path(sysconfig.get_paths()["stdlib"])
    found = sorted(str(path) for path in root.rglob("*.py") if "site-packages" not in path.parts and "test" not in path.parts and 0 < path.stat().st_size < 200_000)
    step = max(1, len(found) // DOCUMENTS)
    return found[::step][:DOCUMENTS]


class Story:
    """Runs the workload against a broker; `problems` is what went wrong."""

    def __init__(self, client: Client, admin: AdminClient, agents: list[Server], mail: MailServer, directory: Path, console: Console) -> None:
        self._client = client
        self._admin = admin
        self._agents = agents
        self._mail = mail
        self._directory = directory
        self._console = console
        self._seen = Seen()
        self._killed: Server | None = None
        self.problems: list[str] = []

    async def run(self, mail_server: str) -> None:
        """From the first submit to the summary."""
        documents = find_documents()
        self._say(f"{len(documents)} documents found below {Path(documents[0]).parent}; the broker has no jobs yet")
        (self._directory / "previews").mkdir(exist_ok=True)
        started = time.monotonic()
        async with self._watching(), self._progress():
            scan = await self._client.submit("document.scan", {"paths": documents, "target": ""}, instance_id="nightly-scan", priority=100)
            ids = await self._submit(documents, mail_server)
            convert = await self._client.submit("document.convert", {"path": documents[0]}, instance_id="conversion")
            await asyncio.gather(self._abort_scan(scan.job_id), self._kill_agent(len(ids)), self._requeue_convert(convert.job_id))
            await self._settled(ids)
        seconds = time.monotonic() - started
        await self._verify(ids, scan.job_id, convert.job_id, documents)
        await self._summary(seconds)

    async def _submit(self, documents: list[str], mail_server: str) -> list[int]:
        specs = [JobSpec(f"document.{what}", {"path": path}, instance_id=path) for path in documents for what in ("index", "preview", "hash")]
        archive = str(self._directory / "documents.zip")
        specs.append(JobSpec("document.package", {"paths": documents, "target": archive}, key="package", instance_id="archive"))
        specs += [
            JobSpec("mail.send", {"server": mail_server, "to": f"reader{n}@example.org", "subject": f"Document {n}", "text": documents[n]}, key=f"mail-{n}", priority=10)
            for n in range(MAILS)
        ]
        results = await self._client.submit_many(specs)
        self.problems += [f"refused: {result}" for result in results if isinstance(result, HeadraceError)]
        self._say(f"{len(results)} jobs submitted: index, preview and hash for each document, one archive, {MAILS} mails with a higher priority")
        return [result.job_id for result in results if isinstance(result, Submitted)]

    async def _abort_scan(self, job_id: int) -> None:
        """Aborts the endless scan once it runs."""
        async for change in self._client.watch(job_ids=[job_id]):
            if change.state is State.PROCESSING:
                break
        await self._admin.abort([job_id], reason="it would take all night", grace_s=5)
        job = await self._client.wait(job_id, timeout_s=30)
        self._say(f"job {job_id} (document.scan) was aborted while it ran: it is {job.state}")

    async def _kill_agent(self, total: int) -> None:
        """Kills one agent with SIGKILL when a third is done."""
        while self._seen.kinds["completed"] < total // 3:
            await asyncio.sleep(0.05)
        victim = self._agents[0]
        held = next((agent.slots_in_use for agent in await self._admin.list_agents() if agent.pid == victim.pid), 0)
        self._killed = victim
        await victim.kill()
        self._say(f"{victim.name} (pid {victim.pid}) was killed with SIGKILL; it held {held} jobs")

    async def _log_of(self, job_id: int) -> list[str]:
        """What its handler logged. Log lines have a writer of their own, so they may arrive a moment after the outcome."""
        for _ in range(100):
            lines = [line.text async for line in self._client.logs(job_id)]
            if lines:
                return lines
            await asyncio.sleep(0.05)
        self.problems.append(f"job {job_id} has no log")
        return []

    async def _requeue_convert(self, job_id: int) -> None:
        """Shows the job that fails for good, and runs it once more."""
        job = await self._client.wait(job_id, timeout_s=60)
        lines = await self._log_of(job_id)
        self._say(f"job {job_id} (document.convert) ended in {job.state}: {job.error.message if job.error else ''}\n    its log: {lines[-1] if lines else '(nothing)'}")
        [result] = await self._admin.requeue([job_id], reason="the demo tries again")
        if not result.ok:
            self.problems.append(f"requeue refused: {result.message}")
        job = await self._client.wait(job_id, timeout_s=60)
        self._say(f"it was requeued: run {job.run} ended in {job.state} too, as it must")

    async def _settled(self, ids: list[int]) -> None:
        """Until none of our jobs waits or is processed."""
        while True:
            totals = (await self._client.count()).totals
            if not totals.get(State.WAITING, 0) and not totals.get(State.PROCESSING, 0):
                return
            await asyncio.sleep(0.1)

    async def _verify(self, ids: list[int], scan: int, convert: int, documents: list[str]) -> None:
        jobs = {job.job_id: job for job in [await self._client.get(job_id, full=True) for job_id in ids]}
        self.problems += await asyncio.to_thread(check_documents, jobs.values(), documents)
        self.problems += await asyncio.to_thread(check_package, str(self._directory / "documents.zip"), documents)
        self.problems += check_mails(self._mail.received, [f"reader{n}@example.org" for n in range(MAILS)])
        if (await self._client.get(scan)).state is not State.ABORTED:
            self.problems.append("the scan was not aborted")
        if (await self._client.get(convert)).run != 2:
            self.problems.append("the conversion was not requeued")
        if self._mail.refused != REFUSED_MAILS:
            self.problems.append(f"the mail server refused {self._mail.refused} mails, {REFUSED_MAILS} were expected")
        if not any(alert.job_id == convert for alert in (await self._admin.list_alerts())[0]):
            self.problems.append("no alert was written for the failed conversion")
        if not self._seen.lost:
            self.problems.append("the killed agent held no job: nothing was recovered")
        again = await self._client.submit(
            "document.package", {"paths": documents, "target": str(self._directory / "documents.zip")}, key="package", instance_id="archive"
        )
        if not again.existing or again.job_id not in jobs:
            self.problems.append("the same key gave another job")

    async def _summary(self, seconds: float) -> None:
        counts = await self._client.count()
        states = Table(title="Jobs by type and state", box=None, title_justify="left", title_style="bold")
        states.add_column("type")
        for state in STATES:
            states.add_column(str(state), justify="right")
        for name, by_state in [*counts.types.items(), ("all", counts.totals)]:
            states.add_row(name, *(str(by_state.get(state, 0) or "") for state in STATES))
        self._console.print(states)
        jobs = [job async for job in self._client.iter_jobs(states=[State.COMPLETED], page_size=1000)]
        waits = [(job.started_at - job.created_at).total_seconds() for job in jobs if job.started_at]
        runs = [(job.settled_at - job.started_at).total_seconds() for job in jobs if job.started_at and job.settled_at]
        self._console.print(f"\n{len(jobs)} jobs completed in {seconds:.1f} s: {len(jobs) / seconds:.0f} jobs/s, all of it real work on this machine's cores")
        self._console.print(f"waiting time   {_percentiles(waits)}\nrunning time   {_percentiles(runs)}")
        kinds = self._seen.kinds
        self._console.print(
            f"retries        {kinds['failed']} attempts failed, {self._mail.refused} of them mails that the server refused at first; each was tried again by itself\n"
            f"recovered      {len(self._seen.lost)} leases of the killed agent; their jobs were done by the other one"
        )
        first, last = _mean_place(self._seen.granted, jobs, "mail.send"), _mean_place(self._seen.granted, jobs, "document.index")
        self._console.print(f"priorities     mails (priority 10) were granted at place {first:.0f} on average, index jobs (priority 0) at {last:.0f}")
        if first >= last:
            self.problems.append("mails were not granted before index jobs")

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        async def watch() -> None:
            async for change in self._client.watch():
                self._seen.kinds[change.kind] += 1
                if change.kind == "granted":
                    self._seen.granted.append(change.job_id)
                elif change.kind == "lost":
                    self._seen.lost.append(change.job_id)

        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch())
            yield
            watching.cancel()

    @asynccontextmanager
    async def _progress(self) -> AsyncIterator[None]:
        """A live table on a terminal, a line every few seconds elsewhere."""
        live = Live(console=self._console, refresh_per_second=8, transient=True) if self._console.is_terminal else None

        async def show() -> None:
            last = 0.0
            while True:
                totals = (await self._client.count()).totals
                agents = await self._admin.list_agents()
                line = "  ".join(f"{state} {totals.get(state, 0)}" for state in STATES)
                slots = "  ".join(f"{agent.name} pid {agent.pid}: {agent.slots_in_use}/{agent.slots}{'' if agent.connected else ' (lost)'}" for agent in agents)
                if live is not None:
                    live.update(f"  {line}\n  {slots}")
                elif time.monotonic() - last > 2:
                    last = time.monotonic()
                    self._console.print(f"  {line}   {slots}")
                await asyncio.sleep(0.25)

        async with asyncio.TaskGroup() as tasks:
            if live is not None:
                live.start()
            showing = tasks.create_task(show())
            try:
                yield
            finally:
                showing.cancel()
                if live is not None:
                    live.stop()

    def _say(self, text: str) -> None:
        self._console.print(text)


def _percentiles(values: list[float]) -> str:
    cuts = statistics.quantiles(values, n=100) if len(values) > 1 else [0.0] * 99
    return "   ".join(f"p{p} {cuts[p - 1]:.3f} s" for p in (50, 90, 99))


def _mean_place(granted: list[int], jobs: list[Job], type_: str) -> float:
    ids = {job.job_id for job in jobs if job.type == type_}
    places: dict[int, int] = {}
    for place, job_id in enumerate(granted):
        if job_id in ids:
            places.setdefault(job_id, place)
    return statistics.mean(places.values()) if places else 0.0
