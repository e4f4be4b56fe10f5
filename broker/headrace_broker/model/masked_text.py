r"""Secrets in text that people wrote and programs made: log lines, messages and tracebacks of errors, progress, reasons.

Text has no fields. What can be found are values behind a name, so `_NAMED` looks for a separator, or an option of a command line, behind a name of the list. How the
name stands tells how far its value goes (a test reads this table):

    name            value goes to                    text                                          masked
    any             the closing quote                password="a b", user=ada                      password="•••••", user=ada
                                                     set password='it''s me' where                 set password='•••••' where
                                                     "{\"token\": \"a\", \"n\": 1}"                    "{\"token\": \"•••••\", \"n\": 1}"
    quoted          the next item                    sent {'token': Key('a, b'), 'n': 1}           sent {'token': •••••, 'n': 1}
    bare, with :    the end of the line              the private key: a b                          the private key: •••••
    bare            the next blank, brackets closed  GET /x?api_key=a&b 200                        GET /x?api_key=••••• 200
                                                     {token=[a, b]} user=ada                       {token=•••••]} user=ada
                                                     authorization=Bearer a, user=ada              authorization=•••••, user=ada
    --name          the same                         run --password a --user ada                   run --password ••••• --user ada
                                                     run --token -a-b --user ada                   run --token ••••• --user ada

Quotes, brackets and points at the end of a bare value stay. It is guessed to be more rather than less: behind a quote or a bracket that is not closed it is the rest of
the text, and behind an option without a value it is the next option. A secret without its name ("the key is x") is not found: whoever logs it has to leave it out.

Any text takes time in proportion to its length: a repetition in a pattern is bounded, or gives nothing back, or is its end; what was masked is passed over.
"""

import re
from collections.abc import Mapping, Sequence

from headrace_broker.model.redaction import MASK, is_secret, redacted

_NAMED = re.compile(
    r"""
      (?P<quote> (?<!\\) \\{0,16} ["'] )?  (?P<separator> [ \t]{0,8} (?: => | := | == | = | : ) ) [ \t]{0,8}
    | (?<![\w-]) --? (?P<option> [A-Za-z][\w-]{0,80} ) [ \t]{1,8} (?= [^\s=:] )
    """,
    re.VERBOSE,
)
"""Where a value may begin: a separator, with the closing quote of the name before it; or an option."""
_WORDS = re.compile(r"[\w.-]+(?: [\w.-]+){0,2}\Z")
_QUOTE = re.compile(r"""\\{0,16}["']""")
_QUOTED = {quote: re.compile(rf"(?:[^\\{quote}]+|\\.?|{quote}{quote})*", re.DOTALL) for quote in "\"'"}
"""What stands between two quotes: one that is escaped or written twice, as SQL does, is part of it."""
_MARK = re.compile(r"""(?P<quote>\\{0,16}["'])|(?P<opening>[{\[(])|[}\])]|[, \t\r\n]""")
"""What may end a value, or hold such a thing."""
_SCHEME = re.compile(r"(?:bearer|basic|digest|negotiate|token|apikey)[ \t]++(?=\S)", re.IGNORECASE)
_CLOSING = {"{": "}", "[": "]", "(": ")"}
_NAME_LIMIT = 80  # characters before a separator that may be its name
_NO_NAME = bytes(code for code in range(128) if not chr(code).isalnum())
_REST = "\"')]}>,;.:"  # behind a value, no part of it


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
    for named in _NAMED.finditer(text):
        if (named.end() if named["option"] else named.start("separator")) < done or not is_secret(_name(text, named), secret):
            continue
        begin, end = _value(text, named)
        if end > begin and text[begin:end] != MASK:
            parts += [text[done:begin], MASK]
            done = end
    return "".join([*parts, text[done:]])


def masked_error(error: Mapping[str, str] | None, secret: Sequence[str]) -> dict[str, str] | None:
    """An error as stored, with its message and traceback masked; its code and its fingerprint are what errors are grouped by, and stay."""
    if error is None:
        return None
    return {part: masked_text(text, secret) if part in ("message", "traceback") else text for part, text in error.items()}


def _name(text: str, named: "re.Match[str]") -> str:
    """The name of a value: the option, what is quoted, or up to three words."""
    if named["option"]:
        return named["option"]
    before = text[max(0, named.start() - _NAME_LIMIT) : named.start()]
    if named["quote"]:
        return before.rpartition(named["quote"])[2]
    words = _WORDS.search(before)
    return words[0] if words is not None else ""


def _value(text: str, named: "re.Match[str]") -> tuple[int, int]:
    """Where a value begins and ends: see the table of the module."""
    begin = named.end()
    opening = _QUOTE.match(text, begin)
    if opening is not None:
        return opening.end(), _closing_quote(text, opening.end(), opening[0])
    if named["quote"]:
        return begin, _end(text, begin, ",}])\n", document=True)
    if named["separator"] and named["separator"].strip() == ":" and text[begin : begin + 1] not in _CLOSING:
        line = text.find("\n", begin)
        return begin, _trimmed(text, begin, line) if line >= 0 else len(text)
    scheme = _SCHEME.match(text, begin)
    return begin, _end(text, scheme.end() if scheme is not None else begin, " \t\r\n", document=False)


def _end(text: str, begin: int, stops: str, *, document: bool) -> int:
    """Where a value without quotes ends: at one of the stops outside of brackets. Quotes inside it hide brackets and stops, outside of brackets in a document alone."""
    at, closing = begin, list[str]()
    while (mark := _MARK.search(text, at)) is not None:
        at = mark.end()
        if mark["opening"]:
            closing.append(_CLOSING[mark[0]])
        elif closing and mark[0] == closing[-1]:
            closing.pop()
        elif mark["quote"]:
            if closing or document:
                at = _closing_quote(text, at, mark[0]) + len(mark[0])
        elif not closing and mark[0] in stops:
            return mark.start() if document else _trimmed(text, begin, mark.start())
    return len(text) if closing or document else _trimmed(text, begin, len(text))


def _closing_quote(text: str, at: int, quote: str) -> int:
    """Where the quote is that closes this one, with as many backslashes before it; the end of the text where there is none."""
    if quote in _QUOTED:
        quoted = _QUOTED[quote].match(text, at)
        return quoted.end() if quoted is not None else at
    closing = re.compile(r"(?<!\\)" + re.escape(quote)).search(text, at)
    return closing.start() if closing is not None else len(text)


def _trimmed(text: str, begin: int, end: int) -> int:
    """Without the quotes, brackets and points at the end, which belong to what is around the value."""
    return min(end, begin + 1 + len(text[begin + 1 : end].rstrip(_REST)))
