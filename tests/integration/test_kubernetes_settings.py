"""Settings, policy and other gateways' manifests of deploy/kubernetes, read by the gate, Envoy and doctor."""

import contextlib
import json
import subprocess
import threading

import pytest
import yaml
from click.testing import CliRunner

from authz.cli import main
from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import newest, oldest, wait_for
from tests.e2e.gate import Gate, token
from tests.e2e.raw_http import exchange, request
from tests.support.factories.tokens import make_key
from tests.support.manifests import FOLDER, is_envoy, of_kind, pods
from tests.support.missing import skip_or_fail
from tests.support.ports import free_port, loopback
from tests.support.simulators.idp import IdP

KEY = make_key("ES256", kid="k1")
PLACES = {
    "gateway": ("gateway", "authz-gateway", "authz.yaml"),
    "api-server": ("sidecar", "airflow-api-server", "around/api-server.authz.yaml"),
    "worker": ("sidecar", "airflow-worker", "around/worker.authz.yaml"),
}
FRONTS = sorted(
    str(path.relative_to(FOLDER)) for name in ("istio", "envoy-gateway") for path in (FOLDER / name).glob("*")
)
MIB = 1024 * 1024


@pytest.fixture(params=PLACES)
def place(request, tmp_path):
    """The files of a ConfigMap in a folder, with paths in which this machine may write; its pod."""
    overlay, workload, settings = PLACES[request.param]
    for path in ("etc/envoy", "var/lib/authz", "etc/airflow-tls", "etc/egress-credentials"):
        (tmp_path / path).mkdir(parents=True)
    authority = Authority(tmp_path)
    pair = authority.issue("airflow.example.com")
    (tmp_path / "etc/airflow-tls/tls.crt").write_bytes(pair.certificate.read_bytes())
    key = tmp_path / "etc/airflow-tls/tls.key"
    key.touch(mode=0o600)
    key.write_bytes(pair.key.read_bytes())
    text = (FOLDER / overlay / settings).read_text()
    for word in ("/etc/", "/var/lib/"):
        text = text.replace(word, f"{tmp_path}{word}")
    (tmp_path / "authz.yaml").write_text(text)
    for path in (FOLDER / "base").glob("*.*"):
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "airflow-tasks.json").write_text((FOLDER / "sidecar/around/airflow-tasks.json").read_text())
    return tmp_path, pods()[overlay, workload], yaml.safe_load(text)


def authz(*arguments):
    return CliRunner().invoke(main, list(map(str, arguments)))


def test_lint_finds_nothing_in_policy_and_settings(place):
    folder, _spec, _settings = place
    found = authz("lint", "--settings", folder / "authz.yaml")
    said = [line for line in found.output.splitlines() if "the certificate in" not in line]  # the test's is for a day
    assert said in ([], ["no findings"])
    assert found.exit_code == 0


