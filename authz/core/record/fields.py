"""The fields of the decision log's lines; its documentation and its JSON Schema are made of these.

Law: data only. Each field has its type, and one sentence for the reader of the log.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypedDict

VERSION: Final = 1
"""The version of the format. A field or a type of line that is added does not change it; readers skip both."""
DECISION: Final = "decision"
IDENTITY: Final = "identity"
LOG: Final = "log"
OUTCOME: Final = "outcome"
ACCESS: Final = "access"
LONGEST: Final = 2048
"""Characters of any one text of a decision: a longer path is cut, its head is enough to find it."""
REPLACED: Final = "\ufffd"
"""Stands for each character that UTF-8 cannot encode: a claim may hold half of a surrogate pair."""

HASHED: Final = "sha256:"
"""How a value begins that `log.privacy` has hashed."""


class OwnFields(TypedDict):
    """The fields of a decision that differ from one to the next, and those that all decisions of a worker share."""

    v: Annotated[int, "version of the format: 1"]
    type: Annotated[Literal["decision"], "`decision`"]
    id: Annotated[str, "decision id, as the answer's header `x-authz-decision` has it"]
    time: Annotated[str, "when the check arrived: ISO 8601, UTC, with microseconds"]
    latency_us: Annotated[int, "microseconds from the check's arrival to its answer"]
    trace: Annotated[str, "trace id that Envoy traces the request under, or of its `traceparent`; empty without one"]
    source: Annotated[str, "address of the connection's other end, as Envoy sees it"]
    upstream: Annotated[str, "audience of the upstream, as Envoy names it; empty where it has none"]
    gate: Annotated[str, "name of the gate: `gate` in the settings"]
    worker: Annotated[int, "number of its worker, from 0"]


class GivenFields(TypedDict):
    """What every grant that a caller holds has."""

    entry: Annotated[str, "entry of `grantable` in the policy"]
    id: Annotated[str, "id of the grant"]
    seconds: Annotated[int, "how long it was given for"]


class GrantFields(GivenFields, total=False):
    """A grant that a caller holds."""

    open: Annotated[Literal[True], "no one approved it, because no approval was needed; absent elsewhere"]


class RequestFields(TypedDict, total=False):
    """The fields that a decision has only if the request or the caller has them, or the policy had ended in part."""

    port: Annotated[int, "port of the host that was asked for; absent where none was given"]
    base: Annotated[str, "base path that Airflow is served under; absent without one"]
    narrowed: Annotated[Literal[True], "Airflow limits lists to the DAGs that the assertion names; absent elsewhere"]
    grants: Annotated[
        tuple[GrantFields, ...],
        "grants of the caller that count, each with `entry`, `id`, `seconds` (how long it was given for), and `open`"
        " if it needed no approval; absent where there are none",
    ]
    suspended: Annotated[
        tuple[GrantFields, ...], "the same of those that the policy does not permit now; absent where there are none"
    ]
    break_glass: Annotated[str, "reason that the caller's break-glass token states; absent for all other callers"]
    stated_by: Annotated[
        str, "name of the decision client that stated the caller over AuthZEN; absent where a token is the caller's own"
    ]
    since: Annotated[
        str, "last `until` in the policy that was over, in UTC: what had ended was left out; absent if nothing had"
    ]


class DagsFields(TypedDict, total=False):
    """How the DAGs differ that two assertions name: patterns of which one policy says something, and the other not."""

    lost: Annotated[tuple[str, ...], "patterns that only the policy in force allows; each field is absent where empty"]
    gained: Annotated[tuple[str, ...], "patterns that only the candidate allows"]
    denied: Annotated[tuple[str, ...], "patterns that only the candidate denies"]
    denied_before: Annotated[tuple[str, ...], "patterns that only the policy in force denies"]
    left_out: Annotated[
        int,
        "how many more there are: each list has three at most; where the two have over 1,000 patterns in all, none is"
        " listed, and all count",
    ]


class RightsFields(TypedDict, total=False):
    """What a candidate would have an assertion say otherwise."""

    airflow: Annotated[
        tuple[str, ...],
        "role in Airflow: that in force, and the candidate's; absent where both are alike",
    ]
    agent: Annotated[bool, "whether the candidate marks the caller as an agent"]
    dags: Annotated[DagsFields, "how the DAGs differ to which Airflow limits the request"]


class CandidateField(TypedDict):
    """Which candidate policy was compared."""

    revision: Annotated[str, "first 12 digits of the candidate's revision"]


class ShadowFields(CandidateField, total=False):
    """What the candidate policy (`shadow` in the settings) decides on the same check."""

    decision: Annotated[str, "`allow` or `deny`; this, `reason` and `rule` are absent where all three are the record's"]
    reason: Annotated[str, "why"]
    rule: Annotated[str, "id of the candidate's rule that decides; empty where none does"]
    rights: Annotated[RightsFields, "both allow, and the assertion would say something else: what; absent elsewhere"]
    unknown: Annotated[str, "why its verdict is not known: `issuer`, `token` or `error`; absent where it is"]


class ComparedFields(TypedDict, total=False):
    """The field that a decision has only while a candidate is compared, if the policy decided."""

    shadow: Annotated[ShadowFields, "the candidate's verdict: [shadow](howto/shadow.md); absent where none is compared"]


class SharedFields(RequestFields, ComparedFields):
    """The fields of a decision that follow from the request, the identity and the policy."""

    plane: Annotated[
        str, "`inbound` (to Airflow), `egress` (from tasks) or `execution` (a task asks for its run identity)"
    ]
    method: Annotated[str, "HTTP method"]
    host: Annotated[str, "host that was asked for"]
    path: Annotated[str, "canonical path without its query; the raw one where it has no canonical form"]
    identity: Annotated[
        str, "id of the caller's identity entry; empty for an anonymous caller, a refused token, and a run's own token"
    ]
    subject: Annotated[str, "the token's `sub`; empty for an anonymous caller and a refused token"]
    client: Annotated[str, "the token's client id; empty where it has none, and for a refused token"]
    roles: Annotated[tuple[str, ...], "roles of the caller, those that other roles include too"]
    operation: Annotated[str, "operation of Airflow's catalogue; empty for other paths and for refused tokens"]
    dag: Annotated[str, "DAG that the request names, `~` where it may reach any; on egress that of the calling run"]
    decision: Annotated[str, "`allow`, `deny`, or `issue`: a task got its run identity"]
    reason: Annotated[str, "why: [reasons](reasons.md)"]
    rule: Annotated[
        str,
        "id of the rule that decided; id/team of a rule for all teams, id/file of one in a file of `include`, grant/id"
        " of a grant; empty where none did",
    ]
    revision: Annotated[
        str,
        "SHA-256 of the policy that decided, in hex: of its file, or of the list of all its files",
    ]
    detail: Annotated[str, "more for the operator; never a secret"]


class RunFields(TypedDict):
    """The try of a task that a call comes from."""

    dag_id: Annotated[str, "its DAG"]
    run_id: Annotated[str, "its DAG run"]
    task_id: Annotated[str, "its task"]
    map_index: Annotated[int, "its map index; -1 where the task is not mapped"]
    try_number: Annotated[int, "the number of the try, from 1"]


class OutboundFields(SharedFields, total=False):
    """Extra fields for an outbound call, and for a task that asks for a token."""

    destination: Annotated[str, "egress: name of the destination; empty where Envoy named none"]
    run: Annotated[RunFields | None, "egress: the calling run; null where none is known"]
    level: Annotated[str, "egress: assurance level of the run identity"]


class DecisionRecord(OwnFields, SharedFields):
    """Who asked what, and the answer, under which revision of the policy.

    A dictionary, because each decision makes one, and a frozen record would cost as much as encoding it.
    """


class OutboundRecord(OwnFields, OutboundFields):
    """The record of an outbound call or of a task's token request."""


