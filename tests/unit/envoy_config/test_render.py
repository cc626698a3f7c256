import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from authz.check import wire
from authz.core import edge, stripped
from authz.envoy_config.render import render, render_sds, to_json, to_yaml
from tests.support.rendered_envoy import connection_manager, listener, plan

ROOT = Path(__file__).resolve().parents[3]
FILTER = "envoy.filters.http.ext_authz"
GATE = {"tls": {"certificate": "/gate.pem", "key": "/gate.key"}}


def samples():
    spec = spec_from_file_location("envoy_samples", ROOT / "scripts" / "envoy_samples.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLES = samples().SAMPLES


MANAGERS = [
    pytest.param(entry["filter_chains"][0]["filters"][0]["typed_config"], id=f"{name}-{entry['name']}")
    for name, sample in SAMPLES.items()
    for entry in render(sample)["static_resources"]["listeners"]
    if "internal_listener" not in entry
]


def plane_of(manager):
    """What every check of this listener is told."""
    told = manager["route_config"]["typed_per_filter_config"][FILTER]
    return told["check_settings"]["context_extensions"]["plane"]


def check_of(manager):
    (found,) = [entry["typed_config"] for entry in manager["http_filters"] if entry["name"] == FILTER]
    return found


# --- the committed samples


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_what_the_renderer_makes(name):
    assert (ROOT / "envoy" / name).read_text() == samples().text(name)


def test_no_sample_is_left_over_and_the_readme_names_each():
    sources = {name.replace(".yaml", ".authz.yaml") for name in SAMPLES}
    assert {path.name for path in (ROOT / "envoy").glob("*.yaml")} == set(SAMPLES) | sources
    readme = (ROOT / "envoy" / "README.md").read_text()
    assert [name for name in SAMPLES if f"`{name}`" not in readme] == []
    assert len(SAMPLES) == 7


@pytest.mark.parametrize("name", SAMPLES)
def test_yaml_and_json_say_what_was_rendered(name):
    config = render(SAMPLES[name])
    text = to_yaml(config)
    assert yaml.load(text, yaml.CSafeLoader) == config
    assert yaml.load(to_json(config), yaml.CSafeLoader) == config
    assert not re.search(r"[:-] [&*]id\d", text), "YAML aliases are hard to read"


# --- properties that must hold for every listener


@pytest.mark.parametrize("manager", MANAGERS)
def test_client_headers_go_first_and_the_check_is_last_before_the_router(manager):
    names = [entry["name"] for entry in manager["http_filters"]]
    login = [name for name in names if name in {"envoy.filters.http.csrf", "envoy.filters.http.oauth2"}]
    assert login in ([], ["envoy.filters.http.csrf", "envoy.filters.http.oauth2"])
    outbound = ["authz.answer_guards"] if plane_of(manager) == "egress" else []  # it looks at answers only
    run = ["envoy.filters.http.header_to_metadata"] if plane_of(manager) != "egress" else []
    after = [name for name in names if name in {"envoy.filters.http.dynamic_forward_proxy", "envoy.filters.http.rbac"}]
    assert names == [
        "authz.client_headers",
        "authz.header_room",
        *outbound,
        *run,
        *login,
        FILTER,
        *after,
        "envoy.filters.http.router",
    ]
    assert not any(entry.get("disabled") or entry.get("is_optional") for entry in manager["http_filters"])


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_check_cannot_fail_open(manager):
    check = check_of(manager)
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}
    assert check["deny_at_disable"]["default_value"] is True
    open_doors = {
        "failure_mode_allow",
        "shadow_mode",
        "filter_enabled",
        "filter_enabled_metadata",
        "clear_route_cache",
        "with_request_body",
        "include_peer_certificate",
    }
    assert open_doors & check.keys() == set()


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_answer_may_change_only_our_headers_and_credentials(manager):
    check = check_of(manager)
    assert check["validate_mutations"] is True
    rules = check["decoder_header_mutation_rules"]
    assert rules.keys() == {"disallow_all", "allow_expression"}
    assert rules["disallow_all"] is True
    allowed = re.compile(rules["allow_expression"]["regex"])
    for name in (*edge.IDENTITY_HEADERS, edge.DECISION, "authorization", "cookie"):
        assert allowed.fullmatch(name)
    for name in stripped.RUN_HEADERS:
        assert bool(allowed.fullmatch(name)) == (plane_of(manager) == "egress")
    for name in (":path", ":authority", ":method", "host", "x-forwarded-for", "content-length", "x-authz", "x-envoy-a"):
        assert not allowed.fullmatch(name)


