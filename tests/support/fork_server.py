"""Starts our commands quickly: one process imports them all, and is forked for each. Without it imports are most of the time of the hundreds of starts.

What runs is what a command runs, in a process of its own that can be killed alone: its arguments, environment, directory and output are those of a program. What an
interpreter or a library reads when it starts (PYTHON..., LD_..., GRPC_...) does not reach it: tests that need that, and those of packaging, start real programs.
Whatever ends the tests, the server ends with them, and with it all that it started.

The server takes messages over one socket: JSON, and with it the descriptors of standard input, output and error, and a socket on which it answers with the process id
and, once the process has ended, with its exit code as `subprocess` has it.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

PROGRAMS = {"headrace": "headrace", "headrace-agent": "agent", "headrace-broker": "broker"}
"""By name, the function of `headrace_client._launch` that is it."""
IMPORTED = (
    "headrace_broker.app",
    "headrace_broker.http",
    "headrace_broker.web.manager",
    "headrace_agent.__main__",
    "headrace_client.cli.trees",
)
MESSAGE_BYTES = 128 * 1024
NUMBER = struct.Struct("=i")
PR_SET_PDEATHSIG = 1  # prctl(2)
ROOT = Path(__file__).parents[2]


class ForkServer:
    """The caller's side. Any thread may use it."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._control.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_BYTES)
            command = [sys.executable, "-m", "tests.support.fork_server", str(theirs.fileno())]
            environment = {**os.environ, "GRPC_ENABLE_FORK_SUPPORT": "0"}  # there is nothing of gRPC's yet that its handlers of a fork could look after
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        atexit.register(self.close)

    def start(self, command: Sequence[str], environment: Mapping[str, str], cwd: Path, stdin: int, stdout: int, stderr: int, ahead_rows: int = 0) -> "Child":
        """Starts a program by its name, with these descriptors; they stay the caller's. `ahead_rows`: as in `processes.start_broker`."""
        ours, theirs = socket.socketpair()
        with theirs:
            message = json.dumps({"command": command, "environment": dict(environment), "cwd": str(cwd), "ahead_rows": ahead_rows}).encode()
            socket.send_fds(self._control, [message], [stdin, stdout, stderr, theirs.fileno()])
        return Child(ours)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def close(self) -> None:
        """Ends the server, and with it what it started and still runs."""
        self._control.close()
        self._process.wait()
        atexit.unregister(self.close)


class Child:
    """A process that was started, and its exit code once it has ended."""

    def __init__(self, life: socket.socket) -> None:
        self._life = life
        self._returncode: int | None = None
        said = life.recv(NUMBER.size, socket.MSG_WAITALL)
        assert said, "the fork server has ended"
        self.pid: int = NUMBER.unpack(said)[0]

    def fileno(self) -> int:
        """Becomes readable when the process has ended."""
        return self._life.fileno()

    def poll(self) -> int | None:
        """The exit code; None: it still runs."""
        if self._returncode is None:
            with contextlib.suppress(BlockingIOError):
                said = self._life.recv(NUMBER.size, socket.MSG_DONTWAIT)
                self._returncode = NUMBER.unpack(said)[0] if said else -signal.SIGKILL  # the server has ended, and took it along
                self._life.close()
        return self._returncode

    def wait(self, timeout_s: float) -> int:
        """The exit code; blocks. Raises TimeoutError."""
        while (code := self.poll()) is None:
            if not select.select([self._life], [], [], timeout_s)[0]:
                raise TimeoutError
        return code


def main() -> None:
    """Imports, then forks for each message until the socket is closed."""
    for module in IMPORTED:
        importlib.import_module(module)
    from headrace_client.cli.main import COMMANDS

    for place, _ in COMMANDS.values():
        importlib.import_module(f"headrace_client.cli.{place.partition(':')[0]}")
    gc.freeze()  # what is there now is never looked at again, so that forked processes share it
    assert len(os.listdir("/proc/self/task")) == 1, "an import has started a thread, which a fork would lose"
    prctl = ctypes.CDLL(None).prctl
    control = socket.socket(fileno=int(sys.argv[1]))
    woken, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    lives: dict[int, socket.socket] = {}
    while True:
        readable = select.select([control, woken], [], [])[0]
        if woken in readable:
            woken.recv(4096)
            _reap(lives)
        if control in readable:
            message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 4)
            if not message:
                break
            life = socket.socket(fileno=descriptors.pop())
            server, pid = os.getpid(), os.fork()
            if pid == 0:
                prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != server:  # it was killed before that
                    os._exit(1)
                signal.set_wakeup_fd(-1)
                for each in (control, woken, wake, life, *lives.values()):
                    each.close()
                _become(json.loads(message), descriptors)
            for descriptor in descriptors:
                os.close(descriptor)
            lives[pid] = life
            with contextlib.suppress(OSError):
                life.send(NUMBER.pack(pid))
    for pid in lives:  # nobody is there to end them
        os.kill(pid, signal.SIGKILL)


def _reap(lives: dict[int, socket.socket]) -> None:
    while lives:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with lives.pop(pid) as life, contextlib.suppress(OSError):
            life.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _become(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Runs the program in the forked process, and ends it as the interpreter would, without tearing down each module."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    command, environment, cwd = request["command"], request["environment"], str(request["cwd"])
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = list(command)
    sys.path[0] = cwd
    sys.modules["__main__"] = types.ModuleType("__main__")  # which processes of handlers would import otherwise
    if request["ahead_rows"]:
        importlib.import_module("headrace_broker.shards.owner").__dict__["AHEAD_ROWS"] = request["ahead_rows"]
    launch = importlib.import_module("headrace_client._launch")
    code: object = 0
    try:
        getattr(launch, PROGRAMS[command[0]])()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first when it ends
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    os._exit(code if isinstance(code, int) else code is not None)


if __name__ == "__main__":
    main()
