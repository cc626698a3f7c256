"""deploy/kubernetes, rendered by kubectl: valid for four versions of Kubernetes, confined, and one with itself."""

import json
import subprocess
from collections import defaultdict

import pytest
import yaml

from tests.e2e.envoy_harness import ROOT
from tests.support.manifests import (
    FOLDER,
    OVERLAYS,
    containers,
    is_envoy,
    is_gate,
    is_ours,
    objects,
    of_kind,
    pods,
    text_of,
)
from tests.support.missing import skip_or_fail

TOOLS = ROOT / ".manifests" / "bin"
VALIDATE = """
import sys, yaml, kubernetes_validate as tool
versions = sorted({one.split(".")[1] for one in tool.utils.all_versions()}, key=int)[-4:]
print(*versions)
for document in yaml.safe_load_all(sys.stdin):
    for version in versions:
        try:
            tool.validate(document, f"1.{version}", strict=True)
        except tool.ValidationError as error:
            print(version, document["kind"], document["metadata"]["name"], *error.path, error.message)
        except tool.SchemaNotFoundError as error:
            print("unknown", document["kind"])
"""
# What kubectl 1.20 (kustomize 2.0.3, Debian 12) and today's both know.
KNOWN = {"apiVersion", "kind", "namespace", "bases", "resources", "configMapGenerator", "generatorOptions", "images"}
CONFINED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
POD_LABELS = {"name", "component", "part-of"}
# Keys of the chart's values that are used here. Sources: chart/values.schema.json of apache/airflow for Airflow 3.0.5
# (apiServer.*, workers.*, securityContexts), its templates (config, ports, networkPolicies, images), the parameters of
# chart 1.21.0 (createUserJob.defaultUser) and the release notes of 1.20.0 to 1.22.0: `workers.extra…` are deprecated
# from 1.21.0 on.
CHART = {
    "allowPodLaunching": None,
    "airflowVersion": None,
    "apiServer": {
        *("args", "env", "extraInitContainers", "extraVolumeMounts", "extraVolumes", "labels", "livenessProbe"),
        *("networkPolicy", "readinessProbe", "service", "startupProbe"),
    },
    "config": None,
    "createUserJob": {"defaultUser"},
    "enableBuiltInSecretEnvVars": {"AIRFLOW__API_AUTH__JWT_SECRET"},
    "images": {"airflow"},
    "networkPolicies": {"enabled"},
    "ports": {"apiServer"},
    "scheduler": {"extraVolumes", "extraVolumeMounts"},
    "securityContexts": {"pod", "containers"},
    "workers": {"env", "extraInitContainers", "extraVolumes", "labels"},
}


def ours():
    """Every container of the gate's image and of Envoy's, with its pod and a name for messages."""
    return [
        (spec, one, f"{overlay} {name} {one['name']}")
        for (overlay, name), spec in pods().items()
        for one in containers(spec)
        if is_ours(one)
    ]


def all_objects():
    return [(overlay, one) for overlay in OVERLAYS for one in objects(overlay)]


def selects(selector, labels):
    return selector.items() <= labels.items()


def pods_selected(overlay, selector):
    """The names of an overlay's Deployments whose pods have these labels."""
    return {
        name
        for name, one in of_kind(overlay, "Deployment").items()
        if selects(selector, one["spec"]["template"]["metadata"]["labels"])
    }


def ports_of(spec):
    """Names and numbers."""
    return {word for one in containers(spec) for port in one.get("ports", ()) for word in port.values()}


