"""What `headrace top` shows, out of what one round of calls gave. Nothing here calls a broker, reads a clock or draws.

Rates come from the counts of each minute, which the broker writes every few seconds: `Rates` tells how they grow from one round to the next, over about RATE_S. Until
enough has been seen, and where rounds lie far apart, they are means over the last whole minute and what there is of the present one.
"""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from headrace_client.brokers import Broker
from headrace_client.models import AgentInfo, JobPage, JobType, Overview, State
from headrace_client.trends import Trend, TrendPoint, TrendSeries

WINDOW_S = 300.0
"""What shares and percentiles are over."""
RATE_S = 20.0
WRITTEN_S = 9.0
"""Counts that are not newer than this may still be followed by what the broker has not written yet."""
SEEN_S = 4.0
"""Two writes that lie closer together tell no rate."""
FORGOTTEN_S = WINDOW_S - 60
"""After a gap of this length minutes may be missing between two rounds."""
NOT_READY = frozenset({"scheduled", "retry", "dependency"})

Page = tuple[Sequence[str], JobPage]
"""A page of waiting jobs, the oldest first, and of which types; empty: of all."""
Moved = Counter[str]
"""What happened: came (submitted, requeued), gone (jobs that ended), completed (jobs), failed (attempts)."""


@dataclass(frozen=True, slots=True)
class Round:
    """Answers of one round. `trend`: of the last minutes, by type; None: it was not told. `brokers` None: may not be seen.
    `silent`: addresses of the list that gave no answer. `notes`: what else is missing, and why."""

    overview: Overview
    types: list[JobType]
    agents: list[AgentInfo]
    trend: Trend | None = None
    oldest: list[Page] = field(default_factory=list)
    brokers: list[Broker] | None = None
    silent: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DomainRow:
    """One domain, all its types together. Rates are per second: jobs submitted (and requeued), jobs completed, attempts failed."""

    domain: str
    paused: bool
    waiting: int
    oldest_wait_s: float | None
    running: int
    agents: int
    slots: int
    slots_in_use: int
    in_per_s: float | None
    completed_per_s: float | None
    failed_per_s: float | None


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One job type. `oldest_wait_s`: how long the job that could start longest has waited; where older jobs of other types hide it, `oldest_wait_below_s` bounds it.

    Rates are jobs per second: in are submits and requeues, out is whatever ends a job. Over five minutes: `failed_share` of the attempts, `run_p50_s`, `run_p95_s`.
    """

    type: str
    domain: str
    paused: bool
    waiting: int
    oldest_wait_s: float | None
    oldest_wait_below_s: float | None
    running: int
    agents: int
    in_per_s: float | None
    out_per_s: float | None
    failed_share: float | None
    run_p50_s: float | None
    run_p95_s: float | None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """One agent process. `version` is its own where it says one, else that of its SDK. `heard_s`: since when nothing was heard of it."""

    agent: str
    domain: str
    host: str
    pid: int
    state: str
    running: int
    slots: int
    version: str
    sdk: str
    heard_s: float


@dataclass(frozen=True, slots=True)
class BrokerRow:
    """One broker process, or an address of the list that gives no answer."""

    broker: str
    state: str
    shards: tuple[int, ...]
    version: str
    connected_s: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All that is shown of one round. Rates are per second over all types: jobs submitted (and requeued) and completed, attempts failed (timed out, lost).

    `domain`: its name, or those of several with commas between them.
    """

    at: datetime
    domain: str
    version: str
    uptime_s: float
    waiting: int
    processing: int
    slots: int
    slots_in_use: int
    in_per_s: float | None
    completed_per_s: float | None
    failed_per_s: float | None
    domains: list[DomainRow]
    types: list[TypeRow]
    agents: list[AgentRow]
    brokers: list[BrokerRow]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What had happened by a time, since the first one, by type; `grew`: more than at the time before."""

    at_s: float
    totals: dict[str, Moved]
    grew: bool


class Rates:
    """What is remembered from round to round. Times are the database's; when they go back, or leap, it begins anew."""

    def __init__(self) -> None:
        self._minutes: dict[tuple[str, datetime], Moved] = {}
        self._rounds: deque[_Seen] = deque()
        self._means: dict[str, dict[str, float]] = {}
        self._period: tuple[_Seen, _Seen] | None = None

    def add(self, at: datetime, series: Sequence[TrendSeries]) -> None:
        """The minutes as they stand at that time, the last of WINDOW_S of them at least."""
        now_s = at.timestamp()
        if self._rounds and not 0 <= now_s - self._rounds[-1].at_s < FORGOTTEN_S:
            self._rounds.clear()
        minutes = {(one.name, point.at): _moved(point) for one in series for point in one.points}
        before = self._rounds[-1].totals if self._rounds else {}
        totals = dict(before)
        for (name, minute), moved in minutes.items():
            more = moved - self._minutes.get((name, minute), Moved())  # a Counter's difference keeps what is positive
            if more and self._rounds:
                totals[name] = totals.get(name, Moved()) + more
        self._rounds.append(_Seen(now_s, totals, totals != before))
        while len(self._rounds) > 1 and self._rounds[1].at_s <= now_s - RATE_S:
            self._rounds.popleft()
        self._minutes = minutes
        self._means = {one.name: _means(one.points, at) for one in series}
        self._period = self._now_told()

    def of(self, name: str) -> Mapping[str, float]:
        """Per second, by what moved, of one type. What is not named did not happen."""
        if self._period is None:
            return self._means.get(name, {})
        begin, end = self._period
        more = end.totals.get(name, Moved()) - begin.totals.get(name, Moved())
        return {what: count / (end.at_s - begin.at_s) for what, count in more.items()}

    def _now_told(self) -> tuple[_Seen, _Seen] | None:
        """What had happened by its beginning and by its end: the first write within RATE_S and the last, or now when writes have ceased. None: too little was seen."""
        first, last = self._rounds[0], self._rounds[-1]
        writes = [seen for seen in self._rounds if seen.grew and seen.at_s >= last.at_s - RATE_S]
        end = writes[-1] if writes and last.at_s - writes[-1].at_s <= WRITTEN_S else last
        if writes and end.at_s - writes[0].at_s >= SEEN_S:
            return writes[0], end
        return (first, end) if end.at_s - first.at_s > WRITTEN_S else None