class Memberships(TypedDict):
    """All that a policy may give roles for, and the user's name."""

    issuer: Annotated[str, "the token's `iss`"]
    subject: Annotated[str, "the token's `sub`"]
    client: Annotated[str, "the token's client id; empty where it has none"]
    user: Annotated[str, "the user's name, from the claim that the policy names"]
    groups: Annotated[tuple[str, ...], "all groups of the token, sorted, those too that the policy does not name"]


class EntryFields(TypedDict):
    """The fields of an identity entry before the memberships."""

    v: Annotated[int, "version of the format: 1"]
    type: Annotated[Literal["identity"], "`identity`"]
    id: Annotated[str, "id that decisions name: the same for the same memberships, in every worker and file"]
    time: Annotated[str, "when the entry was written: ISO 8601, UTC, with microseconds"]
    gate: Annotated[str, "name of the gate: `gate` in the settings"]
    worker: Annotated[int, "number of its worker, from 0"]


class IdentityEntry(EntryFields, Memberships):
    """Who a caller is, for all decisions that name its id."""


class LogFields(TypedDict):
    """The fields of every entry that the log makes about itself."""

    v: Annotated[int, "version of the format: 1"]
    type: Annotated[Literal["log"], "`log`"]
    event: Annotated[
        str, "`file`, `start`, `stop`, `gap`, `dropped`, `keys`, `policy`, `revocation` or `grant`: what happened"
    ]
    time: Annotated[str, "when the entry was written: ISO 8601, UTC, with microseconds"]
    gate: Annotated[str, "name of the gate: `gate` in the settings"]


