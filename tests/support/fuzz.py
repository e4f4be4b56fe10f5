"""Inputs that nobody would send: messages whose fields hold the ends of their ranges, bytes of messages with some of them changed, and bytes that never were one."""

import random
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

NUMBERS = [0, 1, 2, 3, 5, -1, 7, 100, 1001, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**62, 2**63 - 1, 2**63, -(2**31), -(2**63), 2**64 - 1]
FLOATS = [0.0, 1.0, -1.0, 0.5, 1e-308, 1e308, float("nan"), float("inf"), float("-inf"), 101.0]
TEXTS = [
    "", "a", "t", "fuzz", "*", "%", "_", "\\", "'", '"', "' or 1=1 --", "\x00", "a\x00b", "a b", "../../etc/passwd", "{}", "[]", "null", "{", '{"a": 1}', "1e999", "-1",
    "\u202e", "\ufeff", "\x1b[31m", "(a+)+$", "[[", "(?", "%s%n", "${x}", "{{7*7}}", "<script>", "a=b", "key=value", "x" * 100, "x" * 201, "y" * 1001, "z" * 70_000,
    "é", "💥", "\n", "\r\n", "headrace://*/admin/x", "waiting", "error", "default", "2026-01-01T00:00:00Z", "* * * * *", "0 0 31 2 *", "Europe/Berlin", "#" * 16,
    "incarnation-0001",
]  # fmt: skip
JSON = [b"{}", b"[" * 5000, b'{"a":' * 3000, b"1e999999", b"\xff\xfe", b'"\\ud800"', b"null", b"x" * 70_000, b"", b"NaN"]


class Fuzz(random.Random):
    """Makes them; the same ones for the same seed. `ids` and `texts`: what means something to the broker, so that inputs get past its first look."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.ids: list[int] = []
        self.texts: list[str] = []

    def number(self) -> int:
        """For any field of numbers."""
        return self.choice(self.ids) if self.ids and self.random() < 0.4 else self.choice(NUMBERS)

    def text(self) -> str:
        """For any field of text."""
        if self.texts and self.random() < 0.4:
            found = self.choice(self.texts)
            return found if self.random() < 0.5 else self.spoiled(found.encode()).decode(errors="replace")
        return self.choice(TEXTS)

    def message(self, descriptor: Any, depth: int = 0) -> Any:
        """A message with some of its fields set."""
        made = GetMessageClass(descriptor)()
        share = self.choice([0.15, 0.5, 0.9])
        for field in descriptor.fields:
            if self.random() < share and depth < 4:
                self._set(made, field, depth)
        return made

    def spoiled(self, data: bytes) -> bytes:
        """With a few of its bytes changed, taken away, doubled or added."""
        found = bytearray(data)
        for _ in range(self.randint(1, 6)):
            at = self.randint(0, len(found)) if found else 0
            kind = self.randrange(5)
            if kind == 0 and found:
                found[min(at, len(found) - 1)] ^= 1 << self.randrange(8)
            elif kind == 1:
                del found[at : at + self.randint(1, 8)]
            elif kind == 2:
                found[at:at] = found[at : at + self.randint(1, 32)]
            elif kind == 3:
                found[at:at] = self.randbytes(self.randint(1, 8))
            elif found:
                found[min(at, len(found) - 1)] = self.choice([0, 0x7F, 0x80, 0xFF])
        return bytes(found)

    def request(self, descriptor: Any) -> bytes:
        """The bytes of a request: mostly of a message."""
        if self.random() < 0.4:
            return self.spoiled_request(descriptor)
        data: bytes = self.message(descriptor).SerializeToString()
        return data

    def spoiled_request(self, descriptor: Any) -> bytes:
        """Bytes of a request with some of them spoiled, and a few that never were one."""
        if self.random() < 0.1:
            return self.randbytes(self.choice([0, 1, 7, 100, 5000]))
        return self.spoiled(self.message(descriptor).SerializeToString())

    def _set(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            entries = getattr(made, field.name)
            for _ in range(self.randrange(4)):
                key = self._value(field.message_type.fields_by_name["key"], depth)
                value = field.message_type.fields_by_name["value"]
                if value.message_type is not None:
                    entries[key].CopyFrom(self.message(value.message_type, depth + 1))
                else:
                    entries[key] = self._value(value, depth)
        elif field.is_repeated:
            count = self.choice([1, 2, 3, 40]) if field.message_type is None else self.choice([1, 2, 3])
            getattr(made, field.name).extend(self._value(field, depth) for _ in range(count))
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(self._value(field, depth))
        else:
            setattr(made, field.name, self._value(field, depth))

    def _value(self, field: FieldDescriptor, depth: int) -> Any:
        if field.message_type is not None:
            return self.message(field.message_type, depth + 1)
        kind = field.cpp_type
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self.choice(JSON) if field.type == FieldDescriptor.TYPE_BYTES else self.text()
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return self.random() < 0.5
        if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
            return self.choice(FLOATS)
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            return self.choice([0, 1, 2, 3, 4, 5, 6, 99, -1])
        low, high = RANGES[kind]
        return min(high, max(low, self.number()))


RANGES = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
