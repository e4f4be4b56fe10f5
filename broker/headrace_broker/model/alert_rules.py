"""Rules: what they look at, and what they find. Pure: facts come in, findings go out, and the time for which a finding must last is kept by whoever asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from headrace_broker.model.alerting import JOBS, OWN_TYPE, Source, Timing
from headrace_broker.model.errors import InvalidField

KINDS = tuple(source for source in Source if source not in JOBS | OWN_TYPE)
OF_TYPES = frozenset({Source.OLDEST_WAITING, Source.ERROR_RATE, Source.NO_AGENT})
"""Kinds that look at job types, one by one."""
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Default:
    """What a rule of a kind says unless it says otherwise. `threshold`: seconds; of error_rate a share."""

    threshold: float
    window_s: float
    minimum: int
    for_s: float


DEFAULTS: Mapping[Source, Default] = {
    Source.OLDEST_WAITING: Default(600.0, 0.0, 0, 0.0),
    Source.ERROR_RATE: Default(0.1, 600.0, 20, 0.0),
    Source.AGENT_LOST: Default(0.0, 3600.0, 0, 60.0),
    Source.NO_AGENT: Default(0.0, 0.0, 1, 60.0),
    Source.DATABASE: Default(1.0, 60.0, 0, 30.0),
    Source.DOOR_OPEN: Default(60.0, 0.0, 0, 0.0),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of a domain.

    `threshold`: of oldest_waiting, how long a job that could start may wait; of error_rate, the share of ended attempts that may fail in `window_s` when `minimum` ended;
    of database, the longest flush that is no trouble; of door_open, how long a transaction may keep a job. `for_s`: how long it must be so before it fires. `window_s` of
    agent_lost: how long an agent that does not come back is told of; of database: how far back failures count. `channels` empty: the domain's default ones.
    """

    rule_id: int
    domain: str
    name: str
    kind: Source
    type: str
    threshold: float
    window_s: float
    minimum: int
    for_s: float
    channels: tuple[str, ...]
    timing: Timing


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """One job type now. `oldest_s`: how long the one that could start longest has waited, 0: none could; `ready`: how many could; `agents` that serve it."""

    name: str
    oldest_s: float
    ready: int
    agents: int
    halted: bool


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """The flushes of a window: the slowest, the one under way included, and those that failed."""

    slowest_s: float
    failures: int
    error: str


@dataclass(frozen=True, slots=True)
class LostAgent:
    """An agent that is gone without having said so, and nobody of its name has come since."""

    name: str
    host: str
    gone_s: float


@dataclass(frozen=True, slots=True)
class ExpectedAgent:
    """An agent that is missed when it goes without a word. `gone_s`: when it was there last, if it is not there now, in seconds since 1970; `holds`: it has leases."""

    incarnation_id: str
    domain: str
    name: str
    host: str
    gone_s: float | None = None
    holds: bool = False


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """A transaction that has completed a job and is not committed; `who` names it."""

    job_id: int
    type: str
    open_s: float
    who: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What a domain looks like now. `ended`: type -> (attempts that ended, that failed) in the window of the rule."""

    types: Sequence[TypeFacts] = ()
    ended: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    lost: Sequence[LostAgent] = ()
    database: DatabaseFacts = DatabaseFacts(0.0, 0, "")
    doors: Sequence[OpenDoor] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: of which type, what is alike, and in words."""

    type: str
    fingerprint: str
    summary: str


def evaluate(rule: Rule, facts: Facts) -> list[Finding]:
    """What the rule finds now, whether it has lasted or not."""
    if rule.kind is Source.OLDEST_WAITING:
        late = [t for t in _types(rule, facts) if not t.halted and t.oldest_s > rule.threshold]
        return [Finding(t.name, "", f"the oldest of {t.ready:,} jobs that could start waits for {span(t.oldest_s)}, {span(rule.threshold)} is allowed") for t in late]
    if rule.kind is Source.NO_AGENT:
        alone = [t for t in _types(rule, facts) if not t.halted and not t.agents and t.ready >= max(1, rule.minimum)]
        return [Finding(t.name, "", f"{'1 job waits' if t.ready == 1 else f'{t.ready:,} jobs wait'} and no connected agent serves the type") for t in alone]
    if rule.kind is Source.ERROR_RATE:
        return [
            Finding(name, "", f"{failed:,} of {ended:,} attempts failed in {span(rule.window_s)}: {failed / ended:.1%}, {rule.threshold:.1%} is allowed")
            for name, (ended, failed) in sorted(facts.ended.items())
            if (not rule.type or rule.type == name) and ended >= max(1, rule.minimum) and failed / ended > rule.threshold
        ]
    if rule.kind is Source.AGENT_LOST:
        names = sorted({agent.name for agent in facts.lost if agent.gone_s <= rule.window_s})
        return [Finding("", name, _lost([agent for agent in facts.lost if agent.name == name and agent.gone_s <= rule.window_s])) for name in names]
    if rule.kind is Source.DOOR_OPEN:
        late_doors = [door for door in facts.doors if door.open_s > rule.threshold and (not rule.type or rule.type == door.type)]
        return [Finding(d.type, str(d.job_id), f"{d.who} has completed job {d.job_id} and is not committed for {span(d.open_s)}") for d in late_doors]
    found = facts.database
    if found.failures:
        return [Finding("", "", f"{found.failures} flushes failed within {span(rule.window_s)}: {found.error}")]
    slow = found.slowest_s > rule.threshold
    return [Finding("", "", f"a flush took {span(found.slowest_s)}, {span(rule.threshold)} is allowed")] if slow else []


def check(rule: Rule) -> None:
    """Raises InvalidField for what makes no sense."""
    if rule.type and rule.kind not in OF_TYPES | {Source.DOOR_OPEN}:
        raise InvalidField("rule.type", f"a rule of kind {rule.kind} looks at no type")
    most = 1.0 if rule.kind is Source.ERROR_RATE else 366 * DAY_S
    if not 0 <= rule.threshold <= most:
        raise InvalidField("rule.threshold", f"between 0 and {most:g} for {rule.kind}, found {rule.threshold:g}")
    if rule.kind is Source.ERROR_RATE and not 60 <= rule.window_s <= DAY_S:
        raise InvalidField("rule.window", f"one minute to one day, found {rule.window_s:g} s")
    timing = rule.timing
    for name, found, least, longest in (
        ("window", rule.window_s, 0.0, DAY_S), ("lasting", rule.for_s, 0.0, DAY_S), ("group_wait", timing.group_wait_s, 0.0, DAY_S),
        ("group_interval", timing.group_interval_s, 1.0, 7 * DAY_S), ("repeat_interval", timing.repeat_interval_s, 1.0, 366 * DAY_S),
    ):  # fmt: skip
        if not least <= found <= longest:
            raise InvalidField(f"rule.{name}", f"a duration from {least:g} to {longest:,.0f} s, found {found:g} s")


def span(seconds: float) -> str:
    """A duration in one unit that suits it."""
    for limit, unit, name in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / DAY_S:.0f} d"


def _types(rule: Rule, facts: Facts) -> list[TypeFacts]:
    return [t for t in facts.types if not rule.type or rule.type == t.name]


def _lost(agents: Sequence[LostAgent]) -> str:
    hosts = ", ".join(sorted({agent.host for agent in agents if agent.host})[:5])
    many = f"{len(agents)} agents called {agents[0].name}" if len(agents) > 1 else f"agent {agents[0].name}"
    return f"{many}{f' on {hosts}' if hosts else ''} went away without a word, {span(max(agent.gone_s for agent in agents))} ago, and did not come back"
