"""Compares what the outside wrote down (submitters and handlers, see `record`) with what the ledger holds, job by job."""

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
from headrace_broker.model.job import Kind, State
from headrace_client import Client, JobFilter

from tests.support.ledger import check_ledger
from tests.support.processes import until
from tests.support.record import Reader


async def drained(brokers: str, timeout_s: float = 60) -> Counter[str]:
    """The broker's count of jobs by state, once every job has settled."""

    async def check() -> Counter[str] | None:
        counts = await count(brokers)
        return None if counts.keys() & {"waiting", "processing"} else counts

    counts: Counter[str] = await until(check, timeout_s=timeout_s, what="the end of all jobs")
    return counts


async def count(brokers: str, *, searched: bool = False) -> Counter[str]:
    """What the broker counts now, by state: from its counts, or by looking for every job."""
    async with Client(brokers, timeout_s=30) as client:
        totals = (await client.count(where=JobFilter(created_from=datetime(2025, 1, 1, tzinfo=UTC)) if searched else None)).totals
    return Counter({str(state): number for state, number in totals.items() if number})


@dataclass
class Submitted:
    """The submitters' side: which names there are, and what they were told."""

    keyed: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    got: dict[str, int] = field(default_factory=dict)
    none: dict[str, str] = field(default_factory=dict)  # name -> why

    @classmethod
    def read(cls, path: Path) -> "Submitted":
        """From the submitters' file."""
        found = cls()
        for what, name, *rest in Reader(path).read():
            if what == "try":
                (found.keyed if rest[0] == "keyed" else found.plain).add(name)
            elif what == "got":
                assert found.got.setdefault(name, int(rest[0])) == int(rest[0]), f"{name} was acknowledged as two jobs"
            elif what == "none":
                found.none[name] = rest[0]
        return found


@dataclass
class Start:
    """One start of a handler; `end`: how it came to its end, if it did ("end", "fail" or "stopped"), and when."""

    epoch: int
    pid: int
    at: float
    end: str = ""
    end_at: float = 0.0


def read_starts(path: Path) -> dict[int, list[Start]]:
    """job -> its starts in order of time, from the handlers' file."""
    found: dict[int, list[Start]] = defaultdict(list)
    for what, job_id, epoch, pid, at in Reader(path).read():
        starts = found[int(job_id)]
        if what == "start":
            starts.append(Start(int(epoch), int(pid), float(at)))
        else:
            [start] = [item for item in starts if (item.epoch, item.pid) == (int(epoch), int(pid))]
            start.end, start.end_at = what, float(at)
    return found


@dataclass
class Verdict:
    """What was found. Everything but the numbers of jobs and of explained further starts must be zero."""

    jobs: int = 0
    acknowledged: int = 0
    unanswered_stored: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    stored_against_word: list[str] = field(default_factory=list)  # "nothing was stored", and it was
    stale: list[str] = field(default_factory=list)  # settled by a lease that was not the newest, or whose handler did not come to its end
    without_lease: list[str] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)  # further starts by their cause
    unexplained: list[str] = field(default_factory=list)
    side_by_side: int = 0  # further starts while the earlier one still ran

    def faults(self) -> dict[str, list[str]]:
        """What must not be."""
        names = ("lost", "doubled", "stored_against_word", "stale", "without_lease", "unexplained")
        return {name: found[:5] for name in names if (found := getattr(self, name))}

    def __str__(self) -> str:
        again = ", ".join(f"{self.again[cause]} {cause}" for cause in sorted(self.again)) or "none"
        return (
            f"{self.jobs} jobs, {self.acknowledged} acknowledged, {self.unanswered_stored} stored without an answer; lost {len(self.lost)}, doubled {len(self.doubled)}, "
            f"stored against the library's word {len(self.stored_against_word)}, settled by a stale lease {len(self.stale)}, started without a lease "
            f"{len(self.without_lease)}; started again: {again}; without a cause {len(self.unexplained)}, side by side {self.side_by_side}"
        )


