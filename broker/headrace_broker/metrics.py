"""Every metric of the broker: name, unit, labels, meaning. Labels are of bounded cardinality: never an id."""

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Counter as PCounter
from prometheus_client import Gauge as PGauge
from prometheus_client import Histogram as PHistogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from headrace_broker.model.alert_channel import KINDS as CHANNELS
from headrace_broker.model.job import Kind
from headrace_broker.model.operation import Action
from headrace_broker.store.batch import Batch

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
MESSAGE_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 45)


class Parts:
    """A gauge of which each shard's owner sets its part; it shows the sum."""

    def __init__(self, gauge: PGauge) -> None:
        self._gauge = gauge
        self._parts: dict[int, float] = {}

    def set(self, shard: int, value: float) -> None:
        """Sets the part of a shard, by its number."""
        self._parts[shard] = value
        self._gauge.set(sum(self._parts.values()))


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
        told = "Times that this broker gave a shard up for an error that nobody expected; its log has it"
        self.shard_failures = PCounter("headrace_shard_failures_total", told, registry=self.registry)
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
        self.http_connections_ended = PCounter(
            "headrace_http_connections_ended_total", "Connections that the HTTP listener ended, by what the peer owed it, or for room", ["reason"], registry=self.registry
        )
        self.alert_failures = PCounter("headrace_alert_failures_total", "Failures of jobs that were added to groups of alerts", registry=self.registry)
        self.alert_notices = PCounter("headrace_alert_notices_total", "Notices for channels: made, delivered, given up", ["result"], registry=self.registry)
        self.alert_messages = PCounter("headrace_alert_messages_total", "Tries to send a message to a channel, by its kind", ["kind", "result"], registry=self.registry)
        self.alert_message_seconds = PHistogram(
            "headrace_alert_message_seconds", "Time of one try to send a message to a channel", ["kind"], registry=self.registry, buckets=MESSAGE_SECONDS
        )
        self._alerting: dict[int, tuple[int, Mapping[str, int], float]] = {}
        self.alert_groups = PGauge("headrace_alert_groups_firing", "Groups of alerts that are not over, silenced ones included", registry=self.registry)
        self.alert_waiting = PGauge("headrace_alert_notices_waiting", "Notices that wait to be delivered, by kind of channel", ["kind"], registry=self.registry)
        self.alert_oldest = PGauge("headrace_alert_oldest_notice_seconds", "How long the oldest notice has waited to be delivered; 0: none waits", registry=self.registry)
        for kind in CHANNELS:
            self.alert_waiting.labels(kind)
            self.alert_message_seconds.labels(kind)
            for result in ("delivered", "failed"):
                self.alert_messages.labels(kind, result)
        for result in ("made", "delivered", "given_up"):
            self.alert_notices.labels(result)
        told = "Jobs that bulk operations came to: changed, passed over, or not to be changed now"
        self.operation_jobs = PCounter("headrace_operation_jobs_total", told, ["action", "result"], registry=self.registry)
        self.operations_ended = PCounter("headrace_operation_finished_total", "Bulk operations that came to their end", ["action"], registry=self.registry)
        self.operations_running = Parts(PGauge("headrace_operation_running", "Bulk operations that go on", registry=self.registry))
        for action in Action:
            self.operations_ended.labels(action)
            for result in ("done", "skipped", "failed"):
                self.operation_jobs.labels(action, result)
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

    def alerting(self, shard: int, firing: int, waiting: Mapping[str, int], oldest_s: float) -> None:
        """How alerts of a shard stand at the broker that tells of them; `waiting` by kind of channel. All zero at any other."""
        self._alerting[shard] = (firing, waiting, oldest_s)
        parts = self._alerting.values()
        self.alert_groups.set(sum(part[0] for part in parts))
        self.alert_oldest.set(max(part[2] for part in parts))
        for kind in CHANNELS:
            self.alert_waiting.labels(kind).set(sum(part[1].get(kind, 0) for part in parts))

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
    "active": "1 when this broker owns the queue, or a shard of it; 0 when it stands by or waits for its database",
    "shards": "Shards that the queue has",
    "shards_owned": "Shards of the queue that this broker owns",
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
