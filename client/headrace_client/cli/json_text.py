"""JSON as text: what a user gave goes on byte for byte, so numbers keep their digits and deep nesting does not matter."""

import json
import re

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}:,]|[^\s"\[\]{}:,]+', re.DOTALL)


def check_json(raw: bytes) -> None:
    """Raises ValueError unless this is JSON in UTF-8. What is nested too deeply for Python's parser passes: nobody between here and the handler looks inside."""
    try:
        json.loads(raw.decode(), parse_constant=_refuse, parse_int=str)
    except RecursionError:
        return


def members(line: bytes) -> dict[str, str]:
    """The members of one JSON object as text, by name; of a name that comes twice the last. Raises ValueError for what is not an object."""
    text = line.decode()
    tokens = list(_TOKEN.finditer(text))
    if len(tokens) < 2 or tokens[0][0] != "{" or tokens[-1][0] != "}":
        raise ValueError('not a JSON object: a line is {"type": ..., "data": ...}')
    found: dict[str, str] = {}
    depth = 0
    name: str | None = None
    start = tokens[0].end()
    for token in tokens:
        mark = token[0]
        if mark in ("}", "]"):
            depth -= 1
        if depth == 1 and mark == ":" and name is None:
            name = str(json.loads(text[start : token.start()]))
            start = token.end()
        elif (depth == 1 and mark == ",") or (depth == 0 and mark == "}"):
            member = text[start : token.start()].strip()
            if name is not None:
                found[name] = member
            elif member or found:
                raise ValueError('not JSON: a member is "name": value')
            name, start = None, token.end()
        if mark in ("{", "["):
            depth += 1
    if depth != 0 or text[start:].strip():
        raise ValueError("not a JSON object: its brackets do not match")
    return found


def _refuse(word: str) -> None:
    raise ValueError(f"{word} is not JSON")
