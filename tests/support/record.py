"""Append-only files that many processes write, line by line, and one reads while they grow: what happened, told by the outside.

A line is one write with O_APPEND, so lines of several processes never mix, and a line is there or not, whenever its writer is killed.
"""

import os
from collections.abc import Iterable
from pathlib import Path


class Writer:
    """Appends lines of words to a file."""

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, *lines: Iterable[object]) -> None:
        """Adds lines, all in one write."""
        os.write(self._file, "".join(" ".join(map(str, line)) + "\n" for line in lines).encode())


class Reader:
    """Reads what was appended since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0

    def read(self) -> list[list[str]]:
        """The words of each new line."""
        try:
            with open(self._path, "rb") as file:
                file.seek(self._place)
                text = file.read()
        except FileNotFoundError:
            return []
        text = text[: text.rfind(b"\n") + 1]
        self._place += len(text)
        return [line.split() for line in text.decode().splitlines()]
