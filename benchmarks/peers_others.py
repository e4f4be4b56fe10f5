"""The other queues that peers.py knows: how many jobs a round has, the settings each runs with, how its worker is started, and whether it can be had here.

Settings are the best of those that were tried on 2 cores with no-op handlers. Other programs shared the machine then, so the best of several short runs is told of each:

- PgQueuer, Awa, Procrastinate: several batch sizes or concurrencies; COPY and queue storage for Awa.
- graphile-worker: the mode that its performance page shows: 24 jobs at a time, 25 connections, a local queue, completions batched without delay. With the page's local
  queue of 500 it made 36,000/s, with 2,000 45,000, with 5,000 52,000, with 10,000 50,000. 10, 48, 100 or 500 jobs at a time, or 10 connections, were no better (43,000 to
  49,000); a delay of 1, 10 or 250 ms before completions are stored was worse (43,000, 24,000, 28,000), since a job in hand occupies a place until then.
- pg-boss: whole batches are fetched, handled and completed, and a full one is followed by the next at once (`burstWhenBatchFull`; without it half a second passes between
  two, the shortest interval it allows). One loop made 12,000/s with batches of 300, 17,000 with 1,000, 19,000 with 3,000, 21,000 with 10,000; two loops with 5,000 made
  27,000; three or four no more.

What a queue has fetched before its first handler runs is not on the clock, so a round has far more jobs than a fetch: 24 times as many for graphile-worker, 10 for
pg-boss.
"""

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NODE_MODULES = HERE / "node" / "node_modules"
OLDEST_NODE = 22  # graphile-worker and pg-boss ask for it
PYTHON: dict[str, tuple[str, int, int]] = {
    "pgqueuer": ("pgqueuer", 30_000, 500),
    "awa": ("awa-pg", 20_000, 500),
    "procrastinate": ("procrastinate", 2_000, 100),
}
"""Package, jobs of a round, batch size or concurrency."""
NODE: dict[str, tuple[int, dict[str, Any]]] = {
    "graphile-worker": (120_000, {"concurrentJobs": 24, "maxPoolSize": 25, "localQueue": {"size": 5000}, "completeJobBatchDelay": 0, "failJobBatchDelay": 0}),
    "pg-boss": (100_000, {"pool": 10, "batchSize": 5000, "localConcurrency": 2, "burstWhenBatchFull": True, "pollingIntervalSeconds": 0.5}),
}
"""Jobs of a round, settings of the worker."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One other queue. `missing`: why it cannot run here; `command` starts its worker on a database with so many jobs, which prints the seconds it took."""

    name: str
    version: str
    jobs: int
    command: Callable[[str, int], Sequence[str]]
    missing: str | None


def known_peers(python: Path, node: Path | None) -> list[Peer]:
    """All of them, whether they are installed or not."""
    return [*(_of_python(name, python) for name in PYTHON), *(_of_node(name, node or _packaged_node()) for name in NODE)]


def _of_python(name: str, python: Path) -> Peer:
    package, jobs, size = PYTHON[name]
    version = _output(str(python), "-c", f"import importlib.metadata as m; print(m.version('{package}'))")
    worker = str(HERE / "peers_worker.py")

    def command(dsn: str, jobs: int) -> Sequence[str]:
        if name == "awa":  # its driver wants a host before the path, and then takes that of the query all the same
            dsn = dsn.replace("@/", "@localhost/")
        return [str(python), worker, name, dsn, str(jobs), str(size)]

    return Peer(name, version or "", jobs, command, None if version else f"{python} has no {package}: make .venv-peers/.set-up")


def _of_node(name: str, node: Path) -> Peer:
    jobs, settings = NODE[name]
    manifest = NODE_MODULES / name / "package.json"
    missing = None
    found = _output(str(node), "--version")
    if not manifest.exists():
        missing = f"benchmarks/node has no {name}: make {NODE_MODULES.relative_to(HERE.parent)}/.set-up, which needs npm"
    elif found is None or int(found.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        missing = f"it needs Node {OLDEST_NODE}, and {node} is {found or 'not there'}"
    version = json.loads(manifest.read_text())["version"] if manifest.exists() else ""
    worker = str(HERE / "node" / "worker.mjs")
    return Peer(name, version, jobs, lambda dsn, jobs: [str(node), worker, name, dsn, str(jobs), json.dumps(settings)], missing)


def _packaged_node() -> Path:
    """The Node that npm brought, else that of the machine."""
    return next(NODE_MODULES.glob("node-linux-*/bin/node"), Path("node"))


def _output(*command: str) -> str | None:
    """What a program prints; None if it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
