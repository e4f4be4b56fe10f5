"""Applies the mutants, one at a time, to copies of the tree, and prints which tests found them out.

    python -m tests.mutants.run [WORD ...] [--jobs N] [--no-baseline]

WORDs choose mutants by name. Before anything is taken away the named tests must pass (the baseline): a test that is red anyway finds nothing out. Exit code 1: a mutant
survived, its text is not in the code any more, or its tests could not be run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

from tests.mutants import MUTANTS
from tests.mutants.mutant import Mutant
from tests.support.databases import TEMPLATE, session_server
from tests.support.processes import ROOT

TEST_S = 60  # of one test
RUN_S = 150  # of the tests of one mutant; a hang is a way to be found out, too
BASELINE_S = 900  # of all tests of one file that mutants name
STORE = "broker/headrace_broker/store/"
SCHEMA = (f"{STORE}sql/migrations/", f"{STORE}migrate.py", f"{STORE}embedded.py")
"""What makes a server's tables: where that is changed, the tests make a server of their own instead of a copy of the one that was made before."""
PACKAGES = ("protos", "client", "agent", "broker")
FAILED, PASSED = 1, 0  # exit codes of pytest; others mean that it did not get to the tests


@dataclass(frozen=True)
class Result:
    """What became of one mutant; `by`: the test that turned red."""

    mutant: Mutant
    verdict: str  # red, SURVIVED, NOT FOUND, BROKEN
    seconds: float
    by: str


def main(argv: Sequence[str] | None = None) -> int:
    """See the module; returns the exit code."""
    parser = argparse.ArgumentParser(description="Takes every guard away, one at a time: some test must turn red.")
    parser.add_argument("words", nargs="*", help="only mutants whose name has one of these words")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at the same time, each in a copy of its own")
    parser.add_argument("--no-baseline", action="store_true", help="do not run the tests on the unchanged tree first")
    options = parser.parse_args(argv)
    chosen = [mutant for mutant in MUTANTS if not options.words or any(word in mutant.name for word in options.words)]
    with tempfile.TemporaryDirectory(prefix="headrace-mutants-") as place, server_at_rest() as template, ThreadPoolExecutor(options.jobs) as pool:
        trees: SimpleQueue[Path] = SimpleQueue()
        for number in range(options.jobs):
            trees.put(copy_tree(Path(place) / str(number)))

        def tried(mutant: Mutant) -> Result:
            tree = trees.get()
            try:
                return try_one(tree, mutant, template)
            finally:
                trees.put(tree)

        if not options.no_baseline and not baseline(Path(place) / "0", chosen, template):
            return 1
        results = []
        for result in pool.map(tried, chosen):
            results.append(result)
            print(f"{result.verdict:9} {result.seconds:5.1f} s  {result.mutant.name:66} {result.by or result.mutant.tests}", flush=True)
    bad = [result for result in results if result.verdict != "red"]
    print(f"\n{len(results)} mutants, {len(results) - len(bad)} found out, {sum(result.seconds for result in results):.0f} s of tests")
    for result in bad:
        print(f"{result.verdict}: {result.mutant.name} ({result.mutant.file}; {result.mutant.tests})")
    return 1 if bad else 0


def copy_tree(target: Path) -> Path:
    """What git knows of, or would commit, without anything that was built."""
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@contextmanager
def server_at_rest() -> Iterator[Path]:
    """The directory of a migrated server that was stopped."""
    with session_server() as server:
        server.stop()
        yield server.data_dir


def baseline(tree: Path, chosen: Sequence[Mutant], template: Path) -> bool:
    """Whether the named tests pass as long as nothing is taken away."""
    named: dict[str, list[str]] = {}
    for mutant in chosen:
        path, _, words = mutant.tests.partition(" -k ")
        named.setdefault(path, []).append(words)
    for path, each in named.items():
        tests = path if "" in each else f"{path} -k {' or '.join(f'({words})' for words in dict.fromkeys(each))}"
        code, by = run_tests(tree, tests, template, run_s=BASELINE_S)
        if code != PASSED:
            print(f"without any mutant: {tests} ends with exit code {code}: {by}")
            return False
    return True


def try_one(tree: Path, mutant: Mutant, template: Path) -> Result:
    """One mutant in a tree of its own."""
    if (tree / mutant.file).read_text().count(mutant.find) != 1:
        return Result(mutant, "NOT FOUND", 0.0, "")
    begin = time.monotonic()
    with applied(tree / mutant.file, mutant):
        code, by = run_tests(tree, mutant.tests, None if mutant.file.startswith(SCHEMA) else template)
    verdict = {FAILED: "red", PASSED: "SURVIVED"}.get(code, "BROKEN")
    return Result(mutant, verdict, time.monotonic() - begin, by)


@contextmanager
def applied(path: Path, mutant: Mutant) -> Iterator[None]:
    """The file with the guard taken away; as it was afterwards. Its compiled form goes both times, since it is known by time and size only."""
    text = path.read_text()

    def write(content: str) -> None:
        path.write_text(content)
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            compiled.unlink()

    write(text.replace(mutant.find, mutant.put))
    try:
        yield
    finally:
        write(text)


def run_tests(tree: Path, tests: str, template: Path | None, *, run_s: float = RUN_S) -> tuple[int, str]:
    """(exit code of pytest, the test that failed first). A run that takes too long has failed. `template`: the tests' server is a copy of that one."""
    path, _, words = tests.partition(" -k ")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", str(TEST_S), "--tb", "no", path, *(["-k", words] if words else [])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tree / package) for package in PACKAGES] + [str(tree)])}
    if template is not None:
        environment[TEMPLATE] = str(template)
    process = subprocess.Popen(command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        output, _ = process.communicate(timeout=run_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate()
        return FAILED, "took too long"
    lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return process.returncode, lines[0].split(" - ")[0].rpartition("::")[2] if lines else ""


if __name__ == "__main__":
    sys.exit(main())
