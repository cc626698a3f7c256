"""Finds problems between the gate and the servers around it, with real requests.

Law: asks the server that an operator names, with the gate's own settings and keys, and changes nothing. An assertion
that it makes names no person, has no role and no DAG, and lives for ten seconds. Neither an assertion nor a key is ever
quoted.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from authz.core import assertion
from authz.core.assertion import SigningKey
from authz.core.doctor import clocks
from authz.core.doctor.kinds import Finding
from authz.core.errors import ConfigError, FetchError, Problem
from authz.core.model import NO_CLAIMS, Identity, Rights
from authz.core.urls import Url
from authz.fetching.download import Answer, Downloader, Reach, tls_of
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits
from authz.serve import candidate_review
from authz.settings import Settings
from authz.system.regular_file import read_secret, why

SUBJECT: Final = "authz-doctor"
"""The `sub` of the assertions that are sent."""

_PAGE: Final = "/ui/auth/me"  # of Airflow 3: it needs a user, and shows who that is
_ALL_S: Final = 30.0  # for all requests together: an answer may also come byte by byte
_MOST_BYTES: Final = 64 * 1024
_LIFETIME_S: Final = 10
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_SCHEME: Final = "Authz-Assertion"  # of a 401 of our auth managers
_CLAIMS: Final = replace(NO_CLAIMS, issuer_name=SUBJECT, issuer=SUBJECT, subject=SUBJECT, username=SUBJECT)
_IDENTITY: Final = Identity(claims=_CLAIMS, roles=frozenset())
_RIGHTS: Final = Rights(None, "", ())
_REACH: Final = Reach(insecure_http=True, loopback=True)  # the operator names the address


@dataclass(frozen=True, slots=True, kw_only=True)
class Good:
    """One answer that is as it should be; `id` is that of the finding that it would be else."""

    id: str
    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One Airflow as the settings describe it: the audience of its assertions, and how to trust its certificate."""

    audience: str
    tls_ca: str | None


def of_candidate(settings: Settings, file: str) -> list[Good | Finding]:
    """Whether the gate compares checks with the candidate of the settings (`shadow`); nothing if they name none."""
    if not settings.shadow:
        return []
    found = candidate_review.findings(settings, file)
    if not found:
        return [Good(id="candidate", where=file, text=f"{settings.shadow} is compared, or absent")]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return [Finding(id="candidate", where=file, text=f"{found[0].problem}{more}")]


def target(settings: Settings, path: str, upstream: str | None) -> Target:
    """The one upstream that gets assertions, or the one with this name.

    Raises:
        ConfigError: there is none, or there are several and none is named.
    """
    inbound = settings.envoy.inbound if settings.envoy is not None else None
    known = {entry.name: entry for entry in (inbound.upstreams if inbound is not None else ()) if entry.audience}
    if settings.assertion is None or not known:
        raise _config(path, "there is no upstream with an `audience`, or no `assertion`: Airflow gets no identity")
    if upstream is None and len(known) > 1:
        raise _config(path, f"there are several upstreams: name one with --upstream ({', '.join(sorted(known))})")
    found = known.get(upstream) if upstream is not None else next(iter(known.values()))
    if found is None or found.audience is None:
        raise _config(path, f"no upstream with an audience has this name; there are: {', '.join(sorted(known))}")
    return Target(audience=found.audience, tls_ca=found.tls_ca)


