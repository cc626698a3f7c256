"""Names that the gate and the rendered Envoy configuration share: headers, context extensions, cookies, paths.

Law: constants only. A name that only one of the two uses stays in its module.
"""

from typing import Final

# Headers that the gate sets: about the caller, for the upstream, and about the decision, for the caller.
ASSERTION: Final = "x-authz-assertion"
DECISION: Final = "x-authz-decision"
SUBJECT: Final = "x-authz-subject"
USER: Final = "x-authz-user"
ISSUER: Final = "x-authz-issuer"
CLIENT: Final = "x-authz-client"
ROLES: Final = "x-authz-roles"
DAG: Final = "x-authz-dag"
RUN: Final = "x-authz-run"
TASK: Final = "x-authz-task"
LEVEL: Final = "x-authz-identity"
MADE_RUN: Final = "x-authz-made-run"  # of Airflow's answers, set by our code in it; it never reaches a caller
IDENTITY_HEADERS: Final = (SUBJECT, USER, ISSUER, CLIENT, ROLES, DAG, RUN, TASK, LEVEL, ASSERTION)

# What is read of the request's headers on each plane; the rendered Envoy configuration sends no others.
READ_HEADERS: Final = ("authorization", "cookie", "accept", "traceparent")
READ_ON_EGRESS: Final = (*READ_HEADERS, "x-run-identity", "x-run-proof", "proxy-authorization")
READ_ON_EXECUTION: Final = ("authorization", "traceparent")

# Context extensions (`envoy.service.auth.v3.AttributeContext`): what Envoy says of the route that a request takes.
EXT_PLANE: Final = "plane"
EXT_AUDIENCE: Final = "audience"
EXT_BASE: Final = "base"
EXT_SIGNOUT: Final = "signout"
EXT_MARKER: Final = "marker"
EXT_DAGS: Final = "dags"
EXT_DESTINATION: Final = "destination"
EXT_HOST: Final = "host"
EXT_AUTHORIZATION: Final = "authorization"
NARROWED: Final = "narrowed"  # of `EXT_DAGS`: Airflow keeps to the DAGs that the assertion names
KEEP: Final = "keep"  # of `EXT_AUTHORIZATION`: the task's own goes on

# Dynamic metadata of an answer (namespace `envoy.filters.http.ext_authz`): what Envoy's access log says of a decision.
META_DECISION: Final = "decision_id"
META_REASON: Final = "reason"
META_RULE: Final = "rule"
META_REVISION: Final = "revision"
META_SUBJECT: Final = "subject"

# Airflow's own logout. The gate answers it: it revokes the session and sends the browser on with the marker.
LOGOUT: Final = "/api/v2/auth/logout"
SIGN_OUT_MARKER: Final = "authz-signout"
SIGNED_OUT_MARKER: Final = "authz-signed-out"
HOST_ONLY: Final = "__Host-"  # of a cookie's name: no other host can set it (RFC 6265bis §4.1.3.2)

# Cookies of Envoy's oauth2 filter.
BEARER_TOKEN: Final = "BearerToken"  # noqa: S105 a name
ID_TOKEN: Final = "IdToken"  # noqa: S105 a name
REFRESH_TOKEN: Final = "RefreshToken"  # noqa: S105 a name
OAUTH_HMAC: Final = "OauthHMAC"
OAUTH_EXPIRES: Final = "OauthExpires"
OAUTH_NONCE: Final = "OauthNonce"
CODE_VERIFIER: Final = "CodeVerifier"

# The variable that a task asks Airflow for, and the gate answers: `authz.core.runs.run_request`.
EXECUTION_API: Final = "/execution/"
VARIABLES: Final = f"{EXECUTION_API}variables/"
RUN_IDENTITY: Final = "__run_identity__"

# Envoy's name of Airflow as what serves tasks. Its access log has it, and only in lines of requests that went there.
EXECUTION_UPSTREAM: Final = "execution.airflow"
