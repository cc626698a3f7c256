"""The closed list of reasons, and the one total table from a reason to an answer.

Law: a reason is public API. The same word is in the decision log, the metric label, the dynamic metadata that Envoy
logs and the documentation. Every reason has exactly one row in `ANSWERS`; a test fails when one is missing, when a
denial's gRPC code is zero (Envoy reads an all-default `CheckResponse` as ALLOW) or when the documentation lacks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Final


class Reason(StrEnum):
    """Why a request was allowed or denied."""

    # allowed
    RULE = "rule"
    PUBLIC = "public"
    # 400: the request itself cannot be evaluated
    BAD_REQUEST = "bad_request"
    BAD_METHOD = "bad_method"
    BAD_HOST = "bad_host"
    BAD_PATH = "bad_path"
    BAD_AUTHORIZATION = "bad_authorization"
    AMBIGUOUS_CREDENTIALS = "ambiguous_credentials"
    # 401: we do not know who this is
    NO_TOKEN = "no_token"  # noqa: S105 a reason, not a password
    TOKEN_TOO_LARGE = "token_too_large"  # noqa: S105 a reason, not a password
    TOKEN_MALFORMED = "token_malformed"  # noqa: S105 a reason, not a password
    TOKEN_TYPE = "token_type"  # noqa: S105 a reason, not a password
    ALGORITHM = "algorithm"
    UNKNOWN_ISSUER = "unknown_issuer"
    UNKNOWN_KEY = "unknown_key"
    KEY_UNSUITABLE = "key_unsuitable"
    BAD_SIGNATURE = "bad_signature"
    CLAIM_INVALID = "claim_invalid"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    LIFETIME_TOO_LONG = "lifetime_too_long"
    REVOKED = "revoked"
    PROOF_MISSING = "proof_missing"
    PROOF_INVALID = "proof_invalid"
    PROOF_EXPIRED = "proof_expired"
    PROOF_MISMATCH = "proof_mismatch"
    PROOF_REPLAYED = "proof_replayed"
    KEY_RETIRED = "key_retired"
    # 200: a task gets what it asked for, from us
    RUN_TOKEN_ISSUED = "run_token_issued"  # noqa: S105 a reason, not a password
    # 302: the session ends, or is there already, which is what was asked for
    SIGNED_OUT = "signed_out"
    SIGNED_IN = "signed_in"
    # 403: we know who this is, and the answer is no
    NO_ROLE = "no_role"
    NO_RULE = "no_rule"
    DENY_RULE = "deny_rule"
    UNKNOWN_ROUTE = "unknown_route"
    IDENTITY_TOO_WEAK = "identity_too_weak"
    RUN_MISMATCH = "run_mismatch"
    RUN_OTHER_TRY = "run_other_try"
    RUN_OTHER_MAP_INDEX = "run_other_map_index"
    RUN_ENDED = "run_ended"
    SUBJECT_UNPROVEN = "subject_unproven"
    # 503: we cannot answer now, and never answer "allow" for it
    NOT_READY = "not_ready"
    KEYS_UNAVAILABLE = "keys_unavailable"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    REVOCATION_UNAVAILABLE = "revocation_unavailable"
    AIRFLOW_UNAVAILABLE = "airflow_unavailable"
    TASKS_WAIT_FOR_AIRFLOW = "tasks_wait_for_airflow"
    OVERLOADED = "overloaded"
    TASKS_WAIT_FOR_KEYS = "tasks_wait_for_keys"
    RATE_LIMITED = "rate_limited"
    REPLAY_CACHE_FULL = "replay_cache_full"
    REPLAY_CACHE_LOCKED = "replay_cache_locked"
    MISCONFIGURED = "misconfigured"
    INTERNAL_ERROR = "internal_error"


ALLOWED_BY_POLICY: Final = (Reason.RULE, Reason.PUBLIC)
DENIED_BY_POLICY: Final = (
    Reason.NO_TOKEN,
    Reason.NO_ROLE,
    Reason.NO_RULE,
    Reason.DENY_RULE,
    Reason.UNKNOWN_ROUTE,
    Reason.IDENTITY_TOO_WEAK,
)
"""With `ALLOWED_BY_POLICY`, the reasons of `decide`: they follow from the policy, the caller and the request alone."""


def word_of(reason: Reason) -> str:
    """The decision's word in records and metrics: `allow`, `deny`, or `issue` for a token that the gate issued."""
    return _WORDS[reason]


