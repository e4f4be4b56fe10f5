"""Hosts: which of them only this machine reaches; and the servers that a database URL names."""

from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, urlencode

READ_WRITE = "read-write"
MAX_PORT = 65535


def is_loopback(host: str) -> bool:
    """Whether this name or address, IPv6 with or without brackets, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def split(dsn: str) -> SplitResult:
    """The parts of a database URL, which may have several hosts: the library's own function refuses those of which the second has brackets."""
    scheme, _, rest = dsn.partition("://")
    before, question, query = rest.partition("?")
    netloc, slash, path = before.partition("/")
    return SplitResult(scheme, netloc, slash + path, query if question else "", "")


def each_server(dsn: str) -> list[str]:
    """A URL for each host that a URL names, as libpq reads them: `HOST:PORT,HOST:PORT` before the path, or `host=` and `port=` with commas behind it."""
    parts = split(dsn)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    user, at, before = parts.netloc.rpartition("@")
    hosts = (before or query.get("host", "")).split(",")
    ports = query.get("port", "").split(",")
    if len(hosts) == 1:
        return [dsn]
    found = []
    for number, host in enumerate(hosts):
        own = {name: value for name, value in query.items() if name not in ("host", "port")}
        port = ports[number if len(ports) == len(hosts) else 0]
        if port:
            own["port"] = port
        if not before:
            own["host"] = host
        found.append(f"{parts.scheme}://{user}{at}{host if before else ''}{parts.path}?{urlencode(own)}".rstrip("?"))
    return found


def is_readable(dsn: str) -> bool:
    """Whether the hosts, ports and parameters of a URL can be told apart; a password with a `/`, `@`, `?` or `#` of its own is taken for the beginning of one of them."""
    parts = split(dsn)
    user, _, hosts = parts.netloc.rpartition("@")
    fields = parts.query.split("&") if parts.query else []
    if "@" in user + parts.path or "#" in dsn or not all("=" in field for field in fields):
        return False
    ports = dict(parse_qsl(parts.query)).get("port", "").split(",")
    for host in hosts.split(","):
        if host.startswith("["):
            _, bracket, port = host.partition("]")
            if not bracket or (port and not port.startswith(":")):
                return False
            ports.append(port[1:])
        else:
            ports.append(host.partition(":")[2])
    return all(not port or (port.isascii() and port.isdigit() and int(port) <= MAX_PORT) for port in ports)


def asked_for(dsn: str) -> str:
    """Which kind of server the URL asks for (`target_session_attrs`); a broker needs one that takes writes, which is also what no word means."""
    return dict(parse_qsl(split(dsn).query)).get("target_session_attrs", READ_WRITE)


def shown(server: str) -> str:
    """Of a URL with one host: where it is, and nothing secret."""
    parts = split(server)
    query = dict(parse_qsl(parts.query))
    host = parts.netloc.rpartition("@")[2] or query.get("host", "")
    return f"{host}:{query['port']}" if "port" in query else host
