"""A terminal that one command has to itself: its other screen, keys as they are pressed, and all as it was at the end."""

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"  # xterm control sequences (ctlseqs): the other screen, no cursor, no wrapping at the edge
LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
HOME = "\x1b[H"
STYLES = {"bold": "1", "dim": "2", "reverse": "7", "red": "1;31", "yellow": "33", "green": "32"}
KEYS = {
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[C": ">", "\x1b[D": "<", "\x1b[5~": "page up", "\x1b[6~": "page down", "\x1b[H": "home", "\x1b[F": "end",
    "\x1bOA": "up", "\x1bOB": "down", "\x1bOC": ">", "\x1bOD": "<", "\x1bOH": "home", "\x1bOF": "end", "\x1b[1~": "home", "\x1b[4~": "end",
}  # fmt: skip

Line = Sequence[tuple[str, str]]
"""Pieces of text, each with a name of STYLES or ""."""


def usable() -> bool:
    """Whether standard output is a terminal that understands what is written here."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class Terminal:
    """A context manager; however its body ends, the terminal is left as it was found. Keys are read where `keys` is a terminal too."""

    def __init__(self, screen: int, keys: int, *, encoding: str = "utf-8") -> None:
        self._screen = screen
        self._keys = keys if os.isatty(keys) else None
        self._encoding = encoding
        self._modes: list[Any] | None = None

    @property
    def keys(self) -> int | None:
        """The descriptor that becomes readable with a key; None: there are none."""
        return self._keys

    def __enter__(self) -> Self:
        if self._keys is not None:
            self._modes = termios.tcgetattr(self._keys)
        try:
            self.take()
        except BaseException:
            self.give_back()
            raise
        return self

    def __exit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.give_back()

    def take(self) -> None:
        """At the beginning, and after it was given back for a while."""
        if self._keys is not None:
            tty.setcbreak(self._keys, termios.TCSANOW)  # signals of the keyboard go on
        self._write(ENTER)

    def give_back(self) -> None:
        """As it was. May be done twice."""
        with contextlib.suppress(OSError):  # it may be gone
            self._write(LEAVE)
        if self._keys is not None and self._modes is not None:
            with contextlib.suppress(termios.error, OSError):
                termios.tcsetattr(self._keys, termios.TCSANOW, self._modes)

    def size(self) -> tuple[int, int]:
        """(columns, lines) now."""
        try:
            columns, lines = os.get_terminal_size(self._screen)
        except OSError:
            columns = lines = 0
        return columns or 80, lines or 24

    def draw(self, lines: Sequence[Line]) -> None:
        """All lines of the screen, each as wide as it is."""
        self._write(HOME + "\r\n".join(map(painted, lines)))

    def read(self) -> list[str]:
        """Keys that were pressed: characters, and names of KEYS. Raises EOFError when there will be none any more."""
        assert self._keys is not None
        try:
            found = os.read(self._keys, 1024)
        except OSError as error:
            raise EOFError from error
        if not found:
            raise EOFError
        return pressed(found.decode(errors="replace"))

    def _write(self, text: str) -> None:
        left = memoryview(text.encode(self._encoding, "replace"))
        while left:
            left = left[os.write(self._screen, left) :]


def painted(line: Line) -> str:
    """With its styles as control sequences."""
    plain = bool(os.environ.get("NO_COLOR"))  # https://no-color.org
    text = ""
    for piece, style in line:
        code = STYLES.get(style, "")
        if plain and style in ("red", "yellow", "green"):
            code = "1" if style == "red" else ""
        text += f"\x1b[{code}m{piece}\x1b[0m" if code else piece
    return text


def pressed(text: str) -> list[str]:
    """The keys of what a terminal sent; sequences that are not known are none."""
    if text == "\x1b":  # what follows it in a sequence comes with it
        return ["escape"]
    keys = []
    while text:
        name = next((sequence for sequence in KEYS if text.startswith(sequence)), None)
        if name is not None:
            keys.append(KEYS[name])
            text = text[len(name) :]
        elif text[0] == "\x1b":  # to its final character (ECMA-48, section 5.4)
            end = next((place for place, character in enumerate(text[2:], 2) if "@" <= character <= "~"), len(text) - 1) if text[1:2] in ("[", "O") else 0
            text = text[end + 1 :]
        else:
            keys.append(text[0])
            text = text[1:]
    return keys
