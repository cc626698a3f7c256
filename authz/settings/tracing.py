"""The section `tracing`: where spans go, and how many requests Envoy samples."""

from collections.abc import Iterator

from pydantic import Field

from authz.settings.named_files import Authority
from authz.settings.sections import SYSTEM_CA, Disagreement, Place, Section, host_of, name_over_tls, needs_tls


class Tracing(Section):
    """Spans for an OpenTelemetry collector, over OTLP/gRPC: of checks and, where Envoy is rendered, of requests."""

    endpoint: Place = Field(description="host:port of the collector; Envoy sends its spans there too")
    tls: bool = Field(False, description="speak TLS to it and verify its certificate")
    tls_ca: Authority | None = Field(None, description="authority of its certificate, PEM; default: the system's")
    tls_name: str | None = Field(None, description="name in its certificate; default: the host of `endpoint`")
    sample: int = Field(
        0,
        ge=0,
        le=100,
        description="percentage of the requests without a `traceparent` that Envoy samples; with one, its flag decides",
    )

    @property
    def server_name(self) -> str:
        """The name that its certificate must carry."""
        return self.tls_name or host_of(self.endpoint)

    @property
    def authority(self) -> str:
        """The CA bundle by which its certificate is verified."""
        return self.tls_ca or SYSTEM_CA

    def disagreements(self) -> Iterator[Disagreement]:
        """TLS options without TLS, and TLS to a socket that has no name."""
        if not self.tls:
            yield from needs_tls(self, "tls_ca", "tls_name")
        else:
            for found in name_over_tls(self.tls_name, [self.endpoint]):
                yield found._replace(loc=("endpoint",))
