from dataclasses import replace

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.envoy_config.provider import DiscoveryError, Provider, complete
from authz.envoy_config.render import render
from authz.settings.sections import SYSTEM_CA

FULL = """
version: 1
workers: 1
listen: ["127.0.0.1:9190", "127.0.0.1:9191"]
tls: {certificate: a.pem, key: a.key}
assertion: {issuer: "https://gate.test", keys: [k.pem]}
envoy:
  authz_timeout: 2s
  authz_tls_ca: ca.pem
  authz_tls_name: authz.internal
  admin: 127.0.0.1:9999
  access_log: access.log
  inbound:
    listen: 0.0.0.0:8443
    tls: {certificate: c.pem, key: c.key}
    upstreams:
      - {name: one, address: "127.0.0.1:8081", hosts: [one.test], audience: one, health_path: /api/v2/version,
         base_path: /airflow, narrows_dags: true}
      - {name: two, address: "two.internal:8081", hosts: ["*.two.test"], audience: two, tls: true}
  egress:
    listen: 127.0.0.1:8090
    destinations:
      - {name: crm, address: "crm.internal:443", hosts: ["*.crm.test"], tls: true, audience: crm,
         keep_authorization: true, health_path: /up}
      - {name: mail, address: "mail.internal:443", hosts: [mail.test], tls: true, tls_ca: m.pem}
      - {name: plain, address: "10.0.0.2:80", hosts: [plain.test]}
      - name: orders
        address: 10.0.0.1:443
        hosts: [orders.internal]
        tls: true
        tls_ca: o.pem
        tls_name: orders
        timeout: 5s
        listen: 127.0.0.1:9101
        path: /orders
        tunnel: true
    dynamic: {ports: [8443], ca: d.pem, resolvers: ["10.0.0.2:53"]}
  execution: {listen: 127.0.0.1:8092, address: "airflow.internal:8080", tls: true, tls_ca: e.pem}
"""


def plan(tmp_path, text):
    path = tmp_path / "authz.yaml"
    path.write_text(text)
    return complete(settings.load(path), str(path))


def test_what_is_rendered_is_what_the_file_says_with_its_defaults(tmp_path):
    made = plan(tmp_path, FULL)
    envoy = made.edge
    assert made.authz_endpoints == ("127.0.0.1:9190", "127.0.0.1:9191")
    assert (envoy.authz_tls_name, envoy.authz_authority) == ("authz.internal", f"{tmp_path}/ca.pem")
    assert (envoy.authz_timeout, envoy.admin, envoy.access_log) == (2.0, "127.0.0.1:9999", f"{tmp_path}/access.log")
    one, two = envoy.inbound.upstreams
    assert (envoy.inbound.listen, envoy.inbound.tls.certificate) == ("0.0.0.0:8443", f"{tmp_path}/c.pem")
    assert (one.name, one.address, one.hosts, one.audience, one.health_path, one.tls) == (
        ("one", ("127.0.0.1:8081",), ("one.test",), "one", "/api/v2/version", False)
    )
    assert (one.base_path, two.base_path) == ("/airflow", None)
    assert (one.narrows_dags, two.narrows_dags) == (True, False)
    assert (two.server_name, two.authority) == ("two.internal", SYSTEM_CA)
    assert made.headers_kib == 128
    crm, mail, plain, orders = envoy.egress.destinations
    assert (orders.tls_name, orders.authority, orders.timeout) == ("orders", f"{tmp_path}/o.pem", 5.0)
    assert (crm.hosts, crm.audience, crm.health_path, crm.keep_authorization) == (("*.crm.test",), "crm", "/up", True)
    assert [(one.tls, one.tls_name, one.authority) for one in (crm, mail, plain)] == [
        (True, None, SYSTEM_CA),
        (True, None, f"{tmp_path}/m.pem"),
        (False, None, SYSTEM_CA),
    ]
    assert (plain.address, plain.timeout, plain.keep_authorization) == (("10.0.0.2:80",), 30.0, False)
    assert (orders.listen, orders.path, orders.tunnel) == ("127.0.0.1:9101", "/orders", True)
    assert (plain.listen, plain.path, plain.tunnel) == (None, None, False)
    dynamic = envoy.egress.dynamic
    assert (dynamic.ports, dynamic.authority, dynamic.resolvers) == ((8443,), f"{tmp_path}/d.pem", ("10.0.0.2:53",))
    workers = envoy.execution
    assert (workers.listen, workers.address) == ("127.0.0.1:8092", ("airflow.internal:8080",))
    assert (workers.server_name, workers.authority) == ("airflow.internal", f"{tmp_path}/e.pem")


