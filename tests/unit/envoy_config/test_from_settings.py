import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.envoy_config.from_settings import plan_of
from authz.envoy_config.provider import DiscoveryError, Provider
from authz.settings.plan.egress import Dynamic, HostTls
from authz.settings.plan.peers import ClientTls

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
    return plan_of(settings.load(path), str(path))


def test_every_setting_of_the_section_reaches_the_plan(tmp_path):
    made = plan(tmp_path, FULL)
    assert made.authz_endpoints == ("127.0.0.1:9190", "127.0.0.1:9191")
    assert (made.authz_tls.server_name, made.authz_tls.ca) == ("authz.internal", f"{tmp_path}/ca.pem")
    assert (made.authz_timeout, made.admin_listen, made.access_log) == (2.0, "127.0.0.1:9999", f"{tmp_path}/access.log")
    one, two = made.inbound.upstreams
    assert (made.inbound.listen, made.inbound.tls.certificate) == ("0.0.0.0:8443", f"{tmp_path}/c.pem")
    assert (one.name, one.addresses, one.hosts, one.audience, one.health_path, one.tls) == (
        ("one", ("127.0.0.1:8081",), ("one.test",), "one", "/api/v2/version", None)
    )
    assert (one.base_path, two.base_path) == ("/airflow", "")
    assert (one.narrows_dags, two.narrows_dags) == (True, False)
    assert two.tls.server_name == "two.internal"
    assert two.tls.ca.startswith("/etc/")
    assert made.max_request_headers_kib == 128
    crm, mail, plain, orders = made.egress.destinations
    assert (orders.tls.server_name, orders.tls.ca, orders.timeout) == ("orders", f"{tmp_path}/o.pem", 5.0)
    assert (crm.hosts, crm.audience, crm.health_path, crm.keep_authorization) == (("*.crm.test",), "crm", "/up", True)
    assert (crm.tls, mail.tls, plain.tls) == (HostTls(), HostTls(ca=f"{tmp_path}/m.pem"), None)
    assert (plain.addresses, plain.timeout, plain.keep_authorization) == (("10.0.0.2:80",), 30.0, False)
    assert (orders.listen, orders.path, orders.tunnel) == ("127.0.0.1:9101", "/orders", True)
    assert (plain.listen, plain.path, plain.tunnel) == ("", "", False)
    assert made.egress.dynamic == Dynamic(ports=(8443,), ca=f"{tmp_path}/d.pem", resolvers=("10.0.0.2:53",))
    workers = made.execution
    assert (workers.listen, workers.addresses) == ("127.0.0.1:8092", ("airflow.internal:8080",))
    assert workers.tls == ClientTls(server_name="airflow.internal", ca=f"{tmp_path}/e.pem")


def test_envoy_reads_headers_as_long_as_the_longest_token_and_what_comes_with_it(tmp_path):
    made = plan(tmp_path, FULL.replace("workers: 1\n", "workers: 1\nlimits: {token_bytes: 100001B}\n"))
    assert made.max_request_headers_kib == 98 + 32


def test_one_plane_is_enough_and_defaults_are_plain(tmp_path):
    made = plan(
        tmp_path, 'version: 1\nenvoy: {egress: {destinations: [{name: a, address: "127.0.0.1:1", hosts: [a.test]}]}}\n'
    )
    assert made.inbound is None
    assert made.authz_tls is None
    assert made.egress.destinations[0].hosts == ("a.test",)
    assert made.egress.dynamic is made.execution is None


def test_other_hosts_or_the_way_of_workers_alone_are_a_plan_too(tmp_path):
    made = plan(tmp_path, "version: 1\nenvoy: {egress: {dynamic: {}}}\n")
    assert made.egress.dynamic == Dynamic()
    made = plan(tmp_path, 'version: 1\nenvoy: {execution: {address: "127.0.0.1:8080"}}\n')
    assert (made.execution.listen, made.execution.tls) == ("127.0.0.1:8091", None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\n", "there is no `envoy` section"),
        ("version: 1\nenvoy: {}\n", "neither"),
        (FULL.replace("assertion: {", "# {"), "narrows_dags without `assertion`"),
        ('version: 1\nenvoy: {inbound: {listen: "name:1", upstreams: [{name: a, address: "a:1"}]}}\n', "not a name"),
    ],
)
def test_what_cannot_be_planned_is_a_configuration_error(tmp_path, text, words):
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
    """The login of the plan, and what the provider was asked."""
    path = tmp_path / "authz.yaml"
    path.write_text(LOGIN + text)
    asked = []

    def discover(*arguments):
        asked.append(arguments)
        if isinstance(said, Exception):
            raise said
        return said

    return plan_of(settings.load(path), str(path), discover).inbound.login, asked


def test_a_login_asks_the_issuer_for_its_endpoints(tmp_path):
    made, asked = login(tmp_path, "      issuer: https://idp.test\n      provider_ca: ca.pem\n")
    assert asked == [("https://idp.test", f"{tmp_path}/ca.pem")]
    assert (made.authorization_endpoint, made.token_endpoint) == ("https://idp.test/a", "https://idp.test/t")
    assert (made.end_session_endpoint, made.client_auth) == ("https://idp.test/e", "basic")
    assert (made.client_secret, made.cookie_secret) == (f"{tmp_path}/client.secret", f"{tmp_path}/cookie.secret")
    assert (made.provider_ca, made.callback, made.signout) == (
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


def test_nobody_is_asked_when_nothing_is_missing(tmp_path):
    made, asked = login(tmp_path, OWN)
    assert asked == []
    assert (made.end_session_endpoint, made.client_auth) == ("", "post")
    assert made.provider_ca.startswith("/etc/")
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


def test_a_login_that_cannot_be_planned_is_a_configuration_error(tmp_path):
    with pytest.raises(ConfigError, match=r"authz\.yaml: envoy: https://idp\.test is not there"):
        login(tmp_path, "      issuer: https://idp.test\n", DiscoveryError("https://idp.test is not there"))
    with pytest.raises(ConfigError, match="http is for this machine"):
        login(tmp_path, OWN.replace("https://own.test/t", "http://own.test/t"))


def test_every_worker_is_an_endpoint(tmp_path):
    text = FULL.replace("workers: 1", "workers: 3").replace(', "127.0.0.1:9191"', "")
    assert plan(tmp_path, text).authz_endpoints == ("127.0.0.1:9190", "127.0.0.1:9191", "127.0.0.1:9192")


def test_the_provider_is_heard_where_the_server_listens_for_it(tmp_path):
    made, _asked = login(tmp_path, OWN)
    assert made.backchannel == ""
    file = tmp_path / "authz.yaml"
    file.write_text(file.read_text() + 'revocation: {backchannel: "127.0.0.1:9170"}\n')
    assert plan_of(settings.load(file), str(file)).inbound.login.backchannel == "127.0.0.1:9170"
