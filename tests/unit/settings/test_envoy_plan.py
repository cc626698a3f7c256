import subprocess
import sys

import pytest

from authz.core.addresses import HostPort, SocketPath, parse_address
from authz.settings.plan.egress import Destination, Dynamic, Egress
from authz.settings.plan.execution import Execution
from authz.settings.plan.front import EnvoyPlan, Listener, Upstream
from authz.settings.plan.peers import ClientTls


def upstream(**changes):
    return Upstream(**{"name": "airflow", "addresses": ("127.0.0.1:8081",)} | changes)


def listener(**changes):
    return Listener(**{"listen": "127.0.0.1:8080", "upstreams": (upstream(),)} | changes)


def destination(**changes):
    return Destination(**{"name": "orders", "addresses": ("127.0.0.1:1",), "hosts": ("orders.test",)} | changes)


def egress(**changes):
    return Egress(**{"listen": "127.0.0.1:8090", "destinations": (destination(),)} | changes)


def other(**changes):
    return destination(**{"name": "other", "hosts": ("other.test",)} | changes)


def execution(**changes):
    return Execution(**{"listen": "127.0.0.1:8091", "addresses": ("127.0.0.1:8080",)} | changes)


def plan(**changes):
    return EnvoyPlan(**{"authz_endpoints": ("127.0.0.1:9190",), "inbound": listener()} | changes)


