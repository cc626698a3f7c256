"""What differs between fronts, found out on each one: the rows of the table in docs/fronts.md.

A row is a question to a running `CorpusSite`, and its answer is a few words. Denied is never served on any of them;
here is who refuses what, with which status, and how what is allowed goes on.
"""

import itertools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from authz.core.edge import ASSERTION, DECISION
from tests.e2e.envoy_harness import wait_for
from tests.e2e.front_corpus_site import REQUEST_BYTES, CorpusSite
from tests.e2e.front_site import HOST
from tests.e2e.front_tap import Arrived
from tests.e2e.front_words import DAGS, HEALTH, POOLS, RUNS, TRIGGER, VERSION
from tests.e2e.raw_http import RawResponse, request

NOT_FORWARDED: Final = "forged"
_NUMBERS: Final = itertools.count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of one request: the answer, the gate's record of it, and what arrived at Airflow."""

    target: str
    answer: RawResponse | None
    record: Mapping[str, Any] | None
    arrived: list[Arrived]

    @property
    def refusal(self) -> str:
        """Who refused it, and how."""
        if self.answer is None:
            return "front: closed"
        who = "gate" if self.record and self.record["decision"] == "deny" else "front"
        return f"{who}: {self.answer.status}"

    @property
    def text(self) -> str:
        """The same, or how its target went on."""
        if not self.arrived:
            return self.refusal
        now = self.arrived[0].request.target
        return "as it came" if now == self.target else f"as `{now}`"


def ask(
    site: CorpusSite,
    target: str,
    *lines: str,
    method: str = "GET",
    version: str = "HTTP/1.1",
    host: str | None = HOST,
    body: bytes = b"",
    groups: tuple[str, ...] | None = ("wides", "users"),
) -> Seen:
    """One request on a connection of its own."""
    agent = f"probe-{next(_NUMBERS)}"
    named = [f"User-Agent: {agent}", *([site.front.bearer(*groups)] if groups else []), *lines]
    first = [f"{method} {target} {version}", *([f"Host: {host}"] if host is not None else [])]
    raw = "\r\n".join([*first, *named, "", ""]).encode("latin-1") + body
    answer = None
    with suppress(AssertionError, OSError, ValueError), site.front.connect() as connection:
        with suppress(OSError):
            connection.send(raw)
        answer = connection.response(head=method == "HEAD")
        if answer.status == 100:
            answer = connection.response()
    decision = answer.header(DECISION) if answer else None
    record = site.front.record(decision) if decision else None
    return Seen(target=target, answer=answer, record=record, arrived=site.tap.of(agent))


def _target(target: str, **parts: Any) -> Callable[[CorpusSite], str]:
    return lambda site: ask(site, target, **parts).text


def _serves(*lines: str, **parts: Any) -> Callable[[CorpusSite], str]:
    """Whether a request for a public route is served with these lines."""

    def probe(site: CorpusSite) -> str:
        seen = ask(site, HEALTH, *lines, **parts)
        return "served" if seen.arrived else seen.refusal

    return probe


def _header(line: str) -> Callable[[CorpusSite], str]:
    """Whether a header of the caller's goes on."""

    def probe(site: CorpusSite) -> str:
        seen = ask(site, HEALTH, line)
        if not seen.arrived:
            return seen.refusal
        return "passes" if NOT_FORWARDED.encode() in seen.arrived[0].request.head else "ends here"

    return probe


def _identity_stays(site: CorpusSite) -> str:
    seen = ask(site, VERSION, f"Connection: keep-alive, {ASSERTION}")
    if not seen.arrived:
        return seen.refusal
    return "arrives" if seen.arrived[0].request.all(ASSERTION) else "is lost"


def _trigger(site: CorpusSite, *lines: str, body: bytes) -> Seen:
    return ask(site, RUNS, "Content-Type: application/json", *lines, method="POST", body=body, groups=("users",))


def _chunks(trailers: str = "") -> bytes:
    return b"%x\r\n%s\r\n0\r\n%s\r\n" % (len(TRIGGER), TRIGGER, trailers.encode())


def _chunked(site: CorpusSite) -> str:
    seen = _trigger(site, "Transfer-Encoding: chunked", body=_chunks())
    if not seen.arrived:
        return seen.refusal
    return "as chunks" if seen.arrived[0].request.all("transfer-encoding") else "with a length"


def _trailers(site: CorpusSite) -> str:
    """Announced or not."""
    body = _chunks(f"X-Authz-User: {NOT_FORWARDED}\r\nX-A: {NOT_FORWARDED}\r\n")
    found = set()
    for more in ([], ["Trailer: X-Authz-User, X-A"]):
        seen = _trigger(site, "Transfer-Encoding: chunked", *more, body=body)
        one = seen.arrived[0].request if seen.arrived else None
        ends = one is None or NOT_FORWARDED.encode() not in one.head + one.trailers
        found.add(seen.refusal if one is None else "end here" if ends else "pass")
    return ", ".join(sorted(found))


def _long_body(site: CorpusSite) -> str:
    body = b'{"logical_date": null, "note": "%s"}' % (b"a" * (REQUEST_BYTES + 500_000))
    seen = _trigger(site, f"Content-Length: {len(body)}", body=body)
    for _ in range(5):
        if seen.answer or seen.arrived:
            break
        seen = _trigger(site, f"Content-Length: {len(body)}", body=body)  # what it said was lost with the connection
    return "passes" if seen.arrived and seen.arrived[0].whole else seen.refusal


def _long_head(site: CorpusSite) -> str:
    return _serves(f"X-Long: {'a' * 140_000}")(site)


