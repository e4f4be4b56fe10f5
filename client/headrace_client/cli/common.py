"""What every command shares: where the broker is, and how a command runs."""

import asyncio
import importlib
import os
import re
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from cyclopts import Parameter

from headrace_client.claims import ABOVE_BYTES, MAX_BYTES, ClaimCheck
from headrace_client.cli.output import Done, Format, Output, confirmed, errors, fail, interruptible
from headrace_client.client import Client
from headrace_client.codecs import Codec
from headrace_client.credentials import Token, TokenFile
from headrace_client.errors import HeadraceError
from headrace_client.models import JobResult

if TYPE_CHECKING:
    from headrace_client.admin import AdminClient

T = TypeVar("T")
AT_ONCE = 1000
"""Jobs of one call."""
COLUMNS = ["job_id", "ok", "state", "message"]
UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86_400}
SPAN = re.compile(r"(\d{1,18}(?:\.\d*)?) ?(s|min|m|h|d)?", re.ASCII)
Ids = Annotated[list[str], Parameter(allow_leading_hyphen=True, help="job ids; - reads them from standard input")]
Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="", help="do not ask")]
Reason = Annotated[str, Parameter(help="why; kept in the audit")]


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options of every command."""

    broker: Annotated[str | None, Parameter(env_var="HEADRACE_BROKER", help="HOST:PORT or unix:PATH of the broker; several with commas between them")] = None
    domain: Annotated[str | None, Parameter(env_var="HEADRACE_DOMAIN", help="domain of the jobs")] = None
    token: Annotated[str | None, Parameter(env_var="HEADRACE_TOKEN", help="bearer token")] = None
    token_file: Annotated[str | None, Parameter(env_var="HEADRACE_TOKEN_FILE", help="file with the bearer token, read again when it changes")] = None
    on_behalf_of: Annotated[str | None, Parameter(env_var="HEADRACE_ON_BEHALF_OF", help="whose wish a change is, for the audit")] = None
    tls_ca: Annotated[str | None, Parameter(env_var="HEADRACE_TLS_CA", help="file with the CA that the broker's certificate must come from")] = None
    tls_client_cert: Annotated[str | None, Parameter(env_var="HEADRACE_TLS_CLIENT_CERT", help="file with the certificate to show to brokers that ask for one")] = None
    tls_client_key: Annotated[str | None, Parameter(env_var="HEADRACE_TLS_CLIENT_KEY", help="file with its private key")] = None
    timeout_s: Annotated[float, Parameter(env_var="HEADRACE_TIMEOUT_S", help="seconds for each call")] = 15.0
    codecs: Annotated[str | None, Parameter(env_var="HEADRACE_CODECS", help="MODULE:NAME of a list of codecs, to write and read what the broker cannot")] = None
    claims: Annotated[str | None, Parameter(env_var="HEADRACE_CLAIMS", help="directory or URL where large payloads are kept, and read that are kept there")] = None
    claims_above: Annotated[int, Parameter(env_var="HEADRACE_CLAIMS_ABOVE", help="bytes above which a payload is kept there")] = ABOVE_BYTES
    output: Annotated[Format, Parameter(name=["--output", "-o"], env_var="HEADRACE_OUTPUT", help="table, json or jsonl")] = "table"

    def _token(self) -> Token | None:
        return self.token or (TokenFile(self.token_file) if self.token_file else None)

    def client(self) -> Client:
        """The client that these options describe."""
        return Client(
            self.broker,
            domain=self.domain,
            token=self._token(),
            on_behalf_of=self.on_behalf_of,
            tls_ca=self.tls_ca,
            tls_client_cert=self.tls_client_cert,
            tls_client_key=self.tls_client_key,
            timeout_s=self.timeout_s,
            codecs=_codecs(self.codecs),
            claims=_claims(self.claims, self.claims_above),
        )

    def admin(self) -> "AdminClient":
        """The administrator's client that these options describe."""
        from headrace_client.admin import AdminClient

        return AdminClient(
            self.broker,
            domain=self.domain,
            token=self._token(),
            on_behalf_of=self.on_behalf_of,
            tls_ca=self.tls_ca,
            tls_client_cert=self.tls_client_cert,
            tls_client_key=self.tls_client_key,
            timeout_s=self.timeout_s,
        )

    def own_certificate(self) -> list[tuple[str, str | None]]:
        """As options of `headrace-agent`."""
        return [("--tls-client-cert", self.tls_client_cert), ("--tls-client-key", self.tls_client_key)]


