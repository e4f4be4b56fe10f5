"""What is taken as a payload schema, and how a payload is held against one. No server."""

import json
from typing import Any

import pytest
from headrace_broker.model import schema
from headrace_broker.model.errors import InvalidField, PayloadRefused
from headrace_broker.model.redaction import ENCODED
from headrace_broker.shards.schemas import Schema
from headrace_proto.encoding import MAGIC

DOUBLING = {
    "$defs": {**{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}, {"$ref": f"#/$defs/a{n + 1}"}]} for n in range(40)}, "a40": {"type": "integer"}},
    "$ref": "#/$defs/a0",
}
BRANCHING = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#"}}, {"type": "array", "items": {"$ref": "#"}, "minItems": 1}]}
TREE = {"type": "object", "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}, "name": {"type": "string"}}, "additionalProperties": False}


def nested(levels: int, inner: Any) -> Any:
    """A value in so many lists."""
    for _ in range(levels):
        inner = [inner]
    return inner


def make(what: Any) -> Schema:
    return Schema(what if isinstance(what, str) else json.dumps(what))


def fault(what: Any, payload: Any, content_type: str = "") -> tuple[str, str]:
    """(field, message) of the refusal."""
    with pytest.raises(PayloadRefused) as refused:
        make(what).check(payload if isinstance(payload, bytes) else json.dumps(payload).encode(), content_type)
    return refused.value.field, str(refused.value)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("{", "not JSON"),
        ('{"minimum": NaN}', "not JSON"),
        ("5", "an object or a boolean"),
        ('"text"', "an object or a boolean"),
        ({"type": "nope"}, "/type: "),
        ({"properties": {"a/b": {"minimum": "x"}}}, "/properties/a~1b/minimum: "),
        ({"properties": []}, "/properties: "),
        ({"allOf": {}}, "/allOf: "),
        ({"items": [{"type": "string"}]}, "/items: "),
        ({"pattern": "("}, "/pattern: "),
        ({"pattern": "(?=a)b"}, "/pattern: "),  # needs backtracking
        ({"pattern": "((a{100}){100}){100}"}, "/pattern: "),  # grows without end
        ({"$ref": "http://127.0.0.1:9/x"}, "/$ref: references stay within the schema"),
        ({"$ref": "file:///etc/passwd"}, "/$ref: references stay within the schema"),
        ({"properties": {"a": {"$ref": "other.json#/x"}}}, "/properties/a/$ref: references stay"),
        ({"$ref": "#/$defs/none"}, "/$ref: there is no"),
        ({"$ref": "#none"}, "/$ref: '#none' is no schema"),
        ({"$ref": "#/const", "const": {"a": 1}}, "/$ref: '#/const' is no schema"),
        ({"allOf": [{"$id": "http://example.com/inner"}]}, "/allOf/0/$id: "),
        ({"$dynamicRef": "#a"}, "/$dynamicRef: "),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema: only"),
        ({schema.ENCODED: "maybe"}, f"/{schema.ENCODED}: "),
        (DOUBLING, "ways lead through it"),
        (json.dumps({"not": {}})[:-2] + "x" * 70_000, "at most 65536 bytes"),
        ('{"not":' * 70 + "{}" + "}" * 70, "nested at most 64 deep"),
        ("[" * 10_000, "not JSON"),
    ],
)
def test_what_is_no_schema_or_could_hold_the_broker_up_is_refused_with_its_place(what: Any, said: str) -> None:
    with pytest.raises(InvalidField) as refused:
        Schema(what if isinstance(what, str) else json.dumps(what), "settings.payload_schema")
    assert refused.value.field == "settings.payload_schema" and said in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    ("what", "payload", "place"),
    [
        ({"type": "object"}, 5, ""),
        ({"properties": {"a": {"items": {"type": "integer"}}}}, {"a": [1, 2, "x"]}, "/a/2"),
        ({"properties": {"a/b~c": {"type": "integer"}}}, {"a/b~c": "x"}, "/a~1b~0c"),
        ({"required": ["x"]}, {}, ""),
        ({"$defs": {"n": {"$anchor": "num", "type": "number"}}, "properties": {"a": {"$ref": "#num"}, "b": {"$ref": "#/$defs/n"}}}, {"a": 1, "b": ""}, "/b"),
        (TREE, {"left": {"right": {"name": 5}}}, "/left/right/name"),
        (False, 1, ""),
    ],
)
def test_a_fault_is_named_by_its_json_pointer(what: Any, payload: Any, place: str) -> None:
    field, message = fault(what, payload)
    assert field == f"payload{place}" and message.startswith(field)


