"""Settings files for tests that are about Envoy: the text of `authz.yaml`, read by the product's own loader.

Sections are written as plain data, as they stand in the file. A key that the product does not know is a mistake here
as it is there, so that no test runs on a setting that no user can write.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from authz import settings
from authz.settings import Settings


def text(envoy: Mapping[str, Any], authz: Sequence[str] = ("127.0.0.1:9190",), **gate: Any) -> str:
    """The file: its section `envoy`, the addresses where Envoy asks, and other sections (JSON is YAML)."""
    ours = {
        "version": 1,
        "workers": 1,
        "listen": authz,
        "assertion": {"issuer": "https://gate.test", "keys": ["a.pem"]},
    }
    return json.dumps({**ours, **gate, "envoy": envoy}, indent=1)


def parsed(envoy: Mapping[str, Any], authz: Sequence[str] = ("127.0.0.1:9190",), **gate: Any) -> Settings:
    """The settings of a file in `/run/gate`, which need not be there."""
    return settings.parse(text(envoy, authz, **gate).encode(), Path("/run/gate/authz.yaml"))


def load(folder: Path, envoy: Mapping[str, Any], authz: Sequence[str], **gate: Any) -> Settings:
    """The settings of a file that is written into this folder."""
    file = folder / "of-envoy.yaml"  # `authz.yaml` is that of a gate there
    file.write_text(text(envoy, authz, **gate))
    return settings.load(file)
