"""`authz doctor` on files: every finding with an input that has it and one that has not; no secret in the output."""

import json
import os
import time
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import jwt
import pytest
import yaml
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from authz.cli.main import main
from authz.core import assertion
from authz.core.doctor.kinds import KINDS
from tests.support.doctor_envoy import (
    CHECK,
    HTTP,
    PER_ROUTE,
    PER_ROUTE_OFF,
    ROUTER,
    bootstrap,
    cluster,
    ext_authz,
    http_filter,
    listener,
    manager,
    network,
    route,
    table,
)
from tests.support.simulators.idp import LoopbackServer

CANARY = "canary-5ecret"
OURS = "authz.airflow.auth_manager.AuthzAuthManager"
POLICY = """
version: 1
issuers:
- {name: corp, issuer: "https://idp.test", audiences: {inbound: [airflow]}, algorithms: [RS256], max_lifetime: 1h}
roles: {all: {groups: [all]}}
rules: [{id: r, plane: inbound, roles: [all], operations: ["dags:read"]}]
"""
SETTINGS = """
version: 1
assertion: {{issuer: i, keys: [key.pem]}}
envoy:
  inbound:
    listen: 127.0.0.1:8443
    tls: {{certificate: edge.pem, key: edge-key.pem}}
    upstreams: [{{name: airflow, address: "127.0.0.1:8081", audience: a, hosts: [gate.test]{more}}}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__", "FORWARDED_"))]:
        monkeypatch.delenv(name)
    return tmp_path


def run(*arguments):
    ended = CliRunner().invoke(main, ["doctor", *arguments])
    assert ended.exception is None or isinstance(ended.exception, SystemExit), ended.exception
    return ended


def found(*arguments):
    ended = run(*arguments, "--json")
    return {one["id"] for one in json.loads(ended.stdout)}


# --- inputs


def proxy(*listeners, **more):
    """Arguments for a bootstrap with these listeners."""

    def arguments(folder):
        path = folder / "envoy.yaml"
        path.write_text(yaml.safe_dump(bootstrap(*listeners, **more)))
        return ["--proxy", "envoy.yaml"]

    return arguments


def managed(**changes):
    """The same with one connection manager."""
    return proxy(listener(network(manager(**changes))))


def checking(**changes):
    return managed(http_filters=[ext_authz(**changes), ROUTER])


def text(content, name="front.yaml", option="--proxy"):
    def arguments(folder):
        (folder / name).write_text(content)
        return [option, name]

    return arguments


def airflow(lines="", manager=OURS, host="127.0.0.1"):
    return text(f"[core]\nauth_manager = {manager}\n{lines}\n[api]\nhost = {host}\n", "airflow.cfg", "--airflow-cfg")


def base_url(url):
    return text(f"[core]\nauth_manager = {OURS}\n[api]\nhost = ::1\nbase_url = {url}\n", "airflow.cfg", "--airflow-cfg")


def certificate(days=90, name="gate.test"):
    """A certificate that is valid for so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a certificate")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=200)).not_valid_after(now + timedelta(days=days))
    if name:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def gate(data=None, *, more="", mode=0o600, extra=lambda _folder: []):
    """Arguments for settings of the gate with this certificate."""

    def arguments(folder):
        (folder / "authz.yaml").write_text(SETTINGS.format(more=more))
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "edge.pem").write_bytes(certificate() if data is None else data)
        for name in ("edge-key.pem", "key.pem"):
            (folder / name).write_text(CANARY)
            (folder / name).chmod(mode)
        return [*extra(folder), "--settings", "authz.yaml"]

    return arguments


def admin(apart):
    """Arguments for an Envoy whose clock differs so much."""
    return ("admin", apart)


def asking(*audiences, shadow=None):
    """Arguments for an Airflow that lets in assertions for these audiences (None: without one); () is no Airflow."""

    def arguments(folder):
        given = gate()(folder)
        (folder / "key.pem").write_bytes(assertion.generate_pem())
        if shadow is not None:
            (folder / "candidate.yaml").write_text(shadow)
            with (folder / "authz.yaml").open("a") as file:
                file.write("shadow: candidate.yaml\n")
        return given

    return ("airflow", arguments, audiences)


