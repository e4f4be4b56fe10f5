"""Logins of people by an OpenID provider: the authorization code flow with PKCE, state and nonce.

OpenID Connect Core 1.0 (https://openid.net/specs/openid-connect-core-1_0.html), Discovery 1.0, RP-Initiated Logout 1.0; PKCE is RFC 7636, the issuer in answers RFC 9207.

    browser -> /login/oidc                     state, nonce and verifier are made, and sealed into a cookie (`sealed`)
    browser -> provider -> /login/oidc/callback with a code; the state must be the cookie's
    broker  -> provider                        code and verifier for an ID token; it is checked (`tokens`), and says who this is (`claims`)
    broker  -> provider                        the userinfo endpoint, where the ID token does not say all of that

No broker keeps anything of a login between its steps: the cookie is sealed with a key made from the client's secret, which all brokers have, so that each can go on with
what another one began. Keys and addresses of the provider are asked for when they are needed (`provider`): a broker starts, and serves, while the provider is away.
"""
