"""The gate's answer to a hypothetical request: the server's pipeline, without its sockets and caches.

Law: nothing here decides. The serving functions make the request canonical, verify the token and take the decision; the
policy's own tests ask in the same way (`authz.core.cases.asking`).
What Envoy adds to a request is taken from the settings, if they are given; if they are not, and the answer depends on
them, a note says so.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from authz.cli.askable import askable
from authz.cli.callers import Caller, identity_of
from authz.cli.served import Served
from authz.core.cases.asking import LOCALHOST, http_request, without_identity
from authz.core.decision import decide
from authz.core.decision.lifetime import lifetime
from authz.core.decision.rights import dags_text
from authz.core.errors import DeniedError
from authz.core.grants import Granted
from authz.core.lint.egress_map import Lead, lead
from authz.core.model import Allow, Decision, Deny, HttpRequest, Identity, Level, Plane, Request
from authz.core.request.canonical import canonical
from authz.core.request.path import CONNECT
from authz.core.revocation import Revoked

_SIGN_OUT: Final = "session:logout"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request and its caller."""

    method: str
    url: str
    plane: str
    host: str
    destination: str
    narrowed: bool | None
    caller: Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The server's own decision, with notes; a refusal before the rules is a decision too."""

    decision: Decision
    request: Request | None = None
    identity: Identity | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Asked:
    """The canonical request, and what Envoy does with it that the decision does not show."""

    request: Request
    notes: tuple[str, ...] = ()


def answer(question: Question, served: Served) -> Answer:
    """What the gate would answer.

    Raises:
        UsageError: the options do not fit together, or name an issuer that the policy does not have.
    """
    at_most = served.ways.surest if served.ways is not None and question.plane == Plane.EGRESS else Level.VERIFIED
    try:
        asked = (_inbound if question.plane == Plane.INBOUND else _outbound)(question, served)
    except DeniedError as error:
        return Answer(decision=Deny(reason=error.reason, detail=error.detail))
    request, notes = asked.request, [*asked.notes, *filter(None, (served.refused,))]
    revoked, unknown = _revoked(question, served)
    granted, unread = _granted(question, served)
    notes += [note for note in (unknown, unread) if note]
    try:
        identity = identity_of(
            question.caller,
            served.policy,
            request,
            at_most or Level.VERIFIED,
            now=served.at,
            token_bytes=served.token_bytes,
            revoked=revoked,
            granted=granted,
        )
    except DeniedError as error:
        decision = without_identity(error, request, served.policy)
        if not isinstance(decision, Allow):
            return Answer(decision=decision, notes=tuple(notes))
        notes.append(f"the token is refused ({error}), and this route is public")
        return Answer(decision=decision, request=request, notes=tuple(notes))
    if identity is not None and identity.run is not None and at_most is not Level.VERIFIED:
        known = "no call comes from a run" if at_most is None else f"a run is `{at_most}` at most"
        notes.append(f"with these settings {known}: see `run_identity`")
    if request.method == CONNECT and question.caller.dag:
        notes.append("a tunnel has no proof: its run is `verified-bearer` at most, and an account names none")
    decision = decide.evaluate(request, identity, served.policy)
    notes += [*_signing_out(decision, served, request), *_if_narrowed(decision, request, identity, served)]
    notes += _if_granted(decision, request, identity, served)
    notes += lifetime(request, identity, decision, served.policy)
    who = question.caller
    notes += served.known.memberships(who.groups, who.client, who.subject)
    return Answer(decision=decision, request=request, identity=identity, notes=tuple(notes))


def _http(question: Question, host: str) -> HttpRequest:
    return http_request(question.method.upper(), question.url, Plane(question.plane), question.host or host)


