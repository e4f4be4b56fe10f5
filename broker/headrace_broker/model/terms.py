"""What a submitter may say about where and beside whom a job runs. Jobs that say nothing of the kind have no terms and cost nothing for it."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Terms:
    """`limit_key`: counted by `concurrency_per_key`; `fairness_key`: who takes turns with whom; `required`: labels that the agent must have. Empty: none.

    `instance`: the business case of a job, where that has a priority of its own; nobody submits it, it follows from the job's instance and the instances' priorities.
    """

    limit_key: str = ""
    fairness_key: str = ""
    required: frozenset[tuple[str, str]] = frozenset()
    instance: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """The required labels, by key."""
        return dict(sorted(self.required))

    def members(self) -> dict[str, Any]:
        """What is stored, and read back by `parse` and `restore`: limit_key, fairness_key, required_labels, instance; those that are empty are left out."""
        values = {"limit_key": self.limit_key, "fairness_key": self.fairness_key, "required_labels": self.labels, "instance": self.instance}
        return {name: value for name, value in values.items() if value}


def make(limit_key: str | None = None, fairness_key: str | None = None, required_labels: dict[str, str] | None = None) -> Terms | None:
    """The terms, or None when there are none."""
    if not (limit_key or fairness_key or required_labels):
        return None
    return Terms(limit_key or "", fairness_key or "", frozenset((required_labels or {}).items()))


def parse(text: str) -> Terms | None:
    """The terms of a JSON object that has these members among others; None: it has none of them."""
    values = json.loads(text)
    return make(values.get("limit_key"), values.get("fairness_key"), values.get("required_labels"))


def restore(members: dict[str, Any]) -> Terms:
    """The terms whose `members` these are."""
    return Terms(members.get("limit_key", ""), members.get("fairness_key", ""), frozenset(members.get("required_labels", {}).items()), members.get("instance", ""))
