"""Every finding of `authz doctor`: its id, its severity, why it matters, and what to do.

Law: this table is the only definition. The command prints from it, and the table in docs/doctor.md is made from it. A
finding adds only where it was found and what stands there; it never holds a secret.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from authz.core.lint.review import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What all findings of one id have in common."""

    severity: Severity
    why: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One finding: `where` is its place (file, listener, route), `text` what stands there."""

    id: str
    where: str
    text: str

    @property
    def kind(self) -> Kind:
        """Its severity, why it matters, and what to do."""
        return KINDS[self.id]


def _error(why: str, fix: str) -> Kind:
    return Kind(severity=Severity.ERROR, why=why, fix=fix)


def _warning(why: str, fix: str) -> Kind:
    return Kind(severity=Severity.WARNING, why=why, fix=fix)


_ORDER: Final = (Severity.ERROR, Severity.WARNING, Severity.NOTE)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Each finding once, errors first, then by place."""
    return sorted({*findings}, key=lambda one: (_ORDER.index(one.kind.severity), one.where, one.id, one.text))


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        # --- Envoy: the check
        "check-fails-open": _error(
            "requests pass unchecked while the gate is down, slow or restarted",
            "remove `failure_mode_allow`",
        ),
        "check-shadowed": _error(
            "denied requests pass: the filter only counts them",
            "remove `shadow_mode`",
        ),
        "check-switchable": _error(
            "where the filter is switched off, by a fraction, a runtime key or metadata, requests pass unchecked",
            "remove `filter_enabled` and `filter_enabled_metadata`, or set `deny_at_disable` to true",
        ),
        "check-conditional": _error(
            "a matcher decides whether the check happens; requests that it leaves out pass unchecked",
            "put the ext_authz filter itself into `http_filters`, outside of matchers and composites",
        ),
        "cached-before-check": _error(
            "what the cache answers was asked for by another caller, and is given to everyone without a check",
            "remove the cache",
        ),
        "check-elsewhere": _warning(
            "a route asks a server of its own instead of the one that the filter names",
            "remove `grpc_service` and `http_service` from `check_settings`, unless that server is a gate too",
        ),
        "route-unchecked": _error(
            "requests reach a service behind the gate without a check",
            "let the route's filter chain have ext_authz, and remove what disables it there; or remove the route",
        ),
        "forwards-unchecked": _warning(
            "requests are forwarded without a check, to a service that no checked route leads to",
            "make sure that it is not Airflow under another address; else let the gate check the route",
        ),
        "changed-after-check": _warning(
            "what follows the check may change the request or its route: another request than the one that was checked",
            "put the filter before ext_authz, or remove it; remove `clear_route_cache`",
        ),
        "rewritten-after-check": _warning(
            "the upstream gets another path than the one that was checked",
            "remove the rewrite, or give the gate the path's prefix: `base` in the route's `context_extensions`",
        ),
        "bearer-forwarded": _error(
            "Airflow gets a bearer token: it prefers that to the gate's assertion, and could use or log it",
            "let the gate's answer remove `authorization`: `allow_expression` in `decoder_header_mutation_rules`;"
            " put oauth2 before ext_authz; add no `authorization` on routes",
        ),
        # --- Envoy: how a request is read, and what is open
        "path-not-normalised": _error(
            "Envoy chooses routes by a path that Airflow reads differently (`/x/../api/v2`)",
            "set `normalize_path: true`",
        ),
        "slashes-not-merged": _warning(
            "`//api/v2` and `/api/v2` are two paths for Envoy's routes; the gate refuses the first",
            "set `merge_slashes: true`",
        ),
        "underscores-allowed": _warning(
            "WSGI reads `x_remote_user` as `x-remote-user`: a caller can send identity headers under such names",
            "set `headers_with_underscores_action: REJECT_REQUEST`",
        ),
        "admin-exposed": _error(
            "anyone who reaches Envoy's admin port can read its configuration, change its runtime and stop it",
            "let `admin` listen on 127.0.0.1 or a Unix socket",
        ),
        "execution-exposed": _warning(
            "Airflow's execution API can be reached without a check from other machines; only task tokens protect it",
            "listen on loopback beside the workers, or let only workers reach this listener",
        ),
        "not-seen": _warning(
            "nothing is known about this part: it is elsewhere, unknown here, or cannot be read",
            "for Envoy: `--envoy-admin`, or `--proxy` with a saved `/config_dump`; for a file: an account that may read"
            " it",
        ),
        "not-given": Kind(
            severity=Severity.NOTE,
            why="nothing was looked at there",
            fix="name it with the option",
        ),
        # --- the login
        "cookie-not-split": _warning(
            "browsers drop a cookie of more than 4 KiB: a person with a large token is sent to log in again and again",
            "set `token_cookie_chunking` (Envoy 1.40; `split_cookies` in the gate's settings), or answer the"
            " incomplete login with a 431",
        ),
        "login-outlives-token": _warning(
            "a session goes on when the token is no longer accepted: people get a 401 instead of a login, or rights"
            " outlive the identity provider's word",
            "let the session end with the token",
        ),
        # --- files and clocks
        "secret-readable": _warning(
            "every account on this machine can read the secret, and act with it",
            "chmod o-r",
        ),
        "certificate-unusable": _error(
            "connections that need this certificate fail",
            "replace it",
        ),
        "certificate-expiring": _warning(
            "connections that need this certificate will fail soon",
            "renew it",
        ),
        "certificate-name": _warning(
            "clients refuse a certificate that does not have the name that they called",
            "use a certificate with this name among its subject alternative names",
        ),
        "clock": _error(
            "tokens and assertions live for minutes: with clocks apart, good ones are refused and old ones accepted",
            "set the clocks by NTP",
        ),
        # --- Airflow, when it is asked
        "airflow": _error(
            "Airflow does not answer the gate: whether it accepts what the gate sends is not known",
            "start it, and give its own address; over TLS by a name in its certificate, whose authority is `tls_ca` of"
            " the upstream",
        ),
        "assertion": _error(
            "Airflow does not accept the gate's assertion: every request that the gate lets pass is refused there",
            "make `[authz] issuer` and `audience` equal to `assertion.issuer` and the upstream's `audience`, let"
            " `[authz] jwks_url` be the gate's `/jwks.json`, and `[core] auth_manager` an auth manager of ours",
        ),
        "strangers": _error(
            "Airflow lets in who does not come through the gate",
            "use `authz.airflow.auth_manager.AuthzAuthManager`, and let only Envoy reach Airflow",
        ),
        "candidate": _error(
            "the candidate policy (`shadow`) is not compared; no answer depends on it",
            "correct what `authz lint --settings` lists",
        ),
        # --- Airflow's options
        "all-admin": _error(
            "Airflow lets everyone in as an administrator, without authentication",
            "set `[core] auth_manager` to `authz.airflow.auth_manager.AuthzAuthManager`, and remove"
            " `simple_auth_manager_all_admins`",
        ),
        "auth-manager": _warning(
            "Airflow does not verify the gate's assertion: it has its own login, and who reaches it directly passes"
            " the gate by",
            "set `[core] auth_manager` to `authz.airflow.auth_manager.AuthzAuthManager`, or to a class of yours that"
            " verifies assertions",
        ),
        "airflow-open": _warning(
            "Airflow's API server listens on every address: it can be reached without passing Envoy, `/execution` too",
            "set `[api] host` to 127.0.0.1 if Envoy is on the same machine; else let only Envoy and workers reach it",
        ),
        "base-url": _warning(
            "links, redirects and cookies of Airflow are for another address than the one that people use",
            "set `[api] base_url` to the public URL: https, the host of the login's `public_url`",
        ),
        "base-path": _error(
            "Airflow is served under a path that the gate does not know: operations, DAG rules and the closed"
            " `/execution` do not see requests there",
            "set `base_path` of this upstream to the path of `[api] base_url`",
        ),
        "proxy-headers": _warning(
            "Airflow reads `X-Forwarded-*` differently from what Envoy sends: wrong scheme and address, or forged ones",
            "trust exactly one proxy, Envoy: `[fab] enable_proxy_fix = True` with FAB and counts of at most 1;"
            " `FORWARDED_ALLOW_IPS` names Envoy's address, not `*`",
        ),
        # --- other gateways
        "gateway-fails-open": _error(
            "requests pass unchecked when the gate, or the gateway's own configuration of the check, is broken",
            "remove `failOpen`, or set it to false; in agentgateway `failureMode: deny`",
        ),
        "cache-ignores-caller": _error(
            "agentgateway gives one caller's answer to another: the cache's key lacks what the gate decides by",
            "remove `cache`, or let `key` have `request.method`, `request.host`, `request.path` and"
            ' `request.headers["authorization"]`, each as an expression of its own',
        ),
    }
)