def test_envoy_reads_headers_as_long_as_the_longest_token_and_what_comes_with_it(tmp_path):
    made = plan(tmp_path, FULL.replace("workers: 1\n", "workers: 1\nlimits: {token_bytes: 100001B}\n"))
    assert made.headers_kib == 98 + 32


def test_one_plane_is_enough_and_defaults_are_plain(tmp_path):
    made = plan(
        tmp_path, 'version: 1\nenvoy: {egress: {destinations: [{name: a, address: "127.0.0.1:1", hosts: [a.test]}]}}\n'
    )
    assert made.edge.inbound is None
    assert made.tls is None
    assert made.edge.egress.destinations[0].hosts == ("a.test",)
    assert made.edge.egress.dynamic is made.edge.execution is None


def test_other_hosts_or_the_way_of_workers_alone_are_enough_too(tmp_path):
    dynamic = plan(tmp_path, "version: 1\nenvoy: {egress: {dynamic: {}}}\n").edge.egress.dynamic
    assert (dynamic.ports, dynamic.authority, dynamic.resolvers) == ((443, 80), SYSTEM_CA, ())
    made = plan(tmp_path, 'version: 1\nenvoy: {execution: {address: "127.0.0.1:8080"}}\n').edge
    assert (made.execution.listen, made.execution.tls) == ("127.0.0.1:8091", False)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\n", "there is no `envoy` section"),
        ("version: 1\nenvoy: {}\n", "neither"),
        (FULL.replace("assertion: {", "# {"), "narrows_dags without `assertion`"),
        ('version: 1\nenvoy: {inbound: {listen: "name:1", upstreams: [{name: a, address: "a:1"}]}}\n', "not a name"),
    ],
)
def test_what_cannot_be_rendered_is_a_configuration_error(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        plan(tmp_path, text)


LOGIN = """
version: 1
envoy:
  inbound:
    upstreams: [{name: airflow, address: "127.0.0.1:8081"}]
    login:
      public_url: https://airflow.test
      client_id: airflow-gate
      client_secret_file: client.secret
"""
SAID = Provider(
    authorization_endpoint="https://idp.test/a",
    token_endpoint="https://idp.test/t",
    end_session_endpoint="https://idp.test/e",
    basic=True,
)


def login(tmp_path, text, said=SAID):
    """The login that is rendered, and what the provider was asked."""
    path = tmp_path / "authz.yaml"
    path.write_text(LOGIN + text)
    asked = []

    def discover(*arguments):
        asked.append(arguments)
        if isinstance(said, Exception):
            raise said
        return said

    return complete(settings.load(path), str(path), discover).edge.inbound.login, asked


def test_a_login_asks_the_issuer_for_its_endpoints(tmp_path):
    made, asked = login(tmp_path, "      issuer: https://idp.test\n      provider_ca: ca.pem\n")
    assert asked == [("https://idp.test", f"{tmp_path}/ca.pem")]
    assert (made.authorization_endpoint, made.token_endpoint) == ("https://idp.test/a", "https://idp.test/t")
    assert (made.end_session_endpoint, made.client_auth) == ("https://idp.test/e", "basic")
    assert (made.client_secret_file, made.cookie_secret_file) == (
        f"{tmp_path}/client.secret",
        f"{tmp_path}/cookie.secret",
    )
    assert (made.authority, made.callback_path, made.signout_path) == (
        f"{tmp_path}/ca.pem",
        "/oauth2/callback",
        "/oauth2/signout",
    )
    assert (made.keep_id_token, made.split_cookies) == (False, False)


OWN = """
      authorization_endpoint: https://own.test/a
      token_endpoint: https://own.test/t
"""


def test_what_the_settings_say_goes_before_what_the_issuer_says(tmp_path):
    made, asked = login(tmp_path, f"      issuer: https://idp.test{OWN}      client_auth: post\n")
    assert asked == [("https://idp.test", None)]
    assert (made.authorization_endpoint, made.token_endpoint) == ("https://own.test/a", "https://own.test/t")
    assert (made.end_session_endpoint, made.client_auth) == ("https://idp.test/e", "post")
    made, _asked = login(tmp_path, "      issuer: https://idp.test\n      end_session_endpoint: ''\n")
    assert made.end_session_endpoint == ""


def test_the_provider_is_not_asked_when_the_settings_name_its_endpoints(tmp_path):
    made, asked = login(tmp_path, OWN)
    assert asked == []
    assert (made.ending, made.client_auth) == ("", None)
    assert made.authority == SYSTEM_CA
    made, asked = login(tmp_path, OWN + REST)
    assert asked == []
    assert (made.end_session_endpoint, made.client_auth) == ("https://own.test/e", "basic")


REST = """
      end_session_endpoint: https://own.test/e
      client_auth: basic
"""


def test_an_issuer_that_is_asked_for_nothing_is_refused(tmp_path):
    issuer = "      issuer: https://idp.test\n"
    with pytest.raises(ConfigError, match=r"`issuer` has no effect .*: leave it out"):
        login(tmp_path, issuer + OWN + REST)
    with pytest.raises(ConfigError, match=r"`issuer` has no effect"):
        login(tmp_path, issuer + OWN + REST.replace("https://own.test/e", "''"))
    lines = [line for line in (OWN + REST).splitlines() if line]
    assert len(lines) == 4
    for left_out in lines:
        rest = "\n".join(line for line in lines if line != left_out)
        _made, asked = login(tmp_path, f"{issuer}{rest}\n")
        assert asked == [("https://idp.test", None)], left_out


def test_an_issuer_that_cannot_be_reached_is_no_dead_end(tmp_path):
    with pytest.raises(
        ConfigError, match=r"where it cannot be reached, write .*`token_endpoint`.* instead of `issuer`"
    ):
        login(tmp_path, "      issuer: https://idp.test\n", DiscoveryError("https://idp.test is not there"))


def test_an_id_token_that_no_provider_wants_back_is_not_kept(tmp_path):
    with pytest.raises(ConfigError, match=r"keep_id_token: .* no end_session_endpoint"):
        login(tmp_path, OWN + "      keep_id_token: true\n")
    with pytest.raises(ConfigError, match=r"keep_id_token: .* no end_session_endpoint"):
        login(tmp_path, OWN + "      keep_id_token: true\n      end_session_endpoint: ''\n")
    made, _asked = login(tmp_path, OWN + REST + "      keep_id_token: true\n")
    assert made.keep_id_token


def test_a_login_that_cannot_be_rendered_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match=r"authz\.yaml: envoy: https://idp\.test is not there"):
        login(tmp_path, "      issuer: https://idp.test\n", DiscoveryError("https://idp.test is not there"))
    with pytest.raises(ConfigError, match="http is for this machine"):
        login(tmp_path, OWN.replace("https://own.test/t", "http://own.test/t"))


