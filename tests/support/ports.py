"""Ports for servers that must know theirs before they start, since others are told of it, or since they are started there again.

A port that is merely free may be taken the next moment. These lie below those that the kernel gives to whoever asks for any port, and a process keeps what it was given
from all others that ask here: an abstract socket is its sign, which nobody has to clean up.
"""

import random
import socket
from contextlib import ExitStack, suppress
from pathlib import Path

LOWEST = 10_000
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

_kept = ExitStack()  # for as long as this process lives


def free_ports(count: int) -> list[int]:
    """Ports on which this process, and nobody else, may start servers for as long as it lives."""
    highest = min(int(RANGE.read_text().split()[0]), 32_768) if RANGE.exists() else 32_768
    candidates = random.sample(range(LOWEST, highest), min(2000, highest - LOWEST))
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            break
        if _keep(port):
            found.append(port)
    assert len(found) == count, f"only {len(found)} of {count} ports are free"
    return found


def _keep(port: int) -> bool:
    """Whether nobody had it; then it is ours."""
    sign = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with suppress(OSError):
        sign.bind(f"\0headrace-test-port-{port}")
        with socket.socket() as tried:
            tried.bind(("127.0.0.1", port))
        _kept.callback(sign.close)
        return True
    sign.close()
    return False
