"""Headers that no front passes on: from a caller, who it is, where it comes from, what it "really" asks for.

Law: constants only; names in lower case. A front removes each in every spelling that its upstream reads alike: upper
and lower case, `_` for `-`.
"""

from typing import Final

from authz.core import edge

# A task identifies its run by these. Only the egress plane reads them, and no destination ever sees them.
RUN_HEADERS: Final = ("x-run-identity", "x-run-proof", "proxy-authorization")
# Whole families: ours, Envoy's own, and the identities that other gates and clouds pass on: oauth2-proxy,
# Kubernetes, Google IAP, AWS ALB, Azure App Service, Cloudflare Access, Kong, Pomerium, Grafana, Tailscale, Teleport,
# and the client certificates of nginx, Traefik, HAProxy and RFC 9440.
CLIENT_PREFIXES: Final = (
    *("x-authz-", "x-envoy-", "x-original-", "x-rewrite-"),
    *("x-auth-request-", "x-authenticated-", "x-remote-", "x-user-", "x-consumer-", "x-credential-"),
    *("x-goog-authenticated-user-", "x-goog-iap-", "x-amzn-oidc-", "x-ms-client-principal", "x-ms-token-"),
    *("cf-access-authenticated-", "cf-access-jwt-", "x-pomerium-", "x-webauth-", "x-vouch-", "tailscale-user-"),
    *("x-teleport-", "teleport-", "client-cert", "ssl-client-", "x-ssl-", "x-tls-client-", "x-forwarded-tls-"),
)
# Towards Airflow, these whole families too: a task may need `x-goog-` and `cf-access-client-` for a destination.
INBOUND_PREFIXES: Final = (*CLIENT_PREFIXES, "x-run-", "x-airflow-", "x-client-", "x-goog-", "cf-access-")
# Single names: identity that other gates pass on, overrides of method and target, claims about the request's way here.
CLIENT_HEADERS: Final = (
    "remote-user",
    "remote-email",
    "remote-groups",
    "remote-name",
    "x-user",
    "x-userinfo",
    "x-username",
    "x-email",
    "x-groups",
    "x-roles",
    "x-id-token",
    "x-access-token",
    "x-jwt-assertion",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-groups",
    "x-forwarded-roles",
    "x-forwarded-preferred-username",
    "x-forwarded-access-token",
    "x-forwarded-id-token",
    "x-forwarded-client-cert",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-uri",
    "x-real-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "fastly-client-ip",
    "forwarded",
)
INBOUND_HEADERS: Final = (*CLIENT_HEADERS, "proxy-authorization")
# Headers that an upstream may not send to a caller: our own, and those that name its software.
UPSTREAM_RESPONSE_HEADERS: Final = (
    "server",
    "x-powered-by",
    *sorted((*edge.IDENTITY_HEADERS, edge.DECISION, "x-authz-destination-error")),
)
