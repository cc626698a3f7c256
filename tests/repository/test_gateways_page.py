"""The page about other gateways that ask the gate: its manifests name the plane, and none of them fails open."""

import json
import re

import pytest
import yaml

from authz import settings
from authz.core import edge
from authz.core.doctor.fronts import findings
from tests.repository.test_docs import ROOT

PAGE = (ROOT / "docs" / "howto" / "gateways.md").read_text()
MANIFESTS = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
CONTEXTS = ("context", "contextExtensions")


def mappings(value):
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(inner)


def contexts():
    return [node[key] for one in MANIFESTS for node in mappings(one) for key in CONTEXTS if key in node]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda one: one.get("kind", "settings"))
def test_doctor_finds_nothing_in_a_manifest_of_the_page(manifest):
    assert list(findings(manifest, "page")) == []


@pytest.mark.parametrize("switch", ["failOpen: false", "failureMode: FailClosed"])
def test_doctor_finds_the_switch_that_the_page_warns_of(switch):
    opened = switch.replace("false", "true").replace("Closed", "Open")
    text = next(block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if switch in block)
    assert [one.id for one in findings(yaml.safe_load(text.replace(switch, opened)), "page")] == ["gateway-fails-open"]


def test_each_gateway_that_asks_over_grpc_names_the_plane_and_the_audience():
    assert len(contexts()) == 3, "Contour, kgateway, agentgateway"
    for context in contexts():
        assert context == {edge.EXT_PLANE: "inbound", edge.EXT_AUDIENCE: "airflow", edge.EXT_DAGS: edge.NARROWED}


def test_the_gates_settings_for_istio_load_and_name_what_its_provider_asks(tmp_path):
    [added] = [one for one in MANIFESTS if "http_check" in one]
    [provider] = next(one["extensionProviders"] for one in MANIFESTS if "extensionProviders" in one)
    asks = provider["envoyExtAuthzHttp"]
    whole = {"version": 1, "policy": "policy.yaml", "workers": 4, **added}
    whole["assertion"] = {"issuer": "https://airflow.example.com", "keys": ["assertion.pem"]}
    (tmp_path / "authz.yaml").write_text(json.dumps(whole))
    check = settings.load(tmp_path / "authz.yaml").http_check
    assert check.listen == (f"0.0.0.0:{asks['port']}",)
    assert [f"/check/{one.name}" for one in check.audiences] == [asks["pathPrefix"]]


def test_istio_asks_over_http_with_what_the_gate_reads_and_takes_every_identity_header():
    [provider] = next(one["extensionProviders"] for one in MANIFESTS if "extensionProviders" in one)
    asks = provider["envoyExtAuthzHttp"]
    assert asks["includeRequestHeadersInCheck"] == list(edge.READ_HEADERS)
    assert all(name.startswith(asks["headersToUpstreamOnAllow"][0].rstrip("*")) for name in edge.IDENTITY_HEADERS)
