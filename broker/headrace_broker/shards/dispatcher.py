"""Pairs agents' credit with ready jobs: highest score first, then the one that has been ready longest.

The score of a job is its type's priority, plus that of its instance, plus its own, plus what its age adds where its type says so. Among lanes of the same score the one
whose next job has been ready longest goes first; and now and then what has waited for very long (see `overdue`). Agents with room take turns, and share what is ready
evenly when there is less of it than room; domains share a round by their weights. Jobs that have terms take turns among their fairness keys (see `lines`); those without
are one more key where a type has both. What a limit holds back is not looked at (see `caps`).
"""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

from headrace_broker.model.amended import submitted
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import Kind, State
from headrace_broker.shards.lines import Choice, Crowd
from headrace_broker.shards.live import Live
from headrace_broker.shards.overdue import by_age
from headrace_broker.shards.round import Round
from headrace_broker.shards.session import Session
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import MAX_ROWS, FullBody, instance_of

if TYPE_CHECKING:
    from headrace_broker.shards.domains import DomainEntry
    from headrace_broker.shards.owner import Owner

LOOKED_AT = 8  # agents
Candidate = tuple[int, int, int, int, Choice | None]
"""(-score, since when it is ready as an id, type, priority, what is next of the jobs that have terms; None: a lane of those that have none)"""
Next = tuple[int, int, int]
"""What is next of the jobs of a type that have no terms: (-priority with age, since when it is ready as an id, priority)"""


