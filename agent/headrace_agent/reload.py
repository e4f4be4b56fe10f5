"""For development: notices that a file of an imported module has changed."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

CHECK_S = 0.5


async def watch(on_change: Callable[[str], None]) -> None:
    """Calls `on_change` with the path once, when a source file of a module outside the Python installation was written. Runs until then, or until cancelled."""
    seen = _times()
    while True:
        await asyncio.sleep(CHECK_S)
        now = _times()
        changed = [path for path, written in now.items() if seen.get(path, written) != written]
        if changed:
            on_change(changed[0])
            return
        seen |= now


def wait_for_change(directory: Path) -> None:
    """Blocks until a Python file below the directory is written: for modules that cannot even be imported."""
    seen = _files(directory)
    while _files(directory) == seen:
        time.sleep(CHECK_S)


def _files(directory: Path) -> dict[str, int]:
    found = {}
    for path in directory.rglob("*.py"):
        try:
            found[str(path)] = path.stat().st_mtime_ns
        except OSError:
            continue
    return found


def _times() -> dict[str, int]:
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py") and not path.startswith((sys.prefix, sys.base_prefix)) and "site-packages" not in path:
            try:
                found[path] = os.stat(path).st_mtime_ns
            except OSError:
                continue
    return found
