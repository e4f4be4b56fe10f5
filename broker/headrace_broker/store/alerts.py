"""Alerting in the database: the duty's own state, which moves in fenced transactions, and what people set, each change with its row in the audit.

The fence: `claim` raises the term, and every transaction of the duty first locks the row that has it. Whoever knows an older term stores nothing (`LostDuty`), so two
brokers that both believe to have the duty never count a failure twice.

In an upgrade, and after one that was taken back, there are kinds of alerts and rules here that only a newer release knows. What it made is left as it is, and the log
says so: it is for a broker of that release to end it.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import asyncpg
import structlog

from headrace_broker.model.alert_channel import Channel
from headrace_broker.model.alert_queue import HOUR_S, Waiting
from headrace_broker.model.alert_rules import ExpectedAgent, Rule
from headrace_broker.model.alerting import Group, GroupKey, Silence, Source, Timing
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import AlertPartNotFound
from headrace_broker.model.shard import ONLY, Shard
from headrace_broker.store.audit import write_audit
from headrace_broker.store.pool import changing
from headrace_broker.store.statements import sql

MOST_SIGNALS = 5000
"""Alerts that one pass adds up."""
MOST_WAITING = 500
"""Notices of one channel that wait to be sent and are held in memory; also the most that one message tells of."""
MOST_AGENTS = 50_000
ALERTS_KEPT_DAYS, GROUPS_KEPT_DAYS = 400, 90
TRIMMED = 2000
KNOWN = [str(source) for source in Source]

log = structlog.get_logger("headrace.alerts")


class LostDuty(Exception):
    """Another broker has taken the duty up since: forget everything and, if it is still this one's, claim it again."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Failures of one kind, type and fingerprint that are not in a group yet. `newest`: the highest alert_id."""

    kind: str
    type_id: int
    fingerprint: str
    failures: int
    newest: int
    first_job_id: int
    last_job_id: int
    summary: str


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A notice for one channel; `facts` is what it says."""

    key: GroupKey
    channel_id: int
    facts: dict[str, Any]
    made_s: float


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """A notice that waits at a channel, as it is stored."""

    channel_id: int
    waiting: Waiting
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Standing:
    """How the deliveries of a channel stand: notices that wait, why the oldest of them was not delivered, and when a message last was."""

    channel: Channel
    waiting: int
    error: str
    sent_at: datetime | None


@dataclass(frozen=True, slots=True)
class EndedSilence:
    """A silence and who ended it before its time, if anybody did."""

    silence: Silence
    ended_by: str


class AlertStore:
    """On the pool; raises what asyncpg raises when Postgres is away or too slow. `shard`: whose duty it is; what people look at and change is of any domain."""

    def __init__(self, pool: "asyncpg.Pool[Any]", shard: Shard = ONLY) -> None:
        self._pool = pool
        self._shard = shard

    @property
    def _of(self) -> tuple[int, int]:
        """As statements take the shard."""
        return self._shard.of, self._shard.number

    # The duty ----------------------------------------------------------------------------------------------------------------------------------

    async def claim(self, life_id: int) -> int:
        """Takes the duty up; returns the term. Raises LostDuty when this life has ended."""
        term: int | None = await self._pool.fetchval(sql("alert_claim_duty"), life_id)
        if term is None:
            raise LostDuty(f"life {life_id} has ended")
        return term

    async def poll(self, type_ids: Sequence[int] | None = None) -> tuple[int, int, bool]:
        """(term, version of what people set, whether there are alerts that are not in the groups). `type_ids`: the types of the shard; None: there is one shard."""
        asked = [sql("alert_poll"), self._shard.number] if type_ids is None else [sql("alert_poll_types"), self._shard.number, type_ids]
        row = await self._pool.fetchrow(*asked)
        return row["term"], row["version"], row["fresh"]

    @asynccontextmanager
    async def moving(self, term: int) -> AsyncIterator["Move"]:
        """A transaction of the duty; raises LostDuty at once when the term is not the newest."""
        async with self._pool.acquire() as con, con.transaction():
            row = await con.fetchrow(sql("alert_lock"), self._shard.number)
            if row["term"] != term:
                raise LostDuty(f"term {term} was followed by {row['term']}")
            yield Move(con, row["cursor"], self._shard)

    async def open_groups(self) -> list[Group]:
        """All groups of the shard that are open, of sources that are known here."""
        return [_group(row) for row in _known("source", await self._pool.fetch(sql("alert_groups_open"), *self._of))]

    async def waiting(self) -> list[StoredNotice]:
        """Notices that are not delivered, oldest first."""
        rows = await self._pool.fetch(sql("alert_notices_waiting"), MOST_WAITING, *self._of)
        return [
            StoredNotice(r["channel_id"], Waiting(r["notice_id"], r["made_s"], r["batch_id"], r["tries"], r["next_try_s"] or 0.0), json.loads(r["facts"])) for r in rows
        ]

    async def agents(self, holding: Iterable[int] = ()) -> list[ExpectedAgent]:
        """Agents that the owner before expected. `holding`: by number, those of which there are leases."""
        rows = await self._pool.fetch(sql("alert_agents"), MOST_AGENTS, list(holding), *self._of)
        return [ExpectedAgent(*(row[name] for name in ExpectedAgent.__slots__)) for row in rows]

    async def save_agents(self, put: Sequence[ExpectedAgent], dropped: Sequence[str], term: int) -> None:
        """Stores who is expected, and who is no more; nothing when the duty was lost."""
        await self._pool.execute(sql("alert_agents_save"), json.dumps([asdict(agent) for agent in put]), list(dropped), term, self._shard.number)

    async def messages_sent(self, now: float) -> dict[int, list[float]]:
        """When each channel sent its messages of the last hour."""
        found: dict[int, list[float]] = {}
        for row in await self._pool.fetch(sql("alert_messages_sent"), now - HOUR_S, *self._of):
            found.setdefault(row["channel_id"], []).append(row["sent_s"])
        return found

    async def trying(self, notice_ids: Sequence[int], batch_id: int, next_try_s: float, term: int) -> list[int]:
        """Notes that a message is about to be sent; returns those of its notices that may be: fewer when the duty was lost, or a channel deleted."""
        rows = await self._pool.fetch(sql("alert_notices_try"), list(notice_ids), batch_id, next_try_s, term, self._shard.number)
        return [row["notice_id"] for row in rows]

    async def sent(self, notice_ids: Sequence[int], now: float, remark: str = "") -> None:
        """A message was delivered. Safe to repeat."""
        await self._pool.execute(sql("alert_notices_sent"), list(notice_ids), now, remark[:500])

    async def failed(self, notice_ids: Sequence[int], why: str, next_try_s: float) -> None:
        """A message was not delivered."""
        await self._pool.execute(sql("alert_notices_failed"), list(notice_ids), why[:500], next_try_s)

    async def give_up(self, notice_ids: Sequence[int], now: float) -> None:
        """These were not delivered for days."""
        await self._pool.execute(sql("alert_notices_give_up"), list(notice_ids), now)

    async def secrets(self, channel_id: int | None = None) -> dict[int, str]:
        """The secrets of one channel, or of all: for whoever sends, and nobody else."""
        rows = await self._pool.fetch(sql("alert_secrets"), None if channel_id is None else [channel_id])
        return {row["channel_id"]: row["secret"] for row in rows}

    async def trim(self, rows: int = TRIMMED) -> bool:
        """Forgets a portion of what is old; returns whether there is more."""
        return int(await self._pool.fetchval(sql("alert_trim"), ALERTS_KEPT_DAYS, GROUPS_KEPT_DAYS, rows)) >= rows

    # What people look at -----------------------------------------------------------------------------------------------------------------------

    async def groups(self, domain: str, *, is_open: bool | None, below: int, limit: int) -> list[Group]:
        """Groups of a domain, of sources that are known here, newest first, with ids below `below`. `is_open` None: all."""
        if is_open:
            return [_group(row) for row in await self._pool.fetch(sql("alert_groups_firing"), domain, below, limit, KNOWN)]
        return [_group(row) for row in await self._pool.fetch(sql("alert_groups_page"), domain, is_open is None, below, limit, KNOWN)]

    async def channels(self, domain: str | None) -> list[Standing]:
        """Channels of a domain, or of all of the shard, by name."""
        return [Standing(_channel(r), r["waiting"], r["error"] or "", r["sent_at"]) for r in await self._pool.fetch(sql("alert_channels"), domain, *self._of)]

    async def rules(self, domain: str | None) -> list[Rule]:
        """Rules of a domain, or of all of the shard, of kinds that are known here, by name."""
        return [_rule(row) for row in _known("kind", await self._pool.fetch(sql("alert_rules"), domain, *self._of))]

    async def silences(self, domain: str | None, after_s: float, limit: int | None = 1000) -> list[EndedSilence]:
        """Silences that end after a time (seconds since 1970), the last to end first. `limit` None: all of them."""
        return [EndedSilence(_silence(row), row["ended_by"] or "") for row in await self._pool.fetch(sql("alert_silences"), domain, after_s, limit, *self._of)]

    # What people change ------------------------------------------------------------------------------------------------------------------------

    async def find_channel(self, domain: str, name: str) -> Channel:
        """One channel. Raises AlertPartNotFound."""
        found = next((standing.channel for standing in await self.channels(domain) if standing.channel.name == name), None)
        if found is None:
            raise AlertPartNotFound("channel", name)
        return found

    async def put_channel(self, channel: Channel, secret: str | None, *, caller: Caller, reason: str) -> Channel:
        """Makes a channel or replaces what it is. `secret` None: it stays as it is; empty: there is none any more. The audit learns only whether it was set anew."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("alert_channel_lock"), channel.domain, channel.name)
            old = _channel(row) if row is not None else None
            channel_id = await con.fetchval(
                sql("alert_channel_put"), channel.domain, channel.name, channel.kind, json.dumps(dict(channel.settings)), channel.default, channel.send_resolved,
                channel.cap_per_hour,
            )  # fmt: skip
            if secret:
                await con.execute(sql("alert_secret_put"), channel_id, secret)
            elif secret is not None:
                await con.execute(sql("alert_secret_drop"), channel_id)
            new = replace(channel, channel_id=channel_id, has_secret=bool(secret) if secret is not None else old is not None and old.has_secret)
            await con.execute(sql("alert_changed"))
            after = {**new.shown(), "secret_replaced": bool(secret)}
            await write_audit(
                con, [caller.entry("alert_channel.put", f"alert_channel/{channel.name}", reason=reason, before=old.shown() if old is not None else None, after=after)]
            )
        return new

    async def delete_channel(self, name: str, *, caller: Caller, reason: str) -> None:
        """Deletes a channel and what waits to be sent there. Raises AlertPartNotFound."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("alert_channel_lock"), caller.domain, name)
            if row is None:
                raise AlertPartNotFound("channel", name)
            old = _channel(row)
            await con.execute(sql("alert_changed"))  # first: who has the duty locks its state, and then channels that get a notice
            await con.execute(sql("alert_channel_delete"), old.channel_id)
            await write_audit(con, [caller.entry("alert_channel.delete", f"alert_channel/{name}", reason=reason, before=old.shown())])

    async def put_rule(self, rule: Rule, *, caller: Caller, reason: str) -> Rule:
        """Makes a rule or replaces what it says."""
        timing = rule.timing
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("alert_rule_lock"), rule.domain, rule.name)
            stored = await con.fetchrow(
                sql("alert_rule_put"), rule.domain, rule.name, rule.kind, rule.type, rule.threshold, rule.window_s, rule.minimum, rule.for_s, list(rule.channels),
                timing.group_wait_s, timing.group_interval_s, timing.repeat_interval_s,
            )  # fmt: skip
            await con.execute(sql("alert_changed"))
            before = _shown(row) if row is not None else None
            await write_audit(con, [caller.entry("alert_rule.put", f"alert_rule/{rule.name}", reason=reason, before=before, after=_shown(stored))])
        return _rule(stored)

    async def delete_rule(self, name: str, *, caller: Caller, reason: str) -> None:
        """Deletes a rule. Raises AlertPartNotFound."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("alert_rule_lock"), caller.domain, name)
            if row is None:
                raise AlertPartNotFound("rule", name)
            await con.execute(sql("alert_rule_delete"), row["rule_id"])
            await con.execute(sql("alert_changed"))
            await write_audit(con, [caller.entry("alert_rule.delete", f"alert_rule/{name}", reason=reason, before=_shown(row))])

    async def add_silence(self, silence: Silence, *, caller: Caller) -> Silence:
        """Makes a silence."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(
                sql("alert_silence_add"), silence.domain, silence.type, silence.source, silence.rule, silence.fingerprint, silence.starts_s, silence.ends_s,
                silence.author, silence.reason,
            )  # fmt: skip
            new = _silence(row)
            await con.execute(sql("alert_changed"))
            await write_audit(con, [caller.entry("alert_silence.add", f"alert_silence/{new.silence_id}", reason=new.reason, after=asdict(new))])
        return new

    async def end_silence(self, silence_id: int, now: float, *, caller: Caller, reason: str) -> Silence:
        """Ends a silence before its time. Raises AlertPartNotFound when there is none that has not ended."""
        async with changing(self._pool) as con:
            row = await con.fetchrow(sql("alert_silence_end"), caller.domain, silence_id, now, caller.shown)
            if row is None:
                raise AlertPartNotFound("silence", str(silence_id))
            new = _silence(row)
            await con.execute(sql("alert_changed"))
            before = asdict(replace(new, ends_s=row["until_s"]))
            await write_audit(con, [caller.entry("alert_silence.end", f"alert_silence/{silence_id}", reason=reason, before=before, after=asdict(new))])
        return new

    async def tested(self, name: str, error: str, *, caller: Caller, reason: str) -> None:
        """A test message was sent to a channel, or could not be."""
        async with self._pool.acquire() as con:
            await write_audit(con, [caller.entry("alert_channel.test", f"alert_channel/{name}", reason=reason, after={"delivered": not error, "error": error})])


class Move:
    """One transaction of the duty. `cursor`: the newest alert that is in the groups."""

    def __init__(self, con: Any, cursor: int, shard: Shard) -> None:
        self._con = con
        self.cursor = cursor
        self._shard = shard

    async def signals(self, type_ids: Sequence[int] | None = None) -> list[Signal]:
        """The next failures that are not in the groups, at most MOST_SIGNALS of them, added up. `type_ids`: as for `poll`."""
        asked = [sql("alert_signals"), self.cursor, MOST_SIGNALS] if type_ids is None else [sql("alert_signals_types"), self.cursor, MOST_SIGNALS, type_ids]
        rows = await self._con.fetch(*asked)
        return [Signal(**row) for row in rows]

    async def put(self, groups: Sequence[Group], notices: Sequence[NewNotice], cursor: int) -> dict[GroupKey, int]:
        """Stores groups, notices and how far the alerts are in them; returns the ids of the groups."""
        ids: dict[GroupKey, int] = {}
        if groups:
            rows = await self._con.fetch(sql("alert_groups_put"), json.dumps([_columns(group) for group in groups]))
            ids = {_key(row): row["group_id"] for row in rows}
        if notices:
            given = [{"group_id": ids[n.key], "channel_id": n.channel_id, "facts": {**n.facts, "group_id": ids[n.key]}, "made_s": n.made_s} for n in notices]
            await self._con.fetch(sql("alert_notices_add"), json.dumps(given))
        if cursor > self.cursor:
            await self._con.execute(sql("alert_advance"), cursor, self._shard.number)
        return ids


def _columns(group: Group) -> dict[str, Any]:
    return {
        "group_id": group.group_id,
        "domain": group.key.domain, "source": group.key.source, "rule": group.key.rule, "type": group.key.type, "fingerprint": group.key.fingerprint,
        "started_s": group.started_s, "changed_s": group.changed_s, "next_s": group.next_s, "notified_s": group.notified_s, "ended_s": group.ended_s,
        "resolved_s": group.resolved_s, "total": group.total, "pending": group.pending, "silenced": group.silenced, "notices": group.notices, "summary": group.summary,
        "first_job_id": group.first_job_id, "last_job_id": group.last_job_id,
    }  # fmt: skip


def _key(row: Any) -> GroupKey:
    return GroupKey(row["domain"], Source(row["source"]), row["rule"], row["type"], row["fingerprint"])


def _group(row: Any) -> Group:
    return Group(
        _key(row), row["started_s"], row["changed_s"], row["next_s"], row["group_id"], row["notified_s"], row["ended_s"], row["resolved_s"], row["total"], row["pending"],
        row["silenced"], row["notices"], row["summary"], row["first_job_id"], row["last_job_id"],
    )  # fmt: skip


def _channel(row: Any) -> Channel:
    return Channel(
        row["name"], row["domain"], row["kind"], json.loads(row["settings"]), row["is_default"], row["send_resolved"], row["cap_per_hour"], row["channel_id"],
        row["has_secret"],
    )  # fmt: skip


def _rule(row: Any) -> Rule:
    timing = Timing(row["group_wait_s"], row["group_interval_s"], row["repeat_interval_s"])
    return Rule(
        row["rule_id"], row["domain"], row["name"], Source(row["kind"]), row["type"], row["threshold"], row["window_s"], row["minimum"], row["for_s"],
        tuple(row["channels"]), timing,
    )  # fmt: skip


def _shown(row: Any) -> dict[str, Any]:
    """A rule as the audit has it, of whatever kind."""
    return {name: value for name, value in row.items() if name not in ("rule_id", "domain", "name")}


def _known(column: str, rows: Sequence[Any]) -> list[Any]:
    """The rows whose kind, which stands in this column, is known here; of the others the log tells."""
    unknown = Counter(row[column] for row in rows if row[column] not in KNOWN)
    for kind, count in sorted(unknown.items()):
        log.warning("alerts of a newer release are passed over here", column=column, kind=kind[:60], rows=count)
    return [row for row in rows if row[column] not in unknown]


def _silence(row: Any) -> Silence:
    return Silence(
        row["silence_id"], row["domain"], row["type"], row["source"], row["rule"], row["fingerprint"], row["starts_s"], row["ends_s"], row["author"], row["reason"],
    )  # fmt: skip
