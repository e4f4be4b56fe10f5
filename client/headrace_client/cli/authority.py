"""A private certificate authority in a directory: `ca.pem` and `ca.key`, and what was issued from them. Needs nothing but the `cryptography` library.

Who a client is stands in its certificate as one URI (subject alternative name): `headrace://DOMAIN/ROLE/NAME`, with `*` for all domains; as SPIFFE does it for workloads
(SPIFFE X509-SVID, section 2: exactly one URI). Brokers' certificates name hosts instead. All files can be read by their owner alone.
"""

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from headrace_proto.wire import IDENTITY_SCHEME

SKEW = timedelta(minutes=5)
"""Certificates are valid a little earlier than now: clocks differ."""
_BROKER = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
"""A broker that stands by passes calls on to the one that owns the queue, as a client of it."""


class AuthorityError(Exception):
    """A file is in the way, missing, or not what it should be; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate says."""

    file: str
    subject: str
    identity: str
    hosts: list[str]
    issuer: str
    is_ca: bool
    serial: str
    fingerprint: str
    valid_from: datetime
    valid_until: datetime
    days_left: int
    key: str


class Authority:
    """The one in a directory."""

    def __init__(self, directory: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self.directory = directory
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, directory: Path, name: str, days: int) -> "Authority":
        """Makes one. Raises AuthorityError when there is one already: what it issued would be worth nothing."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in ("ca.pem", "ca.key"):
            if (directory / file).exists():
                raise AuthorityError(f"{directory / file} is there already; with a new authority, all that the old one issued would be refused: choose another directory")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        builder = _builder(subject, subject, key.public_key(), now, now + timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True).add_extension(_usage(signs_certificates=True), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        write(directory / "ca.key", _pem(key))
        write(directory / "ca.pem", certificate.public_bytes(Encoding.PEM))
        return cls(directory, certificate, key)

    @classmethod
    def open(cls, directory: Path) -> "Authority":
        """The one that is there. Raises AuthorityError."""
        try:
            certificate = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
            key = load_pem_private_key((directory / "ca.key").read_bytes(), None)
        except OSError as error:
            raise AuthorityError(f"there is no authority in {directory} ({error.filename}: {error.strerror}); headrace tls init makes one") from error
        except (ValueError, TypeError) as error:
            raise AuthorityError(f"ca.pem or ca.key in {directory} cannot be read: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise AuthorityError(f"ca.key in {directory} is not the key of ca.pem")
        return cls(directory, certificate, key)

    def issue_broker(self, hosts: Sequence[str], days: int, *, replace: bool = False) -> tuple[Path, Path]:
        """(certificate, key) of a broker that clients reach under these names and addresses."""
        names = [_host(host) for host in dict.fromkeys(hosts)]
        return self._issue("broker", hosts[0], names, _BROKER, days, replace)

    def issue_client(self, domain: str, role: str, name: str, days: int, *, replace: bool = False) -> tuple[Path, Path]:
        """(certificate, key) of a client, or an agent, that is known by this name."""
        file = name.replace("/", "_").replace(":", "_")
        if file in ("ca", "broker"):
            raise AuthorityError(f"{name!r} would take the place of the authority's or the broker's files: choose another name")
        uri = x509.UniformResourceIdentifier(identity_uri(domain, role, name))
        return self._issue(file, name, [uri], [ExtendedKeyUsageOID.CLIENT_AUTH], days, replace)

    def _issue(
        self, file: str, name: str, names: Sequence[x509.GeneralName], usage: Sequence[x509.ObjectIdentifier], days: int, replace: bool
    ) -> tuple[Path, Path]:  # fmt: skip
        cert_path, key_path = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        if not replace:
            for path in (cert_path, key_path):
                if path.exists():
                    raise AuthorityError(f"{path} is there already; --replace puts a new one in its place, which programs that run take over by themselves")
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        until = min(now + timedelta(days=days), self._certificate.not_valid_after_utc)
        if until <= now:
            raise AuthorityError(f"the authority in {self.directory} has expired; headrace tls init makes a new one in another directory")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
        builder = _builder(subject, self._certificate.subject, key.public_key(), now, until)
        builder = (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        certificate = builder.sign(self._key, hashes.SHA256())
        write(key_path, _pem(key))
        write(cert_path, certificate.public_bytes(Encoding.PEM))
        return cert_path, key_path


def identity_uri(domain: str, role: str, name: str) -> str:
    """How a certificate says who its holder is; domain `*`: of all domains."""
    return f"{IDENTITY_SCHEME}{domain}/{role}/{name}"


def show(path: Path) -> list[Shown]:
    """The certificates in a file. Raises AuthorityError."""
    try:
        pem = path.read_bytes()
        found = x509.load_pem_x509_certificates(pem)
    except OSError as error:
        raise AuthorityError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise AuthorityError(f"{path} holds no certificate that can be read: expected PEM, with BEGIN CERTIFICATE") from error
    return [_shown(path, certificate, _key_word(path, pem, certificate) if index == 0 else "") for index, certificate in enumerate(found)]


def write(path: Path, data: bytes) -> None:
    """Writes a file as a whole, for its owner alone: nobody ever reads half of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:  # fmt: skip
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - SKEW).not_valid_after(until)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
        key_cert_sign=signs_certificates, crl_sign=signs_certificates, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host.strip("[]")))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise AuthorityError(f"{host!r} is no host name: give DNS names of ASCII letters, digits, dots and hyphens, or IP addresses") from error


def _key_word(path: Path, pem: bytes, certificate: x509.Certificate) -> str:
    """Whether the key that lies beside a certificate, or in the same file, is its own."""
    beside = path.with_suffix(".key")
    if b"PRIVATE KEY" not in pem:
        if not beside.is_file():
            return "none here"
        pem = beside.read_bytes()
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        return "unreadable"
    own = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "fits" if own == certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) else "another one's"


def _shown(path: Path, certificate: x509.Certificate, key: str) -> Shown:
    hosts: list[str] = []
    uris: list[str] = []
    is_ca = False
    for extension in certificate.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            hosts = [str(name.value) for name in value if isinstance(name, x509.DNSName | x509.IPAddress)]
            uris = [name.value for name in value if isinstance(name, x509.UniformResourceIdentifier)]
        elif isinstance(value, x509.BasicConstraints):
            is_ca = value.ca
    until = certificate.not_valid_after_utc
    return Shown(
        file=str(path), subject=certificate.subject.rfc4514_string(), identity=" ".join(uri for uri in uris if uri.startswith(IDENTITY_SCHEME)), hosts=hosts,
        issuer=certificate.issuer.rfc4514_string(), is_ca=is_ca, serial=f"{certificate.serial_number:x}", fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
        valid_from=certificate.not_valid_before_utc, valid_until=until, days_left=(until - datetime.now(UTC)).days, key=key,
    )  # fmt: skip
