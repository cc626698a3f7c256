"""The manifests of deploy/kubernetes as kubectl renders them."""

import functools
import shutil
import subprocess

import yaml

from tests.e2e.envoy_harness import ROOT
from tests.support.missing import skip_or_fail

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAYS = ("gateway", "sidecar", "gate")


@functools.cache
def text_of(overlay):
    """What `kubectl kustomize` prints for a folder; no test may change what is parsed of it."""
    if shutil.which("kubectl") is None:
        skip_or_fail("kubectl is not installed: scripts/system-packages brings it")
    command = ["kubectl", "kustomize", FOLDER / overlay]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(overlay):
    return list(yaml.safe_load_all(text_of(overlay)))


def of_kind(overlay, kind):
    return {one["metadata"]["name"]: one for one in objects(overlay) if one["kind"] == kind}


def pods():
    """The pod specs of all overlays, by overlay and name."""
    return {
        (overlay, name): one["spec"]["template"]["spec"]
        for overlay in OVERLAYS
        for name, one in of_kind(overlay, "Deployment").items()
    }


def containers(spec):
    return [*spec.get("initContainers", ()), *spec["containers"]]


def is_gate(container):
    return "airflow-envoy-authz" in container["image"]


def is_envoy(container):
    return container["image"].startswith("envoyproxy/envoy:")


def is_ours(container):
    return is_gate(container) or is_envoy(container)
