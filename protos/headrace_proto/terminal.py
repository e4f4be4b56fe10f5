"""Text that others wrote, on its way to a terminal.

Log lines, errors, reasons, names and payloads may hold characters that a terminal obeys instead of showing them: escape sequences, a carriage return or a backspace that
writes over what stood there, marks that turn the direction of what follows (Boucher and Anderson, "Trojan Source", 2021). They are shown as escapes, such as \\x1b. In
JSON they are escapes of JSON, which stand for the same text.
"""

import json
import re

_STEERS = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff"  # control characters but line feed and tab, separators of lines, halves of characters
    r"\xad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # format characters: bidi, invisible
    r"\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e007f"
)
"""The categories Cc, Cf, Cs, Zl and Zp of Unicode but for the joiners U+200C and U+200D, which scripts and emoji need. Spelt out, since `unicodedata` is slow to ask."""
_STEERING = re.compile(f"[{_STEERS}]")
_STEERING_OR_BREAKING = re.compile(f"[{_STEERS}\n\t]")


def harmless(text: str) -> str:
    """The text with what would steer a terminal shown as escapes. Line feeds and tabs stay."""
    return text if text.isprintable() else _STEERING.sub(_escape, text)


def one_line(text: str) -> str:
    """The same on one line: line feeds and tabs are escapes, too."""
    return text if text.isprintable() else _STEERING_OR_BREAKING.sub(_escape, text)


def harmless_json(text: str) -> str:
    """JSON that says the same, and steers nothing either."""
    return _STEERING.sub(_escape_of_json, text)


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def _escape_of_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]
