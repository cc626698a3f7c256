"""What the sections have in common that say where an Airflow is.

Law: no fields, so that each section documents its keys in its own order; only what follows from them.
"""

from collections.abc import Iterator
from typing import Protocol

from authz.settings.sections import SYSTEM_CA, Disagreement, host_of, name_over_tls, needs_tls


class _Section(Protocol):
    """The keys of such a section."""

    @property
    def address(self) -> tuple[str, ...]: ...
    @property
    def tls(self) -> bool: ...
    @property
    def tls_ca(self) -> str | None: ...
    @property
    def tls_name(self) -> str | None: ...


class ToAirflow:
    """Of a section with `address`, `tls`, `tls_ca` and `tls_name`."""

    @property
    def server_name(self: _Section) -> str:
        """The name that its certificate must carry."""
        return self.tls_name or host_of(self.address[0])

    @property
    def authority(self: _Section) -> str:
        """The CA bundle by which its certificate is verified."""
        return self.tls_ca or SYSTEM_CA

    def about_tls(self: _Section) -> Iterator[Disagreement]:
        """TLS options without TLS, and TLS to a socket that has no name."""
        if not self.tls:
            yield from needs_tls(self, "tls_ca", "tls_name")
        else:
            yield from name_over_tls(self.tls_name, self.address)
