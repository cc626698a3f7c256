"""Mistakes in the section `envoy`: each is reported at once with the others, at its own place, with what to do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from authz import settings
from authz.core.errors import ConfigError
from authz.envoy_config.provider import complete
from tests.support.envoy_settings import parsed, text

SAFE = "set `tls: true`, or `insecure_credential: true` where the network itself is safe"
MANY = """version: 1
workers: 1
envoy:
  admin: 0.0.0.0:9901
  sds: ""
  max_conections: 5
  inbound:
    listen: localhost:8080
    login:
      public_url: https://airflow.test
      issuer: https://idp.test
      client_id: gate
      client_secret_file: a.secret
    upstreams:
      - {name: one, address: "127.0.0.1:8081", narrows_dags: true}
      - name: two
        address: 127.0.0.1:8082
        hosts: ["*"]
        tls_name: two.test
  egress:
    destinations:
      - {name: a, address: "10.0.0.1:80", hosts: [A.test]}
      - {name: b, address: "10.0.0.2:80", hosts: [b.test], health_path: up, credential: {secret_file: b.secret}}
      - {name: c, address: "127.0.0.1:8090", hosts: [c.test:80]}
      - {name: d, address: "10.0.0.3:80", hosts: [b.test], path: orders}
      - {name: d, address: ["10.0.0.3:80", "10.0.0.3:80"], hosts: [d.test]}
      - {name: d, address: "127.0.0.1:8090", hosts: [e.test]}
  execution: {address: "127.0.0.1:8091", authz: true}
