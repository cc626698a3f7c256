"""The name of a gate: what it may be, and where it comes from."""

import socket

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.settings.gate_name import of_this_host


def loaded(name):
    return settings.parse(f"version: 1\ngate: {name}\n".encode(), settings.Path("/etc/authz/authz.yaml"))


@pytest.mark.parametrize("name", ["blue", "Gate-1", "a", "gate_2.example.com", "7", "x" * 63])
def test_a_name(name):
    assert loaded(f"'{name}'").gate_name == name


@pytest.mark.parametrize("name", ["a b", "-a", "a-", "a/b", "a+b", "é", "x" * 64, "a\\nb"])
def test_what_is_no_name_is_said_with_its_place(name):
    with pytest.raises(ConfigError) as caught:
        loaded(f'"{name}"')
    [problem] = caught.value.problems
    assert problem.line == 2
    assert "not a name for a gate" in str(problem)


def test_without_a_name_it_is_the_hosts():
    assert loaded("''").gate_name == of_this_host() == of_this_host(socket.gethostname())


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("gate-7d9f8b6c5d-x2x4z", "gate-7d9f8b6c5d-x2x4z"),
        ("Gate.example.com", "Gate.example.com"),
        ("büro gate", "b-ro-gate"),
        ("x" * 70, "x" * 63),
        ("_x_", "x"),
        ("(none)", "none"),
        ("", "gate"),
    ],
)
def test_a_hosts_name_becomes_a_gates_name(host, name):
    assert of_this_host(host) == name
    assert loaded(f"'{name}'").gate == name