def _airflow(audiences):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            sent = self.headers.get(assertion.HEADER)
            audience = jwt.decode(sent, options={"verify_signature": False})["aud"] if sent else None
            self.send_response(200 if self.path == "/ui/auth/me" and audience in audiences else 401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    return Handler


LOGIN = http_filter("oauth2", "OAuth2", config={"default_expires_in": "7200s", "token_cookie_chunking": {}})
SHORT = http_filter("oauth2", "OAuth2", config={"default_expires_in": "600s", "token_cookie_chunking": {}})
UNSPLIT = http_filter("oauth2", "OAuth2", config={"redirect_uri": "x"})
TASKS = manager(
    route_config=table(route(match={"prefix": "/execution/"}, typed_per_filter_config={CHECK: PER_ROUTE_OFF}))
)
ASIDE = manager(http_filters=[ROUTER], route_config=table(route(route={"cluster": "authz"})))
ELSEWHERE = {"@type": PER_ROUTE, "check_settings": {"grpc_service": {}}}
INSIDE = http_filter("composite", "Composite", inner=ext_authz()["typed_config"])
KEY = ["request.method", "request.host", "request.path", 'request.headers["authorization"]']
GATEWAY = "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nspec: {extAuth: {failOpen: %s}}\n"
CHECKED = listener(name="checked")
GOOD = proxy(CHECKED)


def agentgateway(key):
    check = {"extAuthz": {"host": "localhost:1", "cache": {"key": key}}}
    return text(yaml.safe_dump({"binds": [{"listeners": [{"policies": check}]}]}))


def login(*filters):
    return gate(extra=managed(http_filters=[*filters, ext_authz(), ROUTER]))


EXPOSED = {"admin": {"address": {"socket_address": {"address": "0.0.0.0", "port_value": 1}}}}
CASES = {
    "check-fails-open": (checking(failure_mode_allow=True), checking(failure_mode_allow=False)),
    "check-shadowed": (checking(shadow_mode=True), GOOD),
    "check-switchable": (
        checking(filter_enabled={"default_value": {"numerator": 50}}),
        checking(filter_enabled={"default_value": {"numerator": 50}}, deny_at_disable={"default_value": True}),
    ),
    "check-conditional": (managed(http_filters=[INSIDE, ROUTER]), GOOD),
    "cached-before-check": (managed(http_filters=[http_filter("cache", "C"), ext_authz(), ROUTER]), GOOD),
    "check-elsewhere": (managed(route_config=table(route(typed_per_filter_config={CHECK: ELSEWHERE}))), GOOD),
    "route-unchecked": (managed(http_filters=[ROUTER]), GOOD),
    "forwards-unchecked": (proxy(CHECKED, listener(network(ASIDE), name="aside")), GOOD),
    "changed-after-check": (managed(http_filters=[ext_authz(), http_filter("lua", "Lua"), ROUTER]), GOOD),
    "rewritten-after-check": (
        managed(route_config=table(route(route={"cluster": "airflow", "prefix_rewrite": "/x"}))),
        GOOD,
    ),
    "bearer-forwarded": (
        checking(decoder_header_mutation_rules={"disallow_all": True}),
        checking(decoder_header_mutation_rules={"disallow_all": True, "allow_expression": {"regex": "authorization"}}),
    ),
    "path-not-normalised": (managed(normalize_path=False), GOOD),
    "slashes-not-merged": (managed(merge_slashes=False), GOOD),
    "underscores-allowed": (managed(common_http_protocol_options={}), GOOD),
    "admin-exposed": (
        proxy(CHECKED, **EXPOSED),
        proxy(CHECKED, admin={"address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}}}),
    ),
    "execution-exposed": (
        proxy(CHECKED, listener(network(TASKS), name="tasks", host="0.0.0.0")),
        proxy(CHECKED, listener(network(TASKS), name="tasks")),
    ),
    "not-seen": (managed(route_config=None, rds={"route_config_name": "r"}), GOOD),
    "not-given": (GOOD, gate(extra=lambda folder: [*GOOD(folder), *airflow()(folder)])),
    "cookie-not-split": (login(UNSPLIT), login(SHORT)),
    "login-outlives-token": (login(LOGIN), login(SHORT)),
    "secret-readable": (gate(mode=0o644), gate()),
    "certificate-unusable": (gate(certificate(-1)), gate()),
    "certificate-expiring": (gate(certificate(5)), gate()),
    "certificate-name": (gate(certificate(name="other.test")), gate(certificate(name="*.test"))),
    "clock": (admin(3600), admin(0)),
    "airflow": (asking(), asking("a")),
    "assertion": (asking("b"), asking("a")),
    "strangers": (asking("a", None), asking("a")),
    "candidate": (asking("a", shadow="version: 2"), asking("a", shadow=POLICY)),
    "all-admin": (airflow("simple_auth_manager_all_admins = True", manager=""), airflow()),
    "auth-manager": (airflow(manager="airflow.FabAuthManager"), airflow()),
    "airflow-open": (airflow(host="0.0.0.0"), airflow()),
    "base-url": (base_url("http://a.test"), base_url("https://a.test")),
    "base-path": (
        gate(extra=base_url("https://a.test/airflow")),
        gate(extra=base_url("https://a.test/airflow"), more=", base_path: /airflow"),
    ),
    "proxy-headers": (
        text("FORWARDED_ALLOW_IPS='*'\n", "env", "--airflow-env"),
        text("FORWARDED_ALLOW_IPS=10.0.0.1\n", "env", "--airflow-env"),
    ),
    "gateway-fails-open": (text(GATEWAY % "true"), text(GATEWAY % "false")),
    "cache-ignores-caller": (agentgateway(KEY[:3]), agentgateway(KEY)),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_finding_is_found_where_it_is_and_nowhere_else(folder, name):
    bad, good = CASES[name]
    assert name in _found(bad, folder)
    assert name not in _found(good, folder)


def _found(case, folder):
    if not isinstance(case, tuple):
        return found(*case(folder))
    if case[0] == "airflow":
        with LoopbackServer(_airflow(case[2])) as server:
            url = server.url if case[2] else "http://127.0.0.1:1"
            listed = json.loads(run(*case[1](folder), "--airflow", url, "--json").stdout)
        return {one["id"] for one in listed if one["severity"] != "ok"}
    with LoopbackServer(_admin(json.dumps(bootstrap(CHECKED)), time.time() + case[1])) as server:
        return found("--envoy-admin", server.url)


DUMPS = ("/config_dump?include_eds", "/config_dump")


def _admin(body, date, status=200, paths=DUMPS[:1]):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response_only(status if self.path in paths else 404)
            if date is not None:
                self.send_header("date", formatdate(date, usegmt=True) if isinstance(date, float) else date)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_):
            pass

    return Handler


# --- what is printed, and the exit status


def test_an_error_ends_with_status_1_and_a_warning_with_0(folder):
    assert run(*managed(http_filters=[ROUTER])(folder)).exit_code == 1
    assert run(*managed(merge_slashes=False)(folder)).exit_code == 0
    assert run(*GOOD(folder)).exit_code == 0


def test_the_text_says_where_what_why_and_how(folder):
    output = run(*checking(shadow_mode=True)(folder)).stdout
    assert "error    check-shadowed  envoy.yaml: listener `in`\n" in output
    assert "`envoy.filters.http.ext_authz` has `shadow_mode`\n" in output
    assert f"why: {KINDS['check-shadowed'].why}\n" in output
    assert f"fix: {KINDS['check-shadowed'].fix}\n" in output


def test_json_has_the_same(folder):
    everything = json.loads(run(*checking(shadow_mode=True)(folder), "--json").stdout)
    first = everything[0]
    assert first["id"] == "check-shadowed"
    assert first["severity"] == "error"
    assert first["where"] == "envoy.yaml: listener `in`"
    assert first.keys() == {"id", "severity", "where", "text", "why", "fix"}


def test_json_has_good_answers_of_airflow_in_the_same_form(folder):
    _name, arguments, audiences = asking("a")
    with LoopbackServer(_airflow(audiences)) as server:
        given = [*arguments(folder), "--airflow", server.url]
        listed = json.loads(run(*given, "--json").stdout)
        output = run(*given).stdout
    assert [(one["id"], one["severity"]) for one in listed] == [
        ("airflow", "ok"),
        ("clock", "ok"),
        ("assertion", "ok"),
        ("strangers", "ok"),
    ]
    assert {*listed[0]} == {"id", "severity", "where", "text", "why", "fix"}
    assert f"ok       assertion  {server.url}/\n         accepted; sent issuer" in output


def test_an_authority_that_cannot_be_used_is_an_error(folder):
    _name, arguments, _audiences = asking("a")
    given = arguments(folder)
    text_ = (folder / "authz.yaml").read_text().replace("audience: a,", "audience: a, tls: true, tls_ca: ca.pem,")
    (folder / "authz.yaml").write_text(text_)
    ended = run(*given, "--airflow", "https://127.0.0.1:1")
    assert ended.exit_code == 2
    assert "the authority of Airflow's certificate cannot be used" in ended.stderr


def test_what_is_not_looked_at_is_said(folder):
    output = run(*GOOD(folder)).stdout
    assert "Airflow's options: `--airflow-cfg` and `--airflow-env`" in output
    assert "the gate's settings: `--settings`" in output
    assert output.endswith("nothing found in what was looked at\n")
    everything = gate(extra=lambda folder: [*GOOD(folder), *airflow()(folder)])
    assert run(*everything(folder)).stdout == "nothing found\n"


def test_many_findings_of_one_kind_are_counted(folder):
    routes = [route(match={"prefix": f"/{number}"}) for number in range(30)]
    arguments = managed(http_filters=[ROUTER], route_config=table(*routes))(folder)
    output = run(*arguments).stdout
    assert output.count("route-unchecked  ") == 20
    assert "and 10 more `route-unchecked`" in output
    assert len([one for one in json.loads(run(*arguments, "--json").stdout) if one["id"] == "route-unchecked"]) == 30


def test_without_anything_the_settings_are_needed(folder):
    ended = run()
    assert ended.exit_code == 2
    assert "authz.yaml" in ended.stderr


def test_settings_beside_the_command_are_used(folder):
    gate(mode=0o644)(folder)
    assert "secret-readable" in found(*GOOD(folder))


def test_a_policy_that_cannot_be_used_is_said(folder):
    arguments = login(LOGIN)(folder)
    (folder / "policy.yaml").write_text("version: 2")
    assert "not-seen" in found(*arguments)
    (folder / "policy.yaml").unlink()
    assert "not-seen" in found(*arguments)
    assert "not-seen" not in found("--settings", "authz.yaml")


@pytest.mark.parametrize("option", ["--envoy-admin", "--airflow"])
@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:9901",
        "http://127.0.0.1:x",
        "http://127.0.0.1:99999",
        f"http://u:{CANARY}@127.0.0.1:9901",
        f"http://127.0.0.1:9901/?{CANARY}",
    ],
)
def test_an_address_that_is_none_is_a_mistake_of_usage_and_not_quoted(folder, option, url):
    ended = run(option, url)
    assert ended.exit_code == 2
    assert option in ended.stderr
    assert CANARY not in ended.output


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (f"a: {CANARY}\na: 2", "one key twice"),
        (f"[{CANARY}", "neither YAML nor JSON"),
        ("", "it is empty"),
        (f"just: {CANARY}", "no configuration of a proxy"),
        (f"- {CANARY}", "no configuration of a proxy"),
    ],
)
def test_a_file_that_is_no_configuration_is_an_error_without_its_text(folder, content, said):
    ended = run(*text(content)(folder))
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert CANARY not in ended.output


