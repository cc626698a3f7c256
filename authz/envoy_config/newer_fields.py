"""Fields of Envoy 1.40 that envoy-data-plane 2.2 does not know: written into the rendered configuration by hand.

Law: as few as possible, each behind a setting, because an Envoy that does not know a field does not start. Their names
are not checked here; tests/e2e asks Envoy.
"""

from typing import Any, Final

from authz.envoy_config.inbound.login import MOST_PIECES, OAUTH2
from authz.settings import Settings

# Envoy counts the whole line of the answer, with the name and the attributes; browsers keep 4096 bytes, and some do not
# count the attributes. Envoy takes 512 to 4096.
LINE_BYTES: Final = 4000


def add_newer_fields(config: dict[str, Any], settings: Settings) -> None:
    """Complete the bootstrap of these settings."""
    inbound = settings.edge.inbound
    if inbound and inbound.login and inbound.login.split_cookies:
        for login in _filters(config, OAUTH2):
            login["config"]["token_cookie_chunking"] = {"max_cookie_size": LINE_BYTES, "max_chunks": MOST_PIECES}


def _filters(config: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The configuration of the HTTP filters of this name, in all listeners."""
    return [
        http["typed_config"]
        for listener in config["static_resources"]["listeners"]
        for chain in listener["filter_chains"]
        for network in chain["filters"]
        for http in network["typed_config"].get("http_filters", [])
        if http["name"] == name
    ]