def test_every_worker_is_an_endpoint(tmp_path):
    text = FULL.replace("workers: 1", "workers: 3").replace(', "127.0.0.1:9191"', "")
    assert plan(tmp_path, text).authz_endpoints == ("127.0.0.1:9190", "127.0.0.1:9191", "127.0.0.1:9192")


def test_the_provider_is_heard_where_the_server_listens_for_it(tmp_path):
    def heard():
        clusters = render(complete(settings.load(file), str(file)))["static_resources"]["clusters"]
        return [cluster for cluster in clusters if cluster["name"] == "backchannel"]

    login(tmp_path, OWN)
    file = tmp_path / "authz.yaml"
    assert heard() == []
    file.write_text(file.read_text() + 'revocation: {backchannel: "127.0.0.1:9170"}\n')
    (cluster,) = heard()
    assert "'port_value': 9170" in str(cluster)


def test_nothing_is_rendered_before_the_provider_was_asked(tmp_path):
    made, _asked = login(tmp_path, "      issuer: https://idp.test\n")
    assert made.people == "https://idp.test/a"
    with pytest.raises(LookupError, match="was not asked"):
        render(settings.load(tmp_path / "authz.yaml"))


@pytest.mark.parametrize(
    "said",
    [
        {"authorization_endpoint": "http://idp.test/a"},
        {"token_endpoint": "http://idp.test/t"},
        {"end_session_endpoint": "http://idp.test/e"},
        {"end_session_endpoint": "https://idp.test/e?x=1"},
    ],
)
def test_what_a_provider_says_is_checked_as_what_the_file_says(tmp_path, said):
    with pytest.raises(ConfigError, match=r"envoy: .*(http is for this machine|has no query)"):
        login(tmp_path, "      issuer: https://idp.test\n", replace(SAID, **said))


def test_keep_id_token_is_refused_for_a_provider_without_end_session_endpoint(tmp_path):
    text = "      issuer: https://idp.test\n      keep_id_token: true\n"
    with pytest.raises(ConfigError, match=r"keep_id_token: .* no end_session_endpoint"):
        login(tmp_path, text, replace(SAID, end_session_endpoint=""))
    assert login(tmp_path, text)[0].keep_id_token
