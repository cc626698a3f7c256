"""Building blocks of every part of the settings file: a section that knows its keys, addresses, PEM files.

Law: an unknown key is an error, and so is a value of another type.
"""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from authz.core import loopback
from authz.settings.named_files import Authority, Certificate, SecretFile

_PORTS = 65535


def _address(value: str) -> str:
    """`host:port` with a literal address or a name, or `unix:/absolute/path`."""
    if value.startswith("unix:"):
        if not value.startswith("unix:/") or value.endswith("/"):
            raise ValueError("write a Unix socket as unix:/absolute/path")
        return value
    host, colon, port = value.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= _PORTS):
        raise ValueError("write an address as host:port or unix:/absolute/path")
    return value


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    return address.startswith("unix:") or loopback.is_loopback(address.rpartition(":")[0])


Address = Annotated[str, AfterValidator(_address)]


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Tls(Section):
    """PEM files of a server."""

    certificate: Certificate = Field(description="certificate chain, PEM")
    key: SecretFile = Field(description="private key, PEM")
    client_ca: Authority | None = Field(None, description="only clients with a certificate of this authority (mTLS)")


def needs_tls(section: BaseModel, *keys: str) -> None:
    """Refuse TLS options without TLS: they would have no effect, and the connection no TLS.

    Raises:
        ValueError: as said.
    """
    useless = [key for key in keys if getattr(section, key) is not None]
    if useless:
        raise ValueError(f"`{'` and `'.join(useless)}` without `tls: true`: the connection would be plaintext")
