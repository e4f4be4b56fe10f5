"""Domains in memory: their settings, and what is paused in them. Live: a change, also by another broker, is here within about a second."""

from headrace_broker.store.settings import DomainRow, Pause


class DomainEntry:
    """One domain. Its identity is stable. `halted`: all of it is paused; `depth_limit` None: there is none; `agents`: names of paused agents."""

    __slots__ = ("agents", "depth_limit", "domain_id", "halted", "name", "pauses", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.domain_id = 0
        self.depth_limit: int | None = None
        self.weight = 1.0
        self.halted = False
        self.agents: frozenset[str] = frozenset()
        self.pauses: dict[tuple[str, str], Pause] = {}  # by kind and name

    def put(self, row: DomainRow | None, pauses: list[Pause]) -> bool:
        """What the database says of it; returns whether that is new."""
        settings = row.settings if row is not None else {}
        found = (int(settings.get("depth_limit", 0)) or None, float(settings.get("weight", 1.0)), {(pause.kind, pause.name): pause for pause in pauses})
        changed = found != (self.depth_limit, self.weight, self.pauses)
        self.domain_id = row.domain_id if row is not None else self.domain_id
        self.depth_limit, self.weight, self.pauses = found
        self.halted = ("domain", "") in self.pauses
        self.agents = frozenset(name for kind, name in self.pauses if kind == "agent")
        return changed
