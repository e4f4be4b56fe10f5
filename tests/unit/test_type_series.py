"""Series by job type: what is added up, and the form in which it is scraped."""

from collections import Counter

from headrace_broker.model.histogram import bucket_of
from headrace_broker.shards.tally import Line, Tally
from headrace_broker.shards.type_figures import TypeFigures
from headrace_broker.type_series import TypeSeries
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families


def test_totals_go_on_over_minutes_and_what_could_not_be_stored_counts_once() -> None:
    tally = Tally()
    tally.submitted(60.0, 1, 3)
    tally.line(1, 1, 7).numbers["completed"] += 3  # of an agent: part of what the type has
    tally.line(1, 1).waited(0.5, 3)
    assert tally.totals()[1].numbers == {"submitted": 3}
    taken = tally.take(130.0)  # the minute has ended
    tally.submitted(130.0, 1, 2)
    tally.give_back(taken)
    assert (tally.totals()[1].numbers, tally.totals()[1].wait_s) == ({"submitted": 5}, 1.5)
    tally.take(131.0)
    tally.take(200.0)
    assert (tally.totals()[1].numbers, tally.totals()[1].wait) == ({"submitted": 5}, {bucket_of(0.5): 3})


def test_series_are_what_prometheus_reads() -> None:
    counted = Line()
    counted.numbers.update({"submitted": 4, "granted": 3, "completed": 2, "lost": 1})
    for seconds in (0.0005, 0.003, 0.3, 20.0, 500_000.0):
        counted.ran(seconds, 2)
    registry = CollectorRegistry()
    figures = TypeFigures("default", 'odd"name', counted, 5, 6, 7.5, Counter({"open": 1}), 3)
    registry.register(TypeSeries(lambda: [figures, TypeFigures("default", "without")]))
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    found = {(sample.name, *sorted(sample.labels.items())): sample.value for family in families.values() for sample in family.samples}
    labels = (("domain", "default"), ("type", 'odd"name'))
    assert found["headrace_type_submitted_total", *labels] == 4 and found["headrace_type_started_total", *labels] == 3
    assert found["headrace_type_outcomes_total", labels[0], ("outcome", "lost"), labels[1]] == 1
    assert (found["headrace_type_waiting", *labels], found["headrace_type_processing", *labels], found["headrace_type_oldest_waiting_seconds", *labels]) == (5, 6, 7.5)
    buckets = {
        sample.labels["le"]: sample.value
        for sample in families["headrace_type_run_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["type"] == labels[1][1]
    }
    assert [buckets[le] for le in ("0.004", "0.256", "1.024", "16.384", "65.536", "+Inf")] == [4, 4, 6, 6, 8, 10]
    phases = {sample.labels["phase"]: sample.value for sample in families["headrace_type_breaker"].samples}
    assert phases == {"closed": 0, "open": 1, "half_open": 0} and {sample.labels["type"] for sample in families["headrace_type_breaker"].samples} == {'odd"name'}
    assert found["headrace_type_breaker_openings_total", *labels] == 3 and ("headrace_type_breaker_openings_total", labels[0], ("type", "without")) not in found
    assert found["headrace_type_run_seconds_count", *labels] == 10 and found["headrace_type_run_seconds_sum", *labels] == counted.run_s
