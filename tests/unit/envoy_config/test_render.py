import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import MappingProxyType

import pytest
import yaml
from pydantic import ValidationError

from authz.check import wire
from authz.core import edge
from authz.envoy_config import headers
from authz.envoy_config.inbound import routes
from authz.envoy_config.render import render, render_sds, to_json, to_yaml
from tests.support import envoy_settings

ROOT = Path(__file__).resolve().parents[3]
FILTER = "envoy.filters.http.ext_authz"
GATE = {"tls": {"certificate": "/gate.pem", "key": "/gate.key"}}


def samples():
    spec = spec_from_file_location("envoy_samples", ROOT / "scripts" / "envoy_samples.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAMPLES = samples().SAMPLES


def upstream(**changes):
    return {"name": "airflow", "address": "127.0.0.1:8081", **changes}


def listener(**changes):
    return {"listen": "127.0.0.1:8080", "upstreams": [upstream()], **changes}


def destination(**changes):
    return {"name": "orders", "address": "127.0.0.1:8082", "hosts": ["orders.test"], **changes}


def egress(*destinations, **changes):
    return {"listen": "127.0.0.1:8090", "destinations": destinations or [destination()], **changes}


def plan(authz=("127.0.0.1:9190",), *, gate=MappingProxyType({}), **envoy):
    """The settings with this section `envoy`; None leaves a key out."""
    section = {"inbound": listener(), "sds": "", **envoy}
    return envoy_settings.parsed({key: value for key, value in section.items() if value is not None}, authz, **gate)


def connection_manager(config, number=0):
    (chain,) = config["static_resources"]["listeners"][number]["filter_chains"]
    (only,) = chain["filters"]
    return only["typed_config"]


def cluster(config, name):
    (found,) = [cluster for cluster in config["static_resources"]["clusters"] if cluster["name"] == name]
    return found


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
    assert len(SAMPLES) == 6


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
    after = [name for name in names if name in {"envoy.filters.http.dynamic_forward_proxy", "envoy.filters.http.rbac"}]
    assert names == [
        "authz.client_headers",
        "authz.header_room",
        *outbound,
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
    for name in headers.RUN_HEADERS:
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
        return name in headers.INBOUND_HEADERS or name.startswith(headers.INBOUND_PREFIXES)

    ours = (*edge.IDENTITY_HEADERS, edge.DECISION)
    assert [name for name in (*ours, *wire.NEVER_FORWARDED) if not dropped(name)] == ["authorization"]
    assert set(headers.RUN_HEADERS) <= set(wire.NEVER_FORWARDED)
    assert [name for name in ours if name not in headers.UPSTREAM_RESPONSE_HEADERS] == []


# --- routes


@pytest.mark.parametrize(
    "path",
    [
        "/execution",
        "/execution/",
        "/execution/variables/x",
        "/EXECUTION/x",
        "/Execution",
        "//execution",
        "/%2Fexecution/x",
        "/execution%2fvariables",
        "/execution;x",
        "/execution.json",
        "/execution%",
    ],
)
def test_the_task_api_is_recognised_in_every_spelling(path):
    assert re.fullmatch(routes.execution(""), path)
    assert re.fullmatch(routes.execution("/team.a/airflow-1"), "/team.a/airflow-1" + path)


@pytest.mark.parametrize("path", ["/", "/executions", "/execution-x", "/execution_x", "/api/v2/dags/execution/x"])
def test_other_paths_are_not_taken_for_the_task_api(path):
    assert not re.fullmatch(routes.execution(""), path)
    assert not re.fullmatch(routes.execution("/airflow"), "/airflow" + path)


def test_the_task_api_is_refused_inbound_only_and_before_anything_is_forwarded():
    config = render(plan(egress=egress()))
    inbound, out = (connection_manager(config, number)["route_config"] for number in (0, 1))
    assert [route["name"] for route in inbound["virtual_hosts"][0]["routes"]] == ["no-execution-api", "airflow.forward"]
    assert [route["name"] for route in out["virtual_hosts"][0]["routes"]] == ["no-tunnel", "orders.forward"]


def test_an_upstream_with_a_base_path_gets_what_is_below_it_and_the_check_gets_base():
    config = connection_manager(render(plan(inbound=listener(upstreams=(upstream(base_path="/team/airflow"),)))))
    host = config["route_config"]["virtual_hosts"][0]
    refused, forwarded, nowhere = host["routes"]
    assert refused["match"]["safe_regex"]["regex"] == routes.execution("/team/airflow")
    assert forwarded["match"] == {"path_separated_prefix": "/team/airflow"}
    assert (nowhere["match"], nowhere["direct_response"]) == ({"prefix": "/"}, {"status": 404})
    told = host["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]
    assert told["base"] == "/team/airflow"


def test_without_a_base_path_the_check_gets_no_base():
    host = connection_manager(render(plan()))["route_config"]["virtual_hosts"][0]
    assert "base" not in host["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]


def test_the_check_gets_dags_narrowed_only_for_the_upstream_that_narrows():
    both = (
        upstream(name="a", hosts=("a.test",), narrows_dags=True, audience="a"),
        upstream(name="b", hosts=("b.test",)),
    )
    config = connection_manager(render(plan(inbound=listener(upstreams=both))))["route_config"]
    told = [
        place["typed_per_filter_config"][FILTER]["check_settings"]["context_extensions"]
        for place in (*config["virtual_hosts"][:2], config)
    ]
    assert [one.get("dags") for one in told] == ["narrowed", None, None]


def test_hosts_choose_the_upstream_and_the_audience():
    two = (
        upstream(name="a", hosts=("a.test", "*.a.test"), audience="aud-a"),
        upstream(name="b", hosts=("b.test",), audience="aud-b"),
    )
    config = connection_manager(render(plan(inbound=listener(upstreams=two))))["route_config"]
    assert config["ignore_port_in_host_matching"] is True
    assert [host["domains"] for host in config["virtual_hosts"]] == [["a.test", "*.a.test"], ["b.test"], ["*"]]
    told = [host["typed_per_filter_config"][FILTER] for host in config["virtual_hosts"][:2]]
    assert [one["check_settings"]["context_extensions"]["audience"] for one in told] == ["aud-a", "aud-b"]
    assert config["virtual_hosts"][2]["routes"][0]["direct_response"] == {"status": 404}


def test_a_catch_all_upstream_leaves_no_room_for_nowhere():
    config = connection_manager(render(plan()))["route_config"]
    assert [host["name"] for host in config["virtual_hosts"]] == ["airflow"]


@pytest.mark.parametrize("hops", [0, 2])
def test_what_the_client_wrote_into_forwarded_for_is_replaced(hops):
    manager = connection_manager(render(plan(inbound=listener(trusted_hops=hops))))
    (option,) = manager["route_config"]["request_headers_to_add"]
    assert option["header"]["key"] == "x-forwarded-for"
    assert option["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
    assert manager.get("xff_num_trusted_hops", 0) == hops


def test_websockets_only_where_they_are_wanted():
    for wanted in (True, False):
        routes = connection_manager(render(plan(inbound=listener(upstreams=(upstream(websockets=wanted),)))))
        (upgrade,) = routes["route_config"]["virtual_hosts"][0]["routes"][-1]["route"]["upgrade_configs"]
        assert upgrade == {"upgrade_type": "websocket", "enabled": wanted}


# --- clusters


def test_the_authorizer_is_watched_every_second_and_never_used_in_panic():
    found = cluster(render(plan(authz=("127.0.0.1:1", "127.0.0.1:2"))), "authz")
    (check,) = found["health_checks"]
    assert check["grpc_health_check"] == {}
    assert check["interval"] == check["no_traffic_interval"] == "1s"
    assert check["unhealthy_interval"] == "0.250s"
    assert found["common_lb_config"] == {"healthy_panic_threshold": {}, "update_merge_window": "0s"}
    assert found["lb_policy"] == "LEAST_REQUEST"
    (bounds,) = found["circuit_breakers"]["thresholds"]
    assert "retry_budget" not in bounds, "it would refuse the second tries just when they are needed"
    assert bounds["max_retries"] == bounds["max_requests"] == 4096
    assert "http2_protocol_options" in str(found["typed_extension_protocol_options"])


def test_a_lost_check_is_tried_once_more_on_another_worker():
    def retry(*endpoints):
        service = connection_manager(render(plan(authz=endpoints)))["http_filters"][2]["typed_config"]
        return service["grpc_service"]["retry_policy"]

    assert retry("127.0.0.1:1")["num_retries"] == 1
    assert set(retry("127.0.0.1:1")["retry_on"].split(",")) == {
        *("connect-failure", "refused-stream", "reset", "unavailable")
    }
    assert "retry_host_predicate" not in retry("127.0.0.1:1")
    assert len(retry("127.0.0.1:1", "127.0.0.1:2")["retry_host_predicate"]) == 1


@pytest.mark.parametrize(
    ("addresses", "kind"),
    [
        (("127.0.0.1:80",), "STATIC"),
        (("[::1]:80",), "STATIC"),
        (("unix:/run/a.sock",), "STATIC"),
        (("airflow.internal:80",), "STRICT_DNS"),
        (("airflow.internal:80", "127.0.0.1:80"), "STRICT_DNS"),
    ],
)
def test_names_are_looked_up_and_addresses_are_not(addresses, kind):
    config = render(plan(inbound=listener(upstreams=(upstream(address=addresses),))))
    assert cluster(config, "inbound.airflow")["type"] == kind


def test_both_planes_may_use_one_upstream_name():
    config = render(plan(egress=egress(destination(name="airflow"))))
    names = [found["name"] for found in config["static_resources"]["clusters"]]
    assert names == ["authz", "inbound.airflow", "egress.airflow"]


def test_an_upstreams_health_is_asked_under_a_name_that_it_serves():
    def host(**changes):
        config = render(plan(inbound=listener(upstreams=(upstream(health_path="/health", **changes),))))
        return cluster(config, "inbound.airflow")["health_checks"][0]["http_health_check"]["host"]

    assert host() == "localhost"
    assert host(hosts=("*.a.test", "b.test")) == "b.test"
    assert host(hosts=("b.test",), host_rewrite="c.test") == "c.test"
    assert "health_checks" not in cluster(render(plan()), "inbound.airflow")


def test_outliers_are_ejected_for_gateway_failures_and_not_for_plain_500s():
    outliers = cluster(render(plan()), "inbound.airflow")["outlier_detection"]
    assert outliers["enforcing_consecutive_5xx"] == 0
    assert outliers["enforcing_success_rate"] == 0
    assert outliers["enforcing_consecutive_gateway_failure"] == 100


@pytest.mark.parametrize(("name", "kind", "sni"), [("a.test", "DNS", "a.test"), ("10.0.0.1", "IP_ADDRESS", None)])
def test_tls_to_an_upstream_checks_authority_and_name(name, kind, sni):
    config = render(plan(inbound=listener(upstreams=(upstream(tls=True, tls_name=name),))))
    context = cluster(config, "inbound.airflow")["transport_socket"]["typed_config"]
    checked = context["common_tls_context"]["validation_context"]
    assert checked["trusted_ca"] == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
    assert checked["match_typed_subject_alt_names"] == [{"san_type": kind, "matcher": {"exact": name}}]
    assert context.get("sni") == sni
    assert context["common_tls_context"]["tls_params"]["tls_minimum_protocol_version"] == "TLSv1_2"
    assert "tls_certificates" not in context["common_tls_context"]


def test_mutual_tls_to_the_authorizer():
    ours = {"authz_tls_certificate": "/cert", "authz_tls_key": "/key"}
    made = plan(gate=GATE, authz_tls_name="authz.test", authz_tls_ca="/ca", **ours)
    context = cluster(render(made), "authz")["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["tls_certificates"] == [
        {"certificate_chain": {"filename": "/cert"}, "private_key": {"filename": "/key"}}
    ]
    assert context["alpn_protocols"] == ["h2"]


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


# --- the way out


def out(*destinations):
    """The connection manager of the egress listener."""
    return connection_manager(render(plan(egress=egress(*destinations))), 1)


def test_a_host_chooses_the_destination_and_the_authorizer_is_told_its_name():
    two = (
        destination(name="a", hosts=("a.test", "*.a.test"), audience="aud-a"),
        destination(name="b", hosts=("b.test",), keep_authorization=True),
    )
    config = out(*two)["route_config"]
    assert [host["domains"] for host in config["virtual_hosts"]] == [["a.test", "*.a.test"], ["b.test"], ["*"]]
    told = [
        place.get("typed_per_filter_config", {}).get(FILTER, {}).get("check_settings", {}).get("context_extensions")
        for place in (*config["virtual_hosts"], config)
    ]
    assert told == [
        {"plane": "egress", "destination": "a", "audience": "aud-a"},
        {"plane": "egress", "destination": "b", "authorization": "keep"},
        None,
        {"plane": "egress"},
    ]
    refused, nowhere = config["virtual_hosts"][2]["routes"]
    assert (refused["direct_response"], nowhere["direct_response"]) == ({"status": 403}, {"status": 404})


def test_what_a_task_says_about_itself_is_read_on_egress_and_goes_no_further():
    config = out(destination(), destination(name="kept", hosts=("kept.test",), keep_authorization=True))
    removed = config["route_config"]["request_headers_to_remove"]
    assert set(removed) == {"x-forwarded-for", *headers.RUN_HEADERS}
    hosts = config["route_config"]["virtual_hosts"]
    assert [host.get("request_headers_to_remove", []) for host in hosts[:2]] == [["authorization"], []]
    first, _room, _guard, check, _router = config["http_filters"]
    assert not any(f"{name}'" in str(first) for name in headers.RUN_HEADERS)
    shown = [one["exact"] for one in check["typed_config"]["allowed_headers"]["patterns"]]
    assert shown == list(edge.READ_ON_EGRESS)
    inbound = connection_manager(render(plan()))["http_filters"][2]["typed_config"]["allowed_headers"]["patterns"]
    assert [one["exact"] for one in inbound] == list(edge.READ_HEADERS)


def test_a_destination_over_tls_is_asked_for_by_its_host_and_must_answer_for_it():
    def tls(*hosts):
        config = cluster(render(plan(egress=egress(destination(hosts=hosts, tls=True, tls_ca="/ca")))), "egress.orders")
        (options,) = config["typed_extension_protocol_options"].values()
        assert options["upstream_http_protocol_options"] == {"auto_sni": True, "auto_san_validation": True}
        context = config["transport_socket"]["typed_config"]
        checked = context["common_tls_context"]["validation_context"]
        assert checked["trusted_ca"] == {"filename": "/ca"}
        return context.get("sni"), [
            (one["san_type"], one["matcher"]) for one in checked["match_typed_subject_alt_names"]
        ]

    assert tls("a.test", "*.b.test") == ("a.test", [("DNS", {"exact": "a.test"}), ("DNS", {"suffix": ".b.test"})])
    assert tls("*.b.test") == (None, [("DNS", {"suffix": ".b.test"})])
    assert tls("10.0.0.1", "[::1]") == (None, [("IP_ADDRESS", {"exact": "10.0.0.1"}), ("IP_ADDRESS", {"exact": "::1"})])
    fixed = destination(tls=True, tls_name="fixed.test")
    config = cluster(render(plan(egress=egress(fixed))), "egress.orders")
    assert config["transport_socket"]["typed_config"]["sni"] == "fixed.test"
    assert "auto_sni" not in str(config)


def test_a_destinations_health_is_asked_under_a_name_of_its_own():
    def host(*hosts):
        config = render(plan(egress=egress(destination(health_path="/up", hosts=hosts))))
        return cluster(config, "egress.orders")["health_checks"][0]["http_health_check"]["host"]

    assert (host("*.a.test", "b.test"), host("*.a.test")) == ("b.test", "localhost")


def test_no_destination_is_redirected_to_by_envoy():
    assert "internal_redirect" not in str(out())
