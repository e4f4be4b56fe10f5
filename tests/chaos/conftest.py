"""Short and long forms, and the summary at the end of a run.

Tests marked `long` run when HEADRACE_CHAOS=long, as `make chaos` sets it, and are left out otherwise. What a machine lacks is a skip that names it
(tests/support/needs.py).
"""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.needs import NEEDS

HERE = Path(__file__).parent
LONG = os.environ.get("HEADRACE_CHAOS") == "long"


def pytest_configure(config: pytest.Config) -> None:
    """Knows the marker."""
    config.addinivalue_line("markers", "long: runs in the long form of chaos alone")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the long form out unless it is asked for."""
    left_out = [] if LONG else [item for item in items if item.path.parent == HERE and item.get_closest_marker("long")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What ran, what was skipped and why, kills, and those that hit work in flight: as `record_property` was told."""
    reports = [report for kind in ("passed", "failed", "skipped") for report in terminalreporter.stats.get(kind, []) if report.nodeid.startswith("tests/chaos/")]
    if not reports:
        return
    ran = [report for report in reports if report.outcome != "skipped" and report.when == "call"]
    skipped = Counter(reason.partition(NEEDS)[1] + reason.partition(NEEDS)[2] or reason for report in reports if report.skipped for reason in _reasons(report))
    told: Counter[str] = Counter()
    for report in ran:
        for name, value in report.user_properties:
            told[name] += int(value)
    terminalreporter.write_line(
        f"chaos ({'long' if LONG else 'short'} form): {len(ran)} scenarios ran, {sum(skipped.values())} were skipped"
        + (f" ({', '.join(f'{count}: {reason}' for reason, count in sorted(skipped.items()))})" if skipped else "")
        + f"; {told['kills']} kills, {told['kills in flight']} of them with work in flight; {told['jobs']} jobs were judged"
    )


def _reasons(report: Any) -> Iterator[str]:
    yield str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
