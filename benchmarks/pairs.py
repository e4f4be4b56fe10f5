"""Whether a job has become dearer: capacity.py of an earlier commit and of this one, in turn, each on the code of its own.

    PYTHONPATH=. .venv/bin/python benchmarks/pairs.py --before COMMIT

The earlier commit is checked out beside this one for the time being, and run in the same environment. Printed: CPU per job of broker and of Postgres and jobs/s for
both, and their ratios pair by pair, since a shared machine drifts. Which of the two goes first changes from pair to pair.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import support

RATIOS = {"broker_us": "broker_us_ratio", "postgres_us": "postgres_us_ratio", "broker_per_s": "broker_per_s_ratio"}


@contextlib.contextmanager
def checked_out(commit: str, directory: Path) -> Iterator[Path]:
    """A work tree of an earlier commit, gone afterwards."""
    tree = directory / "before"
    subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit], cwd=support.ROOT, check=True)
    try:
        yield tree
    finally:
        subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=support.ROOT, check=True)


def capacity(tree: Path, directory: Path, jobs: int) -> dict[str, Any]:
    """The result of one round of capacity.py with the code of a tree."""
    paths = [tree, *(tree / part for part in ("broker", "agent", "client", "protos"))]
    file = directory / "capacity.json"
    command = [sys.executable, "benchmarks/capacity.py", "--rounds", "1", "--jobs", str(jobs), "--json", str(file)]
    subprocess.run(command, cwd=tree, env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}, check=True, stdout=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def main() -> None:
    """Runs pairs; medians and their spread."""
    parser = support.options(__doc__, rounds=5)
    parser.add_argument("--before", required=True, metavar="COMMIT")
    parser.add_argument("--jobs", type=int, default=300_000, help="of each run")
    arguments = parser.parse_args()
    rounds: list[support.Round] = []
    facts: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="headrace-pairs-") as name, checked_out(arguments.before, Path(name)) as before:
        trees = {"before": before, "now": support.ROOT}
        for number in range(arguments.rounds):
            found: dict[str, dict[str, float]] = {}
            for which in sorted(trees, reverse=number % 2 == 0):
                result = capacity(trees[which], Path(name), arguments.jobs)
                facts, found[which] = result["machine"], result["median"]["capacity"]
            told = {which: {figure: figures[figure] for figure in RATIOS} for which, figures in found.items()}
            rounds.append({**told, "now : before": {ratio: found["now"][figure] / found["before"][figure] for figure, ratio in RATIOS.items()}})
    support.report(support.outcome("pairs", facts, rounds, before=arguments.before, jobs=arguments.jobs), arguments.json)


if __name__ == "__main__":
    main()
