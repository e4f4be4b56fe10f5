"""Outcomes that agents have reported and that nobody has decided yet: how many of each agent wait, and about how large they are.

While the database is away nothing is decided, and of leases that memory does not know the ledger has to tell. None of these outcomes may be passed over: another broker
may have granted the lease since, or a takeover have left it open. So what an agent brings is bounded instead. One that has brought more than any needs is not listened to
until some of it is decided: its stream ends, its calls are refused. It keeps its outcomes until they are acknowledged, and reports them again when it comes back.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace_broker.model.errors import Busy
from headrace_broker.shards.intents import AckSink, Completions, Ending

if TYPE_CHECKING:
    from headrace_broker.shards.owner import Owner

MOST = 200_000
"""Of one agent: each of the leases that it can have at most, twice. Some 50 MB."""
MOST_BYTES = 64 * 1024 * 1024
"""Of their results and errors."""
RETRY_S = 1.0


class Undecided:
    """Of one owner, by the life of the agent. Written by RPC handlers (`take`) and by who tells agents what became of outcomes (`told`)."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[int, int]] = {}  # agent_id -> (outcomes, bytes)

    def count(self, agent_id: int) -> int:
        """How many outcomes of an agent wait."""
        return self._waiting.get(agent_id, (0, 0))[0]

    def take(self, agent_id: int, reported: Sequence[Ending | Completions]) -> None:
        """Counts outcomes that an agent reports. Raises Busy, and counts none of them, when too many wait. What comes alone is taken, however large it is."""
        waiting, size = self._waiting.get(agent_id, (0, 0))
        count, more = sum(map(_count, reported)), sum(map(_size, reported))
        if waiting and (waiting + count > MOST or size + more > MOST_BYTES):
            raise Busy(f"{waiting} outcomes of this agent wait to be decided; it is heard again when they are", RETRY_S)
        if count:
            self._waiting[agent_id] = waiting + count, size + more

    def forget(self) -> None:
        """Nothing waits. What was counted and never told, since its lease ended otherwise, is not held against its agent for ever."""
        self._waiting.clear()

    def told(self, agent_id: int, count: int) -> None:
        """So many outcomes of an agent are decided. Which ones is not asked: they are taken to be as large as the others."""
        waiting, size = self._waiting.get(agent_id, (0, 0))
        if waiting > count:
            self._waiting[agent_id] = waiting - count, size * (waiting - count) // waiting
        else:
            self._waiting.pop(agent_id, None)


def report(owner: "Owner", sink: AckSink, reported: Sequence[Ending | Completions]) -> None:
    """Queues outcomes of the sink's agent, who is told what became of each. Raises Busy, and queues none of them, when too many of it wait."""
    owner.undecided.take(sink.agent_id, reported)
    owner.end(reported)


def _count(reported: Ending | Completions) -> int:
    return len(reported) if isinstance(reported, Completions) else 1


def _size(reported: Ending | Completions) -> int:
    if isinstance(reported, Completions):
        return sum(map(len, reported.results)) if reported.results is not None else 0
    return len(reported.result or b"") + len(reported.error or "")
