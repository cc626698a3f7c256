"""The jars of `deploy/fronts/jetty`, built by its own script, once for each state of the sources.

Law: everyone of this machine who needs one shares it, and each sees it whole: it is renamed into its place.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).resolve().parent.parent / "deploy" / "fronts" / "jetty"
JARS: Final = Path("/usr/share/java")
FRONT: Final = "authz-front.jar"
JAKARTA: Final = "authz-front-jakarta.jar"
QUICK: Final = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a server that is to start soon, not to serve long."""
_PROGRAMS: Final = ("java", "javac", "jar")
_SERVERS: Final = {FRONT: ("servlet-api", "jetty9-server", "jetty9-proxy"), JAKARTA: ("tomcat10-catalina",)}


def missing(name: str) -> list[str]:
    """What this machine lacks to build and run `name`."""
    programs = [one for one in _PROGRAMS if shutil.which(one) is None]
    return programs + [f"{one}.jar" for one in _SERVERS[name] if not (JARS / f"{one}.jar").exists()]


def built(name: str) -> Path:
    """The path of FRONT or JAKARTA, built if it has to be.

    Raises:
        subprocess.CalledProcessError: it cannot be built.
    """

    def make(to: Path) -> None:
        kind = ["jakarta"] if name == JAKARTA else []
        subprocess.run([SOURCES / "build", to, *kind], check=True, timeout=300, stdin=subprocess.DEVNULL)

    return once(name, make, [*SOURCES.glob("src/**/*.java"), SOURCES / "build"]) / name


def once(name: str, make: Callable[[Path], None], sources: Sequence[Path]) -> Path:
    """The folder that `make` makes; made again when a source differs."""
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(file.read_bytes())
    place = Path(tempfile.gettempdir()) / f"authz-java-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise PermissionError(f"{place} is another user's")
    made = place / f"{name}-{digest.hexdigest()[:16]}"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            making = place / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(made)
    return made
