"""Metrics of an agent process."""

from headrace_proto.v1 import agents_pb2
from prometheus_client import CollectorRegistry, Counter, Gauge


class AgentMetrics:
    """Labels are job types and outcomes only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._ended = Counter("headrace_agent_attempts_total", "Attempts that ended, by type and outcome", ["type", "outcome"], registry=self.registry)
        self.leases_lost = Counter("headrace_agent_leases_lost_total", "Leases that ended while their handler ran", registry=self.registry)
        self.slots_in_use = Gauge("headrace_agent_slots_in_use", "Handlers that run", registry=self.registry)
        self.blocked = Counter("headrace_agent_blocked_total", "Times the handlers' event loop did not answer for two seconds", registry=self.registry)

    def ended(self, type_: str, kind: int, count: int) -> None:
        """Counts attempts of a type that ended alike."""
        self._ended.labels(type_, agents_pb2.OutcomeKind.Name(kind).removeprefix("OUTCOME_KIND_").lower()).inc(count)
