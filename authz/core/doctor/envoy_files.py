"""Files that Envoy's configuration names: secrets, certificates, and files with more configuration of secrets (SDS).

Law: names only; `authz.serve.doctor_files` looks at the files. Whether a document itself holds a secret is said too.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from authz.core.doctor.tree import Node, every, items, message, pick, text

_SECRET: Final = ("private_key", "password", "secret", "generic_secret", "pkcs12", "access_key", "secret_access_key")
_INLINE: Final = ("inline_string", "inline_bytes")


class Holds(Enum):
    """What a file holds."""

    SECRET = auto()
    CERTIFICATE = auto()
    AUTHORITY = auto()
    SECRETS_CONFIG = auto()


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Named:
    """One file, and the field or option that names it."""

    field: str
    path: str
    holds: Holds


def named(document: Any) -> list[Named]:
    """Every such file that the document names, each once."""
    return [*dict.fromkeys(_named(document))]


def _named(document: Any) -> Iterator[Named]:
    for node in every(document):
        for field in _SECRET:
            if path := text(node, field, "filename"):
                yield Named(field=field, path=path, holds=Holds.SECRET)
        for key in (message(one) for one in items(node, "session_ticket_keys", "keys")):
            if path := text(key, "filename"):
                yield Named(field="session_ticket_keys", path=path, holds=Holds.SECRET)
        if path := text(node, "certificate_chain", "filename"):
            yield Named(field="certificate_chain", path=path, holds=Holds.CERTIFICATE)
        if path := text(node, "trusted_ca", "filename"):
            yield Named(field="trusted_ca", path=path, holds=Holds.AUTHORITY)
        source = message(node, "sds_config")
        if path := text(source, "path_config_source", "path") or text(source, "path"):
            yield Named(field="sds_config", path=path, holds=Holds.SECRETS_CONFIG)


def holds_secret(document: Any) -> bool:
    """Whether a secret stands in the document itself."""
    for node in every(document):
        holders = (*(message(node, field) for field in _SECRET), *items(node, "session_ticket_keys", "keys"))
        if any(pick(one, name) for one in holders for name in _INLINE):
            return True
    return False


def served_names(listeners: Iterable[Node]) -> Iterator[tuple[str, list[str]]]:
    """Each file with a certificate of a listener's filter chain, and the names that this chain is for."""
    for listener in listeners:
        for chain in items(listener, "filter_chains"):
            names = [str(one) for one in items(chain, "filter_chain_match", "server_names")]
            for node in every(pick(chain, "transport_socket")) if names else ():
                if path := text(node, "certificate_chain", "filename"):
                    yield path, names
