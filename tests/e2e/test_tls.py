"""Encrypted listeners: what reaches them, and what does not."""

import asyncio
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography import x509
from headrace_client import AdminClient, Client, InvalidRequest, State, Unauthenticated, Unavailable
from headrace_client.cli.authority import Authority, show

from tests.support.processes import run_command, start_agent, start_broker, until


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


def _serial(address: str) -> int:
    """Of the certificate that a new connection is met with."""
    host, _, port = address.rpartition(":")
    return x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port)), timeout=10).encode()).serial_number


async def test_a_new_certificate_meets_new_connections_while_old_ones_go_on(database: str, directory: Path, stack: AsyncExitStack) -> None:
    place = directory / "tls"
    authority = Authority.create(place, "test authority", 100)
    authority.issue_broker(["localhost", "127.0.0.1"], 30)
    broker = await start_broker(directory, "--tls-cert", str(place / "broker.pem"), "--tls-key", str(place / "broker.key"), "--login-link", database=database)
    stack.push_async_callback(broker.kill)
    assert broker.ready["web"].startswith("https://")
    agent = await start_agent(directory, broker.address, "--tls-ca", str(place / "ca.pem"))
    stack.push_async_callback(agent.kill)
    client = await stack.enter_async_context(Client(broker.address, tls_ca=place / "ca.pem"))
    assert (await client.wait((await client.submit("echo", 1)).job_id, timeout_s=20)).json_result() == 1
    listeners = [broker.address, str(broker.ready["http"])]

    async def serials() -> list[int]:
        return [await asyncio.to_thread(_serial, address) for address in listeners]

    async def met_with(wanted: int) -> None:
        async def all_new() -> bool:
            return await serials() == [wanted, wanted]

        await until(all_new, timeout_s=20, what="the new certificate on every listener")

    def renew() -> int:
        authority.issue_broker(["localhost", "127.0.0.1"], 30, replace=True)
        return x509.load_pem_x509_certificate((place / "broker.pem").read_bytes()).serial_number

    first = await serials()
    second = renew()
    assert first == [first[0]] * 2 != [second] * 2
    await met_with(second)
    assert (await client.wait((await client.submit("echo", 2)).job_id, timeout_s=20)).json_result() == 2
    async with Client(broker.address, tls_ca=place / "ca.pem") as fresh:
        await fresh.count()

    (place / "broker.key").write_bytes((place / "ca.key").read_bytes())  # not its own
    context = ssl.create_default_context(cafile=place / "ca.pem")

    async with httpx.AsyncClient(verify=context, base_url=f"https://{broker.ready['http']}") as web:

        async def refused() -> bool:
            return 'headrace_tls_reloads_total{result="refused"} 1.0' in (await web.get("/metrics")).text

        await until(refused, timeout_s=20, what="the refusal of a key that does not fit")
    assert "the new certificate is refused" in broker.log.read_text() and "is not that of the first certificate" in broker.log.read_text()
    assert await serials() == [second, second]
    await met_with(renew())
    assert (await client.wait((await client.submit("echo", 3)).job_id, timeout_s=20)).json_result() == 3
    assert broker.log.read_text().count("agent connected") == 1  # the agent's stream is still its first


async def test_with_certificates_of_their_own_clients_agents_and_browsers_come_in(database: str, directory: Path, stack: AsyncExitStack) -> None:
    place = directory / "tls"
    authority = Authority.create(place, "test authority", 100)
    authority.issue_broker(["127.0.0.1"], 30)
    authority.issue_client("default", "agent", "support", 30)
    broker = await start_broker(
        directory, "--tls-cert", str(place / "broker.pem"), "--tls-key", str(place / "broker.key"), "--tls-client-ca", str(place / "ca.pem"),
        "--tls-require-client-cert", "all", database=database,
    )  # fmt: skip
    stack.push_async_callback(broker.kill)
    own: dict[str, Any] = {"tls_ca": place / "ca.pem", "tls_client_cert": place / "support.pem", "tls_client_key": place / "support.key"}
    options = [word for name, path in own.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    agent = await start_agent(directory, broker.address, *options)
    stack.push_async_callback(agent.kill)
    async with Client(broker.address, **own) as client:
        assert (await client.wait((await client.submit("child", 1)).job_id, timeout_s=30)).state is State.COMPLETED
    async with Client(broker.address, tls_ca=place / "ca.pem", timeout_s=0.5) as client:
        with pytest.raises(Unavailable):
            await client.count()
    Authority.create(directory / "other", "another one", 100)
    async with Client(broker.address, tls_ca=directory / "other" / "ca.pem", timeout_s=0.5) as client:
        with pytest.raises(Unavailable, match="does not come from the CA"):
            await client.count()
    context = ssl.create_default_context(cafile=place / "ca.pem")
    with pytest.raises((httpx.HTTPError, ssl.SSLError)):
        async with httpx.AsyncClient(verify=context) as web:
            await web.get(f"https://{broker.ready['http']}/healthz")
    context = ssl.create_default_context(cafile=place / "ca.pem")
    context.load_cert_chain(place / "support.pem", place / "support.key")
    async with httpx.AsyncClient(verify=context) as web:
        assert (await web.get(f"https://{broker.ready['http']}/healthz")).status_code == 200
    async with AdminClient(broker.address, **own) as admin:  # nobody needs to say who they are here; what was revoked is refused all the same
        await admin.revoke_certificate(serial=show(place / "support.pem")[0].serial)
        with pytest.raises(Unauthenticated) as error:
            await admin.list_types()
        assert error.value.reason == "CERTIFICATE_INVALID"


def test_a_broker_with_bad_files_does_not_start_and_says_why(directory: Path) -> None:
    place = directory / "tls"
    Authority.create(place, "test authority", 100).issue_broker(["localhost"], 30)
    done = run_command("headrace-broker", "run", "--tls-cert", str(place / "broker.pem"), "--tls-key", str(place / "ca.key"), "--data-dir", str(directory / "data"))
    assert (done.returncode, done.stdout) == (2, "") and "give the two files that were made together" in done.stderr and not (directory / "data").exists()
    for key, word in (("broker.key", "ok"), ("ca.key", "FAIL")):
        done = run_command("headrace-broker", "doctor", "--tls-cert", str(place / "broker.pem"), "--tls-key", str(place / key))
        assert f"{word}{' ' * (4 - len(word))} TLS: " in done.stdout


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_a_broker_does_not_listen_beyond_loopback_without_tls_or_a_word(directory: Path, listen: str) -> None:
    done = run_command("headrace-broker", "run", "--listen", listen, "--data-dir", str(directory / "data"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "--tls-cert" in done.stderr and "--insecure" in done.stderr and not (directory / "data").exists()
