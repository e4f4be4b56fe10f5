"""The wheel as users install it: without extras it brings the client alone; with them everything works from an environment of its own."""

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--no-isolation", "--wheel", "-o", str(out), str(ROOT)], check=True, capture_output=True)
    [path] = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and no extras."""
    place = tmp_path_factory.mktemp("bare")
    venv.create(place, with_pip=True)
    subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", str(wheel)], check=True, capture_output=True)
    return place / "bin"


def test_the_wheel_holds_the_packages_and_their_data_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"headrace_proto", "headrace_client", "headrace_agent", "headrace_pytest", "headrace_broker"}
    for wanted in ("headrace_broker/store/sql/migrations/0001_ledger.sql", "headrace_proto/v1/jobs.proto", "headrace_proto/v1/jobs_pb2.pyi", "headrace_client/py.typed"):
        assert wanted in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.timeout(300)
def test_without_extras_it_imports_the_client_and_brings_nothing_more(bare: Path) -> None:
    listed = subprocess.run([bare / "python", "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True).stdout.lower()
    installed = {line.partition("==")[0] for line in listed.splitlines()} - {"pip", "setuptools", "wheel"}
    assert installed <= {"headrace", "grpcio", "protobuf", "typing-extensions", "typing_extensions"}
    code = "import headrace_client, sys; headrace_client.SyncClient('127.0.0.1:1').close(); print('asyncpg' in sys.modules, headrace_client.__version__)"
    assert subprocess.run([bare / "python", "-c", code], capture_output=True, text=True, check=True).stdout == "False 0.1.0\n"


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("program", "extra"), [("headrace", "headrace[cli]"), ("headrace-agent", "headrace[agent]"), ("headrace-broker", "headrace[broker]")])
def test_each_program_says_which_extra_it_misses(bare: Path, program: str, extra: str) -> None:
    done = subprocess.run([bare / program, "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert extra in done.stderr and "Traceback" not in done.stderr
