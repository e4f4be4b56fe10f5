"""The benchmark programs run, and what they write is what the report reads. Their figures mean nothing here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import report, soak
from tests.support.processes import ROOT

CAPS = {"free_per_s", "capped_per_s", "capped_of_free", "reached_per_s", "reached_of_free", "free_us", "capped_us", "reached_us"}


@pytest.mark.parametrize(
    ("name", "words", "figures"),
    [
        ("capacity", ["--jobs", "1000", "--rounds", "2"], {"broker_per_s", "flush_per_s", "ratio", "broker_us", "postgres_us", "wal_bytes_per_job"}),
        ("caps", ["--jobs", "1000", "--rounds", "2"], CAPS),
        ("submit", ["--seconds", "0.2", "--rounds", "2"], {"jobs_per_s", "p50_ms", "p99_ms", "max_ms", "client_us", "broker_us", "postgres_us"}),
    ],
)
def test_a_program_writes_what_the_report_reads(name: str, words: list[str], figures: set[str], tmp_path: Path) -> None:
    file = tmp_path / f"{name}.json"
    command = [sys.executable, f"{ROOT}/benchmarks/{name}.py", *words, "--json", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100)
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    assert result["benchmark"] == name and len(result["rounds"]) == 2
    assert result["machine"]["fsync"] == "on" and result["machine"]["commit_ms"] > 0
    for found in result["median"].values():
        assert set(found) == figures and all(value >= 0 for value in found.values())
    readme = report.render(f"<!-- {name} -->\n<!-- end -->\n", report.read(tmp_path))
    assert f"{report.number(next(iter(next(iter(result['median'].values())).values())))}" in readme


def test_the_soak_tells_growth_from_noise() -> None:
    steady = [100.0 + number % 3 for number in range(40)]
    growing = [100.0 + number for number in range(40)]
    assert soak._level("rss_mb", steady, 5, 400)[1]
    good, text = soak._level("rss_mb", growing, 5, 400)[1:]
    assert not good and "slope +360.0 an hour" in text


def test_the_soak_blames_work_only_for_stalls_that_are_more_common_near_it() -> None:
    near, away = soak.Submits(), soak.Submits()
    for number in range(100):
        away.add(150.0 if number < 10 else 5.0, machine=False)
        near.add(150.0 if number < 15 else 5.0, machine=False)
    assert not near.worse_than(away)
    for _ in range(15):
        near.add(120.0, machine=True)
    assert not near.worse_than(away), "the machine stalled by itself"
    for _ in range(15):
        near.add(120.0, machine=False)
    assert near.worse_than(away) and near.longest_ms == 150


def test_the_soak_says_which_stalls_the_machine_had_too() -> None:
    part = soak.Part(None, Path(), 60, 10)  # type: ignore[arg-type]
    part.seen.long_commits = [10.4, 20.2]
    part.seen.seconds = [
        {"at": at, "calls_max_ms": calls_ms, "probe_max_ms": 1.0, "lag_max_ms": lag_ms}
        for at, calls_ms, lag_ms in ((11.0, 150, 0), (14.0, 150, 70), (16.0, 150, 0), (20.9, 20, 0), (30.0, 20, 0))
    ]
    assert part.explained() == (
        "of 3 s with a submit of 100 ms, 1 have a bare commit of 50 ms, 1 a late awakening, 2 either; "
        "of 2 s with no submit of 100 ms, 1 have a bare commit of 50 ms, 0 a late awakening, 1 either"
    )
    away = part.stalls()[soak.OTHERWISE]
    assert (away.seconds, away.stalled, away.unexplained) == (5, 3, 1)