def _inbound(question: Question, served: Served) -> _Asked:
    """A request for its host's Airflow; the settings have that one's base path and whether it narrows."""
    names = [name for upstream in served.upstreams for name in upstream.hosts if not name.startswith("*")]
    http = _http(question, (names or [LOCALHOST])[0])
    request = canonical(http)
    upstream = served.upstream(request.host)
    narrows = upstream is not None and upstream.narrows_dags
    narrowed = narrows if question.narrowed is None else question.narrowed
    base = upstream.base_path or "" if upstream is not None else ""
    nowhere = bool(served.upstreams) and upstream is None
    notes = (f"Envoy answers 404: no upstream of the settings has the host {request.host}",) if nowhere else ()
    request = canonical(replace(http, narrowed=narrowed, base=base))
    if request.outside:
        notes = (*notes, f"the settings serve this Airflow below `{base}`, and the path is not below it")
    return _Asked(request, notes)


def _outbound(question: Question, served: Served) -> _Asked:
    """A call by a task. Its destination is found as Envoy finds it, unless the question names it."""
    http = _http(question, LOCALHOST)
    request = canonical(http)
    leads = Lead(question.destination)
    if served.ways is not None and not question.destination:
        leads = lead(served.ways, method=request.method, host=request.host, port=request.port, path=request.path)
    nowhere = "Envoy leads this nowhere, whatever the rules say: no destination of the settings serves it"
    return _Asked(
        canonical(replace(http, destination=leads.destination, host=leads.host, base=leads.base)),
        () if leads.somewhere else (nowhere,),
    )


def _revoked(question: Question, served: Served) -> tuple[Revoked | None, str]:
    """What is revoked at the gate, for a real token; if that is not known, a note."""
    if question.caller.token_file is None:
        return None, ""
    if served.settings is None:
        return None, "not looked at: whether the session was ended (give --settings)"
    file = served.settings.revocation.file
    if not file:
        return None, "not looked at: whether the session was ended (`revocation.file` is not set)"
    from authz.sessions.revocation_file import RevocationFile  # noqa: PLC0415 only this option needs it

    revoked = Revoked(os.urandom(32))
    try:
        revoked.add(RevocationFile(Path(file)).news().revocations)
    except FileNotFoundError:
        return None, ""  # nothing was revoked so far
    except OSError as error:
        return None, f"not looked at: whether the session was ended ({file}: {error.strerror})"
    return revoked, ""


def _granted(question: Question, served: Served) -> tuple[Granted | None, str]:
    """What is granted at the gate, for a real token; if that is not known, a note."""
    file = served.settings.grants.file if served.settings is not None else ""
    if question.caller.token_file is None or not file:
        return None, ""
    from authz.sessions.grants_file import GrantsFile  # noqa: PLC0415 only this option needs it

    granted, read = Granted(), GrantsFile(Path(file))
    try:
        read.refresh()
    except FileNotFoundError:
        return None, ""  # nothing was asked for so far
    except OSError as error:
        return None, f"not looked at: what the caller was granted ({file}: {error.strerror})"
    granted.put(read.ledger.active())
    return granted, ""


def _signing_out(decision: Decision, served: Served, request: Request) -> list[str]:
    """With a login, signing out ends the session of any browser that asks."""
    envoy = served.settings.envoy if served.settings is not None else None
    login = envoy.inbound.login if envoy is not None and envoy.inbound is not None else None
    if login is None or request.plane is Plane.EGRESS or decision.operation != _SIGN_OUT:
        return []
    return ["from a browser that logged in at Envoy this ends the session, whatever the rules say"]


def _if_granted(decision: Decision, request: Request, identity: Identity | None, served: Served) -> Iterable[str]:
    """Which grants the caller could ask for, after a denial by a gate that has grants."""
    without = served.settings is not None and not served.settings.grants.file
    return () if isinstance(decision, Allow) or without else askable(request, identity, served.policy)


def _if_narrowed(decision: Decision, request: Request, identity: Identity | None, served: Served) -> list[str]:
    """What a denial would be behind an Airflow that narrows, if that differs."""
    if isinstance(decision, Allow) or request.narrowed or request.plane is Plane.EGRESS:
        return []
    other = decide.evaluate(replace(request, narrowed=True), identity, served.policy)
    if not isinstance(other, Allow):
        return []
    shown = f": {dags_text(other)}" if dags_text(other) else ""
    return [f"allowed where Airflow keeps lists to permitted DAGs (--narrowed, `narrows_dags`){shown}"]
