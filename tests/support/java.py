"""Jars of `deploy/fronts/jetty`, built once for each state of its sources."""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.missing import skip_or_fail

SOURCES = Path(__file__).resolve().parents[2] / "deploy" / "fronts" / "jetty"
JARS = Path("/usr/share/java")
_NEEDED = ("servlet-api.jar", "jetty9-server.jar", "jetty9-proxy.jar", "tomcat10-catalina.jar")


QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a server that lives for seconds."""
APP = Path(__file__).resolve().parents[1] / "e2e" / "java"
TOMCAT = ":".join(
    f"{JARS}/tomcat10-{one}.jar"
    for one in (
        *("catalina", "coyote", "util", "util-scan", "api", "juli", "servlet-api", "jsp-api", "el-api"),
        *("annotations-api", "jaspic-api", "jni"),
    )
)
JETTY = ":".join(
    [
        f"{JARS}/servlet-api.jar",
        *(f"{JARS}/jetty9-{one}.jar" for one in ("server", "servlet", "http", "io", "util", "security")),
    ]
)


@functools.cache
def built(name: str) -> Path:
    """The path of `authz-front.jar` or `authz-front-jakarta.jar`. Test processes share it."""
    missing = [one for one in _NEEDED if not (JARS / one).exists()]
    missing += [one for one in ("java", "javac", "jar") if shutil.which(one) is None]
    if missing:
        skip_or_fail(f"no {', '.join(missing)}: scripts/system-packages installs them")

    def make(to: Path) -> None:
        kind = ["jakarta"] if "jakarta" in name else []
        subprocess.run([SOURCES / "build", to, *kind], check=True, timeout=300)

    return _once(name, make, [*SOURCES.glob("src/**/*.java"), SOURCES / "build"]) / name


@functools.cache
def application(server: str) -> list[str]:
    """The command that starts the application of `tests/e2e/java` by its "JettyMain" or "TomcatMain"."""
    sources = [*APP.glob("*.java"), SOURCES / "example" / "Trigger.java"]
    jakarta = server == "TomcatMain"
    classpath = f"{built('authz-front-jakarta.jar' if jakarta else 'authz-front.jar')}:{TOMCAT if jakarta else JETTY}"

    def make(to: Path) -> None:
        to.mkdir()
        others = {"JettyMain.java", "TomcatMain.java"} - {f"{server}.java"}
        copies = [to / one.name for one in sources if one.name not in others]
        for source in sources:
            text = source.read_text()
            text = text.replace("javax.servlet", "jakarta.servlet") if jakarta else text
            (to / source.name).write_text(text)
        subprocess.run(["javac", "-nowarn", "-d", to, "-cp", classpath, *copies], check=True, timeout=300)

    return ["java", "-cp", f"{_once(server, make, sources)}:{classpath}", f"app.{server}"]


def _once(name: str, make: Callable[[Path], None], sources: Sequence[Path]) -> Path:
    """The folder that `make` makes; again when a source differs."""
    digest = hashlib.sha256()
    for file in sorted(sources):
        digest.update(file.read_bytes())
    place = Path(tempfile.gettempdir()) / f"authz-java-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    made = place / f"{name}-{digest.hexdigest()[:16]}"
    with (place / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            making = place / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(made)
    return made
