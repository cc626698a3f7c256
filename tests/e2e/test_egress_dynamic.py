"""Hosts that are nobody's: what they resolve to is judged before anything is connected to (security.md d-40).

"Public" is one loopback address here: the rendered ranges are altered to leave it out, and nothing else of them.
"""

import contextlib
import errno
import json
import socket
import ssl

import pytest

from tests.e2e.certificates import Authority
from tests.e2e.dns_server import DnsServer
from tests.e2e.echo_upstream import EchoUpstream
from tests.e2e.envoy_harness import Envoy, newest, wait_for
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import ScriptedAuthz, deny
from tests.support import envoy_settings
from tests.support.ports import loopback

pytestmark = pytest.mark.e2e

PUBLIC, DEAD = "127.7.7.7", "127.7.7.8"
METADATA = "169.254.169.254"


class Outside:
    """A public server in plain HTTP and one in TLS, and traps on the same ports of private addresses."""

    def __init__(self, folder):
        self._folder = folder
        self._running = contextlib.ExitStack()
        self.authority = Authority(folder)

    def __enter__(self):
        with contextlib.ExitStack() as starting:
            enter = starting.enter_context
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            pair = self.authority.issue("public.test")
            context.load_cert_chain(pair.certificate, pair.key)
            self.traps = [*enter(_traps()), *enter(_traps())]
            self.ports = list(dict.fromkeys(trap.getsockname()[1] for trap in self.traps))
            self.plain = enter(EchoUpstream(host=PUBLIC, port=self.ports[0]))
            self.tls = enter(EchoUpstream(context, host=PUBLIC, port=self.ports[1]))
            self.named = enter(EchoUpstream())
            self.dns, self.authz = enter(DnsServer()), enter(ScriptedAuthz())
            self.envoy = enter(Envoy(self._settings(), self._folder, newest(), alter=self._alter))
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_):
        self._running.close()

    def reset(self):
        for part in (self.plain, self.tls, self.named, self.dns, self.authz):
            part.reset()

    def get(self, host, target=None, **parts):
        return exchange(self.envoy.egress, request(target or f"http://{host}/x", host=host, **parts))

    def plain_host(self, name):
        return f"{name}:{self.ports[0]}"

    def tls_host(self, name):
        return f"{name}:{self.ports[1]}"

    @property
    def connections(self):
        """How many connections Envoy has tried to open to dynamic hosts."""
        return sum(self.envoy.stat(f"cluster.egress.dynamic.{way}.upstream_cx_total") for way in ("plain", "tls"))

    @property
    def trapped(self):
        """Whether anybody connected to a private address."""
        for trap in self.traps:
            with contextlib.suppress(BlockingIOError):
                trap.accept()
                return True
        return False

    def _settings(self):
        named = {"name": "named", "address": self.named.address, "hosts": ["named.test"]}
        dynamic = {"ports": [self.ports[1], 80], "ca": str(self.authority.ca), "resolvers": [self.dns.address]}
        section = {
            "egress": {"listen": loopback(), "destinations": [named], "dynamic": dynamic},
            "admin": loopback(),
            "access_log": "access.log",
        }
        return envoy_settings.load(self._folder, section, (self.authz.endpoint,))

    def _alter(self, config):
        """127.7.7.0/24 is public, the plain port a free one, and a name may change after a second."""
        text = json.dumps(config)
        whole = '"address_prefix": "127.0.0.0", "prefix_len": 8'
        assert text.count(whole) == 4
        text = text.replace(whole, '"address_prefix": "127.0.0.0", "prefix_len": 14')
        assert text.count("(?::80)?") == 1
        text = text.replace("(?::80)?", f"(?::{self.ports[0]})?")
        assert text.count('"dns_refresh_rate": "60s"') == 3
        text = text.replace('"dns_refresh_rate": "60s"', '"dns_refresh_rate": "1s", "dns_min_refresh_rate": "1s"')
        config.clear()
        config.update(json.loads(text))


@contextlib.contextmanager
def _traps():
    """Listeners on one port of this machine's private addresses, on which nothing should ever arrive."""
    for _ in range(20):
        with contextlib.ExitStack() as stack:
            found = [stack.enter_context(_listening("127.0.0.1", 0))]
            try:
                found.append(stack.enter_context(_listening("::1", found[0].getsockname()[1])))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    continue  # another port, then; any other reason is a machine without IPv6
            yield found
            return
    raise AssertionError("no port is free on both")


def _listening(host, port):
    trap = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    trap.setblocking(False)
    return trap


@pytest.fixture(scope="module")
def running_outside(tmp_path_factory):
    with Outside(tmp_path_factory.mktemp("dynamic")) as outside:
        yield outside


@pytest.fixture
def outside(running_outside):
    running_outside.reset()
    return running_outside


def test_a_host_that_is_allowed_is_looked_up_and_called(outside):
    outside.dns.say("plain.test", (PUBLIC,))
    assert outside.get(outside.plain_host("plain.test")).status == 200
    check = outside.authz.only.attributes
    assert dict(check.context_extensions) == {"plane": "egress"}
    assert check.request.http.host == outside.plain_host("plain.test")
    assert (outside.plain.only.target, outside.plain.only.all("host")) == ("/x", [outside.plain_host("plain.test")])
    assert outside.plain.only.all("x-forwarded-for") == []


def test_envoy_speaks_tls_on_all_ports_but_80_and_the_host_must_answer_for_itself(outside):
    outside.dns.say("public.test", (PUBLIC,))
    outside.dns.say("other.test", (PUBLIC,))
    assert outside.get(outside.tls_host("public.test")).status == 200
    assert outside.tls.only.all("host") == [outside.tls_host("public.test")]
    assert outside.get(outside.tls_host("other.test")).status == 503
    assert len(outside.tls.requests) == 1


