"""The inbox: what programs put through the SQL doors in transactions of their own, read after their commit and exactly once.

Rows come into view when their transaction commits, in no order of any number that they carry. So the reader keeps a snapshot: everything that it sees is taken, and what
is read next are rows of transactions that it did not see and a newer one does. A transaction that stays open is simply not seen yet, however long; nobody waits for it.

A read that finds more than fits goes on in the same newer snapshot (`Cursor.upto`), row by row, before it looks for a newer one again.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.store.database import Database
from headrace_broker.store.pool import ANY_FAILURE
from headrace_broker.store.statements import sql

CHANNEL = "headrace_inbox"
AGAIN_S = 1.0
SPEC_LIMIT = 262_144
"""Characters of a spec, several times what the longest one that is taken has. What is longer is cut there, so that nobody can read it."""
ADOPT_S = 86_400.0
"""How long the rows of another server may take to become this one's."""
LOOK_AT = 5000
"""Rows of all shards that one read goes through for those of its own."""
SUBMITTED, COMPLETED = 1, 2
"""Kinds of rows."""

log = structlog.get_logger("headrace.inbox")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the inbox is taken up: all that `done` sees, and of what `upto` sees as well the rows up to (last_xid, last_id). Snapshots are texts."""

    done: str = "1:1:"
    upto: str | None = None
    last_xid: int = 0
    last_id: int = 0


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One row. `spec`: fields of a JobSpec by their names on the wire, as JSON that somebody else wrote: not everything that Postgres takes can be read here. One that
    has more than SPEC_LIMIT characters is cut.
    """

    inbox_id: int
    kind: int
    domain: str
    spec: str
    payload: bytes
    job_id: int
    lease_epoch: int


@dataclass(frozen=True, slots=True)
class DoorCompletion:
    """A lease that ended by a completion in somebody's transaction; the event is stored. `newest`: nothing happened to the job since, when it was read."""

    job_id: int
    epoch: int
    type_id: int
    priority: int
    instance_id: str | None
    run: int
    attempt: int
    losses: int
    agent_id: int | None
    delete_minute: int | None
    newest: bool
    unique_key: str | None


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """A transaction that has completed a job and is not committed. `open_s`: for how long it is open. Of other users' the database tells that to members of
    pg_read_all_stats alone: else `opened_at` is None, and `open_s` for how long it has been seen. `pid` 0: it is prepared, and `application` says under which name.
    """

    job_id: int
    pid: int
    opened_at: datetime | None
    open_s: float
    application: str
    state: str

    @property
    def who(self) -> str:
        """Whose it is, in words."""
        return f"a transaction of backend {self.pid} ({self.application or 'no application_name'})" if self.pid else f"the {self.application}"


@dataclass(frozen=True, slots=True)
class InboxResult:
    """What became of a submission: its job, or the reason and the text of its refusal."""

    inbox_id: int
    job_id: int | None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class InboxTaken:
    """What one flush takes from the inbox for its shard: stored in the same commit as the jobs."""

    cursor: Cursor
    results: list[InboxResult]
    shard: int = 0

    def columns(self) -> tuple[Any, ...]:
        """The parameters of inbox_take."""
        place, found = self.cursor, self.results
        return (
            place.done, place.upto, place.last_xid, place.last_id,
            [r.inbox_id for r in found], [r.job_id for r in found], [r.reason for r in found], [_storable(r.message) for r in found], self.shard,
        )  # fmt: skip


@dataclass(slots=True)
class Suspects:
    """Rows that were being taken up when a flush was refused for a value that no column takes, which would be so again and again: they are taken up one at a time, and
    one that meets it by itself is refused. What is read of a row is looked at before, so this should not happen; where it does it costs that row, and a few takeovers.

    `singly`: so many of the next rows are taken up one at a time. `in_hand`: the submissions that are being taken up. `refused`: inbox_id -> what Postgres said.
    """

    singly: int = 0
    in_hand: list[int] = field(default_factory=list)
    refused: dict[int, str] = field(default_factory=dict)

    def blame(self, why: str) -> None:
        """A flush was refused, and the owner is thrown away."""
        if self.singly and len(self.in_hand) == 1:
            self.refused[self.in_hand[0]] = why
        self.singly, self.in_hand = len(self.in_hand), []

    def clear(self) -> None:
        """What is in hand is stored."""
        self.singly = max(0, self.singly - len(self.in_hand))
        for inbox_id in self.in_hand:
            self.refused.pop(inbox_id, None)
        self.in_hand = []