def figures(found: Round, rates: Rates, domain: str) -> Figures:
    """What a round tells; `rates` is told of it too."""
    now = found.overview.server_time
    if found.trend is not None:
        rates.add(now, found.trend.series)
    told = {item.name: rates.of(item.name) for item in found.types} if found.trend is not None else None
    totals = None if told is None else {what: sum(each.get(what, 0.0) for each in told.values()) for what in ("came", "completed", "failed")}
    periods = {one.name: one.total for one in found.trend.series} if found.trend is not None else {}
    waits, below = oldest_waits(found.oldest, waiting(found), now)
    counts, overview = found.overview.counts, found.overview
    agents = [_agent(item, domain) for item in found.agents]
    row = DomainRow(
        domain, any(item.pause is not None and item.pause.kind == "domain" for item in found.types), counts.get(State.WAITING, 0), max(waits.values(), default=None),
        counts.get(State.PROCESSING, 0), sum(row.state != "awaited" for row in agents), overview.slots, overview.slots_in_use, _rate(totals, "came"),
        _rate(totals, "completed"), _rate(totals, "failed"),
    )  # fmt: skip
    types = [_type(item, domain, periods.get(item.name), None if told is None else told[item.name], waits.get(item.name), below.get(item.name)) for item in found.types]
    return Figures(
        now, domain, overview.version, overview.uptime_s, row.waiting, row.running, row.slots, row.slots_in_use, row.in_per_s, row.completed_per_s, row.failed_per_s,
        [row], types, agents, _brokers(found, now), found.notes,
    )  # fmt: skip