def ask_airflow(
    url: Url, of: Target, *, issuer: str, key: SigningKey, wall: Callable[[], float] = time.time
) -> list[Good | Finding]:
    """Ask the Airflow at `url` (scheme, host, port and base path): does it accept what the gate sends, and only that?

    Args:
        url: Airflow's own address, not Envoy's.
        of: what the settings say about it.
        issuer: the `iss` of the gate's assertions.
        key: the gate's signing key.
        wall: the time in seconds since the epoch.

    Raises:
        ConfigError: the file of Airflow's authority cannot be used.
    """
    try:
        tls = tls_of(of.tls_ca)
    except OSError as error:
        raise _config(of.tls_ca or "", f"the authority of Airflow's certificate cannot be used: {why(error)}") from None
    downloader = Downloader(limits=Limits(max_bytes=_MOST_BYTES), tls=tls, resolver=system_resolver)
    deadline, where = Deadline(_ALL_S), str(url)

    def send(audience: str | None) -> Answer:
        token = "" if audience is None else _assertion(audience, issuer, key, wall())
        more = {assertion.HEADER: token} if token else {}
        return downloader.ask(url.below(_PAGE), reach=_REACH, deadline=deadline, more=more)

    try:
        accepted = send(of.audience)
        here = wall()
        return [
            Good(id="airflow", where=where, text=f"answers {accepted.status}"),
            _clock(where, accepted, here),
            _accepted(where, accepted, of.audience, issuer, key.kid),
            _strangers(where, send(None), send(f"{of.audience}-of-another-airflow")),
        ]
    except FetchError as error:
        return [Finding(id="airflow", where=where, text=error.detail)]


def _assertion(audience: str, issuer: str, key: SigningKey, now: float) -> str:
    return assertion.mint(
        _IDENTITY,
        _RIGHTS,
        audience=audience,
        issuer=issuer,
        now=int(now),
        lifetime=_LIFETIME_S,
        jti=f"{SUBJECT}-{time.monotonic_ns()}",
        key=key,
    )


def _accepted(where: str, answer: Answer, audience: str, issuer: str, kid: str) -> Good | Finding:
    sent = f"sent issuer {issuer!r}, audience {audience!r}, key {kid}"
    if answer.status == _OK:
        return Good(id="assertion", where=where, text=f"accepted; {sent}")
    if answer.status != _UNAUTHORIZED or answer.headers.get("www-authenticate") != _SCHEME:
        text = (
            f"neither accepted nor refused: Airflow itself answers {answer.status}, as without AuthzAuthManager, or as"
            f" AuthzFabAuthManager does, whose FAB does not know {SUBJECT}; {sent}"
        )
        return Finding(id="assertion", where=where, text=text)
    body = _object(answer.data)
    expected = body.get("expected")
    if not isinstance(expected, Mapping):
        text = f"refused before its claims were read: Airflow, whose log says more, does not have this key; {sent}"
        return Finding(id="assertion", where=where, text=text)
    text = (
        f"refused: {body.get('refusal')}; {sent}; Airflow expects issuer {expected.get('issuer')!r},"
        f" audience {expected.get('audience')!r}"
    )
    return Finding(id="assertion", where=where, text=text)


def _clock(where: str, answer: Answer, here: float) -> Good | Finding:
    reported = _object(answer.data).get("now")  # a refusal says it exactly; others have the Date header
    there = float(reported) if type(reported) is int else clocks.of_date(answer.headers.get("date", ""))
    found = clocks.finding(where, "Airflow", there, here)
    if found is not None:
        return found
    text = "Airflow does not report its own" if there is None else clocks.both("Airflow", there, here)
    return Good(id="clock", where=where, text=text)


def _strangers(where: str, without: Answer, foreign: Answer) -> Good | Finding:
    if _OK in {without.status, foreign.status}:
        let_in = "a request without an assertion" if without.status == _OK else "an assertion for another audience"
        return Finding(id="strangers", where=where, text=f"Airflow lets in {let_in}")
    return Good(id="strangers", where=where, text="requests with no assertion or a foreign one are refused")


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _config(path: str, text: str) -> ConfigError:
    return ConfigError([Problem(path, 0, 0, text)])


def signing_key(settings: Settings) -> SigningKey:
    """The gate's signing key. It is only read: the gate itself makes a missing one.

    Raises:
        ConfigError: it cannot be read.
    """
    name = settings.assertion.keys[0] if settings.assertion is not None else ""
    try:
        return assertion.load_signing_key(read_secret(name))
    except OSError as error:
        text = f"the assertion key cannot be read: {why(error)}; the gate makes a missing one when it starts"
        raise _config(name, text) from None
    except ValueError as error:
        raise _config(name, str(error)) from None
