"""Three Postgres servers under Patroni, with etcd, on loopback ports: as users run it. Everything is below one directory and ends with the context.

etcd and Postgres are Debian's packages (etcd-server, postgresql), Patroni is that of HEADRACE_PATRONI, a directory made by `pip install --target`, else Debian's
(patroni). As root all of it runs as the user postgres, as Debian's own units would have it.
"""

import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.ports import free_ports
from tests.support.processes import alive, children

NAMES = ("one", "two", "three")
TTL_S = 20  # the least that Patroni advises: so long after its last sign of life a primary is given up
LOOP_S = 2
RETRY_S = 5
WHOLE_S = 180.0
PASSWORD = "postgres"  # of servers on loopback, for the time of a test
PARAMETERS = {"max_connections": 100, "shared_buffers": "64MB", "wal_level": "replica", "wal_keep_size": "256MB", "hot_standby": True, "log_line_prefix": "%m [%p] %a "}
CONFIG: dict[str, Any] = {
    "ttl": TTL_S,
    "loop_wait": LOOP_S,
    "retry_timeout": RETRY_S,
    "maximum_lag_on_failover": 16 << 20,
    "synchronous_mode": True,
    "postgresql": {"use_pg_rewind": True, "parameters": PARAMETERS},
}


class Program:
    """A Patroni that the user of the servers can run: its command, what its environment has more, and its version."""

    def __init__(self, directory: Path) -> None:
        """`directory`: for a copy, where the user could not read it."""
        self.command, self.environment = ["patroni"], dict[str, str]()
        chosen = os.environ.get("HEADRACE_PATRONI")
        if chosen:
            shutil.copytree(chosen, directory / "program")
            python = "/usr/bin/python3" if os.geteuid() == 0 else sys.executable
            self.command, self.environment = [python, "-m", "patroni"], {"PYTHONPATH": str(directory / "program")}
        found = shutil.which(self.command[0], path="/usr/bin:/usr/sbin:/usr/local/bin") is not None
        said = subprocess.run([*self.command, "--version"], env={**os.environ, **self.environment}, capture_output=True, text=True, check=False).stdout if found else ""
        match = re.search(r"(\d+)\.(\d+)\.(\d+)", said)
        self.version = tuple(map(int, match.groups())) if match else ()


