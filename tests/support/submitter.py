"""A submitter that may be killed at any time: `python -m tests.support.submitter BROKERS FILE RUN`.

Every job has a name of its own, which is its payload, and its key if it has one. The file tells, always before anything else happens:

    try NAME keyed|plain     it is about to be submitted
    got NAME JOB             it is stored
    none NAME WHY            the library says that nothing was stored; the name is never used again
    unknown NAME             the library does not know; a plain name is never used again, a keyed one is submitted until there is an answer
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable, Sequence

from headrace_client import Client, HeadraceError, JobSpec, ResultUnknown, Submitted, Unavailable

from tests.support.record import Writer

CALLERS = 6  # of each kind, one job a call
PAUSE_S = 0.2  # longest pause of a caller
MANY = 15  # jobs of a call of submit_many
MANY_PAUSE_S = 1.0
TIMEOUTS_S = (0.5, 5.0)

Results = list[Submitted | HeadraceError]


class Submitter:
    """Calls of all kinds, side by side."""

    def __init__(self, client: Client, writer: Writer, run: str) -> None:
        self._client = client
        self._writer = writer
        self._run = run
        self._number = 0

    async def one_by_one(self, kind: str) -> None:
        """Submits single jobs until it is killed."""
        while True:
            await asyncio.sleep(random.uniform(0, PAUSE_S))
            await self._settle(kind, [self._name()], self._submit)

    async def by_the_batch(self, kind: str) -> None:
        """Submits batches until it is killed."""
        while True:
            await asyncio.sleep(random.uniform(0, MANY_PAUSE_S))
            await self._settle(kind, [self._name() for _ in range(MANY)], self._submit_many)

    def _name(self) -> str:
        self._number += 1
        return f"{self._run}-{self._number}"

    async def _settle(self, kind: str, names: Sequence[str], submit: Callable[[str, Sequence[str]], Awaitable[Results]]) -> None:
        self._writer.write(*(("try", name, kind) for name in names))
        in_doubt: set[str] = set()
        while names:
            results = await submit(kind, names)
            again: list[str] = []
            lines: list[tuple[object, ...]] = []
            for name, result in zip(names, results, strict=True):
                if isinstance(result, Submitted):
                    lines.append(("got", name, result.job_id))
                elif isinstance(result, ResultUnknown) or name in in_doubt:
                    lines.append(("unknown", name))
                    in_doubt.add(name)
                    if kind == "keyed":
                        again.append(name)
                elif isinstance(result, Unavailable):
                    lines.append(("none", name, "_".join(str(result).split())))
                else:
                    raise result
            self._writer.write(*lines)
            names = again

    async def _submit(self, kind: str, names: Sequence[str]) -> Results:
        try:
            return [await self._client.submit("chaos", names[0], key=names[0] if kind == "keyed" else "", timeout_s=random.choice(TIMEOUTS_S))]
        except HeadraceError as error:
            return [error]

    async def _submit_many(self, kind: str, names: Sequence[str]) -> Results:
        return await self._client.submit_many([JobSpec("chaos", name, key=name if kind == "keyed" else "") for name in names])


async def main(brokers: str, path: str, run: str) -> None:
    """Submits until it is killed."""
    async with Client(brokers, timeout_s=3) as client, asyncio.TaskGroup() as tasks:
        submitter = Submitter(client, Writer(path), run)
        for kind in ("keyed", "plain"):
            tasks.create_task(submitter.by_the_batch(kind))
            for _ in range(CALLERS):
                tasks.create_task(submitter.one_by_one(kind))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
