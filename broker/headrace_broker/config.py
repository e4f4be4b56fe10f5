"""The broker's options: a flag, an environment variable, a default, in this order. Validated at once, all errors together."""

import argparse
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import BaseModel, Field, ValidationError, model_validator

from headrace_broker.model.addresses import MAX_PORT, asked_for, is_loopback, is_readable, split
from headrace_broker.model.group_rights import read_rights

UNREADABLE = (
    "database_url cannot be read: give postgresql://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE, with ports up to 65535, IPv6 addresses in [ ], "
    "and in names and passwords %40 for @, %2F for /, %3A for :, %3F for ?, %23 for #"
)
"""Without the URL: what cannot be read may be of the password."""


class ConfigError(Exception):
    """One line for each option that is wrong."""


class Options(BaseModel):
    """Every option, with its default and meaning. Environment: HEADRACE_<OPTION>."""

    database_url: str | None = Field(
        None, description="Postgres to use, as a URL; all its servers, with commas, when it fails over; without it the broker starts one of its own in --data-dir"
    )
    data_dir: Path | None = Field(None, description="directory of the embedded Postgres (default: below the user's state directory; for root /var/lib/headrace)")
    migrate: str = Field(
        "on", pattern="^(on|off)$", description="on: run brings the schema up to date by what only adds to it; off: it refuses to start where something is missing"
    )
    listen: list[str] = Field(["127.0.0.1:7233"], description="HOST:PORT or unix:PATH to serve gRPC on; may be repeated; port 0 picks a free one")
    http_listen: str = Field("127.0.0.1:7280", description="HOST:PORT for the manager's pages, /metrics, /healthz and /readyz, or off")
    advertise: str | None = Field(
        None, description="HOST:PORT at which other brokers on the same database reach this one; unset: that of --listen, with the host's name in place of all addresses"
    )
    advertise_http: str | None = Field(
        None, description="URL to which a broker that stands by sends browsers while this one owns the queue; unset: that of --http-listen, in the same way"
    )
    behind_proxy: bool = Field(False, description="the HTTP listener is reached through a proxy alone: believe its X-Forwarded-Prefix, -Proto, -Host and -For")
    public_url: str | None = Field(None, description="URL under which browsers reach the manager's pages; an OpenID provider sends people back there")
    oidc_issuer: str | None = Field(None, description="URL of an OpenID provider by which people may log in to the manager, as it names itself; unset: by none")
    oidc_client_id: str | None = Field(None, description="what the provider calls this broker")
    oidc_client_secret_file: Path | None = Field(None, description="file with the secret that the provider gave for that id; the same for all brokers of a database")
    oidc_scopes: str = Field("openid profile email", description="scopes to ask the provider for; openid must be among them")
    oidc_name_claim: str = Field("preferred_username", min_length=1, description="the claim that names people; never given to another person later, as sub is")
    oidc_groups_claim: str = Field("groups", min_length=1, description="the claim that lists somebody's groups; dots lead into it: realm_access.roles")
    oidc_groups: str | None = Field(
        None, description="what groups may do, with semicolons: GROUP=RIGHTS, such as ops=operator@*;dev=viewer@shop;letters=user/letters; the first that fits counts"
    )
    oidc_session_s: float = Field(
        43_200.0, ge=60, le=43_200, description="seconds after which who logged in by the provider must log in anew: groups are looked at then, and only then"
    )
    oidc_contact: str = Field("an administrator of headrace", description="whom people should ask who may log in and are in no such group")
    login_link: bool = Field(False, description="print a link at start that logs in to the manager once; without --database-url there is always one")
    redact: str = Field(
        "password,passwd,passphrase,secret,token,apikey,authorization,credential,privatekey,cookie",
        description="names, with commas, of payload and result fields and of labels whose values are masked for whoever may not see secrets",
    )
    lease_s: float = Field(30.0, ge=3, le=3600, description="seconds until the lease of a silent agent ends; at least 3 heartbeats")
    heartbeat_s: float = Field(5.0, ge=1, le=600, description="seconds between heartbeats of an agent")
    disconnect_grace_s: float = Field(3.0, ge=1, le=3600, description="seconds an agent has to come back after its connection was seen to close")
    accept_timeout_s: float = Field(5.0, ge=1, le=600, description="seconds an agent has to accept what it was sent")
    payload_limit_bytes: int = Field(1024 * 1024, ge=1024, le=8 * 1024 * 1024, description="largest payload, result or checkpoint")
    cache_bytes: int = Field(64 * 1024 * 1024, ge=0, description="memory for payloads of waiting jobs")
    retention_period_s: float = Field(60.0, ge=1, le=86_400, description="seconds between passes that remove jobs past their delete date")
    drain_timeout_s: float = Field(20.0, ge=0, le=3600, description="seconds to store what is pending at shutdown")
    tls_cert: Path | None = Field(None, description="certificate chain of the server (PEM), the server's own first; read again when it changes")
    tls_key: Path | None = Field(None, description="its private key (PEM)")
    tls_client_ca: Path | None = Field(None, description="CAs that clients' certificates must come from (PEM); gRPC clients without a certificate are refused")
    tls_require_client_cert: str = Field(
        "grpc", pattern="^(grpc|all)$", description="with --tls-client-ca, who must show a certificate: grpc clients, or all, browsers and scrapers of --http-listen too"
    )
    http_tls: str | None = Field(None, pattern="^(on|off)$", description="whether --http-listen is encrypted; unset: on with --tls-cert, else off")
    message_limit_bytes: int = Field(16 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024, description="largest message from a client, of a stream or a call")
    metadata_limit_bytes: int = Field(16 * 1024, ge=2048, le=1024 * 1024, description="largest metadata (headers) of a call")
    streams_limit: int = Field(2000, ge=1, le=1_000_000, description="calls at the same time over one connection; others wait at the client")
    connections_limit: int = Field(20_000, ge=0, le=10_000_000, description="gRPC connections at the same time to one listener; 0: no limit")
    ping_interval_s: float = Field(5.0, ge=0.1, le=3600, description="a connection whose pings come closer together than this, without calls, is closed")
    handshake_timeout_s: float = Field(10.0, ge=0.1, le=3600, description="seconds that a new connection has to become one, encryption included")
    connection_idle_s: float = Field(600.0, ge=0, le=1_000_000, description="a connection without calls is closed after these seconds; 0: never")
    connection_age_s: float = Field(
        0.0, ge=0, le=1_000_000, description="a connection is closed after so many seconds, 10 % more or less; clients connect anew; 0: never"
    )
    connection_age_grace_s: float = Field(30.0, ge=0, le=1_000_000, description="seconds that calls over a connection have to end when it is closed for its age")
    quota_token_calls_per_s: float = Field(0.0, ge=0, description="calls per second that one token, or certificate, may make; 0: no quota")
    quota_token_bytes_per_s: float = Field(0.0, ge=0, description="bytes per second of the messages of one token; 0: no quota")
    quota_domain_calls_per_s: float = Field(0.0, ge=0, description="calls per second that all of one domain may make; 0: no quota")
    quota_domain_bytes_per_s: float = Field(0.0, ge=0, description="bytes per second of the messages of one domain; 0: no quota")
    insecure: bool = Field(False, description="allow listeners beyond loopback without TLS")
    auth: str | None = Field(
        None,
        pattern="^(off|required)$",
        description="required: calls need a token, or a certificate that says who calls; off: none does; unset: required where other machines can reach the broker",
    )
    testing: bool = Field(False, description="for tests only: the clock may be set forward, and the embedded Postgres does not wait for the disk")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="debug, info, warning or error")
    log_format: str = Field("console", pattern="^(console|json)$", description="console or json")

    @model_validator(mode="before")
    @classmethod
    def _split(cls, values: dict[str, Any]) -> dict[str, Any]:
        if isinstance(values.get("listen"), str):
            values["listen"] = [address.strip() for address in values["listen"].split(",") if address.strip()]
        return values

    @model_validator(mode="after")
    def _check(self) -> "Options":
        problems = []
        if self.lease_s < 3 * self.heartbeat_s:
            problems.append(f"lease_s must be at least 3 heartbeats: {self.lease_s:g} < 3 x {self.heartbeat_s:g}; raise --lease-s or lower --heartbeat-s")
        if (self.tls_cert is None) != (self.tls_key is None):
            problems.append("tls_cert and tls_key belong together: set both or none")
        if self.tls_client_ca is not None and self.tls_cert is None:
            problems.append("tls_client_ca asks for certificates over TLS: give tls_cert and tls_key too")
        if self.tls_require_client_cert == "all" and self.tls_client_ca is None:
            problems.append("tls_require_client_cert=all needs tls_client_ca: the CAs whose certificates are taken")
        if self.http_tls == "on" and self.tls_cert is None:
            problems.append("http_tls=on needs tls_cert and tls_key")
        if self.advertise is not None and not self.advertise.startswith("unix:") and not _is_address(self.advertise):
            problems.append(f"advertise: {self.advertise!r} is not an address: give HOST:PORT")
        if self.advertise_http is not None and not self.advertise_http.startswith(("http://", "https://")):
            problems.append(f"advertise_http: {self.advertise_http!r} is not an address of pages: give http://HOST:PORT or https://HOST:PORT")
        problems += self._oidc_problems()
        if self.message_limit_bytes < 2 * self.payload_limit_bytes:
            problems.append(f"message_limit_bytes must be at least twice payload_limit_bytes: {self.message_limit_bytes} < 2 x {self.payload_limit_bytes}")
        if self.database_url is not None and not self.database_url.startswith(("postgresql://", "postgres://")):
            problems.append("database_url must look like postgresql://USER@HOST/DATABASE")
        elif self.database_url is not None and not is_readable(self.database_url):
            problems.append(UNREADABLE)
        elif self.database_url is not None and asked_for(self.database_url) not in ("read-write", "primary", "any"):
            problems.append(f"database_url asks for a server that is {asked_for(self.database_url)} (target_session_attrs); a broker needs read-write")
        self.http_tls = self.http_tls or ("on" if self.tls_cert is not None else "off")
        listeners = [(address, self.tls_cert is not None) for address in self.listen]
        if self.http_listen != "off":
            listeners.append((self.http_listen, self.http_tls == "on"))
        for address, encrypted in listeners:
            problem = self._listener_problem(address, encrypted=encrypted)
            if problem:
                problems.append(problem)
        if problems:
            raise ValueError("; ".join(problems))
        if self.auth is None:
            beyond = any(not address.startswith("unix:") and not is_loopback(address.rpartition(":")[0]) for address in self.listen)
            self.auth = "required" if beyond and not self.insecure else "off"
        return self

    def _oidc_problems(self) -> list[str]:
        problems = []
        for name in ("public_url", "oidc_issuer"):
            url = getattr(self, name)
            if url is not None and not _is_page(url):
                problems.append(f"{name}: {url!r} is no address of pages: give https://HOST/..., without a question mark; http only on this machine")
        given = {name: getattr(self, name) for name in ("oidc_issuer", "oidc_client_id", "oidc_client_secret_file", "oidc_groups", "public_url")}
        missing = [name for name, value in given.items() if not value]
        if missing and any(value for name, value in given.items() if name != "public_url"):
            problems.append(f"a login by OpenID Connect needs {', '.join(missing)} too")
        if "openid" not in self.oidc_scopes.split():
            problems.append(f"oidc_scopes must have openid among them, found {self.oidc_scopes!r}")
        if self.oidc_groups is not None:
            try:
                read_rights(self.oidc_groups)
            except ValueError as error:
                problems.append(f"oidc_groups: {error}")
        return problems

    def _listener_problem(self, address: str, *, encrypted: bool) -> str | None:
        if address.startswith("unix:"):
            return None
        if not _is_address(address):
            return f"{address!r} is not an address: give HOST:PORT or unix:PATH"
        host = address.rpartition(":")[0]
        if is_loopback(host) or self.insecure or encrypted:
            return None
        return f"{address} can be reached from other machines: give --tls-cert and --tls-key, or --insecure if something else protects it"


