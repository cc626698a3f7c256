"""Several upstreams, proxies of one's own in front, Unix sockets and TLS on every side, with a real Envoy."""

import ssl

import grpc
import pytest

from tests.e2e.certificates import Authority
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, settings_for
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz
from tests.support import envoy_settings
from tests.support.ports import loopback

pytestmark = pytest.mark.e2e


@pytest.fixture
def authority(tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    return Authority(folder)


def client_context(authority, **limits):
    context = ssl.create_default_context(cafile=authority.ca)
    for name, value in limits.items():
        setattr(context, name, value)
    return context


def server_context(pair):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def inbound_only(folder, authz, *upstreams):
    section = {"inbound": {"listen": loopback(), "upstreams": upstreams}, "admin": loopback()}
    return envoy_settings.load(folder, section, (authz.endpoint,))


# --- routes


def test_host_chooses_the_upstream_whatever_its_case_port_and_last_dot(envoy_binary, tmp_path):
    with EchoUpstream() as first, EchoUpstream() as second, ScriptedAuthz() as authz:
        upstreams = (
            {"name": "first", "address": first.address, "hosts": ["one.test"], "audience": "aud-1"},
            {"name": "second", "address": second.address, "hosts": ["two.test", "*.two.test"], "audience": "aud-2"},
        )
        with Envoy(inbound_only(tmp_path, authz, *upstreams), tmp_path, envoy_binary) as envoy:
            for host, audience in [
                *(("one.test", "aud-1"), ("ONE.test:8080", "aud-1"), ("one.test.", "aud-1")),
                *(("two.test", "aud-2"), ("a.two.test", "aud-2"), ("a.b.two.test:1", "aud-2")),
            ]:
                authz.reset()
                assert exchange(envoy.inbound, request("/x", host=host)).status == 200
                assert authz.only.attributes.context_extensions["audience"] == audience
            assert (len(first.requests), len(second.requests)) == (3, 3)
            for host in ("one.test.evil", "xone.test", "one.test,two.test", "two.test@one.test"):
                authz.reset()
                assert exchange(envoy.inbound, request("/x", host=host)).status in {400, 404}
                assert all("audience" not in check.attributes.context_extensions for check in authz.checks)
            assert (len(first.requests), len(second.requests)) == (3, 3)


def test_the_host_is_rewritten_only_after_it_was_judged(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        target = {"name": "api", "address": upstream.address, "hosts": ["api"], "host_rewrite": "api.example.com"}
        with Envoy(inbound_only(tmp_path, authz, target), tmp_path, envoy_binary) as envoy:
            assert exchange(envoy.inbound, request("/v1?x=1", host="api")).status == 200
        assert authz.only.attributes.request.http.host == "api"
        assert upstream.only.all("host") == ["api.example.com"]
        assert upstream.only.target == "/v1?x=1"


def test_a_proxy_of_ones_own_says_who_the_client_is(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        settings = settings_for((authz.endpoint,), upstream.address, tmp_path, trusted_hops=1)
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            exchange(envoy.inbound, request("/x", "X-Forwarded-For: 192.0.2.66, 198.51.100.7"))
            assert envoy.access_log(1)[0]["client"] == "198.51.100.7"
        # ext_authz is shown the connection's other end, whatever the header says
        assert authz.only.attributes.source.address.socket_address.address == "127.0.0.1"
        assert upstream.only.all("x-forwarded-for") == ["198.51.100.7"]


def test_everything_on_unix_sockets(envoy_binary, tmp_path):
    with EchoUpstream() as upstream, ScriptedAuthz(f"unix:{tmp_path}/authz.sock") as authz:
        sockets = {"listen": f"unix:{tmp_path}/in.sock", "envoy": {"admin": f"unix:{tmp_path}/admin.sock"}}
        settings = settings_for((authz.endpoint,), upstream.address, tmp_path, **sockets)
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            assert exchange(envoy.inbound, request("/x", "X-Forwarded-For: 192.0.2.66")).status == 200
        assert upstream.only.all("x-forwarded-for") == []


# --- TLS towards clients


@pytest.fixture
def edge(envoy_binary, tmp_path, authority):
    pair = authority.issue("gate.test")
    with EchoUpstream() as upstream, ScriptedAuthz() as authz:
        tls = {"certificate": str(pair.certificate), "key": str(pair.key)}
        settings = settings_for((authz.endpoint,), upstream.address, tmp_path, tls=tls)
        with Envoy(settings, tmp_path, envoy_binary) as envoy:
            yield envoy, upstream


def test_the_edge_speaks_tls_and_sets_x_forwarded_proto_to_https(edge, authority):
    envoy, upstream = edge
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_context(authority, minimum_version=version, maximum_version=version)
        assert exchange(envoy.inbound, request("/x"), tls=context).status == 200
    assert [seen.all("x-forwarded-proto") for seen in upstream.requests] == [["https"], ["https"]]


def test_the_edge_offers_http_2(edge, authority):
    envoy, _ = edge
    context = client_context(authority)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Connection(envoy.inbound, context) as connection:
        assert connection.protocol == "h2"


def test_the_edge_refuses_old_tls_and_plain_text(edge, authority):
    envoy, upstream = edge
    context = client_context(authority)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        Connection(envoy.inbound, context)
    with Connection(envoy.inbound) as connection:
        connection.send(request("/x"))
        assert connection.closed()
    assert upstream.requests == []


# --- TLS towards upstreams and the authorizer


@pytest.mark.parametrize(
    ("names", "trusted", "status"),
    [
        (("airflow.test",), True, 200),
        (("other.test", "airflow.test"), True, 200),
        (("other.test",), True, 503),
        (("*.test",), True, 200),
        (("airflow.test",), False, 503),
    ],
)
def test_an_upstreams_certificate_must_be_trusted_and_name_it(envoy_binary, authority, names, trusted, status):
    tmp_path = authority.folder.parent
    pair = authority.issue(*names, stem="upstream")
    other = tmp_path / "other"
    other.mkdir()
    bundle = authority.ca if trusted else Authority(other).ca
    with EchoUpstream(server_context(pair)) as upstream, ScriptedAuthz() as authz:
        tls = {"tls": True, "tls_name": "airflow.test", "tls_ca": str(bundle)}
        target = {"name": "airflow", "address": upstream.address, **tls}
        with Envoy(inbound_only(tmp_path, authz, target), tmp_path, envoy_binary) as envoy:
            assert exchange(envoy.inbound, request("/x")).status == status
        assert len(upstream.requests) == (status == 200)


@pytest.mark.parametrize(
    ("name", "own", "status"), [("authz.test", True, 200), ("evil.test", True, 503), ("authz.test", False, 503)]
)
def test_the_authorizer_over_mutual_tls(envoy_binary, authority, name, own, status):
    tmp_path = authority.folder.parent
    server, client = authority.issue(name), authority.issue("envoy.test")
    credentials = grpc.ssl_server_credentials(
        [(server.key.read_bytes(), server.certificate.read_bytes())],
        authority.ca.read_bytes(),
        require_client_auth=True,
    )
    pair = {"authz_tls_certificate": str(client.certificate), "authz_tls_key": str(client.key)} if own else {}
    gate = {"tls": {"certificate": str(server.certificate), "key": str(server.key)}}
    names = {"authz_tls_name": "authz.test", "authz_tls_ca": str(authority.ca)}
    with EchoUpstream() as upstream, ScriptedAuthz(credentials=credentials) as authz:
        settings = settings_for((authz.endpoint,), upstream.address, tmp_path, envoy={**names, **pair}, gate=gate)
        with Envoy(settings, tmp_path, envoy_binary, alone=status != 200) as envoy:
            assert exchange(envoy.inbound, request("/x")).status == status
        assert len(upstream.requests) == len(authz.checks) == (status == 200)


@pytest.mark.parametrize(
    ("hosts", "asked", "named"),
    [
        (("orders.test",), "orders.test:8090", "orders.test"),
        (("orders.test", "other.test"), "other.test", "orders.test"),
        (("*.test",), "a.test", "a.test"),
        (("*.test",), "a.test", "b.test"),
        (("*.test",), "a.test", "*.test"),
    ],
)
def test_a_destinations_certificate_must_name_the_host_that_was_checked(envoy_binary, authority, hosts, asked, named):
    status = 200 if named in {asked.partition(":")[0], "*.test"} else 503
    tmp_path = authority.folder.parent
    context = server_context(authority.issue(named, stem="orders"))
    asked_for = []
    context.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    with EchoUpstream(context) as upstream, ScriptedAuthz() as authz:
        tls = {"tls": True, "tls_ca": str(authority.ca)}
        orders = {"name": "orders", "address": upstream.address, "hosts": hosts, **tls}
        section = {"egress": {"listen": loopback(), "destinations": [orders]}, "admin": loopback()}
        with Envoy(envoy_settings.load(tmp_path, section, (authz.endpoint,)), tmp_path, envoy_binary) as envoy:
            assert exchange(envoy.egress, request("/x", host=asked)).status == status
        assert set(asked_for) == {asked.partition(":")[0]}
        assert len(upstream.requests) == (status == 200)
