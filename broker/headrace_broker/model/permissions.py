"""Who may do what: actions, roles as sets of them, grants, and what they come to in one domain.

Whatever nothing allows is denied. A grant gives actions in the domains and for the job types that its patterns match; a role is the grant that its holder was made
with. Patterns are those of a shell: `*` stands for any characters, `?` for one.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from fnmatch import fnmatchcase
from functools import cached_property

from headrace_broker.model.access import Role

EVERY = "*"
PATTERN = re.compile(r"[A-Za-z0-9._:/*?-]{1,200}", re.ASCII)
REMEMBERED, LONGEST = 10_000, 200
"""Job types whose decision is remembered; more of them, and longer names, are decided anew."""


class Act(StrEnum):
    """What can be allowed."""

    VIEW = "view"
    VIEW_DATA = "view_data"
    VIEW_SECRETS = "view_secrets"
    SUBMIT = "submit"
    SERVE = "serve"
    OVERSEE = "oversee"
    REQUEUE = "requeue"
    ABORT = "abort"
    UPDATE = "update"
    PURGE = "purge"
    OPERATE = "operate"
    EDIT_SETTINGS = "edit_settings"
    MANAGE_AGENTS = "manage_agents"
    MANAGE_SCHEDULES = "manage_schedules"
    MANAGE_ALERTS = "manage_alerts"
    VIEW_AUDIT = "view_audit"
    ACT_FOR = "act_for"
    MANAGE_CHANNELS = "manage_channels"
    MANAGE_DOMAIN = "manage_domain"
    MANAGE_ACCESS = "manage_access"


MEANS: Mapping[Act, str] = {
    Act.VIEW: "see jobs, their events and logs",
    Act.VIEW_DATA: "see payloads and results too",
    Act.VIEW_SECRETS: "see fields and labels with secret names in them",
    Act.SUBMIT: "submit jobs",
    Act.SERVE: "run jobs, as an agent",
    Act.OVERSEE: "see job types, agents, schedules, limits, alerts, operations and statistics",
    Act.REQUEUE: "requeue jobs",
    Act.ABORT: "abort jobs",
    Act.UPDATE: "change jobs: priority, payload, labels, hold, delete date",
    Act.PURGE: "delete jobs",
    Act.OPERATE: "start and steer operations on all jobs that match a filter, with the actions that these need",
    Act.EDIT_SETTINGS: "change, pause and resume job types",
    Act.MANAGE_AGENTS: "drain agents and have them go on",
    Act.MANAGE_SCHEDULES: "make, change, run and delete schedules",
    Act.MANAGE_ALERTS: "change rules and silences of alerts, and test channels",
    Act.VIEW_AUDIT: "read the audit",
    Act.ACT_FOR: "act on behalf of somebody else",
    Act.MANAGE_CHANNELS: "change where alerts go",
    Act.MANAGE_DOMAIN: "change the limits of the domain",
    Act.MANAGE_ACCESS: "make tokens and users, and grant what one may do oneself",
}
"""In words."""

_VIEWER = frozenset({Act.VIEW, Act.VIEW_DATA, Act.OVERSEE})
_SUBMITTER = frozenset({Act.VIEW, Act.VIEW_DATA, Act.VIEW_SECRETS, Act.SUBMIT})
ROLE_ACTS: Mapping[Role, frozenset[Act]] = {
    Role.VIEWER: _VIEWER,
    Role.SUBMITTER: _SUBMITTER,
    Role.AGENT: _SUBMITTER | {Act.SERVE},
    Role.OPERATOR: frozenset(Act) - {Act.SERVE, Act.MANAGE_CHANNELS, Act.MANAGE_DOMAIN, Act.MANAGE_ACCESS},
    Role.ADMIN: frozenset(Act),
    Role.GUEST: frozenset(),
}
"""Roles are names of sets of actions."""


class HolderKind(IntEnum):
    """Who can be granted something; the numbers are stored."""

    TOKEN = 1
    USER = 2
    CERTIFICATE = 3


Holder = tuple[HolderKind, int | str]
"""A token or a user by its number, which no other ever has; a certificate by its whole URI."""


@dataclass(frozen=True, slots=True)
class Source:
    """Something that allows actions: a role or a grant. `named`: as an explanation names it."""

    named: str
    domains: str
    types: str
    acts: frozenset[Act]

    def gives(self, act: Act, domain: str) -> bool:
        """Whether it allows the action for some types of the domain."""
        return act in self.acts and matches(self.domains, domain)

    def covers(self, act: Act, domains: str, types: str) -> bool:
        """Whether it allows the action wherever these patterns match."""
        return act in self.acts and within(self.domains, domains) and within(self.types, types)


def role_source(role: Role, domain: str | None) -> Source:
    """What a role allows in the holder's own domain; None: in all domains."""
    return Source(f"the role {role.name.lower()}", EVERY if domain is None else domain, EVERY, ROLE_ACTS[role])


class Types:
    """The job types that an action is allowed for: those that a pattern of each of the sets matches. A type's decision is remembered."""

    def __init__(self, *sets: Iterable[str]) -> None:
        self._sets = tuple(tuple(dict.fromkeys(patterns)) for patterns in sets)
        self._known: dict[str, bool] = {}

    @cached_property
    def everything(self) -> bool:
        """Whether it is all of them: then nobody has to ask for each."""
        return all(EVERY in patterns for patterns in self._sets)

    def __bool__(self) -> bool:
        return all(self._sets)

    def allow(self, name: str) -> bool:
        """Whether it is this one."""
        if self.everything:
            return True
        known = self._known.get(name)
        if known is None:
            known = all(any(matches(pattern, name) for pattern in patterns) for patterns in self._sets)
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            if len(name) <= LONGEST:  # it is what a request says, and may be anything
                self._known[name] = known
        return known

    def __and__(self, other: "Types") -> "Types":
        return Types(*self._sets, *other._sets)

    def __str__(self) -> str:
        return " and ".join(", ".join(patterns) or "none" for patterns in self._sets)


ALL_TYPES = Types((EVERY,))
NO_TYPES = Types(())


class Permissions:
    """What the sources of one holder come to in one domain."""

    def __init__(self, sources: Iterable[Source], domain: str) -> None:
        here = [source for source in sources if source.acts and matches(source.domains, domain)]
        self._types = {act: Types(source.types for source in here if act in source.acts) for act in Act if any(act in source.acts for source in here)}

    def types(self, act: Act) -> Types:
        """The types that the action is allowed for."""
        return self._types.get(act, NO_TYPES)

    def __bool__(self) -> bool:
        return bool(self._types)


def matches(pattern: str, name: str) -> bool:
    """Whether the name is one that the pattern stands for."""
    return pattern in (EVERY, name) or fnmatchcase(name, pattern)


def within(wide: str, narrow: str) -> bool:
    """Whether every name that `narrow` stands for is surely one of `wide`. Where that takes more than a look, the answer is no."""
    if wide in (EVERY, narrow):
        return True
    if not set("*?") & set(narrow):
        return fnmatchcase(narrow, wide)
    start = wide.removesuffix("*")
    return wide.endswith("*") and not set("*?") & set(start) and re.split(r"[*?]", narrow, maxsplit=1)[0].startswith(start)
