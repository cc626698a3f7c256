"""The `envoy` section of the settings file: what `authz envoy` renders.

Law: that of `authz.settings`, of which this is a part; nothing here imports the Envoy types. The keys are described
here; `docs/settings.md` is generated from that.
"""

import ipaddress
from collections.abc import Iterator
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from authz.core.addresses import HostPort, parse_address, same_place
from authz.core.documents.quantities import Duration, Size
from authz.core.documents.wording import Mistake
from authz.settings.egress import Egress
from authz.settings.inbound import Inbound
from authz.settings.named_files import Authority, Certificate, Folder, Loc, SecretFile, WrittenFile
from authz.settings.sections import (
    SYSTEM_CA,
    Disagreement,
    IdleTimeout,
    ListenAddress,
    LongestStream,
    Place,
    Places,
    Section,
    duplicates,
)
from authz.settings.to_airflow import ToAirflow

SHORTEST_CHECK: Final = 0.05


def _admin(text: str) -> str:
    """Only this machine: Envoy's admin interface has no login."""
    admin = parse_address(text)
    if isinstance(admin, HostPort) and not (admin.is_ip and ipaddress.ip_address(admin.host).is_loopback):
        raise Mistake(
            f"{text!r}: Envoy's admin interface has no login: only loopback or unix:",
            "write 127.0.0.1:9901, or unix:/run/envoy/admin.sock",
        )
    return text


class Execution(ToAirflow, Section):
    """Envoy's listener for workers, in front of Airflow's execution API."""

    listen: ListenAddress = Field(
        "127.0.0.1:8091", description="address of the listener: workers' `execution_api_server_url`"
    )
    address: Places = Field(description="host:port of Airflow's API server, or a list of them")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the host of `address`")
    idle_timeout: IdleTimeout = 300.0
    longest_stream: LongestStream = 3600.0

    def disagreements(self) -> Iterator[Disagreement]:
        """TLS options without TLS, and an Airflow that is Envoy itself."""
        yield from self.about_tls()
        for position, address in enumerate(self.address):
            if same_place(address, self.listen):
                yield Disagreement(
                    ("address", position),
                    f"{address!r}: this is the execution listener itself, which would call itself",
                    "write the address of Airflow's API server",
                    without=(("listen",),),
                )


class Envoy(Section):
    """What `authz envoy` renders."""

    inbound: Inbound | None = Field(None, description="the listener in front of Airflow")
    egress: Egress | None = Field(None, description="the listener for the calls of tasks")
    execution: Execution | None = Field(None, description="the listener for workers")
    admin: Annotated[Place, AfterValidator(_admin)] = Field(
        "127.0.0.1:9901", description="Envoy's admin interface; loopback only"
    )
    authz_timeout: Duration = Field(3.0, ge=SHORTEST_CHECK, description="Envoy's deadline for one check")
    authz_tls_ca: Authority | None = Field(None, description="authority of our server's certificate, when `tls` is set")
    authz_tls_name: str = Field(
        "localhost", min_length=1, description="name in our server's certificate, when `tls` is set"
    )
    authz_tls_certificate: Certificate | None = Field(
        None, description="Envoy's own certificate towards us, PEM; needed when `tls.client_ca` is set"
    )
    authz_tls_key: SecretFile | None = Field(
        None, description="its private key, PEM; both are read again when new ones are moved there"
    )
    access_log: WrittenFile = Field("", description="Envoy's access log, a file; default: its standard output")
    sds: Folder = Field(
        "sds",
        description="folder where `authz envoy` writes which files hold Envoy's certificate and secrets;"
        " `''` without a login: the certificate is read at start only",
    )
    max_connections: int = Field(
        10_000, ge=1, le=1_000_000, description="connections to all of Envoy's listeners at a time; more are refused"
    )
    max_heap: Size = Field(
        1024 * 1024 * 1024,
        ge=64 * 1024 * 1024,
        description="Envoy's memory limit; when 98 % of it is used, further calls are answered 503",
    )

    @property
    def authz_authority(self) -> str:
        """The CA bundle by which the gate's certificate is verified."""
        return self.authz_tls_ca or SYSTEM_CA

    def disagreements(self) -> Iterator[Disagreement]:
        """Nothing to listen for, half a certificate, secrets that no file names, one address for two listeners."""
        if not (self.inbound or self.egress or self.execution):
            yield Disagreement(
                (),
                "`envoy` has neither `inbound` nor `egress` nor `execution`: there is nothing to render",
                "set at least envoy.inbound.upstreams",
                without=(("inbound",), ("egress",), ("execution",)),
            )
        if (self.authz_tls_certificate is None) != (self.authz_tls_key is None):
            yield Disagreement(
                ("authz_tls_certificate",) if self.authz_tls_key is None else ("authz_tls_key",),
                "`authz_tls_certificate` and `authz_tls_key` belong together: give both, or none",
                "name the other one too",
                without=(("authz_tls_certificate",), ("authz_tls_key",)),
            )
        if not self.sds:
            yield from self._secrets_without_a_folder()
        yield from duplicates(self._listens(), "address of a listener")

    def _secrets_without_a_folder(self) -> Iterator[Disagreement]:
        hint = "write the folder in `envoy.sds`, or leave the key out"
        if self.inbound is not None and self.inbound.login is not None:
            text = "a login needs `sds`, the folder of the files that name its secrets"
            yield Disagreement(("inbound", "login"), text, hint)
        for at, destination in enumerate(self.egress.destinations if self.egress is not None else ()):
            if destination.credential is not None:
                text = "a credential needs `sds`, the folder of the file that names its secret"
                yield Disagreement(("egress", "destinations", at, "credential"), text, hint)

    def _listens(self) -> Iterator[tuple[Loc, str]]:
        if self.inbound is not None:
            yield ("inbound", "listen"), self.inbound.listen
        if self.execution is not None:
            yield ("execution", "listen"), self.execution.listen
        for loc, listen in self.egress.listens if self.egress is not None else ():
            yield ("egress", *loc), listen
        yield ("admin",), self.admin
