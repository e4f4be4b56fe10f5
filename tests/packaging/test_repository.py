"""The repository stands alone: it names no registry's host and no path of a machine, and speaks of nothing but the project."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "a registry's host": re.compile(r"pythonhoste[d]\.org|pyp[i]\.org/simple|registry\.npmj[s]\.org|[d]eb\.debian\.org"),
    "a path of a machine": re.compile(r"(?<![\w.])/(?:wor[k]|far[m]|roo[t])/"),
    "a design paper": re.compile(r"DESIG[N]\.md|LEDGE[R]\.md|STYL[E]\.md|ledger\.pm[l]|\.\./share[d]"),
    "an issue": re.compile(r"\b[Ii]ssue\s+#?\d|#\d+\b(?=[ ,.)])"),
}


def files() -> list[Path]:
    """All text files that git knows of, or that would be committed."""
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_nothing_committed_names_what_it_must_not() -> None:
    wrong = []
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            wrong += [f"{path.relative_to(ROOT)}:{number} names {what}: {line.strip()[:120]}" for what, pattern in FORBIDDEN.items() if pattern.search(line)]
    assert not wrong, "\n".join(wrong)


def test_files_stay_readable() -> None:
    for path in files():
        if path.suffix == ".py" and "_pb2" not in path.name:
            assert len(path.read_text().splitlines()) <= 600, f"{path.relative_to(ROOT)} is too long: look for the two things that it is"


def test_every_public_name_has_a_docstring() -> None:
    import ast

    missing = []
    for folder in ("client", "agent", "broker"):
        for path in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(path.read_text())
            if not ast.get_docstring(tree) and tree.body:
                missing.append(str(path.relative_to(ROOT)))
            for node in tree.body:
                missing += _undocumented(path, node)
    assert not missing, "\n".join(missing)


def _undocumented(path: Path, node: object, owner: str = "") -> list[str]:
    import ast

    if not isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) or node.name.startswith("_") or owner.startswith("_"):
        return []
    if owner and (node.name[0].isupper() or "/rpc/" in str(path)):
        return []  # methods of gRPC services are documented in the protos
    missing = [] if ast.get_docstring(node) else [f"{path.relative_to(ROOT)}: {owner}{node.name}"]
    if isinstance(node, ast.ClassDef):
        for child in node.body:
            missing += _undocumented(path, child, f"{node.name}.")
    return missing