@pytest.mark.parametrize("part", [{"listeners": [CHECKED]}, {"clusters": []}, table()])
def test_a_part_of_envoys_configuration_is_refused_with_the_way_to_have_it_read(folder, part):
    ended = run(*text(yaml.safe_dump(part))(folder))
    assert ended.exit_code == 2
    assert "put it under `static_resources`" in ended.stderr


def _config_map(**data):
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})


def test_envoys_configuration_in_a_config_map_is_read_as_if_it_were_a_file(folder):
    good = _config_map(envoy=yaml.safe_dump(bootstrap(CHECKED)))
    assert found(*text(good)(folder)) == {"not-given"}
    bad = bootstrap(listener(network(manager(http_filters=[ROUTER]))), **EXPOSED)
    ended = run(*text(_config_map(envoy=json.dumps(bad)))(folder))
    assert ended.exit_code == 1
    assert "route-unchecked  front.yaml: ConfigMap c, `envoy`: listener `in`" in ended.stdout
    assert "listens on 0.0.0.0:1\n" in ended.stdout


def test_a_secret_in_a_config_map_that_everyone_can_read_is_found(folder):
    secret = {"name": "s", "generic_secret": {"secret": {"inline_string": CANARY}}}
    config = bootstrap(CHECKED)
    config["static_resources"]["secrets"] = [secret]
    arguments = text(_config_map(envoy=yaml.safe_dump(config)))(folder)
    (folder / "front.yaml").chmod(0o644)
    ended = run(*arguments)
    assert "secret-readable" in ended.stdout
    assert CANARY not in ended.output


