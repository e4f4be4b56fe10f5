"""Whatever comes, every call is answered with a status that says what was wrong, and the broker goes on. `make fuzz N=100000 SEED=7` does it for longer.

Environment: HEADRACE_FUZZ_N (inputs; 0: as many as there is time for), HEADRACE_FUZZ_S (seconds, 0: no end but that of the inputs), HEADRACE_SEED (default 1).
"""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from headrace_broker.model.errors import InvalidField
from headrace_broker.rpc.errors import trailing_metadata
from headrace_client import Client
from headrace_proto.v1 import agents_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.fuzz_drive import SHARES
from tests.support.processes import ROOT, BrokerProcess, start_broker, until

INPUTS = int(os.environ.get("HEADRACE_FUZZ_N", "3000"))
SECONDS = float(os.environ.get("HEADRACE_FUZZ_S", "5"))
SEED = int(os.environ.get("HEADRACE_SEED", "1"))
NO_END = 10**9
LEFT_TASKS = 40
"""More tasks than before that may be left in the broker: sessions that are awaited still, pages that are held open."""
GROWTH_MB = 96
"""More memory than after the first part, in which everything is used for the first time and caches fill."""


@pytest.fixture
async def broker(database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """Nobody needs a token, so that everything is reached."""
    process = await start_broker(directory, "--login-link", "--cache-bytes", str(4 << 20), database=database)
    stack.push_async_callback(process.kill)
    return process


@pytest.mark.timeout(max(120, SECONDS * 3) if SECONDS else 0)
async def test_no_input_is_answered_by_an_internal_error(broker: BrokerProcess) -> None:
    tasks = await _tasks(broker)
    first = await _drive(broker, INPUTS // 3, SECONDS / 3, SEED)
    memory = _rss_mb(broker.pid)
    second = await _drive(broker, INPUTS - INPUTS // 3, SECONDS * 2 / 3, SEED + 1)
    sent = {kind: first["sent"].get(kind, 0) + second["sent"].get(kind, 0) for kind in SHARES}
    codes = {code: first["codes"].get(code, 0) + second["codes"].get(code, 0) for code in first["codes"] | second["codes"]}
    grown = _rss_mb(broker.pid) - memory
    print(f"\nseed {SEED}, {sum(sent.values())} inputs: {', '.join(f'{count} {kind}' for kind, count in sent.items())}; to {len(first['calls'])} calls")
    print(f"answers: {', '.join(f'{count} {code}' for code, count in sorted(codes.items(), key=lambda item: -item[1]))}; memory {grown:+.1f} MB after the first third")
    text = broker.log.read_text(errors="replace")  # gRPC writes what it got, whatever it is
    wrong = [*first["wrong"], *second["wrong"]]
    assert not wrong, f"{first['wrongs'] + second['wrongs']} of {sum(sent.values())}:\n" + "\n".join(wrong) + f"\n{text[max(0, text.find('call failed')) :][:6000]}"
    assert "Traceback" not in text and "never retrieved" not in text, text[-6000:]
    assert all(sent.values()), sent
    if second["whole"]:
        assert not set(first["calls"]) - set(first["by_call"]) - set(second["by_call"]), "some call was never tried"
    await _still_works(broker)
    assert grown < GROWTH_MB, f"{grown:.0f} MB more"

    async def gone() -> bool:
        return await _tasks(broker) <= tasks + LEFT_TASKS

    await until(gone, what="the end of what calls left behind")


async def _drive(broker: BrokerProcess, inputs: int, seconds: float, seed: int) -> dict[str, Any]:
    """What a driver's process tells of so many inputs."""
    words = [broker.address, str(broker.ready["web"]), str(inputs or NO_END), str(seconds or NO_END), str(seed)]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.support.fuzz_drive", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    try:
        out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()[-4000:] + broker.log.read_text(errors="replace")[-4000:]
    found: dict[str, Any] = json.loads(out)
    return found


async def _tasks(broker: BrokerProcess) -> int:
    """Tasks of the broker's event loop."""
    async with httpx.AsyncClient(timeout=20) as web:
        text = (await web.get(f"http://{broker.ready['http']}/metrics")).text
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("headrace_tasks "))))


def _rss_mb(pid: int) -> float:
    """Resident memory of a process, in MB."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def _still_works(broker: BrokerProcess) -> None:
    """In a domain that nobody has touched, a job goes from its submit to its end."""
    metadata = (("headrace-domain", "healthy"),)
    async with grpc.aio.insecure_channel(broker.address) as channel, Client(broker.address, domain="healthy", timeout_s=20) as client, asyncio.timeout(20):
        job_id = (await client.submit("t", 1)).job_id
        call = AgentsStub(channel).Connect(metadata=metadata)  # type: ignore[no-untyped-call]
        hello = agents_pb2.Hello(agent_name="a", incarnation_id="healthy-" * 3, slots=1, types=[agents_pb2.ServedType(type="t")])
        await call.write(agents_pb2.ConnectRequest(number=1, hello=hello, credit=agents_pb2.Credit(free=1)))
        while not (message := await call.read()).HasField("assign"):
            pass
        [job] = message.assign.jobs
        done = agents_pb2.Outcome(job_id=job.job_id, lease_epoch=job.lease_epoch, kind=agents_pb2.OUTCOME_KIND_COMPLETED, result=b"1")
        await call.write(agents_pb2.ConnectRequest(number=2, outcomes=[done]))
        assert (await client.wait(job_id, timeout_s=10)).result == b"1"
        call.cancel()


def test_the_name_of_a_field_can_travel_in_a_header_whatever_a_caller_sent() -> None:
    metadata = dict(trailing_metadata(InvalidField("labels[\x1b[31m\r\n\u00e9" + "x" * 5000, "no")))
    name = metadata["headrace-field"]
    assert isinstance(name, str) and name.startswith("labels[?[31m???xxx") and len(name) == 200
