"""What stands in the place of bytes that are kept outside the broker, so that whoever reads it knows which; the broker tells people of it and resolves nothing.

    {"headrace_claim":1,"sha256":"<64 hex digits>","size_bytes":3145728,"content_type":"application/json"}

It is written in exactly this form, whatever made it: the same bytes always have the same reference. It names no place: where they are kept only the reader's own
configuration says. Bytes of any other beginning are what they say.
"""

import json
import re
from dataclasses import dataclass

CLAIM = b'{"headrace_claim":'
"""How every reference begins, those of later versions included."""
CLAIM_TYPE = "application/vnd.headrace.claim+json"
"""The content type of a payload that is one."""
VERSION = 1
MAX_REFERENCE = 1024  # bytes; a content type has at most 100 characters
MAX_TYPE = 100
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """Bytes that are kept elsewhere: their SHA-256 in hex digits, by which they are found, their size, and what they are (empty: JSON)."""

    sha256: str
    size_bytes: int
    content_type: str = ""

    def __str__(self) -> str:
        return f"{amount(self.size_bytes)}, sha256 {self.sha256}"

    def pack(self) -> bytes:
        """As it travels. Raises ValueError for what cannot be a reference."""
        if not is_key(self.sha256):
            raise ValueError("a SHA-256 has 64 hex digits, 0 to 9 and a to f")
        if not 0 < self.size_bytes < 1 << 63:
            raise ValueError("a size is a positive number of bytes")
        if len(self.content_type) > MAX_TYPE or not (self.content_type.isascii() and self.content_type.isprintable()):
            raise ValueError(f"a content type has at most {MAX_TYPE} characters, printable ones of ASCII, found {self.content_type[:MAX_TYPE]!r}")
        fields = {"headrace_claim": VERSION, "sha256": self.sha256, "size_bytes": self.size_bytes, "content_type": self.content_type}
        return json.dumps(fields, separators=(",", ":")).encode()


def is_key(text: str) -> bool:
    """Whether a text is a SHA-256 in hex digits and nothing else, so that it may become part of a path."""
    return _KEY.fullmatch(text) is not None


def is_reference(data: bytes) -> bool:
    """Whether bytes are a reference, or pass themselves off as one."""
    return data.startswith(CLAIM)


def unpack(data: bytes) -> Reference:
    """The reference in bytes. Raises ValueError unless they are exactly what `Reference.pack` makes."""
    if len(data) > MAX_REFERENCE:
        raise ValueError(f"a reference has at most {MAX_REFERENCE} bytes, found {len(data)}")
    try:
        fields = json.loads(data)
        version = fields["headrace_claim"]
        if type(version) is int and version > VERSION:
            raise ValueError(f"it is of version {version}, and versions up to {VERSION} are known here: a newer headrace reads it")
        found = Reference(fields["sha256"], fields["size_bytes"], fields["content_type"])
        if type(found.size_bytes) is int and found.pack() == data:  # true and 5.0 are numbers, too
            return found
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("a field is missing or of another kind") from error
    raise ValueError("it is not in the form in which references are written")


def stated_size(data: bytes) -> int:
    """How many bytes a reference stands for; 0 for a broken one."""
    try:
        return unpack(data).size_bytes
    except ValueError:
        return 0


def describe(data: bytes) -> str:
    """Where the bytes are for people, such as "kept outside: 3.1 MB, sha256 9f86..."."""
    try:
        return f"kept outside: {unpack(data)}"
    except ValueError:
        return "a broken reference to what is kept outside"


def amount(size_bytes: int) -> str:
    """A number of bytes for people."""
    for limit, unit, name in ((1_000, 1, "B"), (1_000_000, 1_000, "kB"), (1_000_000_000, 1_000_000, "MB")):
        if size_bytes < limit:
            return f"{size_bytes / unit:.{0 if unit == 1 else 1}f} {name}"
    return f"{size_bytes / 1_000_000_000:.1f} GB"
