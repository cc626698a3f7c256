from authz.envoy_config.render import render, render_sds
from tests.support.rendered_egress import filters, with_secrets
from tests.support.rendered_envoy import cluster, connection_manager, destination

BEARER = {"secret_file": "/run/orders.secret"}
TOKENS = {
    "oauth2": {
        "token_endpoint": "https://idp.test:8443/token?x=1",
        "client_id": "gate",
        "client_secret_file": "/run/client.secret",
        "scopes": ["orders:read"],
        "ca": "/run/ca.pem",
        "client_auth": "basic",
        "parameters": ["audience=orders"],
    }
}


def test_the_secret_is_named_in_a_file_of_its_own_and_in_the_filters_of_its_cluster_alone():
    both = with_secrets(destination(credential=BEARER), destination(name="b", hosts=("b.test",)))
    config = render(both)
    found = filters(config)
    assert list(found) == ["authz.body_bound", "authz.credential", "envoy.filters.http.upstream_codec"]
    injector = found["authz.credential"]
    assert injector["overwrite"] is True
    assert "allow_request_without_credential" not in injector
    credential = injector["credential"]["typed_config"]
    assert (credential["header"], credential["header_value_prefix"]) == ("authorization", "Bearer ")
    assert credential["credential"]["sds_config"]["path_config_source"]["path"] == "/run/sds/credential_orders.yaml"
    assert "credential" not in str(filters(config, "egress.b"))
    assert "credential_orders" not in str(connection_manager(config))
    assert "orders.secret" not in str(config)
    ((path, file),) = render_sds(both).items()
    assert path == "/run/sds/credential_orders.yaml"
    assert file["resources"][0]["generic_secret"] == {"secret": {"filename": "/run/orders.secret"}}


def test_a_token_is_fetched_at_an_endpoint_that_is_verified():
    config = render(with_secrets(destination(credential=TOKENS)))
    oauth2 = filters(config)["authz.credential"]["credential"]["typed_config"]
    assert oauth2["token_endpoint"] == {
        "uri": "https://idp.test:8443/token?x=1",
        "cluster": "egress.orders.token",
        "timeout": "5s",
    }
    assert oauth2["scopes"] == ["orders:read"]
    assert oauth2["endpoint_params"] == [{"name": "audience", "value": "orders"}]
    assert oauth2["token_fetch_retry_interval"] == "1s"
    assert oauth2["client_credentials"]["client_id"] == "gate"
    endpoint = cluster(config, "egress.orders.token")
    tls = endpoint["transport_socket"]["typed_config"]
    assert tls["sni"] == "idp.test"
    checked = tls["common_tls_context"]["validation_context"]
    assert checked["trusted_ca"] == {"filename": "/run/ca.pem"}
    assert checked["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "idp.test"}}]
    local = {"oauth2": {"token_endpoint": "http://127.0.0.1:9000/t", "client_id": "gate", "client_secret_file": "/s"}}
    config = render(with_secrets(destination(credential=local)))
    assert "transport_socket" not in cluster(config, "egress.orders.token")
