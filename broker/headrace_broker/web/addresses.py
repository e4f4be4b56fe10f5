"""Names of types and schedules in addresses. They may have slashes, and between these what makes a browser walk up: then it would come to another page or form."""

import re
from urllib.parse import quote

UPWARD = re.compile(r"/(?=\.{1,2}(?:/|$))")


def under(name: str, path: str) -> str:
    """The address below `path` of what has this name."""
    return steady(f"{path}/{quote(name)}")


def steady(path: str) -> str:
    """The path as browsers leave it: the slash before a part that is `.` or `..` goes as `%2F`, and is a slash again here."""
    return UPWARD.sub("%2F", path)
