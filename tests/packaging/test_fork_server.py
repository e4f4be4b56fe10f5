"""What the fork server starts is what a program is, so that tests of quick starts are tests of programs; and nothing outlives the tests."""

import os
import signal

import pytest

from tests.support.fork_server import ForkServer
from tests.support.processes import ROOT, Forked, alive, forking, run_command, until


@pytest.mark.parametrize(
    "command",
    [
        ("headrace", "submit", "t", "--data", "-", "--broker", "127.0.0.1:1", "--timeout-s", "0.2"),
        ("headrace-broker", "run", "--lease-s", "1"),
        ("headrace-agent", "run", "no_such_module:agent"),
    ],
    ids=" ".join,
)
def test_a_command_says_and_returns_the_same_either_way(command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    said = []
    for on in (True, False):
        monkeypatch.setattr(forking, "on", on)
        monkeypatch.setattr(forking, "_server", forking._server if on else None)
        assert (forking.server() is not None) == on
        said.append(run_command(*command, environment={"COLUMNS": "90", "TZ": "Asia/Tokyo"}, stdin="1"))
    assert (said[0].returncode, said[0].stdout, said[0].stderr) == (said[1].returncode, said[1].stdout, said[1].stderr)


def _agent(server: ForkServer) -> Forked:
    """One that has no broker."""
    with open(os.devnull, "r+") as nothing:
        command = ["headrace-agent", "run", "tests.support.handlers:agent", "--broker", "127.0.0.1:1"]
        return Forked(server.start(command, dict(os.environ), ROOT, *[nothing.fileno()] * 3))


async def test_a_signal_is_an_exit_code_and_whatever_ends_the_server_ends_what_it_started() -> None:
    server = ForkServer()
    killed, stopped, *others = [_agent(server) for _ in range(3)]
    killed.kill()
    assert await killed.wait() == -signal.SIGKILL
    os.kill(stopped.pid, signal.SIGSTOP)
    assert stopped.returncode is None and alive(stopped.pid)
    server.close()
    assert {await each.wait() for each in (stopped, *others)} == {-signal.SIGKILL}
    server = ForkServer()
    left = _agent(server)
    os.kill(server.pid, signal.SIGKILL)

    async def ended() -> bool:
        return not alive(left.pid)

    await until(ended, what="the end of an orphan")
    assert await left.wait() == -signal.SIGKILL
    server.close()