def _expects(site: CorpusSite) -> str:
    """What a caller reads first who waits before sending a body, and is denied."""
    told = len(site.front.gate.decisions)
    lines = [site.front.bearer("viewers"), "Expect: 100-continue", "Content-Length: 3"]
    with site.front.connect() as connection:
        connection.send(request(POOLS, *lines, method="POST", host=HOST))
        wait_for(lambda: len(site.front.gate.decisions) > told, "the gate is not asked", pause=site.front.pause)
        connection.send(b"a=b")
        first = connection.response()
    return "100, then the denial" if first.status == 100 else f"the denial ({first.status})"


def _websocket(site: CorpusSite) -> str:
    key = "Sec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFhYQ=="
    seen = ask(site, HEALTH, "Connection: Upgrade", "Upgrade: websocket", key, "Sec-WebSocket-Version: 13")
    if not seen.arrived:
        return seen.refusal
    return "passes" if seen.arrived[0].request.all("upgrade") else "served as plain HTTP"


def _http2(site: CorpusSite) -> str:
    site.front.tls.set_alpn_protocols(["h2", "http/1.1"])
    with site.front.connect() as connection:
        spoken = connection.protocol
    site.front.tls.set_alpn_protocols(["http/1.1"])
    return "yes" if spoken == "h2" else "no"


def _page(site: CorpusSite) -> str:
    """What a person reads who is denied."""
    answer = ask(site, POOLS, "Accept: text/html").answer
    kind = (answer.header("content-type") or "nothing").partition(";")[0] if answer else "nothing"
    return {"text/html": "the gate's page", "application/json": "JSON"}.get(kind, kind)


def _body_of_401(site: CorpusSite) -> str:
    answer = ask(site, DAGS, groups=None).answer
    if answer is None:
        return "closed"
    return f"{answer.status}" + (", `www-authenticate`" if answer.header("www-authenticate") else "")


def _answers_all(site: CorpusSite) -> str:
    """Five requests at once: how many are answered, in their order."""
    data = [request(target, host=HOST) for target in (HEALTH, POOLS, HEALTH, DAGS, HEALTH)]
    statuses: list[int] = []
    with suppress(AssertionError, OSError), site.front.connect() as connection:
        connection.send(b"".join(data))
        statuses += [connection.response().status for _ in data]
    return "all, in order" if statuses == [200, 401, 200, 401, 200] else str(statuses)


def _airflow_away(site: CorpusSite) -> str:
    """The last question but one to a site: nothing listens there any more."""
    site.tap.close()
    return ask(site, HEALTH).refusal


def _gate_away(site: CorpusSite) -> str:
    """The last question to a site."""
    site.front.gate.kill()
    return ask(site, HEALTH).refusal


FINDINGS: Final[Mapping[str, Callable[[CorpusSite], str]]] = {
    "`/api/v2/dags/a%2Fb`": _target("/api/v2/dags/a%2Fb"),
    "`/api/v2//dags`": _target("/api/v2//dags"),
    "`/api/v2/./dags`": _target("/api/v2/./dags"),
    "`/api/v2/x/../dags`": _target("/api/v2/x/../dags"),
    "`/api/v2/x/%2e%2e/dags`": _target("/api/v2/x/%2e%2e/dags"),
    "`/api/v2/dags;x`": _target("/api/v2/dags;x"),
    "`/api/v2/dags/a{b}`": _target("/api/v2/dags/a{b}"),
    "`/api/v2/dags/a\\b`": _target("/api/v2/dags/a\\b"),
    "`/api/v2/dags/a%00`": _target("/api/v2/dags/a%00"),
    "`/api/v2/version#x`": _target("/api/v2/version#x"),
    "a byte beyond ASCII in the path": _target("/api/v2/dags/\xe9"),
    '`?a={b}"` in the query': _target('/api/v2/version?a={b}"'),
    "`http://HOST/…` (absolute form)": _target(f"http://{HOST}{VERSION}"),
    "`OPTIONS *`": _target("*", method="OPTIONS"),
    "method `FOO`": _serves(method="FOO"),
    "method `TRACE`": _serves(method="TRACE"),
    "method `get`": _serves(method="get"),
    "HTTP/1.0": _serves(version="HTTP/1.0"),
    "HTTP/2": _http2,
    "no Host": _serves(host=None),
    "two Hosts": _serves("Host: other.test"),
    "a Host of another name": _serves(host="other.test"),
    "a folded header line": _serves("X-A: b\r\n c"),
    "a space before the colon": _serves("X-A : b"),
    "a header name with `_`": _header(f"X_Authz_User: {NOT_FORWARDED}"),
    "`x.authz-user`": _header(f"X.Authz-User: {NOT_FORWARDED}"),
    "an unknown header": _header(f"X-Unknown: {NOT_FORWARDED}"),
    "the identity, when `Connection` names it": _identity_stays,
    "a header of 140 kB": _long_head,
    "two lengths": _serves("Content-Length: 1", "Content-Length: 2", body=b"ab"),
    "a length and chunks": _serves("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "a chunked body goes on": _chunked,
    "trailers": _trailers,
    "a body of 1.5 MB, the limit being 1 MiB": _long_body,
    "`Expect`, then a denial": _expects,
    "a WebSocket": _websocket,
    "five pipelined requests are answered": _answers_all,
    "a denied person reads": _page,
    "no token": _body_of_401,
    "Airflow is away": _airflow_away,
    "the gate is away": _gate_away,
}
"""Row by row, in the order of the table; the gate is gone after the last one."""


def found(site: CorpusSite) -> dict[str, str]:
    """Each row's answer of this front."""
    return {name: probe(site) for name, probe in FINDINGS.items()}
