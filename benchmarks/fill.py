"""Fills a database with jobs as they would lie there after days of work: millions in minutes, each with a history that the model allows, and exact counts.

Of `--jobs` jobs, `--waiting` are ready, `--scheduled` wait for a time between an hour and thirty days ahead (one in fifty for its next attempt), `--stuck` are ready
since the first day, and all others have settled: completed, with and without retries, in error, aborted (stories.py). They spread evenly over `--days` days, by type
as `--types` says; two in five belong to an instance, one in five has labels; none runs, and none has an idempotency key. With
`--log-lines` every attempt has log lines, so many on average.

The rows are made by the server in chunks, each with its row of counts in one commit, so that an interrupted fill leaves a ledger that is right. It opens a life of its
own and takes all shards over, so it refuses a database that a broker serves. It may be run again, to add more. The same --seed makes the same jobs.
"""

import argparse
import asyncio
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asyncpg
from headrace_broker.model.audit import Caller
from headrace_broker.model.ids import RETENTION_CLASSES, SHARDS, TICK_SHIFT, class_for, lowest_id_at
from headrace_broker.model.job import Kind, State
from headrace_broker.model.settings import effective
from headrace_broker.store import partitions
from headrace_broker.store.embedded import EmbeddedPostgres
from headrace_broker.store.ledger import Ledger
from headrace_broker.store.migrate import migrate
from headrace_broker.store.settings import SettingsStore

from benchmarks.stories import ERRORS, LOG_LINES, RETRYING, SETTLED, TRACEBACK

DAY_S = 86_400
TYPES = "mail.send=40,order.sync=25,invoice.render=15,import.rows=12,report.build=8"
AGENTS = 8
SQL = Path(__file__).with_name("fill.sql")
SETTINGS = {"jit": "off", "synchronous_commit": "off", "work_mem": "64MB", "temp_buffers": "128MB", "application_name": "headrace fill"}
Say = Callable[[str], None]


class Refused(Exception):
    """The database cannot be filled; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted; see the module."""

    jobs: int
    waiting: int = 0
    scheduled: int = 0
    stuck: int = 0
    days: float = 6.0
    types: dict[str, float] = field(default_factory=lambda: read_weights(TYPES))
    domain: str = "default"
    payload_bytes: int = 200
    log_lines: float = 0.0
    instances: int = 0  # how many there are; 0: one for forty jobs, at most 100,000
    seed: int = 1
    chunk: int = 50_000
    connections: int = 2

    @property
    def settled(self) -> int:
        """Jobs that have ended."""
        return self.jobs - self.waiting - self.scheduled - self.stuck


@dataclass(frozen=True, slots=True)
class Part:
    """Jobs of one kind within a stretch of time: `first` counts all jobs of the fill, `tick` and `stride` give the ids."""

    kind: str
    first: int
    count: int
    tick: int
    stride: int

    def chunks(self, size: int) -> Iterator["Part"]:
        """The same in pieces."""
        for done in range(0, self.count, size):
            yield Part(self.kind, self.first + done, min(size, self.count - done), self.tick + done * self.stride, self.stride)


async def fill(dsn: str, plan: Plan, say: Say = lambda _line: None) -> dict[str, float]:
    """Fills the database of `dsn`, whose schema is made if it is missing; returns {"jobs", "seconds"}.

    Raises:
        Refused: a broker serves this database, or the plan does not add up.
    """
    if plan.settled < 0 or plan.days <= 0 or plan.chunk < 1 or plan.connections < 1:
        raise Refused("--jobs is the number of all jobs: at least as many as --waiting, --scheduled and --stuck together")
    started = time.monotonic()
    await migrate(dsn)
    pool = await asyncpg.create_pool(dsn, min_size=1, max_size=plan.connections + 1, server_settings=SETTINGS)
    ledger = await Ledger.open(dsn, address="benchmarks/fill.py", version="0")
    try:
        for holder in await ledger.holders():
            if not await ledger.take_over(holder.life_id):
                raise Refused(f"a broker serves this database ({holder.address}): stop it first, it would not know of the jobs that are added")
        await pool.execute("delete from headrace.checkpoint")  # it does not know of jobs that are older than it and not in it
        await _Filling(pool, ledger.life_id, plan, say).run()
    finally:
        await ledger.close()
        await pool.close()
    return {"jobs": plan.jobs, "seconds": time.monotonic() - started}


def lines_of_an_attempt(lines: int, plan: Plan) -> float:
    """The `log_lines` that make about so many lines in all: half a line more than it says is made for each attempt."""
    grants = sum(story.weight * sum(kind is Kind.GRANTED for _, kind, _ in story.steps) for story in SETTLED) / 1000
    return max(0.0, lines / max(1.0, plan.settled * grants) - 0.5)


