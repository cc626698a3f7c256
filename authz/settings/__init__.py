"""The settings file `authz.yaml`: where things are, and the limits. The policy says who may do what.

Law: all problems of the file are reported at once, each with its place; an unknown key is an error. Each setting is
defined once: what these sections hold is what is served, and what Envoy's configuration is rendered from. Paths are
relative to the file that names them. Defaults are the safe choice. Every key has its description beside it, and
`docs/settings.md` is generated from these.

Here are the small sections (`admin`, `pages`, `limits`, `keys`, `assertion`, `log`, `audit`, `revocation`, `grants`,
`shutdown`) and the file as a whole; `envoy`, `inbound`, `login`, `egress`, `destinations`, `http_check`,
`fronts`, `run_identity` and `tracing` have a file each.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, PlainValidator, WithJsonSchema

from authz.core.documents import yaml_document
from authz.core.documents.quantities import Duration, FormatVersion, Size
from authz.core.errors import ConfigError, Problem
from authz.core.messages import page_frame
from authz.settings import cpus, endpoints, gate_name, named_files
from authz.settings.audit import Audit, default_spool
from authz.settings.checks import cookies_have_their_own_secret, disagreements, folders_are_apart, one_file_for_two
from authz.settings.envoy import Envoy
from authz.settings.fronts import Front
from authz.settings.gate_name import GateName
from authz.settings.http_check import HttpCheck
from authz.settings.log import SALTS, Log
from authz.settings.named_files import Folder, Loc, ReadFile, SecretFile, WrittenFile
from authz.settings.run_identity import RunIdentity
from authz.settings.salvage import Salvaged
from authz.settings.sections import Address, Disagreement, Section, Tls
from authz.settings.tracing import Tracing
from authz.system.regular_file import read_regular

_MOST_WORKERS: Final = 256
_BESIDE_THE_TOKEN: Final = 64 * 1024
_BESIDE_THE_TOKEN_KIB: Final = 32  # cookies, and everything else that a browser sends
_CLASH_HINT: Final = "leave as many ports free as there are workers, or say how many with `workers`"


def _workers(value: object) -> int | Literal["auto"]:
    """A number of processes, or `auto`."""
    if value == "auto":
        return "auto"
    if type(value) is int and 1 <= value <= _MOST_WORKERS:
        return value
    raise ValueError(f"write a number of processes from 1 to {_MOST_WORKERS}, or auto")


Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1, "maximum": _MOST_WORKERS}]}),
]


class Admin(Section):
    """Metrics and readiness."""

    listen: Address = Field(
        "127.0.0.1:9180", description="address of /metrics, /healthz, /readyz, /jwks.json and /grants"
    )


class Pages(Section):
    """The pages for people who are not let in."""

    organisation: Annotated[str, AfterValidator(page_frame.check_organisation)] = Field(
        "", description="name above every page of the gate and of Envoy's login"
    )
    contact: Annotated[str, AfterValidator(page_frame.check_contact)] = Field(
        "",
        description="contact shown on every page: a mail address or an https URL",
    )

    @property
    def branding(self) -> page_frame.Branding:
        """What the pages say about who runs the gate."""
        return page_frame.Branding(organisation=self.organisation, contact=self.contact)


class Limits(Section):
    """Limits for one caller or for all callers together."""

    token_bytes: Size = Field(
        96 * 1024,
        le=1024 * 1024,
        description="a longer token is refused before it is decoded; Envoy accepts 32 KiB more for all headers",
    )
    message_bytes: Size = Field(
        256 * 1024, description="a longer CheckRequest is refused by gRPC; at least 64 KiB more than `token_bytes`"
    )
    cached_tokens: int = Field(100_000, ge=1, le=10_000_000, description="verified tokens kept per process")
    parked: int = Field(256, ge=0, description="checks that may wait for a key at a time; the next is answered 503")
    wait: Duration = Field(2.0, description="longest wait of one check for a key")

    def disagreements(self) -> Iterator[Disagreement]:
        """If gRPC refused the check, the caller would get a 503 for what is at most a 401."""
        if self.message_bytes < self.token_bytes + _BESIDE_THE_TOKEN:
            yield Disagreement(
                ("message_bytes",) if "message_bytes" in self.model_fields_set else ("token_bytes",),
                "`message_bytes` must be at least 64 KiB more than `token_bytes`",
                "raise `limits.message_bytes`",
                without=(("message_bytes",), ("token_bytes",)),
            )


class Keys(Section):
    """How the issuers' keys are fetched."""

    refresh: Duration = Field(300.0, description="time between background fetches (Cache-Control may shorten it)")
    min_interval: Duration = Field(
        1.0, description="an unknown key id causes at most one fetch per issuer in this time; less than `limits.wait`"
    )
    max_stale: Duration = Field(86400.0, description="how long the last good keys are used while the issuer is down")
    timeout: Duration = Field(3.0, description="longest time of one fetch")
    max_bytes: Size = Field(256 * 1024, description="largest key set or discovery document")


