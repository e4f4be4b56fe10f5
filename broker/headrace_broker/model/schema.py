"""JSON Schemas of job types, before they are compiled: what is taken at all, and how much work a payload may make.

A schema is written by whoever may change a type, payloads by everybody who may submit, and both are looked at in the broker's event loop. So that no payload can
hold it up for long, a schema refers to nothing outside itself, and the work is bounded before it is begun. A value in a payload is looked at once for each way
through the schema that leads to it: two references to the same place in an `allOf` are two ways. A schema that refers to itself along several branches of one value
multiplies the ways with every level of nesting (measured: three branches, 16 levels, 13 s). So

    work = ways * values in the payload * branches ^ (2 * nesting)        (twice: once to find that it does not fit, once to say why)

and a payload that could make more than MAX_WORK is refused. An ordinary schema has a few ways and one branch, and takes any payload.

Only draft 2020-12 is taken: https://json-schema.org/draft/2020-12/json-schema-core
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headrace_broker.model.errors import InvalidField

MAX_BYTES = 64 * 1024
MAX_NESTING = 64  # of the schema itself
MAX_WAYS = 10_000
MAX_DEPTH = 100  # of payloads; the compiled validator recurses, and its stack has an end
MAX_WORK = 5_000_000  # some 50 ns each
DRAFT = "https://json-schema.org/draft/2020-12/schema"
ENCODED = "x-headrace-encoded"
"""Annotation at the root of a schema: "refuse" (the default) or "allow" payloads that are encoded, or kept elsewhere, and so cannot be looked at."""

_ONE = ("not", "if", "then", "else")
_SEVERAL = ("allOf", "anyOf", "oneOf")
_REFUSED = ("$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$vocabulary")

Node = dict[str, Any] | bool


@dataclass(frozen=True, slots=True)
class SchemaText:
    """A schema that may be compiled, its ways and branches, and whether payloads that cannot be looked at are taken."""

    root: Node
    ways: int
    branches: int
    encoded: bool

    def work(self, values: int, nesting: int) -> int:
        """How much work a payload with at most so many values, nested at most so deep, could make."""
        return round(min(self.ways * values * math.exp(min(2 * nesting * math.log(self.branches), 100)), 1 << 62))


def read(text: str, field: str = "payload_schema") -> SchemaText:
    """The schema in a text.

    Raises:
        InvalidField: it is no JSON, too large, refers to something outside itself, or could make too much work; the message names the place as a JSON pointer.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise InvalidField(field, f"a schema has at most {MAX_BYTES} bytes")
    try:
        root = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidField(field, f"not JSON: {error}") from error
    if not isinstance(root, (dict, bool)):
        raise InvalidField(field, f"a schema is an object or a boolean, found {type(root).__name__}")
    if depth(root) > MAX_NESTING:
        raise InvalidField(field, f"a schema is nested at most {MAX_NESTING} deep")
    encoded = root.get(ENCODED, "refuse") if isinstance(root, dict) else "refuse"
    if encoded not in ("refuse", "allow"):
        raise InvalidField(field, f'/{ENCODED}: "refuse" or "allow", found {str(encoded)[:40]!r}')
    if isinstance(root, dict) and root.get("$schema", DRAFT) not in (DRAFT, DRAFT + "#"):
        raise InvalidField(field, f"/$schema: only {DRAFT} is understood, found {str(root['$schema'])[:100]!r}")
    ways, branches = _Graph(root, field).measure()
    return SchemaText(root, ways, branches, encoded == "allow")


def depth(value: Any) -> int:
    """How deep a JSON value is nested: 0 for a number or an empty list. Without recursion: it is asked of what may be too deep for that."""
    level, values = 0, [value]
    while values := [inner for item in values if isinstance(item, (dict, list)) for inner in (item.values() if isinstance(item, dict) else item)]:
        level += 1
    return level


