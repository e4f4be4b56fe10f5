"""Several agents of one machine (`tests.property.machine`): sessions that are driven by hand."""

import json
from dataclasses import dataclass
from typing import Any

from headrace_broker.model.job import Disposition, Kind
from headrace_broker.shards import reception
from headrace_broker.shards.intents import Ending, PlainJobs
from headrace_broker.shards.session import AgentFacts, Served, Session
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import FullBody

from tests.property.machine import Machine


async def join(
    machine: Machine, name: str = "agent", *, types: tuple[TypeEntry, ...] = (), labels: dict[str, str] | None = None, domain: str = "default",
    held: dict[int, int] | None = None,
) -> Session:  # fmt: skip
    """An agent connects; `held`: job ids and epochs of the leases that it has."""
    incarnation_id = f"{name}-{len(machine.owner.by_incarnation)}".ljust(16, "0")
    agent_id, seen = await machine.settings.agent(domain, name, incarnation_id, "host", 1, "", "", labels or {})
    facts = AgentFacts(agent_id, name, incarnation_id, domain, "host", 1, "", "", labels or {}, seen)
    served = [Served(entry, 0, "async") for entry in types or (machine.type,)]
    session, _, _ = reception.welcome(machine.owner, facts, served, 10_000, held or {}, object(), machine.now)
    return session


async def grants(machine: Machine, *sessions: Session, room: int = 10) -> list[list[int]]:
    """One round in which each agent has room for so many; the jobs that each is granted, in order."""
    before = [set(session.leases) for session in sessions]
    for session in sessions:
        if session.stream is not None:
            session.renewed_at = machine.now
            session.set_credit(session.assign_no, room, [])
            machine.owner.hungry[session] = None
    await machine.flush(grant=True)
    for session in sessions:
        if session.unsent:
            await _send(machine, session)
    return [[job_id for job_id in session.leases if job_id not in old] for session, old in zip(sessions, before, strict=True)]


async def _send(machine: Machine, session: Session) -> None:
    machine.session, kept = session, machine.session
    await machine._refill()
    session.take_out(machine.now)
    session.accept(session.assign_no)
    machine.session = kept


async def submit(machine: Machine, count: int, *, entry: TypeEntry | None = None, priority: int = 0, start_s: float = 0.0, **terms: Any) -> list[int]:
    """New jobs; `terms`: limit_key, fairness_key, required_labels."""
    entry = entry or machine.type
    if terms or start_s:
        body = FullBody(b"{}", more=json.dumps(terms)) if terms else b"{}"
        done = machine.owner.submit([(entry, priority, start_s, body)] * count, 2 * count)
    else:
        done = machine.owner.submit(PlainJobs(entry, priority, [b"{}"] * count), 2 * count)
    while not done.done():
        await machine.flush()
    return done.result()


@dataclass(frozen=True)
class Reporter:
    """One of the agents: its outcomes are answered to the machine."""

    machine: Machine
    agent_id: int

    def ack(self, job_ids: list[int], epochs: list[int], disposition: Disposition) -> None:
        """As the machine takes it."""
        self.machine.ack(job_ids, epochs, disposition)


def complete(machine: Machine, *job_ids: int) -> None:
    """Their agents report that they completed; decided in the next round."""
    for job_id in job_ids:
        live = machine.owner.live_jobs[job_id]
        machine.owner.end([Ending(job_id, live.seq, Kind.COMPLETED, Reporter(machine, live.agent_id or 0), b"")])
