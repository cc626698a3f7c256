"""The commands of docs/howto/deploy-kubernetes.md, as far as they need no cluster."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.envoy_harness import ROOT
from tests.support.manifests import FOLDER, pods, text_of

PAGE = (ROOT / "docs" / "howto" / "deploy-kubernetes.md").read_text()
COMMANDS = [
    line for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL) for line in block.splitlines()
]
NEEDS_A_CLUSTER = {"kubectl get --raw /openid/v1/jwks > deploy/kubernetes/base/cluster-keys.json"}


def without_a_cluster(command):
    """The same as far as it can be done here; "" if nothing of it can."""
    if command in NEEDS_A_CLUSTER or command.startswith("helm "):
        return ""
    if command.startswith("kubectl create "):
        return f"{command} --dry-run=client --output=yaml"
    return command.replace("kubectl apply --kustomize ", "kubectl kustomize ").replace(
        "kubectl apply --filename ", "cat "
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A copy of the manifests, and the files that a reader has."""
    text_of("gateway")  # skips where there is no kubectl
    place = tmp_path_factory.mktemp("page")
    shutil.copytree(FOLDER, place / "deploy" / "kubernetes")
    for name in ("tls.crt", "tls.key", "ca.crt", "orders.token"):
        (place / name).write_text("x")
    return place


def test_every_command_works_as_far_as_it_needs_no_cluster(folder):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    made = {}
    for command in COMMANDS:
        if here := without_a_cluster(command):
            done = subprocess.run(
                ["bash", "-ec", here],
                cwd=folder,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (command, done.stderr)
            if command.startswith("kubectl create secret "):
                [secret] = yaml.safe_load_all(done.stdout)
                made[secret["metadata"]["name"]] = set(secret["data"])
    keys = yaml.safe_load((folder / "deploy/kubernetes/sidecar/around/airflow-tasks.json").read_text())["keys"]
    assert [key["kty"] for key in keys] == ["OKP"]
    assert made == {
        "authz-assertion": {"assertion.pem"},
        "airflow-tasks": {"airflow-tasks.pem"},
        "airflow-tls": {"tls.crt", "tls.key", "ca.crt"},
        "egress-credentials": {"orders.token"},
    }


def test_the_secrets_that_the_page_makes_are_those_that_the_pods_mount():
    mounted = set()
    for (overlay, _name), spec in pods().items():
        if overlay == "sidecar":
            for volume in spec["volumes"]:
                sources = volume.get("projected", {}).get("sources", [])
                mounted |= {source["secret"]["name"] for source in sources if "secret" in source}
                mounted |= {volume["secret"]["secretName"]} if "secret" in volume else set()
    made = set(re.findall(r"kubectl create secret generic (\S+)", PAGE))
    assert mounted - made == {"airflow-login"}, "optional, and described beside the login"
    assert made <= mounted


def test_helm_gets_files_that_are_there():
    [command] = [line for line in COMMANDS if line.startswith("helm ")]
    assert [name for name in re.findall(r"--values (\S+)", command) if not (ROOT / name).is_file()] == []


def test_every_folder_of_the_manifests_is_described():
    readme = (FOLDER / "README.md").read_text()
    assert [one.name for one in FOLDER.iterdir() if one.name != "README.md" and f"`{one.name}" not in readme] == []
