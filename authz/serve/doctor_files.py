"""Reads the files that `authz doctor` is given or led to, and finds what is wrong with the files themselves.

Law: nothing is written, and no content is shown, not even in an error. A file that a configuration names and that is
not on this machine is skipped: Envoy may be elsewhere. One that cannot be read, or whose folder may not be entered, is
a finding. A relative path is one from the folder where doctor runs.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from authz.core import cases
from authz.core.doctor import airflow, envoy, envoy_config, envoy_files, fronts
from authz.core.doctor.envoy_files import Holds
from authz.core.doctor.kinds import Finding
from authz.core.doctor.reading import MAX_BYTES, UnreadableError, documents
from authz.core.doctor.site import Site
from authz.core.errors import ConfigError, PolicyError, Problem
from authz.core.model import Plane
from authz.ops.named_files import read_bundle
from authz.serve.file_review import readable_by_all
from authz.settings import Settings
from authz.settings.certificates import expiries
from authz.settings.named_files import Named, Use
from authz.system.regular_file import MOST_SECRET_BYTES, read_regular, why

_ABSENT: Final = (FileNotFoundError, NotADirectoryError, ValueError)  # the last for a NUL in a path
_USES: Final = {Holds.CERTIFICATE: Use.CERTIFICATE, Holds.AUTHORITY: Use.AUTHORITY, Holds.SECRET: Use.SECRET}


def site(settings: Settings | None, file: str) -> tuple[Site, list[Finding]]:
    """What settings and policy say about the place, and what could not be read of it."""
    inbound = settings.envoy.inbound if settings is not None and settings.envoy is not None else None
    if settings is None or inbound is None:
        return Site(), []
    longest, found = 0, []
    try:
        policy = cases.load(read_bundle(Path(settings.policy))).policy
        lives = [one.max_lifetime for one in policy.issuers.values() if Plane.INBOUND in one.audiences]
        longest = max(lives, default=0)
    except (OSError, PolicyError):
        text = f"the policy {settings.policy} cannot be used: lifetimes are not compared with it (`authz lint`)"
        found = [Finding(id="not-seen", where=file, text=text)]
    return (
        Site(
            airflow=tuple(address for upstream in inbound.upstreams for address in upstream.address),
            public_url=inbound.login.public_url if inbound.login is not None else "",
            base_paths=tuple(upstream.base_path or "" for upstream in inbound.upstreams),
            longest=longest,
        ),
        found,
    )


def of_settings(settings: Settings, file: str, now: float) -> list[Finding]:
    """Secrets and certificates that the settings name, and the certificate's name against what people call."""
    found = list(_files(file, settings.files(), now))
    inbound = settings.envoy.inbound if settings.envoy is not None else None
    if inbound is not None and inbound.tls is not None:
        hosts = [host for upstream in inbound.upstreams for host in upstream.hosts if host != "*"]
        names = [inbound.login.public.host] if inbound.login is not None else hosts
        found += _names(file, "envoy.inbound.tls.certificate", inbound.tls.certificate, names)
    return found


def of_proxy(path: Path, site_: Site, now: float) -> list[Finding]:
    """Everything found in the configuration file of a proxy.

    Raises:
        ConfigError: it cannot be read, or is of no kind that is known.
    """
    data = _read(path)
    found = of_document(data, str(path), site_, now)
    parts = (part for document in documents(data) for _place, part in fronts.parts(document, ""))
    if readable_by_all(str(path)) and any(map(envoy_files.holds_secret, parts)):
        found.append(_readable(str(path), "the configuration holds a secret"))
    return found


def of_document(data: bytes, file: str, site_: Site, now: float) -> list[Finding]:
    """The same for its bytes, without the file itself.

    Raises:
        ConfigError: as above.
    """
    found: list[Finding] = []
    for document in _parsed(data, file):
        if not (envoy_config.is_envoy(document) or fronts.is_manifest(document) or fronts.is_agentgateway(document)):
            raise _unknown(document, file)
        for where, part in fronts.parts(document, file):
            if envoy_config.is_envoy(part):
                found += _of_envoy(part, where, site_, now)
            else:
                found += fronts.findings(part, where)
                found += [] if fronts.is_read(part) else [_partly(file)]
    return found


def _of_envoy(document: Any, file: str, site_: Site, now: float) -> Iterator[Finding]:
    read = envoy_config.read(document, file)
    yield from envoy.findings(read, site_)
    yield from _named(document, file, now)
    for certificate, names in envoy_files.served_names(read.listeners):
        yield from _names(file, "certificate_chain", certificate, names)


def _partly(file: str) -> Finding:
    text = "only switches are read here; whether every route is checked, Envoy's own configuration shows"
    return Finding(id="not-seen", where=file, text=text)


def _unknown(document: Any, file: str) -> ConfigError:
    if fronts.is_fragment(document):
        return ConfigError([Problem(file, 0, 0, "this is only a part of Envoy's configuration", fronts.FRAGMENT)])
    text = "this is no configuration of a proxy that is known here"
    hint = "give Envoy's bootstrap or /config_dump, manifests of Envoy Gateway or Istio, or agentgateway's file"
    return ConfigError([Problem(file, 0, 0, text, hint)])


