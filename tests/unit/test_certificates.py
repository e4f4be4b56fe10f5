"""Certificates as a private authority makes them, and how a broker judges files before it uses them."""

import json
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import NameOID
from headrace_broker.metrics import Metrics
from headrace_broker.tls import Files, Tls, TlsError, load
from headrace_client.cli import main
from headrace_client.cli.authority import Authority, show
from headrace_client.errors import InvalidRequest
from headrace_client.tls import Tls as ClientTls

YEAR = timedelta(days=366)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with an authority, a broker's certificate and an agent's."""
    authority = Authority.create(tmp_path / "tls", "test authority", 3650)
    authority.issue_broker(["localhost", "127.0.0.1", "::1"], 397)
    authority.issue_client("shop", "agent", "mailer/host-7", 30)
    return authority.directory


def files(place: Path, *, cert: str = "broker.pem", key: str = "broker.key", client_ca: str | None = "ca.pem") -> Files:
    """Those of the broker, but for what is given."""
    return Files(place / cert, place / key, place / client_ca if client_ca is not None else None)


def run(*words: str) -> int:
    """Runs the command line in this process; returns its exit code."""
    import sys

    before, sys.argv = sys.argv, ["headrace", *words]
    try:
        with pytest.raises(SystemExit) as ended:
            main.main()
    finally:
        sys.argv = before
    return int(ended.value.code or 0)


def test_what_an_authority_makes_is_taken_by_a_broker_and_read_by_its_owner_alone(place: Path) -> None:
    loaded = load(files(place), http_clients=True)
    assert timedelta(days=396) < loaded.not_after - datetime.now(UTC) < timedelta(days=398)
    made = sorted(place.iterdir())
    assert [path.name for path in made] == ["broker.key", "broker.pem", "ca.key", "ca.pem", "mailer_host-7.key", "mailer_host-7.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
    [shown] = show(place / "mailer_host-7.pem")
    assert (shown.identity, shown.hosts, shown.is_ca, shown.key) == ("headrace://shop/agent/mailer/host-7", [], False, "fits")
    [shown] = show(place / "broker.pem")
    assert (shown.identity, shown.hosts, shown.days_left in (396, 397)) == ("", ["localhost", "127.0.0.1", "::1"], True)
    certificate = x509.load_pem_x509_certificate((place / "broker.pem").read_bytes())
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate((place / "ca.pem").read_bytes()))


def _other_key(place: Path) -> None:
    (place / "broker.key").write_bytes((place / "ca.key").read_bytes())


def _locked_key(place: Path) -> None:
    key = load_pem_private_key((place / "broker.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    (place / "broker.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))


def _no_host(place: Path) -> None:
    key = load_pem_private_key((place / "broker.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    made = builder.not_valid_before(now - YEAR).not_valid_after(now + YEAR).sign(key, hashes.SHA256())
    (place / "broker.pem").write_bytes(made.public_bytes(Encoding.PEM))


def _wrong_order(place: Path) -> None:
    (place / "broker.pem").write_bytes((place / "broker.pem").read_bytes() + (place / "mailer_host-7.pem").read_bytes())


def _empty(place: Path) -> None:
    (place / "broker.pem").write_text("nothing")


def _swapped(place: Path) -> None:
    cert, key = (place / "broker.pem").read_bytes(), (place / "broker.key").read_bytes()
    (place / "broker.pem").write_bytes(key)
    (place / "broker.key").write_bytes(cert)


def _cert_for_key(place: Path) -> None:
    (place / "broker.key").write_bytes((place / "broker.pem").read_bytes())


def _absent(place: Path) -> None:
    (place / "broker.key").unlink()


def _for_clients(place: Path) -> None:
    for end in ("pem", "key"):
        (place / f"broker.{end}").write_bytes((place / f"mailer_host-7.{end}").read_bytes())


def _no_ca(place: Path) -> None:
    (place / "ca.pem").write_bytes((place / "mailer_host-7.pem").read_bytes())


WRONG = [
    (_other_key, "is not that of the first certificate"), (_locked_key, "encrypted with a password"), (_no_host, "names no host"), (_wrong_order, "out of order"),
    (_empty, "holds no certificate"), (_swapped, "swapped"), (_cert_for_key, "holds certificates alone"), (_absent, "cannot read"), (_for_clients, "names no host"),
    (_no_ca, "is no CA's"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "said"), WRONG, ids=lambda item: getattr(item, "__name__", ""))
def test_files_that_are_no_good_are_refused_and_the_reason_says_which(spoil: object, said: str, place: Path) -> None:
    spoil(place)  # type: ignore[operator]  # one of the functions above
    with pytest.raises(TlsError, match=said) as error:
        load(files(place))
    assert str(place) in str(error.value)


def test_certificates_outside_of_their_time_are_refused(place: Path) -> None:
    with pytest.raises(TlsError, match=r"expired at .* issue a new one"):
        load(files(place), now=datetime.now(UTC) + YEAR + YEAR)
    with pytest.raises(TlsError, match="is the clock of this machine right"):
        load(files(place), now=datetime.now(UTC) - YEAR)
    other = Authority.create(place / "other", "other", 10).directory
    with pytest.raises(TlsError, match=r"ca\.pem expired"):
        load(Files(place / "broker.pem", place / "broker.key", other / "ca.pem"), now=datetime.now(UTC) + timedelta(days=11))


def test_new_files_are_taken_over_and_bad_ones_are_told_once(place: Path) -> None:
    metrics = Metrics()
    tls = Tls(files(place), metrics)
    first = tls.loaded.chain
    assert not tls.look_once()
    authority = Authority.open(place)
    authority.issue_broker(["localhost"], 10, replace=True)
    assert tls.look_once() and tls.loaded.chain != first
    second = tls.loaded
    (place / "broker.key").write_bytes((place / "ca.key").read_bytes())
    assert [tls.look_once() for _ in range(4)] == [False] * 4
    assert tls.loaded is second
    assert [metrics.registry.get_sample_value("headrace_tls_reloads_total", {"result": result}) for result in ("taken", "refused")] == [1, 1]
    assert metrics.registry.get_sample_value("headrace_tls_not_after_seconds") == second.not_after.timestamp()
    authority.issue_broker(["localhost"], 20, replace=True)
    assert tls.look_once() and tls.loaded is not second


def test_the_command_line_makes_issues_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(tmp_path / "tls")
    assert run("tls", "init", "--dir", place, "--host", "broker.example", "--host", "10.0.0.7") == 0
    assert "--tls-ca" in capsys.readouterr().err
    assert run("tls", "init", "--dir", place) == 4 and "is there already" in capsys.readouterr().err
    assert run("tls", "issue", "ops", "--dir", place, "--role", "operator", "--all-domains", "--days", "5") == 0
    assert capsys.readouterr().out == f"{place}/ops.pem\n"
    assert run("tls", "issue", "ops", "--dir", place) == 4 and "--replace" in capsys.readouterr().err
    for words, said in (
        (["ca"], "would take the place"),
        (["a b"], "a name is"),
        (["x", "--domain", "a b"], "a domain is"),
        ([], "a name is"),
        (["x", "--broker"], "names hosts"),
    ):
        assert run("tls", "issue", *words, "--dir", place) == 4 and said in capsys.readouterr().err
    assert run("tls", "issue", "x", "--dir", str(tmp_path)) == 4 and "headrace tls init makes one" in capsys.readouterr().err
    assert run("tls", "show", f"{place}/broker.pem", f"{place}/ops.pem", "-o", "json") == 0
    broker, ops = json.loads(capsys.readouterr().out)
    assert (broker["hosts"], ops["identity"], ops["days_left"], ops["key"]) == (["broker.example", "10.0.0.7"], "headrace://*/operator/ops", 4, "fits")
    assert run("tls", "show", f"{place}/ca.key") == 4 and "no certificate" in capsys.readouterr().err
    assert run("tls", "revoke") == 2


def test_clients_say_what_is_wrong_with_their_files(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ca, cert, key = place / "ca.pem", place / "mailer_host-7.pem", place / "mailer_host-7.key"
    ClientTls.of(ca, cert, key).credentials()
    with pytest.raises(InvalidRequest, match="belong together"):
        ClientTls.of(ca, cert, None)
    with pytest.raises(InvalidRequest, match="name the CA"):
        ClientTls.of(None, cert, key)
    for wrong, said in (((ca, cert, place / "broker.key"), "is not that of the certificate"), ((key, cert, key), "not what it should be"), ((ca, key, cert), "not what")):
        with pytest.raises(InvalidRequest, match=said):
            ClientTls.of(*wrong).credentials()
    for name, path in (("TLS_CA", ca), ("TLS_CLIENT_CERT", cert), ("TLS_CLIENT_KEY", key)):
        monkeypatch.setenv(f"HEADRACE_{name}", str(path))
    assert ClientTls.of(None, None, None) == ClientTls(ca, cert, key)
    before = ClientTls.of(None, None, None).stamp()
    os.utime(cert, ns=(1, 1))
    assert ClientTls.of(None, None, None).stamp() != before
