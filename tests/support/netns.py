"""Networks of their own for processes (network namespaces): a link to this machine whose packets can be dropped, in either direction, without anybody being told.

Packets are sent to an address on the link that nobody has, so they are lost as on a cable that was cut: no reset, no error, no carrier that goes.
"""

import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

NOBODY = "02:00:00:00:00:99"
_numbers = itertools.count()


@dataclass(frozen=True)
class Link:
    """`here` and `there`: addresses of this machine and of the namespace on the link."""

    namespace: str
    here: str
    there: str
    device_here: str
    device_there: str

    def drop_from_there(self) -> None:
        """Nothing comes from the namespace any more."""
        _ip("-n", self.namespace, "neigh", "replace", self.here, "lladdr", NOBODY, "dev", self.device_there, "nud", "permanent")

    def drop_from_here(self) -> None:
        """Nothing reaches the namespace any more."""
        _ip("neigh", "replace", self.there, "lladdr", NOBODY, "dev", self.device_here, "nud", "permanent")

    def heal(self) -> None:
        """Both directions work."""
        _ip("-n", self.namespace, "neigh", "flush", "dev", self.device_there, "nud", "permanent")
        _ip("neigh", "flush", "dev", self.device_here, "nud", "permanent")


class Namespace:
    """A network with nothing in it but its loopback and its links. `wrap` goes before a command that is to run in it."""

    def __init__(self) -> None:
        self.name = f"hr-{os.getpid()}-{next(_numbers)}"
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        self._devices: list[str] = []

    @property
    def wrap(self) -> tuple[str, ...]:
        """The beginning of a command line."""
        return ("ip", "netns", "exec", self.name)

    def link(self) -> Link:
        """One more link to this machine."""
        number = next(_numbers)
        place = (os.getpid() * 8 + number) % 16384  # which /30 of 198.18.0.0/16, addresses for tests of networks (RFC 2544)
        net = f"198.18.{place >> 6}.{(place & 63) * 4}".rsplit(".", 1)
        link = Link(self.name, f"{net[0]}.{int(net[1]) + 1}", f"{net[0]}.{int(net[1]) + 2}", f"hra{os.getpid() % 100000}x{number}", f"hrb{os.getpid() % 100000}x{number}")
        _ip("link", "add", link.device_here, "type", "veth", "peer", "name", link.device_there, "netns", self.name)
        self._devices.append(link.device_here)
        _ip("addr", "add", f"{link.here}/30", "dev", link.device_here)
        _ip("link", "set", link.device_here, "up")
        _ip("-n", self.name, "addr", "add", f"{link.there}/30", "dev", link.device_there)
        _ip("-n", self.name, "link", "set", link.device_there, "up")
        return link

    def close(self) -> None:
        """Removes it with its links; processes in it must have ended."""
        for device in self._devices:
            subprocess.run(["ip", "link", "del", device], capture_output=True, check=False)
        _ip("netns", "del", self.name)


@contextmanager
def namespace() -> Iterator[Namespace]:
    """A namespace while the body runs."""
    space = Namespace()
    try:
        yield space
    finally:
        space.close()


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
