"""Manifests of Envoy Gateway and Istio, and agentgateway's configuration."""

import pytest
import yaml

from authz.core.doctor import fronts
from tests.support.doctor_findings import ids, texts

POLICY = {"apiVersion": "gateway.envoyproxy.io/v1alpha1", "kind": "SecurityPolicy", "metadata": {"name": "gate"}}
KEY = ["request.method", "request.host", "request.path", 'request.headers["authorization"]']


def found(document):
    return [*fronts.findings(document, "front.yaml")]


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
    assert texts(found(document), "not-seen") == ["front.yaml: ConfigMap: the text `mesh` names a switch of the check"]


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
