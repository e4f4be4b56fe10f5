"""Submissions that wait for their round. Domains take turns, by weight, so that one that submits without end keeps no other waiting."""

from collections import deque
from collections.abc import Iterator

from headrace_broker.shards.domains import DomainEntry
from headrace_broker.shards.intents import NewJob, PlainJobs, Submission

QUANTUM_JOBS = 500  # of a domain of weight 1 in one turn


def domain_of(jobs: list[NewJob] | PlainJobs) -> DomainEntry:
    """The domain of a submission: calls are made in one."""
    return (jobs.entry if isinstance(jobs, PlainJobs) else jobs[0][0]).domain_entry


class Intake:
    """Deficit round robin (Shreedhar and Varghese, "Efficient Fair Queuing Using Deficit Round-Robin", 1995) over domains; first in, first out within each.

    A domain owes turns only for what it sent while others waited.
    """

    def __init__(self) -> None:
        self._queues: dict[DomainEntry, deque[Submission]] = {}  # in turn
        self._left: dict[DomainEntry, float] = {}  # jobs of the present turn
        self._jobs: dict[DomainEntry, int] = {}

    def __bool__(self) -> bool:
        return bool(self._queues)

    def __iter__(self) -> Iterator[Submission]:
        for queue in self._queues.values():
            yield from queue

    def jobs(self, domain: DomainEntry) -> int:
        """Jobs of a domain that wait here."""
        return self._jobs.get(domain, 0)

    def put(self, submission: Submission) -> None:
        """Adds one."""
        domain = domain_of(submission.jobs)
        queue = self._queues.get(domain)
        if queue is None:
            queue = self._queues[domain] = deque()
            self._jobs[domain] = 0
        queue.append(submission)
        self._jobs[domain] += len(submission.jobs)

    def pop(self) -> Submission:
        """The next one; there must be one."""
        while True:
            domain, queue = next(iter(self._queues.items()))
            left = self._left.get(domain, 0.0)
            if len(self._queues) > 1 and left <= 0:
                self._left[domain] = left + QUANTUM_JOBS * domain.weight
                self._queues[domain] = self._queues.pop(domain)  # to the end; what it may send now, it sends when its turn comes again
                continue
            submission = queue.popleft()
            self._left[domain] = left - len(submission.jobs) if len(self._queues) > 1 else 0.0  # alone it takes from nobody, and owes nothing
            self._jobs[domain] -= len(submission.jobs)
            if not queue:
                del self._queues[domain], self._jobs[domain]
                self._left.pop(domain)
            return submission

    def clear(self) -> None:
        """Drops all of them."""
        self._queues.clear()
        self._left.clear()
        self._jobs.clear()
