"""Every metric of the broker: name, unit, labels, meaning. Labels are of bounded cardinality: never an id."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as PCounter
from prometheus_client import Gauge as PGauge
from prometheus_client import Histogram as PHistogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace_broker.model.job import Kind
from headrace_broker.store.batch import Batch

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One set for each broker process. Handlers and the flusher count here; gauges are read when scraped."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rpc_seconds = PHistogram("headrace_rpc_seconds", "Time of a unary call, by method and status", ["method", "code"], registry=self.registry, buckets=SECONDS)
        self.flush_seconds = PHistogram("headrace_flush_seconds", "Time of one commit of facts", registry=self.registry, buckets=SECONDS)
        self.flush_rows = PCounter("headrace_flush_rows_total", "Facts stored, by kind of fact", ["fact"], registry=self.registry)
        self.flushes = PCounter("headrace_flushes_total", "Commits of facts, proofs of ownership included", registry=self.registry)
        self.events = PCounter("headrace_events_total", "Events of jobs, by kind", ["kind"], registry=self.registry)
        self.sessions_lost = PCounter("headrace_sessions_lost_total", "Agents that were given up", registry=self.registry)
        self.facts_lost = PCounter("headrace_facts_lost_total", "Times that the database came back without facts that it had acknowledged", registry=self.registry)
        self.jobs_deleted = PCounter("headrace_jobs_deleted_total", "Jobs removed from storage after their delete date or a purge", registry=self.registry)
        self.quota_refusals = PCounter("headrace_quota_refusals_total", "Calls that a quota refused", ["quota"], registry=self.registry)
        self.submits_refused = PCounter("headrace_submits_refused_total", "Jobs that were not taken for want of room, by reason", ["reason"], registry=self.registry)
        self.forwarded = PCounter("headrace_forwarded_calls_total", "Calls that this broker, standing by, passed on to the owner", ["method"], registry=self.registry)
        self.foreign_leases = PCounter(
            "headrace_foreign_leases_total", "What agents said of leases that are not theirs, and was passed over", ["what"], registry=self.registry
        )
        self.tls_reloads = PCounter(
            "headrace_tls_reloads_total", "Changes of the certificate's files: taken, or refused and passed over", ["result"], registry=self.registry
        )
        self.tls_not_after = PGauge("headrace_tls_not_after_seconds", "When the certificate in use expires, in seconds since 1970; 0: no TLS", registry=self.registry)
        self.log_lines = PCounter("headrace_log_lines_total", "Lines of handlers' logs stored", registry=self.registry)

    def flushed(self, batch: Batch) -> None:
        """Counts what a durable flush holds."""
        self.flushes.inc()
        if batch.job_id:
            self.flush_rows.labels("job").inc(len(batch.job_id))
        if batch.event_job:
            self.flush_rows.labels("event").inc(len(batch.event_job))
            for kind, count in batch.kinds().items():
                self.events.labels(Kind(kind).name.lower()).inc(count)
        if batch.note_job:
            self.flush_rows.labels("note").inc(len(batch.note_job))

    def gauges(self, read: Callable[[], dict[str, float]]) -> None:
        """Adds gauges whose values `read` gives when scraped, by name without the prefix."""

        class Gauges(Collector):
            def collect(self) -> Iterable[GaugeMetricFamily]:
                for name, value in read().items():
                    yield GaugeMetricFamily(f"headrace_{name}", GAUGES[name], value=value)

        self.registry.register(Gauges())

    def text(self) -> bytes:
        """The exposition that Prometheus scrapes."""
        return generate_latest(self.registry)


GAUGES = {
    "active": "1 when this broker owns the queue, 0 when it stands by or waits for its database",
    "jobs_waiting": "Jobs that wait, all domains",
    "jobs_processing": "Jobs under a lease, all domains",
    "agents_connected": "Agents with an open stream",
    "slots": "Jobs that connected agents can run at the same time",
    "slots_in_use": "Jobs that connected agents hold",
    "body_cache_bytes": "Memory used for bodies of waiting jobs",
    "tasks": "Tasks of the event loop",
    "sessions": "Agents that are connected, or awaited",
    "pool_connections": "Open connections to Postgres for reads, log lines and retention; facts have one of their own beside them",
}