def together(each: Sequence[Figures], notes: Sequence[str]) -> Figures:
    """Several domains, one or more, as one. `notes`: what is missing beside what theirs say."""
    first = each[0]
    own = [note if len(each) == 1 else f"{one.domain}: {note}" for one in each for note in one.notes]
    return replace(
        first, domain=",".join(one.domain for one in each), domains=[row for one in each for row in one.domains], types=[row for one in each for row in one.types],
        agents=[row for one in each for row in one.agents], brokers=next((one.brokers for one in each if one.brokers), []), notes=[*notes, *own],
        waiting=sum(one.waiting for one in each), processing=sum(one.processing for one in each), slots=sum(one.slots for one in each),
        slots_in_use=sum(one.slots_in_use for one in each), in_per_s=_sum([one.in_per_s for one in each]),
        completed_per_s=_sum([one.completed_per_s for one in each]), failed_per_s=_sum([one.failed_per_s for one in each]),
    )  # fmt: skip


def waiting(found: Round) -> set[str]:
    """Types with jobs that wait."""
    return {item.name for item in found.types if item.counts.get(State.WAITING)}


def oldest_waits(pages: Iterable[Page], names: Collection[str], now: datetime) -> tuple[dict[str, float], dict[str, float]]:
    """In seconds: (how long the oldest ready job of a type has waited, at most how long those may have waited of which no page tells). `names`: where jobs wait."""
    waits: dict[str, float] = {}
    below: dict[str, float] = {}
    for asked, page in pages:
        for job in page.jobs:
            if job.wait_reason not in NOT_READY:
                waits[job.type] = max(waits.get(job.type, 0.0), (now - max(job.created_at, job.available_at or job.created_at)).total_seconds())
        for name in asked or names:
            if not page.next_page_token:
                below.pop(name, None)
            elif page.jobs:  # what the page does not hold was submitted later than what it holds
                below[name] = max(0.0, (now - page.jobs[-1].created_at).total_seconds())
    return waits, {name: bound for name, bound in below.items() if name in names and name not in waits}


def _type(item: JobType, domain: str, period: TrendPoint | None, rate: Mapping[str, float] | None, oldest_s: float | None, below_s: float | None) -> TypeRow:
    return TypeRow(
        item.name, domain, item.pause is not None or bool(item.effective.get("paused")), item.counts.get(State.WAITING, 0), oldest_s, below_s,
        item.counts.get(State.PROCESSING, 0), item.agents, _rate(rate, "came"), _rate(rate, "gone"), period.error_rate if period is not None else None,
        period.run.p50_s if period is not None else None, period.run.p95_s if period is not None else None,
    )  # fmt: skip


def _agent(item: AgentInfo, domain: str) -> AgentRow:
    state = "paused" if item.pause else "draining" if item.draining else "connected" if item.connected else "awaited"
    return AgentRow(item.name, domain, item.host, item.pid, state, item.slots_in_use, item.slots, item.build or item.sdk, item.sdk, item.silent_for_s)


def _brokers(found: Round, now: datetime) -> list[BrokerRow]:
    known = found.brokers or []
    rows = [BrokerRow(item.endpoint or item.address, item.role, item.shards, item.version, max(0.0, (now - item.connected_at).total_seconds())) for item in known]
    return rows + [BrokerRow(address, "no answer", (), "", None) for address in found.silent]


def _moved(point: TrendPoint) -> Moved:
    return Moved(
        came=point.submitted + point.requeued, gone=point.completed + point.error + point.aborted, completed=point.completed,
        failed=point.failed + point.timed_out + point.lost,
    )  # fmt: skip


def _means(points: Sequence[TrendPoint], at: datetime) -> dict[str, float]:
    """Over the last whole minute and the present one."""
    begin = at.replace(second=0, microsecond=0) - timedelta(minutes=1)
    total = Moved()
    for point in points:
        if point.at >= begin:
            total += _moved(point)
    return {what: count / (at - begin).total_seconds() for what, count in total.items()}


def _sum(rates: Sequence[float | None]) -> float | None:
    """Of those that are known; None: none is."""
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def _rate(rates: Mapping[str, float] | None, what: str) -> float | None:
    return None if rates is None else rates.get(what, 0.0)
