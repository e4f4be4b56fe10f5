"""What a broker is told of the provider."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from headrace_broker.config import ConfigError, Options
from headrace_broker.model.group_rights import GroupRights, read_rights

SHORTEST_SECRET = 16


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """See the options of the same names. `public_url`: without a slash at its end."""

    issuer: str
    client_id: str
    secret_file: Path
    scopes: str
    name_claim: str
    groups_claim: str
    rights: tuple[GroupRights, ...]
    contact: str
    public_url: str

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends browsers back to."""
        return f"{self.public_url}/login/oidc/callback"

    @property
    def named(self) -> str:
        """The provider, as pages name it."""
        return urlsplit(self.issuer).netloc

    def secret(self) -> str:
        """The client's secret, as its file has it now. Raises ConfigError."""
        try:
            secret = self.secret_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {self.secret_file} (--oidc-client-secret-file): {error}") from error
        if len(secret) < SHORTEST_SECRET:
            wanted = f"a secret of at least {SHORTEST_SECRET} characters: give the one that the provider made"
            raise ConfigError(f"{self.secret_file} (--oidc-client-secret-file) does not hold {wanted}")
        return secret


def settings_of(options: Options) -> OidcSettings | None:
    """What the options say; None: nobody logs in by a provider. Raises ConfigError: the secret cannot be read."""
    if options.oidc_issuer is None:
        return None
    assert options.oidc_client_id is not None  # as config.py has checked, like those below
    assert options.oidc_client_secret_file is not None
    assert options.oidc_groups is not None
    assert options.public_url is not None
    settings = OidcSettings(
        options.oidc_issuer, options.oidc_client_id, options.oidc_client_secret_file, options.oidc_scopes, options.oidc_name_claim, options.oidc_groups_claim,
        read_rights(options.oidc_groups), options.oidc_contact, options.public_url.rstrip("/"),
    )  # fmt: skip
    settings.secret()
    return settings
