"""Where people ask for grants, approve, end and list them: JSON over HTTP, at the operators' port.

    POST /grants                {"entry": "sales-oncall", "duration": "3h", "reason": "incident 4711"}
    POST /grants/<id>/approve   {}
    POST /grants/<id>/end       {}
    GET  /grants                own ones, those that the caller may approve, and what the caller may ask for

Law 1: only a verified bearer token of an issuer of the policy counts, for the inbound audience, by the same rules as in
a check: a revoked token, one that is bound to a key and one of a run are refused; a break-glass token is too. No cookie
is read, and a POST has `Content-Type: application/json`, so no page in a browser can send one unasked.
Law 2: a success is answered when the event is on record and in force here; 503 means that nothing has changed. Where a
supervisor forwards, 504 means that it may have.
Law 3: cheap checks come first: path, method, that there is a token, the body's form. Wrong tokens are rate limited (see
`authz.sessions.token_limits`). Nothing is recorded for a caller without a valid token.
Law 4: an answer says what is wrong and what to do. It never repeats a token, and says nothing about grants that the
caller may not see.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final, NamedTuple

import orjson

from authz.authn.sessions import Authenticator, KeyState, KeyWanted, Session
from authz.core.clock import Clock
from authz.core.documents.quantities import seconds
from authz.core.errors import DeniedError, KeysUnavailableError, RequestError
from authz.core.grants import (
    Actor,
    Caller,
    Event,
    Grant,
    GrantRefusedError,
    Ledger,
    Refusal,
    Requested,
    approve,
    described,
    end,
    request,
    view,
    visible,
)
from authz.core.grants.events import MOST_NAME
from authz.core.jose.primitives import read_object
from authz.core.model import HttpRequest, Plane
from authz.core.policy import AUTHENTICATED, Policy
from authz.core.record import valid
from authz.ops.admin import MOST_BODY
from authz.ops.http_server import Asked, Page
from authz.sessions.granter import Granter
from authz.sessions.token_limits import KeyWaits, WrongTokens, sender_of

log = logging.getLogger(__name__)

PATH: Final = "/grants"
RESULTS: Final = ("done", "repeated", *Refusal, "unauthenticated", "busy", "malformed", "unavailable", "error")
EVENTS: Final = ("request", "approve", "end", "list")
_ACTION: Final = re.compile(rf"{PATH}/([0-9a-z]{{8,42}})/(approve|end)", re.ASCII)
_ID_BYTES: Final = 10
_MOST_BRACKETS: Final = 8
_WAIT_S: Final = 3.0
_JSON: Final = "application/json"
_NO_STORE: Final = ("Cache-Control", "no-store")
_FORM: Final = 'send {"entry": "…", "duration": "3h", "reason": "…"}'
_INVALID: Final = "the token is expired, revoked, or not valid here"
_NEW_TOKEN: Final = "get a new one from your issuer; `authz token inspect` says what is wrong with it"  # noqa: S105 a text
_STATUS: Final = {
    Refusal.INVALID: HTTPStatus.UNPROCESSABLE_ENTITY,
    Refusal.TOO_LONG: HTTPStatus.UNPROCESSABLE_ENTITY,
    Refusal.NOT_A_REQUESTER: HTTPStatus.FORBIDDEN,
    Refusal.NOT_AN_APPROVER: HTTPStatus.FORBIDDEN,
    Refusal.OWN_REQUEST: HTTPStatus.FORBIDDEN,
    Refusal.AGENT: HTTPStatus.FORBIDDEN,
    Refusal.UNKNOWN: HTTPStatus.NOT_FOUND,
    Refusal.ENDED: HTTPStatus.CONFLICT,
    Refusal.NARROWED: HTTPStatus.CONFLICT,
    Refusal.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
}


class _Answer(NamedTuple):
    """A page, and how it is counted."""

    page: Page
    result: str


class _AnsweredError(Exception):
    """The answer is known before anything is decided."""

    def __init__(self, answer: _Answer) -> None:
        self.answer = answer
        super().__init__(answer.result)


class _Action(NamedTuple):
    """What is asked for: the event's word, and the grant's id, "" where there is none yet."""

    word: str
    name: str = ""


class GrantsPort:
    """Answers requests about grants. Any thread.

    Args:
        granter: records them.
        policy: the policy in force; None before the first.
        authenticator: verifies tokens, and gives roles without grants; used under a lock here, and by no one else.
        keys: the state of the issuers' keys, by issuer name.
        want_key: asks for a key, see `authz.keys.KeyStore.request`.
        clock: the time.
        count: called with the event's word and the result, for the metrics.
    """

    def __init__(
        self,
        *,
        granter: Granter,
        policy: Callable[[], Policy | None],
        authenticator: Authenticator,
        keys: Callable[[], Mapping[str, KeyState]],
        want_key: Callable[[str, str, Callable[[], None]], bool],
        clock: Clock,
        count: Callable[[str, str], None],
    ) -> None:
        self._granter = granter
        self._policy = policy
        self._authenticator = authenticator
        self._keys = keys
        self._clock = clock
        self._count = count
        self._lock = threading.Lock()
        self._wrong = WrongTokens()
        self._waits = KeyWaits(want_key, _WAIT_S)

    def answer(self, asked: Asked) -> Page:
        """The page for a request whose path is `PATH` or below it."""
        action = _action(asked)
        if isinstance(action, Page):
            return action
        try:
            found = self._act(asked, action)
        except _AnsweredError as error:
            found = error.answer
        except GrantRefusedError as error:
            page = _error(_STATUS[error.refusal], error.refusal, error.message, error.hint)
            found = _Answer(page, error.refusal)
        except OSError:
            is_list = action.word == "list"
            text = "the grants cannot be read" if is_list else "it cannot be recorded, and nothing has changed"
            found = _unavailable(text, "try again later; see the gate's log")
        except Exception:
            # The port's outermost handler: a bug must not end the thread without an answer.
            log.exception("a request about grants")
            found = _Answer(_error(HTTPStatus.SERVICE_UNAVAILABLE, "error", "internal error", "see the log"), "error")
        self._count(action.word, found.result)
        return found.page

    def _act(self, asked: Asked, action: _Action) -> _Answer:
        if not asked.authorization:
            hint = "send Authorization: Bearer and a token for the inbound audience"
            raise _AnsweredError(_unauthenticated("there is no token", hint))
        members = _members(asked) if asked.method == "POST" else {}
        policy = self._policy()
        if policy is None or self._clock.wall() >= policy.valid_until:
            raise _AnsweredError(_unavailable("no policy is in force at this moment", "try again in a few seconds"))
        caller = _caller(self._session(asked, policy))
        if action.word == "list":
            shown = self._granter.read(lambda ledger: _listed(ledger, policy, caller))
            return _Answer(_page(HTTPStatus.OK, shown), "done")
        made, grant = self._granter.record(_decision(action, members, policy, caller))
        status = HTTPStatus.CREATED if isinstance(made, Requested) else HTTPStatus.OK
        return _Answer(_page(status, view(grant, policy)), "repeated" if made is None else "done")

    def _session(self, asked: Asked, policy: Policy) -> Session:
        sender = sender_of(asked)
        with self._lock:
            if not self._wrong.admits(sender, self._clock.monotonic()):
                raise _AnsweredError(_busy())
        try:
            found = self._authenticated(asked, policy)
            if isinstance(found, KeyWanted):
                if self._waits.wait(sender, found.issuer, found.key_id) is None:
                    raise _AnsweredError(_busy())
                found = self._authenticated(asked, policy)
            if isinstance(found, Session) and not found.issuer.break_glass:  # what it gave would outlive the token
                return found
            refused = _unauthenticated(_INVALID, _NEW_TOKEN)
        except KeysUnavailableError:
            raise _AnsweredError(_unavailable("the issuer's keys are not available", "try again later")) from None
        except RequestError as error:
            refused = _malformed(str(error.reason), "send exactly one header Authorization: Bearer and a token")
        except DeniedError:  # the caller does not learn why: no oracle about keys, subjects and lifetimes
            refused = _unauthenticated(_INVALID, _NEW_TOKEN)
        with self._lock:
            self._wrong.note(sender, self._clock.monotonic())
        raise _AnsweredError(refused)

    def _authenticated(self, asked: Asked, policy: Policy) -> Session | KeyWanted | None:
        lines = tuple(line.encode("latin-1", "replace") for line in asked.authorization)
        http = HttpRequest(
            plane=Plane.INBOUND, audience="", method=asked.method, authority="", target=PATH, authorization=lines
        )
        with self._lock:
            return self._authenticator.authenticate(
                http,
                Plane.INBOUND,
                policy,
                self._keys(),
                wall=self._clock.wall(),
                monotonic=self._clock.monotonic(),
            )


def not_enabled(asked: Asked) -> Page:
    """The page of a gate without a grants file."""
    action = _action(asked)
    if isinstance(action, Page):
        return action
    return _error(HTTPStatus.NOT_FOUND, "not_enabled", "this gate has no grants", "set `grants.file` in its settings")


def _action(asked: Asked) -> _Action | Page:
    path = asked.target.partition("?")[0]
    if path == PATH:
        if asked.method == "GET":
            return _Action("list")
        return _Action("request") if asked.method == "POST" else _not_allowed("GET, POST")
    match = _ACTION.fullmatch(path)
    if match is None:
        return _error(HTTPStatus.NOT_FOUND, "not_found", "there is no such page", f"see {PATH}")
    return _Action(match[2], match[1]) if asked.method == "POST" else _not_allowed("POST")


def _caller(session: Session) -> Caller:
    claims = session.claims
    name = valid(claims.username or claims.full_name)[:MOST_NAME]
    actor = Actor(issuer=claims.issuer, subject=claims.subject, name=name)
    identity = session.identity
    return Caller(actor=actor, roles=identity.roles | {AUTHENTICATED}, is_agent=identity.agent)


def _members(asked: Asked) -> dict[str, object]:
    """The members of the body."""
    if asked.content_type.partition(";")[0].strip().lower() != _JSON:
        page = _error(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "malformed", "this is not JSON", f"send Content-Type: {_JSON}")
        raise _AnsweredError(_Answer(page, "malformed"))
    if asked.body is None:
        hint = f"send a JSON object of up to {MOST_BODY} bytes"
        raise _AnsweredError(_malformed("there is no body, or it is too large", hint))
    try:
        return read_object(asked.body, most=_MOST_BRACKETS)
    except ValueError as error:
        text = f"the body is not a JSON object: {error}"
        raise _AnsweredError(_malformed(text, "send one object, each member once, in UTF-8")) from None


def _decision(
    action: _Action, members: dict[str, object], policy: Policy, caller: Caller
) -> Callable[[Ledger, int], Event | Grant]:
    """What decides under the file's lock.

    Raises:
        GrantRefusedError: the body is not that of this action.
    """
    if action.word == "request":
        texts = _texts(members)
        return lambda ledger, now: request(ledger, policy, caller, wanted(caller.actor, at=now, **texts))
    if members:
        raise GrantRefusedError(Refusal.INVALID, "a member that is not known", "send {}")
    decide = approve if action.word == "approve" else end
    return lambda ledger, now: decide(ledger, policy, caller, action.name, now)


def _texts(members: dict[str, object]) -> dict[str, str]:
    """What is wanted."""
    texts: dict[str, str] = {}
    for name in ("entry", "duration", "reason"):
        value = members.get(name)
        if not isinstance(value, str) or valid(value) != value:
            raise GrantRefusedError(Refusal.INVALID, f"`{name}` is missing, or is not a text", _FORM)
        texts[name] = value
    if len(members) != len(texts):
        raise GrantRefusedError(Refusal.INVALID, "a member that is not known", _FORM)
    return texts


def wanted(holder: Actor, *, at: int, entry: str, duration: str, reason: str) -> Requested:
    """A request with a new id; whether the policy permits it is not checked here.

    Raises:
        GrantRefusedError: the duration is none.
    """
    try:
        length = int(seconds(duration))
    except ValueError as error:
        raise GrantRefusedError(Refusal.INVALID, "`duration` is none", str(error)) from None
    name = os.urandom(_ID_BYTES).hex()
    return Requested(id=name, at=at, holder=holder, entry=entry, seconds=length, reason=reason)


def _listed(ledger: Ledger, policy: Policy, caller: Caller) -> dict[str, object]:
    grants, entries = visible(ledger, policy, caller)
    return {
        "grants": [{**view(grant, policy), "own": caller.actor == grant.request.holder} for grant in grants],
        "entries": [described(entry) for entry in entries],
    }


def _page(status: HTTPStatus, value: object, *headers: tuple[str, str]) -> Page:
    body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return Page(status, _JSON, body, (_NO_STORE, *headers))


def _error(status: HTTPStatus, error: str, message: str, hint: str, *headers: tuple[str, str]) -> Page:
    return _page(status, {"error": str(error), "message": message, "hint": hint}, *headers)


def _not_allowed(methods: str) -> Page:
    return _error(HTTPStatus.METHOD_NOT_ALLOWED, "malformed", f"only {methods}", f"see {PATH}", ("Allow", methods))


def _malformed(message: str, hint: str) -> _Answer:
    return _Answer(_error(HTTPStatus.BAD_REQUEST, "malformed", message, hint), "malformed")


def _unauthenticated(message: str, hint: str) -> _Answer:
    challenge = ("WWW-Authenticate", "Bearer")
    return _Answer(_error(HTTPStatus.UNAUTHORIZED, "unauthenticated", message, hint, challenge), "unauthenticated")


def _busy() -> _Answer:
    retry = ("Retry-After", "1")
    text = "too many wrong tokens come from this address"
    return _Answer(_error(HTTPStatus.TOO_MANY_REQUESTS, "busy", text, "try again in a second", retry), "busy")


def _unavailable(message: str, hint: str) -> _Answer:
    return _Answer(_error(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", message, hint), "unavailable")
