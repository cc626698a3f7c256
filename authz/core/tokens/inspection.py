"""Reports everything wrong with a token at once, to someone with a 401 and a token (`authz token inspect`).

Law 1: the server's own functions decide; this module only calls them one by one, and skips none because an earlier
one failed. It has no rules of its own.
Law 2: the token, its parts and its signature are never shown. Claim values that explain the mistake are.
Law 3: an inspection grants nothing. Its claims may be unverified; `ok` is true only when every check passed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from authz.core.errors import TokenError
from authz.core.jose.jwks import Key, KeySet
from authz.core.jose.primitives import shown
from authz.core.model import Claims, Issuer, Plane
from authz.core.reasons import Reason
from authz.core.tokens.claims import READERS, check_id_audiences, typed_claims
from authz.core.tokens.compact import MAX_TOKEN_BYTES, ParsedToken, parse
from authz.core.tokens.kind import ID, check_kind
from authz.core.tokens.signature import check_algorithm, find_issuer, find_key, verify
from authz.core.tokens.validity import check_audience, check_expiry, check_lifetime, check_start

_T = TypeVar("_T")
_AFTER_ISSUER: Final = (
    "algorithm",
    "key",
    "signature",
    "kind",
    "claims",
    "audience",
    "expiry",
    "start",
    "lifetime",
)


class Outcome(StrEnum):
    """How one check ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check: its object, its outcome, and one sentence with what was expected and what was found."""

    name: str
    outcome: Outcome
    text: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The report. `claims` are typed, but trusted only if `ok`; None if they cannot be read.

    `members` are the names of the payload's members, not their values: they may show a missing group claim's name.
    """

    checks: tuple[Check, ...]
    issuer: Issuer | None = None
    claims: Claims | None = None
    members: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the server would accept the token: no check failed, and none was skipped."""
        return all(check.outcome is Outcome.OK for check in self.checks)


class _Report:
    """The checks so far."""

    def __init__(self) -> None:
        self.checks: list[Check] = []

    def run(self, name: str, step: Callable[[], _T], say: Callable[[_T], str]) -> _T | None:
        try:
            result = step()
        except TokenError as error:
            self.checks.append(Check(name=name, outcome=Outcome.FAILED, text=error.detail, reason=error.reason))
            return None
        self.checks.append(Check(name=name, outcome=Outcome.OK, text=say(result)))
        return result

    def skip(self, why: str, *names: str) -> None:
        self.checks.extend(Check(name=name, outcome=Outcome.SKIPPED, text=why) for name in names)


def inspect(
    token: str,
    issuers: Mapping[str, Issuer],
    keysets: Mapping[str, KeySet],
    plane: Plane,
    now: float,
    *,
    max_bytes: int = MAX_TOKEN_BYTES,
) -> Inspection:
    """Every check of `token` on `plane` at `now`. `keysets` holds the key sets at hand by issuer name."""
    report = _Report()
    parsed = report.run("form", lambda: parse(token, max_bytes=max_bytes), lambda _: "a signed JWT")
    if parsed is None:
        report.skip("the token cannot be read", "issuer", *_AFTER_ISSUER)
        return Inspection(checks=tuple(report.checks))
    issuer = report.run(
        "issuer", lambda: _find_issuer(parsed, issuers), lambda found: f"{found.issuer} is issuer {found.name}"
    ) or _meant(parsed, issuers)  # the issuer has failed, but the rest can be checked as if it were the similar one
    if issuer is None:
        report.skip("the issuer is not known", *_AFTER_ISSUER)
        return Inspection(checks=tuple(report.checks), members=tuple(sorted(parsed.payload)))
    _check_signature(report, parsed, issuer, keysets.get(issuer.name))
    kind = report.run("kind", lambda: check_kind(parsed, issuer), lambda found: f"the kind is {found}")
    values = _check_claims(report, parsed.payload, issuer)
    _check_use(report, values, issuer, plane, now)
    if kind == ID and "audiences" in values:
        report.run(
            "id_audiences", lambda: check_id_audiences(parsed.payload, issuer), lambda _: "for our clients alone"
        )
    claims = typed_claims(parsed.payload, issuer) if len(values) == len(READERS) else None
    members = tuple(sorted(parsed.payload))
    return Inspection(checks=tuple(report.checks), issuer=issuer, claims=claims, members=members)


def _find_issuer(parsed: ParsedToken, issuers: Mapping[str, Issuer]) -> Issuer:
    try:
        return find_issuer(parsed, issuers)
    except TokenError as error:
        known = ", ".join(sorted(issuers)) or "none"
        near = _meant(parsed, issuers)
        hint = f"; {shown(near.issuer)} differs only in case, scheme or a slash at the end" if near else ""
        raise TokenError(error.reason, f"{error.detail}; configured: {known}{hint}") from None


def _meant(parsed: ParsedToken, issuers: Mapping[str, Issuer]) -> Issuer | None:
    """The issuer whose URL differs from the token's `iss` only in an easily overlooked way."""
    iss = parsed.payload.get("iss")
    near = [issuer for name, issuer in issuers.items() if isinstance(iss, str) and _loose(name) == _loose(iss)]
    return near[0] if near else None