@pytest.mark.parametrize(
    "content",
    [
        GATEWAY % "false",
        yaml.safe_dump({"binds": [{"listeners": [{"routes": [{"backends": [{"host": "airflow:8080"}]}]}]}]}),
        _config_map(script="return 1"),
        _config_map(envoy=yaml.safe_dump(bootstrap(CHECKED)), other="a: b"),
    ],
)
def test_where_only_switches_are_read_that_is_said_once_for_each_file(folder, content):
    some = json.loads(run(*text(f"{content}---\n{GATEWAY % 'false'}")(folder), "--json").stdout)
    assert [one["where"] for one in some if one["id"] == "not-seen"] == ["front.yaml"]


def test_missing_files_and_folders_are_errors(folder):
    assert run("--proxy", "absent.yaml").exit_code == 2
    assert run("--airflow-cfg", "absent.cfg").exit_code == 2
    ended = run(*text(f"[core]\n{CANARY}", "airflow.cfg", "--airflow-cfg")(folder))
    assert ended.exit_code == 2
    assert CANARY not in ended.output


# --- asking Envoy


@pytest.mark.parametrize(
    ("body", "date", "status", "said"),
    [("", None, 403, "does not show /config_dump"), (f"[{CANARY}", None, 200, "neither YAML nor JSON")],
)
def test_an_envoy_that_does_not_show_its_configuration_is_an_error(folder, body, date, status, said):
    with LoopbackServer(_admin(body, date, status)) as server:
        ended = run("--envoy-admin", server.url)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert CANARY not in ended.output


