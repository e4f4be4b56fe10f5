"""Fields of secret names, whose values some readers do not see: what they get of a payload or a result instead.

JSON keeps its shape: numbers stand as they were written, objects keep their order, and names that come twice. What cannot be looked into is left out as a whole.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

MASK = "\N{BULLET}" * 5
ENCODED = b"\x00HRC"
"""How encoded payloads begin; no JSON does."""
CLAIM = b'{"headrace_claim":'
"""How references begin to what clients keep outside the broker (docs/payloads.md), which never follows them."""


class Written(str):
    """A number, as it was written."""


class Masked(str):
    """A value that this reader does not see."""


class Members(list[tuple[str, Any]]):
    """An object, in its order."""


Node: TypeAlias = Any
"""Members, a list, Masked, Written, str, bool or None."""


def squeezed(name: str) -> str:
    """A name as names are compared: small letters and digits alone."""
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def secret_names(option: str) -> tuple[str, ...]:
    """The names of a list with commas, as they are compared."""
    return tuple(name for name in map(squeezed, option.split(",")) if name)


def is_secret(name: str, secret: Sequence[str]) -> bool:
    """Whether a field of this name holds what is masked: one of the names is part of it."""
    short = squeezed(name)
    return any(part in short for part in secret)


def masked_labels(labels: Mapping[str, str], secret: Sequence[str]) -> dict[str, str]:
    """Labels, those of secret names masked."""
    return {name: MASK if is_secret(name, secret) else value for name, value in labels.items()}


def redacted(data: bytes, secret: Sequence[str]) -> bytes:
    """What a reader gets of a payload or a result who does not see fields of these names: the same bytes where there are none; empty: nothing, since it is encoded, or is
    not JSON and has such a name in it, or is kept elsewhere. May take a tenth of a second for a large one."""
    if data.startswith((ENCODED, CLAIM)):
        return b""
    try:
        node, count = masked_node(parse(data), secret)
        return written(node).encode() if count else data
    except (ValueError, RecursionError):
        pass
    found = squeezed(data.decode(errors="replace"))
    return b"" if any(name in found for name in secret) else data


def parse(data: bytes) -> Node:
    """JSON with numbers as written and members in order. Raises ValueError, RecursionError."""
    return json.loads(data, parse_int=Written, parse_float=Written, parse_constant=Written, object_pairs_hook=Members)


def masked_node(node: Node, secret: Sequence[str]) -> tuple[Node, int]:
    """The node with the values of secret fields masked, and how many that were."""
    if not secret:
        return node, 0
    count = 0

    def visit(one: Node) -> Node:
        nonlocal count
        if isinstance(one, Members):
            made = Members()
            for name, value in one:
                if is_secret(name, secret):
                    count += 1
                    made.append((name, Masked(MASK)))
                else:
                    made.append((name, visit(value)))
            return made
        return [visit(value) for value in one] if isinstance(one, list) else one

    return visit(node), count


def quoted(text: str) -> str:
    """A JSON text as people read it; half a surrogate pair, which cannot be sent, as its escape."""
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def written(node: Node) -> str:
    """JSON without spaces, every number as it was written. Raises RecursionError."""
    if isinstance(node, Members):
        return "{" + ",".join(f"{quoted(name)}:{written(value)}" for name, value in node) + "}"
    if isinstance(node, list):
        return "[" + ",".join(map(written, node)) + "]"
    if isinstance(node, Written):
        return str(node)
    return quoted(node) if isinstance(node, str) else json.dumps(node)
