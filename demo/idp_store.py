"""Store of the development provider: people, clients, signing keys, codes and refresh tokens, all in memory.

Law: development only. The people sign in with one click and the clients' secrets are printed here; this must never
guard anything real.
"""

import re
import threading
import time
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin, TokenMixin
from joserfc.jwk import KeySet, RSAKey

AUDIENCES = ("airflow", "airflow-egress")
SCOPES = ("openid", "profile", "offline_access")
CODE_LIFETIME_S = 60
KEPT_KEYS = 3
_LOOPBACK_URL = re.compile(r"https?://(127\.0\.0\.1|localhost)(:[0-9]{1,5})?/[!-~]*", re.ASCII)


def is_loopback_url(url: str) -> bool:
    """Return whether a browser redirected to `url` stays on this machine."""
    return _LOOPBACK_URL.fullmatch(url) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person who can sign in."""

    login: str
    name: str
    groups: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The stable identifier in `sub`, which is not the login."""
        return f"user-{self.login}"

    def get_user_id(self) -> str:
        """Return what Authlib puts into `sub`."""
        return self.subject


PEOPLE = MappingProxyType(
    {
        person.login: person
        for person in (
            Person(login="ann", name="Ann Viewer", groups=("data-readers",)),
            Person(login="ben", name="Ben User", groups=("data-engineers",)),
            Person(login="olga", name="Olga Op", groups=("data-ops",)),
            Person(login="adam", name="Adam Admin", groups=("airflow-admins",)),
            Person(login="sam", name="Sam Sales", groups=("sales-analysts",)),
            Person(login="nina", name="Nina Nobody"),
        )
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client(ClientMixin):  # type: ignore[misc]
    """A registered application: `service` clients act for themselves, the others for people."""

    client_id: str
    secret: str = field(default="", repr=False)
    service: bool = False

    @property
    def id_token_signed_response_alg(self) -> str:
        """The algorithm of its ID tokens."""
        return "RS256"

    def get_client_id(self) -> str:
        """Return the id."""
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        """Return nothing: every request names its redirect URI."""
        return ""

    def get_allowed_scope(self, scope: str | None) -> str:
        """Return the requested scopes that exist."""
        return " ".join(word for word in (scope or "").split() if word in SCOPES)

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Accept loopback addresses with any port (RFC 8252 §7.3)."""
        return is_loopback_url(redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        """Compare the demonstration secret."""
        return self.secret != "" and client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:  # noqa: ARG002 - Authlib's signature
        """Accept a secret from clients that have one, and none (with PKCE) from those that do not."""
        return method in {"client_secret_basic", "client_secret_post"} if self.secret else method == "none"

    def check_response_type(self, response_type: str) -> bool:
        """Accept only the code flow."""
        return response_type == "code" and not self.service

    def check_grant_type(self, grant_type: str) -> bool:
        """Accept what fits the kind of client."""
        allowed = {"client_credentials"} if self.service else {"authorization_code", "refresh_token"}
        return grant_type in allowed


CLIENTS = MappingProxyType(
    {
        client.client_id: client
        for client in (
            Client(client_id="airflow-gate", secret="airflow-gate-secret"),  # noqa: S106 - a demonstration value
            Client(client_id="airflow-cli"),
            Client(client_id="sales-etl", secret="sales-etl-secret", service=True),  # noqa: S106 - likewise
            Client(client_id="finance-etl", secret="finance-etl-secret", service=True),  # noqa: S106 - likewise
            Client(client_id="copilot", secret="copilot-secret", service=True),  # noqa: S106 - likewise
        )
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Code(AuthorizationCodeMixin):  # type: ignore[misc]
    """One authorization code, with the PKCE challenge of its request."""

    code: str = field(repr=False)
    client_id: str
    redirect_uri: str
    scope: str
    nonce: str
    person: Person
    sid: str
    code_challenge: str
    code_challenge_method: str
    issued_at: int

    def get_redirect_uri(self) -> str:
        """Return the URI that the code was sent to."""
        return self.redirect_uri

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.scope

    def get_nonce(self) -> str:
        """Return the nonce for the ID token."""
        return self.nonce

    def get_auth_time(self) -> int:
        """Return when the person signed in."""
        return self.issued_at

    def get_acr(self) -> None:
        """Say nothing about how the person signed in."""

    def get_amr(self) -> None:
        """Say nothing about how the person signed in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken(TokenMixin):  # type: ignore[misc]
    """One refresh token. It is not rotated: Envoy refreshes in parallel requests with the same one."""

    token: str = field(repr=False)
    client_id: str
    scope: str
    person: Person
    sid: str

    def check_client(self, client: Client) -> bool:
        """Return whether it was issued to this client."""
        return client.client_id == self.client_id

    def get_scope(self) -> str:
        """Return the granted scope."""
        return self.scope

    def get_expires_in(self) -> int:
        """Say nothing: it lives as long as the provider runs."""
        return 0

    def is_revoked(self) -> bool:
        """Return whether it was revoked."""
        return False

    def is_expired(self) -> bool:
        """Return whether it expired."""
        return False


class KeyRing:
    """The signing keys, newest first. The newest signs; the newest few are published."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: tuple[RSAKey, ...] = ()
        self._made = 0
        self.rotate()

    def rotate(self, *, forget_old: bool = False) -> str:
        """Make a new signing key and return its `kid`."""
        key: RSAKey
        with self._lock:
            self._made += 1
            kid = f"{int(time.time())}-{self._made}"
            key = RSAKey.generate_key(2048, parameters={"kid": kid, "use": "sig", "alg": "RS256"}, auto_kid=False)
            self._keys = (key,) if forget_old else (key, *self._keys[: KEPT_KEYS - 1])
        return kid

    def signing(self) -> RSAKey:
        """Return the key that signs now."""
        return self._keys[0]

    def public(self) -> dict[str, Any]:
        """Return the published key set."""
        return dict(KeySet(list(self._keys)).as_dict(private=False))


@dataclass(slots=True, kw_only=True)
class Moods:
    """How the provider behaves, for tests of the parts behind it: changed by `/dev/moods`.

    `access_token_s` is the lifetime of access tokens, `more_groups` how many meaningless groups everyone is in,
    `token_status` what the token endpoint answers instead of tokens (0: tokens).
    """

    access_token_s: int = 600
    more_groups: int = 0
    token_status: int = 0


class Store:
    """Codes and refresh tokens that were issued."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: dict[str, Code] = {}
        self._refresh_tokens: dict[str, RefreshToken] = {}

    def put_code(self, code: Code) -> None:
        """Keep a code until it is used or expires."""
        with self._lock:
            self._codes[code.code] = code

    def find_code(self, code: str, client: Client, now: float) -> Code | None:
        """Return a code of this client that is still valid."""
        with self._lock:
            found = self._codes.get(code)
        if found is None or found.client_id != client.client_id or now > found.issued_at + CODE_LIFETIME_S:
            return None
        return found

    def drop_code(self, code: Code) -> None:
        """Forget a code: each is valid once."""
        with self._lock:
            self._codes.pop(code.code, None)

    def put_refresh_token(self, token: RefreshToken) -> None:
        """Keep a refresh token."""
        with self._lock:
            self._refresh_tokens[token.token] = token

    def find_refresh_token(self, token: str) -> RefreshToken | None:
        """Return a refresh token."""
        with self._lock:
            return self._refresh_tokens.get(token)
