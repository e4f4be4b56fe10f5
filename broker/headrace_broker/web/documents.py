"""Payloads and results as people read them: JSON that folds, as text, and what changed from one to the next; fields of secret names masked.

Numbers stand as they were written: nothing is rounded, whatever their size. Objects keep their order, and names that come twice. Everything is bounded: values drawn,
characters of text, lines compared. All of it is pure and may take a tenth of a second for a large payload, so pages call it in a thread.
"""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_proto.terminal import harmless, harmless_json
from markupsafe import Markup, escape

from headrace_broker.model.redaction import CLAIM, ENCODED, MASK, Masked, Members, Node, Written, masked_node, parse, quoted, squeezed
from headrace_broker.web.render import size

MOST_DRAWN = 3000
"""Values of one tree."""
MOST_TEXT = 256 * 1024
"""Characters of one text."""
MOST_LINES = 1000
"""Lines of each side of a comparison."""
OPEN_DEPTH, OPEN_MEMBERS = 3, 40
"""What is open at first: down to this depth, unless it has more members."""
MOST_LEAF = 5000
"""Characters of one text in a tree."""


_EMPTY = Markup("")


@dataclass(frozen=True, slots=True)
class Document:
    """`kind`: none, json (with `tree` and `text`), text, or binary, encoded, outside and hidden (with `says`).

    `masked`: values that are hidden; `cut`: `text` is not all of it.
    """

    kind: str
    size_bytes: int = 0
    says: str = ""
    tree: Markup = _EMPTY
    text: str = ""
    masked: int = 0
    cut: bool = False


def document(data: bytes | None, content_type: str | None, secret: Sequence[str]) -> Document:
    """What to show of bytes. `secret`: names of fields whose values are masked, as `squeezed`; empty: the reader sees everything."""
    if not data:
        return Document("none")
    if data.startswith(ENCODED):
        layers = _layers(data)
        return Document("encoded", len(data), f"{size(len(data))}, encoded with {layers}: only who has the codecs and their keys can read it.")
    if data.startswith(CLAIM):
        return Document("outside", len(data), _outside(data, secret))
    try:
        node, masked = masked_node(parse(data), secret)
        text, whole = pretty(node)
        return Document("json", len(data), tree=tree(node), text=text, masked=masked, cut=not whole)
    except (ValueError, RecursionError):
        pass
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return Document("binary", len(data), f"{size(len(data))} of {content_type or 'bytes'}: not text, so it is not shown.")
    if secret and any(name in squeezed(text) for name in secret):
        return Document("hidden", len(data), f"{size(len(data))} of text that is not JSON and names a field that is masked: operators see it.")
    return Document("text", len(data), text=harmless(text[:MOST_TEXT]), cut=len(text) > MOST_TEXT)


class _Full(Exception):
    """There is more text than is shown: what is nested deep takes far more room than it had in the payload."""