class LogEntry(LogFields, total=False):
    """What happened to the log, or to what decides: an entry has the fields of its event."""

    worker: Annotated[int, "`gap`, `policy`, `revocation`, `grant`: number of the worker process"]
    index: Annotated[
        int, "`file`: index of this entry, so all files before have so many; `dropped`: of the first removed one"
    ]
    file: Annotated[
        str, "`file`: name of the file that was closed before, empty for the first; `dropped`: removed file"
    ]
    version: Annotated[str, "`start`: version of the gate"]
    unsigned: Annotated[int, "`start`: entries after the last checkpoint: nothing shows whether they were changed"]
    cut: Annotated[int, "`start`: bytes of a line that was not written to its end, removed"]
    count: Annotated[int, "`gap`: records that were lost; `dropped`: entries in the removed file"]
    reason: Annotated[str, "`gap`: why"]
    keys: Annotated[tuple[str, ...], "`keys`: verifier keys that sign from now on, newest first"]
    revision: Annotated[str, "`policy`: revision of the policy that decides from now on"]
    kind: Annotated[str, "`revocation`: what is revoked: `sid`, `jti` or `subject`"]
    issuer: Annotated[str, "`revocation`: the token's `iss`"]
    value: Annotated[str, "`revocation`: the session, the token or the subject"]
    until: Annotated[int, "`revocation`: how long it is remembered, in seconds since the epoch"]
    action: Annotated[str, "`grant`: `request`, `approve` or `end`"]
    grant: Annotated[str, "`grant`: its id"]
    by: Annotated[str, "`policy`, `revocation`, `grant`: who signed, committed or asked for it; empty if not known"]


class EndFields(TypedDict, total=False):
    """The fields that an outcome has only if Envoy said them."""

    details: Annotated[
        str, "Envoy's word for what happened (`%RESPONSE_CODE_DETAILS%`), as `via_upstream`; absent if there is none"
    ]
    upstream_host: Annotated[str, "address of the upstream that was asked; absent if none was"]
    run: Annotated[
        str, "id of the DAG run that the request made, as Airflow answered ([airflow.md](airflow.md)); absent elsewhere"
    ]
    instance: Annotated[
        str,
        "of a task's request for its run identity: id of the task instance, as the task's token says it. Where the"
        " decision is `issue`, the gate verified it. Absent elsewhere",
    ]


class OutcomeEntry(EndFields):
    """What came of a decision, as Envoy's access log has it."""

    v: Annotated[int, "version of the format: 1"]
    type: Annotated[Literal["outcome"], "`outcome`"]
    decision: Annotated[str, "id of the decision"]
    time: Annotated[
        str, "when the request began, as Envoy saw it: ISO 8601, UTC, with six digits; empty if Envoy did not say it"
    ]
    status: Annotated[int, "HTTP status of the answer; 0 if there was none"]
    flags: Annotated[str, "Envoy's response flags, with commas between them; empty for none"]
    upstream: Annotated[str, "Envoy's name of the upstream cluster; empty if none was chosen"]
    bytes_received: Annotated[int, "bytes of the request's body"]
    bytes_sent: Annotated[int, "bytes of the answer's body"]
    duration_ms: Annotated[int, "milliseconds from the request's beginning to the end of its answer"]
    ended_by: Annotated[
        str, "who ended it: `upstream` answered, `gate` refused, `envoy` could not do it, or `client` went away"
    ]


class SometimesAccessFields(TypedDict, total=False):
    """The fields that an access has only if it is one to an XCom, or if its caller is not known for sure."""

    claimed: Annotated[
        Literal[True], "no one verified the token that names `instance`; absent where Airflow accepted it (a 2xx)"
    ]
    dag: Annotated[str, "XCom: its DAG"]
    run: Annotated[str, "XCom: its DAG run"]
    task: Annotated[str, "XCom: its task, which need not be the one that asks"]


class AccessEntry(SometimesAccessFields):
    """What a task read or changed through Airflow's execution API, as Envoy's access log has it."""

    v: Annotated[int, "version of the format: 1"]
    type: Annotated[Literal["access"], "`access`"]
    id: Annotated[str, "id that Envoy gave to the request (`x-request-id`), which Airflow gets too"]
    time: Annotated[
        str, "when the request began, as Envoy saw it: ISO 8601, UTC, with six digits; empty if Envoy did not say it"
    ]
    instance: Annotated[
        str, "id of the task instance that asks, as the task's token says it: of one try; empty if there was no token"
    ]
    action: Annotated[str, "`read`, `write` or `delete`"]
    kind: Annotated[str, "`connection`, `variable` or `xcom`"]
    name: Annotated[str, "connection id, variable's key (`keys`: also the list of all keys), or XCom's key"]
    status: Annotated[int, "HTTP status of the answer; 0 if there was none"]
    ended_by: Annotated[
        str, "who ended it: `upstream` (Airflow) answered, `envoy` could not do it, or `client` went away"
    ]


ENTRIES: Final[Mapping[str, type]] = MappingProxyType(
    {
        DECISION: OutboundRecord,
        IDENTITY: IdentityEntry,
        LOG: LogEntry,
        OUTCOME: OutcomeEntry,
        ACCESS: AccessEntry,
    }
)
"""The types of lines, each with the fields that it may have."""
