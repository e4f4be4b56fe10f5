"""How commands print: the one place through which text gets to a terminal, and nothing that others wrote steers it (see `headrace_proto.terminal`)."""

import sys

from headrace_proto.terminal import harmless


def print_line(text: str, *, flush: bool = False) -> None:
    """A line on standard output, or several, for people."""
    print(harmless(text), flush=flush)


def print_drawn(text: str) -> None:
    """A line with sequences of our own around text that is harmless already."""
    print(text)


def print_error(text: str) -> None:
    """The same on standard error."""
    print(harmless(text), file=sys.stderr)


def print_exactly(data: bytes) -> None:
    """Bytes as they are, for files and programs; at a terminal as `print_line` would have them."""
    sys.stdout.flush()
    if sys.stdout.isatty():
        data = harmless(data.decode(errors="backslashreplace")).encode(sys.stdout.encoding, "backslashreplace")
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