def pointer(path: "list[str | int]") -> str:
    """A JSON pointer (RFC 6901), empty for the whole."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


class _Graph:
    """Subschemas and the ways between them. An edge leads to a subschema that is held against the same value, or against one inside it."""

    def __init__(self, root: Node, field: str) -> None:
        self._root = root
        self._field = field
        self._anchors: dict[str, Node] = {}
        self._places: dict[int, str] = {}
        self._nodes: dict[int, Node] = {}
        self._find(root, "")
        self._edges = {key: list(self._ways(node, self._places[key])) for key, node in self._nodes.items()}

    def measure(self) -> tuple[int, int]:
        """(ways, branches). Raises InvalidField when there are too many ways."""
        component = self._components()
        members: dict[int, list[int]] = {}
        for key, number in component.items():
            members.setdefault(number, []).append(key)
        ways: dict[int, int] = {}
        most = 1
        for number in sorted(members):  # Tarjan numbers components so that edges lead to lower ones
            groups = [group for key in members[number] for group in self._edges[key]]
            ways[number] = 1 + sum(max((ways[component[other]] for other in group if component[other] != number), default=0) for group in groups)
            if ways[number] > MAX_WAYS:
                raise InvalidField(self._field, f"{self._places[members[number][0]] or 'the schema'}: more than {MAX_WAYS} ways lead through it to the same value")
            staying = (sum(any(component[other] == number for other in group) for group in self._edges[key]) for key in members[number])
            most = min(1_000_000, max(most, math.prod(max(1, count) for count in staying)))
        return ways[component[id(self._root)]], most

    def _find(self, node: Node, place: str) -> None:
        """Notes every subschema, and refuses keywords that lead outside."""
        if not isinstance(node, (dict, bool)):
            raise InvalidField(self._field, f"{place or 'the schema'}: a schema is an object or a boolean")
        self._nodes[id(node)], self._places[id(node)] = node, place
        if isinstance(node, bool):
            return
        for keyword in _REFUSED:
            if keyword in node:
                raise InvalidField(self._field, f"{place}/{keyword}: not taken here; use $ref and $defs")
        if place and "$id" in node:
            raise InvalidField(self._field, f"{place}/$id: only the whole schema may have one")
        anchor = node.get("$anchor")
        if isinstance(anchor, str):
            self._anchors[anchor] = node
        for inner, at in _inner(node, place, self._field):
            self._find(inner, at)

    def _ways(self, node: Node, place: str) -> Iterator[list[int]]:
        """Groups of subschemas that a node leads to; no value meets two of the same group by this node."""
        if isinstance(node, bool):
            return
        if "$ref" in node:
            yield [id(self._target(node["$ref"], f"{place}/$ref"))]
        for keyword in (*_ONE, "contains", "propertyNames", "unevaluatedItems", "unevaluatedProperties"):
            if keyword in node:
                yield [id(node[keyword])]
        for keyword in _SEVERAL:
            for inner in node.get(keyword, ()):
                yield [id(inner)]
        for inner in (*node.get("dependentSchemas", {}).values(), *node.get("patternProperties", {}).values()):
            yield [id(inner)]
        for several, rest in (("properties", "additionalProperties"), ("prefixItems", "items")):
            found = node.get(several, ())
            group = [id(inner) for inner in (found.values() if isinstance(found, dict) else found)] + ([id(node[rest])] if rest in node else [])
            if group:
                yield group

    def _target(self, reference: Any, place: str) -> Node:
        """What a reference names, within this schema."""
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise InvalidField(self._field, f"{place}: references stay within the schema (#/$defs/NAME); nothing is fetched, found {str(reference)[:100]!r}")
        if reference[1:] in self._anchors:
            return self._anchors[reference[1:]]
        found: Any = self._root
        for part in reference[1:].split("/")[1:]:
            part = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            elif isinstance(found, dict) and part in found:
                found = found[part]
            else:
                raise InvalidField(self._field, f"{place}: there is no {reference[:100]!r}")
        if (reference[1:] and not reference.startswith("#/")) or id(found) not in self._nodes:
            raise InvalidField(self._field, f"{place}: {reference[:100]!r} is no schema")
        return found  # type: ignore[no-any-return]  # one of the nodes

    def _components(self) -> dict[int, int]:
        """Strongly connected components by node (Tarjan, "Depth-first search and linear graph algorithms", 1972), in steps: references may make long chains."""
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        component: dict[int, int] = {}
        stack: list[int] = []
        count = 0
        for start in self._nodes:
            if start in index:
                continue
            work = [(start, iter([other for group in self._edges[start] for other in group]))]
            index[start] = low[start] = len(index)
            stack.append(start)
            while work:
                key, others = work[-1]
                for other in others:
                    if other not in index:
                        index[other] = low[other] = len(index)
                        stack.append(other)
                        work.append((other, iter([third for group in self._edges[other] for third in group])))
                        break
                    if other not in component:
                        low[key] = min(low[key], index[other])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[key])
                    if low[key] == index[key]:
                        while component.setdefault(top := stack.pop(), count) is not None and top != key:
                            pass
                        count += 1
        return component


def _inner(node: dict[str, Any], place: str, field: str) -> Iterator[tuple[Node, str]]:
    """The subschemas right inside a schema, and where they are. What is of the wrong kind is left to the compiler, which says so."""
    for keyword in (*_ONE, "contains", "propertyNames", "items", "additionalProperties", "unevaluatedItems", "unevaluatedProperties"):
        if keyword in node:
            yield node[keyword], f"{place}/{keyword}"
    for keyword in (*_SEVERAL, "prefixItems"):
        for number, inner in enumerate(_list(node, keyword, place, field)):
            yield inner, f"{place}/{keyword}/{number}"
    for keyword in ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions"):
        for name, inner in _object(node, keyword, place, field).items():
            yield inner, f"{place}/{keyword}{pointer([name])}"


def _list(node: dict[str, Any], keyword: str, place: str, field: str) -> list[Any]:
    found = node.get(keyword, [])
    if not isinstance(found, list):
        raise InvalidField(field, f"{place}/{keyword}: a list of schemas")
    return found


def _object(node: dict[str, Any], keyword: str, place: str, field: str) -> dict[str, Any]:
    found = node.get(keyword, {})
    if not isinstance(found, dict):
        raise InvalidField(field, f"{place}/{keyword}: an object of schemas")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
