"""The section `tracing`: its mistakes, each with its place."""

from pathlib import Path

import pytest

from authz import settings
from authz.core.errors import ConfigError


def line_of(text):
    return f"tracing: {{{text}}}"


def loaded(text):
    return settings.parse(f"version: 1\n{line_of(text)}\n".encode(), Path("/etc/authz/authz.yaml")).tracing


@pytest.mark.parametrize(
    ("text", "at", "told"),
    [
        ("sample: 5", "{", "endpoint"),
        ("endpoint: here", "here", "here"),
        ("endpoint: 'a.test:1', sample: 101", "101", "100"),
        ("endpoint: 'a.test:1', sample: -1", "-1", "0"),
        ("endpoint: 'a.test:1', tls_ca: ca.pem", "ca.pem", "`tls_ca` without `tls: true`"),
        ("endpoint: 'a.test:1', tls_name: b.test", "b.test", "`tls_name` without `tls: true`"),
        ("endpoint: 'unix:/run/otel.sock', tls: true", "'unix", "needs `tls_name`"),
        ("endpoint: 'a.test:1', headers: {}", "headers", "headers"),
    ],
)
def test_a_mistake_is_refused_at_its_place(text, at, told):
    with pytest.raises(ConfigError) as caught:
        loaded(text)
    [problem] = caught.value.problems
    assert problem.line == 2
    assert told in problem.message, problem
    assert problem.column == line_of(text).index(at) + 1


def test_the_certificate_must_name_the_host_unless_another_name_is_given():
    assert loaded("endpoint: 'a.test:1', tls: true").server_name == "a.test"
    assert loaded("endpoint: 'a.test:1', tls: true, tls_name: b.test").server_name == "b.test"


def test_the_authority_is_a_file_beside_the_settings():
    assert loaded("endpoint: 'a.test:1', tls: true, tls_ca: ca.pem").authority == "/etc/authz/ca.pem"
