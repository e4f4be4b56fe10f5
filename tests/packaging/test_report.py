"""The figures in the benchmarks' README are those of the committed results."""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks import report, support

FACTS: dict[str, Any] = {
    "cpu": "A CPU", "cores": 2, "memory_gb": 24, "system": "Linux 6", "python": "3.11", "postgres": "15", "asyncpg": "0.32", "grpcio": "1.66", "fsync": "on",
    "commit_ms": 0.2, "date": "2026-01-01",
}  # fmt: skip
PEERS = {"rows": [{"name": "headrace", "jobs_per_s": [3000.0, 2000.0, 2500.0]}, {"name": "other & co", "version": "1.2", "jobs_per_s": [1000.0, 1000.0, 500.0]}]}


def test_the_readme_and_the_chart_are_made_from_the_results() -> None:
    readme, results = (report.HERE / "README.md").read_text(), report.read(report.HERE / "results")
    assert readme == report.render(readme, results), "run benchmarks/report.py"
    chart = report.HERE / "chart.svg"
    assert (chart.read_text() if chart.exists() else None) == (report.chart(results["peers"]) if "peers" in results else None), "run benchmarks/report.py"


def test_every_result_has_its_place() -> None:
    places = {found["name"] for found in report.BLOCK.finditer((report.HERE / "README.md").read_text())}
    assert set(report.read(report.HERE / "results")) <= places
    wanted = "brokers capacity caps depth flush forward graph held latency machine overload pages pairs peers recovery rolling search soak streams submit"
    assert set(wanted.split()) == places


def test_tables_hold_medians_and_spreads(tmp_path: Path) -> None:
    rounds: list[support.Round] = [{"200/s": {"p50_ms": value, "broker_us": 12.345}, "2,000/s": {"p50_ms": value * 2}} for value in (1.0, 3.0, 2.0)]
    rounds_of_one: list[support.Round] = [{"agent killed": {"first_start_s": 3 + number / 100}} for number in range(100)]
    for name, found in (("latency", rounds), ("capacity", rounds), ("recovery", rounds_of_one)):
        support.report(support.outcome(name, FACTS, found), tmp_path / f"{name}.json")
    (tmp_path / "peers.json").write_text(json.dumps(PEERS))
    text = "".join(f"<!-- {name} -->\nold\n<!-- end -->\n" for name in ("machine", "latency", "capacity", "recovery", "peers", "depth"))
    made = report.render(text, report.read(tmp_path))
    assert "| p50, ms | 2 (1-3) | 4 (2-6) |\n| CPU per job: broker, us | 12.3 (12.3) |  |\n" in made
    assert "| 200/s | p50, ms | 2 | 1-3 |\n" in made
    assert "| agent killed | 100 | 3.5 (3-3.99; p99 3.99) |\n" in made
    assert "| headrace | 2,500 (2,000-3,000) |  |  |\n| other & co 1.2 | 1,000 (500-1,000) | 3 times | 2-5 |\n" in made
    assert "Machine: A CPU, 2 cores" in made and "old" not in made and made.count(report.NOT_MEASURED) == 1
    assert report.render(made, report.read(tmp_path)) == made


def test_a_soak_shows_what_it_judged() -> None:
    verdicts = [{"part": 1, "figure": "rss mb", "good": True, "text": "level"}, {"part": 2, "figure": "tasks", "good": False, "text": "growing"}]
    rounds: list[support.Round] = [{"broker": {"tasks_last_quarter": 20.0}}]
    result = support.outcome("soak", FACTS, rounds, minutes=60.0, parts=2, rate=5000, verdicts=verdicts)
    text = report.table(result)
    assert "60 minutes in 2 parts at 5,000 jobs/s: 1 of 2 verdicts are good, but for these:\n\n- part 2, tasks: growing\n\nMeasured" in text
    assert "| tasks last quarter | 20 | 20 |\n" in text
    assert "60 minutes in 2 parts, of which 1 were run at 5,000 jobs/s: 1 of 1" in report.table({**result, "verdicts": verdicts[:1]})


def test_the_chart_is_an_image_for_light_and_dark_pages() -> None:
    text = report.chart(PEERS)
    root = ElementTree.fromstring(text)
    assert root.tag.endswith("svg") and "prefers-color-scheme: dark" in text
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([\d.]+)"', text)]
    assert abs(widths[0] / widths[1] - 2.5) < 0.01
    assert "other &amp; co" in text and ">2,500<" in text
