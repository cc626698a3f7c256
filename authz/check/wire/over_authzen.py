"""AuthZEN 1.0: from a question in JSON to CheckRequests, and from the CheckResponses to decisions.

Law: the same check. A question about a route becomes the message that `Route` makes of the same request, so rules,
records and revocations are those of any check; a decision is true only where that check is an allow. What a question
says of its subject goes beside the message (`Question`), as a type of ours: no byte of a message can say it.
JSON is strict (RFC 7493: names are unique, UTF-8) and bounded. Unknown members are ignored (§10.1.1). No text of an
error repeats what was sent.
Source: OpenID Authorization API 1.0, final: §5 the model, §6 evaluation, §7 evaluations, §9 metadata, §10 transport.
"""

import re
from collections.abc import Callable, Generator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import orjson

from authz._generated.envoy.service.auth.v3 import external_auth_pb2 as pb
from authz.authn.asked import Subject, asked
from authz.check.wire.over_http import Route, is_allow
from authz.core.edge import DECISION, READ_ON_EGRESS
from authz.core.errors import TokenError
from authz.core.http_answer import HttpAnswer
from authz.core.jose.primitives import read_object
from authz.core.model import HttpRequest
from authz.core.reasons import ANSWERS, Reason
from authz.core.tokens import short_name, subject_name

EVALUATION: Final = "/access/v1/evaluation"
EVALUATIONS: Final = "/access/v1/evaluations"
METADATA: Final = "/.well-known/authzen-configuration"
ROUTE: Final = "route"
"""The type of a resource that is a request, as in the OpenID Foundation's interop scenario for API gateways."""
MOST_EVALUATIONS: Final = 64

_MOST_BRACKETS: Final = 4096
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_TARGET: Final = re.compile(r"/[!-~]*")  # what can stand in a request line (RFC 9112 §3.2)
_HOST: Final = re.compile(r"[!-~]{1,255}")
_REQUEST_ID: Final = re.compile(rb"[!-~]{1,128}")
_JSON: Final = re.compile(rb"application/json *(?:;.*)?", re.IGNORECASE)
_AUTHORIZATION: Final = b"authorization"
# Of the headers of the client that asks none is about the request which it asks about, but where the trace goes on.
_OF_CLIENT: Final = {b"host", *(name.encode() for name in READ_ON_EGRESS)} - {b"traceparent"}
_ALL, _FIRST_DENY, _FIRST_PERMIT = "execute_all", "deny_on_first_deny", "permit_on_first_permit"
_STOPS: Final[Mapping[str, bool | None]] = {_ALL: None, _FIRST_DENY: False, _FIRST_PERMIT: True}

_OF_ONE: Final = {0, HTTPStatus.SERVICE_UNAVAILABLE}  # what one of several decisions may be, and the others differ
_NO_TOKEN: Final = ANSWERS[Reason.BAD_AUTHORIZATION].public

_Headers = list[tuple[bytes, bytes]]
_Steps = Generator[bytes, bytes, HttpAnswer]
_Asking = Generator[bytes, bytes, "_Decision"]


class Question(bytes):
    """A CheckRequest that is only asked about, and its subject."""

    subject: Subject


def parse_with(parse: Callable[[bytes], HttpRequest]) -> Callable[[bytes], HttpRequest]:
    """What reads messages of which some are questions; `parse` reads the others, as `wire.parse` does."""

    def read(message: bytes) -> HttpRequest:
        http = parse(message)
        return asked(http, message.subject) if isinstance(message, Question) else http

    return read


class _BadQuestionError(Exception):
    """An error about a question as a whole: status 400, and what is wrong."""


class _Decision(NamedTuple):
    """One decision (§5.5). `failed` is the status of a request about it alone where nothing could be decided.

    `challenge` says how the client that asks is to authenticate itself, "" where it need not.
    """

    allows: bool
    context: Mapping[str, Any]
    failed: int = 0
    challenge: str = ""

    @property
    def members(self) -> dict[str, Any]:
        """The decision in JSON."""
        return {"decision": self.allows, "context": self.context}