def test_the_plan_can_be_imported_without_the_price_of_the_envoy_types():
    program = "import sys, authz.settings.plan.front; sys.exit('envoy_data_plane' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/a.sock", SocketPath("/run/a.sock")),
        ("127.0.0.1:80", HostPort("127.0.0.1", 80, is_ip=True)),
        ("[2001:DB8::1]:80", HostPort("2001:db8::1", 80, is_ip=True)),
        ("airflow-0.svc.internal:65535", HostPort("airflow-0.svc.internal", 65535, is_ip=False)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:65536",
            "host:8o",
            "host:\u0663",
            "host:-1",
            "-host:80",
            "a b:80",
        ),
        *("[::1]", "::1:80", "[nope]:80", "http://host:80", "unix:", "unix:relative", "unix:/a\0b", "host:-1"),
    ],
)
def test_addresses_that_are_none(text):
    with pytest.raises(ValueError, match=r"."):
        parse_address(text)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plan(authz_endpoints=()), "at least one address"),
        (lambda: plan(authz_endpoints=("a:1", "unix:/b")), "cannot mix"),
        (lambda: plan(authz_endpoints=("a:1", "a:1")), "given twice"),
        (lambda: plan(inbound=None), "neither"),
        (lambda: plan(egress=egress(listen="127.0.0.1:8080")), "address of a listener is given twice"),
        (
            lambda: plan(execution=execution(listen="127.0.0.1:8080", addresses=("a:1",))),
            "address of a listener is given twice",
        ),
        (lambda: plan(admin_listen="127.0.0.1:8080"), "address of a listener is given twice"),
        (lambda: plan(authz_timeout=0), "authz_timeout"),
        (lambda: plan(max_request_headers_kib=0), "max_request_headers_kib"),
        (lambda: plan(max_request_headers_kib=8193), "max_request_headers_kib"),
        (lambda: plan(admin_listen="0.0.0.0:9901"), "loopback"),
        (lambda: plan(admin_listen="localhost:9901"), "loopback"),
        (lambda: listener(listen="localhost:80"), "an IP address"),
        (lambda: listener(upstreams=()), "needs an upstream"),
        (lambda: listener(idle=0), "idle"),
        (lambda: listener(longest_stream=-1), "idle"),
        (lambda: listener(upstreams=(upstream(), upstream())), "given twice"),
        (lambda: listener(upstreams=(upstream(), upstream(name="b"))), "'\\*': this host is given twice"),
        (lambda: upstream(name="A"), "lower-case"),
        (lambda: upstream(addresses=()), "at least one address"),
        (lambda: upstream(hosts=()), "at least one host"),
        (lambda: upstream(hosts=("A.test",)), "lower-case"),
        (lambda: upstream(hosts=("a.test:80",)), "without port"),
        (lambda: upstream(hosts=("a.*",)), r"\*.suffix"),
        (lambda: upstream(health_path="health"), "starts with /"),
        (lambda: upstream(host_rewrite="a b"), "not a Host"),
        (lambda: upstream(timeout=-1), "negative"),
        *(
            (lambda base=base: upstream(base_path=base), "a base path")
            for base in ("airflow", "/", "//", "/a/", "/a//b", "/../a", "/a/.", "/a/..", "/a b", "/a%2fb", "/é", "/a\n")
        ),
        (lambda: upstream(narrows_dags=True, audience=""), "without an audience"),
        (lambda: destination(name="A"), "lower-case"),
        (lambda: destination(addresses=()), "at least one address"),
        (lambda: destination(hosts=()), "at least one host"),
        *((lambda host=host: destination(hosts=(host,)), r"\*\.suffix") for host in ("*", "a.*", "A.b", "a:80", "*a")),
        (lambda: destination(health_path="health"), "starts with /"),
        (lambda: destination(timeout=-1), "negative"),
        (lambda: egress(listen="localhost:80"), "an IP address"),
        (lambda: egress(destinations=()), "needs a destination"),
        (lambda: destination(listen="localhost:1"), "an IP address"),
        *((lambda path=path: destination(path=path), "base URL's path") for path in ("orders", "/", "/a/", "/a%2fb")),
        (lambda: destination(path="/a", hosts=("*.a.test", "a.test")), "no pattern"),
        (lambda: destination(listen="127.0.0.1:1", hosts=("*.a.test",)), "no pattern"),
        *(
            (lambda hosts=hosts: destination(tunnel=True, hosts=hosts), "names")
            for hosts in (("*.a",), ("10.0.0.1", "[::1]"))
        ),
        (lambda: destination(tunnel=True, addresses=("unix:/run/a.sock",)), "a TCP port"),
        (lambda: egress(destinations=(destination(listen="127.0.0.1:8090"),)), "address of a listener is given twice"),
        (lambda: egress(destinations=(destination(path="/a"), other(path="/a"))), "path of a base URL is given twice"),
        (lambda: egress(destinations=(destination(path="/a/b"), other(path="/a"))), "another destination below it"),
        (lambda: egress(destinations=(destination(path="/a"), other(hosts=("localhost",)))), "the listener's own host"),
        *(
            (
                lambda own=own, there=there: egress(listen=own, destinations=(destination(addresses=(there,)),)),
                "call itself",
            )
            for own, there in (
                ("127.0.0.1:8090", "127.0.0.1:8090"),
                ("127.0.0.1:8090", "LOCALHOST:8090"),
                ("127.0.0.1:8090", "0.0.0.0:8090"),
                ("0.0.0.0:8090", "127.0.0.9:8090"),
                ("[::1]:8090", "localhost:8090"),
                ("unix:/run/a.sock", "unix:/run/a.sock"),
            )
        ),
        (lambda: Dynamic(ports=()), "need ports"),
        (lambda: Dynamic(ports=(0,)), "need ports"),
        (lambda: Dynamic(ports=(80, 80)), "given twice"),
        *((lambda address=address: Dynamic(resolvers=(address,)), "DNS server") for address in ("dns:53", "unix:/a")),
        (lambda: execution(listen="localhost:1"), "an IP address"),
        (lambda: execution(addresses=()), "at least one address"),
        (lambda: execution(idle=0), "idle"),
        (lambda: execution(longest_stream=0), "idle"),
        (lambda: execution(addresses=("localhost:8091",)), "call itself"),
        (lambda: egress(idle=0), "idle"),
        (lambda: egress(longest_stream=-1), "idle"),
        (
            lambda: egress(destinations=(destination(), destination(hosts=("b.test",)))),
            "name is given twice",
        ),
        (lambda: egress(destinations=(destination(), destination(name="b"))), "this host is given twice"),
        (lambda: ClientTls(server_name=""), "server_name"),
        (lambda: ClientTls(server_name="a", ca=""), "CA"),
        (lambda: ClientTls(server_name="a", certificate="/c"), "both"),
    ],
)
def test_a_plan_that_cannot_be_rendered_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_destination_is_asked_for_by_its_first_name_that_is_no_pattern():
    assert destination(hosts=("*.a.test", "b.test", "c.test")).named == "b.test"
    assert destination(hosts=("*.a.test",)).named == ""


def test_what_only_looks_like_the_listener_itself_is_another_place():
    there = ("127.0.0.2:8090", "127.0.0.1:8091", "localhost:1", "orders.test:8090", "unix:/run/a.sock", "10.0.0.1:8090")
    assert egress(destinations=(destination(addresses=("127.0.0.1:1",)),)).listens == ("127.0.0.1:8090",)
    for address in there:
        assert egress(destinations=(destination(addresses=(address,)),)).destinations
    assert egress(listen="10.0.0.5:8090", destinations=(destination(addresses=("localhost:8090",)),)).destinations
    assert egress(destinations=(), dynamic=Dynamic()).dynamic.ports == (443, 80)