def test_what_is_denied_is_not_even_looked_up(outside):
    outside.dns.say("denied.test", (PUBLIC,))
    outside.authz.answer = deny
    before = outside.connections
    assert outside.get(outside.plain_host("denied.test")).status == 403
    assert outside.get(outside.tls_host("denied.test")).status == 403
    assert outside.dns.asked == []
    assert outside.connections == before


def test_a_destination_of_our_own_stays_what_it_is(outside):
    outside.dns.say("named.test", (PUBLIC,))
    assert outside.get("named.test").status == 200
    assert outside.authz.only.attributes.context_extensions["destination"] == "named"
    assert len(outside.named.requests) == 1
    assert outside.dns.asked == []


@pytest.mark.parametrize("port", ["1", "8090", "22"])
def test_other_ports_lead_nowhere(outside, port):
    outside.dns.say("ports.test", (PUBLIC,))
    assert outside.get(f"ports.test:{port}").status == 404
    assert outside.dns.asked == []


def test_a_tunnel_leads_to_no_such_host(outside):
    outside.dns.say("tunnel.test", (PUBLIC,))
    for port in (443, *outside.ports):
        with Connection(outside.envoy.egress) as connection:
            connection.send(f"CONNECT tunnel.test:{port} HTTP/1.1\r\nHost: tunnel.test:{port}\r\n\r\n".encode())
            assert connection.response().status == 403
    assert outside.dns.asked == []
    assert len(outside.authz.checks) == 3


# --- addresses that are not public


SPELLINGS = [
    METADATA,
    f"{METADATA}.",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.16689662",
    f"[::ffff:{METADATA}]",
    "[::ffff:a9fe:a9fe]",
    f"[::{METADATA}]",
    f"[64:ff9b::{METADATA}]",
    "[2002:a9fe:a9fe::1]",
    "[fd00:ec2::254]",
    "[fe80::1]",
    "[fe80::1%25lo]",
]


@pytest.mark.parametrize("host", SPELLINGS)
def test_the_metadata_address_is_not_connected_to_in_any_spelling(outside, host):
    before = outside.connections
    for authority in (outside.plain_host(host), outside.tls_host(host), host):
        assert outside.get(authority).status in {400, 403, 404, 503}, authority
    assert outside.connections == before


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "127.1", "0", "0.0.0.0", "localhost", "[::1]", "[::]"])
def test_this_machine_is_not_connected_to_in_any_spelling(outside, host):
    before = outside.connections
    for authority in (outside.plain_host(host), outside.tls_host(host)):
        assert outside.get(authority).status in {400, 403, 404, 503}, authority
    assert outside.connections == before
    assert not outside.trapped


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "127.0.0.1", METADATA, "0.0.0.0", "224.0.0.1"),
        "168.63.129.16",
        *("255.255.255.255", "192.0.0.192", "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1", "fd00:ec2::254"),
        *("fc00::1", "ff02::1", f"::ffff:{METADATA}", "::ffff:127.0.0.1", f"64:ff9b::{METADATA}", "2002:7f00:1::"),
        *(f"64:ff9b:1::{METADATA}", "2001:0:a9fe:a9fe::", "2001:db8::1", f"::{METADATA}", "100::1", "fec0::1"),
    ],
)
def test_a_name_that_leads_to_no_public_address_is_not_connected_to(outside, address):
    name = f"{address.encode().hex()}.test"
    outside.dns.say(name, (address,))
    before = outside.connections
    for authority in (outside.plain_host(name), outside.tls_host(name)):
        assert outside.get(authority).status in {403, 503}
    assert outside.connections == before
    assert not outside.trapped
    assert name in outside.dns.asked


def test_a_private_address_beside_a_public_one_is_never_the_second_try(outside):
    outside.dns.say("mixed.test", (DEAD, "127.0.0.1", "::1"))
    outside.dns.say("reversed.test", ("127.0.0.1", PUBLIC))
    assert outside.get(outside.plain_host("mixed.test")).status == 503
    assert outside.get(outside.plain_host("reversed.test")).status == 200
    assert len(outside.plain.requests) == 1
    assert not outside.trapped


def test_a_name_that_changes_from_public_to_private_never_leads_there(outside):
    """DNS rebinding: the first answer is good, all others are not; asked for again and again, while they come."""
    outside.dns.say("rebind.test", (PUBLIC,), ("127.0.0.1",))
    host = outside.plain_host("rebind.test")
    assert outside.get(host).status == 200

    def asked_again():
        assert outside.get(host).status in {200, 503}
        return outside.dns.times("rebind.test") >= 3

    wait_for(asked_again, "the name is not looked up again", pause=outside.envoy.pause)
    for _ in range(5):
        assert outside.get(host).status in {200, 503}
    assert not outside.trapped


def test_a_name_that_changes_from_private_to_public_is_called_from_then_on(outside):
    outside.dns.say("moved.test", ("10.0.0.1",), (PUBLIC,))
    host = outside.plain_host("moved.test")
    assert outside.get(host).status == 503
    wait_for(lambda: outside.get(host).status == 200, "the name stays refused", pause=outside.envoy.pause)
    assert not outside.trapped


def test_a_name_that_does_not_resolve_is_503_without_a_connection(outside):
    before = outside.connections
    assert outside.get(outside.plain_host("unknown.test")).status == 503
    assert outside.connections == before


def test_a_redirect_of_such_a_host_to_another_is_refused(outside):
    outside.dns.say("redirect.test", (PUBLIC,))
    outside.plain.status = 302
    outside.plain.extra_headers = (f"Location: http://{METADATA}/latest/meta-data/",)
    answer = outside.get(outside.plain_host("redirect.test"))
    assert answer.status == 502
    assert answer.header("location") is None