def of_airflow(
    cfg: Path | None, env: Path | None, process: Mapping[str, str], site_: Site, now: float
) -> list[Finding]:
    """Everything found in Airflow's options; without a file of variables, those of this process count.

    Raises:
        ConfigError: a file cannot be read.
    """
    text = _text(cfg) if cfg is not None else ""
    variables = airflow.variables(_text(env)) if env is not None else process
    where = " and ".join(str(path) for path in (cfg, env) if path is not None)
    try:
        options = airflow.options(where, text, variables)
        found = [*airflow.findings(options, site_), *_files(where, _used(airflow.files(options)), now)]
        secrets = {cfg: cfg is not None and airflow.has_secrets(text)}
    except UnreadableError as error:
        raise ConfigError([Problem(str(cfg), 0, 0, str(error))]) from None
    secrets[env] = env is not None and airflow.holds_secrets(variables)
    texts = ((str(path), "it holds secrets of Airflow") for path, holds in secrets.items() if holds)
    return found + [_readable(path, text) for path, text in texts if readable_by_all(path)]


def _parsed(data: bytes, file: str) -> list[Any]:
    try:
        found = documents(data)
    except UnreadableError as error:
        raise ConfigError([Problem(file, 0, 0, str(error))]) from None
    if not found:
        raise ConfigError([Problem(file, 0, 0, "it is empty")])
    return found


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_BYTES)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, f"cannot be read: {why(error)}")]) from None


def _text(path: Path) -> str:
    # `/proc/PID/environ` says that it is empty, so its size is not asked
    data = path.read_bytes() if path.match("/proc/*/environ") else _read(path)
    return data.decode("utf-8", errors="replace")


# --- files that a configuration names


def _named(document: Any, file: str, now: float, *, inside: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """The files of a document, with those that its SDS files name."""
    named = envoy_files.named(document)
    yield from _files(file, _used(named), now)
    for one in named:
        if one.holds is not Holds.SECRETS_CONFIG or one.path in inside:
            continue
        try:
            for inner in documents(read_regular(one.path, MOST_SECRET_BYTES)):
                if envoy_files.holds_secret(inner) and readable_by_all(one.path):
                    yield _readable(file, f"`{one.field}`: {one.path}")
                yield from _named(inner, one.path, now, inside=inside | {one.path})
        except UnreadableError as error:
            yield Finding(id="not-seen", where=file, text=f"`{one.field}`: {one.path}: {error}")
        except _ABSENT:
            continue
        except OSError as error:
            yield Finding(id="not-seen", where=file, text=f"`{one.field}`: {one.path}: {why(error)}")


def _used(named: Iterable[envoy_files.Named]) -> list[Named]:
    return [Named((one.field,), _USES[one.holds], one.path) for one in named if one.holds in _USES]


def _files(where: str, files: Iterable[Named], now: float) -> Iterator[Finding]:
    for one in files:
        try:
            Path(one.path).stat()
        except _ABSENT:
            continue
        except OSError as error:
            yield Finding(id="not-seen", where=where, text=f"`{one.key}`: {one.path}: {why(error)}")
            continue
        if one.use is Use.SECRET and readable_by_all(one.path):
            yield _readable(where, f"`{one.key}`: {one.path}")
        if one.use in {Use.CERTIFICATE, Use.AUTHORITY}:
            yield from _certificate(where, one, now)


def _certificate(where: str, file: Named, now: float) -> Iterator[Finding]:
    try:
        read_regular(file.path, MOST_SECRET_BYTES)
    except OSError as error:
        yield Finding(id="not-seen", where=where, text=f"`{file.key}`: {file.path}: {why(error)}")
        return
    with warnings.catch_warnings():  # about odd certificates in the system's bundle, which no one here can change
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        read = [*expiries([file])]
    for found in read:
        text = found.warning(now)
        if text:
            kind = "certificate-unusable" if found.is_over(now) else "certificate-expiring"
            yield Finding(id=kind, where=where, text=text)


def _readable(where: str, text: str) -> Finding:
    return Finding(id="secret-readable", where=where, text=text)


def _names(where: str, key: str, path: str, names: Iterable[str]) -> Iterator[Finding]:
    """Names that the certificate does not have; nothing for a file that is not here or that others report."""
    try:
        certificate = x509.load_pem_x509_certificates(read_regular(path, MOST_SECRET_BYTES))[0]
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = {one.lower() for one in alternative.get_values_for_type(x509.DNSName)}
        known |= {str(one) for one in alternative.get_values_for_type(x509.IPAddress)}
    except (OSError, ValueError):
        return
    except x509.ExtensionNotFound:
        known = set()
    for name in names:
        bare = name.strip("[]").lower()
        if bare not in known and f"*.{bare.partition('.')[2]}" not in known:
            text = f"`{key}`: the certificate in {path} is not for {name}"
            yield Finding(id="certificate-name", where=where, text=text)
