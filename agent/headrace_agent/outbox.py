"""What the broker has not confirmed yet: outcomes until they are acknowledged, log lines until they are stored. Used by the session thread only."""

import itertools
from collections import deque
from collections.abc import Callable

from headrace_proto.v1 import agents_pb2, jobs_pb2

MAX_OUTCOMES = 1000
MESSAGE_BYTES = 6 * 1024 * 1024
"""What one message carries of outcomes, checkpoints and log lines together: the broker takes 16 MiB, and a larger one ends the stream, again and again."""
MAX_LINES = 50_000
"""Log lines kept for a broker that is away; beyond, the oldest go, and the gap in their numbers says so."""
MAX_CHARACTERS = 32 * 1024 * 1024
"""The same, of all their texts."""
UNSTORED = 6
"""Messages of one session whose log lines are not known to be stored; the next ones wait here. A broker that has eight in hand reads no more of the stream until it could
store some, heartbeats and outcomes included."""


class Room:
    """The room of one message. What comes first always fits, however large it is."""

    def __init__(self) -> None:
        self._left = MESSAGE_BYTES
        self._empty = True

    def take(self, size: int) -> bool:
        """Uses that many bytes; returns whether they were there."""
        if size > self._left and not self._empty:
            return False
        self._left -= size
        self._empty = False
        return True


class Outbox:
    """Outcomes by lease; that of an attempt that completed is its result."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[int, int], agents_pb2.Outcome | bytes] = {}
        self._unsent: dict[tuple[int, int], None] = {}

    def __len__(self) -> int:
        return len(self._outcomes)

    def put(self, key: tuple[int, int], outcome: agents_pb2.Outcome | bytes) -> None:
        """The attempt under the lease (job_id, lease epoch) ended."""
        self._outcomes[key] = outcome
        self._unsent[key] = None

    def take(self, message: agents_pb2.ConnectRequest, room: Room, mine: Callable[[tuple[int, int]], bool] | None = None) -> bool:
        """Puts outcomes of leases for which `mine` says so (None: of all) into a message, as many as fit; returns whether there were any.

        They stay here until they are acknowledged.
        """
        if not self._unsent:
            return False
        keys = list(itertools.islice(self._unsent if mine is None else filter(mine, self._unsent), MAX_OUTCOMES))
        completed: list[tuple[int, int]] = []
        results: list[bytes] = []
        for key in keys:
            outcome = self._outcomes[key]
            if not room.take(len(outcome) if isinstance(outcome, bytes) else outcome.ByteSize()):
                break
            del self._unsent[key]
            if isinstance(outcome, bytes):
                completed.append(key)
                results.append(outcome)
            else:
                message.outcomes.append(outcome)
        if completed:
            job_ids, epochs = zip(*completed, strict=True)
            message.completions.job_ids.extend(job_ids)
            message.completions.lease_epochs.extend(epochs)
        if any(results):
            message.completions.results.extend(results)
        return bool(keys)

    def send_again(self) -> None:
        """The stream broke, or a broker could not tell: everything that is not acknowledged is to be sent once more."""
        self._unsent = dict.fromkeys(self._outcomes)

    def acknowledge(self, key: tuple[int, int]) -> None:
        """The broker has decided about it."""
        self._unsent.pop(key, None)
        self._outcomes.pop(key, None)

    def take_one_by_one(self) -> list[agents_pb2.Outcome]:
        """The same as messages, for a call without a stream."""
        request = agents_pb2.ConnectRequest()
        self.take(request, Room())
        done, kind = request.completions, agents_pb2.OUTCOME_KIND_COMPLETED
        completed = zip(done.job_ids, done.lease_epochs, list(done.results) or [b""] * len(done.job_ids), strict=True)
        return [*request.outcomes, *(agents_pb2.Outcome(job_id=job_id, lease_epoch=epoch, kind=kind, result=result) for job_id, epoch, result in completed)]


class LogBuffer:
    """Log lines in order: waiting, and sent with a message that the broker has not confirmed."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, int, jobs_pb2.LogLine]] = deque()
        self._characters = 0  # of those that wait
        self._sent: dict[object, deque[tuple[int, list[tuple[int, int, jobs_pb2.LogLine]]]]] = {}  # by session

    def __len__(self) -> int:
        return len(self._waiting) + sum(len(lines) for sent in self._sent.values() for _, lines in sent)

    def put(self, job_id: int, epoch: int, line: jobs_pb2.LogLine) -> None:
        """A handler logged."""
        self._waiting.append((job_id, epoch, line))
        self._characters += len(line.text)
        while len(self._waiting) > MAX_LINES or self._characters > MAX_CHARACTERS:
            self._next()

    def _next(self) -> tuple[int, int, jobs_pb2.LogLine]:
        """The oldest line, which waits no more."""
        oldest = self._waiting.popleft()
        self._characters -= len(oldest[2].text)
        return oldest

    def take(self, session: object, number: int, room: Room, limit: int = 500) -> list[agents_pb2.LogBatch]:
        """Lines for the message with this number of a session, by lease; none while `UNSTORED` of its messages are not known to be stored."""
        if len(self._sent.get(session, ())) >= UNSTORED:
            return []
        lines: list[tuple[int, int, jobs_pb2.LogLine]] = []
        while self._waiting and len(lines) < limit and room.take(4 * len(self._waiting[0][2].text)):  # a character has up to 4 bytes
            lines.append(self._next())
        if not lines:
            return []
        self._sent.setdefault(session, deque()).append((number, lines))
        return batches(lines)

    def stored(self, session: object, number: int) -> None:
        """The lines of all messages of a session up to this number are stored."""
        sent = self._sent.get(session)
        while sent and sent[0][0] <= number:
            sent.popleft()

    def send_again(self, session: object) -> None:
        """The session's stream broke: what is not known to be stored is to be sent once more; the broker passes over what it has."""
        again = [line for _, lines in self._sent.pop(session, ()) for line in lines]
        self._waiting.extendleft(reversed(again))
        self._characters += sum([len(line.text) for _, _, line in again])

    def send_all_again(self) -> None:
        """The same for all sessions."""
        for session in list(self._sent):
            self.send_again(session)


def batches(lines: list[tuple[int, int, jobs_pb2.LogLine]]) -> list[agents_pb2.LogBatch]:
    """Lines grouped by their lease."""
    found: dict[tuple[int, int], agents_pb2.LogBatch] = {}
    for job_id, epoch, line in lines:
        batch = found.get((job_id, epoch))
        if batch is None:
            batch = found[job_id, epoch] = agents_pb2.LogBatch(lease=agents_pb2.LeaseRef(job_id=job_id, lease_epoch=epoch))
        batch.lines.append(line)
    return list(found.values())
