"""Build the gate's OCI image without Docker: `make image` runs this, as root, on Debian 12.

Two layers: Debian's Python with the libraries that it needs, extracted by mmdebstrap without running a maintainer
script, and the locked dependencies with our wheel. There is no shell, no package manager and no pip in it. With
`--envoy` the layout has a second image of these layers and one with Envoy. The same Debian packages and the same commit
give the same bytes: entries are sorted, owners are numbers, dates are the commit's.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

from scripts import dist

ROOT = Path(__file__).resolve().parent.parent
SUITE = "bookworm"
SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")  # the first one that is there
PACKAGES = ("base-files", "libpython3.11-stdlib", "libstdc++6", "netbase", "python3.11-minimal", "tzdata")
# What comes along as a dependency of packages' scripts, and what no program reads.
NOT_NEEDED = (
    *("bin", "sbin", "boot", "dev", "home", "media", "mnt", "opt", "root", "srv", "usr/games", "usr/sbin", "var"),
    *("usr/lib/dpkg", "usr/share/dpkg", "usr/share/perl5", "usr/share/man", "usr/share/info", "usr/share/locale"),
    *("usr/share/lintian", "usr/share/debconf", "usr/share/bug", "usr/share/pixmaps", "etc/dpkg", "etc/apt"),
    *(f"usr/lib/python3.11/{name}" for name in ("ensurepip", "idlelib", "lib2to3", "pydoc_data")),
    *("etc/alternatives", "etc/cron.daily", "etc/debconf.conf", "etc/update-motd.d", "etc/profile", "etc/profile.d"),
)
USER = 65532
OWN_FOLDERS = ("run/authz", "var/lib/authz", "var/log/authz")  # the gate's, also where nothing is mounted
SITE = "usr/local/lib/python3.11/dist-packages"
SBOM = "usr/share/sbom/airflow-envoy-authz.cdx.json"
ENVOY_SBOM = "usr/share/sbom/envoy.cdx.json"
PYTHON = "/usr/bin/python3.11"
CONFIG = {
    "User": f"{USER}:{USER}",
    "Entrypoint": [PYTHON, "-I", "-m", "authz"],
    "Cmd": ["serve", "--settings", "/etc/authz/authz.yaml"],
    "Env": ["PATH=/usr/bin", "LANG=C.UTF-8"],
    "StopSignal": "SIGTERM",
    "WorkingDir": "/",
}


def run(*command: str | Path, **environment: str) -> str:
    """Run a program, or end with what it said."""
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def debian(rootfs: Path, archives: Path, sources: Path) -> None:
    """Extract Debian's packages from `sources` into `rootfs`, keep them in `archives`; remove what is not needed."""
    archives.mkdir()
    keep = f'cp "$1"/var/cache/apt/archives/*.deb {archives}'
    include = f"--include={','.join(PACKAGES)}"
    run("mmdebstrap", "--quiet", "--variant=extract", include, f"--extract-hook={keep}", SUITE, rootfs, sources)
    for name in NOT_NEEDED:
        place = rootfs / name
        if place.is_symlink() or place.is_file():
            place.unlink()
        else:
            shutil.rmtree(place, ignore_errors=True)
    for place in (rootfs / "usr" / "lib").glob("*/gconv"):  # conversions of the C library; Python has its own
        shutil.rmtree(place)
    for place in (rootfs / "usr" / "bin").iterdir():
        if str(place.relative_to(rootfs)) != PYTHON[1:]:
            place.unlink()
    for place in (rootfs / "usr" / "share" / "doc").rglob("*"):
        if (place.is_file() and place.name != "copyright") or (place.is_symlink() and not place.exists()):
            place.unlink()
    for folder in ("dev", "proc", "sys", "tmp", *OWN_FOLDERS, "etc/authz", str(Path(SBOM).parent)):
        (rootfs / folder).mkdir(parents=True, exist_ok=True)
    (rootfs / "etc" / "passwd").write_text(
        f"root:x:0:0:root:/:/nonexistent\nauthz:x:{USER}:{USER}:authz:/var/lib/authz:/nonexistent\n"
    )
    (rootfs / "etc" / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")  # most engines bring their own
    (rootfs / "etc" / "nsswitch.conf").write_text("hosts: files dns\n")
    (rootfs / "etc" / "group").write_text(f"root:x:0:\nauthz:x:{USER}:\n")


def control_files(rootfs: Path, archives: Path) -> list[Any]:
    """Write each package's control file to where scanners of images look; return them."""
    status = rootfs / "var" / "lib" / "dpkg" / "status.d"
    status.mkdir(parents=True)
    found = []
    for archive in sorted(archives.glob("*.deb")):
        text = run("dpkg-deb", "--field", archive)
        control = HeaderParser().parsestr(text)
        (status / control["Package"]).write_text(text)
        found.append(control)
    return found


def python_packages(place: Path) -> list[Any]:
    """Install the locked dependencies and our wheel, compiled; return their metadata."""
    site = place / SITE
    with tempfile.TemporaryDirectory() as folder:
        wheel = next(path for path in dist.build(Path(folder)) if path.match("airflow_envoy_authz-*.whl"))
        installed(site, "--only-binary", ":all:", "--require-hashes", "-r", ROOT / "requirements" / "server.lock")
        installed(site, wheel)
    for name in ("bin", "share"):  # commands of packages; units for systemd
        shutil.rmtree(site / name)
    for name in ("direct_url.json", "INSTALLER", "REQUESTED", "RECORD"):  # the machine that built it, and its order
        for path in site.glob(f"*.dist-info/{name}"):
            path.unlink()
    return [HeaderParser().parsestr(path.read_text()) for path in sorted(site.glob("*.dist-info/METADATA"))]


def installed(target: Path, *what: str | Path) -> None:
    """Install packages into a folder, and nothing that they need."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run(*pip, "--no-compile", "--target", target, *what)


def envoy(place: Path) -> None:
    """Envoy as the locked wheel has it, and its own SBOM."""
    with tempfile.TemporaryDirectory() as folder:
        installed(Path(folder), "--require-hashes", "-r", ROOT / "requirements" / "envoy.lock")
        (metadata,) = Path(folder).glob("*.dist-info/METADATA")
        program = place / "usr" / "bin" / "envoy"
        program.parent.mkdir(parents=True)
        shutil.copy(Path(folder, "envoy", "_bin", "envoy"), program)
        wheel = HeaderParser().parsestr(metadata.read_text())
    said = run(program, "--version")  # …/envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
    version = said.partition(" version: ")[2].split("/")[1]
    part = {"name": "envoy", "version": version, "purl": f"pkg:github/envoyproxy/envoy@v{version}"}
    (place / ENVOY_SBOM).parent.mkdir(parents=True)
    (place / ENVOY_SBOM).write_text(cyclonedx([part, *packages([wheel])]))


def compiled(place: Path) -> None:
    """Compile what Python imports: the root is read-only, so neither dates nor hashes are checked."""
    flags = ["-q", "-f", "--invalidation-mode", "unchecked-hash", "-s", str(place), "-p", "/"]
    folders = [str(place / name) for name in ("usr/lib/python3.11", SITE) if (place / name).exists()]
    run(sys.executable, "-m", "compileall", *flags, *folders, PYTHONHASHSEED="0")


def sbom(controls: list[Any], metadata: list[Any]) -> str:
    """CycloneDX 1.6, JSON, of the gate: Debian's packages and Python's."""
    parts = [
        {"name": one["Package"], "version": one["Version"], "purl": f"pkg:deb/debian/{one['Package']}@{one['Version']}"}
        for one in controls
    ]
    return cyclonedx([*parts, *packages(metadata)])


def packages(metadata: list[Any]) -> Iterator[dict[str, str]]:
    """Python's packages as parts of an SBOM."""
    for one in metadata:
        name = one["Name"].lower().replace("_", "-")
        yield {"name": name, "version": one["Version"], "purl": f"pkg:pypi/{name}@{one['Version']}"}


def cyclonedx(parts: list[dict[str, str]]) -> str:
    """The document with these parts."""
    components = [{"type": "library", "bom-ref": part["purl"], **part} for part in parts]
    made = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    return json.dumps(made, indent=1) + "\n"


def entries(place: Path, date: int) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    """All below `place`, sorted, with what may differ from machine to machine replaced."""
    for path in sorted(place.rglob("*")):
        name = str(path.relative_to(place))
        entry = tarfile.TarInfo(name)
        mine = name in OWN_FOLDERS
        entry.uid = entry.gid = USER if mine else 0
        entry.mtime = date
        if path.is_symlink():
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(path.readlink()), 0o777
        elif path.is_dir():
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o750 if mine else 0o755
        elif path.is_file():
            entry.size, entry.mode = path.stat().st_size, 0o755 if os.access(path, os.X_OK) else 0o644
        else:
            continue  # a device: what runs it brings its own
        yield entry, path


def layer(place: Path, date: int) -> bytes:
    """The folder as an uncompressed tar."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry, path in entries(place, date):
            archive.addfile(entry, io.BytesIO(path.read_bytes()) if entry.isfile() else None)
    return made.getvalue()


class Layout:
    """An OCI image layout (image-spec 1.1) in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._images: list[dict[str, Any]] = []
        (folder / "blobs" / "sha256").mkdir(parents=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')

    def blob(self, kind: str, content: bytes) -> dict[str, Any]:
        """Store it; return its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self._folder / "blobs" / "sha256" / digest).write_bytes(content)
        media = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media, "digest": f"sha256:{digest}", "size": len(content)}

    def layer(self, content: bytes) -> tuple[str, dict[str, Any]]:
        """Store a layer; return the digest of its content, and its descriptor."""
        described = self.blob("layer.v1.tar+gzip", gzip.compress(content, 6, mtime=0))
        return f"sha256:{hashlib.sha256(content).hexdigest()}", described

    def image(self, layers: list[tuple[str, dict[str, Any]]], tag: str, created: str, labels: dict[str, str]) -> str:
        """Store an image of these layers beside those before; return the digest of its manifest."""
        config = {
            "created": created,
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {**CONFIG, "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [digest for digest, _described in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob("config.v1+json", json.dumps(config).encode()),
            "layers": [described for _digest, described in layers],
        }
        described = self.blob("manifest.v1+json", json.dumps(manifest).encode())
        self._images.append({**described, "annotations": {"org.opencontainers.image.ref.name": tag}})
        (self._folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": self._images}))
        return str(described["digest"])


def main() -> None:
    """Write the image layout to a folder that is not there yet; print each image's tag and the manifest's digest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    sources = f"apt's sources, such as those of a snapshot of Debian (default: {' or else '.join(SOURCES)})"
    parser.add_argument(
        "--envoy", action="store_true", help="add a second image, with Envoy, under the tag VERSION-envoy"
    )
    parser.add_argument("--sources", type=Path, metavar="FILE", help=sources)
    arguments = parser.parse_args()
    target: Path = arguments.folder.resolve()
    places = [arguments.sources] if arguments.sources else [Path(name) for name in SOURCES]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        sys.exit(f"There is no {' and no '.join(map(str, places))}: name a file with apt's sources with --sources")
    if sys.version_info[:2] != (3, 11):
        sys.exit(
            "The image has Python 3.11, and its modules are compiled by the Python that runs this: use Python 3.11"
        )
    date = int(os.environ.get("SOURCE_DATE_EPOCH") or dist.date_of_last_commit())
    with tempfile.TemporaryDirectory(prefix="authz-image-") as folder:
        rootfs, ours = Path(folder, "rootfs"), Path(folder, "ours")
        debian(rootfs, Path(folder, "debs"), found.resolve())
        controls = control_files(rootfs, Path(folder, "debs"))
        metadata = python_packages(ours)
        (ours / SBOM).parent.mkdir(parents=True)
        (ours / SBOM).write_text(sbom(controls, metadata))
        compiled(rootfs)
        compiled(ours)
        version = next(one["Version"] for one in metadata if one["Name"] == "airflow-envoy-authz")
        labels = {"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "Apache-2.0"}
        created = run("date", "--utc", f"--date=@{date}", "+%Y-%m-%dT%H:%M:%SZ").strip()
        layout = Layout(target)
        layers = [layout.layer(layer(place, date)) for place in (rootfs, ours)]
        print(version, layout.image(layers, version, created, labels))
        if arguments.envoy:
            envoy(Path(folder, "envoy"))
            layers.append(layout.layer(layer(Path(folder, "envoy"), date)))
            print(f"{version}-envoy", layout.image(layers, f"{version}-envoy", created, labels))


if __name__ == "__main__":
    main()
