"""Runs when HEADRACE_HA is set, as `make ha` sets it, and is left out otherwise; ends with a table of what was measured. What a machine lacks is a skip that names it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.needs import NEEDS

HERE = Path(__file__).parent
COLUMNS = ("event", "first start after", "longest pause", "acknowledged", "refused", "unknown", "lost", "doubled", "stale", "run again", "Postgres")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves all of it out unless it is asked for."""
    left_out = [] if os.environ.get("HEADRACE_HA") else [item for item in items if item.path.parent == HERE]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table, and what was skipped and why."""
    stats = terminalreporter.stats
    reports = [report for kind in ("passed", "failed", "skipped") for report in stats.get(kind, []) if report.nodeid.startswith("tests/ha/")]
    if not reports:
        return
    rows = [json.loads(value) for report in reports if report.when == "call" for name, value in report.user_properties if name == "row"]
    if rows:
        terminalreporter.write_line("| " + " | ".join(COLUMNS) + " |")
        terminalreporter.write_line("|" + " --- |" * len(COLUMNS))
        for row in rows:
            terminalreporter.write_line("| " + " | ".join(str(row[name]) for name in COLUMNS) + " |")
    skipped = sorted({reason.partition(NEEDS)[2] or reason for report in reports if report.skipped for reason in _reasons(report)})
    ran = sum(report.when == "call" and not report.skipped for report in reports)
    terminalreporter.write_line(f"high availability: {ran} scenarios ran" + (f"; skipped for the need of: {', '.join(skipped)}" if skipped else ""))


def _reasons(report: Any) -> Iterator[str]:
    yield str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
