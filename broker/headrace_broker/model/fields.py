"""What texts of a request must be, whoever sends it: a call or a form."""

import re
from collections.abc import Mapping

from headrace_broker.model.errors import InvalidField, TooLarge

TYPE_NAME = re.compile(r"[A-Za-z0-9._:/-]{1,200}", re.ASCII)
MAX_TEXT = 200
MAX_REASON = 1000
MAX_LABELS = 32
MAX_PRIORITY = 1_000_000


def text(field: str, value: str, limit: int = MAX_TEXT, *, required: bool = False) -> str:
    """A text of at most `limit` characters without NUL."""
    if not value and required:
        raise InvalidField(field, "must be set")
    if len(value) > limit:
        raise TooLarge(field, f"at most {limit} characters, found {len(value)}")
    if "\x00" in value:
        raise InvalidField(field, "must not contain NUL characters")
    return value


def type_name(field: str, value: str) -> str:
    """A job type's name."""
    if not TYPE_NAME.fullmatch(value):
        wanted = "1 to 200 characters of A-Z a-z 0-9 . _ : / -"
        raise InvalidField(field, f"must be set: {wanted}" if not value else f"a job type is {wanted}, found {value[:60]!r}")
    return value


def new_name(field: str, value: str) -> str:
    """The name of something that is made, as `type_name`. Where pages are behind a proxy, addresses with a part `.` or `..` may lead to something else."""
    if {".", ".."} & {*type_name(field, value).split("/")}:
        raise InvalidField(field, f"no part of it between slashes may be . or .., found {value[:60]!r}")
    return value


def labels(field: str, values: Mapping[str, str]) -> dict[str, str]:
    """Labels of a job."""
    if len(values) > MAX_LABELS:
        raise TooLarge(field, f"at most {MAX_LABELS} labels, found {len(values)}")
    found = {}
    for key, value in values.items():
        if not key or len(key) > 63:
            raise InvalidField(field, f"a label's key is 1 to 63 characters, found {key[:70]!r}")
        found[text(field, key)] = text(f"{field}[{key}]", value)
    return found
