"""What rules look at: the owner's memory, the minutes of the statistics, the flushes, the agents that went away. Nothing here scans jobs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from headrace_broker.model.alert_rules import DatabaseFacts, ExpectedAgent, Facts, LostAgent, OpenDoor, Rule, TypeFacts, span
from headrace_broker.model.alerting import GroupKey, Source
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import State
from headrace_broker.shards.health import FlushHealth
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.session import Session
from headrace_broker.store.inbox import Inbox
from headrace_broker.store.statistics import Statistics


@dataclass
class Watch:
    """Gathers the facts for the rules of a pass. `monotonic`: the clock of `health`."""

    statistics: Statistics
    inbox: Inbox
    health: FlushHealth
    monotonic: Callable[[], float]
    roster: "Roster" = field(default_factory=lambda: Roster())

    async def look(self, owner: Owner, rules: Iterable[Rule], now: float) -> dict[int, Facts]:
        """What each rule looks at now, by its id. Raises what asyncpg raises when Postgres is away."""
        wanted = list(rules)
        self.roster.see(owner.sessions(), now)
        kinds = {rule.kind for rule in wanted}
        types = _types(owner, now) if kinds & {Source.OLDEST_WAITING, Source.NO_AGENT} else {}
        doors = await self._doors(owner) if Source.DOOR_OPEN in kinds else {}
        found = {}
        for rule in wanted:
            ended = await self._ended(owner, rule, now) if rule.kind is Source.ERROR_RATE else {}
            lost = self.roster.lost(rule.domain, now) if rule.kind is Source.AGENT_LOST else []
            database = DatabaseFacts(*self.health.recent(self.monotonic(), rule.window_s)) if rule.kind is Source.DATABASE else DatabaseFacts(0.0, 0, "")
            found[rule.rule_id] = Facts(types.get(rule.domain, []), ended, lost, database, doors.get(rule.domain, []))
        return found

    async def _ended(self, owner: Owner, rule: Rule, now: float) -> dict[str, tuple[int, int]]:
        """Attempts by type in whole minutes: those of the window, and what there is of the present one."""
        entries = {entry.type_id: entry.name for entry in owner.types.of_domain(rule.domain) if not rule.type or entry.name == rule.type}
        minute = int(now // 60)
        ended = await self.statistics.ended(minute - int(rule.window_s // 60), minute + 1, list(entries)) if entries else {}
        return {entries[type_id]: numbers for type_id, numbers in ended.items()}

    async def _doors(self, owner: Owner) -> dict[str, list[OpenDoor]]:
        found: dict[str, list[OpenDoor]] = {}
        for door in await self.inbox.open_doors():
            live = owner.live(door.job_id)
            if live is not None:
                found.setdefault(live.entry.domain, []).append(OpenDoor(door.job_id, live.entry.name, door.open_s, door.who))
        return found


@dataclass(slots=True)
class Known:
    """An agent that was there at `seen_s`. `session` None: another owner saw it, and it has not come back to this one."""

    agent: ExpectedAgent
    seen_s: float
    session: Session | None = None


def broken(owner: Owner) -> dict[GroupKey, str]:
    """Types whose breaker is not closed, each with what is to be said of it."""
    found = {}
    for guard in owner.breakers.held():
        entry, machine = guard.entry, guard.machine
        key = GroupKey(entry.domain, Source.BREAKER_OPEN, "", entry.name, "")
        found[key] = f"{machine.failed:,} of {machine.ended:,} attempts failed within {span(machine.rule.window_s)}: its jobs wait until a canary completes"
    return found


class Roster:
    """Agents that were seen, and which of them are gone without a word. What is new of it goes into the database, so that who owns the queue next misses them too."""

    def __init__(self, stored: Sequence[ExpectedAgent] = (), now: float = 0.0) -> None:
        """`stored`: whom the owner before expected; they have BACK_S from `now` on to come back.

        One that held no job is not expected: it may have ended in good order while no broker owned the queue, when nobody was there to be told, and nothing is lost.
        One that held jobs has not: it would have waited for somebody to take their outcomes.
        """
        awaited = [agent for agent in stored if agent.gone_s is not None or agent.holds]
        self._seen = {
            agent.incarnation_id: Known(replace(agent, holds=False), min(agent.gone_s, now) if agent.gone_s is not None else now + BACK_S) for agent in awaited
        }  # fmt: skip
        self._come: dict[tuple[str, str], float] = {}  # (domain, name) -> when an agent of the name came last
        self._looked_s = 0.0  # when the agents were looked at last
        self._stored = {agent.incarnation_id: replace(agent, holds=False) for agent in stored}

    def see(self, sessions: Iterable[Session], now: float) -> None:
        """The agents of this moment."""
        if now < self._looked_s:
            self._set_back(self._looked_s - now)
        self._looked_s = now
        for session in sessions:
            facts = session.facts
            known = self._seen.get(facts.incarnation_id)
            if known is None:
                self._come[facts.domain, facts.name] = now
            if session.stream is not None or known is None or known.session is None:
                self._seen[facts.incarnation_id] = Known(ExpectedAgent(facts.incarnation_id, facts.domain, facts.name, facts.host), now, session)
        for incarnation, known in list(self._seen.items()):
            come_s = self._come.get((known.agent.domain, known.agent.name))
            replaced = come_s is not None and (known.session is None or come_s > known.seen_s)
            gone = known.session is None or known.seen_s < now
            if gone and (replaced or now - known.seen_s > KEPT_S or (known.session is not None and known.session.draining)):
                del self._seen[incarnation]
        self._come = {name: at for name, at in self._come.items() if now - at < KEPT_S}

    def lost(self, domain: str, now: float) -> list[LostAgent]:
        """Agents of a domain that went away without having said so, and whose name nobody has taken since."""
        return [
            LostAgent(known.agent.name, known.agent.host, now - known.seen_s)
            for known in self._seen.values() if known.agent.domain == domain and known.seen_s < now
        ]  # fmt: skip

    def unsaved(self, now: float) -> tuple[list[ExpectedAgent], list[str]]:
        """(agents whose rows are to be written, incarnations whose rows are to go), as of the look at `now`."""
        wanted = {name: self._row(known, now) for name, known in self._seen.items() if known.session is None or not known.session.draining}
        return [row for name, row in wanted.items() if self._stored.get(name) != row], [name for name in self._stored if name not in wanted]

    def saved(self, put: Sequence[ExpectedAgent], dropped: Sequence[str]) -> None:
        """That is stored now."""
        self._stored.update({row.incarnation_id: row for row in put})
        for name in dropped:
            self._stored.pop(name, None)

    def _set_back(self, by_s: float) -> None:
        """The database's clock shows so much less than it did: all of it is as long ago as it was."""
        for known in self._seen.values():
            known.seen_s -= by_s
        self._come = {name: at - by_s for name, at in self._come.items()}

    @staticmethod
    def _row(known: Known, now: float) -> ExpectedAgent:
        return replace(known.agent, gone_s=known.seen_s if known.seen_s < now else None)


BACK_S = 15.0
"""How long agents have to come to a new owner before they are missed."""
KEPT_S = 86_400.0
"""An agent that has not come back for so long is forgotten."""


def _types(owner: Owner, now: float) -> dict[str, list[TypeFacts]]:
    """By domain."""
    serving: dict[int, int] = {}
    for session in owner.sessions():
        if session.stream is not None:
            for type_id in session.served:
                serving[type_id] = serving.get(type_id, 0) + 1
    in_lines = owner.lines.oldest()
    found: dict[str, list[TypeFacts]] = {}
    for type_id, entry in owner.types.by_id.items():
        if not owner.shard.holds(entry.domain_id):
            continue
        times = [since for since in (owner.lanes.oldest(type_id), in_lines.get(type_id)) if since is not None]
        crowd = owner.lines.crowds.get(type_id)
        ready = min(owner.lanes.ready(type_id) + (crowd.waiting if crowd is not None else 0), owner.counted[type_id, State.WAITING, 0])  # some entries may not count
        oldest_s = max(0.0, now - created_at_s(min(times))) if times else 0.0
        found.setdefault(entry.domain, []).append(TypeFacts(entry.name, oldest_s, ready if times else 0, serving.get(type_id, 0), entry.halted))
    return found
