"""What was said about a job beside its submission, which is immutable: by its submitter (how long it is kept), and by people later.

Amendments are stored as a note whenever they change, all of them each time: the newest note is what holds.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from headrace_broker.model.job import State
from headrace_broker.model.settings import Settings

DELETE_AFTER = "delete_after_s"
"""Name of how long a job is kept among what few jobs have."""
MAX_MINUTE = 2**31 - 1
"""The last that the database holds, in the year 6053."""


@dataclass(frozen=True, slots=True)
class Amended:
    """None: as the submission says, or the type's settings. `delete_after_s`: how long the job is kept once it has settled, however it did."""

    priority: int | None = None
    labels: dict[str, str] | None = None
    content_type: str | None = None  # of the newest payload; empty: application/json
    delete_after_s: float | None = None
    hold: bool = False  # never deleted

    def encoded(self) -> bytes:
        """As it is stored."""
        return json.dumps({name: value for name, value in asdict(self).items() if value is not None and value is not False}).encode()


def submitted(more: str | None) -> Amended | None:
    """The amendments that a submission itself has, from what few jobs have (a JSON object)."""
    if more is None or DELETE_AFTER not in more:
        return None
    keep_s = json.loads(more).get(DELETE_AFTER)
    return None if keep_s is None else Amended(delete_after_s=float(keep_s))


def effective(stored: str | None, more: str | None) -> Amended | None:
    """The amendments that hold: those stored last or, when nobody changed any, those of the submission. Names that this version does not know are left out."""
    if stored is None:
        return submitted(more)
    values: dict[str, Any] = json.loads(stored)
    return Amended(**{name: value for name, value in values.items() if name in Amended.__slots__})


def delete_minute(settings: Settings, amended: Amended | None, state: State, settled_at_s: float) -> int | None:
    """The minute since 1970 from which a job that settled in `state` is gone, MAX_MINUTE at most; None: never."""
    keep_s = settings.delete_after_s(state)
    if amended is not None:
        if amended.hold:
            return None
        keep_s = amended.delete_after_s if amended.delete_after_s is not None else keep_s
    return None if keep_s is None else min(MAX_MINUTE, math.ceil((settled_at_s + keep_s) / 60))


def same_date(one: int | None, other: int | None) -> bool:
    """Whether two delete minutes are the same but for rounding: a job's date is reckoned a moment before the commit whose time says when it settled."""
    return one == other if one is None or other is None else abs(one - other) <= 1


@dataclass(frozen=True, slots=True)
class Update:
    """Changes to a job that somebody asks for; None: as it is. `delete_at_s`: since 1970. `redate`: its date follows from the settings that are now in force."""

    priority: int | None = None
    payload: bytes | None = None
    content_type: str = ""  # of the payload
    hold: bool | None = None
    delete_after_s: float | None = None
    delete_at_s: float | None = None
    default_delete: bool = False  # what the submitter or somebody else said of its deletion is taken back
    set_labels: dict[str, str] | None = None
    remove_labels: Sequence[str] = ()
    redate: bool = False

    def applied(self, amended: Amended, labels: dict[str, str], settled_at_s: float) -> Amended:
        """The amendments after it. `labels` are those in force; `settled_at_s` counts only for a date."""
        changed = amended
        if self.priority is not None:
            changed = replace(changed, priority=self.priority)
        if self.payload is not None:
            changed = replace(changed, content_type=self.content_type)
        if self.hold is not None:
            changed = replace(changed, hold=self.hold)
        if self.default_delete:
            changed = replace(changed, delete_after_s=None)
        if self.delete_at_s is not None:
            changed = replace(changed, delete_after_s=max(0.0, self.delete_at_s - settled_at_s))
        if self.delete_after_s is not None:
            changed = replace(changed, delete_after_s=self.delete_after_s)
        if self.set_labels is not None or self.remove_labels:
            kept = {key: value for key, value in labels.items() if key not in self.remove_labels}
            changed = replace(changed, labels=kept | (self.set_labels or {}))
        return changed
