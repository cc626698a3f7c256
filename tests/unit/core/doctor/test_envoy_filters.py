"""How Envoy reads requests, what comes after the check, the bearer token, and the admin port."""

import copy

import pytest

from authz.core.doctor.envoy_filters import _HARMLESS
from tests.support.doctor_envoy import (
    CHECK,
    HTTP,
    OFF,
    PER_ROUTE,
    PER_ROUTE_OFF,
    ROUTER,
    TYPES,
    bootstrap,
    cluster,
    ext_authz,
    http_filter,
    listener,
    manager,
    network,
    route,
    table,
)
from tests.support.doctor_findings import ids, in_envoy

CHECKED = listener(name="checked", port=8443)
UNCHECKED = [ROUTER]


def through(config, **changes):
    """A listener with this connection manager."""
    return listener(network(config), **changes)


def beside(*listeners, clusters=(), **more):
    """A configuration with a checked listener and these."""
    made = bootstrap(CHECKED, *listeners, **more)
    made["static_resources"]["clusters"] += clusters
    return made


# --- how requests are read


@pytest.mark.parametrize("value", [None, False, "odd"])
def test_a_path_that_is_certainly_normal_only_counts(value):
    assert ids(in_envoy(bootstrap(through(manager(normalize_path=value))))) == {"path-not-normalised"}
    assert ids(in_envoy(bootstrap(through(manager(merge_slashes=value))))) == {"slashes-not-merged"}


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, True),
        ({"headers_with_underscores_action": "ALLOW"}, True),
        ({"headers_with_underscores_action": 0}, True),
        ({"headers_with_underscores_action": "REJECT_REQUEST"}, False),
        ({"headers_with_underscores_action": "DROP_HEADER"}, False),
        ({"headersWithUnderscoresAction": 1}, False),
        ({"headers_with_underscores_action": 2}, False),
    ],
)
def test_underscores_are_allowed_by_name_and_by_number(options, allowed):
    found = in_envoy(bootstrap(through(manager(common_http_protocol_options=options))))
    assert ids(found) == ({"underscores-allowed"} if allowed else set())


def test_how_requests_to_other_services_are_read_is_not_our_matter():
    loose = manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "x"})), normalize_path=None)
    assert ids(in_envoy(beside(through(loose), clusters=[cluster("x", "10.0.0.1:1")]))) == {"forwards-unchecked"}
    answers = manager(route_config=table({"match": {"prefix": "/"}, "direct_response": {}}), normalize_path=None)
    assert in_envoy(beside(through(answers))) == []


# --- after the check


LUA = http_filter("lua", "Lua")
AFTER = {
    "lua": LUA,
    "headers": http_filter("header_mutation", "HeaderMutation"),
    "wasm": http_filter("wasm", "Wasm"),
    "ext_proc": http_filter("ext_proc", "ExternalProcessor"),
    "transcoder": http_filter("grpc_json_transcoder", "GrpcJsonTranscoder"),
    "filter state": http_filter("set_filter_state", "Config"),  # `envoy.upstream.dynamic_host` chooses the upstream
    "an unknown type": {"name": "mine", "typed_config": {"@type": "x/mine.Filter"}},
    "a struct": {
        "name": "mine",
        "typed_config": {"@type": f"{TYPES}xds.type.v3.TypedStruct", "type_url": "x/mine.Filter", "value": {}},
    },
}


@pytest.mark.parametrize("one", AFTER.values(), ids=AFTER)
def test_a_filter_after_the_check_that_may_change_the_request_is_found(one):
    assert ids(in_envoy(bootstrap(through(manager(http_filters=[ext_authz(), one, ROUTER]))))) == {
        "changed-after-check"
    }
    assert in_envoy(bootstrap(through(manager(http_filters=[one, ext_authz(), ROUTER])))) == []


