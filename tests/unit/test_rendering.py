import pytest

from authz import settings
from authz.errors import ConfigError
from authz.rendering import plan_of

FULL = """
version: 1
workers: 1
listen: ["127.0.0.1:9190", "127.0.0.1:9191"]
tls: {certificate: a.pem, key: a.key}
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
         base_path: /airflow}
      - {name: two, address: "two.internal:8081", hosts: ["*.two.test"], audience: two, tls: true}
  egress:
    listen: 127.0.0.1:8090
    upstreams:
      - name: orders
        address: 10.0.0.1:443
        hosts: [orders.internal]
        tls: true
        tls_ca: o.pem
        tls_name: orders
        timeout: 5s
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
    assert two.tls.server_name == "two.internal"
    assert two.tls.ca.startswith("/etc/")
    orders = made.egress.upstreams[0]
    assert (orders.tls.server_name, orders.tls.ca, orders.timeout) == ("orders", f"{tmp_path}/o.pem", 5.0)
    assert made.egress.tls is None


def test_one_plane_is_enough_and_defaults_are_plain(tmp_path):
    made = plan(tmp_path, 'version: 1\nenvoy: {egress: {upstreams: [{name: a, address: "127.0.0.1:1"}]}}\n')
    assert made.inbound is None
    assert made.authz_tls is None
    assert made.egress.upstreams[0].hosts == ("*",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version: 1\n", "there is no `envoy` section"),
        ("version: 1\nenvoy: {}\n", "neither"),
        ('version: 1\nenvoy: {inbound: {listen: "name:1", upstreams: [{name: a, address: "a:1"}]}}\n', "not a name"),
    ],
)
def test_what_cannot_be_planned_is_a_configuration_error(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        plan(tmp_path, text)


def test_every_worker_is_an_endpoint(tmp_path):
    text = FULL.replace("workers: 1", "workers: 3").replace(', "127.0.0.1:9191"', "")
    assert plan(tmp_path, text).authz_endpoints == ("127.0.0.1:9190", "127.0.0.1:9191", "127.0.0.1:9192")