def test_no_envoy_there_is_an_error(folder):
    ended = run("--envoy-admin", "http://127.0.0.1:1")
    assert ended.exit_code == 2
    assert "is Envoy running" in ended.stderr


def test_an_envoy_that_allows_only_the_bare_path_is_read_too(folder):
    with LoopbackServer(_admin(json.dumps(bootstrap(listener(network(ASIDE)))), None, paths=DUMPS[1:])) as server:
        assert "route-unchecked" in found("--envoy-admin", server.url)


@pytest.mark.parametrize("date", [None, "not a date"])
def test_an_envoy_that_does_not_say_its_time_is_read_all_the_same(folder, date):
    with LoopbackServer(_admin(json.dumps(bootstrap(listener(network(ASIDE)))), date)) as server:
        assert "route-unchecked" in found("--envoy-admin", server.url)


# --- files that a configuration names


def _tls(**socket):
    made = listener(network(manager()))
    made["filter_chains"][0].update(
        {
            "filter_chain_match": {"server_names": ["gate.test"]},
            "transport_socket": {"typed_config": {"common_tls_context": socket}},
        }
    )
    return proxy(made)(Path())


def test_envoys_own_files_are_looked_at(folder):
    (folder / "edge.pem").write_bytes(certificate(-1, "other.test"))
    (folder / "key.pem").write_text(CANARY)
    (folder / "key.pem").chmod(0o644)
    pair = {"certificate_chain": {"filename": "edge.pem"}, "private_key": {"filename": "key.pem"}}
    some = found(*_tls(tls_certificates=[pair]))
    assert {"certificate-unusable", "certificate-name", "secret-readable"} <= some
    (folder / "edge.pem").write_bytes(certificate())
    (folder / "key.pem").chmod(0o600)
    assert found(*_tls(tls_certificates=[pair])) == {"not-given"}
    (folder / "edge.pem").unlink()
    assert found(*_tls(tls_certificates=[pair])) == {"not-given"}


def test_a_certificate_without_names_or_that_is_none_is_found(folder):
    pair = {"certificate_chain": {"filename": "edge.pem"}}
    (folder / "edge.pem").write_bytes(certificate(name=""))
    assert "certificate-name" in found(*_tls(tls_certificates=[pair]))
    (folder / "edge.pem").write_text(CANARY)
    assert "certificate-unusable" in found(*_tls(tls_certificates=[pair]))
    (folder / "edge.pem").unlink()
    (folder / "edge.pem").mkdir()
    assert "not-seen" in found(*_tls(tls_certificates=[pair]))


