"""Checks issuers for mistakes, and compiles them."""

from collections.abc import Iterator
from types import MappingProxyType

from authz.core.documents.wording import Mistake
from authz.core.errors import Problem
from authz.core.model import Issuer, Plane
from authz.core.policy.bundle import beside
from authz.core.policy.draft import Draft
from authz.core.policy.schema import MAX_BREAK_GLASS, IssuerEntry, url_scheme


def check_issuers(draft: Draft) -> Iterator[Problem]:
    """Every mistake that concerns issuers."""
    problem = draft.document.problem
    names: dict[str, int] = {}
    identifiers: dict[str, int] = {}
    for index, entry in draft.issuers.items():
        loc = ("issuers", index)
        if names.setdefault(entry.name, index) != index:
            yield problem((*loc, "name"), f"the issuer `{entry.name}` is there twice", "choose another name")
        if identifiers.setdefault(entry.issuer, index) != index:
            first = draft.issuers[identifiers[entry.issuer]].name
            yield problem((*loc, "issuer"), f"`{first}` has the same `issuer`", "one entry per issuer: merge the two")
        yield from _audiences(draft, index, entry)
        if entry.break_glass:
            yield from _break_glass(draft, index, entry)
        raw = draft.document.at(loc)
        if loc not in draft.partial or not ("jwks_uri" in raw or "jwks_file" in raw):
            yield from _keys(draft, index, entry)


def _audiences(draft: Draft, index: int, entry: IssuerEntry) -> Iterator[Problem]:
    loc = ("issuers", index, "audiences")
    inbound, egress = entry.audiences.inbound, entry.audiences.egress
    if not inbound and not egress:
        yield draft.document.problem(
            loc, "no audience", "without one no token is accepted: audiences: {inbound: [airflow]}"
        )
    for position, audience in enumerate(egress):
        if audience in inbound:
            message = f"`{audience}` is an audience of both planes"
            hint = "a token for one plane must not be accepted on the other: use two audiences"
            yield draft.document.problem((*loc, "egress", position), message, hint)


def _break_glass(draft: Draft, index: int, entry: IssuerEntry) -> Iterator[Problem]:
    """What a break-glass issuer must be: at hand when nothing else is, short, and for people."""
    loc = ("issuers", index)
    problem, raw = draft.document.problem, draft.document.at(loc)
    if not entry.jwks_file and "jwks_file" not in raw:
        hint = "keys that are fetched may be out of reach when it is needed: `authz break-glass init` makes the file"
        yield problem((*loc, "break_glass"), "a break-glass issuer needs its keys in `jwks_file`", hint)
    if entry.max_lifetime > MAX_BREAK_GLASS:
        yield problem((*loc, "max_lifetime"), "too long for a break-glass issuer", "at most 1h")
    if entry.audiences.egress:
        hint = "a person uses it, no task: only `inbound`"
        yield problem((*loc, "audiences", "egress"), "a break-glass issuer has no audience on egress", hint)


def _keys(draft: Draft, index: int, entry: IssuerEntry) -> Iterator[Problem]:
    loc = ("issuers", index)
    if entry.jwks_file and entry.jwks_uri:
        yield draft.document.problem(
            (*loc, "jwks_file"), "keys come from `jwks_uri` or `jwks_file`, not from both", "remove one"
        )
        return
    if entry.jwks_file:
        return
    key = "jwks_uri" if entry.jwks_uri else "issuer"
    try:
        scheme = url_scheme(entry.jwks_uri or entry.issuer)
    except Mistake as mistake:
        hint = mistake.hint if entry.jwks_uri else f"{mistake.hint}; or give `jwks_uri` or `jwks_file`"
        yield draft.document.problem((*loc, key), mistake.message, hint)
        return
    if scheme == "http" and not entry.insecure_http:
        message = "keys would be fetched over plain http: anyone on the path could forge tokens"
        yield draft.document.problem((*loc, key), message, "use https, or say `insecure_http: true` for a test")


def compile_issuer(entry: IssuerEntry, file: str) -> Issuer:
    """The issuer as the rest of the system knows it."""
    audiences = {Plane.INBOUND: entry.audiences.inbound, Plane.EGRESS: entry.audiences.egress}
    return Issuer(
        name=entry.name,
        issuer=entry.issuer,
        audiences=MappingProxyType({plane: frozenset(values) for plane, values in audiences.items() if values}),
        algorithms=frozenset(entry.algorithms),
        max_lifetime=int(entry.max_lifetime),
        clock_skew=int(entry.clock_skew),
        username=entry.username,
        full_name=entry.full_name,
        groups=tuple((path,) if "://" in path else tuple(path.split(".")) for path in entry.groups),
        tokens=frozenset(entry.tokens),
        discovery=not entry.jwks_uri and not entry.jwks_file,
        jwks_uri=entry.jwks_uri or None,
        jwks_file=beside(file, entry.jwks_file) if entry.jwks_file else None,
        insecure_http=entry.insecure_http,
        break_glass=entry.break_glass,
    )
