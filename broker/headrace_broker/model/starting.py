"""When a job must have started (`start_within_s` of its type).

The time counts from when the job could start first: when it was stored, or the start that it was given; after a requeue, from then. A job whose run had an attempt has
started.
"""

import json

from headrace_broker.model.errors import InvalidState
from headrace_broker.model.ids import created_at_s
from headrace_broker.model.job import Head, State
from headrace_broker.model.settings import Settings

ERROR = json.dumps({"code": "not_started", "message": "the job did not start within the time that its type allows", "fingerprint": "not_started"})
EVER = float("inf")


class NotYet(InvalidState):
    """The job has time until `until_s` (seconds since 1970); EVER: it has started."""

    def __init__(self, until_s: float) -> None:
        super().__init__("the job has started, or has time to")
        self.until_s = until_s


def check(job_id: int, head: Head, settings: Settings, *, moved_at_s: float | None, available_at_s: float | None, now_s: float) -> None:
    """Raises NotYet unless the job should have started by now. `moved_at_s`: time of its newest event, if it has any. Times in seconds since 1970."""
    if head.state is not State.WAITING or head.attempt or head.losses or not settings.start_within_s:
        raise NotYet(EVER)
    since_s = max(moved_at_s if moved_at_s is not None else created_at_s(job_id), available_at_s or 0.0)
    if since_s + settings.start_within_s > now_s:
        raise NotYet(since_s + settings.start_within_s)
