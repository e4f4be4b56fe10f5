"""A submitter that may be killed at any time: `python -m tests.support.submitter BROKERS FILE RUN`.

Writes "try KEY" before each submit, and "got KEY JOB" once it is acknowledged.
"""

import asyncio
import os
import sys

from headrace_client import Client, HeadraceError

CALLERS = 8


async def main(brokers: str, path: str, run: str) -> None:
    """Submits until it is killed."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    number = 0

    async def caller(client: Client) -> None:
        nonlocal number
        while True:
            number += 1
            key = f"{run}-{number}"
            os.write(file, f"try {key}\n".encode())
            while True:
                try:
                    submitted = await client.submit("chaos", key, key=key, timeout_s=5)
                    break
                except HeadraceError:
                    continue
            os.write(file, f"got {key} {submitted.job_id}\n".encode())

    async with Client(brokers) as client, asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(caller(client))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
