"""Where issuers report that a session has ended (OpenID Connect Back-Channel Logout 1.0).

Law 1: the caller is anonymous; only the logout token counts. It is verified by the same rules and keys as any other
token.
Law 2: it can only end sessions. A duplicate token is refused, and would do nothing: it revokes what was issued up to
its own `iat`, not up to now.
Law 3: the answer is 200 when the revocation is on record and in force, 400 for everything else (§2.8); it reveals only
the error's class.
Law 4: cheap checks come first: form, issuer, kind, audience, freshness, duplicates. Only a token that passes them
costs a signature check. Tokens with a wrong signature or key, and waiting for a key, are limited (see
`authz.sessions.token_limits`).
"""

import logging
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import orjson
from cachetools import TTLCache

from authz.authn.sessions import KeyState
from authz.core import tokens
from authz.core.caching.rate_limit import FairShare
from authz.core.clock import Clock
from authz.core.errors import DeniedError, KeysUnavailableError, TokenError
from authz.core.jose.jwks import Key
from authz.core.model import Issuer
from authz.core.policy import Policy
from authz.core.reasons import Reason
from authz.core.revocation import Kind, PendingRevocation, Revocation
from authz.core.tokens.compact import ParsedToken
from authz.core.tokens.logout import FRESH_S, Logout, read_logout
from authz.ops.http_server import Asked, Page
from authz.sessions.token_limits import KeyWaits, Sender, WrongTokens, sender_of

log = logging.getLogger(__name__)

MOST_BODY: Final = 32 * 1024
_MOST_LINES: Final = 5  # of the log in a second, about refused tokens
_MOST_SEEN: Final = 100_000
_WAIT_S: Final = 3.0
_FORM: Final = "application/x-www-form-urlencoded"
_FIELD: Final = b"logout_token="


