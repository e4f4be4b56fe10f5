"""Codecs: payloads, results and checkpoints smaller, or such that the broker cannot read them.

    keys = AesGcm.from_text(os.environ["KEYS"])                     # "2026-02=BASE64,2026-01=BASE64": the first encrypts, all decrypt
    client = Client(codecs=[Zstd(), keys])
    agent = Agent("mailer", codecs=[Zstd(), keys])

They are applied in their order, and undone in the other by whoever reads. What was encoded says so in its first bytes (`headrace_proto.encoding`), with the id of
the key; what was not is taken as it is, unless a codec is `required`. `pip install 'headrace[codecs]'` brings what `Zstd` and `AesGcm` need.

Clients and agents have large payloads encoded and decoded in a thread (`aside`), so that their event loops go on meanwhile; for small ones the way there would cost more.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import importlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from headrace_proto.encoding import MAGIC, Layer, describe, pack, unpack

from headrace_client.errors import CodecError, CodecMissing

T = TypeVar("T")
LARGE_BYTES = 64 * 1024
"""More bytes than these are encoded in a thread: compressing and encrypting that many takes about as long as the way into one and back."""
LARGE_ENCODED_BYTES = 8 * 1024  # the same of bytes that are decoded: compressed text is many times as long as it looks
NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2.2: random, 96 bits; at most 2^32 messages with one key


@dataclass(frozen=True, slots=True)
class About:
    """What the bytes are, so that they count nowhere else. `part`: payload, result, checkpoint or error; errors belong to a domain alone."""

    domain: str
    type: str
    part: str

    def __bytes__(self) -> bytes:
        return "\x00".join((self.domain, self.type, self.part)).encode()


class Codec(Protocol):
    """One step. It is used by several threads, and goes to worker processes when there are process handlers: it must be picklable."""

    @property
    def name(self) -> str:
        """In what it made, so that it is found again: lower-case ASCII, at most 50 characters."""

    @property
    def required(self) -> bool:
        """What did not go through this codec is refused."""

    def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
        """(parameters, encoded bytes), or None to leave them as they are. `header`: what comes before, to be authenticated."""

    def decode(self, data: bytes, params: bytes, about: About, header: bytes) -> bytes:
        """Undoes it. Raises CodecError; CodecMissing where another reader could."""

    def digests(self, data: bytes) -> list[bytes] | None:
        """What tells equal bytes apart from others, for idempotency keys, without telling more: the present one first; None: nothing does."""


class Zstd:
    """Compresses (RFC 8878). Bytes that are short, or would not become shorter, stay as they are."""

    name = "zstd"
    required = False

    def __init__(self, *, level: int = 3, min_bytes: int = 512, max_bytes: int = 64 * 1024 * 1024) -> None:
        """`max_bytes`: what would become larger than that is not decompressed. Raises CodecError when the package is missing."""
        self._zstandard: Any = _load("zstandard", "Zstd")
        self.level, self.min_bytes, self.max_bytes = level, min_bytes, max_bytes
        self._own = threading.local()  # contexts of a thread: they must not be shared

    def __reduce__(self) -> tuple[Any, ...]:
        return _zstd, (self.level, self.min_bytes, self.max_bytes)

    def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
        """See Codec."""
        if len(data) < self.min_bytes:
            return None
        if not hasattr(self._own, "compressor"):
            self._own.compressor = self._zstandard.ZstdCompressor(level=self.level)
        made: bytes = self._own.compressor.compress(data)
        return (b"", made) if len(made) < len(data) else None

    def decode(self, data: bytes, params: bytes, about: About, header: bytes) -> bytes:
        """See Codec. The size that a frame states is looked at before anything is allocated; one that states none is stopped when it is too large."""
        if not hasattr(self._own, "decompressor"):
            self._own.decompressor = self._zstandard.ZstdDecompressor()
        try:
            size = self._zstandard.frame_content_size(data)
            if size > self.max_bytes:
                raise CodecError(f"the {about.part} would have {size} bytes decompressed; at most {self.max_bytes} are taken: Zstd(max_bytes=...)")
            made: bytes = self._own.decompressor.decompress(data, max_output_size=self.max_bytes, allow_extra_data=False)
        except self._zstandard.ZstdError as error:
            raise CodecError(f"the {about.part} cannot be decompressed, or has more than {self.max_bytes} bytes: {error}") from error
        return made

    def digests(self, data: bytes) -> list[bytes] | None:
        """See Codec. Anybody can decompress it, so a plain hash tells nothing more."""
        return [hashlib.sha256(data).digest()]


class AesGcm:
    """Encrypts with AES-GCM (NIST SP 800-38D). Domain, job type and part are authenticated, so that nobody can pass one job's result off as another type's payload."""

    name = "aes-gcm"

    def __init__(self, keys: Mapping[str, bytes], *, encrypt_with: str | None = None, required: bool = False) -> None:
        """`keys`: 16, 24 or 32 bytes by id; all of them decrypt. `encrypt_with`: the id of the one that encrypts; the first unless said.
        `required`: what is not encrypted is refused.

        Raises:
            CodecError: there is no key, or one does not fit, or the package is missing.
        """
        aead: Any = _load("cryptography.hazmat.primitives.ciphers.aead", "AesGcm")
        if not keys:
            raise CodecError("AesGcm needs at least one key")
        for key_id, key in keys.items():
            if not (1 <= len(key_id) <= 100 and key_id.isascii() and key_id.isprintable()) or not isinstance(key, bytes) or len(key) not in (16, 24, 32):
                raise CodecError(f"a key has 16, 24 or 32 bytes and an id of 1 to 100 ASCII characters, found {key_id[:100]!r} with {len(key)} bytes")
        self._keys = dict(keys)
        self._with = encrypt_with if encrypt_with is not None else next(iter(keys))
        if self._with not in keys:
            raise CodecError(f"there is no key {self._with!r} to encrypt with; there are {', '.join(keys)}")
        self.required = required
        self._ciphers = {key_id: aead.AESGCM(key) for key_id, key in keys.items()}

    @classmethod
    def from_text(cls, text: str, *, required: bool = False) -> "AesGcm":
        """From "ID=BASE64,ID=BASE64", as an environment variable may hold it; the first key encrypts. Raises CodecError, whose message shows no key."""
        keys = {}
        for number, pair in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
            key_id, equals, encoded = pair.partition("=")
            try:
                if not equals:
                    raise ValueError
                keys[key_id.strip()] = base64.b64decode(encoded.strip(), validate=True)
            except (ValueError, binascii.Error):
                raise CodecError(f"key {number} is not ID=BASE64") from None
        return cls(keys, required=required)

    @staticmethod
    def new_key() -> str:
        """A new key of 32 bytes as BASE64."""
        return base64.b64encode(os.urandom(32)).decode()

    def __repr__(self) -> str:
        return f"AesGcm(keys={list(self._keys)}, encrypt_with={self._with!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _aes_gcm, (self._keys, self._with, self.required)

    def encode(self, data: bytes, about: About, header: bytes) -> tuple[bytes, bytes] | None:
        """See Codec."""
        nonce, params = os.urandom(NONCE_BYTES), self._with.encode()
        return params, nonce + self._ciphers[self._with].encrypt(nonce, data, self._associated(params, about, header))

    def decode(self, data: bytes, params: bytes, about: About, header: bytes) -> bytes:
        """See Codec."""
        key_id = params.decode("ascii", "replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CodecMissing(f"the {about.part} is encrypted with key {key_id!r}; there are keys {', '.join(self._keys)} here")
        try:
            made: bytes = cipher.decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], self._associated(params, about, header))
        except Exception as error:  # InvalidTag, or ValueError for what is too short
            raise CodecError(
                f"the {about.part} cannot be decrypted with key {key_id!r}: it was made with another key of this id, for another domain, type or use, or it was changed"
            ) from error
        return made

    def digests(self, data: bytes) -> list[bytes] | None:
        """See Codec. Keyed, so that whoever has no key cannot try what was encrypted."""
        order = [self._with, *(key_id for key_id in self._keys if key_id != self._with)]
        return [hmac.digest(hmac.digest(self._keys[key_id], b"headrace payload digest", "sha256"), data, "sha256") for key_id in order]

    def _associated(self, params: bytes, about: About, header: bytes) -> bytes:
        return header + bytes([len(params)]) + params + bytes(about)


class Codecs:
    """A chain of codecs for one domain."""

    def __init__(self, codecs: Sequence[Codec], domain: str) -> None:
        """Raises CodecError for codecs that do not go together."""
        self.codecs = list(codecs)
        self._domain = domain
        self._by_name = {codec.name: codec for codec in codecs}
        if len(self._by_name) != len(self.codecs):
            raise CodecError("a codec is in the chain twice; give one AesGcm all keys")
        encrypting = [index for index, codec in enumerate(self.codecs) if isinstance(codec, AesGcm)]
        if encrypting and any(isinstance(codec, Zstd) for codec in self.codecs[encrypting[0] :]):
            raise CodecError("what is encrypted does not become smaller: put Zstd before AesGcm")

    def encode(self, data: bytes, type_: str, part: str) -> bytes:
        """The bytes as they travel. Bytes that no codec wants stay as they are."""
        about = About(self._domain, type_, part)
        layers: list[Layer] = []
        made = data
        for codec in self.codecs:
            encoded = codec.encode(made, about, pack(layers) + codec.name.encode())
            if encoded is not None:
                layers.append(Layer(codec.name, encoded[0]))
                made = encoded[1]
        return pack(layers) + made if layers or data.startswith(MAGIC) else data

    def decode(self, data: bytes, type_: str, part: str) -> bytes:
        """The bytes as they were.

        Raises:
            CodecMissing: a codec or key is missing here; another reader may have it. CodecError: they can be read by nobody, or may not be taken.
        """
        about = About(self._domain, type_, part)
        try:
            layers, at = unpack(data)
        except ValueError as error:
            raise CodecError(f"the {part} cannot be read: {error}") from error
        names = {layer.name for layer in layers}
        for codec in self.codecs:
            if codec.required and codec.name not in names:
                raise CodecError(f"the {part} did not go through {codec.name}, which is required here")
        made = data[at:] if at else data
        for index in range(len(layers) - 1, -1, -1):
            layer = layers[index]
            found = self._by_name.get(layer.name)
            if found is None:
                raise missing(data, part, f"{', '.join(self._by_name)} are here")
            made = found.decode(made, layer.params, about, pack(layers[:index]) + layer.name.encode())
        return made

    def digests(self, data: bytes) -> list[bytes]:
        """What tells the same payload apart from others although it is encoded differently each time; the present one first. Empty: a codec has none."""
        found = [codec.digests(data) for codec in self.codecs]
        return list(found[-1] or ())[:16] if found and all(found) else []


async def aside(data: bytes, call: Callable[[], T], *, large_bytes: int | None = None) -> T:
    """What codecs make of these bytes, by `call`: in a thread when there are many. Cancellation does not wait for the thread, whose result is dropped then."""
    return call() if len(data) <= (large_bytes or LARGE_BYTES) else await asyncio.to_thread(call)


async def decoded_aside(codecs: Codecs, data: bytes, type_: str, part: str) -> bytes:
    """As `Codecs.decode`, in a thread when there is much of it."""
    return await aside(data, lambda: codecs.decode(data, type_, part), large_bytes=LARGE_ENCODED_BYTES)


async def encoded_aside(codecs: Codecs, data: bytes, type_: str, part: str) -> bytes:
    """As `Codecs.encode`, in a thread when there is much of it."""
    return await aside(data, lambda: codecs.encode(data, type_, part))


def missing(data: bytes, part: str, here: str = "no codecs are here") -> CodecMissing:
    """The error for bytes that cannot be read for want of a codec."""
    return CodecMissing(f"the {part} went through {describe(data)}; {here}: give Client or Agent the same codecs (docs/payloads.md)")


def _load(module: str, what: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CodecError(f"{what} needs the package {module.partition('.')[0]}: pip install 'headrace[codecs]'") from error


def _zstd(level: int, min_bytes: int, max_bytes: int) -> Zstd:
    return Zstd(level=level, min_bytes=min_bytes, max_bytes=max_bytes)


def _aes_gcm(keys: dict[str, bytes], encrypt_with: str, required: bool) -> AesGcm:
    return AesGcm(keys, encrypt_with=encrypt_with, required=required)