class Assertion(Section):
    """The signed identity that Airflow and other upstreams get."""

    issuer: str = Field(description="`iss` of the assertions, usually the gate's public URL")
    keys: tuple[SecretFile, ...] = Field(
        min_length=1, description="EC P-256 keys, PEM, newest first; a missing first one is created"
    )
    lifetime: Duration = Field(60.0, ge=10, le=60, description="life of one assertion, at most 60s")


class Revocation(Section):
    """Ended sessions and revoked tokens."""

    file: WrittenFile = Field(
        "", description="file of revocations, shared by workers and `authz revoke`; without it, a restart forgets them"
    )
    keep: Duration = Field(
        86400.0, ge=60, description="how long an ended session is remembered; as long as sessions last at the issuer"
    )
    backchannel: Address | None = Field(
        None, description="address where issuers report that a session has ended (OIDC back-channel logout)"
    )
    clients: tuple[str, ...] = Field(
        (), description="`aud` of their logout tokens, besides the issuers' audiences and the login's `client_id`"
    )


class Grants(Section):
    """Temporary access on request, to what the policy's `grantable` says."""

    file: WrittenFile = Field(
        "", description="file of grants, shared by workers and `authz grant --local`; without it, there are no grants"
    )


class Shutdown(Section):
    """Graceful shutdown, without a failed call."""

    drain_delay: Duration = Field(2.0, description="after SIGTERM: serve this long with health NOT_SERVING")
    drain_grace: Duration = Field(5.0, description="then: time for requests in flight to end")

    @property
    def longest(self) -> float:
        """The longest time, in seconds, from SIGTERM to the last answer of a worker."""
        return self.drain_delay + self.drain_grace


