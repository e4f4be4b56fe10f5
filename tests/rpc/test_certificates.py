"""Who calls, as a certificate says: what it may do, beside a token too, and until when."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from headrace_broker.model.audit import Caller
from headrace_broker.store.certificates import CertificateStore
from headrace_broker.store.pool import open_pool
from headrace_client import AdminClient, InvalidRequest, PermissionDenied, Unauthenticated
from headrace_client.cli.authority import Authority, show
from headrace_proto.v1 import agents_pb2
from headrace_proto.v1.agents_pb2_grpc import AgentsStub

from tests.support.processes import BrokerProcess, run_command, start_broker
from tests.support.tokens import make_tokens
from tests.support.wire import stream_refusal

BRIEF_S = 6.0  # long enough for a busy machine to connect in it


class Place:
    """An authority and what it issued; clients with these certificates."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "tls"
        self.authority = Authority.create(self.path, "test authority", 100)
        self.authority.issue_broker(["127.0.0.1"], 30)
        self.address = ""

    def issue(self, role: str, domain: str = "default", name: str = "") -> str:
        """A certificate; returns the name of its files."""
        cert, _ = self.authority.issue_client(domain, role, name or role, 30)
        return cert.stem

    def forge(self, name: str, uris: Sequence[str], *, valid_s: float = 3600) -> str:
        """A certificate of the authority that says whatever is wanted."""
        ca = x509.load_pem_x509_certificate((self.path / "ca.pem").read_bytes())
        ca_key, key = load_pem_private_key((self.path / "ca.key").read_bytes(), None), ec.generate_private_key(ec.SECP256R1())
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])).issuer_name(ca.subject)
        builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(seconds=valid_s))
        if uris:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris]), critical=False)
        (self.path / f"{name}.pem").write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(Encoding.PEM))
        (self.path / f"{name}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return name

    def files(self, name: str) -> dict[str, Any]:
        """As clients take them."""
        return {"tls_ca": self.path / "ca.pem", "tls_client_cert": self.path / f"{name}.pem", "tls_client_key": self.path / f"{name}.key"}

    def admin(self, name: str, domain: str = "default", token: str | None = None) -> AdminClient:
        """A client that shows a certificate."""
        return AdminClient(self.address, domain=domain, token=token, timeout_s=15, **self.files(name))

    def channel(self, name: str) -> grpc.aio.Channel:
        """Without the client library."""
        ca, cert, key = (path.read_bytes() for path in self.files(name).values())
        return grpc.aio.secure_channel(self.address, grpc.ssl_channel_credentials(ca, key, cert))


@pytest.fixture
def place(directory: Path) -> Place:
    """With a broker's certificate and an administrator's."""
    made = Place(directory)
    made.issue("admin", "*", "boss")
    return made


@pytest.fixture
async def broker(place: Place, database: str, directory: Path, stack: AsyncExitStack) -> BrokerProcess:
    """Asks for certificates, and for who calls."""
    options = ["--tls-cert", f"{place.path}/broker.pem", "--tls-key", f"{place.path}/broker.key", "--tls-client-ca", f"{place.path}/ca.pem"]
    process = await start_broker(directory, *options, "--auth", "required", "--lease-s", "60", database=database)
    stack.push_async_callback(process.kill)
    place.address = process.address
    return process


async def refused(client: AdminClient, call: Callable[[AdminClient], Any]) -> str:
    """Why a broker refuses a call."""
    async with client:
        with pytest.raises((PermissionDenied, Unauthenticated)) as error:
            await call(client)
    return error.value.reason


def hello(name: str) -> agents_pb2.ConnectRequest:
    """Of an agent of this name."""
    served = [agents_pb2.ServedType(type="t")]
    return agents_pb2.ConnectRequest(number=1, hello=agents_pb2.Hello(agent_name=name, incarnation_id=f"{name:x>16}", slots=1, types=served))


def connect(channel: grpc.aio.Channel, *metadata: tuple[str, str]) -> Any:
    """An agent's stream."""
    return AgentsStub(channel).Connect(metadata=metadata or (("headrace-domain", "default"),))  # type: ignore[no-untyped-call]


async def test_a_certificate_says_who_calls_and_what_they_may_do(place: Place, broker: BrokerProcess, database: str) -> None:
    counts = AdminClient.list_types
    async with place.admin("boss", "anywhere") as boss:
        await boss.set_type("t", priority=3)
        [row] = (await boss.list_audit(action="type.set"))[0]
        with pytest.raises(InvalidRequest):
            await boss.create_token("headrace://*/admin/boss", "viewer")  # the audit would not tell it from the certificate
    assert (row.actor, row.token_id, row.domain) == ("headrace://*/admin/boss", 0, "anywhere")
    operator = place.issue("operator", "shop")
    async with place.admin(operator, "shop") as client:
        await client.list_types()
    assert await refused(place.admin(operator), counts) == "DOMAIN_DENIED"
    agent = place.issue("agent", name="mailer/host-7")
    assert await refused(place.admin(agent), counts) == "ROLE_DENIED"
    async with place.admin("boss") as boss, place.admin(agent) as client:
        grant = await boss.grant("certificate/headrace://default/agent/mailer/host-7", ["oversee"])
        await client.list_types()
        await boss.end_grant(grant.grant_id)
        with pytest.raises(PermissionDenied):
            await client.list_types()
    async with place.channel(agent) as channel:
        call = connect(channel)
        await call.write(hello("mailer"))
        assert (await call.read()).HasField("welcome")
        other = await stream_refusal(connect(channel), hello("billing"))
        assert other.code == "PERMISSION_DENIED" and "mailer/host-7" in other.message
    assert await refused(place.admin(place.forge("nobody", [])), counts) == "TOKEN_MISSING"
    assert await refused(place.admin(place.forge("elsewhere", ["spiffe://example/agent"])), counts) == "TOKEN_MISSING"
    for number, uris in enumerate((["headrace://a/admin/x", "headrace://b/admin/x"], ["headrace://a/king/x"], ["headrace://a/admin"], ["headrace://a/admin/x?y"])):
        assert await refused(place.admin(place.forge(f"wrong-{number}", uris)), counts) == "CERTIFICATE_INVALID"


async def test_with_a_token_too_only_what_both_allow_may_be_done(place: Place, broker: BrokerProcess, database: str) -> None:
    tokens, roots = await make_tokens(database), await make_tokens(database, None)

    async def set_type(client: AdminClient) -> None:
        await client.set_type("t", priority=1)

    nobody, viewer, shop = place.forge("nobody", []), place.issue("viewer"), place.issue("admin", "shop", "shopkeeper")
    async with place.admin(nobody, token=tokens["operator"]) as client:  # it opens the door, and the token says who comes
        await set_type(client)
    assert await refused(place.admin("boss", token=tokens["viewer"]), set_type) == "ROLE_DENIED"
    assert await refused(place.admin(viewer, token=roots["admin"]), set_type) == "ROLE_DENIED"
    assert await refused(place.admin(shop, "default", token=roots["admin"]), set_type) == "DOMAIN_DENIED"
    assert await refused(place.admin(shop, "shop", token=tokens["admin"]), set_type) == "DOMAIN_DENIED"
    assert await refused(place.admin("boss", token="hr_nobody"), set_type) == "TOKEN_INVALID"
    async with place.admin("boss", token=tokens["operator"]) as client:
        await set_type(client)
    async with place.admin("boss") as client:
        assert {row.actor for row in (await client.list_audit(action="type.set"))[0]} == {"operator@default"}
    async with place.channel(place.issue("agent", name="mailer")) as channel:
        call = connect(channel, ("authorization", f"Bearer {tokens['agent']}"))
        assert (await stream_refusal(call, hello("billing"))).code == "PERMISSION_DENIED"  # whatever the token is for, the certificate is the mailer's
    assert await refused(place.admin(shop, "shop"), lambda client: client.revoke_certificate(serial="1")) == "DOMAIN_DENIED"


async def test_what_was_revoked_or_has_expired_ends_within_seconds(place: Place, broker: BrokerProcess, database: str, stack: AsyncExitStack) -> None:
    mailer, billing, stays = place.issue("agent", name="mailer"), place.issue("agent", name="billing"), place.issue("agent", name="stays")
    brief = place.forge("brief", ["headrace://default/agent/brief"], valid_s=BRIEF_S)
    streams: dict[str, Any] = {}
    for name in (brief, mailer, billing, stays):
        channel = await stack.enter_async_context(place.channel(name))
        streams[name] = connect(channel)
        await streams[name].write(hello(name))
        assert (await streams[name].read()).HasField("welcome")

    async def ended(name: str) -> str:
        async with asyncio.timeout(60):
            assert await streams[name].code() is grpc.StatusCode.UNAUTHENTICATED
            return str(dict(await streams[name].trailing_metadata())["headrace-reason"])

    done = await asyncio.to_thread(
        lambda: run_command(
            "headrace", "tls", "revoke", f"{place.path}/{mailer}.pem", "--reason", "stolen", "--broker", broker.address,
            *(word for option, path in place.files("boss").items() for word in (f"--{option.replace('_', '-')}", str(path))),
        )
    )  # fmt: skip
    assert done.returncode == 0 and show(place.path / f"{mailer}.pem")[0].fingerprint in done.stderr
    assert await ended(mailer) == "TOKEN_ENDED"
    pool = await open_pool(database, size=1)  # as another broker would
    await CertificateStore(pool).revoke(show(place.path / f"{billing}.pem")[0].serial, None, caller=Caller("other", "", "r"), reason="")
    await pool.close()
    assert await ended(billing) == "TOKEN_ENDED"
    assert await ended(brief) == "TOKEN_ENDED"
    for name in (mailer, billing):
        async with place.channel(name) as channel:
            again_refused = await stream_refusal(connect(channel), hello(name))
            assert (again_refused.code, again_refused.reason) == ("UNAUTHENTICATED", "CERTIFICATE_INVALID")
    assert not streams[stays].done()
    async with place.admin("boss") as boss:
        first, second = await boss.list_revoked_certificates()
        assert (first.serial, second.fingerprint, second.reason) == (show(place.path / "billing.pem")[0].serial, show(place.path / "mailer.pem")[0].fingerprint, "stolen")
        again = await boss.revoke_certificate(fingerprint=second.fingerprint.upper(), reason="again")
        assert (again.reason, len(await boss.list_revoked_certificates())) == ("stolen", 2)
    con = await asyncpg.connect(database)
    rows = [row["target"] for row in await con.fetch("select target from headrace.audit where action = 'certificate.revoke' order by audit_id")]
    assert rows == [f"certificate/{second.fingerprint}", f"certificate/{first.serial}"]
    await con.close()
    streams[stays].cancel()
