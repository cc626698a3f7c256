"""Defines the frozen records that all layers share.

Law: data only. Nothing here reads a clock, a file or the network, and nothing here decides. Whatever may hold a secret
is `repr=False`, so that it is in no log and no traceback.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeVar, dataclass_transform

from authz.core.reasons import Reason

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def made_per_request(made: type[T]) -> type[T]:
    """A frozen record to the type checker, a plain one at run time: freezing makes each field cost seven times more."""
    return dataclass(slots=True)(made)


class Plane(StrEnum):
    """Which side of Airflow a request is on. Envoy says so (`context_extensions["plane"]`), never the caller."""

    INBOUND = "inbound"
    EGRESS = "egress"


EXECUTION: Final = "execution"
"""What Envoy says instead of a plane where a task asks for a run identity. No rule and no token is about it."""

SERVICE_NAME: Final = "[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"
"""The name of an upstream or a destination: in the settings, the policy and Envoy's configuration."""


class Level(StrEnum):
    """Assurance level of a run identity, strongest first.

    `verified`: a token bound to the task's own key, and a proof of that key for this call. `verified-bearer`: a token
    that anyone who reads it can use. `asserted`: a service account says so, or tasks can reach the key material of
    tokens.
    """

    VERIFIED = "verified"
    VERIFIED_BEARER = "verified-bearer"
    ASSERTED = "asserted"


class Run(NamedTuple):
    """The try of a task instance that a call comes from, and its assurance level.

    `map_index` is -1 where the task is not mapped, as in Airflow. `try_number` counts from 1.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    level: Level


@made_per_request
class HttpRequest:
    """One HTTP request as Envoy sent it, before canonicalisation (`AttributeContext.HttpRequest`).

    `authority` is the Host header or `:authority`, `target` the request target with its query, undecoded. Header
    values are raw bytes, one entry per header line. `plane` is the word that Envoy sent, not yet checked. `browser`:
    HTML is accepted (RFC 9110 §12.5.1). `base` is the path that Airflow is served under (`/airflow`), as Envoy says.
    `signout` is the path that ends a browser's session at Envoy, as Envoy says, and `secure` whether the browser uses
    TLS to Envoy; both are set only if there is such a path.
    `narrowed`: Envoy says that the Airflow behind it keeps to the DAGs that the assertion names.
    `destination` is the name of the outbound destination that Envoy has chosen, and `host` the host that is evaluated
    if the caller uses one of Envoy's addresses for the destination, "" if it is that of `authority`. `run_identity`,
    `run_proof` and `proxy_authorization` are the lines of these headers; they are read only on egress.
    `keeps_authorization`: Envoy says that the Authorization header is the destination's if another header identifies
    the caller.
    """

    plane: str
    audience: str
    method: str
    authority: str
    target: str
    authorization: tuple[bytes, ...] = field(default=(), repr=False)
    cookies: tuple[bytes, ...] = field(default=(), repr=False)
    browser: bool = False
    traceparent: str = ""
    source: str = ""
    base: str = ""
    signout: str = ""
    secure: bool = False
    narrowed: bool = False
    destination: str = ""
    host: str = ""
    run_identity: tuple[bytes, ...] = field(default=(), repr=False)
    run_proof: tuple[bytes, ...] = field(default=(), repr=False)
    proxy_authorization: tuple[bytes, ...] = field(default=(), repr=False)
    keeps_authorization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request in canonical form: all that the decision reads of the request.

    `path` is the canonical path (see `authz.core.request.path`), `segments` its decoded segments without the leading
    slash (`/` is `("",)`), `host` lower-case without port and without trailing dot, `port` None where none was given.
    If Airflow is served under a base path, `base` is that path and `path` and `segments` are what is below it.
    `outside` says that the request is not below it; they are then the whole path, which Airflow has no route for.
    `narrowed` and `destination` are those of `HttpRequest`.
    """

    plane: Plane
    method: str
    host: str
    port: int | None
    path: str
    segments: tuple[str, ...]
    base: str = ""
    outside: bool = False
    narrowed: bool = False
    destination: str = ""

    @property
    def whole_path(self) -> str:
        """The canonical path as the caller sees it, the base path included."""
        return self.path if self.outside else self.base + self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """One trusted token issuer, as the policy configures it. Times are in seconds.

    `audiences` gives the accepted `aud` values per plane; a plane that is absent accepts no token of this issuer.
    `tokens` is the accepted kinds: `access`, `id`. `groups` are claim paths (`realm_access.roles`), merged.
    Exactly one of `discovery` (True), `jwks_uri`, `jwks_file` says where the keys are. `break_glass`: its tokens are
    for emergencies: each states its reason, and each use of one is counted and on record.
    """

    name: str
    issuer: str
    audiences: Mapping[Plane, frozenset[str]]
    algorithms: frozenset[str]
    max_lifetime: int = 3600
    clock_skew: int = 30
    username: str = "sub"
    full_name: str = "name"
    groups: tuple[tuple[str, ...], ...] = ()
    tokens: frozenset[str] = frozenset({"access"})
    discovery: bool = True
    jwks_uri: str | None = None
    jwks_file: str | None = None
    insecure_http: bool = False
    break_glass: bool = False


