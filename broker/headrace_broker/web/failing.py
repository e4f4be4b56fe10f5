"""When something fails: a time budget for every page and form, what is said then, and what was typed, which is shown again.

A page or form that does not answer in its time is cancelled and not waited for: a statement at a database that is frozen cannot be cancelled either, and holds its
connection until the database goes on. So it is the pool that bounds how much is left behind.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.datastructures import FormData
from starlette.requests import Request

from headrace_broker.alerts.sending import LONGEST_S
from headrace_broker.model.errors import BrokerError, Busy, DatabaseUnavailable, Unavailable
from headrace_broker.model.job import State
from headrace_broker.shards.ownership import Ownership
from headrace_broker.web.addresses import steady

T = TypeVar("T")
PAGE_S, FORM_S = 6.0, 12.0
KNOWN_S = 1.5
"""The same while it is known that the database does not answer."""
LONGER_S = {"/alert-channel-test": LONGEST_S + FORM_S}
"""Forms that wait for others than the database."""
HIDDEN = frozenset({
    "abort_first", "agent", "back", "clear", "deed", "invite", "job_id", "known", "number", "paused", "request_id", "silence_id", "state", "tab", "version",
})  # fmt: skip
"""Fields that nobody types."""
TICKED = frozenset({"all_jobs", "default", "everywhere", "force", "include_completed", "send_resolved", "shared"})
SECRET = frozenset({"secret", "password", "old", "new", "again", "token"})
"""Fields that no page shows."""
LONG = 70


class TooSlow(Unavailable):
    """A page or form had no answer in its time."""


class Patience:
    """Runs what has a time budget. Owns the tasks that it has given up and that have not ended yet."""

    def __init__(self) -> None:
        self._left: set[asyncio.Future[Any]] = set()

    async def within(self, limit_s: float, work: Awaitable[T]) -> T:
        """Its result. Raises TooSlow after the time."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=limit_s)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not done:
            self._leave(task)
            raise TooSlow(f"no answer within {limit_s:g} s")
        return task.result()

    def _leave(self, task: "asyncio.Future[Any]") -> None:
        self._left.add(task)
        task.add_done_callback(self._ended)
        task.cancel()

    def _ended(self, task: "asyncio.Future[Any]") -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # it was told that there was no answer


@dataclass(frozen=True, slots=True)
class Field:
    """One field that was sent. `kind`: hidden, tick, secret (without its value), choice, line or text; `choices`: value -> words, of a choice."""

    name: str
    value: str
    kind: str
    choices: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """As people read it."""
        words = self.name.replace("_", " ")
        return {"reason": "Why"}.get(self.name, words[:1].upper() + words[1:])


@dataclass(frozen=True, slots=True)
class Returned:
    """A form that came to nothing, with what was typed into it."""

    address: str
    fields: tuple[Field, ...]

    @property
    def typed(self) -> bool:
        """Whether it would be a loss."""
        return any(each.kind not in ("hidden", "tick", "choice") and (each.value or each.kind == "secret") for each in self.fields)


Choices = Mapping[str, Mapping[str, str]]
"""Of a form: by name of a field of which the value is chosen, value -> words."""


def returned(request: Request, form: FormData, choices: Choices) -> Returned:
    """The form of a request. What was chosen in it can be chosen anew."""
    fields = []
    for name, value in form.multi_items():
        if isinstance(value, str) and name != "csrf":
            kind = "hidden" if name in HIDDEN else "tick" if name in TICKED else "secret" if name in SECRET else "text" if "\n" in value or len(value) > LONG else "line"
            if name in choices:
                shown = value.replace("\x00", "\N{REPLACEMENT CHARACTER}")
                fields.append(Field(name, shown, "choice", choices[name] if shown in choices[name] else {shown: shown, **choices[name]}))
            elif kind != "secret" or value:
                fields.append(Field(name, "" if kind == "secret" else value.replace("\x00", "\N{REPLACEMENT CHARACTER}"), kind))
    return Returned(steady(request.url.path), tuple(fields))


def budget_s(ownership: Ownership, path: str, *, form: bool) -> float:
    """How long a page or form may take."""
    return LONGER_S.get(path) or (KNOWN_S if trouble(ownership) else FORM_S if form else PAGE_S)


def trouble(ownership: Ownership) -> str:
    """Why nothing can be stored now, as the broker that owns the queue knows it; empty: it can."""
    refusing = ownership.owner.refusing if ownership.ready.is_set() else None
    return str(refusing) if refusing is not None else ""


def passes(error: BrokerError) -> bool:
    """Whether it may go well a little later, without anything changed."""
    return isinstance(error, (Unavailable, Busy))


def told(ownership: Ownership, error: BrokerError, *, now: float, form: bool) -> dict[str, Any]:
    """What the page of an error that passes says. `now`: monotonic."""
    values: dict[str, Any] = {"title": "Not now", "happened": str(error), "unknown": "", "facts": []}
    if isinstance(error, TooSlow):
        values["happened"] = f"{'This form' if form else 'This page'} had {error}."
        if form:
            values["unknown"] = "It is not known whether it was done: look first, then send it again."
    elif isinstance(error, Busy) and trouble(ownership):
        values["happened"] = trouble(ownership)  # connections that wait for the database are what keeps others busy
    if ownership.holder is not None:
        values["title"] = "Another broker owns the queue"
        values["facts"] = [("the queue is owned by", ownership.holder.address)]
        if ownership.holder.peer is not None and ownership.holder.peer.web:
            values["there"] = ownership.holder.peer.web
        return values
    silent_s = ownership.health.under_way_s(now)
    if isinstance(error, (TooSlow, DatabaseUnavailable)) or trouble(ownership):
        values["title"] = "The database does not answer" if isinstance(error, DatabaseUnavailable) or trouble(ownership) else "No answer in time"
        if silent_s > 1:
            values["facts"] = [("a commit is under way for", f"{silent_s:.0f} s")]
    if ownership.ready.is_set():
        owner = ownership.owner
        count = {state: sum(owner.counted.unsettled(state).values()) for state in (State.WAITING, State.PROCESSING)}
        connected = sum(session.stream is not None for session in owner.sessions())
        domains = "all domains" if ownership.shard.of == 1 else "all domains of its shard"
        values["facts"] += [
            (f"jobs that wait, {domains}", f"{count[State.WAITING]:,}"), ("jobs that run", f"{count[State.PROCESSING]:,}"), ("agents connected", f"{connected:,}"),
        ]  # fmt: skip
    return values
