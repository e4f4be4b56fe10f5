"""Why somebody was not let in, in words for a page. No text has a code, a token or a secret in it."""


class LoginRefused(Exception):
    """The text says what was wrong. `advice`: what to do; `kind`: for the log, of few values; `status`: of the page."""

    kind = "refused"
    status = 403

    def __init__(self, text: str, advice: str) -> None:
        super().__init__(text)
        self.advice = advice


class ProviderAway(LoginRefused):
    """The provider did not answer, or not as one does. Another try may go well."""

    kind = "provider_away"
    status = 503


class BegunElsewhere(LoginRefused):
    """This answer of the provider does not belong to a login that this browser began lately."""

    kind = "begun_elsewhere"
    status = 400


class ProviderRefused(LoginRefused):
    """The provider said no."""

    kind = "provider_refused"


class TokenRefused(LoginRefused):
    """The ID token is not one for us, for now, for this login. `kind` says which of its checks failed."""

    def __init__(self, kind: str, text: str, advice: str) -> None:
        super().__init__(text, advice)
        self.kind = kind


class TooManyTries(LoginRefused):
    """Logins from this address have failed too often; this one is not looked at."""

    kind = "too_many"
    status = 429


class NotAllowed(LoginRefused):
    """The provider knows who it is, and nothing here is for them."""

    kind = "no_rights"