class Inbox:
    """Reads and tidies; raises what asyncpg raises."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard = ONLY) -> None:
        self._pool = pool
        self._shard = shard
        self.suspects = Suspects()
        self._doors: dict[tuple[int, int], float] = {}  # open doors of which is not told since when: (job_id, pid) -> when it was first seen, by the loop's clock

    async def cursor(self) -> Cursor:
        """How far it is taken up. On a server that was restored from a dump of another one the rows are this server's from now on."""
        row = await self._pool.fetchrow(sql("inbox_cursor"), self._shard.number)
        if row is not None and row["foreign"]:
            row = await self._adopt()
        return Cursor(row["done"], row["upto"], row["last_xid"], row["last_id"]) if row is not None else Cursor()

    async def _adopt(self) -> Any:
        """The cursor once the inbox is this server's, for all shards; unless the owner of another one was faster."""
        async with self._pool.acquire() as con, con.transaction():
            await con.execute(sql("inbox_lock"))
            row = await con.fetchrow(sql("inbox_cursor"), self._shard.number)
            if row is None or not row["foreign"]:
                return row
            log.warning("the inbox comes from another server: what has no result yet is read again")
            await con.execute("set local statement_timeout = 0")  # there may be millions of rows, and what is broken off is begun anew
            for name in ("inbox_settled", "inbox_adopt"):
                await con.execute(sql(name), timeout=ADOPT_S)
            return await con.fetchrow(sql("inbox_cursor"), self._shard.number)

    async def read(self, cursor: Cursor, rows: int, size_bytes: int) -> tuple[list[InboxRow], Cursor]:
        """The next rows, at most so many, and about so many bytes; and the cursor once they are taken. Of several shards: those that are its own, and those
        of domains that there are not yet; when it goes on in the same snapshot, there may be more, also where none was found.
        """
        place = (cursor.done, cursor.upto, str(cursor.last_xid), cursor.last_id, rows, size_bytes, SPEC_LIMIT + 1)
        if self._shard.of == 1:
            found = await self._pool.fetch(sql("inbox_read"), *place)
        else:
            found = await self._pool.fetch(sql("inbox_read_shard"), *place, LOOK_AT, self._shard.number, self._shard.of)
        upto, seen = found[0]["upto"], found[0]["seen"]
        taken = [_row(r) for r in found if r["inbox_id"] is not None]
        if len(taken) == seen and seen < rows:
            if self._shard.of > 1 and found[0]["looked"] == LOOK_AT:
                return taken, Cursor(cursor.done, upto, int(found[0]["last_xid"]), found[0]["last_id"])
            return taken, Cursor(upto)
        return taken, Cursor(cursor.done, upto, int(found[-1]["xid"]), taken[-1].inbox_id)

    async def completions(self, rows: list[InboxRow]) -> list[DoorCompletion]:
        """What the rows of kind COMPLETED are about."""
        found = await self._pool.fetch(sql("inbox_completions"), [r.job_id for r in rows], [r.lease_epoch for r in rows])
        return [DoorCompletion(*r.values()) for r in found]

    async def open_doors(self, rows: int = 100) -> list[OpenDoor]:
        """Transactions that have completed a job of the shard and are not committed, the oldest first."""
        found = await self._pool.fetch(sql("door_list"), rows, self._shard.number, self._shard.of)
        now, seen = asyncio.get_running_loop().time(), self._doors
        self._doors = {key: seen.get(key, now) for r in found if r["open_s"] is None for key in [(r["job_id"], r["pid"])]}
        return [
            OpenDoor(
                r["job_id"], r["pid"] or 0, r["opened_at"], now - self._doors[r["job_id"], r["pid"]] if r["open_s"] is None else r["open_s"], r["application"] or "",
                r["state"] or "",
            )
            for r in found
        ]  # fmt: skip

    async def alert(self, job_id: int, type_id: int, epoch: int, error: str) -> bool:
        """Writes an alert about a door of this lease, unless there is one; returns whether it did."""
        return await self._pool.fetchrow(sql("door_alert"), job_id, type_id, epoch, error) is not None

    async def done(self) -> list[str]:
        """How far each shard has taken it up: snapshots, as texts."""
        return [row["done"] for row in await self._pool.fetch(sql("inbox_done"))]

    async def trim(self, done: list[str], after: tuple[int, int], rows: int) -> tuple[int, int, tuple[int, int]]:
        """Deletes rows that are taken by all whose snapshots these are, of the next ones after (xid, inbox_id): (rows looked at, deleted, the last one looked at)."""
        row = await self._pool.fetchrow(sql("inbox_trim"), done, str(after[0]), after[1], rows)
        return row["looked"], row["deleted"], (int(row["xid"]), row["inbox_id"]) if row["looked"] else after

    async def trim_results(self, after: int, kept_s: float, refusals_kept_s: float, rows: int) -> tuple[int, int, bool]:
        """Deletes results whose time is over, of the next ones after an inbox_id: (deleted, the last one looked at, whether that one and all after it are too young).

        Refusals that are kept longer lie between results whose time is over: that nothing was deleted does not mean that there is nothing more.
        """
        row = await self._pool.fetchrow(sql("inbox_result_trim"), after, kept_s, refusals_kept_s, rows)
        return row["deleted"], row["inbox_id"] or after, row["young"] or row["looked"] < rows

    async def trim_cursors(self, rows: int) -> int:
        """Deletes cursors that were replaced; returns how many."""
        return int(await self._pool.fetchval(sql("inbox_cursor_trim"), rows))


async def listen(dsn: str | Database, wake: Callable[[], None]) -> None:
    """Calls `wake` whenever something was committed to the inbox, until cancelled. What is missed while the connection is away is found by looking, a little later."""
    database = Database.of(dsn)
    while True:
        try:
            con = await database.connect(timeout=5, server_settings={"application_name": "headrace inbox"})
            ended = asyncio.Event()
            con.add_termination_listener(lambda _, ended=ended: ended.set())
            try:
                await con.add_listener(CHANNEL, lambda *_: wake())
                wake()
                await ended.wait()
            finally:
                con.terminate()
        except ANY_FAILURE as error:
            log.debug("no news of the inbox", reason=f"{type(error).__name__}: {error}")
        await asyncio.sleep(AGAIN_S)


def _storable(text: str | None) -> str | None:
    """What is said of a refusal may name what somebody wrote: here without the characters that Postgres does not take."""
    return text.replace("\x00", "\ufffd").encode(errors="replace").decode() if text is not None else None


def _row(row: Any) -> InboxRow:
    return InboxRow(row["inbox_id"], row["kind"], row["domain"] or "", row["spec"] or "{}", row["payload"] or b"", row["job_id"] or 0, row["lease_epoch"] or 0)
