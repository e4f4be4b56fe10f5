"""Text that others wrote, on its way to a terminal."""

import ast
import json
import sys
import unicodedata
from pathlib import Path

import headrace_client.cli
import pytest
from headrace_client.cli.output import to_json
from headrace_proto.terminal import harmless, harmless_json, one_line

STEERS = ("Cc", "Cf", "Cs", "Zl", "Zp")
KEPT = "\n\t\u200c\u200d"
EVERYTHING = "".join(map(chr, range(sys.maxunicode + 1)))


def test_what_steers_a_terminal_is_shown_as_escapes_and_nothing_else_changes() -> None:
    assert harmless("red \x1b[31m\r\x9b2J\u202e\x08 x\n\ty") == "red \\x1b[31m\\r\\x9b2J\\u202e\\x08 x\n\ty"
    assert harmless("Zoë 12\u202f000 \U0001f469\u200d\U0001f4bb") == "Zoë 12\u202f000 \U0001f469\u200d\U0001f4bb"
    wrong = [f"{ord(char):x}" for char in EVERYTHING if unicodedata.category(char) != "Cn" and (harmless(char) != char) != _steers(char)]
    assert wrong == []
    assert one_line("a\n\tb\x07") == "a\\n\\tb\\x07"


def _steers(char: str) -> bool:
    return unicodedata.category(char) in STEERS and char not in KEPT


def test_json_says_the_same_and_steers_nothing() -> None:
    text = "-".join(char for char in EVERYTHING if _steers(char)) + "Zoë"  # apart, since two halves of characters are one in JSON
    shown = to_json({"text": text, text: 1}, indent=2)
    assert json.loads(shown) == {"text": text, text: 1}
    assert not any(map(_steers, shown)) and "Zoë" in shown
    assert harmless_json('"\\\\\x1b"') == '"\\\\\\u001b"'


@pytest.mark.parametrize("path", sorted(Path(headrace_client.cli.__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_commands_print_through_one_place(path: Path) -> None:
    if path.name == "printing.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write"), f"{path.name}:{node.lineno}"
            assert not (called.startswith("csv.") and "sys.std" in ast.unparse(node)), f"{path.name}:{node.lineno}"
