"""What ties a job to others, as a keyed flush stores it: one row beside each job of its batch."""

from typing import NamedTuple


class KeyedRow(NamedTuple):
    """Keys and ties of one job. `depends_on` None: none; empty: it is the callback of a batch, and waits for the batch's members."""

    domain_id: int
    key: str | None  # idempotency key
    body_hash: bytes | None
    unique_key: str | None = None
    parent_id: int | None = None  # the job whose handler submitted it
    depends_on: tuple[int, ...] | None = None
    batch_id: int | None = None  # the callback job of its batch

    def depends_on_text(self) -> str | None:
        """The ids as Postgres writes an array."""
        return None if self.depends_on is None else "{" + ",".join(map(str, self.depends_on)) + "}"
