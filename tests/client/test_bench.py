"""The load harness: it finds what is missing or doubled, and says so by its exit code."""

import asyncio
import json
from array import array

import msgspec
import pytest
from headrace_agent.bench import Order
from headrace_client.cli import bench
from headrace_client.cli.bench import Load, _result

from tests.support.processes import BrokerProcess, run_command


async def test_a_short_run_with_failures_loses_and_doubles_nothing(broker: BrokerProcess) -> None:
    words = ["bench", "--rate", "300", "--duration", "2", "--fail-rate", "0.2", "--agents", "2", "--handler-ms", "2", "--json", "--broker", broker.address]
    done = await asyncio.to_thread(run_command, "headrace", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["jobs"], result["acknowledged"], result["missing"], result["doubled"], result["refused"]) == (600, 600, 0, 0, 0)
    assert 650 < result["executions"] < 900
    assert 0 < result["start_ms"]["p50"] <= result["start_ms"]["p99"] <= result["start_ms"]["max"]
    assert set(result["cpu_s"]) == {"harness", "agent 1", "agent 2"}
    assert result["cores"] > 0 and result["fsync_ms"] > 0 and "grpcio" in result["driver"]


async def test_batches_and_the_processes_that_are_watched(broker: BrokerProcess) -> None:
    words = ["bench", "--rate", "2000", "--duration", "1", "--batch", "64", "--payload-bytes", "1000", "--pid", f"broker={broker.pid}", "--broker", broker.address]
    done = await asyncio.to_thread(run_command, "headrace", *words)
    assert done.returncode == 0, done.stderr
    assert "2000 executions of 2000 jobs: 0 missing, 0 doubled, 0 refused" in done.stdout and "broker" in done.stdout and "fsync" in done.stdout


def test_missing_and_doubled_jobs_are_found() -> None:
    load = Load("t", 10, 0.5, 100, 0, 0, 1, begin=0.0, acknowledged=array("d", [0.1, 0.2, 0.3, 0.4, 0.0]))  # the last one was refused
    records = [(0, 1, 1.0, 0), (1, 1, 1.0, 1), (2, 1, 1.0, 0), (2, 1, 3.0, 0), (0, 2, 2.0, 1)]
    result = _result(load, records, True, 1.0, {})
    assert (result["missing"], result["doubled"], result["executions"], result["acknowledged"]) == (2, 1, 5, 4)
    assert result["start_ms"]["p50"] == 900


@pytest.mark.parametrize(("wanted", "size"), [(10, 0), (200, 200), (5000, 5000)])
def test_payloads_have_their_size_and_say_what_to_do(wanted: int, size: int) -> None:
    load = Load("t", 10, 1, wanted, 0.25, 0.5, 1)
    for number in (0, 7, 123_456_789):
        assert msgspec.json.decode(load.payload(number), type=Order) == Order(number, 0.25, 0.5)
        assert size in (0, len(load.payload(number)))


def test_jobs_that_were_not_prepared_are_made_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "MOST_PREPARED", 7)
    load = Load("t", 10, 1, 100, 0, 0, 4)
    load.prepare()
    numbers = [msgspec.json.decode(spec.payload or b"", type=Order).n for start in (0, 4, 8) for spec in load.specs(range(start, min(10, start + 4)))]
    assert numbers == list(range(10))


def test_a_long_run_is_told_by_stretches() -> None:
    load = Load("t", 1, 30, 100, 0, 0, 1, begin=100.0, acknowledged=array("d", [1.0] * 30))
    result = _result(load, [(number, 1, load.due(number) + (1.0 if number < 10 else 2.0), 0) for number in range(30)], True, 30.0, {})
    assert [(window["from_s"], window["p50"]) for window in result["windows"]] == [(0, 1000), (10, 2000), (20, 2000)]


def test_wrong_options_are_told() -> None:
    for words in (["--rate", "0"], ["--fail-rate", "1"], ["--pid", "broker"], ["--pid", "broker=999999999"]):
        done = run_command("headrace", "bench", *words, environment={"HEADRACE_BROKER": "127.0.0.1:1"})
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    done = run_command("headrace", "bench", environment={"HEADRACE_BROKER": "127.0.0.1:1", "HEADRACE_TIMEOUT_S": "0.5"})
    assert done.returncode == 5