def test_secrets_that_come_from_files_beside_it_are_followed(folder):
    sds = {"name": "s", "sds_config": {"path_config_source": {"path": "sds.yaml"}}}
    arguments = _tls(tls_certificate_sds_secret_configs=[sds])
    assert found(*arguments) == {"not-given"}
    secret = {"resources": [{"name": "s", "tls_certificate": {"private_key": {"inline_string": CANARY}}}]}
    (folder / "sds.yaml").write_text(yaml.safe_dump(secret))
    (folder / "sds.yaml").chmod(0o644)
    assert "secret-readable" in found(*arguments)
    (folder / "sds.yaml").chmod(0o600)
    assert found(*arguments) == {"not-given"}
    secret["resources"][0]["tls_certificate"] = {"private_key": {"filename": "key.pem"}, **sds}  # it names itself, too
    (folder / "sds.yaml").write_text(yaml.safe_dump(secret))
    (folder / "key.pem").write_text(CANARY)
    (folder / "key.pem").chmod(0o644)
    assert "secret-readable" in found(*arguments)
    (folder / "sds.yaml").write_text(f"[{CANARY}")
    assert "not-seen" in found(*arguments)
    (folder / "sds.yaml").unlink()
    (folder / "sds.yaml").mkdir()
    assert "not-seen" in found(*arguments)


def test_a_file_that_cannot_be_looked_for_is_said(folder):
    (folder / "loop").symlink_to("loop")  # as a folder that may not be entered, which root may
    for socket in (
        {"tls_certificates": [{"private_key": {"filename": "loop/key.pem"}}]},
        {"tls_certificate_sds_secret_configs": [{"sds_config": {"path": "loop/sds.yaml"}}]},
    ):
        assert "not-seen" in found(*_tls(**socket))
    for path in ("absent/key.pem", "envoy.yaml/key.pem", "a\0b"):
        assert found(*_tls(tls_certificates=[{"private_key": {"filename": path}}])) == {"not-given"}


def test_the_files_that_airflow_names_are_looked_at(folder):
    arguments = airflow("[api_auth]\njwt_private_key_path = task-key.pem")(folder)
    (folder / "task-key.pem").write_text(CANARY)
    (folder / "task-key.pem").chmod(0o644)
    assert "secret-readable" in found(*arguments)
    (folder / "task-key.pem").chmod(0o600)
    assert "secret-readable" not in found(*arguments)


# --- secrets


def _secretive(folder):
    """Inputs with a secret in every place that has one, and with findings all around it."""
    check = ext_authz(failure_mode_allow=True)
    check["typed_config"]["grpc_service"]["initial_metadata"] = [{"key": "authorization", "value": CANARY}]
    secret = {"name": "s", "generic_secret": {"secret": {"inline_string": CANARY}}}
    matched = {"prefix": "/", "headers": [{"name": "authorization", "string_match": {"exact": f"Bearer {CANARY}"}}]}
    added = {"request_headers_to_add": [{"header": {"key": "authorization", "value": f"Bearer {CANARY}"}}]}
    one = {"match": matched, "route": {"cluster": "airflow", "prefix_rewrite": "/"}, **added}
    login_ = http_filter("oauth2", "OAuth2", config={"credentials": {"client_id": "x", "secret": CANARY}})
    made = listener(network(manager(http_filters=[login_, check, ROUTER], route_config=table(one))))
    config = bootstrap(made, listener(network(ASIDE), name="b"))
    config["static_resources"]["secrets"] = [secret]
    config["static_resources"]["clusters"].append(cluster("c", "10.0.0.1:1"))
    path = folder / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o644)
    (folder / "airflow.cfg").write_text(
        f"[core]\nfernet_key = {CANARY}\nauth_manager = x.FabAuthManager\n[database]\n"
        f"sql_alchemy_conn = postgresql://u:{CANARY}@db/x\n[api]\nbase_url = https://u:{CANARY}@a.test\n"
    )
    (folder / "env").write_text(f"AIRFLOW__API__SECRET_KEY={CANARY}\nAIRFLOW__API_AUTH__JWT_SECRET={CANARY}\n")
    for name in ("airflow.cfg", "env"):
        (folder / name).chmod(0o644)
    arguments = gate(mode=0o644)(folder)
    return [*arguments, "--proxy", "envoy.yaml", "--airflow-cfg", "airflow.cfg", "--airflow-env", "env"]


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_secret_of_any_input_is_printed(folder, form):
    ended = run(*_secretive(folder), *form)
    assert ended.exit_code == 1
    assert CANARY not in ended.output
    assert CANARY not in str(ended.exception)


def test_files_with_secrets_that_everyone_can_read_are_all_named(folder):
    some = json.loads(run(*_secretive(folder), "--json").stdout)
    places = {one["where"] for one in some if one["id"] == "secret-readable"}
    assert places == {"envoy.yaml", "airflow.cfg", "env", "authz.yaml"}
    assert HTTP in (folder / "envoy.yaml").read_text()
