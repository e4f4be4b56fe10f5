"""What happens to the jobs that fill.py makes: stories, each a list of steps that the model allows, with how common it is; and the texts of errors and log lines."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace_broker.model.job import SUBMITTED, UNCHARGED, Event, Kind, State, step

Step = tuple[float, Kind, State]
"""(seconds after the submission, what happened, state after it)"""


@dataclass(frozen=True, slots=True)
class Story:
    """One course of a job's life; `weight` of 1,000 settled jobs have it."""

    name: str
    weight: int
    steps: tuple[Step, ...]

    def events(self) -> list[Event]:
        """The steps with the numbers that the model gives them. Raises BrokenHistory for a story that cannot happen."""
        head = SUBMITTED
        events = []
        for _, kind, state in self.steps:
            attempt = head.attempt + (kind is Kind.GRANTED) - (kind in UNCHARGED)
            event = Event(head.seq + 1, kind, state, head.run, attempt, head.losses + (kind is Kind.LOST))
            head = step(head, event)
            events.append(event)
        return events


def _granted(at_s: float) -> Step:
    return at_s, Kind.GRANTED, State.PROCESSING


def _failures(number: int) -> list[Step]:
    """Attempts that failed, with the default retry delays."""
    steps, at_s = [], 0.4
    for attempt in range(number):
        steps += [_granted(at_s), (at_s + 1.5, Kind.FAILED, State.WAITING)]
        at_s += 1.5 + 5 * 2.0**attempt
    return steps


def _after(steps: Sequence[Step], kind: Kind, state: State) -> tuple[Step, ...]:
    """The same, with one more attempt that ends so."""
    at_s = steps[-1][0] + 6.0 if steps else 0.4
    return (*steps, _granted(at_s), (at_s + 2.0, kind, state))


SETTLED = (
    Story("completed", 900, _after((), Kind.COMPLETED, State.COMPLETED)),
    Story("completed at the second attempt", 35, _after(_failures(1), Kind.COMPLETED, State.COMPLETED)),
    Story("completed at the third attempt", 10, _after(_failures(2), Kind.COMPLETED, State.COMPLETED)),
    Story("completed after a loss", 5, _after([_granted(0.4), (30.4, Kind.LOST, State.WAITING)], Kind.COMPLETED, State.COMPLETED)),
    Story("completed after a release", 5, _after([_granted(0.4), (9.0, Kind.RELEASED, State.WAITING)], Kind.COMPLETED, State.COMPLETED)),
    Story("error for good", 15, _after((), Kind.FAILED, State.ERROR)),
    Story("error, attempts spent", 10, _after(_failures(4), Kind.FAILED, State.ERROR)),
    Story("timed out for good", 5, _after(_failures(4), Kind.TIMED_OUT, State.ERROR)),
    Story("aborted while it waited", 8, ((20.0, Kind.ABORTED, State.ABORTED),)),
    Story("aborted while it ran", 7, (_granted(0.4), (4.0, Kind.ABORTED, State.ABORTED))),
)
RETRYING = Story("waits for its second attempt", 0, tuple(_failures(1)))

ERRORS = (
    ("ConnectionResetError", "connection to mx%s.example.net was reset by the peer"),
    ("TimeoutError", "no answer from the payment service within 30 s (request %s)"),
    ("ValueError", "invoice %s has no lines"),
    ("KeyError", "'customer_%s'"),
    ("HTTPStatusError", "503 Service Unavailable for url /api/v2/orders/%s"),
    ("IntegrityError", 'duplicate key value violates unique constraint "payment_pkey": (id)=(%s)'),
    ("invalid_payload", "field 'amount' must be a number (document %s)"),
    ("MemoryError", "cannot allocate page %s of the report"),
)
TRACEBACK = """Traceback (most recent call last):
  File "/srv/app/handlers.py", line 118, in handle
    return await self._service.process(order, retry=False)
  File "/srv/app/services/orders.py", line 342, in process
    response = await self._client.post(path, json=body, timeout=30)
  File "/srv/app/http.py", line 77, in post
    raise self._translated(error) from error
"""

LOG_LINES = (
    (2, "start: order %s"),
    (2, "loaded 14 lines of customer %s from the catalogue"),
    (1, "GET /api/v2/orders/%s 200 in 38 ms"),
    (2, "template invoice-de rendered, document %s"),
    (3, "rate limit near: 4 of 120 requests left, account %s"),
    (2, "uploaded part %s, 5,242,880 bytes"),
    (1, "cache miss for key product:%s"),
    (4, "attempt to reach warehouse failed for order %s; trying the other one"),
)
"""(level: 1 debug to 4 error, text)"""
