"""Searches all states of protocol.pml with Spin: the protocol must have no error, and each variant that leaves a rule out must have one.

`make model`, or `python -m tests.model.check WORD` for variants whose name has that word. It needs spin and a C compiler (Debian: spin, gcc); without them it says so
and ends with 0.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("protocol.pml")
MEMORY_MB = 3000
DEPTH = 3_000_000
WHOLE = ({"LIVES": 2, "MAXSEQ": 3}, {"LIVES": 2, "MAXSEQ": 4, "ABORTS": 0, "DOORS": 0}, {"LIVES": 3, "MAXSEQ": 2, "ABORTS": 0, "DOORS": 0})
"""Bounds that are searched completely: one takeover with everything; a job that is lost twice; two takeovers."""
VARIANTS = {
    "NO_FENCE": {"LIVES": 2, "MAXSEQ": 3},
    "NO_KEY": {"LIVES": 2, "MAXSEQ": 3},
    "TAKE_BEFORE_DEAD": {"LIVES": 2, "MAXSEQ": 3},
    "ASK_BEFORE_DEAD": {"LIVES": 2, "MAXSEQ": 3},
    "ANSWER_EARLY": {"LIVES": 2, "MAXSEQ": 3},
    "NO_GRACE": {"LIVES": 2, "MAXSEQ": 4},
    "ACK_NO_PROOF": {"LIVES": 2, "MAXSEQ": 4},
    "ASSIGN_AT_RECEIPT": {"LIVES": 2, "MAXSEQ": 4},
    "FORCE_REGRANT": {"LIVES": 2, "MAXSEQ": 5},
    "CHECKPOINT_ALONE": {"LIVES": 2, "MAXSEQ": 4},
    "STALE_SUPERSEDED": {"LIVES": 2, "MAXSEQ": 4},
    "DOOR_NO_CHECK": {"LIVES": 2, "MAXSEQ": 4},
}
"""A rule that is left out, and bounds that suffice to see it."""


@dataclass(frozen=True)
class Search:
    """What one search found. `error`: the assert that failed; empty: none did. `complete`: no state was left out."""

    states: int
    seconds: float
    error: str
    complete: bool


def missing() -> list[str]:
    """Programs that a search needs and this machine lacks."""
    return [name for name in ("spin", "gcc") if shutil.which(name) is None]


def search(bounds: dict[str, int], variant: str = "") -> Search:
    """Compiles the model and searches its states; the first error ends the search."""
    defines = [f"-D{name}={value}" for name, value in bounds.items()] + ([f"-D{variant}"] if variant else [])
    with tempfile.TemporaryDirectory(prefix="headrace-model-") as directory:
        for command in (["spin", *defines, "-a", str(MODEL)], ["gcc", "-O2", "-w", "-DSAFETY", "-DCOLLAPSE", f"-DMEMLIM={MEMORY_MB}", "-o", "pan", "pan.c"]):
            made = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
            if made.returncode:
                raise RuntimeError(f"{' '.join(command)}:\n{made.stdout}{made.stderr}")
        began = time.monotonic()
        said = subprocess.run(["./pan", f"-m{DEPTH}"], cwd=directory, capture_output=True, text=True, check=False).stdout
        seconds = time.monotonic() - began
    states = re.search(r"([\d.e+]+) states, stored", said)
    error = re.search(r"pan:1: (.*?) \(at depth", said)
    complete = "Search not completed" not in said and "max search depth too small" not in said and "errors: 0" in said
    return Search(int(float(states[1])) if states else 0, seconds, error[1] if error else "", complete)


def main() -> int:
    """Prints a line for each search; returns 1 when one went otherwise than it must."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("word", nargs="?", default="", help="only variants whose name has this word, and not the whole protocol")
    word = parser.parse_args().word.upper()
    if lacking := missing():
        print(f"skipped: the model needs {' and '.join(lacking)} (Debian: apt-get install {' '.join(lacking)})")
        return 0
    wrong = sum(not _tell("protocol", search(bounds), bounds, "") for bounds in (() if word else WHOLE))
    wrong += sum(not _tell(variant, search(bounds, variant), bounds, "assertion") for variant, bounds in VARIANTS.items() if word in variant)
    return bool(wrong)


def _tell(name: str, found: Search, bounds: dict[str, int], wanted: str) -> bool:
    good = wanted in found.error if wanted else found.complete and not found.error
    how = "" if found.complete or found.error else ", NOT COMPLETE"
    said = " ".join(f"{key}={value}" for key, value in bounds.items())
    print(f"{'ok   ' if good else 'WRONG'} {name:17} {said}: {found.states:,} states, {found.seconds:.1f} s, {found.error or 'no error'}{how}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
