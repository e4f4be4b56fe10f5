"""A small OpenID provider on loopback, over real HTTP with keys of its own: everybody who comes is logged in at once, as whoever it was told."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote_plus, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.ports import free_ports

CLIENT, SECRET = "headrace-here", "a secret that the provider made for it: 7/%+:"
Claims = dict[str, Any]


@dataclass(frozen=True)
class Key:
    """One that signs."""

    number: str
    algorithm: str
    private: Any

    @property
    def public(self) -> dict[str, Any]:
        """As a JSON Web Key."""
        make: Any = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        return {**make.to_jwk(self.private.public_key(), as_dict=True), "kid": self.number, "use": "sig", "alg": self.algorithm}


def new_key(algorithm: str = "ES256") -> Key:
    """A fresh one."""
    private: Any = rsa.generate_private_key(65537, 2048) if algorithm == "RS256" else ec.generate_private_key(ec.SECP256R1())
    return Key(secrets.token_hex(4), algorithm, private)


@dataclass
class OpenIdProvider:
    """`person`: the claims of whoever comes; `twist` changes those of the next tokens; `sign`: makes a token of claims; `refuse`: the error that it answers instead of a
    code; `metadata` replaces parts of the discovery document; `asked` counts requests by path. `kept_back`: claims that only the userinfo endpoint tells; `userinfo`
    replaces parts of what it says; `raw`: the answer of a path, whatever was asked: status, headers, body."""

    port: int = field(default_factory=lambda: free_ports(1)[0])
    key: Key = field(default_factory=new_key)
    published: list[Key] = field(default_factory=list)
    person: Claims = field(default_factory=dict)
    twist: Callable[[Claims], object] = lambda claims: None
    sign: Callable[[Claims], str] | None = None
    refuse: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    kept_back: set[str] = field(default_factory=set)
    userinfo: Claims = field(default_factory=dict)
    raw: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    access_tokens: set[str] = field(default_factory=set)
    _server: ThreadingHTTPServer | None = None

    @property
    def issuer(self) -> str:
        """Its address and name."""
        return f"http://127.0.0.1:{self.port}"

    def reset(self) -> None:
        """As it was at first; it serves."""
        self.person = {"sub": "248289761001", "preferred_username": "grace", "groups": ["ops", "all"]}
        self.twist, self.sign, self.refuse, self.metadata = lambda claims: None, None, "", {}
        self.published = [self.key]
        self.kept_back, self.userinfo, self.raw = set(), {}, {}
        self.start()

    def start(self) -> None:
        """Serves from now on."""
        if self._server is None:
            self._server = ThreadingHTTPServer(("127.0.0.1", self.port), _handler(self))
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Nobody answers any more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def discovery(self) -> dict[str, Any]:
        """What stands at the well-known address. People log in at another site than a broker's on 127.0.0.1, as in life: browsers send less from there."""
        return {
            "issuer": self.issuer, "authorization_endpoint": f"http://localhost:{self.port}/authorize", "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys", "end_session_endpoint": f"{self.issuer}/end",
            "userinfo_endpoint": f"{self.issuer}/userinfo", **self.metadata,
        }  # fmt: skip

    def authorize(self, asked: dict[str, str]) -> str:
        """Where it sends the browser back to."""
        assert (asked["response_type"], asked["code_challenge_method"], asked["client_id"]) == ("code", "S256", CLIENT)
        assert "openid" in asked["scope"].split()
        code = secrets.token_hex(8)
        self.codes[code] = asked
        said = {"error": self.refuse} if self.refuse else {"code": code, "iss": self.issuer}
        return f"{asked['redirect_uri']}?{urlencode({**said, 'state': asked['state']})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        """(status, answer) for a code, which is good once."""
        basic = (
            base64.b64decode(authorization.removeprefix("Basic ")).decode()
            if authorization
            else ":".join((quote_plus(form["client_id"]), quote_plus(form["client_secret"])))
        )
        if [unquote_plus(part) for part in basic.partition(":")[::2]] != [CLIENT, SECRET]:
            return 401, {"error": "invalid_client"}
        asked = self.codes.pop(form["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
        if asked is None or (form["grant_type"], form["redirect_uri"], challenge) != ("authorization_code", asked["redirect_uri"], asked["code_challenge"]):
            return 400, {"error": "invalid_grant"}
        access = secrets.token_hex(8)
        self.access_tokens.add(access)
        return 200, {"access_token": access, "token_type": "Bearer", "id_token": self.id_token(asked["nonce"])}

    def about(self, authorization: str) -> tuple[int, dict[str, Any]]:
        """(status, answer) of the userinfo endpoint."""
        if authorization.removeprefix("Bearer ") not in self.access_tokens:
            return 401, {"error": "invalid_token"}
        return 200, {**self.person, **self.userinfo}

    def id_token(self, nonce: str) -> str:
        """A token for whoever comes."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": nonce, **self.person}
        claims = {name: value for name, value in claims.items() if name not in self.kept_back}
        self.twist(claims)
        return self.sign(claims) if self.sign is not None else signed(claims, self.key)


def signed(claims: Claims, key: Key, **header: Any) -> str:
    """A token that the key has signed."""
    return jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.number, **header})


def _handler(provider: OpenIdProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
            provider.asked[path] = provider.asked.get(path, 0) + 1
            if path == "/authorize":
                self.send_response(302)
                self.send_header("Location", provider.authorize(query))
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif path == "/userinfo":
                self._say(*provider.about(self.headers.get("Authorization", "")))
            elif path in ("/.well-known/openid-configuration", "/keys"):
                self._say(200, provider.discovery() if path != "/keys" else {"keys": [key.public for key in provider.published]})
            else:
                self._say(200 if path == "/end" else 404, {})

        def do_POST(self) -> None:
            provider.asked["/token"] = provider.asked.get("/token", 0) + 1
            form = {name: values[0] for name, values in parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()).items()}
            self._say(*provider.token(form, self.headers.get("Authorization", "")))

        def _say(self, status: int, document: dict[str, Any]) -> None:
            status, headers, body = provider.raw.get(urlsplit(self.path).path, (status, {}, json.dumps(document).encode()))
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Nothing is logged."""

    return Handler