def test_both_envoys_accept_what_the_init_container_renders_and_doctor_finds_no_way_around_it(place):
    folder, spec, settings = place
    made = authz("envoy", "--settings", folder / "authz.yaml", "--output", folder / "envoy.yaml")
    assert made.exit_code == 0, made.output
    binaries = [newest(), oldest()]
    if not oldest().exists():
        skip_or_fail("the oldest supported Envoy is not installed: run `make .envoys/oldest/.installed`")
    for binary in binaries:
        command = [binary, "--mode", "validate", "--log-level", "warning", "-c", folder / "envoy.yaml"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    [airflow] = spec["containers"]
    names = {one["name"]: one["value"] for one in airflow.get("env", ())}
    (folder / "env").write_text("".join(f"{name}={value}\n" for name, value in names.items()))
    options = ["--airflow-env", folder / "env"] if "AIRFLOW__CORE__AUTH_MANAGER" in names else []
    looked = authz("doctor", "--json", "--settings", folder / "authz.yaml", "--proxy", folder / "envoy.yaml", *options)
    found = {one["id"] for one in json.loads(looked.output) if one["severity"] != "note"} - {"certificate-expiring"}
    # The execution API is for workers, which only a NetworkPolicy can say.
    assert found == ({"execution-exposed"} if "execution" in settings["envoy"] else set())


def test_listeners_are_the_ports_that_the_manifests_name_and_envoys_heap_fits(place):
    _folder, spec, settings = place
    [envoy] = [one for one in [*spec["initContainers"], *spec["containers"]] if is_envoy(one)]
    section = settings["envoy"]
    listens = [section[name]["listen"] for name in ("inbound", "execution", "egress") if name in section]
    open_ = {int(one.rpartition(":")[2]) for one in listens if one.startswith("0.0.0.0:")}
    assert {port["containerPort"] for port in envoy.get("ports", ())} == open_
    heap, limit = section["max_heap"], envoy["resources"]["limits"]["memory"]
    assert int(heap.removesuffix("MiB")) * MIB <= 0.8 * int(limit.removesuffix("Mi")) * MIB
    assert settings["workers"] == 1, "`auto` could differ between the containers that serve and that render"


@pytest.mark.parametrize("name", FRONTS)
def test_doctor_finds_no_way_around_the_check_in_other_gateways_manifests(name, tmp_path):
    looked = authz("doctor", "--json", "--proxy", FOLDER / name)
    assert looked.exit_code == 0
    assert {one["id"] for one in json.loads(looked.output) if one["severity"] != "note"} == {"not-seen"}
    text = (FOLDER / name).read_text()
    opened = text.replace("failOpen: false", "failOpen: true").replace("mode_allow: false", "mode_allow: true")
    if "ext-auth" in name:
        assert opened != text
        (tmp_path / "open.yaml").write_text(opened)
        found = authz("doctor", "--proxy", tmp_path / "open.yaml")
        assert found.exit_code == 1
        assert "gateway-fails-open" in found.output


def test_other_gateways_name_services_and_accounts_that_are_there():
    named = {
        (one["metadata"]["namespace"], one["metadata"]["name"]): {port["port"] for port in one["spec"]["ports"]}
        for overlay in ("gateway", "gate")
        for one in of_kind(overlay, "Service").values()
    }
    text = "".join((FOLDER / name).read_text() for name in FRONTS)
    assert 443 in named["authz", "authz-gateway"]
    assert "{name: authz-gateway, port: 443}" in text
    assert 9190 in named["authz", "authz"]
    assert "{name: authz, namespace: authz, port: 9190}" in text
    assert "outbound|9190||authz.authz.svc.cluster.local" in text
    assert {"authz"} == set(of_kind("gateway", "ServiceAccount"))
    assert "cluster.local/ns/authz/sa/authz" in text


def merged(base, patch):
    """Protobuf's merge, as far as these patches need it: messages are merged, all else is replaced."""
    if not (isinstance(base, dict) and isinstance(patch, dict)):
        return patch
    return base | {name: merged(base.get(name), value) for name, value in patch.items()}


def patched(gate, upstream, listener):
    """A gateway's configuration in small, after the patches of the EnvoyFilter."""
    [first, *_] = yaml.safe_load_all((FOLDER / "istio" / "ext-authz.yaml").read_text())
    host = {"name": "airflow.example.com:443", "domains": ["*"]}
    host["routes"] = [{"match": {"prefix": "/"}, "route": {"cluster": "airflow"}}]
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    filters = [{"name": "envoy.filters.http.router", "typed_config": router}]
    manager = {"typed_config": {"stat_prefix": "in"}}
    for one in first["spec"]["configPatches"]:
        patch, value = one["patch"], one["patch"]["value"]
        match one["applyTo"], patch["operation"]:
            case "NETWORK_FILTER", "MERGE":
                manager = merged(manager, value)
            case "HTTP_FILTER", "INSERT_FIRST":
                filters.insert(0, value)
            case "HTTP_FILTER", "INSERT_BEFORE":
                assert one["match"]["listener"]["filterChain"]["filter"]["subFilter"]["name"] == filters[-1]["name"]
                filters.insert(-1, value)
            case "VIRTUAL_HOST", "MERGE":
                host = merged(host, value)
    manager["typed_config"] |= {"http_filters": filters, "route_config": {"virtual_hosts": [host]}}
    manager["name"] = "envoy.filters.network.http_connection_manager"

    def address(text):
        name, _, port = text.rpartition(":")
        return {"socket_address": {"address": name, "port_value": int(port)}}

    def cluster(name, text, **more):
        endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(text)}}]}]
        return {"name": name, "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more}

    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    clusters = [
        cluster("airflow", upstream),
        cluster("outbound|9190||authz.authz.svc.cluster.local", gate, typed_extension_protocol_options=http2),
    ]
    listeners = [{"name": "in", "address": address(listener), "filter_chains": [{"filters": [manager]}]}]
    return {"static_resources": {"listeners": listeners, "clusters": clusters}}


@contextlib.contextmanager
def running(config, folder, listener):
    (folder / "istio.yaml").write_text(yaml.safe_dump(config))
    command = [newest(), "-c", folder / "istio.yaml", "--disable-hot-restart", "--log-level", "warning"]
    with (folder / "istio.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    host, _, port = listener.rpartition(":")

    def answers():
        try:
            return exchange((host, int(port)), request("/")).status != 503
        except OSError:
            return False

    try:
        wait_for(answers, "Envoy does not answer", pause=threading.Event().wait)
        yield lambda target, *lines: exchange((host, int(port)), request(target, *lines))
    finally:
        process.kill()
        process.wait()


def test_what_istios_envoy_filter_makes_asks_the_gate_and_lets_nothing_pass_it(tmp_path):
    listener, gate_at = loopback(), f"127.0.0.1:{free_port()}"
    with EchoUpstream() as airflow, IdP([KEY]) as idp, Gate(tmp_path / "g", idp, listen=gate_at) as gate:
        config = patched(gate_at, airflow.address, listener)
        with running(config, tmp_path, listener) as ask:
            looked = authz("doctor", "--json", "--proxy", tmp_path / "istio.yaml")
            assert [one for one in json.loads(looked.output) if one["severity"] == "error"] == []
            bearer = f"Authorization: Bearer {token(KEY, iss=idp.url)}"
            airflow.reset()
            assert ask("/api/v2/dags", bearer, "X-Authz-User: root").status == 200
            assert airflow.only.all("authorization") == []
            assert airflow.only.all("x-authz-user") == ["alice.a"]
            airflow.reset()
            assert ask("/api/v2/dags").status == 401
            assert ask("/execution/health", bearer).status in {401, 403, 404}
            gate.kill()
            assert ask("/api/v2/dags", bearer).status == 503
            assert airflow.requests == []