@made_per_request
class Claims:
    """The verified claims of one token that the rest of the system uses. The key of a person is (issuer, subject).

    `groups` are the merged group claims; `client_id` is `azp`, `client_id`, `cid` or `appid`,
    whichever the issuer uses. Times are seconds since the epoch. `break_glass` is the reason that a break-glass token
    states, "" in all others. Unused claims are left out: a hundred thousand of these are kept.
    """

    issuer_name: str
    issuer: str
    subject: str
    client_id: str
    username: str
    full_name: str
    groups: frozenset[str]
    audiences: frozenset[str]
    expires_at: int
    issued_at: int | None
    not_before: int | None
    break_glass: str = ""


NO_CLAIMS: Final = Claims("", "", "", "", "", "", frozenset(), frozenset(), 0, None, None)
"""The claims of a caller without a token, from which `replace` makes those of a caller with a few."""
SOMEONE: Final = "someone"
"""The subject of a caller that people describe without one."""


LONGEST_GRANT_S: Final = 30 * 86_400
"""The longest duration of a grant that any policy may permit."""


class HeldGrant(NamedTuple):
    """A grant that a caller holds: of an entry of `grantable`, until a time in seconds since the epoch.

    `seconds` is how long it was given for, and `is_approved` whether someone approved it: a policy may permit less now.
    """

    entry: str
    id: str
    until: float
    seconds: int
    is_approved: bool


@made_per_request
class Identity:
    """The caller: verified claims, and the roles that the policy gives them.

    `roles` is closed over `includes`. `agent` is true when any role marked `agent: true` applies. `airflow_role` is the
    strongest Airflow role (`viewer`, `user`, `op`, `admin`) that the roles map to, or "". `run` is the run that an
    outbound call comes from; None if none is known. `held` are the grants that the caller holds, and `grants` those of
    them that count: the policy permits them.
    """

    claims: Claims
    roles: frozenset[str]
    agent: bool = False
    airflow_role: str = ""
    run: Run | None = None
    grants: tuple[HeldGrant, ...] = ()
    held: tuple[HeldGrant, ...] = ()


class DagGrant(NamedTuple):
    """The DAGs that may be seen or touched in one request: those that match `allowed` and not `denied`.

    Both are globs, sorted; only `*` is special in them. `("*",)` is every DAG, `()` is none. `reference` is the digest
    with which an assertion names a grant that is too large for it (`authz.core.policy.dags`), "" for all others.
    """

    allowed: tuple[str, ...]
    denied: tuple[str, ...] = ()
    reference: str = ""


class LargeGrant(DagGrant):
    """A grant with a reference, which is its hash key: hashing thousands of names costs more than the answer."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(self.reference)


class Rights(NamedTuple):
    """The rights in an assertion: the DAGs, the role in Airflow itself, the items of Airflow's menu.

    `dags` and `menu` are None on egress, where they mean nothing: the assertion omits them.
    """

    dags: DagGrant | None
    airflow_role: str
    menu: tuple[str, ...] | None


@made_per_request
class Allow:
    """The request may go on. `rule` is the id of the rule that says so.

    `dags` are the DAGs that the caller may see or touch in this request; None if anonymous, and on egress. `level` is
    the weakest Airflow role that may do the operation there; "" if it is no operation.
    """

    reason: Reason
    rule: str
    operation: str = ""
    dag_id: str = ""
    dags: DagGrant | None = None
    level: str = ""


@made_per_request
class Deny:
    """The request is denied. `rule` is the deny rule's id or "". `detail` is for the operator's log: never a secret.

    `narrowed`: Airflow would have limited the request to the caller's DAGs, so a right to one of them is enough.
    """

    reason: Reason
    rule: str = ""
    operation: str = ""
    dag_id: str = ""
    detail: str = ""
    narrowed: bool = False


Decision = Allow | Deny
