"""Manifests of Envoy Gateway and Istio, and agentgateway's configuration."""

import pytest
import yaml

from authz.core.doctor import fronts
from authz.core.doctor.envoy_config import is_envoy
from tests.support.doctor_envoy import CHECK, OFF, PER_ROUTE_OFF, bootstrap, cluster, listener, table
from tests.support.doctor_findings import ids, texts

POLICY = {"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "SecurityPolicy", "metadata": {"name": "gate"}}
KEY = ["request.method", "request.host", "request.path", 'request.headers["authorization"]']


def found(document):
    return [
        one
        for where, part in fronts.parts(document, "front.yaml")
        if not is_envoy(part)
        for one in fronts.findings(part, where)
    ]


def config_map(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data}


def security_policy(**check):
    return {**POLICY, "spec": {"extAuth": {"grpc": {}, **check}}}


def agentgateway(**check):
    policies = {"extAuthz": {"host": "localhost:9000", "protocol": {"grpc": {}}, **check}}
    return {"binds": [{"listeners": [{"routes": [{"policies": policies}]}]}]}


def test_documents_are_recognised():
    assert fronts.is_manifest(POLICY)
    assert fronts.is_manifest({"extensionProviders": []})
    assert fronts.is_agentgateway(agentgateway())
    for document in ({}, None, [], {"a": 1}):
        assert not fronts.is_manifest(document)
        assert not fronts.is_agentgateway(document)


OPEN = {
    "Envoy Gateway": security_policy(failOpen=True),
    "Istio": {"extensionProviders": [{"name": "gate", "envoyExtAuthzGrpc": {"service": "gate", "failOpen": True}}]},
    "a patch of Envoy's configuration": {
        **POLICY,
        "kind": "EnvoyPatchPolicy",
        "spec": {"jsonPatches": [{"operation": {"value": {"typed_config": {"failure_mode_allow": True}}}}]},
    },
    "MeshConfig as text": {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "data": {"mesh": "extensionProviders:\n- envoyExtAuthzGrpc:\n    failOpen: true\n"},
    },
    "MeshConfig as one line of JSON": config_map(mesh='{"extensionProviders": [{"x": {"failOpen": true}}]}'),
    "agentgateway as text": config_map(file=yaml.safe_dump(agentgateway(failureMode="allow"))),
    "a text inside a text": config_map(file=yaml.safe_dump(config_map(mesh="failOpen: true"))),
    "a switch in a text of no known kind": config_map(values="x: {failOpen: true}"),
    "a JSON patch": {
        **POLICY,
        "spec": {"jsonPatches": [{"operation": {"op": "add", "path": "/a/0/failure_mode_allow", "value": True}}]},
    },
    "an argument of a container": {**POLICY, "spec": {"args": ["--config", "x: {failOpen: true}"]}},
    "beside the items of a List": {"apiVersion": "v1", "kind": "AllowList", "items": [POLICY], "failOpen": True},
    "in a List": {"apiVersion": "v1", "kind": "List", "items": [security_policy(failOpen=True)]},
    "shadow mode": {**POLICY, "spec": {"patch": {"shadowMode": True}}},
    "agentgateway": agentgateway(failureMode="allow"),
    "agentgateway in Kubernetes": {**POLICY, "spec": {"traffic": {"extAuth": {"failureMode": "FailOpen"}}}},
    "agentgateway under a condition": agentgateway(conditional=[{"extAuthz": {"failureMode": "allow"}}]),
}


@pytest.mark.parametrize("document", OPEN.values(), ids=OPEN)
def test_a_gateway_that_fails_open_is_found(document):
    assert ids(found(document)) == {"gateway-fails-open"}


def test_a_gateway_that_fails_closed_has_no_finding():
    assert found(security_policy()) == []
    assert found(security_policy(failOpen=False)) == []
    assert found(agentgateway(failureMode="deny")) == []
    assert found(agentgateway(failureMode={"denyWithStatus": 503})) == []
    assert found({"apiVersion": "v1", "kind": "ConfigMap", "data": {"mesh": "failOpen: false\n", "x": "a\nb"}}) == []


def test_a_text_that_cannot_be_read_and_names_a_switch_is_said():
    document = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"mesh": "failOpen: [\n", "x": "[\n"}}
    assert texts(found(document), "not-seen") == [
        "front.yaml: ConfigMap: the text `mesh` names a part or a switch of the check"
    ]
    (one,) = found(config_map(envoy="static_resources: {{ .Values.x }}: y"))
    assert one.id == "not-seen"


@pytest.mark.parametrize(
    ("key", "missing"),
    [
        (KEY, ""),
        (["request.method", "request.uri", "request.headers['Authorization']"], ""),
        (["request.method", "request.uri", "request.headers.authorization"], ""),
        (["request.method", "request.host", "request.pathAndQuery", *KEY[3:]], ""),
        (["request.path"], "the method, the host, the caller's token"),
        ([*KEY[:3], "jwt.sub"], "the caller's token"),
        ([*KEY[:3], "source.address"], "the caller's token"),
        ([*KEY[:3], 'size(request.headers["authorization"])'], "the caller's token"),
        ([*KEY[:3], 'request.headers["authorization"] != ""'], "the caller's token"),
        ([*KEY[:3], 'request.headers["x-user"]'], "the caller's token"),
        ([*KEY[:2], KEY[3]], "the path"),
        ([], "the method, the host, the path, the caller's token"),
        ("request.path", "the method, the host, the path, the caller's token"),
    ],
)
def test_a_cache_that_forgets_who_asks_is_found(key, missing):
    some = found(agentgateway(cache={"key": key, "ttl": '"5m"'}))
    assert texts(some, "cache-ignores-caller") == (
        [f"front.yaml: agentgateway: the key of `cache` lacks {missing}"] if missing else []
    )