"""


DESTINATION = "envoy: {egress: {destinations: [{name: a, hosts: [a], "


def problems(data):
    with pytest.raises(ConfigError) as caught:
        settings.parse(data.encode(), Path("/run/gate/authz.yaml"))
    return caught.value.problems


def taken(data):
    return settings.parse(data.encode(), Path("/run/gate/authz.yaml"))


def test_all_mistakes_of_all_sections_are_reported_at_once_each_at_its_place():
    found = problems(MANY)
    assert [(problem.line, problem.column, problem.message) for problem in found] == [
        (4, 10, "'0.0.0.0:9901': Envoy's admin interface has no login: only loopback or unix:"),
        (6, 3, "unknown key `max_conections`"),
        (8, 13, "'localhost:8080': a listener needs an IP address, not a name"),
        (10, 7, "a login needs `sds`, the folder of the files that name its secrets"),
        (15, 62, "narrows_dags without `assertion`"),
        (15, 62, "upstream one: it cannot narrow DAGs without an audience: the assertion names them"),
        (18, 17, "'*': this host is given twice"),
        (19, 19, "`tls_name` without `tls: true`: the connection would be plaintext"),
        (22, 51, "'A.test': a destination's host is a lower-case name or *.suffix, without port"),
        (23, 73, "'up': a health path starts with /"),
        (23, 89, "a credential needs `sds`, the folder of the file that names its secret"),
        (23, 89, f"destination b: its credential would cross the network in the clear: {SAFE}"),
        (24, 54, "'c.test:80': a destination's host is a lower-case name or *.suffix, without port"),
        (25, 51, "'b.test': this host is given twice"),
        (25, 66, "'orders': a base URL's path is plain and ends without a slash, as /orders does"),
        (26, 28, "'10.0.0.3:80': this address is given twice"),
        (27, 16, "'d': this destination name is given twice"),
        (27, 28, "'127.0.0.1:8090': a destination that is the egress listener itself would call itself"),
        (28, 24, "'127.0.0.1:8091': this is the execution listener itself, which would call itself"),
        (28, 42, "unknown key `authz`"),
    ]
    assert [problem.message for problem in found if not problem.hint] == []


@pytest.mark.parametrize(
    "lines",
    [
        'listen: ["0.0.0.0:9190"]\ntls: {certificate: a}',
        'listen: ["0.0.0.0:9190"]\ninsecure_listen: yes',
        'run_identity: {}\nassertion: {issuer: "https://gate.test"}',
        'run_identity: {airflow: "http://airflow.test", issuer: 5, jwks_file: a}\nassertion: {issuer: a, keys: [b]}',
        "envoy: {egress: {destinations: [{name: A}]}}",
        "envoy: {egress: {dynamic: {ports: []}}}",
        'envoy: {inbound: {upstreams: [{name: a, address: "a:1", narrows_dags: true, audience: 5}]}}\nassertion: {}',
        'envoy: {execution: {address: "127.0.0.1:1", tls: 5, tls_ca: ca.pem}}',
        DESTINATION + 'address: "a:1", tls: 5, credential: {secret_file: s}}]}}',
        DESTINATION + 'address: "127.0.0.1:1", credential: {secret_file: 5}}]}}',
    ],
)
def test_a_wrong_value_is_not_also_reported_as_missing(lines):
    found = problems(f"version: 1\n{lines}\n")
    assert found
    for problem in found:
        assert "without" not in problem.message, problem
        assert "needs" not in problem.message, problem
        assert "neither" not in problem.message, problem
        assert "either" not in problem.message, problem
        assert "reachable" not in problem.message, problem
        assert "in the clear" not in problem.message, problem


BEHIND = "upstreams: [{name: a, address: 'a:1'}]"
SPELLINGS = ["cookie.secret", "./cookie.secret", "/run/gate/cookie.secret", "../gate/cookie.secret"]
GATE_LOGIN = "envoy: {inbound: {login: {public_url: https://a.test, issuer: https://i.test, client_id: a, "


@pytest.mark.parametrize(
    "lines",
    [
        'envoy: {inbound: {upstreams: [{name: a, address: "a:1"}, {name: b, address: "b:1", hosts: b.test}]}}',
        f"envoy: {{inbound: {{listen: 8080, {BEHIND}}}, execution: {{address: 'a:2', listen: '127.0.0.1:8080'}}}}",
        'envoy: {egress: {listen: 9, destinations: [{name: a, hosts: [a], address: "127.0.0.1:8090"}]}}',
        'envoy: {execution: {listen: 9, address: "127.0.0.1:8091"}}',
        GATE_LOGIN
        + 'cookie_secret_file: 5, client_secret_file: cookie.secret}, upstreams: [{name: a, address: "a:1"}]}}',
        "limits: {token_bytes: 8k, message_bytes: 72KiB}",
        "run_identity: {timeout: 1, recheck: 1s}\nassertion: {issuer: https://gate.test, keys: [a]}",
        'admin: {listen: 5}\nlisten: ["127.0.0.1:9180"]',
        "policy: 5\nlog: {decisions: policy.yaml}",
    ],
)
def test_a_default_in_place_of_a_wrong_value_causes_no_further_mistake(lines):
    assert len(found := problems(f"version: 1\nworkers: 1\n{lines}\n")) == 1, found


@pytest.mark.parametrize("section", ["inbound: {upstreams: [{name: a, %s}]}", "execution: {%s}"])
def test_tls_to_a_unix_socket_needs_the_name_in_the_certificate(section):
    address = "tls: true, address: ['unix:/run/a.sock', '127.0.0.1:1']"
    (problem,) = problems(f"version: 1\nworkers: 1\nenvoy: {{{section % address}}}\n")
    assert "'unix:/run/a.sock': TLS to a Unix socket needs `tls_name`" in problem.message
    assert problem.line == 3
    taken(f"version: 1\nworkers: 1\nenvoy: {{{section % (address + ', tls_name: a.test')}}}\n")
    (wrong,) = problems(f"version: 1\nworkers: 1\nenvoy: {{{section % (address + ', tls_name: 5')}}}\n")
    assert "needs `tls_name`" not in wrong.message


def test_a_backchannel_port_that_envoy_must_know_is_a_port():
    login = GATE_LOGIN + f"client_secret_file: b, cookie_secret_file: c}}, {BEHIND}}}}}"
    text = "version: 1\nworkers: 1\nrevocation: {{backchannel: '127.0.0.1:{}'}}\n{}\n"
    (problem,) = problems(text.format(0, login))
    assert (problem.line, "its port must be known" in problem.message) == (3, True)
    taken(text.format(9191, login))
    taken(text.format(0, f"envoy: {{inbound: {{{BEHIND}}}}}"))


@pytest.mark.parametrize(
    "name", ["cookie.secret", "./cookie.secret", "/run/gate/cookie.secret", "../gate/cookie.secret"]
)
def test_the_provider_does_not_know_the_key_of_the_cookies_however_its_file_is_written(name):
    login = GATE_LOGIN + f"client_secret_file: {name}}}, {BEHIND}}}}}"
    (problem,) = problems(f"version: 1\nworkers: 1\n{login}\n")
    assert "client secret and cookie secret are one file" in problem.message
    assert problem.line == 3


@pytest.mark.parametrize(
    "lines",
    [
        'tls: {certificate: a, key: b, client_ca: ""}',
        'tls: {certificate: "", key: b}',
        'tls: {certificate: a, key: b, client_ca: c}\nenvoy: {authz_tls_certificate: "", authz_tls_key: b}',
        'envoy: {inbound: {tls: {certificate: a, key: b, client_ca: ""}, upstreams: [{name: a, address: "a:1"}]}}',
        'envoy: {inbound: {upstreams: [{name: a, address: "a:1", tls: true, tls_ca: ""}]}}',
    ],
)
def test_no_empty_name_takes_a_certificate_away(lines):
    assert "this needs the name of a file" in [one.message for one in problems(f"version: 1\n{lines}\n")]


@pytest.mark.parametrize(
    "lines",
    [
        "envoy: {admin: 'unix:/run/'}",
        "envoy: {inbound: {listen: 'unix:/run/', upstreams: [{name: a, address: 'a:1'}]}}",
        "envoy: {inbound: {upstreams: [{name: a, address: 'unix:/run/'}]}}",
        DESTINATION + "address: ['unix:/run/']}]}}",
    ],
)
def test_no_folder_is_a_socket(lines):
    found = [one.message for one in problems(f"version: 1\n{lines}\n")]
    assert any("a Unix socket is written unix:/absolute/path" in message for message in found), found


@pytest.mark.parametrize("key", ["idle_timeout", "longest_stream"])
@pytest.mark.parametrize("value", ["0s", "0.0001ms", "0.9ms", "9" * 400 + "d", "99999999999d"])
def test_no_duration_switches_a_limit_off(key, value):
    lines = f"envoy: {{inbound: {{{key}: {value}, upstreams: [{{name: a, address: 'a:1'}}]}}}}"
    assert [(one.line, one.column > 1) for one in problems(f"version: 1\n{lines}\n")] == [(2, True)]


@pytest.mark.parametrize(
    "lines",
    [
        "envoy: {{admin: '{}'}}",
        "envoy: {{inbound: {{listen: '{}', upstreams: [{{name: a, address: 'a:1'}}]}}}}",
        "envoy: {{inbound: {{upstreams: [{{name: a, address: '{}'}}]}}}}",
        "envoy: {{inbound: {{upstreams: [{{name: a, address: ['{0}', '{0}']}}]}}}}",
        "envoy: {{inbound: {{upstreams: [{{name: a, address: 'a:1', hosts: ['{}']}}]}}}}",
        "envoy: {{inbound: {{upstreams: [{{name: a, address: 'a:1', host_rewrite: '{}'}}]}}}}",
        "envoy: {{egress: {{dynamic: {{resolvers: ['{}']}}}}}}",
        "envoy: {{egress: {{destinations: [{{name: a, hosts: ['{}'], address: 'a:1'}}]}}}}",
    ],
)
@pytest.mark.parametrize("value", ["https://u:hunter2@h", "u:hunter2@h:443", "[u:hunter2@h]:443"])
def test_no_message_quotes_a_password(lines, value):
    found = problems(f"version: 1\n{lines.format(value)}\n")
    assert found
    assert "hunter2" not in "\n".join(map(str, found))


def test_settings_without_the_sections_that_are_wrong_are_still_checked():
    found = problems("version: one\nenvoy: {}\nkeys: {min_interval: 5s}\nlimits: 5\n")
    assert [(problem.line, problem.column) for problem in found] == [(1, 10), (2, 8), (4, 9)]
    assert problems("[]: 1\n")


def test_the_settings_can_be_imported_without_the_price_of_the_envoy_types():
    program = "import sys, authz.settings; sys.exit('envoy_data_plane' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(
    "address",
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
def test_addresses_that_are_none(address):
    with pytest.raises(ConfigError):
        parsed({"execution": {"address": address}})


def upstream(**changes):
    return {"name": "airflow", "address": "127.0.0.1:8081", **changes}


def inbound(*upstreams, **changes):
    return {"inbound": {"listen": "127.0.0.1:8080", "upstreams": upstreams or [upstream()], **changes}}


def destination(**changes):
    return {"name": "orders", "address": "127.0.0.1:1", "hosts": ["orders.test"], **changes}


def other(**changes):
    return destination(**{"name": "other", "hosts": ["other.test"], **changes})


def egress(*destinations, **changes):
    return {"egress": {"listen": "127.0.0.1:8090", "destinations": destinations or [destination()], **changes}}


def execution(**changes):
    return {"execution": {"listen": "127.0.0.1:8091", "address": "127.0.0.1:8080", **changes}}


def base_url(**changes):
    return egress(destination(**changes))


NO_BASE = ("airflow", "/", "//", "/a/", "/a//b", "/../a", "/a/.", "/a/..", "/a b", "/a%2fb", "/é", "/a\n")


@pytest.mark.parametrize(
    ("envoy", "message"),
    [
        ({}, "neither"),
        (inbound() | egress(listen="127.0.0.1:8080"), "address of a listener is given twice"),
        (inbound() | execution(listen="127.0.0.1:8080", address="a:1"), "address of a listener is given twice"),
        (inbound() | {"admin": "127.0.0.1:8080"}, "address of a listener is given twice"),
        (inbound() | {"authz_timeout": "0s"}, "greater than or equal to 0.05"),
        (inbound() | {"admin": "0.0.0.0:9901"}, "loopback"),
        (inbound() | {"admin": "localhost:9901"}, "loopback"),
        (inbound() | {"authz_tls_name": ""}, "this is empty"),
        (inbound() | {"max_connections": 0}, "greater than or equal to 1"),
        (inbound() | {"max_heap": "1MiB"}, "greater than or equal to"),
        (inbound(listen="localhost:80"), "an IP address"),
        ({"inbound": {"upstreams": []}}, "this is empty"),
        (inbound(idle_timeout="0s"), "for no limit"),
        (inbound(longest_stream="-1s"), "write a duration"),
        (inbound(longest_stream="0s"), "for no limit"),
        (inbound(trusted_hops=-1), "greater than or equal to 0"),
        (inbound(upstream(), upstream(hosts=["b.test"])), "upstream name is given twice"),
        (inbound(upstream(), upstream(name="b")), r"'\*': this host is given twice"),
        (inbound(upstream(name="A")), "not a name here"),
        (inbound(upstream(address=[])), "at least one address"),
        (inbound(upstream(address=["a:1", "unix:/b"])), "cannot mix"),
        (inbound(upstream(address=["a:1", "a:1"])), "given twice"),
        (inbound(upstream(hosts=[])), "this is empty"),
        (inbound(upstream(hosts=["A.test"])), "lower-case"),
        (inbound(upstream(hosts=["a.test:80"])), "without port"),
        (inbound(upstream(hosts=["a.*"])), r"\*.suffix"),
        (inbound(upstream(health_path="health")), "starts with /"),
        (inbound(upstream(host_rewrite="a b")), "not a Host"),
        (inbound(upstream(timeout="-1s")), "write a duration"),
        *((inbound(upstream(base_path=base)), "a base path") for base in NO_BASE),
        (inbound(upstream(narrows_dags=True)), "without an audience"),
        (inbound(upstream(tls=True, tls_name="a", tls_ca=5)), "expected text"),
        (base_url(name="A"), "not a name here"),
        (base_url(address=[]), "at least one address"),
        (base_url(hosts=[]), "this is empty"),
        *((base_url(hosts=[host]), r"\*\.suffix") for host in ("*", "a.*", "A.b", "a:80", "*a")),
        (base_url(health_path="health"), "starts with /"),
        (base_url(timeout="-1s"), "write a duration"),
        (egress(listen="localhost:80"), "an IP address"),
        ({"egress": {"destinations": []}}, "needs a destination"),
        (base_url(listen="localhost:1"), "an IP address"),
        *((base_url(path=path), "base URL's path") for path in ("orders", "/", "/a/", "/a%2fb")),
        (base_url(path="/a", hosts=["*.a.test", "a.test"]), "cannot be a pattern"),
        (base_url(listen="127.0.0.1:1", hosts=["*.a.test"]), "cannot be a pattern"),
        *((base_url(tunnel=True, hosts=hosts), "is a name") for hosts in (["*.a"], ["10.0.0.1", "[::1]"])),
        (base_url(tunnel=True, address="unix:/run/a.sock"), "a TCP port"),
        (base_url(listen="127.0.0.1:8090"), "address of a listener is given twice"),
        (egress(destination(path="/a"), other(path="/a")), "path of a base URL is given twice"),
        (egress(destination(path="/a/b"), other(path="/a")), "another destination is below it"),
        (egress(destination(path="/a"), other(hosts=["localhost"])), "the listener's own host"),
        *(
            (egress(destination(address=there), listen=own), "call itself")
            for own, there in (
                ("127.0.0.1:8090", "127.0.0.1:8090"),
                ("127.0.0.1:8090", "LOCALHOST:8090"),
                ("127.0.0.1:8090", "0.0.0.0:8090"),
                ("0.0.0.0:8090", "127.0.0.9:8090"),
                ("[::1]:8090", "localhost:8090"),
                ("unix:/run/a.sock", "unix:/run/a.sock"),
            )
        ),
        (egress(dynamic={"ports": []}), "this is empty"),
        (egress(dynamic={"ports": [0]}), "greater than or equal to 1"),
        (egress(dynamic={"ports": [80, 80]}), "given twice"),
        *((egress(dynamic={"resolvers": [address]}), "DNS server") for address in ("dns:53", "unix:/a")),
        (execution(listen="localhost:1"), "an IP address"),
        (execution(address=[]), "at least one address"),
        (execution(idle_timeout="0s"), "for no limit"),
        (execution(longest_stream="0s"), "for no limit"),
        (execution(address="localhost:8091"), "call itself"),
        (egress(idle_timeout="0s"), "for no limit"),
        (egress(longest_stream="0s"), "for no limit"),
        (egress(destination(), destination(hosts=["b.test"])), "name is given twice"),
        (egress(destination(), destination(name="b")), "this host is given twice"),
        (inbound() | {"authz_tls_certificate": "/c"}, "belong together"),
    ],
)
def test_what_cannot_be_rendered_is_refused_with_its_place(envoy, message):
    gate = {"tls": {"certificate": "a", "key": "b"}}
    with pytest.raises(ConfigError, match=message) as caught:
        parsed(envoy, **gate)
    whole = text(envoy, **gate).splitlines()
    start = next(number for number, line in enumerate(whole, start=1) if '"envoy"' in line)
    assert all(problem.line >= start for problem in caught.value.problems), "in the section, not somewhere"


@pytest.mark.parametrize(
    ("authz", "message"),
    [
        ([], "this is empty"),
        (["localhost:1", "unix:/b"], "cannot mix"),
        (["127.0.0.1:1", "127.0.0.1:1"], "twice"),
    ],
)
def test_envoy_must_find_the_gate(authz, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parsed(inbound(), authz)
    assert all(problem.line for problem in caught.value.problems)


def test_a_port_that_only_the_gate_knows_is_served_and_not_rendered():
    made = parsed(inbound(), ["127.0.0.1:0"])
    assert made.listen == ("127.0.0.1:0",)
    with pytest.raises(ConfigError, match="an address is written"):
        complete(made, "authz.yaml")


def test_a_destination_is_asked_for_by_its_first_name_that_is_no_pattern():
    def named(*hosts):
        return parsed(base_url(hosts=hosts)).edge.egress.destinations[0].named

    assert named("*.a.test", "b.test", "c.test") == "b.test"
    assert named("*.a.test") == ""


def test_what_only_looks_like_the_listener_itself_is_another_place():
    there = ("127.0.0.2:8090", "127.0.0.1:8091", "localhost:1", "orders.test:8090", "unix:/run/a.sock", "10.0.0.1:8090")
    assert [listen for _loc, listen in parsed(base_url()).edge.egress.listens] == ["127.0.0.1:8090"]
    for address in there:
        assert parsed(base_url(address=address)).edge.egress.destinations
    assert parsed(egress(destination(address="localhost:8090"), listen="10.0.0.5:8090")).edge.egress.destinations
    assert parsed({"egress": {"dynamic": {}}}).edge.egress.dynamic.ports == (443, 80)


def test_the_text_of_these_tests_is_a_settings_file():
    assert json.loads(text(inbound()))["version"] == 1
