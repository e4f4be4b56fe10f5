"""Has each broker own as many of the shards as the others: what `model/balance.py` decides, done.

Every broker says each second that it is awake, and looks at what lives. A free shard is taken at once by the first in line; the others wait a little longer each, so
that it is never left when the first one does not take it. A broker that is to give a shard away does so only while the set of brokers has been the same for a while,
and then waits until another one has it before it looks again. A broker that met an error in a shard says so with that, and is given the shard by nobody for a while.
"""

import asyncio
import functools
import random
from collections.abc import Sequence

import structlog

from headrace_broker import passes
from headrace_broker.model.balance import place_in_line, to_give
from headrace_broker.shards.ownership import Ownership
from headrace_broker.store.brokers import BrokerStore
from headrace_broker.store.pool import ANY_FAILURE

PERIOD_S = 1.0
STEADY_S = 3.0
EACH_S = 0.3
"""How much longer each in the line waits for a free shard than the one before."""
LONGEST_S = 0.9
TAKEN_S = 5.0
"""So long a shard that was given away is waited for; one that nobody has taken then is free, and nothing moves while one is."""
LOOK_S = 0.1

log = structlog.get_logger("headrace.balance")


class Balance:
    """Of one broker process; `ownerships` by the number of the shard."""

    def __init__(self, broker: str, ownerships: Sequence[Ownership], store: BrokerStore) -> None:
        self._broker = broker
        self._ownerships = ownerships
        self._store = store
        self._seen: frozenset[str] = frozenset()
        self._steady_since = 0.0
        for number, ownership in enumerate(ownerships):
            ownership.take_delay = functools.partial(self.take_delay, number)
            ownership.say_avoided = self._say_avoided

    async def run(self) -> None:
        """Keeps the balance until cancelled."""
        async with asyncio.TaskGroup() as tasks:  # brokers do not march in step
            tasks.create_task(passes.keep(self._beat, "not told that this broker is awake", log.debug, period_s=PERIOD_S * random.uniform(0.8, 1.0)))
            tasks.create_task(passes.keep(self._keep, "shards not balanced", log.debug, period_s=PERIOD_S * random.uniform(0.9, 1.1)))

    async def take_delay(self, shard: int) -> float:
        """How long others may take a shard that is free before this broker does, in seconds."""
        try:
            place = place_in_line(await self._store.standing(len(self._ownerships)), shard, self._broker)
        except ANY_FAILURE as error:
            log.debug("brokers not seen", reason=str(error))
            place = None
        return LONGEST_S if place is None else min(LONGEST_S, EACH_S * place)

    async def run_once(self) -> int | None:
        """Gives a shard away if there is one to give; returns its number once another broker has it, or nobody took it in time. Raises what asyncpg raises."""
        loop, of = asyncio.get_running_loop(), len(self._ownerships)
        standing = await self._store.standing(of)
        if standing.brokers != self._seen:
            self._seen, self._steady_since = standing.brokers, loop.time()
        shard = to_give(standing, self._broker)
        if shard is None or loop.time() - self._steady_since < STEADY_S or not self._ownerships[shard].ready.is_set():
            return None
        log.info("giving a shard away", shard=shard, owned=standing.loads()[self._broker])
        await self._ownerships[shard].hand_over()
        until = loop.time() + TAKEN_S
        while loop.time() < until and (await self._store.standing(of)).owners.get(shard, self._broker) == self._broker:
            await asyncio.sleep(LOOK_S)
        return shard

    async def _keep(self) -> None:
        while await self.run_once() is not None:
            pass

    async def _beat(self) -> None:
        await self._store.beat(self._broker, [number for number, ownership in enumerate(self._ownerships) if ownership.avoided])

    async def _say_avoided(self) -> None:
        try:
            await self._beat()
        except ANY_FAILURE as error:  # the next beat says it
            log.debug("not told which shards this broker is not to be given", reason=str(error))
