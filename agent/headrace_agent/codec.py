"""Payload bytes to a handler's argument and its result back to bytes, by annotation: JSON for everything but bytes, which pass through."""

from typing import Any

import msgspec

from headrace_agent.errors import Fail, InvalidPayload

_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def decode(payload: bytes, annotation: Any) -> Any:
    """The argument. Dataclasses, msgspec structs, typed dicts, plain types and pydantic models are validated.

    Raises:
        InvalidPayload: it does not fit; the text names the place.
    """
    if annotation is bytes:
        return payload
    try:
        if hasattr(annotation, "model_validate_json"):
            return annotation.model_validate_json(payload or b"null")
        decoder = _decoders.get(annotation)
        if decoder is None:
            decoder = _decoders[annotation] = msgspec.json.Decoder(annotation)
        return decoder.decode(payload or b"null")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidPayload(f"the payload does not fit the handler: {error}") from error


def words(text: Any) -> str:
    """Text as it can be sent and stored: a file name, say, may hold half characters that are no UTF-8."""
    return str(text).encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


def encode(result: Any) -> bytes:
    """The result as bytes; None is empty. Raises TypeError or ValueError for what is neither JSON nor bytes."""
    if result is None:
        return b""
    if isinstance(result, bytes):
        return result
    if hasattr(result, "model_dump_json"):
        return bytes(result.model_dump_json(), "utf-8")
    return msgspec.json.encode(result)


def encode_result(result: Any) -> bytes:
    """What a handler returned as bytes. Raises Fail, for good, for what cannot be sent."""
    try:
        return encode(result)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Fail(f"the result is neither JSON nor bytes: {error}", code="invalid_result") from error
