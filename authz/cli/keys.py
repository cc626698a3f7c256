"""Key sets for commands: from a file, or fetched once from each issuer with the server's own fetcher."""

from collections.abc import Iterable
from pathlib import Path

from authz.core.jose import jwks
from authz.core.jose.jwks import KeySet
from authz.core.model import Issuer
from authz.keys import KeyFetcher
from authz.system.regular_file import read_secret


def keysets_for(issuers: Iterable[Issuer], jwks_file: Path | None) -> dict[str, KeySet]:
    """The key set of every issuer by its name; `jwks_file` replaces them all.

    Raises:
        KeysUnavailableError: one is not available.
    """
    if jwks_file is not None:
        keyset = jwks.parse(read_secret(jwks_file))
        return {issuer.name: keyset for issuer in issuers}
    fetcher = KeyFetcher()
    return {issuer.name: jwks.parse(fetcher.fetch(issuer).data) for issuer in issuers}
