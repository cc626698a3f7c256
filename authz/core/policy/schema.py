"""The policy file's shape: every key, what it means, and the checks that need nothing but the value itself.

Law: strict. An unknown key, an empty list, a wrong type and `null` are mistakes, because each of them could silently
mean more, or less, than its author thought. Text is parsed into patterns here, once.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple, cast

from pydantic import AfterValidator, Discriminator, Field, Tag, WithJsonSchema

from authz.core.documents.moments import End
from authz.core.documents.quantities import Duration, FormatVersion
from authz.core.documents.wording import Mistake, near
from authz.core.loopback import is_loopback
from authz.core.policy import bundle
from authz.core.policy.case_schema import Callers, Cases
from authz.core.policy.fields import ABSENT, Name, NotEmpty, Section, Text
from authz.core.policy.grant_schema import GrantableDraft, GrantableEntry, slim_grantable
from authz.core.policy.include_schema import IncludeEntry
from authz.core.policy.rule_schema import Never, RuleDraft, RuleEntry, is_reserved, slim
from authz.core.policy.rules import AUTHENTICATED, BUILT_IN
from authz.core.policy.team_schema import TeamEntry, parse_role_name
from authz.core.urls import Url

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
_ISSUER_PATH: Final = re.compile(r"[!$&-;=@-_a-z~]*")  # what providers write alike: no quotes, no escapes
_MAX_LIFETIME: Final = 24 * 3600
_MAX_SKEW: Final = 300
MAX_BREAK_GLASS: Final = 3600
"""Seconds that a break-glass token lives at most."""


def _role_name(value: str) -> str:
    if value == AUTHENTICATED:
        raise Mistake(f"`{value}` is everyone with a valid token and cannot be defined", "choose another name")
    if is_reserved(value) and value not in BUILT_IN:
        hint = near(value.lower(), BUILT_IN) or "built in are " + ", ".join(BUILT_IN)
        raise Mistake(f"`{value}` is not a built-in role", hint)
    return parse_role_name(value)


def _algorithm(value: str) -> str:
    if value in ALGORITHMS:
        return value
    if value.upper().startswith("HS"):
        hint = "with a shared secret, anyone who verifies can also forge: use an asymmetric one such as RS256 or ES256"
        raise Mistake(f"`{value}` is symmetric", hint)
    if value.lower() == "none":
        raise Mistake("`none` means no signature at all", "use an asymmetric algorithm such as RS256 or ES256")
    raise Mistake(f"unknown algorithm `{value}`", near(value, ALGORITHMS) or "known: " + ", ".join(ALGORITHMS))


def _whole_seconds(most: int, text: str) -> Callable[[float], float]:
    def check(value: float) -> float:
        if not 1 <= value <= most or value != int(value):
            raise Mistake("this duration is out of range", f"from 1s to {text}")
        return value

    return check


def url_scheme(value: str) -> str:
    """`https`, `loopback` (http on this machine) or `http`.

    Raises:
        Mistake: it is no such URL, or has a user, a query or a fragment.
    """
    try:
        url = Url.parse(value)
    except ValueError:
        url = None
    if url is None or url.query or not _ISSUER_PATH.fullmatch(url.path):
        raise Mistake("this is not an http(s) URL", "scheme, host, port and path only: https://idp.example.com/path")
    return "loopback" if url.scheme == "http" and is_loopback(url.host) else url.scheme


def _claim_path(value: str) -> str:
    if "://" not in value and "" in value.split("."):
        raise Mistake(
            f"`{value}` is not a claim path", "claim names joined with dots, as realm_access.roles; a URL is one name"
        )
    return value


RoleName = Annotated[str, AfterValidator(_role_name)]
_Algorithm = Annotated[str, AfterValidator(_algorithm), WithJsonSchema({"enum": list(ALGORITHMS)})]
_FileName = Annotated[
    str, AfterValidator(bundle.parse_name), WithJsonSchema({"type": "string", "pattern": r"^[^/\\][^\\]*\.ya?ml$"})
]
_Lifetime = Annotated[Duration, AfterValidator(_whole_seconds(_MAX_LIFETIME, "24h"))]
_Skew = Annotated[Duration, AfterValidator(_whole_seconds(_MAX_SKEW, "5m"))]


class Audiences(Section):
    """Accepted `aud` values per plane. A plane that is not there accepts no token of the issuer."""

    inbound: Annotated[tuple[Text, ...], *NotEmpty] = Field((), description="`aud` of tokens for the inbound plane")
    egress: Annotated[tuple[Text, ...], *NotEmpty] = Field((), description="`aud` of tokens for outbound calls")


class IssuerEntry(Section):
    """One trusted issuer of tokens. Its keys come from discovery unless `jwks_uri` or `jwks_file` is given."""

    name: Name = Field(description="its name in this file, in logs and in metrics")
    issuer: Text = Field(description="compared exactly with the token's `iss`")
    audiences: Audiences = Field(description="accepted `aud` values per plane, different ones for each plane")
    algorithms: Annotated[tuple[_Algorithm, ...], *NotEmpty] = Field(
        description="accepted `alg` values, asymmetric only"
    )
    max_lifetime: _Lifetime = Field(
        3600.0, json_schema_extra={"default": "1h"}, description="a token that lives longer is refused; at most 24h"
    )
    clock_skew: _Skew = Field(
        30.0,
        json_schema_extra={"default": "30s"},
        description="tolerated difference between its clock and ours; at most 5m",
    )
    username: Text = Field("sub", description="claim with the name that people know")
    full_name: Text = Field("name", description="claim with the name to show")
    groups: Annotated[tuple[Annotated[Text, AfterValidator(_claim_path)], ...], *NotEmpty] = Field(
        (), description="claim paths whose values are the groups, merged"
    )
    tokens: Annotated[tuple[Literal["access", "id", "untyped"], ...], *NotEmpty] = Field(
        ("access",), description="accepted kinds of token; `untyped` is a plain JWT that does not say what it is"
    )
    jwks_uri: Text = Field("", description="address of the key set, instead of discovery")
    jwks_file: Text = Field("", description="file with the key set, instead of discovery; relative to this file")
    insecure_http: bool = Field(False, description="fetch keys over plain http; anyone on the path can forge tokens")
    break_glass: bool = Field(
        False, description="its tokens are for emergencies: each states a reason, and each use is an alert"
    )


class MemberEntry(Section):
    """A member of a role whose membership ends by itself."""

    name: Text = Field(description="the group, client id or subject")
    until: End = Field(description="when the membership ends: 2026-12-31T18:00Z; a date is the end of that day in UTC")


def _form(value: object) -> str:
    return "member" if isinstance(value, dict | MemberEntry) else "name"


def _distinct(members: tuple[str | MemberEntry, ...]) -> tuple[str | MemberEntry, ...]:
    seen: set[str] = set()
    for member in members:
        name = member if isinstance(member, str) else member.name
        if name in seen:
            raise Mistake(f"`{name}` is listed twice", "remove one of them")
        seen.add(name)
    return members


_Member = Annotated[Annotated[Text, Tag("name")] | Annotated[MemberEntry, Tag("member")], Discriminator(_form)]
_Members = Annotated[tuple[_Member, ...], Field(min_length=1), AfterValidator(_distinct)]


class RoleEntry(Section):
    """Who has a role: any listed group, client or subject is enough. With `issuers` only, everyone from there."""

    groups: _Members = Field((), description="groups of the token; {name: …, until: …} for one that ends")
    clients: _Members = Field((), description="client ids (`azp`, `client_id`) of the token, as `groups`")
    subjects: _Members = Field((), description="subjects (`sub`) of the token, as `groups`")
    issuers: Annotated[tuple[str, ...], *NotEmpty] = Field((), description="only tokens of these issuers, by name")
    includes: Annotated[tuple[str, ...], *NotEmpty] = Field((), description="roles that come with this one")
    agent: bool = Field(False, description="its holders are AI agents")
    airflow: Literal["viewer", "user", "op", "admin"] = Field(
        ABSENT, description="what it is to Airflow itself in every request, at least"
    )
    description: Text = Field("", description="for people")


class EndDraft(NamedTuple):
    """The end of one member of a role: the list that has it, its name, and its position in the file."""

    kind: str
    name: str
    until: float
    position: int


@dataclass(slots=True, kw_only=True)
class RoleDraft:
    """A role entry that has the right shape: as `RuleDraft`, for there may be as many roles.

    `ends` are those of its members that have an end. `grants` is set in the role of an entry of `grantable` only.
    """

    groups: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    includes: tuple[str, ...] = ()
    agent: bool = False
    airflow: str = ""
    description: str = ""
    ends: tuple[EndDraft, ...] = ()
    grants: tuple[str, ...] = ()


def slim_role(entry: RoleEntry) -> RoleDraft:
    """The entry as a draft."""
    lists = {"groups": entry.groups, "clients": entry.clients, "subjects": entry.subjects}
    names = {kind: tuple(m if isinstance(m, str) else m.name for m in members) for kind, members in lists.items()}
    return RoleDraft(
        **names,
        issuers=entry.issuers,
        includes=entry.includes,
        agent=entry.agent,
        airflow=entry.airflow,
        description=entry.description,
        ends=tuple(
            EndDraft(kind, member.name, member.until, position)
            for kind, members in lists.items()
            for position, member in enumerate(members)
            if not isinstance(member, str)
        ),
    )


class PolicyFile(Section):
    """Who may do what. Everything that no rule allows is denied."""

    version: FormatVersion = Field(description="version of this format")
    end_mark: bool = Field(
        False, description="the file ends with a line `...`; where it is missing, the file is half written and refused"
    )
    description: Text = Field("", description="for people")
    test_files: Annotated[tuple[_FileName, ...], *NotEmpty] = Field(
        (), description="files with more `callers`, `tests` and `never`, relative to this file; above `issuers`"
    )
    include: Annotated[tuple[IncludeEntry, ...], Field(min_length=1, max_length=bundle.MOST_INCLUDED)] = Field(
        (), description="files with rules of teams, each within confines; above `issuers`"
    )
    airflow: Text = Field("", description="Airflow version whose catalogue names the operations; default: the newest")
    issuers: Annotated[tuple[IssuerEntry, ...], Field(min_length=1)] = Field(description="whose tokens are accepted")
    teams: Annotated[tuple[TeamEntry, ...], Field(min_length=1)] = Field(
        (),
        description="who owns which DAGs: one role with `{team}`, and one rule with `dags: team`, are for all of them",
    )
    roles: dict[RoleName, Annotated[RoleEntry, AfterValidator(slim_role)]] = Field({}, description="who has which role")
    rules: tuple[Annotated[RuleEntry, AfterValidator(slim)], ...] = Field(
        (), description="who may do what; their order means nothing; optional where a built-in role is used"
    )
    grantable: tuple[Annotated[GrantableEntry, AfterValidator(slim_grantable)], ...] = Field(
        (), description="access that people may ask for, and get for a time"
    )
    callers: Callers = Field({}, description="callers for tests, by name")
    tests: Cases = Field((), description="what the policy must decide, or it does not come into force")
    never: Never = Field((), description="what the policy must allow no one, or it does not come into force")

    @property
    def role_drafts(self) -> dict[str, RoleDraft]:
        """What `roles` really holds: the annotation is that of the file."""
        return cast("dict[str, RoleDraft]", self.roles)

    @property
    def drafts(self) -> tuple[RuleDraft, ...]:
        """What `rules` really holds: the annotation is that of the file."""
        return cast("tuple[RuleDraft, ...]", self.rules)

    @property
    def grantable_drafts(self) -> tuple[GrantableDraft, ...]:
        """What `grantable` really holds: the annotation is that of the file."""
        return cast("tuple[GrantableDraft, ...]", self.grantable)