class AuthZen:
    """The endpoints.

    Args:
        routes: what may be asked about, by the name of its audience.
        url: the identifier of this decision point, an origin; "": there is no metadata.
    """

    def __init__(self, routes: Mapping[str, Route], url: str = "") -> None:
        self._routes = routes
        self._endpoints = {EVALUATION.encode(): self._evaluation, EVALUATIONS.encode(): self._evaluations}
        metadata = {
            "policy_decision_point": url,
            "access_evaluation_endpoint": url + EVALUATION,
            "access_evaluations_endpoint": url + EVALUATIONS,
        }
        self._metadata = orjson.dumps(metadata) if url else b""

    def takes_body(self, target: bytes) -> bool:
        """Whether a request with this target may have a body."""
        return target in self._endpoints

    def converse(self, method: str, target: bytes, headers: _Headers, body: bytes) -> _Steps | None:
        """The conversation about a request: yields checks, is sent their answers; None if nothing is there."""
        evaluate = self._endpoints.get(target)
        if evaluate is not None:
            return self._answered(evaluate, method, headers, body)
        if target == METADATA.encode() and self._metadata:
            return self._described(method)
        return None

    def _described(self, method: str) -> _Steps:
        """The metadata (§9)."""
        yield from ()
        if method not in {"GET", "HEAD"}:
            return HttpAnswer(HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "GET"}, b"")
        headers = {"content-type": "application/json", "cache-control": "max-age=300"}
        return HttpAnswer(HTTPStatus.OK, headers, self._metadata)

    def _answered(
        self,
        evaluate: Callable[[dict[str, Any], _Headers], _Steps],
        method: str,
        headers: _Headers,
        body: bytes,
    ) -> _Steps:
        """The answer to a POST, with the id of the request (§10.1.3)."""
        ids = [value for name, value in headers if name == b"x-request-id"]
        if len(ids) > 1 or not all(map(_REQUEST_ID.fullmatch, ids)):
            return _error(HTTPStatus.BAD_REQUEST, "X-Request-ID: one value of 1 to 128 visible characters")
        if method != "POST":
            said = HttpAnswer(HTTPStatus.METHOD_NOT_ALLOWED, {"allow": "POST"}, b"")
        else:
            try:
                said = yield from evaluate(_members(headers, body), headers)
            except _BadQuestionError as error:
                said = _error(HTTPStatus.BAD_REQUEST, str(error))
        echo = {"x-request-id": ids[0].decode("ascii")} if ids else {}
        return HttpAnswer(said.status, {**said.headers, **echo}, said.body)

    def _evaluation(self, members: dict[str, Any], headers: _Headers) -> _Steps:
        """One decision (§6)."""
        decision = yield from self._ask(members, headers)
        return _failed(decision) if decision.failed else _said(decision.members)

    def _evaluations(self, members: dict[str, Any], headers: _Headers) -> _Steps:
        """Several decisions, in the order of the questions (§7)."""
        listed = members.get("evaluations", [])
        if not isinstance(listed, list) or len(listed) > MOST_EVALUATIONS:
            raise _BadQuestionError(f"evaluations: an array of at most {MOST_EVALUATIONS} objects")
        if not listed:
            return (yield from self._evaluation(members, headers))
        semantic = _object(members, "options").get("evaluations_semantic", _ALL)
        if not isinstance(semantic, str) or semantic not in _STOPS:
            raise _BadQuestionError(f"options.evaluations_semantic: one of {', '.join(_STOPS)}")
        decisions = []
        for one in listed:
            decision = yield from self._ask_one(members, one, headers)
            if decision.failed not in _OF_ONE:
                return _failed(decision)
            decisions.append(decision.members)
            if decision.allows is _STOPS[semantic]:
                break
        return _said({"evaluations": decisions})

    def _ask_one(self, defaults: dict[str, Any], one: object, headers: _Headers) -> _Asking:
        """The decision on one of several questions; one that is no question is denied (§7.2.1)."""
        try:
            if not isinstance(one, dict):
                raise _BadQuestionError("an evaluation is an object")  # noqa: TRY301 one exit for all
            return (yield from self._ask({**defaults, **one}, headers))
        except _BadQuestionError as error:
            return _wrong(HTTPStatus.BAD_REQUEST, str(error))

    def _ask(self, members: dict[str, Any], headers: _Headers) -> _Asking:
        subject, action, resource = (_entity(members, name) for name in ("subject", "action", "resource"))
        method, kind, target = action["name"], resource["type"], resource["id"]
        properties = _object(resource, "properties")
        context = _object(members, "context")
        if kind != ROUTE:
            return _wrong(HTTPStatus.NOT_FOUND, f"resource.type: only `{ROUTE}` is known")
        route = self._routes.get(_audience(properties, self._routes))
        if route is None:
            return _wrong(HTTPStatus.NOT_FOUND, "resource.properties.audience: not a name that may be asked about")
        host = _text(properties, "hostname", "resource.properties")
        if not (_METHOD.fullmatch(method) and _TARGET.fullmatch(target) and _HOST.fullmatch(host)):
            return _wrong(HTTPStatus.BAD_REQUEST, "no request has this method, target and hostname")
        lines = [line for line in headers if line[0] not in _OF_CLIENT]
        lines.append((b"host", host.encode()))
        is_clients = "token" not in context
        if is_clients:
            lines += [line for line in headers if line[0] == _AUTHORIZATION]
        else:
            lines.append((_AUTHORIZATION, b"Bearer " + _text(context, "token", "context").encode()))
        message = route.message(method, target.encode(), lines)
        if message is None:
            raise ValueError("a question without a Host")
        question = Question(message)
        question.subject = _subject(subject, may_be_stated=is_clients)
        response = yield question
        return _decision(response, of_client=is_clients)