@pytest.mark.parametrize("family", sorted({*_HARMLESS} - {"ext_authz", "router"}))
def test_a_filter_that_changes_nothing_may_come_after_the_check(family):
    assert len(_HARMLESS[family]) > 5, "say why it may"
    filters = [ext_authz(), http_filter(family, "X"), ROUTER]
    assert in_envoy(bootstrap(through(manager(http_filters=filters)))) == []


def _router(*filters):
    return {**ROUTER, "typed_config": {**ROUTER["typed_config"], "upstream_http_filters": [*filters]}}


def test_the_routers_own_filters_run_after_the_check():
    codec = http_filter("upstream_codec", "UpstreamCodec")
    for one in AFTER.values():
        assert ids(in_envoy(bootstrap(through(manager(http_filters=[ext_authz(), _router(one, codec)]))))) == {
            "changed-after-check"
        }
    assert in_envoy(bootstrap(through(manager(http_filters=[ext_authz(), _router(codec)])))) == []
    assert in_envoy(beside(through(manager(http_filters=[_router(LUA)], route_config=table(ANSWER))))) == []


ANSWER = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
AUTHORIZING = ("credential_injector", "gcp_authn", "aws_request_signing")


@pytest.mark.parametrize("family", AUTHORIZING)
def test_a_filter_that_sets_the_bearer_token_is_right_for_a_destination_only(family):
    one = http_filter(family, "X", name="mine")
    for filters in ([ext_authz(), one, ROUTER], [ext_authz(), _router(one)]):
        assert ids(_with_settings({}, http_filters=filters)) == {"bearer-forwarded"}
        assert _with_settings({}, {"plane": "egress"}, http_filters=filters) == []
    assert _with_settings({}, http_filters=[ext_authz(), {**one, "disabled": True}, ROUTER]) == []
    assert _with_settings({}, http_filters=[one, ext_authz(), ROUTER]) == []
    assert ids(in_envoy(_upstream_filters(one))) == {"bearer-forwarded"}


@pytest.mark.parametrize("name", ["host_rewrite_header", "host_rewrite_path_regex"])
def test_a_host_that_is_made_from_the_request_after_the_check_is_found(name):
    assert ids(_with_settings({name: "x"})) == {"changed-after-check"}
    assert _with_settings({"host_rewrite_literal": "x"}) == []
    unchecked = manager(http_filters=UNCHECKED, route_config=table(route(route={"cluster": "airflow", name: "x"})))
    assert ids(in_envoy(beside(through(unchecked)))) == {"route-unchecked"}


def test_a_host_that_the_forward_proxy_rewrites_on_a_route_is_found():
    kind = f"{HTTP}dynamic_forward_proxy.v3.PerRouteConfig"

    def found(**config):
        layer = {"proxy": {"@type": kind, **config}}
        return ids(in_envoy(bootstrap(through(manager(route_config=table(route(typed_per_filter_config=layer)))))))

    assert found(host_rewrite_header="x") == {"changed-after-check"}
    assert found(host_rewrite_literal="x") == set()


def test_the_filter_is_after_the_last_of_several_checks():
    filters = [ext_authz(), LUA, {**ext_authz(), "name": "second"}, ROUTER]
    assert in_envoy(bootstrap(through(manager(http_filters=filters)))) == []


def test_one_of_several_checks_is_enough_for_a_route():
    filters = [ext_authz(), {**ext_authz(), "name": "second"}, ROUTER]
    off = {CHECK: PER_ROUTE_OFF}
    config = manager(http_filters=filters, route_config=table(route(typed_per_filter_config=off)))
    assert in_envoy(bootstrap(through(config))) == []
    off["second"] = OFF
    assert ids(in_envoy(bootstrap(through(config)))) == {"route-unchecked"}


def test_an_answer_that_changes_the_route_is_found():
    config = manager(http_filters=[ext_authz(clear_route_cache=True), ROUTER])
    assert ids(in_envoy(bootstrap(through(config)))) == {"changed-after-check"}


