"""Who did what: the caller of a change, and the row of the audit that the change leaves.

The rule: a change and its row are one transaction. Either both are there after a crash, or neither.

- A change of a job, which the owner decides: `round_.batch.audit.append(caller.entry(...))`. The rows ride in the flush that makes the change durable (`Ledger.flush`);
  a flush without any is the one statement that it always was. `changes.decide` does this for every verb.
- A write of settings and the like: `await write_audit(con, [caller.entry(...)])` (`store/audit.py`) on the connection, and within the transaction, of the write itself.
- In a service: `caller = caller_of(context)` (`rpc/callers.py`), once in each call that changes something; it also sends the request id back.

Submits, and what agents report, leave no rows: the facts say who and when.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks for a change. `actor`: the token's name, or what the caller says of itself where nobody needs a token; `token_id` None: nobody proved who they are."""

    actor: str
    domain: str
    request_id: str
    on_behalf_of: str = ""
    token_id: int | None = None

    @property
    def shown(self) -> str:
        """As a job's history names them: the actor, and in brackets whose wish it was."""
        return f"{self.actor} ({self.on_behalf_of})" if self.on_behalf_of else self.actor

    def entry(
        self, action: str, target: str, *, reason: str = "", before: Mapping[str, Any] | None = None, after: Mapping[str, Any] | None = None, everywhere: bool = False
    ) -> "AuditEntry":
        """A row of the audit, in the caller's domain, or in none with `everywhere`.

        `action` is "thing.verb", such as "job.requeue"; `target` "thing/name", such as "job/7"; `before` and `after`, as JSON, say what changed, and hold no secrets.
        """
        return AuditEntry(self, None if everywhere else self.domain, action, target, reason, before, after)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit, to be stored in the transaction that makes the change. Made by `Caller.entry`."""

    caller: Caller
    domain: str | None  # None: not of one domain
    action: str
    target: str
    reason: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
