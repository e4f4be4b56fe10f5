"""Bodies of jobs that wait for their first attempt, kept in memory up to a number of bytes.

When it is full, new bodies are not kept: the jobs that run next are the old ones. What is missing is read from the database when the job is granted.
"""

from headrace_broker.store.batch import Body

OVERHEAD_BYTES = 150  # of one entry: dict slot, key and bytes header


class BodyCache:
    """Bodies by job id."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._bodies: dict[int, Body] = {}
        self.used_bytes = 0

    def put(self, job_id: int, body: Body) -> None:
        """Keeps the body if there is room."""
        if self.used_bytes < self._limit:
            self._bodies[job_id] = body
            self.used_bytes += OVERHEAD_BYTES + (len(body) if isinstance(body, bytes) else len(body.payload) + 200)

    def put_all(self, job_ids: list[int], payloads: list[bytes]) -> None:
        """The same for many bodies that are mere payloads: all of them, or none."""
        if self.used_bytes < self._limit:
            self._bodies.update(zip(job_ids, payloads, strict=True))
            self.used_bytes += OVERHEAD_BYTES * len(job_ids) + sum(map(len, payloads))

    def pop(self, job_id: int) -> Body | None:
        """Takes the body out; None: it is not here."""
        body = self._bodies.pop(job_id, None)
        if body is not None:
            self.used_bytes -= OVERHEAD_BYTES + (len(body) if isinstance(body, bytes) else len(body.payload) + 200)
        return body
