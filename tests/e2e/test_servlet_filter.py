"""The servlet filter before an application, in real servers: Jetty 9.4 (`javax`) and Tomcat 10 (`jakarta`).

The oracle is the application: it says which servlet answered, for which path, and all that it can read of its caller.
"""

import json
import ssl
import subprocess
from urllib.parse import unquote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import pkcs12

from authz.core.edge import ASSERTION, DECISION, IDENTITY_HEADERS
from authz.core.request.path import canonicalise
from tests.e2e.certificates import Authority
from tests.e2e.front_site import HOST
from tests.e2e.raw_http import request
from tests.e2e.servlet_site import ServletSite, said
from tests.e2e.test_fronts import FORGED, OF_OTHERS, SPELLINGS, mutated
from tests.support import java
from tests.support.ports import free_port

pytestmark = pytest.mark.e2e
PASSWORD = "of-the-stores"
SERVERS = ["JettyMain", "TomcatMain"]
POOLS, RUNS = "/api/v2/pools", "/api/v2/dags/sales/dagRuns"


@pytest.fixture(scope="module", params=SERVERS)
def running(request, idp, tmp_path_factory):
    with ServletSite(tmp_path_factory.mktemp(request.param), idp, request.param) as site:
        yield site


@pytest.fixture
def site(running):
    running.upstream.reset()
    return running


def test_the_application_knows_the_caller_by_the_servlet_api(site):
    answer = site.get("/x?a=b", site.bearer("data-ops"), "X-Number: 7")
    found, record = said(answer), site.record(answer.header(DECISION))
    assert (answer.status, found["served"], found["path"], found["query"]) == (200, "root", "/x", "a=b")
    assert [found[key] for key in ("user", "principal", "op", "auth")] == ["ann", "ann", "true", "AUTHZ"]
    assert (found["named x-authz-subject"], found["named x-authz-decision"]) == (record["subject"], record["id"])
    assert found[f"named {ASSERTION}"].count(".") == 2
    assert found["int"] == "7"


def test_an_anonymous_caller_has_no_name_and_no_role(site):
    found = said(site.get("/api/v2/monitor/health", "X-Authz-User: root", "X-Authz-Roles: op"))
    assert [found[key] for key in ("user", "principal", "op", "auth")] == ["null", "null", "false", "null"]


def test_every_way_to_a_header_gives_the_gates_identity_and_no_credentials(site):
    for spelt in SPELLINGS:
        lines = [f"{spelt(name)}: {FORGED}" for name in (*IDENTITY_HEADERS, DECISION, *OF_OTHERS)]
        answer = site.get("/x", site.bearer("data-ops"), *lines, f"Cookie: _token={FORGED}; a={FORGED}", "X-Kept: b")
        found = said(answer)
        assert (answer.status, FORGED.encode() in answer.body) == (200, False)
        assert (found["cookies"], found["trailers"], found["date"], found["named x-kept"]) == ("null", "{}", "-1", "b")
        for name in ("authorization", "Cookie", "X_Authz_User", "x-run-proof", "X-Remote-User"):
            assert (found[f"single {name}"], found[f"all {name}"]) == ("null", "")
        assert (found["single X-Authz-User"], found["all X-Authz-User"]) == ("ann", "ann")
        assert [key for key in found if key.startswith("named ") and "_" in key] == []


@pytest.mark.parametrize(
    ("way", "status", "served", "kind"),
    [
        ("forward", 200, "inner", "FORWARD"),
        ("include", 200, "inner", "INCLUDE"),
        ("async", 200, "inner", "ASYNC"),
        ("bare", 200, "inner", "ASYNC"),
        ("error", 418, "error", "ERROR"),
        ("throw", 500, "error", "ERROR"),
    ],
)
def test_a_request_is_asked_about_once_and_keeps_its_caller_in_every_dispatch(site, way, status, served, kind):
    forged = [f"X-Authz-User: {FORGED}", f"X_Authz_User: {FORGED}", f"Cookie: {FORGED}=a"]
    answer = site.get(f"/go/{way}", site.bearer("data-ops"), *forged)
    found = said(answer)
    assert (answer.status, found["served"], found["type"], found["user"]) == (status, served, kind, "ann")
    assert FORGED.encode() not in answer.body
    assert site.record(answer.header(DECISION))["path"] == f"/go/{way}"
    assert len([one for one in site.gate.decisions if one["path"] == f"/go/{way}"]) == 1


@pytest.mark.parametrize(
    ("target", "groups", "status"),
    [
        (POOLS, ["data-ops"], 403),
        ("/x", [], 403),
        ("/x", None, 401),
        (f"{POOLS};a", ["data-ops"], 400),
        ("/go/forward", ["data-readers"], 403),
    ],
)
def test_a_refused_request_reaches_no_servlet_and_no_error_page(site, target, groups, status):
    answer = site.get(target, *([] if groups is None else [site.bearer(*groups)]))
    assert (answer.status, answer.header("x-served"), b"served=" in answer.body) == (status, None, False)
    assert "error" in json.loads(answer.body)
    kept = site.get(target, *([] if groups is None else [site.bearer(*groups)]), "Accept: text/html")
    assert (kept.status, kept.header("x-served")) == (status, None)


def test_two_credentials_are_refused(site):
    answer = site.get("/x", site.bearer("data-readers"), site.bearer("data-ops"))
    assert (answer.status, site.record(answer.header(DECISION))["reason"]) == (400, "bad_authorization")