async def judge(con: "asyncpg.Connection[Any]", submitted_path: Path, ran_path: Path, killed_at: Mapping[int, float]) -> Verdict:
    """Reads everything; all jobs must be settled. `killed_at`: pid of a killed process -> when. Fails where the ledger contradicts itself (`check_ledger`).

    The whole ledger is checked; what submitters were told and handlers wrote down is held against the jobs of the submitters' type.
    """
    everything = await check_ledger(con)
    rows = await con.fetch("select j.job_id, j.idempotency_key, j.payload from headrace.job j join headrace.job_type t using (type_id) where t.name = 'chaos'")
    heads = {row["job_id"]: everything[row["job_id"]] for row in rows}
    submitted = Submitted.read(submitted_path)
    verdict = Verdict(jobs=len(heads), acknowledged=len(submitted.got))
    judge_submits(verdict, submitted, rows)
    verdict.lost += [f"job {job_id} is {head.state.name}" for job_id, head in heads.items() if head.state is not State.COMPLETED]
    histories: dict[int, list[tuple[int, Kind, bytes | None]]] = defaultdict(list)
    for row in await con.fetch("select job_id, seq, kind, result from headrace.event order by job_id, seq"):
        histories[row["job_id"]].append((row["seq"], Kind(row["kind"]), row["result"]))
    starts = read_starts(ran_path)
    verdict.without_lease += [f"job {job_id} ran and is not stored" for job_id in starts.keys() - everything.keys()]
    for job_id, history in histories.items():
        if job_id in heads:
            judge_job(verdict, job_id, history, starts.get(job_id, []), killed_at)
    return verdict


def judge_submits(verdict: Verdict, submitted: Submitted, rows: Sequence[Mapping[str, Any]]) -> None:
    """What submitters were told, against the stored jobs: rows of job_id, idempotency_key, payload (the name, as JSON)."""
    stored: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        name = json.loads(row["payload"])
        stored[name].append(row["job_id"])
        assert name in (submitted.plain if row["idempotency_key"] is None else submitted.keyed), f"job {row['job_id']} was submitted by nobody: {name}"
    verdict.lost += [f"{name}: job {job_id}, stored are {stored.get(name)}" for name, job_id in submitted.got.items() if job_id not in stored.get(name, ())]
    verdict.doubled += [f"{name}: jobs {ids}" for name, ids in stored.items() if len(ids) > 1]
    verdict.stored_against_word += [f"{name}: jobs {stored[name]}, {why}" for name, why in submitted.none.items() if name in stored]
    verdict.unanswered_stored = len(stored.keys() - submitted.got.keys())


def judge_job(verdict: Verdict, job_id: int, history: list[tuple[int, Kind, bytes | None]], starts: list[Start], killed_at: Mapping[int, float]) -> None:
    """One job: its events (seq, kind, result), and what its handlers wrote down."""
    kinds = {seq: kind for seq, kind, _ in history}
    granted = [seq for seq, kind, _ in history if kind is Kind.GRANTED]
    told = f"job {job_id}: {[(seq, kind.name) for seq, kind, _ in history]}, {starts}"
    if any(start.epoch not in granted for start in starts) or len({start.epoch for start in starts}) < len(starts):
        verdict.without_lease.append(told)
    completed = [(seq, result) for seq, kind, result in history if kind is Kind.COMPLETED]
    for seq, result in completed:
        epoch = max(item for item in granted if item < seq)
        ended = any((start.epoch, start.end) == (epoch, "end") for start in starts)
        if not ended or json.loads(result or b"null") != epoch:
            verdict.stale.append(f"{told}, result {result!r}")
    for earlier, later in itertools.pairwise(starts):
        cause = _cause(kinds.get(earlier.epoch + 1), earlier, later, killed_at)
        if cause is None:
            verdict.unexplained.append(told)
        else:
            verdict.again[cause] += 1
        verdict.side_by_side += earlier.end_at > later.at or (not earlier.end and earlier.pid not in killed_at)


def _cause(ending: Kind | None, earlier: Start, later: Start, killed_at: Mapping[int, float]) -> str | None:
    """Why a job was started again; None: there is no reason."""
    if earlier.end == "fail" and ending is Kind.FAILED:
        return "after a failure"
    if ending is Kind.REJECTED and earlier.end == "stopped" and earlier.end_at <= later.at:
        return "after its agent had stopped it"  # it could not renew the lease, and said so when it came back
    if ending not in (Kind.LOST, Kind.OWNER_CHANGED):
        return None
    if earlier.at <= killed_at.get(earlier.pid, 0.0) <= later.at:
        return "after its agent's kill"
    return "after its lease's end"
