"""Jars of `deploy/fronts/jetty`, built once for each state of its sources."""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support.missing import skip_or_fail

SOURCES = Path(__file__).resolve().parents[2] / "deploy" / "fronts" / "jetty"
JARS = Path("/usr/share/java")
_NEEDED = ("servlet-api.jar", "jetty9-server.jar", "jetty9-proxy.jar", "tomcat10-embed-core.jar")


@functools.cache
def built(name: str) -> Path:
    """The path of `authz-front.jar` or `authz-front-jakarta.jar`. Test processes share it."""
    missing = [one for one in _NEEDED if not (JARS / one).exists()]
    missing += [one for one in ("java", "javac", "jar") if shutil.which(one) is None]
    if missing:
        skip_or_fail(f"no {', '.join(missing)}: scripts/system-packages installs them")
    digest = hashlib.sha256()
    for file in sorted([*SOURCES.glob("src/**/*.java"), SOURCES / "build"]):
        digest.update(file.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"authz-jetty-{os.getuid()}-{digest.hexdigest()[:16]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / name).exists():
            made = folder / "made"
            kind = ["jakarta"] if "jakarta" in name else []
            subprocess.run([SOURCES / "build", made, *kind], check=True, timeout=300)
            (made / name).rename(folder / name)
    return folder / name