def tool(*command, text=""):
    if not (TOOLS / "python").exists():
        skip_or_fail("what checks manifests is not installed: run `make .manifests/.installed`")
    name, *rest = command
    return subprocess.run([TOOLS / name, *rest], input=text, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("place", sorted(FOLDER.rglob("kustomization.yaml")), ids=lambda place: place.parent.name)
def test_a_kustomization_has_only_what_old_and_new_kubectl_know(place):
    read = yaml.safe_load(place.read_text())
    assert set(read) <= KNOWN
    assert all((place.parent / name).is_file() for name in read.get("resources", ()))
    assert all((place.parent / name).is_dir() for name in read.get("bases", ()))


def test_four_versions_of_kubernetes_accept_every_object():
    text = "\n---\n".join(map(text_of, OVERLAYS))
    done = tool("python", "-c", VALIDATE, text=text)
    assert done.returncode == 0, done.stderr
    versions, *found = done.stdout.splitlines()
    assert len(versions.split()) == 4
    assert set(found) == {"unknown ServiceMonitor"}, "Prometheus's own kind is checked below"
    wrong = tool("python", "-c", VALIDATE, text=text.replace("startupProbe", "startUpProbe"))
    assert "startUpProbe" in wrong.stdout, "the check above would not have noticed a mistake"


def findings(folder, texts):
    for name, text in texts.items():
        (folder / f"{name}.yaml").write_text(text)
    done = tool("checkov", "--framework", "kubernetes", "--skip-download", "--output", "json", "--directory", folder)
    assert done.stdout.startswith("{"), done.stderr
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0
    return {(one["check_id"], one["resource"]) for one in report["results"]["failed_checks"]}


def test_checkov_finds_what_is_explained_and_nothing_else(tmp_path):
    explained = yaml.safe_load((FOLDER / "exceptions.yaml").read_text())
    assert all(one["why"] for one in explained)
    texts = {overlay: text_of(overlay) for overlay in OVERLAYS}
    assert findings(tmp_path, texts) == {(one["check"], place) for one in explained for place in one["in"]}
    worse = {"gateway": texts["gateway"].replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")}
    assert ("CKV_K8S_22", "Deployment.authz.authz-gateway") in findings(tmp_path, worse), "it notices a mistake"


def test_gate_and_envoy_are_confined():
    found = ours()
    assert len(found) == 10
    for spec, container, name in found:
        assert container["securityContext"] == CONFINED, name
        assert spec["automountServiceAccountToken"] is False, name
        for kind in ("requests", "limits"):
            assert set(container["resources"][kind]) == {"cpu", "memory"}, name
        assert container["image"].rpartition(":")[2] not in {"", "latest"}, name


def test_what_runs_on_is_probed():
    for spec, container, name in ours():
        runs_on = container in spec["containers"] or container.get("restartPolicy") == "Always"
        probes = {kind: container.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")}
        if is_gate(container) and runs_on:
            paths = {kind: probe["httpGet"]["path"] for kind, probe in probes.items()}
            assert paths == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}, name
        elif is_envoy(container) and container.get("ports"):
            assert all(probes.values()), name
        else:  # one that ends, or that listens on loopback only
            assert not any(probes.values()), name


def test_each_secret_is_mounted_only_where_it_is_used():
    """Containers of a pod share its network, not its files: so tasks read no credential, and cannot ask the gate."""
    holders = defaultdict(set)
    for spec in pods().values():
        for one in containers(spec):
            kind = "gate" if is_gate(one) else "envoy" if is_envoy(one) else "airflow"
            kind = "init" if one["name"].endswith("envoy-config") else kind
            for mount in one.get("volumeMounts", ()):
                holders[mount["mountPath"]].add(kind)
    assert holders["/etc/authz-assertion"] == {"gate"}
    assert holders["/var/run/secrets/authz"] == {"gate"}
    assert holders["/etc/airflow-tls"] == {"envoy"}
    assert holders["/etc/egress-credentials"] == {"envoy"}
    assert holders["/etc/airflow-login"] == {"envoy", "init"}
    assert holders["/run/authz"] == {"gate", "envoy"}
    assert [path for path, kinds in holders.items() if "airflow" in kinds] == ["/etc/airflow-tasks"]
    [worker] = pods()["sidecar", "airflow-worker"]["containers"]
    assert "volumeMounts" not in worker, "with that key a task could be any other"


def test_everything_has_the_usual_labels():
    for overlay, one in all_objects():
        labels = {name.removeprefix("app.kubernetes.io/") for name in one["metadata"]["labels"]}
        assert {"name", "part-of"} <= labels, (overlay, one["kind"], one["metadata"]["name"])
        if one["kind"] == "Deployment":
            inside = one["spec"]["template"]["metadata"]["labels"]
            assert {name.removeprefix("app.kubernetes.io/") for name in inside} >= POD_LABELS
            assert selects(one["spec"]["selector"]["matchLabels"], inside)


def test_namespaces_enforce_the_restricted_standard():
    found = [one["metadata"]["labels"] for _overlay, one in all_objects() if one["kind"] == "Namespace"]
    assert len(found) == len(OVERLAYS)
    assert {labels["pod-security.kubernetes.io/enforce"] for labels in found} == {"restricted"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_selects_pods_selects_some(overlay):
    deployments = of_kind(overlay, "Deployment")
    for one in of_kind(overlay, "Service").values():
        chosen = pods_selected(overlay, one["spec"]["selector"])
        assert chosen
        open_ = [ports_of(pods()[overlay, name]) for name in chosen]
        assert all(port["targetPort"] in of_pod for port in one["spec"]["ports"] for of_pod in open_)
    for one in of_kind(overlay, "PodDisruptionBudget").values():
        assert pods_selected(overlay, one["spec"]["selector"]["matchLabels"])
    for one in of_kind(overlay, "HorizontalPodAutoscaler").values():
        assert one["spec"]["scaleTargetRef"]["name"] in deployments
    for name, one in deployments.items():
        for spread in one["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert pods_selected(overlay, spread["labelSelector"]["matchLabels"]) == {name}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_prometheus_finds_every_gate_under_the_job_that_the_alerts_name(overlay):
    [monitor] = of_kind(overlay, "ServiceMonitor").values()
    spec = monitor["spec"]
    assert set(spec) == {"jobLabel", "selector", "endpoints"}, "fields of monitoring.coreos.com/v1"
    [service] = [
        one
        for one in of_kind(overlay, "Service").values()
        if selects(spec["selector"]["matchLabels"], one["metadata"]["labels"])
    ]
    assert service["metadata"]["labels"][spec["jobLabel"]] == "authz"
    [endpoint] = spec["endpoints"]
    assert [port["port"] for port in service["spec"]["ports"] if port["name"] == endpoint["port"]] == [9180]
    assert pods_selected(overlay, service["spec"]["selector"]) == set(of_kind(overlay, "Deployment"))


def reachable(overlay):
    """By pod, the ports that NetworkPolicies open: to everyone (True) or to some."""
    found = {name: {} for name in of_kind(overlay, "Deployment")}
    for policy in of_kind(overlay, "NetworkPolicy").values():
        spec = policy["spec"]
        for name in pods_selected(overlay, spec["podSelector"].get("matchLabels", {})):
            assert "Ingress" in spec["policyTypes"]
            for rule in spec.get("ingress", ()):
                for port in rule["ports"]:
                    found[name][port["port"]] = "from" not in rule
    return found


def test_only_envoy_and_prometheus_have_ports_that_others_reach():
    assert reachable("gateway") == {"authz-gateway": {8443: True, 9180: False}}
    assert reachable("gate") == {"authz": {9190: False, 9180: False}}
    assert reachable("sidecar") == {
        "airflow-api-server": {8443: True, 8091: False, 9180: False},
        "airflow-worker": {8793: False, 9180: False},
    }


def values(*names):
    return [yaml.safe_load((FOLDER / "helm" / f"{name}.yaml").read_text()) for name in names]


@pytest.mark.parametrize(
    ("name", "part", "workload"),
    [("values-sidecar", "apiServer", "api-server"), ("values-workers", "workers", "worker")],
)
def test_the_charts_values_have_the_containers_of_the_overlay(name, part, workload):
    [read] = values(name)
    spec = pods()["sidecar", f"airflow-{workload}"]
    assert read[part]["extraInitContainers"] == spec["initContainers"]
    assert read[part]["extraVolumes"] == spec["volumes"]
    assert read[part].get("extraVolumeMounts", []) == spec["containers"][0].get("volumeMounts", [])
    assert read[part]["labels"] == {"authz-gate": "true"}


@pytest.mark.parametrize("name", sorted(path.stem for path in (FOLDER / "helm").glob("*.yaml")))
def test_the_charts_values_use_only_keys_that_were_looked_up(name):
    [read] = values(name)
    for key, value in read.items():
        known = CHART[key]
        assert known is None or value.keys() <= known


def test_the_charts_values_leave_airflow_no_login_of_its_own_and_no_port():
    common, sidecar, gateway = values("values", "values-sidecar", "values-gateway")
    assert common["config"]["core"]["auth_manager"] == "authz.airflow.auth_manager.AuthzAuthManager"
    assert common["createUserJob"] == {"defaultUser": {"enabled": False}}
    assert common["networkPolicies"] == {"enabled": True}
    environment = {one["name"]: one["value"] for one in sidecar["apiServer"]["env"]}
    assert environment == {"AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": "8080"}
    assert sidecar["ports"]["apiServer"] == 8443
    assert {port["port"] for port in sidecar["apiServer"]["service"]["ports"]} == {8443, 8091}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert sidecar["apiServer"][probe]["scheme"] == "HTTPS"
    peers = gateway["apiServer"]["networkPolicy"]["ingress"]["from"]
    assert (
        peers[0]["podSelector"]["matchLabels"].items()
        <= {**of_kind("gateway", "Deployment")["authz-gateway"]["spec"]["template"]["metadata"]["labels"]}.items()
    )
    assert peers[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] == "authz"