@pytest.mark.parametrize("manager", MANAGERS)
def test_every_check_of_a_listener_carries_its_plane_for_unknown_hosts_too(manager):
    plane = plane_of(manager)
    assert plane == manager["stat_prefix"].partition(".")[0]
    config = manager["route_config"]
    places = [config, *config["virtual_hosts"]]
    told = [place.get("typed_per_filter_config", {}).get(FILTER) for place in places]
    assert all(one is None or one["check_settings"]["context_extensions"]["plane"] == plane for one in told)
    assert told[0] is not None
    assert "*" in [domain for host in config["virtual_hosts"] for domain in host["domains"]]
    assert "disabled" not in str(told)


@pytest.mark.parametrize("manager", MANAGERS)
def test_one_reading_of_every_request(manager):
    assert manager["normalize_path"] is True
    assert manager.get("merge_slashes", False) == (plane_of(manager) != "execution")
    assert manager["path_with_escaped_slashes_action"] == "KEEP_UNCHANGED"
    assert manager["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
    assert manager["use_remote_address"] is True
    assert manager["http_protocol_options"].get("accept_http_10", False) == (manager["stat_prefix"] == "egress")
    assert "preserve_external_request_id" not in manager


@pytest.mark.parametrize("manager", MANAGERS)
def test_the_access_log_has_no_query_and_no_credential(manager):
    for log in manager["access_log"]:
        line = log["typed_config"]["log_format"]["json_format"]
        assert line["path"] == "%PATH(NQ):2048%"
        assert line["id"] == f"%DYNAMIC_METADATA({FILTER}:decision_id)%"
        everything = " ".join(line.values()).lower()
        for leak in ("authorization", "cookie", "referer", "assertion", "req(:path)", "path(wq)"):
            assert leak not in everything


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_host_with_userinfo_is_in_no_line(manager):
    half = len(manager["access_log"]) // 2
    for position, log in enumerate(manager["access_log"]):
        host = log["typed_config"]["log_format"]["json_format"]["host"]
        conditions = log["filter"].get("and_filter", {"filters": [log["filter"]]})["filters"]
        at = conditions[-1]["header_filter"]["header"]
        assert (at["name"], at["string_match"]) == (":authority", {"contains": "@"})
        assert (host == "with userinfo", bool(at.get("invert_match"))) == (position >= half, position < half)


def test_headers_that_the_server_sets_or_removes_are_taken_from_clients_and_upstreams():
    def dropped(name):
        return name in stripped.INBOUND_HEADERS or name.startswith(stripped.INBOUND_PREFIXES)

    ours = (*edge.IDENTITY_HEADERS, edge.DECISION)
    assert [name for name in (*ours, *wire.NEVER_FORWARDED) if not dropped(name)] == ["authorization"]
    assert set(stripped.RUN_HEADERS) <= set(wire.NEVER_FORWARDED)
    assert [name for name in ours if name not in stripped.UPSTREAM_RESPONSE_HEADERS] == []


# --- the check, and the certificates of listeners


def test_a_lost_check_is_tried_once_more_on_another_worker():
    def retry(*endpoints):
        service = connection_manager(render(plan(authz=endpoints)))["http_filters"][-2]["typed_config"]
        return service["grpc_service"]["retry_policy"]

    assert retry("127.0.0.1:1")["num_retries"] == 1
    assert set(retry("127.0.0.1:1")["retry_on"].split(",")) == {
        *("connect-failure", "refused-stream", "reset", "unavailable")
    }
    assert "retry_host_predicate" not in retry("127.0.0.1:1")
    assert len(retry("127.0.0.1:1", "127.0.0.1:2")["retry_host_predicate"]) == 1


def test_clients_need_a_certificate_only_where_an_authority_is_named():
    def context(**named):
        tls = {"certificate": "/c", "key": "/k", **named}
        (chain,) = render(plan(inbound=listener(tls=tls)))["static_resources"]["listeners"][0]["filter_chains"]
        return chain["transport_socket"]["typed_config"]

    made = context(client_ca="/ca.pem")
    assert made["require_client_certificate"] is True
    assert made["common_tls_context"]["validation_context"] == {"trusted_ca": {"filename": "/ca.pem"}}
    without = context()
    assert "require_client_certificate" not in without
    assert "validation_context" not in without["common_tls_context"]


def test_certificates_that_may_be_replaced_are_named_in_files_of_the_folder():
    edge = {"certificate": "/tls/c.pem", "key": "/tls/k.pem", "client_ca": "/ca/clients.pem"}
    ours = {"authz_tls_certificate": "/own/c.pem", "authz_tls_key": "/own/k.pem"}
    made = plan(gate=GATE, sds="/sds", inbound=listener(tls=edge), **ours)
    files = render_sds(made)
    authority = files["/sds/listener_client_ca.yaml"]["resources"][0]["validation_context"]
    assert authority == {"trusted_ca": {"filename": "/ca/clients.pem"}, "watched_directory": {"path": "/ca"}}
    own = files["/sds/authz_client_certificate.yaml"]["resources"][0]["tls_certificate"]
    assert own["private_key"] == {"filename": "/own/k.pem"}
    assert own["watched_directory"] == {"path": "/own"}
    text = str(render(made))
    for path in ("/tls/c.pem", "/own/c.pem", "/ca/clients.pem"):
        assert path not in text


def test_a_listener_with_tls_speaks_nothing_older_than_1_2_and_offers_http_2():
    config = render(plan(inbound=listener(tls={"certificate": "/c", "key": "/k"})))
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    common = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert common["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert common["alpn_protocols"] == ["h2", "http/1.1"]
    assert chain["transport_socket_connect_timeout"] == "10s"


# --- bootstrap


def test_the_admin_interface_offers_nothing_that_changes_envoy():
    config = render(plan())
    allowed = [entry["prefix"] for entry in config["admin"]["allow_paths"]]
    for path in ("/runtime_modify", "/quitquitquit", "/logging", "/healthcheck/fail", "/drain_listeners", "/"):
        assert not any(path.startswith(prefix) for prefix in allowed)
    assert config["layered_runtime"]["layers"] == [{"name": "fixed", "static_layer": {}}]


def test_the_plan_bounds_connections_and_memory():
    monitors = render(plan(max_connections=7, max_heap="65MiB"))["overload_manager"]["resource_monitors"]
    assert [monitor["typed_config"].get("max_heap_size_bytes") for monitor in monitors] == ["68157440", None]
    assert [monitor["typed_config"].get("max_active_downstream_connections") for monitor in monitors] == [None, "7"]


def test_the_access_log_goes_where_the_plan_says():
    assert "stdout" in connection_manager(render(plan()))["access_log"][0]["name"]
    to_file = connection_manager(render(plan(access_log="/tmp/a.log")))["access_log"][0]["typed_config"]  # noqa: S108 never opened
    assert to_file["path"] == "/tmp/a.log"  # noqa: S108 never opened


def test_a_misspelt_field_is_an_error():
    from envoy_data_plane.envoy.config.cluster.v3 import Cluster

    with pytest.raises(ValidationError, match="lb_polcy"):
        Cluster(name="x", lb_polcy=1)
