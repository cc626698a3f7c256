"""The configurations that the gate renders have nothing that doctor would find."""

from pathlib import Path

import pytest

from authz.core.doctor import envoy, envoy_config
from authz.core.doctor.reading import documents
from authz.core.doctor.site import Site

SAMPLES = sorted(path for path in (Path(__file__).parents[4] / "envoy").glob("*.yaml") if "authz" not in path.name)


def test_there_are_samples():
    assert len(SAMPLES) >= 7


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_our_own_samples_have_no_finding(path):
    (document,) = documents(path.read_bytes())
    read = envoy_config.read(document, path.name)
    assert len(read.listeners) >= 1
    assert envoy.findings(read, Site()) == []
