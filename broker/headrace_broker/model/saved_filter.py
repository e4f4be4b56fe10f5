"""Filters of jobs that people keep under a name: what one looks for, whose it is, and what it comes to when it is used.

Periods may move along: such a bound is an age, as long before the moment of use, and stays one for as long as the filter is kept. All else is kept as it was said, and
looked at anew whenever the filter is used: by then a job type may be gone from its reader's sight, or an older broker may read what a newer one has stored.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import InvalidField, TooLarge
from headrace_broker.model.filter import JobFilter, Order, Period
from headrace_broker.model.job import State
from headrace_broker.model.settings import YEARS_10_S
from headrace_broker.model.stored_filter import BOUNDS, PERIODS, read_filter, stored_filter

NAME = re.compile(r"[A-Za-z0-9._-](?:[A-Za-z0-9 ._-]{0,58}[A-Za-z0-9._-])?", re.ASCII)
MAX_BYTES = 4096
"""Of a filter as it is stored: a list of all that somebody sees is one answer."""
MOST_OF_OWNER, MOST_OF_DOMAIN = 100, 5000
"""What is shared has one owner, too: everybody."""
SHARED = ""
"""As the owner of what everybody in the domain has."""
_KNOWN = frozenset({item.name for item in fields(JobFilter)} - {*PERIODS} | {*BOUNDS, "ages", "order"})


class Unreadable(Exception):
    """What is stored says something that this broker does not know; the text says what."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What a saved filter looks for. `ages`: bounds of its periods, such as created_from, in seconds before the moment of use; `wanted` has nothing for these."""

    wanted: JobFilter
    ages: Mapping[str, float] = field(default_factory=dict)
    order: Order = Order.NEWEST_FIRST

    def check(self) -> None:
        """Raises InvalidField, TooLarge with names of SavedFilter's fields."""
        if self.wanted == JobFilter() and not self.ages:
            raise InvalidField("filter", "it is empty: say which jobs it is to find")
        said = stored_filter(self.wanted)
        for bound, age_s in self.ages.items():
            if bound in said:
                raise InvalidField(f"ages.{bound}", "the filter has a time for this, too: say one of them")
            if not 0 <= age_s <= YEARS_10_S:
                raise InvalidField(f"ages.{bound}", f"a duration from 0 to {YEARS_10_S:g} s, found {age_s:g} s")
        if self.order is Order.SCORE and (self.ages or self.wanted != JobFilter(types=self.wanted.types, states=frozenset({State.WAITING}))):
            raise InvalidField("order", "the order by score is for filters of types and the state waiting alone")
        size = len(json.dumps(self.stored()).encode())
        if size > MAX_BYTES:
            raise TooLarge("filter", f"at most {MAX_BYTES:,} bytes as it is stored, found {size:,}")

    def at(self, now_s: float) -> JobFilter:
        """The filter that it comes to at this moment."""
        periods: dict[str, Any] = {}
        for name in PERIODS:
            known: Period = getattr(self.wanted, name)
            ends = (("from", known.from_s), ("to", known.to_s))
            periods[name] = Period(*(now_s - self.ages[f"{name}_{end}"] if f"{name}_{end}" in self.ages else at_s for end, at_s in ends))
        return replace(self.wanted, **periods)

    def stored(self) -> dict[str, Any]:
        """As JSON."""
        found = stored_filter(self.wanted)
        if self.ages:
            found["ages"] = dict(self.ages)
        if self.order is not Order.NEWEST_FIRST:
            found["order"] = self.order.name.lower()
        return found


@dataclass(frozen=True, slots=True)
class SavedFilter:
    """A filter that is kept. `owner` SHARED: everybody in the domain has it; `version`: another number with every change; `stored`: what it looks for, as JSON."""

    domain: str
    owner: str
    name: str
    stored: Mapping[str, Any]
    version: int
    saved_by: str
    saved_at: datetime

    @property
    def shared(self) -> bool:
        """Whether everybody in the domain has it."""
        return self.owner == SHARED

    @property
    def types(self) -> list[str]:
        """The job types that it names, whatever else it says."""
        return list(self.stored.get("types", ()))

    def sought(self) -> Sought:
        """What it looks for. Raises Unreadable."""
        strange = sorted(self.stored.keys() - _KNOWN)
        if strange:
            raise Unreadable(f"it says something of {', '.join(strange)}, which this broker does not know: a newer one has saved it")
        try:
            return Sought(read_filter(self.stored), self.stored.get("ages", {}), Order[self.stored.get("order", "newest_first").upper()])
        except KeyError as error:
            raise Unreadable(f"it says {str(error.args[0]).lower()!r}, which this broker does not know: a newer one has saved it") from error

    def facts(self) -> dict[str, Any]:
        """What the audit keeps of it."""
        return {"shared": self.shared, "version": self.version, **self.stored}


def check_name(name: str) -> str:
    """A saved filter's name. Raises InvalidField."""
    if not NAME.fullmatch(name):
        raise InvalidField("name", f"1 to 60 characters of A-Z a-z 0-9 . _ - and, between them, spaces; found {name[:80]!r}")
    return name


def owner_of(caller: Caller) -> str:
    """Whose own filters a call means: those of its token, by its name, which stays when its secret is replaced; of its certificate's URI; of the person at a page, as
    the audit names them. Where a call is made on behalf of somebody, they are that somebody's, with this caller alone."""
    named = f"token/{caller.actor}" if caller.token_id is not None else caller.actor or "anonymous"  # tokens may have any of the other names
    return f"{named} ({caller.on_behalf_of})" if caller.on_behalf_of else named
