"""Wrong passwords, counted by the name that was typed and by the address that they came from."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from headrace_broker.web.throttle import ADDRESSES, NAMES, Throttle


class Guesses:
    """See `throttle`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._names = Throttle(NAMES, monotonic)
        self._addresses = Throttle(ADDRESSES, monotonic)

    def begin(self, name: str, address: str) -> float:
        """Counts a try, before it is looked at; returns 0, or how long to wait until one is looked at. `name` empty: what is tried cannot be guessed."""
        name, address = name.lower(), network(address)
        wait_s = max(self._addresses.wait_s(address), self._names.wait_s(name) if name else 0.0)
        if wait_s <= 0:
            self._addresses.tried(address)
            if name:
                self._names.tried(name)
        return wait_s

    def right(self, name: str, address: str) -> None:
        """The last try was right. What was wrong before goes on being counted of the address: whoever has one right password may guess another one."""
        self._addresses.take_back(network(address))
        if name:
            self._names.forgive(name.lower())


def network(address: str) -> str:
    """Whose address it is: of IPv6 the first half, since the other half is the holder's own to choose. An IPv4 one is itself, also on a listener of both."""
    try:
        known = ip_address(address)
    except ValueError:
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(IPv6Address(int(known) >> 64 << 64)) if isinstance(known, IPv6Address) else address
