"""Series by job type, read when they are scraped. Labels are bounded: the types beyond the first MOST_TYPES are told together."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from headrace_broker.model.breaker import Phase
from headrace_broker.model.histogram import upper_s
from headrace_broker.shards.type_figures import TypeFigures

MOST_TYPES = 100
LABELS = ("domain", "type")
OUTCOMES = ("completed", "failed", "timed_out", "lost", "error", "aborted")
BOUNDS = tuple(range(7, 109, 8))
"""Buckets of the broker's own histograms that end those of Prometheus: 4 ms, 16 ms, ... 19 h, each four times as long."""


class TypeSeries(Collector):
    """`read` gives the figures of this moment; none while this broker does not own the queue."""

    def __init__(self, read: Callable[[], Sequence[TypeFigures]]) -> None:
        self._read = read

    def collect(self) -> Iterable[Metric]:
        """The families, each with all types."""
        found = self._read()
        submitted = CounterMetricFamily("headrace_type_submitted", "Jobs stored", labels=LABELS)
        started = CounterMetricFamily("headrace_type_started", "Attempts granted", labels=LABELS)
        requeued = CounterMetricFamily("headrace_type_requeued", "New runs of settled jobs", labels=LABELS)
        told = "Attempts that completed, failed, timed out or were lost; jobs in error and aborted"
        outcomes = CounterMetricFamily("headrace_type_outcomes", told, labels=(*LABELS, "outcome"))
        waiting = GaugeMetricFamily("headrace_type_waiting", "Jobs that wait, for whatever", labels=LABELS)
        processing = GaugeMetricFamily("headrace_type_processing", "Jobs under a lease", labels=LABELS)
        oldest = GaugeMetricFamily("headrace_type_oldest_waiting_seconds", "How long the job has been ready that has been so longest", labels=LABELS)
        waits = HistogramMetricFamily("headrace_type_wait_seconds", "Time from when a job might have started to its first grant", labels=LABELS)
        runs = HistogramMetricFamily("headrace_type_run_seconds", "Time from a grant to its outcome", labels=LABELS)
        breakers = GaugeMetricFamily("headrace_type_breaker", "1 for the phase in which the breaker of the type is", labels=(*LABELS, "phase"))
        openings = CounterMetricFamily("headrace_type_breaker_openings", "Times that the breaker of the type has opened", labels=LABELS)
        for figures in found:
            labels, numbers = (figures.domain, figures.type), figures.counted.numbers
            submitted.add_metric(labels, numbers["submitted"])
            started.add_metric(labels, numbers["granted"])
            requeued.add_metric(labels, numbers["requeued"])
            for outcome in OUTCOMES:
                outcomes.add_metric((*labels, outcome), numbers[outcome])
            waiting.add_metric(labels, figures.waiting)
            processing.add_metric(labels, figures.processing)
            oldest.add_metric(labels, figures.oldest_s)
            if figures.breakers:
                openings.add_metric(labels, figures.openings)
            for phase in Phase if figures.breakers else ():
                breakers.add_metric((*labels, phase.value), figures.breakers[phase.value])
            waits.add_metric(labels, _buckets(figures.counted.wait), figures.counted.wait_s)
            runs.add_metric(labels, _buckets(figures.counted.run), figures.counted.run_s)
        return [submitted, started, requeued, outcomes, waiting, processing, oldest, breakers, openings, waits, runs]


def _buckets(counts: Mapping[int, int]) -> list[tuple[str, float]]:
    """(upper bound in seconds, how many are not longer), rising."""
    found = [(repr(upper_s(bound)), float(sum(count for bucket, count in counts.items() if bucket <= bound))) for bound in BOUNDS]
    return [*found, ("+Inf", float(sum(counts.values())))]