def test_what_fits_passes() -> None:
    make(True).check(b"")
    make({"type": "null"}).check(b"")  # an empty payload is null, as for handlers
    make(TREE).check(json.dumps({"left": {"right": {"name": "x"}}}).encode(), "application/json; charset=utf-8")
    make({"type": "integer"}).check(str(10**400).encode(), "application/problem+json")


@pytest.mark.parametrize("what", [{"type": "integer"}, {"enum": ["a", "b"]}, {"pattern": "^x$"}, {"maxLength": 3}, {"const": 1}, {"not": {"type": "string"}}, False])
def test_the_value_at_fault_is_not_repeated(what: Any) -> None:
    assert "4111-1111" not in fault(what, "4111-1111-1111-1111")[1]
    assert "4111-1111" not in fault({"items": what}, [["4111-1111"], "4111-1111-1111-1111"] if what != {"maxLength": 3} else ["4111-1111-1111-1111"])[1]


def test_what_is_said_is_short_however_long_the_schema_or_the_names() -> None:
    assert len(fault({"enum": ["x" * 30_000]}, 1)[1]) < 400
    field, message = fault({"additionalProperties": {"type": "integer"}}, {"k" * 5000: "x"})
    assert len(field) < 300 and len(message) < 600


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"{", "not JSON"), (b"\xff", "not JSON"), (b"NaN", "not JSON"), (b"[Infinity]", "not JSON"), (b"1" * 5000, "not JSON"), (b'"\\ud800"', "cannot be looked at"),
        (b"[" * 5000 + b"]" * 5000, "nested more than 100 deep"), (b"[" * 102 + b"]" * 102, "nested more than 100 deep"), (b"[" * 100_000, "nested more than 100 deep"),
    ],
)  # fmt: skip
def test_what_is_no_json_or_too_deep_is_refused(payload: bytes, said: str) -> None:
    assert said in fault({"anyOf": [{"pattern": "x"}, {"items": {"$ref": "#"}}]}, payload)[1]
    with pytest.raises(PayloadRefused):
        make({"items": {"$ref": "#"}, "pattern": "a"}).check(payload)


def test_other_content_is_refused_and_encoded_payloads_unless_the_schema_allows_them() -> None:
    assert MAGIC.startswith(ENCODED)
    assert "not JSON" in fault(True, b"1", "image/png")[1]
    assert "encoded" in fault(True, MAGIC + b"\x00x")[1]
    make({schema.ENCODED: "allow", "type": "integer"}).check(MAGIC + b"\x00x")
    assert fault({schema.ENCODED: "allow", "type": "integer"}, "x")[0] == "payload"


def test_no_payload_holds_the_broker_up_for_long() -> None:
    """Each of these took minutes, or ended the process, without the bounds."""
    assert "too many values" in fault(BRANCHING, nested(9, "x"))[1]
    assert "too many values" in fault(BRANCHING, nested(24, "x"))[1]
    make(BRANCHING).check(json.dumps(nested(5, 1)).encode())
    assert fault({"pattern": "^(a+)+$"}, "a" * 100_000 + "b")[0] == "payload"
    wide = {"allOf": [{"minimum": number} for number in range(50)], "items": {"allOf": [{"minimum": 0}] * 50}}
    assert "too many values" in fault(wide, [1] * 200_000)[1]
    make({"items": {"type": "integer"}}).check(json.dumps([1] * 200_000).encode())


def test_depth_counts_containers_inside_containers() -> None:
    assert [schema.depth(value) for value in (1, [], [1], {"a": [1]}, [[], {"a": {"b": 1}}])] == [0, 0, 1, 2, 3]


def test_ways_and_branches_are_counted() -> None:
    measured = [schema.read(json.dumps(what)) for what in (TREE, BRANCHING, {"allOf": [{"$ref": "#/$defs/a"}] * 3, "$defs": {"a": {"type": "integer"}}})]
    assert [(found.ways, found.branches) for found in measured] == [(2, 1), (2, 2), (7, 1)]
    assert measured[1].work(10, 3) == 2 * 10 * 2**6
