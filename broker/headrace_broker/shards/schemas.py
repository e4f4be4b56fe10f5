"""Payloads held against their type's JSON Schema, which is compiled once for each time it is set.

Nothing is fetched, patterns run on an engine without backtracking, and the work is bounded (`model.schema`). What is said of a payload names the place and what was
wanted, not what was found there: payloads hold what is nobody's business in a log.
"""

import json
from typing import Any

import jsonschema_rs

from headrace_broker.model import schema
from headrace_broker.model.errors import InvalidField, PayloadRefused
from headrace_broker.model.redaction import CLAIM, ENCODED

MAX_MESSAGE = 300  # characters of what is said
MAX_PLACE = 200
PATTERN_BYTES = 1 << 20  # of one compiled pattern


class Schema:
    """The compiled schema of one job type."""

    def __init__(self, text: str, field: str = "payload_schema") -> None:
        """Compiles it.

        Raises:
            InvalidField: it is no schema that is taken; the message says where and why.
        """
        self.text = text
        self._read = schema.read(text, field)
        options = jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES, dfa_size_limit=PATTERN_BYTES)
        try:
            self._compiled = jsonschema_rs.Draft202012Validator(self._read.root, offline=True, mask="the value", pattern_options=options)
        except jsonschema_rs.ValidationError as error:
            raise InvalidField(field, f"{schema.pointer(error.instance_path) or 'the schema'}: {error.message[:MAX_MESSAGE]}") from error
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            raise InvalidField(field, f"it cannot be compiled: {str(error)[:MAX_MESSAGE]}") from error

    def check(self, payload: bytes, content_type: str | None = None, field: str = "payload") -> None:
        """Holds a payload against the schema.

        Raises:
            PayloadRefused: it does not fit; its field is `field` and the JSON pointer of the place.
        """
        if payload.startswith((ENCODED, CLAIM)):
            if self._read.encoded:
                return
            allow, how = f"set {schema.ENCODED!r}: 'allow' in the schema", "encoded" if payload.startswith(ENCODED) else "kept outside the broker"
            raise PayloadRefused(field, f"the type has a payload_schema, and this payload is {how}: submit it as it is, or {allow}")
        if content_type and not _is_json(content_type):
            raise PayloadRefused(field, f"the type has a payload_schema, and this payload is {content_type[:100]}, not JSON")
        value = self._parsed(payload, field)
        try:
            if self._compiled.is_valid(value):
                return
            fault = next(iter(self._compiled.iter_errors(value)))
        except ValueError as error:  # such as half a surrogate pair in a text
            raise PayloadRefused(field, f"it cannot be looked at: {_short(str(error))}") from error
        raise PayloadRefused(field + schema.pointer(fault.instance_path)[:MAX_PLACE], _short(fault.message))

    def _parsed(self, payload: bytes, field: str) -> Any:
        """The JSON in a payload that makes no more work than is allowed; an empty one is null, as for handlers."""
        opens = payload.count(b"[") + payload.count(b"{")
        try:
            value = json.loads(payload or b"null", parse_constant=_no_constant)
        except RecursionError as error:
            raise PayloadRefused(field, f"it is nested more than {schema.MAX_DEPTH} deep") from error
        except json.JSONDecodeError as error:
            raise PayloadRefused(field, f"not JSON: {error.msg} at character {error.pos}") from error
        except ValueError as error:
            raise PayloadRefused(field, "not JSON: it is not UTF-8, or holds NaN, Infinity or a number of too many digits") from error
        deep = opens > schema.MAX_DEPTH or self._read.branches > 1
        nesting = schema.depth(value) if deep else 0
        if nesting > schema.MAX_DEPTH:
            raise PayloadRefused(field, f"it is nested more than {schema.MAX_DEPTH} deep")
        values = payload.count(b",") + opens + 1  # at most: a comma in a text counts too
        if self._read.work(values, nesting) > schema.MAX_WORK:
            ways = f"{self._read.ways} ways and {self._read.branches} branches"
            raise PayloadRefused(field, f"too many values ({values}, nested {nesting} deep) for a schema that looks at each in {ways}")
        return value


def _is_json(content_type: str) -> bool:
    media = content_type.partition(";")[0].strip().lower()
    return media == "application/json" or media.endswith("+json")


def _short(message: str) -> str:
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 4] + " ..."


def _no_constant(name: str) -> None:
    raise ValueError(name)
