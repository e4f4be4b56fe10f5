"""Who wants to hear of durable changes: the waiters and watchers of the Jobs service.

Changes are published by the flusher after their commit, never before. A subscriber that does not read loses changes, not memory: its queue is bounded. The newest change
takes the place of the one before it then, and says that there is a gap; so whoever reads on comes to the last change there was, and hears of what is missing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from headrace_broker.model.job import State


@dataclass(frozen=True, slots=True)
class JobChange:
    """One durable change of a job. `kind` is the event's name in lower case, "submitted" for a new job. `gap`: changes before this one were left out."""

    job_id: int
    type_id: int
    state: State
    seq: int
    kind: str
    instance_id: str | None = None
    gap: bool = False


class Subscription:
    """Iterates over matching changes; ends when the owner ends. Use as a context manager."""

    def __init__(self, hub: "Hub", job_ids: frozenset[int], instance_id: str | None, of_type: Callable[[int], bool] | None, limit: int) -> None:
        self._hub = hub
        self.job_ids = job_ids
        self.instance_id = instance_id
        self._of_type = of_type
        self._limit = limit
        self._changes: deque[JobChange] = deque()
        self._closed = False
        self.wake = asyncio.Event()  # set when there is something to read; others may set it too, to wake who waits

    def __enter__(self) -> "Subscription":
        self._hub.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._hub.remove(self)

    def offer(self, change: JobChange) -> None:
        """Queues the change if it is wanted, where there is no room in the place of the one before."""
        if self._of_type is not None and not self._of_type(change.type_id):
            return
        if len(self._changes) < self._limit:
            self._changes.append(change)
        else:
            self._changes[-1] = replace(change, gap=True)
        self.wake.set()

    @property
    def closed(self) -> bool:
        """Whether the owner has ended: nothing more will come."""
        return self._closed

    def clear(self) -> None:
        """For who looks at the jobs themselves when woken: what is queued is not wanted, and the next wake-up is awaited."""
        self._changes.clear()
        self.wake.clear()

    def close(self) -> None:
        """Ends the iteration once what is queued was read."""
        self._closed = True
        self.wake.set()

    async def __aiter__(self) -> AsyncIterator[JobChange]:
        while True:
            while self._changes:
                yield self._changes.popleft()
            if self._closed:
                return
            self.wake.clear()
            await self.wake.wait()


class Hub:
    """The subscriptions of one owner. `active` says whether anybody listens: nobody collects changes otherwise."""

    def __init__(self) -> None:
        self._by_job: dict[int, set[Subscription]] = {}
        self._others: set[Subscription] = set()

    @property
    def active(self) -> bool:
        """Whether there is any subscription."""
        return bool(self._by_job or self._others)

    def subscribe(
        self, *, job_ids: frozenset[int] = frozenset(), instance_id: str | None = None, of_type: Callable[[int], bool] | None = None, limit: int = 1000
    ) -> Subscription:
        """A subscription to jobs by id or, when no id is given, by instance; without any, to all. `of_type`: to those of these types (by type_id) alone: what nobody
        wants takes no room."""
        return Subscription(self, job_ids, instance_id, of_type, limit)

    def publish(self, changes: list[JobChange]) -> None:
        """Hands changes to those who asked for them."""
        for change in changes:
            for subscription in self._by_job.get(change.job_id, ()):
                subscription.offer(change)
            for subscription in self._others:
                if subscription.instance_id is None or change.instance_id == subscription.instance_id:
                    subscription.offer(change)

    def publish_late(self, change: JobChange) -> None:
        """A change that was published without its instance, which was not known: for those who listen to that."""
        for subscription in self._others:
            if subscription.instance_id is not None and change.instance_id == subscription.instance_id:
                subscription.offer(change)

    def add(self, subscription: Subscription) -> None:
        """From now on the subscription is offered what matches."""
        if not subscription.job_ids:
            self._others.add(subscription)
        for job_id in subscription.job_ids:
            self._by_job.setdefault(job_id, set()).add(subscription)

    def remove(self, subscription: Subscription) -> None:
        """The subscription is offered nothing any more."""
        self._others.discard(subscription)
        for job_id in subscription.job_ids:
            listeners = self._by_job.get(job_id, set())
            listeners.discard(subscription)
            if not listeners:
                self._by_job.pop(job_id, None)

    def close(self) -> None:
        """Ends all subscriptions."""
        for subscription in {*self._others, *(s for listeners in self._by_job.values() for s in listeners)}:
            subscription.close()