@dataclass(frozen=True, slots=True)
class Config:
    """Options in force, and where each came from: flag, environment or default."""

    options: Options
    origins: dict[str, str]

    def lines(self) -> list[str]:
        """One line for each option, secrets masked."""
        shown = []
        for name in Options.model_fields:
            value = getattr(self.options, name)
            if name == "database_url" and value:
                value = masked(value)
            if isinstance(value, list):
                value = ",".join(value)
            shown.append(f"{name.replace('_', '-'):22} {'' if value is None else value!s:32} {self.origins[name]}")
        return shown


def masked(url: str) -> str:
    """A database URL without its password."""
    parts = split(url)
    if parts.password is not None:
        url = url.replace(f":{parts.password}@", ":***@", 1)
    return re.sub(r"([?&]password=)[^&]*", r"\1***", url)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds a flag for each option."""
    for name, field in Options.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        help_ = f"{field.description} (environment: HEADRACE_{name.upper()}; default: {_shown(field.default)})".replace("%", "%%")
        if field.annotation is bool:
            parser.add_argument(flag, action="store_const", const=True, help=help_)
        elif name == "listen":
            parser.add_argument(flag, action="append", metavar="ADDRESS", help=help_)
        else:
            parser.add_argument(flag, metavar="VALUE", help=help_)


def read(arguments: argparse.Namespace) -> Config:
    """The configuration from parsed flags and the environment.

    Raises:
        ConfigError: with a line for each option that is wrong.
    """
    given = {name: value for name in Options.model_fields if (value := getattr(arguments, name, None)) is not None}
    environment = {name: os.environ[f"HEADRACE_{name.upper()}"] for name in Options.model_fields if f"HEADRACE_{name.upper()}" in os.environ}
    try:
        options = Options.model_validate({**environment, **given})
    except ValidationError as error:
        raise ConfigError("\n".join(_problem(item) for item in error.errors())) from error
    origins = {name: "flag" if name in given else "environment" if name in environment else "default" for name in Options.model_fields}
    return Config(options, origins)


def parse(argv: Sequence[str]) -> Config:
    """The configuration from flags; for tests and embedding."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return read(parser.parse_args(argv))


def _problem(item: Any) -> str:
    where = "--" + str(item["loc"][0]).replace("_", "-") + ": " if item["loc"] else ""
    found = f", found {item['input']!r}" if item["loc"] else ""
    return f"{where}{item['msg'].removeprefix('Value error, ')}{found}"


def _shown(default: Any) -> str:
    return "none" if default is None else ",".join(default) if isinstance(default, list) else str(default)


def _is_page(url: str) -> bool:
    parts = urlsplit(url)
    there = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
    return there and bool(parts.hostname) and not parts.query and not parts.fragment and parts.username is None


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and int(port) <= MAX_PORT