class _Filling:
    """One fill."""

    def __init__(self, pool: "asyncpg.Pool[Any]", life_id: int, plan: Plan, say: Say) -> None:
        self._pool = pool
        self._life_id = life_id
        self._plan = plan
        self._say = say
        self._statements = dict(_statements())
        self._flush_n = 0
        self._done = 0
        self._began = time.monotonic()
        self._types: list[tuple[Any, ...]] = []  # (type_id, class, seconds that completed, error and aborted jobs are kept)
        self._agents: list[int] = []

    async def run(self) -> None:
        """Makes types, agents and partitions, then the jobs, then what autovacuum would have done meanwhile."""
        now_s = float(await self._pool.fetchval("select extract(epoch from now())::float8"))
        begin_s = now_s - self._plan.days * DAY_S
        await self._make_types()
        for class_ in {row[1] for row in self._types}:
            range_s = next(c.range_s for c in RETENTION_CLASSES if c.number == class_)
            for at_s in range(int(begin_s - 60), int(now_s) + range_s, range_s):
                await partitions.ensure(self._pool, {class_}, min(at_s, now_s))
        halves = self._share([chunk for part in self._parts(begin_s, now_s) for chunk in part.chunks(self._plan.chunk)])
        async with asyncio.TaskGroup() as tasks:
            for chunks in halves:
                tasks.create_task(self._write(chunks))
        self._say("vacuum and analyze ...")
        async with self._pool.acquire() as con:
            await con.execute("vacuum (analyze)", timeout=None)
            await con.execute("checkpoint", timeout=None)

    def _parts(self, begin_s: float, now_s: float) -> list[Part]:
        """Each kind in a stretch of its own: what waits came last, but for what is stuck."""
        plan, hour = self._plan, min(3600.0, self._plan.days * DAY_S / 4)
        stretches = (
            ("stuck", plan.stuck, begin_s - 60, begin_s),
            ("settled", plan.settled, begin_s, now_s - 2 * hour),
            ("scheduled", plan.scheduled, now_s - 2 * hour, now_s - hour),
            ("waiting", plan.waiting, now_s - hour, now_s - 1),
        )
        parts, first = [], 0
        for kind, count, from_s, to_s in stretches:
            if count:
                tick, end = (lowest_id_at(at_s) >> TICK_SHIFT for at_s in (from_s, to_s))
                parts.append(Part(kind, first, count, tick, max(1, (end - tick) // count)))
            first += count
        return parts

    def _share(self, chunks: list[Part]) -> list[list[Part]]:
        """A run of neighbours for each connection, so that all write at right edges."""
        each = -(-len(chunks) // self._plan.connections)
        return [chunks[start : start + each] for start in range(0, len(chunks), max(1, each))]

    async def _make_types(self) -> None:
        store = SettingsStore(self._pool)
        for name in self._plan.types:
            row = await store.add_type(self._plan.domain, name)
            settings = effective(row.overrides, row.declared)
            needed_s = (self._plan.days + 1) * DAY_S
            kept = {key: needed_s + 7 * DAY_S for key in ("delete_completed_after_s", "delete_aborted_after_s") if (getattr(settings, key) or needed_s) < needed_s}
            if kept:  # or the oldest would be gone as soon as they are there
                row = await store.override(row.type_id, kept, [], caller=Caller("fill", self._plan.domain, "fill"))
                settings = effective(row.overrides, row.declared)
            kept_s = (settings.delete_after_s(state) for state in (State.COMPLETED, State.ERROR, State.ABORTED))
            self._types.append((row.type_id, class_for(settings.delete_completed_after_s), *kept_s))
        for number in range(AGENTS):
            incarnation_id = f"fill-{self._plan.domain}-{number:012}"
            agent_id, _ = await store.agent(self._plan.domain, f"worker-{number}", incarnation_id, f"host-{number}", 1000 + number, "", "fill", {})
            self._agents.append(agent_id)

    async def _write(self, chunks: list[Part]) -> None:
        async with self._pool.acquire() as con:
            await self._prepare(con)
            for chunk in chunks:
                async with con.transaction():
                    await self._write_chunk(con, chunk)
                self._done += chunk.count
                rate = self._done / (time.monotonic() - self._began)
                self._say(f"{self._done:,} of {self._plan.jobs:,} jobs, {rate:,.0f}/s")
            await con.execute("drop table fill_type, fill_story, fill_step, fill_error, fill_instance, fill_chunk")

    async def _write_chunk(self, con: Any, chunk: Part) -> None:
        async def run(name: str, *args: Any) -> None:
            await con.execute(self._statements[name], *args, timeout=None)

        await run("chunk", chunk.first, chunk.count, chunk.tick, chunk.stride, self._plan.seed, chunk.kind)
        await run("jobs", self._plan.payload_bytes)
        if chunk.kind in ("settled", "scheduled"):
            await run("events", self._agents)
            await run("notes")
            await run("alerts")
            if self._plan.log_lines:
                await run("log_lines", self._plan.log_lines, [level for level, _ in LOG_LINES], [text for _, text in LOG_LINES])
        self._flush_n += 1
        await run("counts", self._life_id, self._flush_n)

    async def _prepare(self, con: Any) -> None:
        """The tables that the statements choose from, on this connection."""
        await con.execute(self._statements["tables"])
        places = _places(list(self._plan.types.values()), 256)
        await con.copy_records_to_table("fill_type", records=[(place, *self._types[index]) for place, index in enumerate(places)])
        stories = [*SETTLED, RETRYING]
        numbered = [story.events() for story in stories]
        await con.copy_records_to_table("fill_step", records=[
            (number, event.seq, story.steps[event.seq - 1][0], event.kind, event.state, event.run, event.attempt, event.losses, event.seq == len(events))
            for number, (story, events) in enumerate(zip(stories, numbered, strict=True)) for event in events
        ])  # fmt: skip
        last = [(len(events), story.steps[-1][0], events[-1].state) for story, events in zip(stories, numbered, strict=True)]
        choices = [*((place, index) for place, index in enumerate(_places([story.weight for story in SETTLED], 1000))), (1000, len(SETTLED))]
        await con.copy_records_to_table("fill_story", records=[(place, index, *last[index]) for place, index in choices])
        errors = [(place, code, text, f"{zlib.crc32(code.encode()):016x}", TRACEBACK) for place, (code, text) in enumerate(ERRORS)]
        await con.copy_records_to_table("fill_error", records=errors)
        names = [f"case-{number:07}" for number in range(self._plan.instances or min(100_000, max(1, self._plan.jobs // 40)))]
        await con.copy_records_to_table("fill_instance", records=[(number, name, zlib.crc32(name.encode()) % SHARDS) for number, name in enumerate(names)])
        await con.execute("analyze fill_type; analyze fill_story; analyze fill_step; analyze fill_error; analyze fill_instance")


def _statements() -> Iterator[tuple[str, str]]:
    """The statements of the SQL file: each begins with a line `-- name: NAME`."""
    for piece in SQL.read_text().split("-- name: ")[1:]:
        name, _, text = piece.partition("\n")
        yield name.strip(), text.strip().rstrip(";")


def _places(weights: Sequence[float], size: int) -> list[int]:
    """`size` places shared out by weight; each weight gets one at least."""
    places: list[int] = []
    total, sum_ = sum(weights), 0.0
    for index, weight in enumerate(weights):
        sum_ += weight
        places += [index] * max(1, round(size * sum_ / total) - len(places))
    return places[:size]


def read_weights(text: str) -> dict[str, float]:
    """Of "name=weight,name=weight"; a name alone has weight 1."""
    pairs = (word.partition("=") for word in text.split(",") if word)
    return {name: float(weight or 1) for name, _, weight in pairs}


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--data-dir", type=Path, help="directory of an embedded Postgres, made if it is not there; for headrace-broker run --data-dir")
    place.add_argument("--database-url")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--waiting", type=int, help="default: 2 %% of the jobs")
    parser.add_argument("--scheduled", type=int, help="default: 1 %% of the jobs")
    parser.add_argument("--stuck", type=int, default=0)
    parser.add_argument("--days", type=float, default=6.0)
    parser.add_argument("--types", type=read_weights, default=read_weights(TYPES), metavar="NAME=WEIGHT,...")
    parser.add_argument("--domain", default="default")
    parser.add_argument("--payload-bytes", type=int, default=200)
    parser.add_argument("--log-lines", type=float, default=0.0, help="lines of each attempt, on average")
    parser.add_argument("--lines", type=int, help="log lines in all, about; instead of --log-lines")
    parser.add_argument("--instances", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    jobs = arguments.jobs
    waiting, scheduled = (share if given is None else given for given, share in ((arguments.waiting, jobs // 50), (arguments.scheduled, jobs // 100)))
    plan = Plan(
        jobs, waiting, scheduled, arguments.stuck, arguments.days, arguments.types, arguments.domain, arguments.payload_bytes, arguments.log_lines, arguments.instances,
        arguments.seed,
    )  # fmt: skip
    if arguments.lines is not None:
        plan = replace(plan, log_lines=lines_of_an_attempt(arguments.lines, plan))
    server = None
    if arguments.data_dir is not None:
        server = EmbeddedPostgres(arguments.data_dir)
        server.start()
    try:
        done = asyncio.run(fill(arguments.database_url or (server.dsn if server is not None else ""), plan, lambda line: print(line, file=sys.stderr)))
    except Refused as error:
        raise SystemExit(f"fill: {error}") from error
    finally:
        if server is not None:
            server.stop()
    print(f"{done['jobs']:,} jobs in {done['seconds']:.0f} s")


if __name__ == "__main__":
    main()
