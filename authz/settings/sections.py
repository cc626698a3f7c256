"""Building blocks of every part of the settings file: a section that knows its keys, addresses, PEM files.

Law: an unknown key is an error, and so is a value of another type. A field's own validator checks one value. Whether
several keys of a section agree is checked in `Section.disagreements`, so that it is reported even if another key is
wrong.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Final, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from authz.core import loopback
from authz.core.addresses import HostPort, SocketPath, is_port, parse_address, shown
from authz.core.documents.quantities import Duration
from authz.core.documents.wording import Mistake
from authz.core.model import SERVICE_NAME
from authz.core.request.path import is_base
from authz.settings.named_files import Authority, Certificate, Loc, SecretFile

SYSTEM_CA: Final = "/etc/ssl/certs/ca-certificates.crt"
"""The system's bundle, as Debian and Envoy's image name it: without a bundle, Envoy would check no name."""
_SHORTEST: Final = 0.001  # seconds; Envoy reads less as 0, which is no limit


def _address(value: str) -> str:
    """`host:port` with a literal address or a name, or `unix:/absolute/path`."""
    if value.startswith("unix:"):
        if not value.startswith("unix:/") or value.endswith("/"):
            raise ValueError("write a Unix socket as unix:/absolute/path")
        return value
    host, colon, port = value.rpartition(":")
    if not (colon and host and (is_port(port) or port == "0")):
        raise ValueError("write an address as host:port or unix:/absolute/path")
    return value


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach the address."""
    return address.startswith("unix:") or loopback.is_loopback(address.rpartition(":")[0])


def host_of(address: str) -> str:
    """The host of an address, without brackets."""
    return address.rpartition(":")[0].strip("[]")


def ports_of(addresses: Iterable[str]) -> tuple[int, ...]:
    """The TCP ports of the addresses."""
    parsed = map(parse_address, addresses)
    return tuple(dict.fromkeys(address.port for address in parsed if isinstance(address, HostPort)))


def _place(value: str) -> str:
    parse_address(value)
    return value


def _listen(value: str) -> str:
    """What Envoy can listen on."""
    address = parse_address(value)
    if isinstance(address, HostPort) and not address.is_ip:
        raise Mistake(
            f"{shown(value)}: a listener needs an IP address, not a name", "write 127.0.0.1:8080, or 0.0.0.0:8080"
        )
    return value


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def check_endpoints(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses, if one cluster can have them all.

    Raises:
        ValueError: it cannot.
    """
    if not addresses:
        raise Mistake("at least one address is needed", "write an address as host:port or unix:/absolute/path")
    parsed = [parse_address(address) for address in addresses]
    if twice := first_duplicate(addresses):
        raise Mistake(f"{twice!r}: this address is given twice", "leave one of them out")
    names = [address for address in parsed if isinstance(address, HostPort) and not address.is_ip]
    if names and any(isinstance(address, SocketPath) for address in parsed):
        raise Mistake(
            "Envoy cannot mix Unix sockets with host names that must be looked up", "write IP addresses beside sockets"
        )
    return addresses


def _service_name(text: str) -> str:
    if not re.fullmatch(SERVICE_NAME, text):
        raise Mistake(
            f"{shown(text)}: not a name here", "write lower-case letters, digits, `_` and `-`, at most 63 characters"
        )
    return text


ServiceName = Annotated[
    str, AfterValidator(_service_name), WithJsonSchema({"type": "string", "pattern": f"^{SERVICE_NAME}$"})
]
"""The name of an upstream or a destination."""
Address = Annotated[str, AfterValidator(_address)]
Place = Annotated[str, AfterValidator(_place)]
"""An address that Envoy connects to."""
ListenAddress = Annotated[str, AfterValidator(_listen)]
"""An address that Envoy listens on."""
Places = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_more),
    AfterValidator(check_endpoints),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]},
    ),
]
"""One address that Envoy connects to, or a list of them."""


def _limit(seconds: float) -> float:
    if seconds < _SHORTEST:
        raise Mistake("Envoy takes this for no limit", "write at least 1ms")
    return seconds


IdleTimeout = Annotated[
    Duration,
    AfterValidator(_limit),
    Field(description="a connection or a call without traffic for this long is ended"),
]
LongestStream = Annotated[
    Duration,
    AfterValidator(_limit),
    Field(description="any call is ended after this time: it was evaluated only once, when it began"),
]


def _is_path(text: str) -> str:
    if text and not text.startswith("/"):
        raise Mistake(f"{text!r}: a health path starts with /", f"write {'/' + text!r}")
    return text


HealthPath = Annotated[str, AfterValidator(_is_path)]


def _base(text: str) -> str:
    if text and not is_base(text):
        raise Mistake(f"{text!r}: a base path is plain and ends without a slash, as /airflow does", "see `base_url`")
    return text


BasePath = Annotated[str, AfterValidator(_base)]
"""The path that Airflow is served under."""


def first_duplicate(values: Iterable[str]) -> str:
    """The first value that is repeated; "" if there is none."""
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return ""


class Disagreement(NamedTuple):
    """Settings that exclude each other: the key (its path), what is wrong, what to do.

    `without` are keys whose absence is the mistake: if one of them is there but wrong itself, this is not reported.
    """

    loc: Loc
    text: str
    hint: str
    without: tuple[Loc, ...] = ()

    def below(self, loc: Loc) -> "Disagreement":
        """The same, for a section at `loc`."""
        return self._replace(loc=(*loc, *self.loc), without=tuple((*loc, *one) for one in self.without))


class Section(BaseModel):
    """A part of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    def disagreements(self) -> Iterator[Disagreement]:
        """The disagreements between this section's keys, with places inside it; not those inside its own sections."""
        yield from ()


class Tls(Section):
    """PEM files of a server."""

    certificate: Certificate = Field(description="certificate chain, PEM")
    key: SecretFile = Field(description="private key, PEM")
    client_ca: Authority | None = Field(None, description="only clients with a certificate of this authority (mTLS)")


def needs_tls(section: object, *keys: str) -> Iterator[Disagreement]:
    """TLS options without TLS: they would have no effect, and the connection would be plaintext."""
    for key in keys:
        if getattr(section, key) is not None:
            text = f"`{key}` without `tls: true`: the connection would be plaintext"
            yield Disagreement((key,), text, "add `tls: true`, or remove it", without=(("tls",),))


def name_over_tls(tls_name: str | None, addresses: Iterable[str]) -> Iterator[Disagreement]:
    """A certificate is for a name, and a Unix socket has none."""
    for position, address in enumerate(addresses):
        if tls_name is None and isinstance(parse_address(address), SocketPath):
            text = f"{address!r}: TLS to a Unix socket needs `tls_name`, the name in the certificate"
            yield Disagreement(("address", position), text, "add `tls_name`", without=(("tls",), ("tls_name",)))


def duplicates(values: Iterable[tuple[Loc, str]], what: str) -> Iterator[Disagreement]:
    """Repeated values, each at the place where it is repeated."""
    seen: dict[str, Loc] = {}
    for loc, value in values:
        if value in seen:
            text = f"{value!r}: this {what} is given twice"
            yield Disagreement(loc, text, "give each its own", without=(seen[value],))
        seen.setdefault(value, loc)
