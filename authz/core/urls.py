"""The one strict parser of http and https URLs; a caller that needs less refuses the rest.

Law: pure. It accepts what every parser reads alike: lower-case scheme, a host of ASCII (an IDN in its `xn--` form) or
an IP address, a possible port, visible ASCII. It refuses a user, a fragment or a control character (RFC 3986 §3).

Why not `urllib.parse`: it takes a space or a backslash into the host, and removes a tab from it. Other parsers read
those otherwise, so what was checked would not be what is connected to.
"""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Final

_URL: Final = re.compile(
    r"(https?)://([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
    r"(/[!-\"$->@-~]*)?(\?[!-\"$-~]*)?"
)
_PORTS: Final = {"http": 80, "https": 443}
_MAX_PORT: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """An http or https URL in its parts. Its text omits the query, because a query may hold a secret.

    `host` is in lower case, an IPv6 address in brackets; `path` begins with a slash; `query` with its question mark.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = field(repr=False)

    def __str__(self) -> str:
        return self.origin + self.path

    @property
    def address(self) -> str:
        """Where to connect to: `host:port`."""
        return f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """The Host header: without the port if it is the scheme's own (RFC 9110 §7.2)."""
        return self.host if self.port == _PORTS[self.scheme] else self.address

    @property
    def origin(self) -> str:
        """Scheme and authority (RFC 6454 §6.2)."""
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """Path and query, as a request line has them (RFC 9112 §3.2.1)."""
        return self.path + self.query

    def below(self, target: str) -> "Url":
        """The URL of `target`, a path with a possible query, below this one's path.

        Raises:
            ValueError: that is no URL.
        """
        return Url.parse(self.origin + self.path.rstrip("/") + target)

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Read a URL.

        Raises:
            ValueError: it is invalid. The message does not quote it: it may hold a password.
        """
        match = _URL.fullmatch(text)
        if match is None:
            raise ValueError("not an http or https URL without user, fragment and non-ASCII characters")
        scheme, host, port, path, query = match.groups(default="")
        number = int(port) if port else _PORTS[scheme]
        if not 0 < number <= _MAX_PORT:
            raise ValueError("a URL with an impossible port")
        if host.startswith("["):
            try:
                ipaddress.IPv6Address(host[1:-1])
            except ValueError:
                raise ValueError("a URL with an impossible IPv6 address") from None
        return cls(scheme=scheme, host=host.lower(), port=number, path=path or "/", query=query)
