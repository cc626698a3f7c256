"""The NetworkPolicies of deploy/kubernetes let each pod call what its settings and its policy name."""

from urllib.parse import urlsplit

import pytest
import yaml

from authz.core.loopback import is_loopback
from tests.support.manifests import FOLDER, of_kind

PLACES = {
    "gateway": ("gateway", "authz-gateway", "gateway/authz.yaml"),
    "gate": ("gate", "authz", "gate/authz.yaml"),
    "api-server": ("sidecar", "airflow-api-server", "sidecar/around/api-server.authz.yaml"),
    "worker": ("sidecar", "airflow-worker", "sidecar/around/worker.authz.yaml"),
}
HTTPS, DNS = 443, 53


def called(settings, policy):
    """Host and port of everything that gate and Envoy call by TCP."""
    envoy = settings.get("envoy", {})
    reached = [*envoy.get("inbound", {}).get("upstreams", ()), *envoy.get("egress", {}).get("destinations", ())]
    if "execution" in envoy:
        reached.append(envoy["execution"])
    urls = [one["issuer"] for one in policy["issuers"] if "jwks_file" not in one]
    run = settings.get("run_identity", {})
    urls += [run[key] for key in ("airflow", "jwks_uri") if key in run]
    found = {(*one["address"].rsplit(":", 1),) for one in reached}
    found |= {(parts.hostname, parts.port or HTTPS) for parts in map(urlsplit, urls)}
    return {(host, int(port)) for host, port in found if not is_loopback(host)}


def rules(overlay, workload):
    """The egress rules for a pod; None where nothing limits it."""
    labels = of_kind(overlay, "Deployment")[workload]["spec"]["template"]["metadata"]["labels"]
    specs = [one["spec"] for one in of_kind(overlay, "NetworkPolicy").values()]
    ours = [one for one in specs if one["podSelector"].get("matchLabels", {}).items() <= labels.items()]
    limiting = [one for one in ours if "Egress" in one["policyTypes"]]
    return [rule for one in limiting for rule in one.get("egress", ())] if limiting else None


def opens(rule, host, port, protocol="TCP"):
    """Whether a rule lets through what goes to this port of a service, of the cluster's DNS, or of a host elsewhere."""
    ports = rule.get("ports")
    if ports is not None and not any((one["port"], one["protocol"]) == (port, protocol) for one in ports):
        return False
    return "to" not in rule or any(_is_at(peer, host) for peer in rule["to"])


def _is_at(peer, host):
    if "ipBlock" in peer:
        return not host.endswith(".svc")
    namespace = peer.get("namespaceSelector", {}).get("matchLabels", {}).get("kubernetes.io/metadata.name")
    if host == "kube-dns":
        return namespace == "kube-system" and "podSelector" not in peer
    if not host.endswith(".svc"):
        return False
    service, where, _ = host.split(".")
    labels = {"tier": "airflow", "component": service.removeprefix("airflow-")}  # as the chart's Services select
    return namespace in {None, where} and peer.get("podSelector", {}).get("matchLabels", {}).items() <= labels.items()


@pytest.mark.parametrize("place", PLACES)
def test_each_pod_reaches_what_its_settings_and_its_policy_name(place):
    overlay, workload, path = PLACES[place]
    settings = yaml.safe_load((FOLDER / path).read_text())
    policy = yaml.safe_load((FOLDER / "base" / "policy.yaml").read_text())
    needed = called(settings, policy)
    assert ("idp.example.com", HTTPS) in needed
    found = rules(overlay, workload)
    if found is None:
        assert place == "api-server", "it is limited, as the others are"
        return
    for protocol in ("UDP", "TCP"):
        assert any(opens(rule, "kube-dns", DNS, protocol) for rule in found), protocol
    assert {(host, port) for host, port in needed if not any(opens(rule, host, port) for rule in found)} == set()
    assert not any(opens(rule, "elsewhere.example.com", 25) for rule in found)


def test_what_is_not_named_is_not_open_to_the_gateway():
    found = rules("gateway", "authz-gateway")
    assert not any(opens(rule, "airflow-scheduler.airflow.svc", 8080) for rule in found)
    assert not any(opens(rule, "airflow-api-server.other.svc", 8080) for rule in found)