class Node:
    """One machine: a Patroni and the Postgres that it runs."""

    def __init__(self, name: str, directory: Path, program: Program, bin_dir: Path, postgres_port: int, rest_port: int, etcd_port: int) -> None:
        self.name = name
        self.directory = directory
        self.port = postgres_port
        self._rest = f"http://127.0.0.1:{rest_port}"
        self._program = program
        directory.mkdir(mode=0o700)
        give(directory)
        self._config = directory / "patroni.json"  # JSON is YAML
        place = f"127.0.0.1:{postgres_port}"
        users = {"superuser": "postgres", "replication": "replicator", "rewind": "rewinder"}
        self._config.write_text(
            json.dumps(
                {
                    "scope": "headrace",
                    "name": name,
                    "restapi": {"listen": f"127.0.0.1:{rest_port}", "connect_address": f"127.0.0.1:{rest_port}"},
                    "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
                    "bootstrap": {"dcs": CONFIG, "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, "data-checksums"]},
                    "postgresql": {
                        "listen": place,
                        "connect_address": place,
                        "data_dir": str(directory / "data"),
                        "bin_dir": str(bin_dir),
                        "pgpass": str(directory / "pgpass"),
                        "authentication": {kind: {"username": user, "password": PASSWORD} for kind, user in users.items()},
                        "parameters": {"unix_socket_directories": ""},
                        "pg_hba": ["host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
                    },
                    "watchdog": {"mode": "off"},
                }
            )
        )
        give(self._config)
        self._patroni: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts Patroni, which starts Postgres."""
        self._patroni = _popen([*self._program.command, str(self._config)], self.directory / "patroni.log", self._program.environment)

    def pids(self) -> list[int]:
        """Everything of this machine that runs: Patroni and what it has started, Postgres and its processes."""
        found = [self._patroni.pid, *_descendants(self._patroni.pid)] if self._patroni is not None and self._patroni.poll() is None else []
        return [*found, *(pid for pid in self.postgres_pids() if pid not in found)]

    def postgres_pids(self) -> list[int]:
        """Postgres's first process and the others."""
        try:
            pid = int((self.directory / "data" / "postmaster.pid").read_text().split()[0])
        except (OSError, IndexError, ValueError):
            return []
        return [pid, *children(pid)] if alive(pid) and "postgres" in Path(f"/proc/{pid}/stat").read_text() else []

    def walsenders(self) -> list[int]:
        """Its processes that send to standbys."""
        return [pid for pid in self.postgres_pids()[1:] if b"walsender" in _title(pid)]

    def signal(self, number: signal.Signals, pids: list[int] | None = None) -> None:
        """Sends it to all processes of the machine, or to those."""
        for pid in self.pids() if pids is None else pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def die(self) -> None:
        """The machine is switched off."""
        self.signal(signal.SIGKILL)
        if self._patroni is not None:
            self._patroni.wait()
            self._patroni = None

    def ask(self, path: str, method: str = "GET", body: dict[str, Any] | None = None, timeout_s: float = 3.0) -> Any:
        """What Patroni's REST API says; None: it does not answer. A refusal is an error."""
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self._rest}{path}", data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                text = answer.read().decode()
        except urllib.error.HTTPError as error:
            if error.code == 503:
                return None
            raise AssertionError(f"{method} {path} at {self.name}: {error.code} {error.read().decode()}") from error
        except OSError:
            return None
        try:
            return json.loads(text)
        except ValueError:
            return text


class Patroni:
    """The cluster."""

    def __init__(self, directory: Path, program: Program, bin_dir: Path) -> None:
        ports = free_ports(2 + 2 * len(NAMES))
        self.directory = directory
        (directory / "etcd").mkdir()
        give(directory / "etcd")
        self._etcd_ports = ports[:2]
        self._etcd: subprocess.Popen[bytes] | None = None
        self.program = program
        self.nodes = [Node(name, directory / name, program, bin_dir, ports[2 + 2 * n], ports[3 + 2 * n], ports[0]) for n, name in enumerate(NAMES)]

    def start(self) -> None:
        """Starts etcd, then all nodes; returns when the cluster is whole."""
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        self._etcd = _popen(
            ["etcd", "--data-dir", str(self.directory / "etcd" / "data"), "--listen-client-urls", client, "--advertise-client-urls", client,
             "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--unsafe-no-fsync"],
            self.directory / "etcd.log",
        )  # fmt: skip
        self.nodes[0].start()
        self.wait(lambda: self.primary is not None, "the first primary")
        for node in self.nodes[1:]:
            node.start()
        self.whole()

    def url(self, database: str = "postgres") -> str:
        """All nodes."""
        return f"postgresql://postgres@{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}/{database}"

    def url_of(self, node: Node, database: str = "postgres") -> str:
        """One node."""
        return f"postgresql://postgres@127.0.0.1:{node.port}/{database}"

    @property
    def primary(self) -> Node | None:
        """The node that says that it takes writes."""
        for node in self.nodes:
            said = node.ask("/patroni")
            if isinstance(said, dict) and said.get("role") in ("master", "primary") and said.get("state") == "running":
                return node
        return None

    def whole(self, synchronous: bool | None = True) -> None:
        """Waits until there is a primary with two standbys that follow it, one of them synchronous, or none; None: whichever."""

        def is_whole() -> bool:
            primary = self.primary
            if primary is None:
                return False
            said, members = primary.ask("/patroni"), (primary.ask("/cluster") or {}).get("members", [])
            standbys = said.get("replication") or [] if isinstance(said, dict) else []
            following = [each for each in standbys if each.get("state") == "streaming"]
            known = [each for each in members if each.get("state") in ("running", "streaming")]
            waited_for = any(each.get("sync_state") in ("sync", "quorum") for each in following) and any(each.get("role") == "sync_standby" for each in known)
            return len(following) == len(self.nodes) - 1 and len(known) == len(self.nodes) and synchronous in (None, waited_for)

        self.wait(is_whole, "a primary with two standbys")

    def configure(self, **settings: Any) -> None:
        """Changes the cluster's configuration."""
        primary = self.primary
        assert primary is not None
        assert primary.ask("/config", "PATCH", settings) is not None

    def switch_over(self) -> None:
        """Asks the primary to hand over to its synchronous standby."""
        primary = self.primary
        assert primary is not None
        primary.ask("/switchover", "POST", {"leader": primary.name}, timeout_s=60.0)

    def wait(self, check: Callable[[], bool], what: str, timeout_s: float = WHOLE_S) -> None:
        """Until something is true."""
        end = time.monotonic() + timeout_s
        while not check():
            assert time.monotonic() < end, f"{what} did not come within {timeout_s:g} s; see {self.directory}"
            time.sleep(0.2)

    def close(self) -> None:
        """Ends everything."""
        for node in self.nodes:
            node.signal(signal.SIGCONT)
            node.die()
        if self._etcd is not None:
            self._etcd.kill()
            self._etcd.wait()


@contextmanager
def patroni(directory: Path, program: Program, bin_dir: Path) -> Iterator[Patroni]:
    """A cluster that is whole."""
    cluster = Patroni(directory, program, bin_dir)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()


def server_user() -> dict[str, Any]:
    """For subprocess: as whom servers run; nothing unless we are root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _popen(command: list[str], log: Path, environment: Mapping[str, str] | None = None) -> "subprocess.Popen[bytes]":
    with open(log, "ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(log.parent), **(environment or {})}, **server_user(),
        )  # fmt: skip


def give(path: Path) -> None:
    """Makes it the property of whoever runs servers."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(path, user.pw_uid, user.pw_gid)


def _descendants(pid: int) -> list[int]:
    found = list(children(pid))
    return [*found, *(below for child in found for below in _descendants(child))]


def _title(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
