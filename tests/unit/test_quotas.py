"""Quotas on a clock of the test's own."""

import pytest
from headrace_broker.metrics import Metrics
from headrace_broker.model.access import Identity, Role
from headrace_broker.model.errors import QuotaExceeded
from headrace_broker.rpc.quotas import BURST_S, REMEMBERED, QuotaLimits, Quotas

WHO = Identity("headrace://d/viewer/w", "w", "d", Role.VIEWER)


class Clock:
    """Monotonic, and moved by the test."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def made(**limits: float) -> tuple[Quotas, Clock, Metrics]:
    """Quotas with these limits."""
    clock, metrics = Clock(), Metrics()
    return Quotas(QuotaLimits(**limits), metrics, clock), clock, metrics


def wait_of(quotas: Quotas, *, who: Identity | None = None, domain: str = "d", size: int = 0) -> float:
    """How long one more call is told to wait; 0: it is taken."""
    try:
        quotas.take(who, domain, size)
    except QuotaExceeded as error:
        return error.retry_after_s
    return 0.0


def test_a_burst_passes_and_then_the_rate() -> None:
    quotas, clock, metrics = made(domain_calls_per_s=10)
    assert [wait_of(quotas) for _ in range(int(10 * BURST_S))] == [0.0] * 20
    assert 0 < wait_of(quotas) <= 0.1 and wait_of(quotas, domain="other") == 0
    clock.now += 0.05
    assert wait_of(quotas) == 0 < wait_of(quotas)
    clock.now += 1000
    assert sum(wait_of(quotas) == 0 for _ in range(100)) == 20  # no more than a burst is saved up
    assert metrics.registry.get_sample_value("headrace_quota_refusals_total", {"quota": "domain_calls"}) == 82


def test_a_message_larger_than_the_bucket_passes_once_and_is_paid_for() -> None:
    quotas, clock, _ = made(token_bytes_per_s=1000)
    assert wait_of(quotas, who=WHO, size=10_000) == 0
    assert wait_of(quotas, who=WHO, size=1) == pytest.approx(8.0)
    clock.now += 8.01
    assert wait_of(quotas, who=WHO, size=1) == 0
    assert wait_of(quotas, size=10_000) == 0 == wait_of(quotas, size=10_000)  # who is nobody has no token's quota


def test_what_one_quota_refuses_costs_nothing_of_the_others() -> None:
    quotas, _, _ = made(token_calls_per_s=1, domain_calls_per_s=5)
    assert [wait_of(quotas, who=WHO) == 0 for _ in range(50)].count(True) == 2
    assert [wait_of(quotas) == 0 for _ in range(50)].count(True) == 8


def test_no_more_is_remembered_than_is_allowed() -> None:
    quotas, _, _ = made(domain_calls_per_s=1)
    for number in range(REMEMBERED + 10):
        quotas.take(None, f"d{number}", 0)
    assert len(quotas._buckets) == REMEMBERED
