"""Finds problems between the gate and the servers around it, with real requests.

Law: asks the server that an operator names, with the gate's own settings and keys, and changes nothing. An assertion
that it makes names no person, has no role and no DAG, and lives for ten seconds. A finding says what was found and what
to do; findings never quote an assertion or a key.
"""

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import httpcore
import orjson

from authz.core import assertion
from authz.core.assertion import SigningKey
from authz.core.errors import ConfigError, Problem
from authz.core.model import NO_CLAIMS, Identity, Rights
from authz.core.version import __version__
from authz.fetching.guard import Deadline, GuardedBackend, system_resolver
from authz.serve import candidate_review
from authz.settings import Settings
from authz.system.regular_file import read_secret, why

SUBJECT: Final = "authz-doctor"
"""The `sub` of the assertions that are sent."""

_PAGE: Final = "/ui/auth/me"  # of Airflow 3: it needs a user, and shows who that is
_TIMEOUT_S: Final = 5.0
_ALL_S: Final = 30.0  # for all requests together: an answer may also come byte by byte
_MOST_BYTES: Final = 64 * 1024
_LIFETIME_S: Final = 10
_SKEW_S: Final = 5  # the default of `[authz] clock_skew` in Airflow
_OK: Final = 200
_UNAUTHORIZED: Final = 401
_SCHEME: Final = "Authz-Assertion"  # of a 401 of our auth managers
_CLAIMS: Final = replace(NO_CLAIMS, issuer_name=SUBJECT, issuer=SUBJECT, subject=SUBJECT, username=SUBJECT)
_IDENTITY: Final = Identity(claims=_CLAIMS, roles=frozenset())
_RIGHTS: Final = Rights(None, "", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check. `hint` is what to do if it is not `ok`."""

    name: str
    ok: bool
    text: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One Airflow as the settings describe it: the audience of its assertions, and how to trust its certificate."""

    audience: str
    tls_ca: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What Airflow answered to one request."""

    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def refused(self) -> bool:
        """Whether our auth manager refused the assertion; any other 401 is Airflow's own."""
        return self.status == _UNAUTHORIZED and self.headers.get("www-authenticate") == _SCHEME


def of_candidate(settings: Settings, file: str) -> list[Finding]:
    """Whether the gate compares checks with the candidate of the settings (`shadow`); nothing if they name none."""
    if not settings.shadow:
        return []
    found = candidate_review.findings(settings, file)
    if not found:
        return [Finding(name="candidate", ok=True, text=f"{settings.shadow} is compared, or absent")]
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    text, hint = f"{found[0].problem}{more}", "no answer depends on it: `authz lint --settings` lists all"
    return [Finding(name="candidate", ok=False, text=text, hint=hint)]


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
    url: str, of: Target, *, issuer: str, key: SigningKey, wall: Callable[[], float] = time.time
) -> list[Finding]:
    """Ask the Airflow at `url` (scheme, host, port and base path): does it accept what the gate sends, and only that?

    Args:
        url: Airflow's own address, not Envoy's.
        of: what the settings say about it.
        issuer: the `iss` of the gate's assertions.
        key: the gate's signing key.
        wall: the time in seconds since the epoch.
    """
    pool = httpcore.ConnectionPool(
        ssl_context=_tls(of.tls_ca),
        network_backend=GuardedBackend(deadline=Deadline(_ALL_S), loopback=True, resolver=system_resolver),
    )
    with pool:

        def send(audience: str | None) -> Answer:
            token = "" if audience is None else _assertion(audience, issuer, key, wall())
            return _get(pool, url, {assertion.HEADER: token} if token else {})

        try:
            accepted = send(of.audience)
            findings = [Finding(name="airflow", ok=True, text=f"{url} answers {accepted.status}")]
            findings.append(_clock(accepted, wall()))
            findings.append(_assertion_finding(accepted, of.audience, issuer, key.kid))
            findings.append(_strangers(send(None), send(f"{of.audience}-of-another-airflow")))
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError, ValueError) as error:
            why = str(error) or type(error).__name__
            hint = "is it running, and is this its address?"
            if "certificate" in why.lower():
                hint = "is this the name in its certificate, and is the upstream's `tls.ca` its authority?"
            return [Finding(name="airflow", ok=False, text=f"{url}: {why}", hint=hint)]
    return findings


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


def _assertion_finding(answer: Answer, audience: str, issuer: str, kid: str) -> Finding:
    sent = f"sent issuer {issuer!r}, audience {audience!r}, key {kid}"
    if answer.status == _OK:
        return Finding(name="assertion", ok=True, text=f"accepted; {sent}")
    if not answer.refused:
        return Finding(
            name="assertion",
            ok=False,
            text=f"neither accepted nor refused: Airflow itself answers {answer.status}; {sent}",
            hint="does [core] auth_manager name AuthzAuthManager? (AuthzFabAuthManager answers the same: FAB does not"
            f" know {SUBJECT})",
        )
    expected = answer.body.get("expected")
    if not isinstance(expected, Mapping):
        return Finding(
            name="assertion",
            ok=False,
            text=f"refused before its claims were read; {sent}",
            hint="Airflow does not have this key: is [authz] jwks_url the gate's /jwks.json? Airflow's log says more",
        )
    return Finding(
        name="assertion",
        ok=False,
        text=f"refused: {answer.body.get('refusal')}; {sent}; Airflow expects issuer {expected.get('issuer')!r},"
        f" audience {expected.get('audience')!r}",
        hint="make [authz] issuer and audience of Airflow equal to `assertion.issuer` and to the upstream's `audience`",
    )


def _clock(answer: Answer, now: float) -> Finding:
    reported = answer.body.get("now")  # a refusal says it exactly; others have the Date header, in whole seconds
    there = float(reported) if type(reported) is int else _date(answer.headers.get("date", ""))
    if there is None:
        return Finding(name="clock", ok=True, text=f"here {_utc(now)}; Airflow did not report its own")
    apart = abs(there - now)
    return Finding(
        name="clock",
        ok=apart <= _SKEW_S + 1,
        text=f"here {_utc(now)}, at Airflow {_utc(there)}",
        hint=f"{apart:.0f} s apart: assertions live for a minute at most, so set the clocks right (NTP)",
    )


def _strangers(without: Answer, foreign: Answer) -> Finding:
    if _OK in {without.status, foreign.status}:
        let_in = "a request without an assertion" if without.status == _OK else "an assertion for another audience"
        return Finding(
            name="strangers",
            ok=False,
            text=f"Airflow lets in {let_in}",
            hint="use AuthzAuthManager, and let only Envoy reach Airflow",
        )
    return Finding(name="strangers", ok=True, text="requests with no assertion or a foreign one are refused")


def _get(pool: httpcore.ConnectionPool, url: str, headers: Mapping[str, str]) -> Answer:
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), _TIMEOUT_S)
    fields = {"accept": "application/json", "user-agent": f"authz-doctor/{__version__}", **headers}
    with pool.stream(
        "GET", url.rstrip("/") + _PAGE, headers=list(fields.items()), extensions={"timeout": timeout}
    ) as response:
        data = b""
        for chunk in response.iter_stream():
            data += chunk
            if len(data) > _MOST_BYTES:
                raise ValueError(f"more than {_MOST_BYTES} bytes")
        named = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
        return Answer(status=response.status, headers=named, body=_object(data))


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def _tls(ca: str | None) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca)


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except ValueError:
        return None


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


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


def worst(findings: Sequence[Finding]) -> bool:
    """Whether anything is wrong."""
    return any(not finding.ok for finding in findings)
