"""Options that choose jobs, the same for every command that looks for some."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from headrace_client.cli.common import read_time
from headrace_client.cli.output import Done, errors
from headrace_client.models import JobFilter, Order

if TYPE_CHECKING:
    from headrace_client.base import Base

TIMES = ("created_from", "created_to", "started_from", "started_to", "settled_from", "settled_to")
StateName = Literal["waiting", "processing", "completed", "error", "aborted"]
_WHEN = "2026-01-31, 2026-01-31T12:00:00Z, or an age such as 90s, 15m, 2h, 7d"


@Parameter(name="*")
@dataclass(frozen=True)
class Find:
    """What is given must all hold."""

    type: Annotated[tuple[str, ...], Parameter(help="only this type; may be repeated", negative="")] = ()
    state: Annotated[tuple[StateName, ...], Parameter(help="only this state; may be repeated", negative="")] = ()
    instance: Annotated[str, Parameter(help="only this business case")] = ""
    created_from: Annotated[str | None, Parameter(name=["--created-from", "--since"], help=f"created at or after: {_WHEN}")] = None
    created_to: Annotated[str | None, Parameter(name=["--created-to", "--until"], help="created before")] = None
    started_from: Annotated[str | None, Parameter(help="newest attempt started at or after")] = None
    started_to: Annotated[str | None, Parameter(help="newest attempt started before")] = None
    settled_from: Annotated[str | None, Parameter(help="settled at or after")] = None
    settled_to: Annotated[str | None, Parameter(help="settled before")] = None
    agent: Annotated[str, Parameter(help="newest attempt was with the agent of this name")] = ""
    fingerprint: Annotated[str, Parameter(help="failed in this way: the fingerprint of its error")] = ""
    label: Annotated[tuple[str, ...], Parameter(help="has this label, as key=value; may be repeated", negative="")] = ()
    log: Annotated[str, Parameter(help="some log line holds this text, A-Z as a-z")] = ""

    def filter(self) -> JobFilter:
        """The filter that the options describe. Ends the command with exit code 2 for what makes no sense."""
        labels = dict(_pair(word) for word in self.label)
        times = {name: read_time(getattr(self, name)) for name in TIMES}
        return JobFilter(self.type, self.state, self.instance, **times, agent=self.agent, fingerprint=self.fingerprint, labels=labels, log_text=self.log)


@Parameter(name="*")
@dataclass(frozen=True)
class FindSaved(Find):
    """The same, or what a saved filter says where an option is not given."""

    saved: Annotated[str, Parameter(help="as this saved filter says, `headrace filters list` shows them; other options take the place of what it says of theirs")] = ""

    async def search(self, client: "Base") -> tuple[JobFilter, Order]:
        """(the filter that the options describe, the order to list in). Raises NotFound and InvalidState of the saved filter."""
        given = self.filter()
        if not self.saved:
            return given, Order.NEWEST
        from headrace_client.filters import get_filter

        saved, now = await get_filter(client, self.saved)
        empty = JobFilter()
        said: dict[str, Any] = {name: value for name in JobFilter.__slots__ if (value := getattr(given, name)) != getattr(empty, name)}
        return replace(now, **said), saved.order


def options(where: JobFilter) -> Iterator[str]:
    """What a filter looks for, as the options that would say so."""
    for option, values in (("type", where.types), ("state", where.states), ("label", [f"{key}={value}" for key, value in where.labels.items()])):
        yield from (f"--{option} {shlex.quote(value)}" for value in values)
    for option, text in (("instance", where.instance_id), ("agent", where.agent), ("fingerprint", where.fingerprint), ("log", where.log_text)):
        if text:
            yield f"--{option} {shlex.quote(text)}"
    for bound in TIMES:
        at = getattr(where, bound)
        if at is not None:
            yield f"--{bound.replace('_', '-')} {at.isoformat().replace('+00:00', 'Z')}"


def _pair(word: str) -> tuple[str, str]:
    key, equals, value = word.partition("=")
    if not key or not equals:
        errors.print(f"headrace: {word!r} is not a label: give key=value")
        raise Done(2)
    return key, value
