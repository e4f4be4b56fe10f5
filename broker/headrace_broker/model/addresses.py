"""Hosts: which of them only this machine reaches."""

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether this name or address, IPv6 with or without brackets, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