class GrpcCode(IntEnum):
    """The codes of `google.rpc.Code` that our CheckResponses carry."""

    OK = 0
    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a caller for one reason.

    `error` is the code of RFC 6750 §3.1 for `WWW-Authenticate`, None if no challenge is sent or if the request
    carried no credentials at all. `public` is the word that the response body may show: every authentication failure
    shows the same one, so that the answer is no oracle about keys and subjects; the log has the exact
    reason under the decision's id. `help` is one sentence for the reader of the log or the documentation.
    """

    grpc: GrpcCode
    http: int
    public: str
    error: str | None
    help: str


def _ok(text: str) -> Answer:
    return Answer(GrpcCode.OK, 200, "ok", None, text)


def _bad(public: str, text: str) -> Answer:
    return Answer(GrpcCode.INVALID_ARGUMENT, 400, public, "invalid_request", text)


def _unknown(text: str) -> Answer:
    return Answer(GrpcCode.UNAUTHENTICATED, 401, "invalid_token", "invalid_token", text)


def _forbidden(public: str, text: str) -> Answer:
    return Answer(GrpcCode.PERMISSION_DENIED, 403, public, "insufficient_scope", text)


def _unavailable(public: str, text: str) -> Answer:
    return Answer(GrpcCode.UNAVAILABLE, 503, public, None, text)


ANSWERS: Mapping[Reason, Answer] = MappingProxyType(
    {
        Reason.RULE: _ok("A rule allows it, and no deny rule applies."),
        Reason.PUBLIC: _ok("A public rule allows it for everyone."),
        Reason.BAD_REQUEST: _bad("bad_request", "Envoy sent no HTTP request, or one with a part missing."),
        Reason.BAD_METHOD: _bad("bad_method", "The method is not one of the HTTP methods that policies know."),
        Reason.BAD_HOST: _bad("bad_host", "The Host is missing, doubled or not a host name."),
        Reason.BAD_PATH: _bad("bad_path", "The path has no single canonical form (dot segments, control characters…)."),
        Reason.BAD_AUTHORIZATION: _bad(
            "bad_authorization", "The Authorization header is not exactly one `Bearer` token (RFC 6750 §2.1)."
        ),
        Reason.AMBIGUOUS_CREDENTIALS: _bad(
            "ambiguous_credentials", "A session cookie is duplicated, or names another subject than the bearer token."
        ),
        Reason.NO_TOKEN: Answer(
            GrpcCode.UNAUTHENTICATED, 401, "authentication_required", None, "The request carries no token."
        ),
        Reason.TOKEN_TOO_LARGE: _unknown("The token is larger than `limits.token_bytes`."),
        Reason.TOKEN_MALFORMED: _unknown("The token is not a well-formed signed JWT (RFC 7519 §7.2)."),
        Reason.TOKEN_TYPE: _unknown(
            "The token is of a kind that the issuer's `tokens` does not accept (ID token, logout…)."
        ),
        Reason.ALGORITHM: _unknown("The token's `alg` is not in the issuer's `algorithms`."),
        Reason.UNKNOWN_ISSUER: _unknown("The token's `iss` equals no configured issuer."),
        Reason.UNKNOWN_KEY: _unknown("The token's `kid` is not in the issuer's key set."),
        Reason.KEY_UNSUITABLE: _unknown("The key's type, curve, `use`, `alg` or size does not fit the token's `alg`."),
        Reason.BAD_SIGNATURE: _unknown("The signature does not verify."),
        Reason.CLAIM_INVALID: _unknown("A required claim is missing or a claim has the wrong type."),
        Reason.AUDIENCE: _unknown("The token's `aud` has none of the issuer's audiences for this plane."),
        Reason.EXPIRED: _unknown("The token has expired."),
        Reason.NOT_YET_VALID: _unknown("The token is not valid yet (`nbf` or `iat` in the future): compare clocks."),
        Reason.LIFETIME_TOO_LONG: _unknown("The token lives longer than the issuer's `max_lifetime` allows."),
        Reason.REVOKED: _unknown("The token or its session was revoked: a sign-out, or `authz revoke`."),
        Reason.PROOF_MISSING: _unknown(
            "The run identity token is bound to a key, and the call carries no proof of it (RFC 9449 §4)."
        ),
        Reason.PROOF_INVALID: _unknown("The proof is not a well-formed DPoP proof that its own key has signed."),
        Reason.PROOF_EXPIRED: _unknown("The proof was not made within the last or the next minute: compare clocks."),
        Reason.PROOF_MISMATCH: _unknown("The proof is for another method, another URL, another token or another key."),
        Reason.PROOF_REPLAYED: _unknown("The proof was used before."),
        Reason.KEY_RETIRED: _unknown("Airflow's key set does not have the task token's key any more."),
        Reason.RUN_TOKEN_ISSUED: Answer(
            GrpcCode.PERMISSION_DENIED,
            200,
            "ok",
            None,
            "A task got a run identity token, from the gate itself: nothing was forwarded.",
        ),
        Reason.SIGNED_OUT: Answer(
            GrpcCode.UNAUTHENTICATED,
            302,
            "signed_out",
            None,
            "A sign-out: the session, if there is one, is revoked.",
        ),
        Reason.SIGNED_IN: Answer(
            GrpcCode.PERMISSION_DENIED,
            302,
            "signed_in",
            None,
            "Airflow's login route, asked for with a session: the browser goes back to the page that it came from.",
        ),
        Reason.NO_ROLE: _forbidden("no_role", "The identity's groups and client map to no role."),
        Reason.NO_RULE: _forbidden("no_rule", "No rule allows this request for the identity's roles."),
        Reason.DENY_RULE: _forbidden("deny_rule", "A deny rule applies; deny rules always win."),
        Reason.UNKNOWN_ROUTE: _forbidden("unknown_route", "The path is no known route and no rule names it."),
        Reason.IDENTITY_TOO_WEAK: _forbidden(
            "identity_too_weak",
            "A rule would allow it at a higher assurance level of the run identity: see the rule's `identity`.",
        ),
        Reason.RUN_MISMATCH: _forbidden("run_mismatch", "The task token is not that of the run that is claimed."),
        Reason.RUN_OTHER_TRY: _forbidden("run_other_try", "The task token is that of another try of the task."),
        Reason.RUN_OTHER_MAP_INDEX: _forbidden(
            "run_other_map_index", "The task token is that of another map index of the task."
        ),
        Reason.RUN_ENDED: _forbidden("run_ended", "The task is not running: it has ended, or was cleared."),
        Reason.SUBJECT_UNPROVEN: _forbidden(
            "subject_unproven", "A question over AuthZEN names a subject that neither its token nor its client proves."
        ),
        Reason.NOT_READY: _unavailable("unavailable", "The policy or the keys are not loaded yet."),
        Reason.KEYS_UNAVAILABLE: _unavailable("unavailable", "The issuer's keys could not be fetched or are too old."),
        Reason.AUDIT_UNAVAILABLE: _unavailable("unavailable", "The decision could not be recorded."),
        Reason.REVOCATION_UNAVAILABLE: _unavailable("unavailable", "A sign-out could not be put on record."),
        Reason.AIRFLOW_UNAVAILABLE: _unavailable(
            "unavailable", "Airflow could not be asked whether the task is running."
        ),
        Reason.TASKS_WAIT_FOR_AIRFLOW: _unavailable(
            "unavailable", "Too many calls of tasks already wait for what Airflow says of them: Airflow is slow."
        ),
        Reason.OVERLOADED: _unavailable("unavailable", "`limits.parked` checks already wait for an issuer's key."),
        Reason.TASKS_WAIT_FOR_KEYS: _unavailable(
            "unavailable", "64 tasks that ask for their run identity already wait for Airflow's keys."
        ),
        Reason.RATE_LIMITED: _unavailable(
            "unavailable", "The task, or the service account, makes more calls with proofs than its share of the cache."
        ),
        Reason.REPLAY_CACHE_FULL: _unavailable(
            "unavailable", "The replay cache has no room for the proof: see `run_identity.replays`."
        ),
        Reason.REPLAY_CACHE_LOCKED: _unavailable(
            "unavailable", "Another process held the proof's part of the replay cache for too long."
        ),
        Reason.MISCONFIGURED: _unavailable("unavailable", "Envoy did not say which plane the request belongs to."),
        Reason.INTERNAL_ERROR: Answer(
            GrpcCode.INTERNAL, 503, "unavailable", None, "A bug in the service: see its log under the decision's id."
        ),
    }
)

_WORDS: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        **{reason: "allow" if answer.grpc is GrpcCode.OK else "deny" for reason, answer in ANSWERS.items()},
        Reason.RUN_TOKEN_ISSUED: "issue",
    }
)
