"""Which types agents serve; draining agents and having them go on: a drained agent finishes what it has and is granted nothing more."""

from collections import Counter
from collections.abc import Mapping

from headrace_broker.actions.reach import require, types_for
from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import AgentNotFound, DatabaseUnavailable
from headrace_broker.model.job import State
from headrace_broker.model.permissions import Act, Types
from headrace_broker.shards.owner import Owner
from headrace_broker.shards.session import Session
from headrace_broker.store.audit import AuditStore
from headrace_broker.store.pool import READ_FAILURES


def serves(session: Session, types: Types) -> bool:
    """Whether an agent serves one of these types: whoever may see that type may see the agent."""
    return types.everything or any(types.allow(served.entry.name) for served in session.served.values())


def serving(owner: Owner) -> Counter[int]:
    """How many connected agents serve each type, by its id. Asked once for a list: there may be thousands of either."""
    return Counter(type_id for session in owner.sessions() if session.stream is not None for type_id in session.served)


def stuck(owner: Owner, domain: str, counts: Mapping[str, Mapping[State, int]]) -> int:
    """How many of the jobs that wait, of these counts by type and state, are of types that are paused, or that no connected agent serves: nothing takes them as it is."""
    agents, found = serving(owner), 0
    for name, by_state in counts.items():
        entry = owner.types.find(domain, name)
        if entry is None or entry.halted or not agents[entry.type_id]:
            found += by_state.get(State.WAITING, 0)
    return found


async def hold_back(owner: Owner, audit: AuditStore, name: str, *, held_back: bool, caller: Caller, reason: str) -> list[Session]:
    """Drains the agents of this name or incarnation in the caller's domain, or has them go on; returns them.

    That they are drained is known to memory only, so their rows in the audit come first. Raises AgentNotFound, TypeDenied (they serve types whose agents the
    caller may not drain), DatabaseUnavailable (nothing was changed).
    """
    seen = types_for(Act.OVERSEE)
    named = [s for s in owner.sessions() if s.facts.domain == caller.domain and name in (s.facts.name, s.facts.incarnation_id)]
    found = [session for session in named if serves(session, seen)]
    if not found:
        raise AgentNotFound(name)
    for session in found:
        for served in session.served.values():
            require(Act.MANAGE_AGENTS, served.entry.name)
    rows = []
    for session in found:
        after = {"draining": held_back, "incarnation_id": session.facts.incarnation_id}
        action = "agent.drain" if held_back else "agent.resume"
        rows.append(caller.entry(action, f"agent/{session.facts.name}", reason=reason, before={"draining": session.held_back}, after=after))
    try:
        await audit.add(rows)
    except READ_FAILURES as error:
        raise DatabaseUnavailable("the database cannot be reached; nothing was changed") from error
    for session in found:
        session.held_back = held_back
        if not held_back:
            owner.hungry[session] = None
    owner.wake.set()
    return found