class Settings(Section):
    """The whole file."""

    version: FormatVersion = Field(description="version of this format")
    gate: GateName = Field(
        "", description="name of this gate in its records, one of its own for each gate; default: the host's name"
    )
    policy: ReadFile = Field("policy.yaml", description="the policy file")
    shadow: ReadFile = Field(
        "", description="a candidate for the policy, which every decision is compared with; it may be absent"
    )
    state: Folder = Field(
        "", description="private folder for what is used after a restart: the last good policy and key sets"
    )
    listen: tuple[Address, ...] = Field(("127.0.0.1:9190",), min_length=1, description="where Envoy asks us")
    insecure_listen: bool = Field(False, description="allow a plaintext `listen` beyond loopback")
    tls: Tls | None = Field(None, description="TLS of `listen`")
    workers: Workers = Field(
        "auto", description="serving processes, each on its own address; `auto`: one for each CPU that the gate may use"
    )
    engine: Literal["cq", "aio"] = Field(
        "cq", description="serving engine; `cq` falls back to `aio` where it cannot run"
    )
    admin: Admin = Field(Admin(), description="metrics and readiness")
    pages: Pages = Field(Pages(), description="pages for people who are not let in")
    limits: Limits = Field(Limits(), description="bounds")
    keys: Keys = Field(Keys(), description="fetching the issuers' keys")
    assertion: Assertion | None = Field(None, description="signed identity for upstreams")
    log: Log = Field(Log(), description="decision log and messages")
    audit: Audit = Field(Audit(), description="the signed log, and when a decision cannot be recorded")
    revocation: Revocation = Field(Revocation(), description="ended sessions and revoked tokens")
    grants: Grants = Field(Grants(), description="temporary access on request")
    http_check: HttpCheck | None = Field(None, description="checks over HTTP, for fronts other than Envoy")
    fronts: tuple[Front, ...] = Field((), description="fronts other than Envoy: what `authz front` renders")
    run_identity: RunIdentity | None = Field(None, description="which run an outbound call comes from")
    tracing: Tracing | None = Field(None, description="spans for an OpenTelemetry collector")
    shutdown: Shutdown = Field(Shutdown(), description="graceful shutdown")
    envoy: Envoy | None = Field(None, description="what `authz envoy` renders")

    @property
    def worker_count(self) -> int:
        """How many processes serve; with `auto`, one for each CPU available now."""
        return cpus.usable() if self.workers == "auto" else self.workers

    @property
    def all_workers(self) -> int:
        """The same, with those that answer checks over HTTP."""
        return self.worker_count + (self.http_check.workers if self.http_check is not None else 0)

    @property
    def gate_name(self) -> str:
        """The name of this gate."""
        return self.gate or gate_name.of_this_host()

    @property
    def salts(self) -> str:
        """The file of the salts; "" where nothing is hashed."""
        return self.log.salts(self.state, self.audit.log)

    @property
    def spool(self) -> str:
        """The folder where workers hand records over to the writer of a signed log."""
        return self.audit.spool or default_spool(self.audit.log, on_disk=self.audit.durability == "machine")

    def files(self) -> Iterator[named_files.Named]:
        """Every file that the settings name, and that of the salts if no key names it."""
        yield from named_files.named(self)
        if self.salts and not self.log.privacy.salts:
            yield named_files.Named(SALTS, named_files.Use.WRITTEN, self.salts)

    @property
    def authz_endpoints(self) -> tuple[str, ...]:
        """Where Envoy asks: the addresses of all workers."""
        return endpoints.of_all(self.listen, self.worker_count)

    @property
    def headers_kib(self) -> int:
        """The longest headers of a request that Envoy reads: the longest token, and what comes with it."""
        return -(-self.limits.token_bytes // 1024) + _BESIDE_THE_TOKEN_KIB

    @property
    def edge(self) -> Envoy:
        """The section `envoy`, for code that needs one.

        Raises:
            LookupError: there is none.
        """
        if self.envoy is None:
            raise LookupError("there is no `envoy` section")
        return self.envoy


def load(path: Path, *, workers: int | Literal["auto"] | None = None) -> Settings:
    """Read the settings; paths in the result are absolute. `workers` overrides the file's, when given.

    Raises:
        ConfigError: with every problem of the file.
    """
    return parse(read(path), path, workers=workers)


def read(path: Path) -> bytes:
    """The bytes of a settings file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return read_regular(path, yaml_document.MAX_BYTES)
    except OSError as error:
        hint = "name another one with --settings, or begin with `authz init`"
        hint = hint if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([Problem(str(path), 0, 0, f"cannot be read: {error.strerror}", hint)]) from None


def parse(
    data: bytes,
    path: Path,
    *,
    workers: int | Literal["auto"] | None = None,
    engine: Literal["cq", "aio"] | None = None,
) -> Settings:
    """The settings in the bytes of the file `path`, with the command line's overrides; see `load`.

    Raises:
        ConfigError: with every problem of the file.
    """
    document = yaml_document.parse(data, str(path), error=ConfigError)
    settings, problems = yaml_document.validate(document, Settings)
    overrides = {name: value for name, value in (("workers", workers), ("engine", engine)) if value is not None}
    if settings is not None:
        settings = settings.model_copy(update=overrides)
        found = list(_disagreements(settings, path))
    else:
        found = list(_of_the_rest(Salvaged(document.data, Settings, {"version": 1}), overrides, path))
    problems += [document.problem(one.loc, one.text, one.hint) for one in found]
    if settings is None or problems:
        raise ConfigError(problems)
    return named_files.absolute(settings, _folder(path))


def _disagreements(settings: Settings, path: Path) -> Iterator[Disagreement]:
    """Every disagreement of the settings, including those about the name of their file."""
    taken = [(settings.admin.listen, "admin.listen")]
    without: tuple[Loc, ...] = (("listen",), ("admin", "listen"), ("workers",))
    for position, text in endpoints.clashes(settings.listen, settings.worker_count, taken):
        yield Disagreement(("listen", position), text, _CLASH_HINT, without=without)
    if (http := settings.http_check) is not None:
        without = (*without, ("http_check", "listen"), ("http_check", "workers"))
        key = "http_check.listen"
        for position, text in endpoints.clashes(http.listen, http.workers, taken, endpoints.HTTP, key):
            yield Disagreement(("http_check", "listen", position), text, _CLASH_HINT, without=without)
        listen = tuple(one.listen for one in http.fastcgi)
        for position, text in endpoints.clashes(listen, http.workers, taken, endpoints.FASTCGI, "http_check.fastcgi"):
            loc = ("http_check", "fastcgi", position, "listen")
            yield Disagreement(loc, text, _CLASH_HINT, without=(*without, ("http_check", "fastcgi")))
    yield from disagreements(settings)
    settings = named_files.absolute(settings, _folder(path))
    yield from one_file_for_two(settings, path)
    yield from cookies_have_their_own_secret(settings)
    yield from folders_are_apart(settings, path)


def _of_the_rest(rest: Salvaged[Settings], overrides: Mapping[str, object], path: Path) -> Iterator[Disagreement]:
    """The disagreements in the valid part of wrong settings, without those that only left-out values cause."""
    if rest.settings is None:
        return
    for one in _disagreements(rest.settings.model_copy(update=overrides), path):
        loc = rest.original(one.loc)
        if not (rest.stands_in_for(loc) or any(rest.lacks(rest.original(needed)) for needed in one.without)):
            yield one._replace(loc=loc)


def _folder(path: Path) -> Path:
    """The folder that paths are relative to.

    Links stay links: in a ConfigMap the folder that they lead to is replaced, and the old one deleted.
    """
    return path.absolute().parent
