"""Submits that replace the job that has their unique key (`on_conflict`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headrace_proto.v1 import types_pb2

from headrace_broker.model.audit import Caller
from headrace_broker.model.errors import BrokerError, Busy, QueueFull, UniqueKeyTaken
from headrace_broker.model.job import State
from headrace_broker.shards import replacing
from headrace_broker.shards.intents import NewJob
from headrace_broker.shards.owner import Owner
from headrace_broker.store.heads import Heads, ReadFailed

if TYPE_CHECKING:
    from headrace_broker.rpc.admission import Patience
    from headrace_broker.rpc.submit import SubmitCalls

TRIES = 20


@dataclass(frozen=True, slots=True)
class Wish:
    """A job that is to replace the one with its unique key; `index`: its place in the request, `size` that of its payload."""

    index: int
    spec: types_pb2.JobSpec
    job: NewJob
    size: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What a wish came to. `existing`: a job had one of its keys; `replaced`: that one, and it is as the wish says now."""

    job_id: int
    existing: bool = False
    replaced: bool = False


async def in_turn(calls: "SubmitCalls", owner: Owner, heads: Heads, caller: Caller, wishes: Sequence[Wish], patience: "Patience") -> list[Stored | BrokerError]:
    """Jobs with one unique key, in order: the first is stored if the key is free, and whoever has the key becomes each of the others."""
    found: list[Stored | BrokerError] = []
    tries = 0
    while len(found) < len(wishes):
        wish = wishes[len(found)]
        try:
            holder = 0
            job_id, existing = await (await calls._queue_keyed(owner, wish.spec, wish.job, wish.size, patience))
            found.append(Stored(job_id, existing))
        except UniqueKeyTaken as taken:
            holder = taken.job_id
        except QueueFull as full:  # one that replaces another needs no room
            holder = await _holder(heads, wish) if not wish.spec.idempotency_key else 0
            if not holder:
                found.append(full)
        except BrokerError as error:
            found.append(error)
        if not holder:
            tries = 0
            continue
        before = len(found)
        found += await _replace(owner, heads, caller, holder, _alike(wishes, before))
        tries = tries + 1 if len(found) == before else 0
        if tries == TRIES:
            found.append(Busy(f"the unique key {wish.spec.unique_key!r} changes hands too fast; try again", retry_after_s=1.0))
    return found


def _alike(wishes: Sequence[Wish], first: int) -> list[Wish]:
    """The wishes from `first` on that can be decided together: whether an idempotency key is known has to be looked up for each."""
    end = first + 1
    while end < len(wishes) and not wishes[end].spec.idempotency_key:
        end += 1
    return list(wishes[first:end])


async def _replace(owner: Owner, heads: Heads, caller: Caller, holder: int, wishes: Sequence[Wish]) -> list[Stored | BrokerError]:
    """What became of those wishes that were decided before the holder was settled."""
    found: list[Stored | BrokerError] = []
    try:
        done = await replacing.replace(owner, heads, holder, [wish.job for wish in wishes], caller=caller)
    except BrokerError as error:
        return [error] * len(wishes)
    for change in done:
        if change is None:
            break
        found.append(change.error if change.error is not None else Stored(holder, existing=True, replaced=change.state is State.WAITING))
    return found


async def _holder(heads: Heads, wish: Wish) -> int:
    """Who has the unique key; 0: nobody, or it cannot be told."""
    name = (wish.job[0].domain_id, wish.spec.unique_key)
    try:
        return (await heads.unique_holders([name])).get(name, 0)
    except ReadFailed:
        return 0
