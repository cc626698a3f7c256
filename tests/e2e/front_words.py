"""What the requests of the corpus are made of: routes of Airflow, names of identities, tricks of paths, odd words.

Whatever a caller makes up about who they are has `FORGED` in it.
"""

from collections.abc import Callable
from typing import Final

from authz.core.edge import DECISION, IDENTITY_HEADERS
from tests.e2e.front_site import HOST

FORGED: Final = "forged-by-the-caller"
HEALTH, VERSION, DAGS, POOLS = "/api/v2/monitor/health", "/api/v2/version", "/api/v2/dags", "/api/v2/pools"
RUNS: Final = f"{DAGS}/sales_one/dagRuns"
TRIGGER: Final = b'{"logical_date": null}'

OF_OTHERS: Final = (
    *("remote-user", "x-remote-user", "x-forwarded-user", "x-original-url", "x-rewrite-url", "x-forwarded-uri"),
    *("x-http-method-override", "x-run-proof", "x-run-identity", "proxy-authorization", "x-auth-request-user"),
    *("x-goog-iap-jwt-assertion", "x-authz-anything", "ssl-client-cert", "x-airflow-user", "x-forwarded-host"),
    *("x-forwarded-method", "x-forwarded-email", "x-forwarded-access-token", "x-user", "x-groups", "x-webauth-user"),
)
IDENTITIES: Final = (*IDENTITY_HEADERS, DECISION, *OF_OTHERS)
MARKS: Final = "!#$%&'*+.^`|~"
"""What a name may have beside letters, digits, `-` and `_`: CGI reads each as `_`."""
SPELLINGS: Final[tuple[Callable[[str], str], ...]] = (
    str.lower,
    str.upper,
    str.title,
    lambda name: name.replace("-", "_"),
    lambda name: name.title().replace("-", "_", 1),
    lambda name: name.replace("-", MARKS[len(name) % len(MARKS)], 1),
)
HARMLESS: Final = (
    *("Accept: application/json", "Accept: text/html", "Accept-Language: de", "X-Forwarded-For: 10.0.0.1, 127.0.0.1"),
    *(
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: 80",
        "X-Real-Ip: 10.1.1.1",
        "Forwarded: for=1.1.1.1;host=a;proto=http",
    ),
    *("Via: 1.1 a", "Te: trailers", "Range: bytes=0-1", "Max-Forwards: 0", "Origin: https://evil.test", "Dnt: 1"),
    *("Connection: x-authz-assertion", "Connection: keep-alive, authorization, host", "Cache-Control: no-cache"),
    *("Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "If-None-Match: *", "Content-Length: 0"),
    *("X-Original-URL: /api/v2/monitor/health", "X-Rewrite-URL: /api/v2/version", "X-Original-Method: GET"),
    *("X-HTTP-Method-Override: GET", "X-Method-Override: DELETE", "X-HTTP-Method: POST", "X-Envoy-Original-Path: /"),
    *(
        "X-Envoy-Internal: true",
        "X-Accel-Redirect: /",
        "X-Sendfile: /etc/passwd",
        "Front-End-Https: on",
        "X-A: \xe9\xff",
    ),
)
TRICKS: Final = (
    *(
        "/",
        "//",
        "/.",
        "/..",
        "/../",
        "/./",
        "/%2e%2e/",
        "/%2E/",
        "/.%2e/",
        "%2f",
        "%2F",
        "%2F..",
        "%5c",
        "\\",
        "\\..\\",
    ),
    *(";", ";x", ";x=y", ";/../", "..;/", "%3b", "%00", "%0a", "%0d%0aX:1", "%09", "\t", " ", "%20", ".", "..", "%2e"),
    *("?", "#", "#x", "%23", "%3f", "%25", "%252f", "%252e%252e", "%25%32%66", "%", "%z", "%zz", "%u002f", "%c0%af"),
    *("%c0%ae%c0%ae/", "%e0%80%af", "%ef%bc%8f", "%ff", "\xe9", "\xc3\xa9", "%C3%A9", "\x00", "\x01", "\x7f", "\x0b"),
    *(
        "{",
        "}",
        "{a}",
        "$a",
        "$(x)",
        '"',
        "'",
        "<",
        ">",
        "|",
        "^",
        "`",
        "@",
        ":",
        "+",
        ",",
        "=",
        "&",
        "~",
        "*",
        "!",
        "%7e",
    ),
    *("/api/v2/monitor/health", "/api/v2/pools", "pools", "/../pools", "%2fpools", "/..%2fpools", "/%2e%2e%2fpools"),
)
QUERIES: Final = (
    *("a=b", "a=%2f..", "limit=1", "access_token=x", "a={b}", "x#y", "a=b?c", "", "%00", "a=b&a=c", "/api/v2/version"),
    *("a=\xe9", "a b", "a=%zz", ";x", "//evil.test", "_method=DELETE", "a=\\", "a=|", 'a="<>', "next=http://x.test/"),
)
METHODS: Final = (
    "POST",
    "PUT",
    "DELETE",
    "HEAD",
    "PATCH",
    "OPTIONS",
    "get",
    "Get",
    "FOO",
    "TRACE",
    "PROPFIND",
    "GET,POST",
)
HOSTS: Final = (
    *("other.test", f"{HOST}.", HOST.upper(), f"{HOST}:443", f"{HOST}:1", "a b", "", "127.0.0.1", "[::1]", f"{HOST}/x"),
    *(
        f"{HOST}@evil.test",
        f"evil.test@{HOST}",
        f"{HOST},evil.test",
        "\xe9.test",
        f"{HOST}:",
        f"{HOST}:x",
        f"{HOST}\\x",
    ),
)
