"""The load of soak.py, in a process of its own: open-loop arrivals of a mix, and single submits whose time is told one by one; a line of JSON about each second.

Of the jobs 55 % are quick, 40 % mixed, 1 % carry an idempotency key, 4 % wait up to a minute; payloads are of 100 bytes (80 %), 2 kB (18 %) and 50 kB (2 %). With
`--at-once` none of them waits for a time: so the rate is found without waiting for a minute each time.
"""

import argparse
import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import uvloop
from headrace_client import Client, HeadraceError, JobSpec, Submitted

CALL = 25  # jobs in a call
PROBES_PER_S = 100.0  # of the rate
MOST_OPEN = 200  # calls
STEP_S = 0.002
PAYLOADS = [b'"' + b"x" * size + b'"' for size in (100, 2_000, 50_000)]


class Mix:
    """The mix, and what became of it in the present second."""

    def __init__(self, client: Client, delays: bool) -> None:
        self._client = client
        self._delays = delays
        self._numbers = itertools.count()
        self.running: set[asyncio.Task[None]] = set()
        self.calls: list[float] = []  # seconds of the calls of this second
        self.probes: list[float] = []
        self.stored = 0
        self.lag_s = 0.0  # longest time that this process itself came too late
        self.refused: Counter[str] = Counter()

    def spec(self) -> JobSpec:
        """One job."""
        size, chance = random.random(), random.random()
        payload = PAYLOADS[(size > 0.8) + (size > 0.98)]
        if chance < 0.01:
            return JobSpec("soak.keyed", payload=PAYLOADS[0], key=f"{time.time_ns()}-{next(self._numbers)}")
        if chance < 0.05 and self._delays:
            return JobSpec("soak.quick", payload=payload, delay_s=60 * random.random())
        return JobSpec("soak.mixed" if chance < 0.45 else "soak.quick", payload=payload)

    async def call(self) -> None:
        """Many in one call."""
        await self._timed([self.spec() for _ in range(CALL)], self.calls)

    async def probe(self) -> None:
        """A single submit."""
        await self._timed([JobSpec("soak.quick", payload=PAYLOADS[0])], self.probes)

    async def _timed(self, specs: list[JobSpec], times: list[float]) -> None:
        started = time.monotonic()
        results: list[Submitted | HeadraceError]
        try:
            results = [await self._client.submit(specs[0].type, payload=specs[0].payload)] if len(specs) == 1 else await self._client.submit_many(specs)
        except HeadraceError as error:
            results = [error]
        times.append(time.monotonic() - started)
        for result in results:
            if isinstance(result, HeadraceError):
                self.refused[result.message[:80]] += 1
            else:
                self.stored += 1

    def say(self) -> None:
        """Tells of the second that ends, and begins the next."""
        line = {
            "at": time.monotonic(), "stored": self.stored, "calls_max_ms": max(self.calls, default=0.0) * 1000, "probes": len(self.probes),
            "probe_p50_ms": sorted(self.probes)[len(self.probes) // 2] * 1000 if self.probes else 0.0, "probe_max_ms": max(self.probes, default=0.0) * 1000,
            "refused": dict(self.refused), "open": len(self.running), "lag_max_ms": self.lag_s * 1000,
        }  # fmt: skip
        print(json.dumps(line), flush=True)
        self.calls, self.probes, self.stored, self.lag_s, self.refused = [], [], 0, 0.0, Counter()


async def load(address: str, rate: float, seconds: float, delays: bool) -> None:
    """The load for so long."""
    loop = asyncio.get_running_loop()
    async with Client(address) as client, asyncio.TaskGroup() as tasks:
        mix = Mix(client, delays)
        began, sent, probed, said = loop.time(), 0, 0, 0
        while (elapsed := loop.time() - began) < seconds:
            for _ in range(min(int(elapsed * max(0.0, rate - PROBES_PER_S) / CALL) - sent, MOST_OPEN - len(mix.running))):
                _start(tasks, mix.running, mix.call())
                sent += 1
            while probed < elapsed * PROBES_PER_S and len(mix.running) < MOST_OPEN:
                _start(tasks, mix.running, mix.probe())
                probed += 1
            probed = max(probed, int(elapsed * PROBES_PER_S))
            if elapsed >= said + 1:
                said += 1
                mix.say()
            before = loop.time()
            await asyncio.sleep(STEP_S)
            mix.lag_s = max(mix.lag_s, loop.time() - before - STEP_S)


def _start(tasks: asyncio.TaskGroup, running: "set[asyncio.Task[None]]", coroutine: Coroutine[Any, Any, None]) -> None:
    task = tasks.create_task(coroutine)
    running.add(task)
    task.add_done_callback(running.discard)


def main() -> None:
    """ADDRESS RATE SECONDS"""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address")
    parser.add_argument("rate", type=float)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--at-once", action="store_true", help="no job waits for a time")
    arguments = parser.parse_args()
    uvloop.run(load(arguments.address, arguments.rate, arguments.seconds, delays=not arguments.at_once))


if __name__ == "__main__":
    main()
