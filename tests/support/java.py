"""What tests run in Java: the applications of `tests/e2e/java`, built once for each state of their sources."""

import functools
import subprocess
from pathlib import Path

from demo import jetty_jar
from demo.jetty_jar import JARS, QUICK, SOURCES
from tests.support.missing import skip_or_fail

__all__ = ["QUICK", "application"]
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
def application(server: str) -> list[str]:
    """The command that starts the application of `tests/e2e/java` by its "JettyMain" or "TomcatMain"."""
    sources = [*APP.glob("*.java"), SOURCES / "example" / "Trigger.java"]
    jakarta = server == "TomcatMain"
    name = jetty_jar.JAKARTA if jakarta else jetty_jar.FRONT
    if lacking := jetty_jar.missing(name):
        skip_or_fail(f"no {', '.join(lacking)}: scripts/system-packages installs them")
    classpath = f"{jetty_jar.built(name)}:{TOMCAT if jakarta else JETTY}"

    def make(to: Path) -> None:
        to.mkdir()
        others = {"JettyMain.java", "TomcatMain.java"} - {f"{server}.java"}
        copies = [to / one.name for one in sources if one.name not in others]
        for source in sources:
            text = source.read_text()
            text = text.replace("javax.servlet", "jakarta.servlet") if jakarta else text
            (to / source.name).write_text(text)
        subprocess.run(["javac", "-nowarn", "-d", to, "-cp", classpath, *copies], check=True, timeout=300)

    return ["java", "-cp", f"{jetty_jar.once(server, make, sources)}:{classpath}", f"app.{server}"]