class _Text:
    """Collects a text of at most MOST_TEXT characters."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._room = MOST_TEXT

    def add(self, part: str) -> None:
        """Raises _Full."""
        self.parts.append(part[: self._room])
        self._room -= len(part)
        if self._room < 0:
            raise _Full


def pretty(node: Node) -> tuple[str, bool]:
    """(The JSON as text, two spaces for each level, every number as it was written; whether that is all of it)."""
    out = _Text()
    try:
        _write(node, "", out)
    except _Full:
        return "".join(out.parts), False
    return "".join(out.parts), True


def _write(node: Node, indent: str, out: _Text) -> None:
    deeper = indent + "  "
    if isinstance(node, Members):
        for index, (name, value) in enumerate(node):
            out.add(f"{',' if index else '{'}\n{deeper}{_quoted(name)}: ")
            _write(value, deeper, out)
        out.add(f"\n{indent}}}" if node else "{}")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            out.add(f"{',' if index else '['}\n{deeper}")
            _write(value, deeper, out)
        out.add(f"\n{indent}]" if node else "[]")
    else:
        out.add(_leaf(node))


def _leaf(node: Node) -> str:
    if isinstance(node, Written):
        return str(node)
    return _quoted(node) if isinstance(node, str) else json.dumps(node)


def _quoted(text: str) -> str:
    """A JSON text as people read it: what steers text as escapes of JSON, so that it says the same."""
    return harmless_json(quoted(text))


def tree(node: Node) -> Markup:
    """The JSON as nested <details>. At most MOST_DRAWN values; what is left out is said."""
    out: list[str] = []
    drawn = _draw(node, "", 0, [MOST_DRAWN], out)
    if not drawn:
        out.append('<div class="left-out">Further values are not drawn; the text below has them.</div>')
    inner = Markup("".join(out))  # noqa: S704  # made of what _draw has escaped
    return Markup('<div class="tree">{}</div>').format(inner)


def _draw(node: Node, label: str, depth: int, room: list[int], out: list[str]) -> bool:
    """Draws one value; False: there was no room for all of it."""
    if room[0] <= 0:
        return False
    room[0] -= 1
    if not isinstance(node, list) or not node:  # Members are a list too
        out.append(f"<div>{label}{_shown(node)}</div>")
        return True
    named = isinstance(node, Members)
    opened = " open" if depth < OPEN_DEPTH and len(node) <= OPEN_MEMBERS else ""
    count = f"{len(node):,} {'field' if named else 'value'}{'' if len(node) == 1 else 's'}"
    out.append(f'<details{opened}><summary>{label}<span class="count">{"{" if named else "["} {count} {"}" if named else "]"}</span></summary><div class="kids">')
    whole = True
    for index, item in enumerate(node):
        name, value = item if named else (str(index), item)
        key = f'<span class="key-name">{escape(_quoted(name) if named else name)}</span>: '
        if not _draw(value, key, depth + 1, room, out):
            whole = False
            break
    out.append("</div></details>")
    return whole


def _shown(node: Node) -> str:
    if isinstance(node, Masked):
        return f'<span class="masked" title="masked: only operators see it">{MASK}</span>'
    kind = "number" if isinstance(node, Written) else "string" if isinstance(node, str) else "empty-list" if isinstance(node, list) else "word"
    text = ("{}" if isinstance(node, Members) else "[]") if isinstance(node, list) else _leaf(node)
    if len(text) > MOST_LEAF:
        text = f"{text[:MOST_LEAF]} ... ({len(text):,} characters)"
    return f'<span class="{kind}">{escape(text)}</span>'


@dataclass(frozen=True, slots=True)
class Difference:
    """`lines`: (sign, text), the sign one of " ", "+", "-" and "@"; empty: there is none. `says`: why there is no comparison; `cut`: not all was compared."""

    lines: list[tuple[str, str]]
    says: str = ""
    cut: bool = False


def difference(old: bytes | None, new: bytes | None, secret: Sequence[str]) -> Difference:
    """What changed from one payload to another, by lines of their text; values that are masked are compared as what is shown of them."""
    before, after = document(old, None, secret), document(new, None, secret)
    for one in (before, after):
        if one.says:
            return Difference([], f"Not compared: {one.says}")
    left, right = before.text.splitlines(), after.text.splitlines()
    cut = before.cut or after.cut or max(len(left), len(right)) > MOST_LINES
    found = list(difflib.unified_diff(left[:MOST_LINES], right[:MOST_LINES], lineterm="", n=3))[2:]
    return Difference([("@", line) if line.startswith("@@") else (line[:1], line[1:]) for line in found], cut=cut)


def _outside(data: bytes, secret: Sequence[str]) -> str:
    """What a reference says of the bytes that a client keeps elsewhere; who does not see secrets is not told which they are."""
    try:
        fields = dict(parse(data))
        kept = size(int(fields["size_bytes"]))
        which = "" if secret else f", sha256 {str(fields['sha256'])[:64]}"
        return f"Kept outside the broker by its client: {kept} of {str(fields['content_type'])[:100] or 'application/json'}{which}."
    except (ArithmeticError, KeyError, TypeError, ValueError, RecursionError):
        return f"{size(len(data))} that should say what is kept outside the broker, and cannot be read."


def _layers(data: bytes) -> str:
    """The names of the codecs that bytes went through, as their beginning says (docs/payloads.md)."""
    names, at = [], len(ENCODED) + 2
    try:
        for _ in range(data[at - 1]):
            end = at + 1 + data[at]
            after = end + 1 + data[end]
            name, params = data[at + 1 : end].decode("ascii"), data[end + 1 : after].decode("ascii", "replace")
            names.append(f"{name} ({params})" if params and params.isprintable() else name)
            at = after
    except (IndexError, UnicodeDecodeError):
        return "a codec whose beginning is broken"
    return ", then ".join(names) or "no codec"
