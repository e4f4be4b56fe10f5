"""An agent incarnation's standing with this broker: its credit, its leases, and what is to be sent to it.

A session outlives its stream: `stream` is None while the broker waits for the agent to come back. The stream's reader changes credit and heartbeat, the owner's
decisions change leases and what is to be sent, the stream's writer takes it; all in one event loop, none across an await.

Credit is absolute. The agent says how much room it had when it had seen Assign number k; what was sent later, or is granted and not sent yet, is subtracted.
"""

import asyncio
import functools
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from headrace_broker.model.job import Disposition, State
from headrace_broker.shards.live import Abort, Live
from headrace_broker.shards.types import TypeEntry
from headrace_broker.store.batch import Body, payload_of


@dataclass(frozen=True, slots=True)
class Served:
    """A type that an agent serves; `slots` 0: only the agent's total counts."""

    entry: TypeEntry
    slots: int
    executor: str


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """Who an agent is, as its Hello says."""

    agent_id: int
    name: str
    incarnation_id: str
    domain: str
    host: str
    pid: int
    build: str
    sdk: str
    labels: dict[str, str]
    first_seen: datetime


ACK_S = 0.05
"""How long acknowledgements wait for something to ride with: the agent merely remembers the outcomes for as long, and a message costs both sides some 100 us."""
ASSIGN_BYTES = 4 * 1024 * 1024
"""Payloads and checkpoints after which an Assign is full; with the last of them it stays well under what one message may hold."""
Assigned = tuple[Live, int, Body, bytes | None]
"""(job, lease epoch, body, checkpoint)"""


@dataclass(slots=True)
class Outbound:
    """What one message to the agent carries; true when it is to be sent. `acks`: by disposition, (job ids, lease epochs)."""

    assigned: list[Assigned] = field(default_factory=list)
    seen_no: int = 0  # of the assigned jobs: the agent's newest message when the first of them was granted
    acks: dict[Disposition, tuple[list[int], list[int]]] = field(default_factory=dict)
    acks_due: bool = False  # they do not wait any longer
    aborts: list[tuple[int, int, Abort]] = field(default_factory=list)
    revoked: list[tuple[int, int]] = field(default_factory=list)
    not_held: list[tuple[int, int]] = field(default_factory=list)
    proven_no: int = 0  # newest heartbeat to confirm; 0: none
    logs_no: int = 0
    go_away: str | None = None
    stay_away: bool = False

    @property
    def unread(self) -> int:
        """How much of what the agent itself has brought about waits to be sent."""
        return len(self.not_held) + sum([len(job_ids) for job_ids, _ in self.acks.values()])

    def __bool__(self) -> bool:
        return bool(self.assigned or self.acks_due or self.aborts or self.revoked or self.not_held or self.proven_no or self.logs_no or self.go_away)


class Wake:
    """Wakes the one task that waits, as an asyncio.Event does, without its queue of waiters: 800 bytes that thousands of idle agents would keep empty."""

    __slots__ = ("_set", "_waiter")

    def __init__(self) -> None:
        self._set = False
        self._waiter: asyncio.Future[None] | None = None

    def is_set(self) -> bool:
        """Whether `wait` returns at once."""
        return self._set

    def set(self) -> None:
        """Lets the waiter go on, and whoever waits before `clear`."""
        self._set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        """From now on `wait` waits."""
        self._set = False

    async def wait(self) -> None:
        """Until it is set. One task may wait at a time; cancelled, it leaves nothing behind."""
        if self._set:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


