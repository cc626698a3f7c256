"""What doctor finds in Airflow's options: `airflow.cfg` and the `AIRFLOW__SECTION__KEY` variables, which win over it.

Law: pure; values are compared, and only names, addresses and numbers are printed. Defaults are those of Airflow 3.
"""

import configparser
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from authz.core.doctor.envoy_files import Holds, Named
from authz.core.doctor.kinds import Finding
from authz.core.doctor.reading import UnreadableError
from authz.core.doctor.site import Site
from authz.core.doctor.tree import label
from authz.core.loopback import names_loopback
from authz.core.urls import Url

_SIMPLE: Final = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
_OURS: Final = "authz.airflow."
_TRUE: Final = {"t", "true", "1"}
_COUNTS: Final = tuple(f"proxy_fix_x_{what}" for what in ("for", "proto", "host", "port", "prefix"))
_SECRETS: Final = (
    ("core", "fernet_key"),
    ("database", "sql_alchemy_conn"),
    ("api", "secret_key"),
    ("api_auth", "jwt_secret"),
    ("webserver", "secret_key"),
    ("celery", "broker_url"),
    ("celery", "result_backend"),
)
_SECRET_FILES: Final = (
    ("api", "ssl_key"),
    ("api_auth", "jwt_private_key_path"),
    ("core", "simple_auth_manager_passwords_file"),
    ("api", "client_ssl_key"),
)
_PREFIX: Final = "AIRFLOW__"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Airflow's options by section and key, and the environment of its API server; values are not for printing."""

    where: str
    values: Mapping[tuple[str, str], str]
    environment: Mapping[str, str]

    def get(self, section: str, key: str, default: str = "") -> str:
        """The option, or the default."""
        return self.values.get((section, key), default).strip()


def options(where: str, text: str, environment: Mapping[str, str]) -> Options:
    """The options of a configuration file and of variables over it.

    Raises:
        UnreadableError: the file is not one of Airflow's.
    """
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        raise UnreadableError("it is not a configuration of Airflow: `[section]` and `key = value`") from None
    values = {(part.lower(), key.lower()): value for part in parser.sections() for key, value in parser.items(part)}
    for name, value in environment.items():
        section, found, key = name.removeprefix(_PREFIX).partition("__")
        if name.startswith(_PREFIX) and found:
            values[section.lower(), key.lower()] = value
    return Options(where=where, values=values, environment=environment)


def variables(text: str) -> dict[str, str]:
    """Variables in a file: `NAME=value` lines, also with quotes or `export`, or as in `/proc/PID/environ`."""
    found = {}
    for line in text.replace("\0", "\n").splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            value = value.strip()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
            found[name.strip()] = value[1:-1] if quoted else value
    return found


def has_secrets(text: str) -> bool:
    """Whether this text of a configuration file holds secrets of Airflow."""
    found = options("", text, {})
    return any(found.get(*place) for place in _SECRETS)


def holds_secrets(environment: Mapping[str, str]) -> bool:
    """Whether these variables hold secrets of Airflow."""
    found = options("", "", environment)
    return any(found.get(*place) for place in _SECRETS)


def files(found: Options) -> Iterator[Named]:
    """The files with secrets, and the certificate, that the options name."""
    for section, key in _SECRET_FILES:
        if path := found.get(section, key):
            yield Named(field=f"[{section}] {key}", path=path, holds=Holds.SECRET)
    if path := found.get("api", "ssl_cert"):
        yield Named(field="[api] ssl_cert", path=path, holds=Holds.CERTIFICATE)


def findings(found: Options, site: Site) -> Iterator[Finding]:
    """Everything found in the options of one Airflow."""
    manager = found.get("core", "auth_manager", _SIMPLE) or _SIMPLE
    ours = manager.startswith(_OURS)
    if not ours:
        text = f"`[core] auth_manager` is {label(manager)}"
        yield Finding(id="auth-manager", where=found.where, text=text)
    if manager == _SIMPLE and _true(found.get("core", "simple_auth_manager_all_admins")):
        text = "`[core] simple_auth_manager_all_admins` is true, with SimpleAuthManager"
        yield Finding(id="all-admin", where=found.where, text=text)
    host = found.get("api", "host", "0.0.0.0") or "0.0.0.0"
    if not names_loopback(host.lower()):
        yield Finding(id="airflow-open", where=found.where, text=f"`[api] host` is {label(host)}")
    yield from _base_url(found, site)
    yield from _proxy_headers(found, manager)
    if site.longest and not ours:
        yield from _lifetimes(found, site, manager)


def _base_url(found: Options, site: Site) -> Iterator[Finding]:
    text = found.get("api", "base_url") or found.get("webserver", "base_url")
    try:
        url = Url.parse(text) if text else None
    except ValueError:
        yield Finding(id="base-url", where=found.where, text="`[api] base_url` is no http or https URL")
        return
    path = url.path.rstrip("/") if url is not None else ""
    if site.airflow and path not in site.base_paths:
        known = ", ".join(one or "none" for one in site.base_paths)
        text_ = f"`[api] base_url` has the path {label(path or '/')}; `base_path` of the upstreams: {known}"
        yield Finding(id="base-path", where=found.where, text=text_)
    public = site.public_url.rstrip("/")
    if public and (url is None or url.origin != public):
        text_ = f"`[api] base_url` is {label(url.origin) if url else 'not set'}; people use {label(public)}"
        yield Finding(id="base-url", where=found.where, text=text_)
    elif url is not None and url.scheme == "http" and not names_loopback(url.host.strip("[]")):
        yield Finding(
            id="base-url", where=found.where, text=f"`[api] base_url` is {label(url.origin)}, over plain http"
        )


def _proxy_headers(found: Options, manager: str) -> Iterator[Finding]:
    if "*" in found.environment.get("FORWARDED_ALLOW_IPS", "").replace(" ", "").split(","):
        yield Finding(id="proxy-headers", where=found.where, text="`FORWARDED_ALLOW_IPS` is `*`: any peer is trusted")
    if "fab" not in manager.lower():
        return
    fixed = _true(_fab(found, "enable_proxy_fix", "False"))
    over_tls = found.get("api", "base_url").startswith("https:")
    if over_tls and not fixed:
        text = "`[fab] enable_proxy_fix` is not true, and `[api] base_url` is https"
        yield Finding(id="proxy-headers", where=found.where, text=text)
    for name in _COUNTS if fixed else ():
        count = _fab(found, name, "1")
        if count not in {"0", "1"}:
            text = f"`[fab] {name}` is {label(count)}: values that the caller sent are accepted"
            yield Finding(id="proxy-headers", where=found.where, text=text)


def _true(value: str) -> bool:
    """As Airflow's `getboolean` reads it: what follows a `#` is a comment."""
    return value.partition("#")[0].strip().lower() in _TRUE


def _fab(found: Options, key: str, default: str) -> str:
    return found.get("fab", key) or found.get("webserver", key) or default


def _lifetimes(found: Options, site: Site, manager: str) -> Iterator[Finding]:
    """Sessions and tokens of Airflow's own; the gate's auth managers use none."""
    lives = [("api_auth", "jwt_expiration_time", "86400", 1)]
    if "fab" in manager.lower():
        lives.append(("fab", "session_lifetime_minutes", "43200", 60))
    for section, key, default, unit in lives:
        value = found.get(section, key) or default
        if not value.isdecimal() or int(value) * unit > site.longest:
            shown = value if value.isdecimal() else "not a number"
            text = f"`[{section}] {key}` is {shown}; the policy accepts tokens of at most {site.longest} s"
            yield Finding(id="login-outlives-token", where=found.where, text=text)
