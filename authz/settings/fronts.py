"""The section `fronts` of the settings file: fronts other than Envoy, each before one Airflow.

Law: data and its checks only, as in `authz.settings`. What such a front asks, and how it is answered, is in
`http_check`; here is where it listens and where Airflow is.
"""

from collections.abc import Iterator

from pydantic import Field

from authz.core.addresses import same_place
from authz.core.documents.quantities import Size
from authz.settings.named_files import Authority, WrittenFile
from authz.settings.sections import (
    Disagreement,
    IdleTimeout,
    ListenAddress,
    Places,
    Section,
    ServiceName,
    Tls,
)
from authz.settings.to_airflow import ToAirflow


class Airflow(ToAirflow, Section):
    """The Airflow behind a front."""

    address: Places = Field(description="host:port of Airflow's API server, or a list of them")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the host of `address`")

    def disagreements(self) -> Iterator[Disagreement]:
        """TLS options without TLS."""
        yield from self.about_tls()


class Front(Section):
    """A front other than Envoy: what `authz front` renders."""

    name: ServiceName = Field(description="what it asks about: the name of one of `http_check.audiences`")
    listen: ListenAddress = Field(description="address of the listener")
    tls: Tls = Field(description="certificate of the listener; with `client_ca`, callers need one too")
    airflow: Airflow = Field(description="the Airflow behind it")
    idle_timeout: IdleTimeout = 300.0
    request_bytes: Size = Field(64 * 1024 * 1024, ge=1024, description="a longer body of a request is refused (413)")
    access_log: WrittenFile = Field("", description="its access log, a file; default: its standard output")

    def disagreements(self) -> Iterator[Disagreement]:
        """An Airflow that is the front itself."""
        for position, address in enumerate(self.airflow.address):
            if same_place(address, self.listen):
                yield Disagreement(
                    ("airflow", "address", position),
                    f"{address!r}: this is the front's own listener, which would call itself",
                    "write the address of Airflow's API server",
                    without=(("listen",),),
                )