def test_an_endpoint_of_the_application_triggers_a_run_as_the_caller(site):
    answer = site.get("/trigger/sales", site.bearer("data-ops"), "X-Authz-Assertion: a.b.c", method="POST")
    assert (answer.status, site.upstream.only.target) == (200, RUNS)
    record = site.record(answer.header(DECISION))
    assert (record["subject"], record["path"], record["method"]) == ("id-ann", "/trigger/sales", "POST")
    [assertion] = site.upstream.only.all(ASSERTION)
    assert assertion.count(".") == 2
    assert assertion != "a.b.c"
    log = (site.place / "front.log").read_text()
    assert f"ann starts sales, decision {record['id']}" in log
    assert assertion not in log
    assert site.get("/trigger/sales", site.bearer("data-readers"), method="POST").status == 403
    assert len(site.upstream.requests) == 1


def test_over_odd_requests_no_servlet_answers_what_was_not_allowed(site):
    """And the one that answers is that of the path which was allowed: servers drop `;x` and resolve dot segments."""
    callers = [site.bearer("data-ops")] * 5 + [
        site.bearer("data-readers"),
        site.bearer(),
        "",
        "Authorization: Bearer x",
    ]
    counts = {"served": 0, "denied": 0, "refused": 0}
    for number, data in mutated(f"{site.server} filter", 500, callers):
        try:
            answer = site.send(data)
        except (AssertionError, OSError, ssl.SSLError, ValueError):  # no answer, or one in HTTP/0.9
            counts["refused"] += 1
            continue
        served = answer.header("x-served")
        decision = answer.header(DECISION)
        record = site.record(decision) if decision else None
        if served is None:
            assert answer.status >= 400, (number, data, answer)
            counts["denied" if record else "refused"] += 1
            continue
        counts["served"] += 1
        assert record, (data, answer)
        assert (record["decision"], served in {"root", "error"}) == ("allow", True), (data, record, served)
        if data.startswith(b"HEAD "):
            continue
        found = said(answer)
        assert canonicalise(found["uri"]).path == record["path"], data
        assert unquote(record["path"]) == found["path"], data
        assert (found["method"], found["named x-authz-decision"]) == (record["method"], record["id"]), data
        assert found.get("named x-authz-subject", "") == record["subject"], data
        assert [value for value in found.values() if value in {"a.b.c", "_token=x"}] == [], data
        assert {"named authorization", "named cookie"} & {*found} == set(), data
    assert min(counts.values()) >= 80, counts


def test_a_jvm_that_may_not_send_the_callers_host_does_not_start(running):
    """The application has used Java's HTTP client before the filter could allow it."""
    settings = str(running.place / "authz-0.properties")
    command = [*java.application("JettyMain"), settings, str(free_port()), "http://127.0.0.1:9"]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=60, text=True)
    assert ended.returncode != 0
    assert "start Java with -Djdk.httpclient.allowRestrictedHeaders=host" in ended.stderr


def test_a_smuggled_request_behind_a_refused_one_is_asked_about_too(site):
    with site.connect() as connection:
        connection.send(
            request("/x", method="POST", host=HOST, body=request(POOLS, site.bearer("data-ops"), host=HOST))
        )
        assert connection.response().status == 401
        connection.send(request(POOLS, site.bearer("data-ops"), host=HOST))
        assert connection.response().status == 403


class OverMutualTls(ServletSite):
    """The gate at a network address: with TLS, for callers with a certificate; the filter says the caller's address."""

    def write(self):
        super().write()
        self.gate.stop()
        authority = Authority(self.folder, "Authority of the gate and the filter")
        gate, self.client = authority.issue("127.0.0.1"), authority.issue("filter")
        text = self.gate.settings.read_text().partition("fronts:")[0]
        tls = f'{{certificate: "{gate.certificate}", key: "{gate.key}", client_ca: "{authority.ca}"}}'
        self.gate.settings.write_text(
            text.replace("  audiences:", f"  tls: {tls}\n  client_address: x-real-ip\n  audiences:")
        )
        self.gate.start()
        file = self.place / "authz-0.properties"
        file.write_text(
            file.read_text()
            .replace("gate = http:", "gate = https:")
            .replace("client_address =", "client_address = x-real-ip")
        )
        self.stores = {"keyStore": self.place / "key.p12", "trustStore": self.place / "trust.p12"}
        key = serialization.load_pem_private_key(self.client.key.read_bytes(), None)
        certificate = x509.load_pem_x509_certificate(self.client.certificate.read_bytes())
        trusted = x509.load_pem_x509_certificate(authority.ca.read_bytes())
        locked = serialization.BestAvailableEncryption(PASSWORD.encode())
        self.stores["keyStore"].write_bytes(
            pkcs12.serialize_key_and_certificates(b"filter", key, certificate, None, locked)
        )
        self.stores["trustStore"].write_bytes(
            pkcs12.serialize_java_truststore([pkcs12.PKCS12Certificate(trusted, b"gate")], locked)
        )

    def command(self):
        program, *rest = super().command()
        given = [f"-Djavax.net.ssl.{name}={path}" for name, path in self.stores.items()]
        given += [f"-Djavax.net.ssl.{name}Password={PASSWORD}" for name in self.stores]
        return [program, *given, *rest]


def test_the_gate_is_asked_over_mutual_tls_and_learns_the_callers_address(idp, tmp_path):
    with OverMutualTls(tmp_path, idp, "JettyMain") as site:
        answer = site.get("/x", site.bearer("data-ops"), "X-Real-IP: 9.9.9.9")
        assert (answer.status, said(answer)["user"]) == (200, "ann")
        assert site.record(answer.header(DECISION))["source"] == "127.0.0.1"
