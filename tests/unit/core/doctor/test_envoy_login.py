"""Envoy's login: tokens that do not fit into a cookie, and sessions that outlive their token."""

import pytest

from authz.core.doctor.site import Site
from tests.support.doctor_envoy import (
    HTTP,
    ROUTER,
    bootstrap,
    ext_authz,
    http_filter,
    listener,
    manager,
    network,
    route,
    table,
)
from tests.support.doctor_findings import ids, in_envoy, texts

SITE = Site(longest=3600)
SPLIT = {"token_cookie_chunking": {"max_cookie_size": 4000}}


def found(config, *, routes=(), site=SITE):
    login = http_filter("oauth2", "OAuth2", config=config) if config is not None else http_filter("oauth2", "OAuth2")
    made = manager(http_filters=[login, ext_authz(), ROUTER], route_config=table(*routes, route()))
    return in_envoy(bootstrap(listener(network(made))), site)


@pytest.mark.parametrize(
    ("config", "dropped"),
    [
        ({"redirect_uri": "x"}, True),
        (SPLIT, False),
        ({"tokenCookieChunking": {}}, False),
        ({"disable_access_token_set_cookie": True, "disable_id_token_set_cookie": True}, False),
        ({"disable_access_token_set_cookie": True}, True),
    ],
)
def test_a_login_whose_token_may_not_fit_is_found(config, dropped):
    assert ids(found(config)) == ({"cookie-not-split"} if dropped else set())


def test_a_route_that_answers_the_incomplete_login_is_enough():
    too_large = {"match": {"prefix": "/"}, "direct_response": {"status": 431}}
    assert found({"redirect_uri": "x"}, routes=[too_large]) == []


def test_a_login_of_a_single_route_is_read():
    per_route = {"@type": f"{HTTP}oauth2.v3.OAuth2PerRoute", "config": {"redirect_uri": "x"}}
    one = route(typed_per_filter_config={"envoy.filters.http.oauth2": per_route})
    assert texts(found(None, routes=[one]), "cookie-not-split") == [
        "envoy.yaml: listener `in`: the login `a route` has no `token_cookie_chunking`"
    ]


@pytest.mark.parametrize(("lasts", "longer"), [("3600s", False), ("3601s", True), ("604800s", True)])
def test_a_session_that_outlives_every_token_is_found(lasts, longer):
    assert ids(found({**SPLIT, "default_expires_in": lasts})) == ({"login-outlives-token"} if longer else set())
    assert found({**SPLIT, "default_expires_in": lasts}, site=Site()) == []
