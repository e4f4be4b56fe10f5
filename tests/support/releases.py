"""This release and one that comes after it, which a script makes of this tree: other names of columns, one column more in the facts, a migration of each phase."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headrace_broker import __version__
from headrace_broker.store.migrate import newest

from tests.support.processes import ROOT

NEXT = "99.1.0"
PACKAGES = ("protos/headrace_proto", "client/headrace_client", "agent/headrace_agent", "agent/headrace_pytest", "broker/headrace_broker")
SQL = Path("broker/headrace_broker/store/sql")

ADDS = """-- `named` is to take the place of `address`: both are filled, whichever a broker knows. Facts say which release wrote them.
alter table headrace.life add column named text, alter column address drop not null;
update headrace.life set named = address where not dead;
create function headrace.name_life() returns trigger language plpgsql as $$
begin
    new.named := coalesce(new.named, new.address);
    new.address := coalesce(new.address, new.named);
    return new;
end $$;
create trigger name_life before insert on headrace.life for each row execute function headrace.name_life();
alter table headrace.event add column release text;
"""
TAKES_AWAY = """-- No broker is left that knows `address`.
drop trigger name_life on headrace.life;
drop function headrace.name_life();
alter table headrace.life drop column address;
"""
CHANGES = {
    "life_begin.sql": [("backend_start, address, version", "backend_start, named, version")],
    "life_holders.sql": [("coalesce(l.address, '')", "coalesce(l.named, '')")],
    "doctor_schema.sql": [("l.address ||", "l.named ||")],
    "migration_old_lives.sql": [("select l.address, l.version", "select l.named as address, l.version")],
    "flush.sql": [
        ("insert into headrace.event (job_id,", "insert into headrace.event (release, job_id,"),
        ("select u.job_id, (u.place >> 32)::int,", f"select '{NEXT}', u.job_id, (u.place >> 32)::int,"),
    ],
}


@dataclass(frozen=True, slots=True)
class Release:
    """Programs of one release: those that `python` finds, with `environment` added to ours."""

    version: str = __version__
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)


def next_tree(directory: Path) -> Path:
    """A copy of this tree's packages, changed into the next release."""
    tree = copied(directory)
    for path in (tree / "pyproject.toml", *tree.glob("*/headrace_*/__init__.py")):
        path.write_text(re.sub(rf'^((?:__)?version(?:__)? = )"{re.escape(__version__)}"', rf'\1"{NEXT}"', path.read_text(), flags=re.MULTILINE))
    for name, changes in CHANGES.items():
        path = tree / SQL / "queries" / name
        text = path.read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{name} has changed: {old}"
            text = text.replace(old, new)
        path.write_text(text)
    (tree / SQL / "migrations" / f"{newest() + 1:04}_named.sql").write_text(ADDS)
    (tree / SQL / "migrations" / f"{newest() + 2:04}_address.post.sql").write_text(TAKES_AWAY)
    return tree


def copied(directory: Path) -> Path:
    """A copy of what makes a wheel."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, directory / package)  # bytecode stays good, since times are copied too
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, directory / name)
    return directory


def in_place(tree: Path) -> Release:
    """The next release, run from its tree."""
    return Release(NEXT, environment={"PYTHONPATH": ":".join(dict.fromkeys(str((tree / package).parent) for package in PACKAGES))})


def installed(tree: Path, version: str, place: Path) -> Release:
    """A wheel built of a tree, installed into an environment of its own, which takes what it needs from that of the tests."""
    wheels = place / "wheel"
    _run(sys.executable, "-m", "build", "--no-isolation", "--wheel", "-o", str(wheels), str(tree))
    [wheel] = wheels.glob(f"headrace-{version}-*.whl")
    venv.create(place / "venv", with_pip=False, symlinks=True)
    python = place / "venv" / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel))
    [packages] = (place / "venv" / "lib").glob("python*/site-packages")
    (packages / "needs.pth").write_text(sysconfig.get_path("purelib") + "\n")
    found = _run(str(python), "-c", "import headrace_agent, headrace_broker, headrace_client, headrace_proto as p; print(p.__file__, headrace_broker.__version__)")
    assert found.split() == [str(packages / "headrace_proto" / "__init__.py"), version]
    return Release(version, str(python))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
