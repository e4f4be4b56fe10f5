"""What RPC services ask for, where they are asked without a network: the owner of a machine, and a call."""

import asyncio

from tests.property.machine import Machine


class Ownership:
    """What services ask for their owner."""

    def __init__(self, machine: Machine) -> None:
        self.owner = machine.owner
        self.left = asyncio.Event()


class Call:
    """A call without metadata."""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()
