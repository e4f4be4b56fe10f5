"""Options as fields of a dataclass: their values from text, all mistakes together. By hand, since a library for it takes a tenth of a second of every start."""

import math
import re
import types
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, get_args

TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")


def option(default: Any, *, description: str, ge: float | None = None, le: float | None = None, pattern: str | None = None) -> Any:
    """A field whose value is at least `ge`, at most `le`, and matches `pattern`, where these are given. None as the default: it may be left out."""
    metadata = {"default": default, "description": description, "ge": ge, "le": le, "pattern": pattern}
    if isinstance(default, list):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def values(cls: type, given: Mapping[str, str | list[str]]) -> tuple[dict[str, Any], list[str]]:
    """What is given as the fields of `cls` have it, and a line for each that does not fit.

    A field is a str, int, float, bool, Path, one of these or None, or a list of str: texts with commas between them, or a list of such texts.
    """
    found: dict[str, Any] = {}
    problems = []
    for item in fields(cls):
        if item.name not in given:
            continue
        try:
            found[item.name] = _value(item.type, item.metadata, given[item.name])
        except ValueError as error:
            problems.append(f"--{item.name.replace('_', '-')}: {error}, found {given[item.name]!r}")
    return found, problems


def _value(wanted: Any, limits: Mapping[str, Any], text: str | list[str]) -> Any:
    if wanted == list[str]:
        return text if isinstance(text, list) else [part.strip() for part in text.split(",") if part.strip()]
    assert isinstance(text, str)
    if isinstance(wanted, types.UnionType):
        wanted = next(kind for kind in get_args(wanted) if kind is not type(None))
    if wanted is bool:
        return _bool(text)
    if wanted in (int, float):
        return _number(wanted, limits, text)
    pattern = limits["pattern"]
    if pattern is not None and not re.fullmatch(pattern, text):
        raise ValueError(f"must be {' or '.join(pattern.strip('^()$').split('|'))}")
    return wanted(text)


def _bool(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError("must be true or false")
    return text.lower() in TRUE


def _number(wanted: type[int] | type[float], limits: Mapping[str, Any], text: str) -> float:
    try:
        number = wanted(text)
    except ValueError:
        raise ValueError("must be a whole number" if wanted is int else "must be a number") from None
    least, most = limits["ge"], limits["le"]
    if not math.isfinite(number) or (least is not None and number < least) or (most is not None and number > most):
        between = " and ".join([*([f"at least {least:,}"] if least is not None else []), *([f"at most {most:,}"] if most is not None else [])])
        raise ValueError(f"must be {between or 'finite'}")
    return number