def _upstream_filters(*filters):
    options = {"@type": f"{TYPES}envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "http_filters": [*filters]}
    made = bootstrap(CHECKED)
    made["static_resources"]["clusters"][0]["typed_extension_protocol_options"] = {"o": options}
    return made


def test_the_clusters_own_filters_run_after_the_check():
    assert ids(in_envoy(_upstream_filters(LUA))) == {"changed-after-check"}
    assert in_envoy(_upstream_filters(http_filter("upstream_codec", "UpstreamCodec"))) == []


SETTINGS = {"@type": PER_ROUTE, "check_settings": {"context_extensions": {"plane": "inbound"}}}


def _with_settings(action, extensions=None, http_filters=None, **more):
    settings = copy.deepcopy(SETTINGS)
    settings["check_settings"]["context_extensions"].update(extensions or {})
    one = route(route={"cluster": "airflow", **action}, typed_per_filter_config={CHECK: settings}, **more)
    return in_envoy(
        bootstrap(through(manager(route_config=table(one), **({"http_filters": http_filters} if http_filters else {}))))
    )


def test_a_path_that_is_rewritten_after_the_check_is_found_unless_the_gate_knows_it():
    assert ids(_with_settings({"prefix_rewrite": "/api"})) == {"rewritten-after-check"}
    assert _with_settings({"prefix_rewrite": "/api"}, {"base": "/airflow"}) == []
    assert _with_settings({"prefix_rewrite": "/api"}, {"plane": "egress"}) == []


@pytest.mark.parametrize("service", ["grpc_service", "http_service"])
def test_a_route_that_asks_another_server_is_found(service):
    settings = {"@type": PER_ROUTE, "check_settings": {service: {}}}
    config = manager(route_config=table(route(typed_per_filter_config={CHECK: settings})))
    assert ids(in_envoy(bootstrap(through(config)))) == {"check-elsewhere"}


# --- the bearer token


def _rules(**rules):
    return in_envoy(bootstrap(through(manager(http_filters=[ext_authz(decoder_header_mutation_rules=rules), ROUTER]))))


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, False),
        ({"disallow_all": True}, True),
        ({"disallow_all": True, "allow_expression": {"regex": "authorization|x-authz-.*"}}, False),
        ({"disallow_all": True, "allow_expression": {"regex": "auth"}}, True),
        ({"disallow_all": True, "allow_expression": {"regex": "(authorization"}}, True),
        ({"disallow_expression": {"regex": "auth.*"}}, True),
        ({"disallow_expression": {"regex": "(auth"}}, True),
        ({"disallow_expression": {"regex": "auth.*"}, "allow_expression": {"regex": "authorization"}}, True),
        ({"disallow_expression": {"regex": "cookie"}}, False),
    ],
)
def test_rules_that_keep_the_bearer_token_are_found(rules, kept):
    assert ids(_rules(**rules)) == ({"bearer-forwarded"} if kept else set())


@pytest.mark.parametrize("holder", ["route", "host", "table"])
def test_a_route_that_removes_the_token_itself_is_fine(holder):
    removed = {"request_headers_to_remove": ["Authorization"]}
    made = table(
        route(**(removed if holder == "route" else {})),
        vhost=removed if holder == "host" else None,
        **(removed if holder == "table" else {}),
    )
    filters = [ext_authz(decoder_header_mutation_rules={"disallow_all": True}), ROUTER]
    assert in_envoy(bootstrap(through(manager(http_filters=filters, route_config=made)))) == []


def test_a_destination_may_keep_the_tasks_own_token():
    filters = [ext_authz(decoder_header_mutation_rules={"disallow_all": True}), ROUTER]
    settings = copy.deepcopy(SETTINGS)
    settings["check_settings"]["context_extensions"] = {"plane": "egress", "authorization": "keep"}
    made = table(route(typed_per_filter_config={CHECK: settings}))
    assert in_envoy(bootstrap(through(manager(http_filters=filters, route_config=made)))) == []


def test_an_answer_over_http_must_be_allowed_to_replace_the_token():
    def found(**response):
        check = ext_authz(grpc_service=None, http_service={"authorization_response": response})
        return ids(in_envoy(bootstrap(through(manager(http_filters=[check, ROUTER])))))

    assert found() == {"bearer-forwarded"}
    assert found(allowed_upstream_headers={"patterns": [{"exact": "Authorization"}]}) == set()


