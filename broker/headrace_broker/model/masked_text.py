"""Secrets in text that people wrote and programs made: log lines, messages and tracebacks of errors, progress, reasons.

Text has no fields. What can be found are values behind a name: `password=x`, `password: x`, `{"password": "x"}` (JSON, the repr of a dict, either inside a string), a
header, a parameter of a URL, an option of a command line. So a name of the list and a separator behind it are looked for, and what follows is masked. How far a value
goes is guessed to be more rather than less: in doubt the rest of the line, and behind a quote or a bracket that is not closed the rest of the text. A secret without
its name ("the key is x") is not found: whoever logs it has to leave it out.
"""

import re
from collections.abc import Mapping, Sequence

from headrace_broker.model.redaction import MASK, is_secret, redacted

_SEPARATOR = re.compile(r"[ \t]{0,8}(?:=>|:=|==|=|:)[ \t]{0,8}")
_NAME = re.compile(r"[\w.-]+(?: [\w.-]+){0,2}\Z")
_QUOTE = re.compile(r"\\{0,16}[\"']")
_QUOTED = re.compile(r"(?<!\\)\\{0,16}[\"']\Z")
_OPTION = re.compile(r"(?<![\w-])--?([A-Za-z][\w-]{0,80})[ \t]{1,8}(?=[^\s=-])")
_SCHEME = re.compile(r"(?:bearer|basic|digest|negotiate|token|apikey)[ \t]+(?=\S)", re.IGNORECASE)
_CLOSING = {"{": "}", "[": "]", "(": ")"}
_NAME_LIMIT = 80  # characters before a separator that may be its name
_NO_NAME = bytes(code for code in range(128) if not chr(code).isalnum())
_REST = "\"')]}>,;."  # behind a value, no part of it


def masked_text(text: str, secret: Sequence[str]) -> str:
    """The text with what stands behind these names (as `redaction.secret_names` gives them) masked; the same text where none does."""
    if not secret:
        return text
    short = text.casefold().encode("ascii", "ignore").translate(None, _NO_NAME)  # as `redaction.squeezed`, and quicker: it is asked for every line
    if "\\u" not in text and not any(name.encode() in short for name in secret):
        return text
    if text.lstrip()[:1] in ("{", "["):  # a name that is written with escapes is found in JSON alone
        text = redacted(text.encode("utf-8", "surrogatepass"), secret).decode("utf-8", "surrogatepass") or text
    parts: list[str] = []
    done = 0
    for start, at, quoted in _values(text, secret):
        if start < done:
            continue
        opening = _QUOTE.match(text, at)
        if opening is not None:
            begin, end = opening.end(), _behind_quote(text, opening.end(), opening[0])
        else:
            begin, end = at, _end(text, at, text[start:at].strip(), quoted=quoted)
        if end > begin and text[begin:end] != MASK:
            parts += [text[done:begin], MASK]
            done = end
    return "".join([*parts, text[done:]])


def masked_error(error: Mapping[str, str] | None, secret: Sequence[str]) -> dict[str, str] | None:
    """An error as stored, with its message and traceback masked; its code and its fingerprint are what errors are grouped by, and stay."""
    if error is None:
        return None
    return {part: masked_text(text, secret) if part in ("message", "traceback") else text for part, text in error.items()}


def _values(text: str, secret: Sequence[str]) -> list[tuple[int, int, bool]]:
    """(where its separator begins, where the value begins, whether its name is quoted) of all values behind a secret name, in order."""
    found = []
    for match in _SEPARATOR.finditer(text):
        before = text[max(0, match.start() - _NAME_LIMIT) : match.start()]
        quote = _QUOTED.search(before)
        if quote is not None:
            begin = before.rfind(quote[0], 0, quote.start())
            name = before[begin + len(quote[0]) : quote.start()] if begin >= 0 else before[: quote.start()]
        else:
            words = _NAME.search(before)
            name = words[0] if words is not None else ""
        if name and is_secret(name, secret):
            found.append((match.start(), match.end(), quote is not None))
    found += [(match.end(), match.end(), False) for match in _OPTION.finditer(text) if is_secret(match[1], secret)]
    return sorted(found)


def _end(text: str, at: int, separator: str, *, quoted: bool) -> int:
    """Where a value ends that begins at `at`, without a quote."""
    if not quoted and separator == ":" and text[at : at + 1] not in _CLOSING:
        end = text.find("\n", at)
        return len(text) if end < 0 else _trimmed(text, at, end)
    stops = ",}])\n" if quoted else " \t\r\n"
    if not quoted and (scheme := _SCHEME.match(text, at)) is not None:
        at = scheme.end()
    begin = at
    open_: list[str] = []
    while at < len(text):
        char = text[at]
        if open_ and char == open_[-1]:
            open_.pop()
        elif char in _CLOSING:
            open_.append(_CLOSING[char])
        elif (inner := _QUOTE.match(text, at)) is not None and (open_ or quoted):
            at = _behind_quote(text, inner.end(), inner[0]) + len(inner[0])
            continue
        elif not open_ and char in stops:
            break
        at += 1
    at = min(at, len(text))
    return at if open_ or quoted else _trimmed(text, begin, at)


def _behind_quote(text: str, at: int, quote: str) -> int:
    """Where what is quoted ends: before its closing quote, with as many backslashes as the opening one; the end of the text where there is none.

    A quote that is written twice, as SQL does, is part of what is quoted.
    """
    slashes, char = len(quote) - 1, quote[-1]
    begin = at
    while (found := text.find(char, at)) >= 0:
        before = found
        while before > begin and text[before - 1] == "\\":
            before -= 1
        at = found + 1
        if found - before == slashes or (slashes == 0 and (found - before) % 2 == 0):
            if slashes == 0 and text.startswith(char, at):
                at += 1
                continue
            return at - len(quote)
    return len(text)


def _trimmed(text: str, begin: int, end: int) -> int:
    """Without the quotes, brackets and points at the end, which belong to what is around the value."""
    while end > begin + 1 and text[end - 1] in _REST:
        end -= 1
    return end