def grant(owner: "Owner", round_: Round, now: float) -> None:
    """Grants ready jobs to agents with room; adds the events and the grants to the round."""
    left = MAX_ROWS + MAX_ROWS // 2 - round_.batch.rows()
    while owner.hungry and left > 0:
        ready = _ready(owner, round_, now)
        if not ready:
            return
        owner.overdue.begin(owner, ready, now)
        shares = _shares(owner, ready, left) if len(owner.types.domains) > 1 else None
        share = max(1, sum(ready.values()) // len(owner.hungry))
        given = 0
        for session in list(owner.hungry):
            if session.room <= 0:
                del owner.hungry[session]
                continue
            if shares is None:
                want = min(share, session.room, left)
            else:
                quota, share = shares.get(session.facts.domain, (0, 0))
                want = min(share, session.room, left, quota)
            taken = _serve(owner, round_, session, ready, want, now)
            given += taken
            left -= taken
            if shares is not None and taken:
                shares[session.facts.domain] = quota - taken, share
            if taken:  # the next round begins with somebody else
                del owner.hungry[session]
                if session.room > 0:
                    owner.hungry[session] = None
            if left <= 0:
                return
        if not given:
            return


def worth_a_round(owner: "Owner", session: Session) -> bool:
    """Whether something that the agent serves may be ready. If not, its room waits for what comes: thousands of idle agents that connect cost no commits."""
    return any(owner.lanes.best(type_id) is not None or type_id in owner.lines.crowds for type_id in session.served)


def behind(owner: "Owner") -> bool:
    """Whether there are agents with room, and more that they serve is ready than a round can grant. Only some of them are looked at."""
    lanes, by_id = owner.lanes, owner.types.by_id
    return any(
        session.room > 0 and not by_id[type_id].halted and not by_id[type_id].limited and lanes.ready(type_id) >= MAX_ROWS
        for session in islice(owner.hungry, LOOKED_AT) for type_id in session.served
    )  # fmt: skip


def _ready(owner: "Owner", round_: Round, now: float) -> dict[int, int]:
    """About how many jobs may be granted, by type; types that have none are left out."""
    by_id, crowds = owner.types.by_id, owner.lines.crowds
    ready = {type_id: owner.lanes.ready(type_id) for type_id in owner.lanes.types() if not by_id[type_id].halted}
    for type_id, crowd in crowds.items():
        if not crowd.entry.halted and (waiting := owner.lines.ready(crowd)):
            ready[type_id] = ready.get(type_id, 0) + waiting
    for type_id in [type_id for type_id in ready if by_id[type_id].limited]:
        room = owner.caps.room(owner, by_id[type_id], round_, now)
        if room > 0:
            ready[type_id] = min(ready[type_id], room)
        else:
            del ready[type_id]
    return ready


def _shares(owner: "Owner", ready: dict[int, int], left: int) -> dict[str, tuple[int, int]]:
    """(grants that a domain may have of those that are left, and each of its agents), by the weights of the domains that have something to grant and an agent."""
    hungry = Counter([session.facts.domain for session in owner.hungry])
    waiting: Counter[DomainEntry] = Counter()
    for type_id, count in ready.items():
        waiting[owner.types.by_id[type_id].domain_entry] += count
    total = sum(domain.weight for domain in waiting if domain.name in hungry)
    return {domain.name: (max(1, int(left * domain.weight / total)), max(1, count // hungry[domain.name])) for domain, count in waiting.items() if domain.name in hungry}


def _serve(owner: "Owner", round_: Round, session: Session, ready: dict[int, int], want: int, now: float) -> int:
    """Grants up to `want` jobs to one agent; returns how many."""
    given = 0
    while given < want:
        overdue = _overdue(owner, round_, session, ready, now) if owner.overdue.types else None
        best = _candidates(owner, round_, session, ready, now) if overdue is None else [overdue]
        if not best:
            break
        best.sort(key=_order)
        score, _, type_id, priority, choice = best[0]
        entry = owner.types.by_id[type_id]
        count = min(want - given, session.room_for(type_id)) if overdue is None and not entry.settings.ageing_s else 1  # what comes after it may be too young
        if len(best) > 1 and best[1][0] == score:  # of equal scores the older goes first
            count = owner.lanes.before(type_id, priority, best[1][1], count) if choice is None else 1
        if entry.limited:
            count = min(count, owner.caps.room(owner, entry, round_, now))
        if choice is not None:
            if owner.lanes.best(type_id) == choice.priority:  # jobs without terms are one more key, and have their turns
                count = min(count, 1)
            taken = _grant_of_line(owner, round_, session, choice, count, now)
        else:
            crowd = owner.lines.crowds.get(type_id)
            clock = crowd.clocks.get(priority) if crowd is not None else None  # jobs without terms are one more key
            job_ids = owner.lanes.pop(type_id, priority, count if clock is None else 1)
            taken = _grant_all(owner, round_, session, job_ids, type_id, priority, now)
            if clock is not None and taken:
                clock.serve("", entry.settings.weight(""))
        given += taken
        owner.overdue.granted(taken, in_turn=overdue is None)
        if entry.limited:
            owner.caps.spend(entry, taken)
    return given


def _overdue(owner: "Owner", round_: Round, session: Session, ready: dict[int, int], now: float) -> Candidate | None:
    """What has been ready longest of all that the agent may be granted, if that is overdue and one of those is due."""
    types = owner.overdue.due(session.served)
    if not types:
        return None
    oldest = min(_candidates(owner, round_, session, {type_id: ready[type_id] for type_id in types}, now, by_age), key=_since, default=None)
    if oldest is None or oldest[1] > owner.overdue.oldest:
        owner.overdue.none_of(types)
        return None
    return oldest


def _since(candidate: Candidate) -> int:
    return candidate[1]


def _order(candidate: Candidate) -> tuple[int, int]:
    return candidate[:2]


def _candidates(
    owner: "Owner", round_: Round, session: Session, ready: dict[int, int], now: float, age: Callable[[int], int] | None = None
) -> list[Candidate]:  # fmt: skip
    """What is next of each type that the agent may be granted now. `age`: what age adds, instead of what the types say."""
    best: list[Candidate] = []
    lanes, crowds, by_id = owner.lanes, owner.lines.crowds, owner.types.by_id
    for type_id in ready.keys() & session.served.keys():
        entry = by_id[type_id]
        if session.room_for(type_id) <= 0 or (entry.limited and owner.caps.room(owner, entry, round_, now) <= 0):
            continue
        bonus = age if age is not None or not entry.settings.ageing_s else ageing(owner, entry)
        if bonus is None:
            priority = lanes.best(type_id)
            plain = (-priority, lanes.first(type_id, priority), priority) if priority is not None else None
        else:
            plain = min([(-(own + bonus(since)), since, own) for own, since in lanes.firsts(type_id)], default=None)
        crowd = crowds.get(type_id)
        if crowd is None or not crowd.listed:
            if plain is not None:
                best.append((plain[0] - entry.settings.priority, plain[1], type_id, plain[2], None))
            continue
        found = _of_both(owner, crowd, plain, owner.lines.best(crowd, session, bonus))
        if found is not None:
            best.append(found)
    return best


def ageing(owner: "Owner", entry: TypeEntry) -> Callable[[int], int]:
    """What age adds to the priority of a job of this type that has been ready since the time of an id."""
    now_s, settings = owner.clock.now_s(), entry.settings
    return lambda since: min(settings.ageing_max, max(0, int((now_s - created_at_s(since)) / settings.ageing_s)))


def _of_both(owner: "Owner", crowd: Crowd, plain: Next | None, choice: Choice | None) -> Candidate | None:
    """What is next of a type that may have jobs with terms and jobs without."""
    own, type_id = crowd.entry.settings.priority, crowd.entry.type_id
    if plain is None or choice is None:
        first = plain is not None
    elif plain[0] == -choice.aged and plain[2] == choice.priority:  # jobs without terms are one more fairness key
        first = (crowd.clocks[plain[2]].join(""), plain[1]) < (choice.passed, choice.first)
    else:
        first = plain[:2] < (-choice.aged, choice.first)
    if first and plain is not None:
        return plain[0] - own, plain[1], type_id, plain[2], None
    return None if choice is None else (-(choice.aged + own), choice.first, type_id, choice.priority, choice)


def _grant_of_line(owner: "Owner", round_: Round, session: Session, choice: Choice, count: int, now: float) -> int:
    """Grants the next jobs of a line: one, or more where no other line waits for its turn; returns how many."""
    line = choice.line
    job_ids = owner.lines.take(owner.lines.crowds[line.entry.type_id], choice, count)
    taken = _grant_all(owner, round_, session, job_ids, line.entry.type_id, choice.own, now)
    for job_id in job_ids:
        live = owner.live_jobs[job_id]
        live.instance_id = live.instance_id or line.terms.instance or None
        if live.line is None:  # its first grant
            live.line = line
            owner.lines.began(line, 1)
    return taken


def _grant_all(owner: "Owner", round_: Round, session: Session, job_ids: list[int], type_id: int, priority: int, now: float) -> int:
    """Grants jobs of one lane to one agent; returns how many. First attempts, which nearly all are, become columns of the batch; others an event each."""
    if not job_ids:
        return 0
    entry, agent_id, live_jobs = owner.types.by_id[type_id], session.facts.agent_id, owner.live_jobs
    deadline = now + entry.settings.timeout_s + owner.limits.lease_s
    assigned = round_.grants.setdefault(session, [])
    fresh: list[Live] = []
    for job_id, body in zip(job_ids, owner.bodies.pop_all(type_id, job_ids), strict=True):
        live = live_jobs.get(job_id)
        known = live is not None
        if live is None:
            live = live_jobs[job_id] = Live(job_id, entry, priority, instance_of(body) if body is not None else None)
        live.session, live.agent_id, live.seen_no, live.deadline, live.granted_at = session, agent_id, session.last_no, deadline, now
        live.attempt += 1
        session.leases[job_id] = live
        session.unsent[live] = None
        if known:
            live.assign_no = live.missed = 0
            live.available_at_s = 0.0
            owner.record(round_, live, Kind.GRANTED, State.PROCESSING)
        else:
            live.seq, live.kind, live.state, live.round = 1, Kind.GRANTED, State.PROCESSING, round_.number
            fresh.append(live)
        if body is None:
            round_.bodiless.append((session, live))
            continue
        if isinstance(body, FullBody) and (amended := submitted(body.more)) is not None:  # a body in memory is as it was submitted
            owner.amended[job_id] = amended
        assigned.append((live, live.seq, body, None))
    if entry.breaker is not None:
        entry.breaker.granted(job_ids)
    owner.record_grants(round_, fresh, type_id, agent_id)
    session.spend(type_id, len(job_ids))
    session.renewed_at = max(session.renewed_at, now)
    return len(job_ids)
