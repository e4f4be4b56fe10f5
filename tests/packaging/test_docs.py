"""The README and the docs are run as written: python blocks that begin with a file name become files, sh blocks are run in order, and those that begin with
"# terminal" go on in the background. Ports and directories come from the environment, so the commands stand as a reader would type them."""

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from headrace_broker.model.settings import Settings

from tests.support.node import EXAMPLE, needs_node
from tests.support.ports import free_ports
from tests.support.processes import ROOT

NODE_DOC = "docs/other-languages.md"
RECEIVER_PORT = "7299"  # of alerts, which another run of these tests may have
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
DOCS = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md") if BLOCK.search(path.read_text()))]
"""Those with blocks of commands or Python, all of which are run."""
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]+))?\)")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with headrace in it, for the documents that take it as installed. One for each worker: some documents install it anew."""
    place, sources = tmp_path_factory.mktemp("reader"), tmp_path_factory.mktemp("sources")
    venv.create(place, with_pip=True)
    _check_out(sources)
    subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", f"{sources}[all]"], check=True)
    return place / "bin"


@pytest.fixture
def programs(document: str, request: pytest.FixtureRequest, directory: Path) -> Path:
    """The programs of a reader's own environment: an empty one for the README, which tells how to install."""
    if document != "README.md":
        found: Path = request.getfixturevalue("installed")
        return found
    venv.create(directory / "reader", with_pip=True)
    return directory / "reader" / "bin"


@pytest.fixture
def checkout(directory: Path) -> Path:
    """What a reader has after a clone."""
    _check_out(directory / "headrace")
    return directory / "headrace"


def _check_out(place: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, place / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode)


@pytest.fixture
def database_url(document: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """A Postgres of the reader's own, for the documents that are about one that several brokers share."""
    return {"DATABASE_URL": request.getfixturevalue("database")} if "$DATABASE_URL" in (ROOT / document).read_text() else {}


@pytest.fixture
def environment(programs: Path, directory: Path, database_url: dict[str, str]) -> dict[str, str]:
    """Ports and directories of this test."""
    grpc, http = free_ports(2)
    return {
        **database_url,
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(directory / "home"),
        "HEADRACE_BROKER": f"127.0.0.1:{grpc}",
        "HEADRACE_LISTEN": f"127.0.0.1:{grpc}",
        "HEADRACE_HTTP_LISTEN": f"127.0.0.1:{http}",
        "HEADRACE_DATA_DIR": str(directory / "data"),
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture
def background() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes that go on until the end."""
    running: list[subprocess.Popen[bytes]] = []
    yield running
    for process in reversed(running):
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) in (0, -signal.SIGTERM)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", [pytest.param(document, marks=needs_node) if document == NODE_DOC else document for document in DOCS])
def test_the_commands_of_a_document_run(document: str, checkout: Path, environment: dict[str, str], directory: Path, background: list["subprocess.Popen[bytes]"]) -> None:
    blocks = BLOCK.findall((ROOT / document).read_text().replace(RECEIVER_PORT, str(free_ports(1)[0])))
    assert blocks
    if document == NODE_DOC:  # its first command, which make has run here
        shutil.copytree(EXAMPLE / "node_modules", checkout / "examples" / "node" / "node_modules", symlinks=True)
    for language, text in blocks:
        first = text.splitlines()[0]
        if language == "python":
            name = re.fullmatch(r"# (\w+\.py)", first)
            assert name, f"a python block of {document} does not begin with its file name: {first}"
            (checkout / name[1]).write_text(text.replace("127.0.0.1:7233", environment["HEADRACE_BROKER"]))
        elif first.startswith("# terminal"):
            log = directory / f"{len(background)}.log"
            with open(log, "wb") as output:
                background.append(
                    subprocess.Popen(["bash", "-c", f"exec {text.splitlines()[1]}"], cwd=checkout, env=environment, stdout=output, stderr=output, start_new_session=True)
                )
            _wait_until_it_serves(log)
        elif first.startswith("make "):
            target = re.escape(first.split()[1])
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"there is no {first}"
        else:
            done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
            assert "Traceback" not in done.stderr


def _wait_until_it_serves(log: Path) -> None:
    import time

    until = time.monotonic() + 60
    while not re.search(r'"event": "ready"|session with', log.read_text()):
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def test_links_lead_to_files_and_to_places_in_them() -> None:
    for document in ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")), "benchmarks/README.md"]:
        for name, place in LINK.findall((ROOT / document).read_text()):
            target = ((ROOT / document).parent / name) if name else ROOT / document
            if "://" not in name:
                assert target.exists(), f"{document} links to {name}"
                assert not place or place in _places(target.read_text()), f"{document} links to {name}#{place}"


def _places(text: str) -> set[str]:
    """Where links may lead within a page: its headings, as GitHub names them, and what has an id."""
    headings = re.findall("^#+ (.*)$", text, re.MULTILINE)
    return {*re.findall('<a id="([^"]+)">', text), *(re.sub(r"<[^>]*>|[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)}


def test_modules_named_by_the_architecture_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    for name in re.findall(r"\*([a-z_]+/[\w./]+)\*", text) + re.findall(r", \*?([a-z_]+/[\w./]+)\*?\)", text):
        assert (ROOT / name).exists() or (ROOT / "broker" / "headrace_broker" / name).exists(), f"there is no {name}"


def test_tests_that_hold_a_promise_exist() -> None:
    rows = [line for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines() if line.startswith("| ")][2:]
    for row in rows:
        named = re.findall(r"\*(tests/[\w./]+)\*", row.split("|")[-2])
        assert named and all((ROOT / name).exists() for name in named), row


def test_the_readme_leads_to_every_page() -> None:
    text = (ROOT / "README.md").read_text()
    assert not [path.name for path in (ROOT / "docs").glob("*.md") if f"| [docs/{path.name}](docs/{path.name}) |" not in text]


def test_every_setting_of_a_job_type_is_explained() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    names = {re.sub("^rate_limit_.*", "rate_limit", field.name) for field in dataclasses.fields(Settings)}
    assert not [name for name in sorted(names) if f"`{name}`" not in text]


def test_python_versions_of_the_readme_and_the_package_agree() -> None:
    assert "Python 3.11 or newer" in (ROOT / "README.md").read_text()
    assert 'requires-python = ">=3.11"' in (ROOT / "pyproject.toml").read_text()
    assert sys.version_info >= (3, 11)
