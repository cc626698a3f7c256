"""Which Airflow the doctor asks about, and what an answer means."""

import re
from pathlib import Path

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.serve import doctor

ONE = '{name: a, address: "127.0.0.1:1", audience: air-a}'
TWO = ONE + ', {name: b, address: "127.0.0.1:2", audience: air-b, hosts: [b.test]}'
BARE = '{name: a, address: "127.0.0.1:1"}'


def load(upstreams, *, assertion="assertion: {issuer: i, keys: [k.pem]}"):
    text = f"version: 1\n{assertion}\nenvoy: {{inbound: {{listen: 127.0.0.1:8443, upstreams: [{upstreams}]}}}}\n"
    return settings.parse(text.encode(), Path("/authz.yaml"))


def test_the_only_upstream_with_an_audience_is_meant():
    assert doctor.target(load(ONE), "authz.yaml", None).audience == "air-a"
    assert doctor.target(load(TWO), "authz.yaml", "b").audience == "air-b"


@pytest.mark.parametrize(
    ("found", "name", "said"),
    [
        (load(TWO), None, r"name one with --upstream \(a, b\)"),
        (load(TWO), "c", "there are: a, b"),
        (load(BARE), None, "Airflow gets no identity"),
        (load(ONE, assertion=""), None, "Airflow gets no identity"),
        (settings.Settings(version=1), None, "Airflow gets no identity"),
    ],
)
def test_what_cannot_be_asked_is_said(found, name, said):
    with pytest.raises(ConfigError) as caught:
        doctor.target(found, "authz.yaml", name)
    assert str(caught.value.problems[0]).startswith("authz.yaml")
    assert re.search(said, str(caught.value.problems[0]))