class Backchannel:
    """Verifies logout tokens.

    Args:
        policy: the policy in force; None before the first.
        keys: the state of the issuers' keys, by issuer name.
        want_key: asks for a key, see `authz.keys.KeyStore.request`.
        revoke: see `authz.check.parts.Revoker`.
        clients: audiences that are accepted besides the issuers' own.
        keep: seconds for which a session's revocation is kept.
        clock: the time.
    """

    def __init__(
        self,
        *,
        policy: Callable[[], Policy | None],
        keys: Callable[[], Mapping[str, KeyState]],
        want_key: Callable[[str, str, Callable[[], None]], bool],
        revoke: Callable[[PendingRevocation, Callable[[], None]], bool],
        clients: frozenset[str],
        keep: float,
        clock: Clock,
    ) -> None:
        self._policy = policy
        self._keys = keys
        self._revoke = revoke
        self._clients = clients
        self._keep = keep
        self._clock = clock
        self._lock = threading.Lock()
        self._wrong = WrongTokens()
        self._waits = KeyWaits(want_key, _WAIT_S)
        self._lines = FairShare(_MOST_LINES, 1.0)
        # Longer than a token is fresh, with twice the largest skew that a policy may set.
        self._seen: TTLCache[tuple[str, str], bool] = TTLCache(_MOST_SEEN, FRESH_S + 1200, timer=clock.monotonic)

    def answer(self, asked: Asked) -> Page:
        """The page for a request."""
        if asked.method != "POST":
            return _page(HTTPStatus.METHOD_NOT_ALLOWED, "invalid_request")
        try:
            return self._end(asked)
        except DeniedError as error:
            self._log_refusal(error)
            return _page(HTTPStatus.BAD_REQUEST, "invalid_request")
        except Exception:
            # The port's outermost handler: a bug must not end the thread without an answer.
            log.exception("a back-channel logout")
            return _page(HTTPStatus.BAD_REQUEST, "server_error")

    def _log_refusal(self, error: DeniedError) -> None:
        with self._lock:
            is_logged = self._lines.take("", self._clock.monotonic())
        if is_logged:
            log.warning("a back-channel logout was refused: %s: %s", error.reason, error.detail)

    def _end(self, asked: Asked) -> Page:
        parsed = tokens.parse(_token(asked), max_bytes=tokens.MAX_TOKEN_BYTES)
        policy = self._policy()
        if policy is None:
            raise KeysUnavailableError("there is no policy yet")
        issuer = tokens.find_issuer(parsed, policy.issuers)
        now = self._clock.wall()
        logout = read_logout(parsed, issuer, self._clients, now)  # not trusted before the signature is verified, below
        seen = issuer.issuer, logout.token_id
        sender = sender_of(asked)
        with self._lock:
            self._refuse_duplicate(seen)
            if not self._wrong.admits(sender, self._clock.monotonic()):
                return _too_many()
        try:
            key = self._key(parsed, issuer, sender)
            if key is None:
                return _too_many()
            tokens.verify(parsed, key)
        except DeniedError:
            with self._lock:
                self._wrong.note(sender, self._clock.monotonic())
            raise
        with self._lock:
            self._refuse_duplicate(seen)
            self._seen[seen] = True
        attempt = PendingRevocation(self._revocation(logout, issuer, now), subject=logout.subject)
        done = threading.Event()
        if self._revoke(attempt, done.set):
            done.wait(_WAIT_S)
        if not attempt.made:
            with self._lock:
                self._seen.pop(seen, None)  # the issuer may try again
            log.warning("issuer %s: a logout failed: %s", issuer.name, attempt.refused or "it is not on record")
            return _page(HTTPStatus.BAD_REQUEST, "temporarily_unavailable")
        log.info("issuer %s ended %s", issuer.name, "a session" if logout.session_id else "all sessions of a subject")
        return Page(HTTPStatus.OK, "text/plain; charset=utf-8", b"")

    def _refuse_duplicate(self, seen: tuple[str, str]) -> None:
        if seen in self._seen:
            raise TokenError(Reason.CLAIM_INVALID, "duplicate logout token")

    def _key(self, parsed: ParsedToken, issuer: Issuer, sender: Sender) -> Key | None:
        """The key that the token names; an unknown one is fetched. None: too many tokens wait for a key."""
        try:
            return self._known_key(parsed, issuer)
        except DeniedError as error:
            if error.reason not in {Reason.UNKNOWN_KEY, Reason.KEYS_UNAVAILABLE}:
                raise
            unknown = error
        fetched = self._waits.wait(sender, issuer.name, parsed.kid or "")
        if fetched is None:
            return None
        if not fetched:
            raise unknown
        return self._known_key(parsed, issuer)

    def _known_key(self, parsed: ParsedToken, issuer: Issuer) -> Key:
        state = self._keys().get(issuer.name)
        if (
            state is None
            or state.issuer != issuer.issuer
            or state.keyset is None
            or self._clock.monotonic() >= state.stale_at
        ):
            raise KeysUnavailableError(f"no keys of issuer {issuer.name}")
        return tokens.find_key(parsed, issuer, state.keyset)

    def _revocation(self, logout: Logout, issuer: Issuer, now: float) -> Revocation:
        by_session = bool(logout.session_id)
        return Revocation(
            issuer=issuer.issuer,
            kind=Kind.SID if by_session else Kind.SUBJECT,
            value=logout.session_id or logout.subject,
            until=int(now + max(self._keep, issuer.max_lifetime + 2 * issuer.clock_skew)) + 1,
            before=0 if by_session else logout.issued_at,
            note="back-channel logout",
        )


def _token(asked: Asked) -> str:
    """The one `logout_token` of the form (§2.5)."""
    media_type = asked.content_type.partition(";")[0].strip().lower()
    if asked.body is None or media_type != _FORM:
        raise TokenError(Reason.TOKEN_MALFORMED, f"the body is not a form of up to {MOST_BODY} bytes")
    found = [part for part in asked.body.strip().split(b"&") if part.startswith(_FIELD)]
    if len(found) != 1:
        raise TokenError(Reason.TOKEN_MALFORMED, "not exactly one logout_token")
    return found[0].removeprefix(_FIELD).decode("latin-1")  # a form leaves every letter of a JWT as it is


def _too_many() -> Page:
    return _page(HTTPStatus.TOO_MANY_REQUESTS, "temporarily_unavailable")


def _page(status: HTTPStatus, error: str) -> Page:
    return Page(status, "application/json", orjson.dumps({"error": error}))