def _members(headers: _Headers, body: bytes) -> dict[str, Any]:
    kinds = [value for name, value in headers if name == b"content-type"]
    if len(kinds) != 1 or not _JSON.fullmatch(kinds[0]):
        raise _BadQuestionError("Content-Type: application/json is needed")
    try:
        return read_object(body, most=_MOST_BRACKETS)
    except ValueError as error:
        raise _BadQuestionError(f"body: {error}") from None


def _object(members: dict[str, Any], name: str) -> dict[str, Any]:
    """The object of an optional member."""
    found = members.get(name, {})
    if not isinstance(found, dict):
        raise _BadQuestionError(f"{name}: an object is needed")
    return found


def _text(members: dict[str, Any], name: str, where: str) -> str:
    found = members.get(name)
    if not isinstance(found, str) or not found:
        raise _BadQuestionError(f"{where}.{name}: a string is needed")
    return found


def _entity(members: dict[str, Any], name: str) -> dict[str, Any]:
    """A required subject, action or resource, with the members that it must have."""
    if name not in members:
        raise _BadQuestionError(f"{name} is missing")
    found = _object(members, name)
    for required in ("name",) if name == "action" else ("type", "id"):
        _text(found, required, name)
    return found


def _audience(properties: dict[str, Any], routes: Mapping[str, Route]) -> str:
    """The name of the audience that is asked about: where there is one only, it goes without saying."""
    if "audience" not in properties and len(routes) == 1:
        return next(iter(routes))
    return _text(properties, "audience", "resource.properties")


def _subject(subject: dict[str, Any], *, may_be_stated: bool) -> Subject:
    properties = _object(subject, "properties")
    groups = properties.get("groups", [])
    texts = [properties.get(name, "") for name in ("client_id", "username")]
    if not isinstance(groups, list) or not all(isinstance(one, str) for one in [*groups, *texts]):
        raise _BadQuestionError("subject.properties: groups is an array of strings, client_id and username are strings")
    try:
        subject_name(subject["id"])
        for name, text in zip(("client_id", "username"), texts, strict=True):
            short_name(name, text)
    except TokenError as error:
        raise _BadQuestionError(f"subject: no token could have it: {error.detail}") from None
    return Subject(
        id=subject["id"],
        may_be_stated=may_be_stated,
        groups=frozenset(groups),
        client_id=texts[0],
        username=texts[1],
    )


def _decision(response: bytes, *, of_client: bool) -> _Decision:
    """The decision in a CheckResponse; `of_client`: the credentials were those of the client that asks."""
    said = pb.CheckResponse.FromString(response)
    if is_allow(said):
        ids = [option.header.value for option in said.ok_response.headers if option.header.key == DECISION]
        return _Decision(True, {"decision_id": ids[0]})
    denied = said.denied_response
    headers = {option.header.key: option.header.value for option in denied.headers}
    body = read_object(denied.body.encode())
    status, challenge = denied.status.code, headers.get("www-authenticate", "") if of_client else ""
    context = {
        "decision_id": headers[DECISION],
        "reason": body["error"],
        "message": body["message"],
        "status": status,
    }
    unclear = of_client and body["error"] == _NO_TOKEN
    is_error = challenge or unclear or status == HTTPStatus.SERVICE_UNAVAILABLE
    return _Decision(False, context, status if is_error else 0, challenge)


def _wrong(status: HTTPStatus, message: str) -> _Decision:
    """The decision on what is no question to the gate: nothing was checked."""
    return _Decision(False, {"error": {"status": int(status), "message": message}})


def _said(members: dict[str, Any]) -> HttpAnswer:
    headers = {"content-type": "application/json", "cache-control": "no-store"}
    return HttpAnswer(HTTPStatus.OK, headers, orjson.dumps(members))


def _failed(decision: _Decision) -> HttpAnswer:
    """The answer where the whole request fails: the client is not authenticated, or nothing can be decided."""
    said = decision.context
    found = _error(HTTPStatus(decision.failed), f"{said['message']} (decision {said['decision_id']})")
    challenge = {"www-authenticate": decision.challenge} if decision.challenge else {}
    return HttpAnswer(found.status, {**found.headers, **challenge}, found.body)


def _error(status: HTTPStatus, message: str) -> HttpAnswer:
    """An error about the whole request (§10.1.2): a message."""
    headers = {"content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
    return HttpAnswer(status, headers, message.encode())
