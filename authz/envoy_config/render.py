"""Render the settings to what Envoy reads: `render(settings)` as plain data, `to_yaml` and `to_json` as text.

Law: deterministic; the same settings give the same bytes. Fields that Envoy knows and envoy-data-plane does not are
added at the end, only by `newer_fields`.
"""

import json
from typing import Any, Final, cast

import yaml
from betterproto2 import Casing

from authz.envoy_config.bootstrap import bootstrap
from authz.envoy_config.newer_fields import add_newer_fields
from authz.envoy_config.secrets import sds_files
from authz.settings import Settings

# Envoy's own field names as they are. `Casing.SNAKE` would write `consecutive_5xx` as `consecutive_5_xx`, which Envoy
# does not know; betterproto2 calls the given casing with each name.
_AS_DEFINED: Final = cast("Casing", str)


def render(settings: Settings) -> dict[str, Any]:
    """Envoy's bootstrap as plain dictionaries, lists and scalars."""
    config = bootstrap(settings).to_dict(casing=_AS_DEFINED)
    add_newer_fields(config, settings)
    return config


def render_sds(settings: Settings) -> dict[str, dict[str, Any]]:
    """The files that Envoy needs beside its bootstrap, by path; they name files and hold no secret."""
    return {path: made.to_dict(casing=_AS_DEFINED) for path, made in sds_files(settings).items()}


def to_yaml(config: dict[str, Any]) -> str:
    """The configuration as YAML, in the order of Envoy's own messages."""
    return yaml.safe_dump(config, sort_keys=False, width=120, allow_unicode=True, default_flow_style=False)


def to_json(config: dict[str, Any]) -> str:
    """The configuration as JSON."""
    return json.dumps(config, indent=2) + "\n"