def test_no_cache_is_no_finding():
    assert found(agentgateway()) == []
    assert found(agentgateway(cache=None)) == []


def test_underscores_and_slashes_of_envoy_gateway():
    policy = {**POLICY, "kind": "ClientTrafficPolicy", "spec": {}}
    assert found(policy) == []
    policy["spec"] = {"headers": {"withUnderscoresAction": "Allow"}, "path": {"disableMergeSlashes": True}}
    assert ids(found(policy)) == {"underscores-allowed", "slashes-not-merged"}
    policy["spec"] = {"headers": {"withUnderscoresAction": "RejectRequest"}, "path": {"disableMergeSlashes": False}}
    assert found(policy) == []


def test_the_name_of_a_manifest_is_its_place():
    assert texts(found(yaml.safe_load(yaml.safe_dump(OPEN["Envoy Gateway"]))), "gateway-fails-open") == [
        "front.yaml: SecurityPolicy gate: `failOpen` is true"
    ]


# --- documents inside others


def test_every_text_that_is_a_configuration_is_a_part_with_its_place():
    document = config_map(envoy=yaml.safe_dump(bootstrap(listener())), script="-- x: [", number="a")
    (_itself, inner) = fronts.parts(document, "front.yaml")
    assert inner == ("front.yaml: ConfigMap c, `envoy`", bootstrap(listener()))
    assert fronts.is_read(document)
    assert not fronts.is_read(config_map(script="x"))
    assert not fronts.is_read({**document, "binaryData": {"other": "eA=="}})
    assert not fronts.is_read(POLICY)


def test_kubectls_copy_of_an_object_is_not_read_twice():
    noted = security_policy()
    key = "kubectl.kubernetes.io/last-applied-configuration"
    noted["metadata"] = {"name": "x", "annotations": {key: str(security_policy(failOpen="x"))}}
    assert len([*fronts.parts(noted, "f")]) == 1
    assert found(noted) == []


def test_items_of_a_list_have_their_own_place():
    policy = {**POLICY, "kind": "ClientTrafficPolicy", "spec": {"headers": {"withUnderscoresAction": "Allow"}}}
    listed = {"apiVersion": "v1", "kind": "List", "items": [policy, security_policy()]}
    assert texts(found(listed), "underscores-allowed") == [
        "front.yaml: ClientTrafficPolicy gate: `withUnderscoresAction` is Allow"
    ]
    assert fronts.is_read(listed)
    assert ids(found({**POLICY, "spec": {"manifest": policy}})) == {"underscores-allowed"}


@pytest.mark.parametrize(
    ("layer", "off"),
    [
        ({CHECK: PER_ROUTE_OFF}, True),
        ({CHECK: OFF}, True),
        ({CHECK: {**OFF, "disabled": False}}, False),
        ({CHECK: {**PER_ROUTE_OFF, "disabled": False}}, False),
        ({"envoy.filters.http.cors": OFF}, False),
    ],
)
def test_a_patch_that_switches_the_check_off_for_a_route_is_found(layer, off):
    patch = {"applyTo": "HTTP_ROUTE", "patch": {"operation": "MERGE", "value": {"typed_per_filter_config": layer}}}
    document = {**POLICY, "kind": "EnvoyFilter", "spec": {"configPatches": [patch]}}
    assert ids(found(document)) == ({"route-unchecked"} if off else set())


@pytest.mark.parametrize(("value", "off"), [(True, True), (False, False)])
def test_a_json_patch_that_switches_the_check_off_is_found(value, off):
    path = f"/virtual_hosts/0/routes/0/typed_per_filter_config/{CHECK}/disabled"
    document = {**POLICY, "spec": {"jsonPatches": [{"operation": {"op": "replace", "path": path, "value": value}}]}}
    assert ids(found(document)) == ({"route-unchecked"} if off else set())


LISTENER = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener", **listener()}
FRAGMENTS = {
    "listeners": {"listeners": [listener()]},
    "an address": {"listeners": [{"address": {}}]},
    "a listener": listener(),
    "a list of listeners": [listener()],
    "clusters": {"clusters": [cluster("a", "127.0.0.1:1")]},
    "routes": table(),
    "xDS": {"resources": [LISTENER]},
}


@pytest.mark.parametrize("fragment", FRAGMENTS.values(), ids=FRAGMENTS)
def test_a_part_of_envoys_configuration_is_none_of_agentgateway_and_is_said(fragment):
    assert fronts.is_fragment(fragment)
    assert not fronts.is_agentgateway(fragment)
    assert ids(found(config_map(part=yaml.safe_dump(fragment)))) == {"not-seen"}


def test_agentgateway_is_no_part_of_envoy():
    for document in (agentgateway(), {"listeners": [{"name": "x", "routes": []}]}, {"resources": [{"name": "x"}]}, []):
        assert not fronts.is_fragment(document)
