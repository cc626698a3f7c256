"""`make image`: built twice it is the same; runc runs it as another user, on a read-only root, behind a real Envoy."""

import filecmp
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
RELEASE = ROOT / ".release" / "bin"
MB = 10**6
USER = 65532
CONTAINER = f"authz-test-{os.getpid()}"
VALID = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()) or "") or 0)
"""
CANNOT = [tool for tool in ("mmdebstrap", "umoci", "runc") if not shutil.which(tool)]

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(CANNOT), reason=f"not installed: {CANNOT}; scripts/system-packages brings them"),
    pytest.mark.skipif(os.geteuid() != 0, reason="extracting packages and starting a container need root"),
]


def ran(*command, **environment):
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    place = tmp_path_factory.mktemp("image") / "oci"
    ran(sys.executable, "-m", "scripts.image", place)
    return place


@pytest.fixture(scope="module")
def bundle(image):
    """The image as an independent program unpacks it, with an OCI runtime's configuration beside it."""
    (named,) = json.loads((image / "index.json").read_text())["manifests"]
    tag = named["annotations"]["org.opencontainers.image.ref.name"]
    place = image.with_name("bundle")
    ran("umoci", "unpack", "--image", f"{image}:{tag}", place)
    return place


def contained(bundle, folder):
    """A program that is `authz` inside the image; `folder` is all that it may write to."""
    config = json.loads((bundle / "config.json").read_text())
    process = config["process"]
    entry = process["args"][:4]
    assert entry == ["/usr/bin/python3.11", "-I", "-m", "authz"]
    assert process["user"] == {"uid": USER, "gid": USER}
    process.update(terminal=False, noNewPrivileges=True, capabilities={}, cwd=str(folder))
    config["root"]["readonly"] = True
    config["mounts"].append(
        {"destination": str(folder), "type": "bind", "source": str(folder), "options": ["rbind", "rw"]}
    )
    # The test's Envoy is outside: it shares the network.
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "network"]
    place = folder.parent / "container"
    place.mkdir()
    (place / "rootfs").symlink_to(bundle / "rootfs")
    config["root"]["path"] = str(bundle / "rootfs")
    program = place / "authz"
    program.write_text(f"""#!{sys.executable}
import json, os, sys
config = json.load(open({str(place / "template.json")!r}))
config["process"]["args"] = {entry!r} + sys.argv[1:]
json.dump(config, open({str(place / "config.json")!r}, "w"))
os.execvp("runc", ["runc", "run", "--bundle", {str(place)!r}, {CONTAINER!r}])
""")
    program.chmod(0o755)
    (place / "template.json").write_text(json.dumps(config))
    return program


def test_built_again_it_is_the_same(image, tmp_path):
    ran(sys.executable, "-m", "scripts.image", tmp_path / "again", TZ="Asia/Tokyo", TMPDIR=str(tmp_path))
    names = sorted(str(path.relative_to(image)) for path in image.rglob("*") if path.is_file())
    assert len(names) == 6
    assert filecmp.cmpfiles(image, tmp_path / "again", names, shallow=False) == (names, [], [])


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
    place = bundle / "rootfs" / "usr" / "share" / "sbom" / "airflow-envoy-authz.cdx.json"
    listed = {part["purl"].partition("@")[0] for part in json.loads(place.read_text())["components"]}
    assert {"pkg:deb/debian/libssl3", "pkg:pypi/grpcio", "pkg:pypi/airflow-envoy-authz"} <= listed
    if (RELEASE / "python").exists():
        ran(RELEASE / "python", "-c", VALID, place)


def test_it_serves_a_real_envoy_as_another_user_on_a_read_only_root(bundle, tmp_path):
    folder = tmp_path / "gate0"
    folder.mkdir()
    os.chown(folder, USER, USER)
    program = contained(bundle, folder)
    try:
        with Stack(tmp_path, program=program) as stack:
            assert stack.get("/api/v2/dags", token=stack.token()).status == 200
            assert stack.upstream.only.target == "/api/v2/dags"
            stack.reset()
            assert stack.get("/api/v2/dags").status == 401
            assert stack.upstream.requests == []
            (owner,) = {path.stat().st_uid for path in folder.glob("*.jsonl")}
            assert owner == USER
    finally:
        subprocess.run(["runc", "delete", "--force", CONTAINER], check=False, capture_output=True)


def test_the_dockerfile_has_no_findings():
    if not (RELEASE / "hadolint").exists():
        assert os.environ.get("CI") != "true", "run `make .release/.installed`"
        pytest.skip("hadolint is not installed: run `make .release/.installed`")
    ran(RELEASE / "hadolint", ROOT / "deploy" / "image" / "Dockerfile")
