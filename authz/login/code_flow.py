"""The authorization code flow of a program on a person's machine (RFC 8252), with PKCE (RFC 7636).

Law 1: the browser comes back to a port of 127.0.0.1 that is open for this login alone (RFC 8252 §7.3).
Law 2: only an answer with our `state` counts, and of those the first. Others are answered, and change nothing: a
program that guesses the port can neither end a login nor give it a code.
Law 3: the answer must be of the provider that was asked (RFC 9207), each parameter there once (RFC 6749 §3.1). A code
is redeemed with our verifier, and its ID token must have our nonce: one of another login is of no use.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from http import HTTPStatus
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode

from authz.core.jose.primitives import b64url_encode
from authz.login.provider import LoginError, Metadata, Provider
from authz.login.tokens import Client, Tokens, read_answer
from authz.ops.http_server import Asked, Page, SmallServer

PATH: Final = "/callback"
_LOOPBACK: Final = "127.0.0.1"
_MOST_FIELDS: Final = 16
_CONNECTIONS: Final = 8
_HEADERS: Final = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
)


def log_in(
    provider: Provider, client: Client, *, open_page: Callable[[str], None], port: int = 0, wait_s: float = 300.0
) -> Tokens:
    """Have a person log in with a browser.

    Args:
        provider: where.
        client: what is asked for.
        open_page: shows the person a page of the provider.
        port: where the browser comes back to; 0 for a free one.
        wait_s: how long the person has.

    Raises:
        LoginError: no tokens came of it.
    """
    metadata = provider.metadata()
    verifier, state, nonce = (secrets.token_urlsafe(48) for _ in range(3))
    page = provider.checked(metadata.authorization, "authorization endpoint")
    with Callback(metadata, state, port=port) as callback:
        asked = {
            "response_type": "code",
            "redirect_uri": callback.uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": b64url_encode(sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
            **client.asks,
        }
        open_page(f"{page}{'&' if '?' in page else '?'}{urlencode(asked)}")
        code = callback.wait(wait_s)
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": callback.uri,
        "client_id": client.client_id,
        "code_verifier": verifier,
    }
    if client.resource:
        form["resource"] = client.resource
    answer = provider.post(metadata.token, form, "token endpoint")
    return read_answer(answer, metadata, client, now=time.time(), nonce=nonce)


class Callback:
    """Where the browser comes back to. Open as a context manager.

    Args:
        metadata: of the provider that is asked.
        state: what its answer must repeat.
        port: 0 for a free one.
    """

    def __init__(self, metadata: Metadata, state: str, *, port: int = 0) -> None:
        self._metadata = metadata
        self._state = state.encode()
        self._came = threading.Event()
        self._lock = threading.Lock()
        self._code = ""
        self._wrong = ""
        try:
            self._server = SmallServer(
                f"{_LOOPBACK}:{port}", self._answer, connections=_CONNECTIONS, name="login-callback"
            )
        except OSError as error:
            raise LoginError(str(error)) from None
        self.uri = f"http://{_LOOPBACK}:{self._server.port}{PATH}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop()

    def wait(self, seconds: float) -> str:
        """The code.

        Raises:
            LoginError: none came in time, or the provider says why there is none.
        """
        if not self._came.wait(seconds):
            raise LoginError(f"no answer from the browser within {seconds:g} seconds")
        if self._wrong:
            raise LoginError(self._wrong)
        return self._code

    def _answer(self, asked: Asked) -> Page:
        path, _, query = asked.target.partition("?")
        if path != PATH or asked.method != "GET":
            return _page(HTTPStatus.NOT_FOUND, "There is nothing here.")
        try:
            pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=_MOST_FIELDS)
        except ValueError:
            return _page(HTTPStatus.BAD_REQUEST, "This is not an answer of a login.")
        found = dict(pairs)
        if len(found) != len(pairs) or not hmac.compare_digest(found.get("state", "").encode(), self._state):
            return _page(HTTPStatus.BAD_REQUEST, "This is not the answer of the login that waits here.")
        with self._lock:
            if self._came.is_set():
                return _page(HTTPStatus.GONE, "This login has its answer already.")
            self._wrong = self._mistake(found)
            self._code = found.get("code", "")
            self._came.set()
        if self._wrong:
            return _page(HTTPStatus.BAD_REQUEST, "The login did not succeed. The command in your terminal says why.")
        return _page(HTTPStatus.OK, "You can close this page and go back to your terminal.")

    def _mistake(self, found: dict[str, str]) -> str:
        """What is wrong with an answer that has our state; "" if nothing is."""
        issuer = self._metadata.issuer
        said = found.get("iss")
        if (said is None and self._metadata.names_itself) or said not in {None, issuer}:
            return f"the answer is not from {issuer}: `iss` (RFC 9207) is {'missing' if said is None else 'another'}"
        if "error" in found:
            word = found["error"]
            return f"the provider refuses: {word}" if word.isascii() and word.isidentifier() else "the provider refuses"
        return "" if found.get("code") else "the answer has no code"


def _page(status: HTTPStatus, text: str) -> Page:
    body = f"<!doctype html><html lang=en><meta charset=utf-8><title>authz login</title><p>{text}</p></html>\n"
    return Page(status, "text/html; charset=utf-8", body.encode(), _HEADERS)
