"""Settings and policy in one mounted ConfigMap: links into a folder that is replaced as a whole, and then deleted."""

import shutil
import threading

import pytest

from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import POLICY
from tests.integration.pair_of_workers import KEY, TWO, Pair
from tests.support.simulators.idp import IdP


class Mounted(Pair):
    """A gate whose files are in a ConfigMap (`k8s.io/kubernetes/pkg/volume/util.AtomicWriter` lays them out so)."""

    NAMES = ("authz.yaml", "policy.yaml")

    def mount(self):
        """What the files hold now is the ConfigMap's first version."""
        first = self.folder / "..2026_a"
        first.mkdir()
        for name in self.NAMES:
            (self.folder / name).rename(first / name)
            (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..data").symlink_to(first.name)

    def update(self, policy):
        """`kubectl apply`: a new folder, one rename, and the old folder is deleted."""
        old, new = (self.folder / "..data").resolve(), self.folder / "..2026_b"
        shutil.copytree(old, new)
        (new / "policy.yaml").write_text(policy.format(issuer=self.idp.url))
        (self.folder / "..data_tmp").symlink_to(new.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        shutil.rmtree(old)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_new_policy_of_the_config_map_is_loaded(tmp_path, workers):
    with IdP([KEY]) as idp:
        gate = Mounted(tmp_path, idp, settings=TWO.replace("workers: 2", f"workers: {workers}"))
        gate.mount()
        with gate:
            assert {gate.check(index).http for index in range(workers)} == {200}
            gate.update(POLICY.replace('"dags:read", "dag_runs:read"', '"pools:read"'))
            wait_for(
                lambda: {gate.check(index).http for index in range(workers)} == {403},
                "the new policy is not in force",
                pause=threading.Event().wait,
            )
            assert gate.get("/readyz").json()["reasons"] == []
