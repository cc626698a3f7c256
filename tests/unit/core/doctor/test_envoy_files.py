"""Files that Envoy's configuration names, and secrets that stand in it."""

import pytest

from authz.core.doctor import envoy_files
from authz.core.doctor.envoy_files import Holds
from tests.support.doctor_envoy import bootstrap, listener

FILE = {"filename": "/etc/x"}


@pytest.mark.parametrize(
    ("node", "holds"),
    [
        ({"private_key": FILE}, Holds.SECRET),
        ({"privateKey": FILE}, Holds.SECRET),
        ({"password": FILE}, Holds.SECRET),
        ({"generic_secret": {"secret": FILE}}, Holds.SECRET),
        ({"session_ticket_keys": {"keys": [FILE]}}, Holds.SECRET),
        ({"pkcs12": FILE}, Holds.SECRET),
        ({"certificate_chain": FILE}, Holds.CERTIFICATE),
        ({"trusted_ca": FILE}, Holds.AUTHORITY),
        ({"sds_config": {"path_config_source": {"path": "/etc/x"}}}, Holds.SECRETS_CONFIG),
        ({"sdsConfig": {"pathConfigSource": {"path": "/etc/x"}}}, Holds.SECRETS_CONFIG),
        ({"sds_config": {"path": "/etc/x"}}, Holds.SECRETS_CONFIG),
    ],
)
def test_files_are_found_wherever_they_stand(node, holds):
    document = {"a": [{"b": node}, {"b": dict(node)}]}
    assert [(one.path, one.holds) for one in envoy_files.named(document)] == [("/etc/x", holds)]


def test_what_names_no_file_is_none():
    assert envoy_files.named({"private_key": {"inline_string": "x"}, "session_ticket_keys": {"keys": [{}]}}) == []


@pytest.mark.parametrize("name", ["inline_string", "inlineString", "inline_bytes"])
def test_a_secret_in_the_document_is_known(name):
    assert envoy_files.holds_secret({"a": [{"private_key": {name: "x"}}]})
    assert envoy_files.holds_secret({"generic_secret": {"secret": {name: "x"}}})
    assert envoy_files.holds_secret({"session_ticket_keys": {"keys": [{name: "x"}]}})


def test_a_public_part_is_no_secret():
    assert not envoy_files.holds_secret({"certificate_chain": {"inline_string": "x"}, "private_key": FILE})
    assert not envoy_files.holds_secret({"session_ticket_keys": {"keys": [FILE]}})


def test_a_chain_for_names_serves_its_certificate_for_them():
    named = listener()
    socket = {"typed_config": {"common_tls_context": {"tls_certificates": [{"certificate_chain": FILE}, {}]}}}
    named["filter_chains"][0].update({"filter_chain_match": {"server_names": ["a.test"]}, "transport_socket": socket})
    unnamed = listener()
    unnamed["filter_chains"][0]["transport_socket"] = socket
    listeners = bootstrap(named, unnamed)["static_resources"]["listeners"]
    assert [*envoy_files.served_names(listeners)] == [("/etc/x", ["a.test"])]
