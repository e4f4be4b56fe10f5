"""Bodies of jobs that wait for their first attempt, kept in memory up to a number of bytes.

When there is no room, new bodies are not kept: the jobs that run next are the old ones. What is missing is read from the database when the job is granted.

The bodies of one type take at most `SHARE` times what is left of the memory after them (Choudhury and Hahne, "Dynamic Queue Length Thresholds for Shared-Memory Packet
Switches", 1998): a million jobs that nobody takes leave room for those of the types that run, and a type that is alone has two thirds of all.
"""

from collections.abc import Sequence

from headrace_broker.store.batch import Body

OVERHEAD_BYTES = 150  # of one entry: dict slot, key and bytes header
SHARE = 2


class _Kept:
    """The bodies of one type."""

    __slots__ = ("bodies", "bytes")

    def __init__(self) -> None:
        self.bodies: dict[int, Body] = {}
        self.bytes = 0


class BodyCache:
    """Bodies by job type and job id."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._types: dict[int, _Kept] = {}  # none of them empty
        self.used_bytes = 0

    def put(self, type_id: int, job_id: int, body: Body) -> None:
        """Keeps the body if there is room."""
        kept = self._room(type_id)
        if kept is not None:
            kept.bodies[job_id] = body
            self._use(kept, _size(body))

    def put_all(self, type_id: int, job_ids: list[int], payloads: list[bytes]) -> None:
        """The same for many bodies that are mere payloads: all of them, or none."""
        kept = self._room(type_id) if job_ids else None
        if kept is not None:
            kept.bodies.update(zip(job_ids, payloads, strict=True))
            self._use(kept, OVERHEAD_BYTES * len(job_ids) + sum(map(len, payloads)))

    def pop(self, type_id: int, job_id: int) -> Body | None:
        """Takes the body out; None: it is not here."""
        return self.pop_all(type_id, [job_id])[0]

    def pop_all(self, type_id: int, job_ids: Sequence[int]) -> list[Body | None]:
        """The same for many jobs of a type, in their order."""
        kept = self._types.get(type_id)
        if kept is None:
            return [None] * len(job_ids)
        take = kept.bodies.pop
        found = [take(job_id, None) for job_id in job_ids]
        self._use(kept, -sum([_size(body) for body in found if body is not None]))
        if not kept.bodies:
            del self._types[type_id]
        return found

    def _room(self, type_id: int) -> _Kept | None:
        """Where bodies of a type go; None: there is no room for them."""
        kept = self._types.get(type_id)
        if (kept.bytes if kept is not None else 0) >= SHARE * (self._limit - self.used_bytes):
            return None
        if kept is None:
            kept = self._types[type_id] = _Kept()
        return kept

    def _use(self, kept: _Kept, size: int) -> None:
        kept.bytes += size
        self.used_bytes += size


def _size(body: Body) -> int:
    return OVERHEAD_BYTES + (len(body) if isinstance(body, bytes) else len(body.payload) + 200)