def test_a_login_after_the_check_adds_the_token():
    login = http_filter("oauth2", "OAuth2", config={"forward_bearer_token": True, "token_cookie_chunking": {}})
    after = in_envoy(bootstrap(through(manager(http_filters=[ext_authz(), login, ROUTER]))))
    assert ids(after) == {"bearer-forwarded", "changed-after-check"}
    assert in_envoy(bootstrap(through(manager(http_filters=[login, ext_authz(), ROUTER])))) == []
    login["typed_config"]["config"]["forward_bearer_token"] = False
    after = in_envoy(bootstrap(through(manager(http_filters=[ext_authz(), login, ROUTER]))))
    assert ids(after) == {"changed-after-check"}


def test_a_route_that_adds_a_token_is_found_but_for_a_destination():
    added = {"request_headers_to_add": [{"header": {"key": "Authorization", "value": "Bearer canary-5ecret"}}]}
    found = _with_settings({}, **added)
    assert ids(found) == {"bearer-forwarded"}
    assert "canary" not in str(found)
    assert _with_settings({}, {"plane": "egress"}, **added) == []


def test_a_route_that_sets_an_identity_itself_is_found():
    added = {"request_headers_to_add": [{"header": {"key": "X-Authz-User", "value": "x"}}]}
    assert ids(_with_settings({}, **added)) == {"changed-after-check"}
    assert _with_settings({}, request_headers_to_add=[{"header": {"key": "x-other", "value": "x"}}]) == []


@pytest.mark.parametrize("family", ["cache", "cache_v2"])
def test_a_cache_before_the_check_answers_without_it(family):
    filters = [http_filter(family, "CacheConfig"), ext_authz(), ROUTER]
    assert ids(in_envoy(bootstrap(through(manager(http_filters=filters))))) == {"cached-before-check"}


@pytest.mark.parametrize("layer", ["rtds_layer", "disk_layer"])
def test_a_runtime_from_elsewhere_may_let_a_switched_off_check_pass(layer):
    layers = {"layers": [{"name": "l", layer: {}}]}
    deny = {"default_value": True, "runtime_key": "deny"}
    check = ext_authz(filter_enabled={"default_value": {"numerator": 0}}, deny_at_disable=deny)
    made = through(manager(http_filters=[check, ROUTER]))
    assert ids(in_envoy(bootstrap(made, layered_runtime=layers))) == {"not-seen"}
    assert in_envoy(bootstrap(made)) == []
    del deny["runtime_key"]
    assert in_envoy(bootstrap(made, layered_runtime=layers)) == []


# --- the admin port


@pytest.mark.parametrize(
    ("address", "exposed"),
    [
        ({"socket_address": {"address": "0.0.0.0", "port_value": 9901}}, True),
        ({"socketAddress": {"address": "10.0.0.1", "portValue": 9901}}, True),
        ({"socket_address": {"address": "::", "port_value": 9901}}, True),
        ({}, True),
        ({"socket_address": {"address": "127.0.0.1", "port_value": 9901}}, False),
        ({"socket_address": {"address": "::1", "port_value": 9901}}, False),
        ({"pipe": {"path": "/run/admin.sock"}}, False),
    ],
)
def test_an_admin_port_on_the_network_is_found(address, exposed):
    found = in_envoy(bootstrap(CHECKED, admin={"address": address}))
    assert ids(found) == ({"admin-exposed"} if exposed else set())


def test_a_check_inside_a_composite_is_no_check():
    inside = {"name": "x", "typed_config": ext_authz()["typed_config"]}
    composite = http_filter("composite", "Composite", deep=[{"typed_config": inside["typed_config"]}])
    found = in_envoy(bootstrap(through(manager(http_filters=[composite, ROUTER]))))
    assert ids(found) == {"check-conditional", "route-unchecked"}
    assert HTTP in str(composite)