def _codecs(name: str | None) -> Sequence[Codec]:
    """The codecs of this MODULE:NAME, looked for in the working directory too."""
    if name is None:
        return ()
    module, _, attribute = name.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), attribute or "codecs")
        return list(found)
    except (ImportError, AttributeError, TypeError) as error:
        errors.print(f"headrace: --codecs is MODULE:NAME of a list of codecs; {name!r}: {error}")
        raise Done(2) from error


def _claims(place: str | None, above_bytes: int) -> ClaimCheck | None:
    if place is None:
        return None
    from headrace_client.claim_stores import open_store

    return ClaimCheck(open_store(place), above_bytes, max_bytes=max(above_bytes, MAX_BYTES))


def run(common: Common, command: Callable[[Client, Output], Coroutine[Any, Any, int | None]]) -> int:
    """Runs a command with a client; returns its exit code."""

    async def go() -> int | None:
        async with common.client() as client:
            return await command(client, Output(common.output))

    return guarded(common, go)


def run_admin(common: Common, command: Callable[["AdminClient", Output], Coroutine[Any, Any, int | None]]) -> int:
    """Runs a command with an administrator's client; returns its exit code."""

    async def go() -> int | None:
        async with common.admin() as client:
            return await command(client, Output(common.output))

    return guarded(common, go)


def guarded(common: Common, go: Callable[[], Coroutine[Any, Any, int | None]]) -> int:
    """Runs what has clients of its own; says what went wrong, and returns the exit code."""
    try:
        return asyncio.run(go()) or 0
    except HeadraceError as error:
        return fail(error, common.output)
    except UnicodeError:
        errors.print("headrace: an argument is not UTF-8")
        return 2


def read_ids(words: Sequence[str]) -> list[int]:
    """Job ids from the command line; "-" reads them from standard input."""
    with interruptible():
        texts = [text for word in words for text in (sys.stdin.read().split() if word == "-" else [word])]
    ids = []
    for text in texts:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and 0 < int(text) < 1 << 63):
            errors.print(f"headrace: {text[:40]!r} is not a job id: a positive number, as `headrace jobs list` shows it")
            raise Done(2)
        ids.append(int(text))
    if not ids:
        errors.print("headrace: no job id was given")
        raise Done(2)
    return list(dict.fromkeys(ids))


async def change(ids: Sequence[int], verb: str, yes: bool, call: Callable[[list[int]], Awaitable[list[JobResult]]], output: Output) -> int:
    """Changes jobs, asking first when there are several; returns the exit code: 0 when all were changed, 3 or 4 when some were not."""
    if len(ids) > 1:
        errors.print(f"{len(ids)} jobs to {verb}")
        if not yes and not confirmed(f"{verb} them?"):
            errors.print(f"headrace: nothing was done; give --yes to {verb} several jobs without being asked")
            return 2
    results: list[JobResult] = []
    start = 0
    try:
        for start in range(0, len(ids), AT_ONCE):
            results += await call(list(ids[start : start + AT_ONCE]))
    except HeadraceError:
        if results:  # what became of these is known
            output.rows(results, COLUMNS)
            errors.print(f"so it is with the first {start} of {len(ids)} jobs; the next ones met an error:")
        raise
    output.rows(results, COLUMNS)
    refused = [result for result in results if not result.ok]
    if not refused:
        return 0
    return 3 if all(result.reason == "JOB_NOT_FOUND" for result in refused) else 4


def read_age(text: str) -> float | None:
    """Seconds of an age from the command line, such as 90s, 15m, 2h, 7d; None: it is none."""
    found = SPAN.fullmatch(text)
    return duration_s(text) if found and found[2] else None


def duration_s(text: str) -> float:
    """Seconds of a duration such as 90s, 15m, 2h, 7d; a mere number is seconds. Raises ValueError."""
    found = SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a duration: give 90s, 15m, 2h or 7d")
    return float(found[1]) * UNITS[found[2] or "s"]


def instant(text: str) -> datetime:
    """A date or a time; what has no zone is UTC. Raises ValueError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time: give 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def argument(read: Callable[[str], T], text: str) -> T:
    """What was given, read; ends the command with what is wrong with it."""
    try:
        return read(text)
    except ValueError as error:
        errors.print(f"headrace: {error}")
        raise Done(2) from error


def read_time(text: str | None) -> datetime | None:
    """A time from the command line: a date, a time, or an age; what has no zone is UTC."""
    if text is None:
        return None
    try:
        age_s = read_age(text)
        if age_s is not None:
            return datetime.now(UTC) - timedelta(seconds=age_s)
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        errors.print(f"headrace: {text!r} is not a time: give 2026-01-31, 2026-01-31T12:00:00Z, or an age such as 15m")
        raise Done(2) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