def _loose(issuer: str) -> str:
    return issuer.casefold().removeprefix("https://").removeprefix("http://").rstrip("/")


def _check_signature(report: _Report, parsed: ParsedToken, issuer: Issuer, keyset: KeySet | None) -> None:
    algorithm = report.run("algorithm", lambda: check_algorithm(parsed, issuer), lambda alg: f"alg is {alg}")
    if algorithm is None or keyset is None:
        report.skip("the algorithm is not accepted" if keyset else "no keys at hand", "key", "signature")
        return
    key = report.run("key", lambda: find_key(parsed, issuer, keyset), _describe)
    if key is None:
        report.skip("there is no key to verify it with", "signature")
        return
    report.run("signature", lambda: verify(parsed, key), lambda _: "the signature verifies")


def _describe(key: Key) -> str:
    return f"kid {shown(key.kid)}, {key.kty}{f' {key.crv}' if key.crv else ''}"


def _check_claims(report: _Report, payload: Mapping[str, Any], issuer: Issuer) -> dict[str, Any]:
    """The claims that can be read; every one that cannot is named in one check."""
    values: dict[str, Any] = {}
    wrong: list[str] = []
    for name, read in READERS.items():
        try:
            values[name] = read(payload, issuer)
        except TokenError as error:
            wrong.append(error.detail)
    if wrong:
        text = "; ".join(dict.fromkeys(wrong))
        report.checks.append(Check(name="claims", outcome=Outcome.FAILED, text=text, reason=Reason.CLAIM_INVALID))
    else:
        report.checks.append(Check(name="claims", outcome=Outcome.OK, text="every claim has its type"))
    return values


def _check_use(report: _Report, values: Mapping[str, Any], issuer: Issuer, plane: Plane, now: float) -> None:
    missing = "it cannot be read"
    if "audiences" in values:
        report.run(
            "audience",
            lambda: check_audience(values["audiences"], issuer, plane),
            lambda _: f"one audience is ours on the plane {plane}",
        )
    else:
        report.skip(missing, "audience")
    if "expires_at" in values:
        exp = values["expires_at"]
        report.run("expiry", lambda: check_expiry(exp, issuer, now), lambda _: f"it expires in {exp - now:.0f} s")
    else:
        report.skip(missing, "expiry")
    if "not_before" in values and "issued_at" in values:
        nbf, iat = values["not_before"], values["issued_at"]
        report.run("start", lambda: check_start(nbf, iat, issuer, now), lambda _: "nbf and iat are not in the future")
    else:
        report.skip(missing, "start")
    if "expires_at" in values and "issued_at" in values:
        exp, iat = values["expires_at"], values["issued_at"]
        report.run("lifetime", lambda: check_lifetime(exp, iat, issuer, now), lambda _: _lifetime(issuer))
    else:
        report.skip(missing, "lifetime")


def _lifetime(issuer: Issuer) -> str:
    return f"it lives no longer than max_lifetime, {issuer.max_lifetime} s"