class Session:
    """See the module. Times are the loop's clock, in seconds. What an idle agent does not need is not there: a broker may have 10,000 of them."""

    def __init__(self, facts: AgentFacts, served: Iterable[Served], slots: int, now: float) -> None:
        self.facts = facts
        self.served = {s.entry.type_id: s for s in served}
        self.slots = slots
        self.columns = False  # the agent understands jobs and acknowledgements as columns
        self.leases: dict[int, Live] = {}
        self.stream: object | None = None  # token of the stream in use
        self.draining = False  # the agent said so
        self.held_back = False  # an operator said so
        self.paused = False  # agents of its name are
        self.lost = False  # its leases were ended: what its stream still says is of an agent that has to come back
        self.last_no = 0  # newest message of the stream
        self.last_heard = now
        self.renewed_at = now  # arrival of the newest heartbeat or Hello, or time of the newest grant
        self.closed_at: float | None = None
        self.beats: list[tuple[int, int]] = []  # heartbeats not confirmed yet: (message number, flush that was newest when it arrived)
        self._confirmed_at = -math.inf
        self._ack_timer: asyncio.TimerHandle | None = None
        self._taken_back: dict[tuple[int, int], None] = {}  # (job, lease epoch), told on this stream
        self._out: Outbound | None = None
        self.wake = Wake()
        self.free = 0
        self.type_free: dict[int, int] = {}  # of types with slots of their own
        self.unsent: dict[Live, None] = {}  # granted, their Assign not sent
        self.assign_no = 0
        self.accepted_no = 0
        self.unaccepted: list[tuple[int, float]] = []  # sent, not accepted: (number, when)
        self._credit_no = 0  # newest Assign that a credit has counted
        self._unseen: list[tuple[int, Counter[int]]] = []  # sent, not covered by a credit: (number, jobs by type id)

    @property
    def domain(self) -> str:
        """Where its jobs are."""
        return self.facts.domain

    @property
    def agent_id(self) -> int:
        """The life of the agent: its leases were granted to it."""
        return self.facts.agent_id

    def attach(self, stream: object, now: float) -> None:
        """A new stream carries the session; whatever the old one had not delivered is forgotten: the Hello said what the agent holds."""
        self.stream, self.closed_at = stream, None
        self.last_no = self.assign_no = self.accepted_no = self._credit_no = 0
        self.last_heard = self.renewed_at = now
        self.wake.set()  # the writer of an older stream sees that it is not the session's any more
        self._out, self.wake = None, Wake()
        self.beats.clear()
        self._taken_back.clear()
        self.unsent.clear()
        self._unseen.clear()
        self.unaccepted.clear()
        self.free, self.type_free = 0, {}
        self.draining = False

    def detach(self, now: float) -> None:
        """The stream is gone."""
        self.stream, self.closed_at, self.free = None, now, 0

    @functools.cached_property
    def label_items(self) -> frozenset[tuple[str, str]]:
        """The agent's labels."""
        return frozenset(self.facts.labels.items())

    @property
    def out(self) -> Outbound:
        """What the next message carries."""
        if self._out is None:
            self._out = Outbound()
        return self._out

    @property
    def due(self) -> bool:
        """Whether there is a next message."""
        return bool(self._out)

    @property
    def unread(self) -> int:
        """See `Outbound.unread`."""
        return self._out.unread if self._out is not None else 0

    @property
    def room(self) -> int:
        """How many jobs may be granted to it now."""
        return 0 if self.stream is None or self.lost or self.draining or self.held_back or self.paused else self.free

    def set_credit(self, assign_no: int, free: int, by_type: Iterable[tuple[int, int]]) -> None:
        """Takes a Credit: room for `free` jobs when Assign `assign_no` had arrived, and by type (type_id, free) where a type has slots of its own."""
        if assign_no < self._credit_no:  # counted before one that is here already: what was sent since is not subtracted any more
            return
        self._credit_no = assign_no
        while self._unseen and self._unseen[0][0] <= assign_no:
            del self._unseen[0]
        under_way = Counter([live.entry.type_id for live in self.unsent])
        for _, types in self._unseen:
            under_way.update(types)
        self.free = max(0, min(free, self.slots) - under_way.total())
        self.type_free = {type_id: max(0, room - under_way[type_id]) for type_id, room in by_type if type_id in self.served}

    def spend(self, type_id: int, count: int) -> None:
        """`count` jobs of a type were granted."""
        self.free -= count
        if type_id in self.type_free:
            self.type_free[type_id] -= count

    def room_for(self, type_id: int) -> int:
        """How many jobs of a type may be granted to it now."""
        return min(self.room, self.type_free.get(type_id, self.free))

    def accept(self, assign_no: int) -> None:
        """Every Assign up to this number arrived."""
        self.accepted_no = max(self.accepted_no, assign_no)
        while self.unaccepted and self.unaccepted[0][0] <= assign_no:
            del self.unaccepted[0]

    def accept_overdue(self, now: float, timeout_s: float) -> bool:
        """Whether an Assign was sent longer than `timeout_s` ago and not accepted."""
        return bool(self.unaccepted) and now - self.unaccepted[0][1] > timeout_s

    def revoke(self, job_id: int, epoch: int) -> None:
        """Tells the agent that a lease is taken back: once on each stream, although an attempt may not end yet since a transaction may complete its job."""
        if (job_id, epoch) in self._taken_back:
            return
        if len(self._taken_back) > 2 * len(self.leases) + 100:
            self._taken_back = {key: None for key in self._taken_back if key[0] in self.leases}
        self._taken_back[job_id, epoch] = None
        self.out.revoked.append((job_id, epoch))
        self.wake.set()

    def take_out(self, now: float) -> Outbound:
        """What is to be sent now; numbers the Assign."""
        out, self._out = self.out, None
        self.wake.clear()
        if out.aborts and self.unsent:  # the agent passes over what it has not been sent: that is told with the job
            out.aborts = [told for told in out.aborts if self.leases.get(told[0]) not in self.unsent]
        if out.assigned:
            self._number(out, now)
        return out

    def _number(self, out: Outbound, now: float) -> None:
        """Keeps the jobs that are still granted to this agent under the same lease and were not sent; they are the next Assign.

        What was granted before the agent came back without it is not: it is given back, in a later round.
        """
        number, unsent, room = self.assign_no + 1, self.unsent, ASSIGN_BYTES
        due: list[Assigned] = []
        for index, item in enumerate(out.assigned):
            live, epoch, body, checkpoint = item
            if live in unsent and live.session is self and live.seq == epoch and live.state is State.PROCESSING:
                live.assign_no = number
                del unsent[live]
                due.append(item)
                if live.abort is not None:
                    out.aborts.append((live.job_id, epoch, live.abort))
                room -= len(payload_of(body)) + (len(checkpoint) if checkpoint else 0)
                if room < 0:  # the rest is the next message
                    self.out.assigned = out.assigned[index + 1 :]
                    self.wake.set()
                    break
        out.assigned = due
        if due:
            self.assign_no = number
            out.seen_no = min([live.seen_no for live, *_ in due])
            self._unseen.append((number, Counter([live.entry.type_id for live, *_ in due])))
            self.unaccepted.append((number, now))

    def ack(self, job_ids: list[int], epochs: list[int], disposition: Disposition) -> None:
        """Queues what became of outcomes."""
        acked = self.out.acks.get(disposition)
        if acked is None:
            self.out.acks[disposition] = ([*job_ids], [*epochs])
        else:
            acked[0].extend(job_ids)
            acked[1].extend(epochs)
        if self.draining:
            self.send_acks()
        elif self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_S, self.send_acks)

    def send_acks(self) -> None:
        """What became of outcomes is to be told now."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self.out.acks:
            self.out.acks_due = True
            self.wake.set()

    def confirm(self, flushed: int, now: float, quiet_s: float) -> None:
        """A flush that began after flush `flushed` was the newest is durable: heartbeats that had arrived by then are confirmed.

        An agent without leases has none to renew: it hears from the broker every `quiet_s` seconds at most, which is as often as it must to know that it lives.
        """
        proven = 0
        while self.beats and self.beats[0][1] <= flushed:
            proven = self.beats.pop(0)[0]
        if proven and (self.leases or now - self._confirmed_at >= quiet_s):
            self._confirmed_at = now
            self.out.proven_no = proven
            self.wake.set()
