"""How many processors may be used, on machines, in containers and under quotas of both kinds."""

import os

import pytest

from authz.settings import cpus

V2_MOUNT = "29 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "32 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
PLENTY = 1000


class Machine:
    def __init__(self, root):
        self.root = root
        self.write("proc/self/cgroup", "")
        self.write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda rw\n")

    def usable(self, affinity=PLENTY):
        return cpus.usable(self.root, affinity)

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def v2(self, group, root="/", **files):
        self.write("proc/self/cgroup", f"0::{group}\n")
        self.write("proc/self/mountinfo", V2_MOUNT.format(root=root))
        for folder, text in files.items():
            self.write(f"sys/fs/cgroup/{folder.replace('__', '/')}/cpu.max".replace("/top/", "/"), text)

    def v1(self, group, folder, quota, *, period="100000\n", root="/"):
        self.write("proc/self/cgroup", f"5:devices:/\n4:cpu,cpuacct:{group}\n")
        self.write("proc/self/mountinfo", V1_MOUNT.format(root=root))
        self.write(f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_quota_us", quota)
        self.write(f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_period_us", period)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_without_groups_the_affinity_decides(machine):
    assert machine.usable() == PLENTY
    assert machine.usable(affinity=2) == 2


def test_without_proc_the_affinity_decides(tmp_path):
    assert cpus.usable(tmp_path / "nothing") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", PLENTY),
        ("400000 100000\n", 4),
        ("150000 100000\n", 1),
        ("50000 100000\n", 1),
        ("199999 100000\n", 1),
        ("30000 10000\n", 3),
        ("nonsense\n", PLENTY),
        ("0 100000\n", PLENTY),
        ("100000 0\n", PLENTY),
        ("", PLENTY),
    ],
)
def test_a_v2_quota_is_rounded_down_to_one_at_least(machine, text, expected):
    machine.v2("/pod/app", pod__app=text)
    assert machine.usable() == expected


def test_the_smallest_quota_on_the_way_up_decides(machine):
    machine.v2("/pod/app", pod__app="max 100000", pod="300000 100000", top="700000 100000")
    assert machine.usable() == 3


def test_in_a_cgroup_namespace_the_mount_point_is_the_group(machine):
    machine.v2("/", top="200000 100000")
    assert machine.usable() == 2


def test_a_mount_that_shows_a_part_of_the_hierarchy(machine):
    machine.v2("/docker/abc/inner", root="/docker/abc", inner="500000 100000", top="max 100000")
    assert machine.usable() == 5


def test_a_path_of_the_host_that_is_not_visible_here(machine):
    machine.v2("/kubepods/pod1/abc", root="/other", top="600000 100000")
    assert machine.usable() == 6


def test_a_process_outside_of_its_namespace(machine):
    machine.v2("/../elsewhere", top="600000 100000")
    assert machine.usable() == 6


@pytest.mark.parametrize(
    ("quota", "expected"), [("-1\n", PLENTY), ("250000\n", 2), ("20000\n", 1), ("x\n", PLENTY), ("0\n", PLENTY)]
)
def test_a_v1_quota(machine, quota, expected):
    machine.v1("/app", "app", quota)
    assert machine.usable() == expected


def test_a_v1_quota_above_the_own_group(machine):
    machine.v1("/pod/app", "pod", "800000\n")
    assert machine.usable() == 8


def test_the_affinity_wins_over_a_larger_quota(machine):
    machine.v2("/app", app="800000 100000")
    assert machine.usable(affinity=2) == 2


def test_another_controller_says_nothing(machine):
    machine.v1("/app", "app", "100000\n")
    machine.write("proc/self/cgroup", "4:cpuset:/app\n0::/app\n")
    assert machine.usable() == PLENTY
