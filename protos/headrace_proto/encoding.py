"""How bytes that went through codecs begin, so that whoever reads them knows which and with which keys; the broker reads no further.

    00 48 52 43 | 01      | layers | for each layer, in the order in which it was applied                           | what the last codec made
    "\\0HRC"     | version | 1 byte | length of its name, name (ASCII), length of its parameters, parameters (bytes) |

No JSON begins so. Payloads, results and checkpoints of any other beginning are what they say.
"""

from dataclasses import dataclass

MAGIC = b"\x00HRC\x01"
MAX_LAYERS = 8
ENCODED_ERROR = "headrace-encoded:"
"""How the traceback of an error begins whose message and traceback were encoded; BASE64 follows."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One codec that bytes went through. `params`: what it needs to undo it, such as the id of its key."""

    name: str
    params: bytes

    def __str__(self) -> str:
        text = self.params.decode("ascii", "replace")
        return f"{self.name}({text})" if text and text.isprintable() else self.name


def pack(layers: list[Layer]) -> bytes:
    """The beginning of bytes that went through these codecs. Raises ValueError for what does not fit into it."""
    if len(layers) > MAX_LAYERS:
        raise ValueError(f"at most {MAX_LAYERS} codecs, found {len(layers)}")
    parts = [MAGIC, bytes([len(layers)])]
    for layer in layers:
        name = layer.name.encode("ascii")
        if not 1 <= len(name) <= 50 or len(layer.params) > 255:
            raise ValueError(f"a codec's name has 1 to 50 characters and its parameters at most 255 bytes, found {layer.name[:60]!r} and {len(layer.params)} bytes")
        parts += [bytes([len(name)]), name, bytes([len(layer.params)]), layer.params]
    return b"".join(parts)


def unpack(data: bytes) -> tuple[list[Layer], int]:
    """(codecs, where what the last one made begins); no codecs and 0 for bytes that went through none. Raises ValueError for a broken beginning."""
    if not data.startswith(MAGIC):
        return [], 0
    at = len(MAGIC) + 1
    count = data[at - 1] if len(data) >= at else MAX_LAYERS + 1
    if count > MAX_LAYERS:
        raise ValueError("the header of the codecs is broken")
    layers = []
    for _ in range(count):
        fields = []
        for _ in range(2):
            end = at + 1 + data[at] if at < len(data) else len(data) + 1
            if end > len(data):
                raise ValueError("the header of the codecs is cut off")
            fields.append(data[at + 1 : end])
            at = end
        try:
            layers.append(Layer(fields[0].decode("ascii"), fields[1]))
        except UnicodeDecodeError as error:
            raise ValueError("the header of the codecs is broken") from error
    return layers, at


def describe(data: bytes) -> str:
    """The codecs for people, such as "zstd aes-gcm(2026-01)"; empty: none."""
    try:
        layers, _ = unpack(data)
    except ValueError:
        return "broken"
    return " ".join(map(str, layers))
