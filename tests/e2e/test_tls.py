"""Encrypted listeners: what reaches them, and what does not."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trustme
from headrace_client import Client, InvalidRequest, Unavailable

from tests.support.processes import run_command, start_agent, start_broker


@pytest.fixture
def authority() -> trustme.CA:
    """Who signs the broker's certificate."""
    return trustme.CA()


async def test_client_agent_and_command_line_over_tls(authority: trustme.CA, database: str, directory: Path, stack: AsyncExitStack) -> None:
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    for index, pem in enumerate(certificate.cert_chain_pems):
        pem.write_to_path(directory / "cert.pem", append=index > 0)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    trustme.CA().cert_pem.write_to_path(directory / "stranger.pem")
    broker = await start_broker(directory, "--tls-cert", str(directory / "cert.pem"), "--tls-key", str(directory / "key.pem"), database=database)
    stack.push_async_callback(broker.kill)
    agent = await start_agent(directory, broker.address, "--tls-ca", str(directory / "ca.pem"), "--domain", "secret")
    stack.push_async_callback(agent.kill)
    async with Client(broker.address, domain="secret", tls_ca=directory / "ca.pem") as client:
        assert (await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)).json_result() == 1
    for tls_ca in (None, directory / "stranger.pem"):
        async with Client(broker.address, tls_ca=tls_ca, timeout_s=1) as client:
            with pytest.raises(Unavailable):
                await client.count()
    async with Client(broker.address, tls_ca=directory / "absent.pem", timeout_s=1) as client:
        with pytest.raises(InvalidRequest, match=r"absent\.pem"):
            await client.submit("echo", 1)
    listed = await asyncio.to_thread(
        lambda: run_command("headrace", "jobs", "count", "--broker", broker.address, "--tls-ca", str(directory / "ca.pem"), "--domain", "secret", "-o", "json")
    )
    assert listed.returncode == 0 and '"completed": 1' in listed.stdout


async def test_a_listener_that_asks_for_certificates_refuses_those_without(authority: trustme.CA, database: str, directory: Path, stack: AsyncExitStack) -> None:
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    both, ca = str(directory / "both.pem"), str(directory / "ca.pem")
    broker = await start_broker(directory, "--tls-cert", both, "--tls-key", both, "--tls-client-ca", ca, database=database)
    stack.push_async_callback(broker.kill)
    async with Client(broker.address, tls_ca=ca, timeout_s=1) as client:
        with pytest.raises(Unavailable):
            await client.count()


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_a_broker_does_not_listen_beyond_loopback_without_tls_or_a_word(directory: Path, listen: str) -> None:
    done = run_command("headrace-broker", "run", "--listen", listen, "--data-dir", str(directory / "data"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--tls-cert" in done.stderr and "--insecure" in done.stderr and not (directory / "data").exists()
