"""What is deployed beside the broker: alert rules and the dashboard name series that there are, and each alert has its line in the docs."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from headrace_broker.metrics import GAUGES, Metrics
from headrace_broker.shards.type_figures import TypeFigures
from headrace_broker.type_series import TypeSeries

from tests.support.processes import ROOT

RULES, DASHBOARD = ROOT / "deploy" / "prometheus" / "alerts.yml", ROOT / "deploy" / "grafana" / "headrace.json"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)")


def _series() -> set[str]:
    """Names of all series of a broker."""
    metrics = Metrics()
    metrics.gauges(lambda: dict.fromkeys(GAUGES, 1.0))
    metrics.registry.register(TypeSeries(lambda: [TypeFigures("default", "t")]))
    metrics.rpc_seconds.labels("Submit", "OK").observe(1)
    metrics.flush_rows.labels("job").inc()
    return {line.partition("{")[0].partition(" ")[0] for line in metrics.text().decode().splitlines() if not line.startswith("#")}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


@pytest.mark.parametrize("text", [RULES.read_text(), "\n".join(_texts(json.loads(DASHBOARD.read_text())))], ids=["alerts", "dashboard"])
def test_only_series_that_there_are_are_asked_for(text: str) -> None:
    named = set(re.findall(r"\bheadrace_\w+", text))
    assert len(named) > 8 and named <= _series()


def test_every_alert_has_its_line_in_the_docs_and_a_try() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    docs, tries = (ROOT / "docs" / "operations.md").read_text(), (RULES.parent / "alerts_test.yml").read_text()
    assert len(alerts) == len(set(alerts)) >= 10
    for alert in alerts:
        assert f'<a id="{alert.lower()}"></a>{alert} |' in docs and f"runbook: docs/operations.md#{alert.lower()}" in RULES.read_text()
        assert re.search(rf"alertname: {alert}\s+exp_alerts:\s+- exp_labels", tries), f"nothing sets {alert} off"


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    taken = [
        (x, y)
        for p in panels
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    ]
    assert len(taken) == len(set(taken)) and max(x for x, _ in taken) < 24 and len({p["id"] for p in panels}) == len(panels) > 10


@needs_promtool
@pytest.mark.parametrize("words", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]], ids=["check", "test"])
def test_promtool_agrees(words: list[str]) -> None:
    done = subprocess.run(["promtool", *words], cwd=RULES.parent, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
