"""What `authz front` renders: complete, from the settings alone, and nothing that a value could break out of."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from authz import settings
from authz.cli.main import main
from authz.core.edge import IDENTITY_HEADERS
from authz.core.errors import ConfigError
from authz.fronts import worker
from authz.fronts.render import FRONTS, OVER_FASTCGI, render
from tests.support.factories.tokens import issuer

AUDIENCES = "audiences: [{name: airflow}, {name: out, plane: egress, destination: o}]"
HTTP = f"listen: ['unix:/run/authz/http.sock'], {AUDIENCES}"
TLS = "tls: {certificate: tls.crt, key: tls.key}"
FRONT = f"{{name: airflow, listen: '0.0.0.0:8443', {TLS}, airflow: {{address: '127.0.0.1:8080'}}}}"
OVER_TLS = FRONT.replace("8080'", "8080', tls: true, tls_name: a")

FOLDER = Path("/etc/front")
OVER_HTTP = sorted({*FRONTS} - OVER_FASTCGI)
TCP = f"listen: ['127.0.0.1:9193'], {AUDIENCES}"
SOCKET = "fastcgi: [{listen: 'unix:/run/authz/fastcgi.sock', audience: airflow}]"
PORT = "fastcgi: [{listen: '127.0.0.1:9192', audience: airflow}]"


def load(fronts=FRONT, http=HTTP, folder="/etc/authz"):
    text = f"version: 1\nhttp_check: {{{http}}}\nfronts: [{fronts}]\n"
    return settings.parse(text.encode(), Path(folder) / "authz.yaml", workers=1)


def rendered(name, **changes):
    if name in OVER_FASTCGI:
        changes.setdefault("http", f"{SOCKET if name == 'lighttpd' else PORT}, {AUDIENCES}")
    if name == "jetty":
        changes.setdefault("http", TCP)
    return "".join(render(name, load(**changes), "authz.yaml", FOLDER).values())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fronts": FRONT.replace("airflow,", "other,")}, "no inbound name of `http_check.audiences`"),
        ({"fronts": FRONT.replace("name: airflow,", "name: out,")}, "there are: airflow"),
        ({"fronts": FRONT.replace(f"{TLS}, ", "")}, "tls"),
        ({"fronts": FRONT.replace("127.0.0.1:8080", "127.0.0.1:8443")}, "would call itself"),
        ({"fronts": f"{FRONT}, {FRONT}"}, "given twice"),
        ({"fronts": FRONT.replace("8080'", "8080', tls_name: a")}, "without `tls: true`"),
        ({"fronts": FRONT.replace("'127.0.0.1:8080'", "'unix:/a', tls: true")}, "needs `tls_name`"),
        ({"http": HTTP.replace("unix:/run/authz/http.sock", "127.0.0.1:0")}, "its port must be known"),
        (
            {"http": HTTP.replace("unix:/run/authz/http.sock'],", "10.0.0.5:9191'], tls: {certificate: a, key: b},")},
            "on their own machine",
        ),
    ],
)
def test_a_front_that_could_not_ask_is_refused(changes, told):
    with pytest.raises(ConfigError) as caught:
        load(**changes)
    assert any(told in f"{one.message} {one.hint}" for one in caught.value.problems), caught.value.problems


def test_fronts_need_the_check_over_http():
    with pytest.raises(ConfigError, match="need `http_check`"):
        settings.parse(f"version: 1\nfronts: [{FRONT}]\n".encode(), Path("/etc/authz/authz.yaml"), workers=1)


@pytest.mark.parametrize("name", OVER_HTTP)
def test_a_front_says_where_it_listens_asks_and_forwards(name):
    text = rendered(name)
    asks = {
        "nginx": "/check/airflow$request_uri",
        "caddy": "/check/@{http.request.method}/airflow/",
        "jetty": "name = airflow\ngate = http://127.0.0.1:9193\n",
        "worker": '(name = "NAME", text = "airflow")',
    }
    assert asks[name] in text
    gate = "127.0.0.1:9193" if name == "jetty" else "/run/authz/http.sock"
    for value in ("8443", "/authz/tls.crt", "/authz/tls.key", gate, "8080"):
        assert value in text
    assert [one for one in IDENTITY_HEADERS if one not in text.lower()] == []
    assert text == rendered(name)


@pytest.mark.parametrize("name", FRONTS)
def test_settings_without_fronts_are_refused(name):
    with pytest.raises(ConfigError, match="no `fronts`"):
        render(name, load(fronts=""), "authz.yaml", FOLDER)


@pytest.mark.parametrize("name", FRONTS)
@pytest.mark.parametrize("text", ['a"b', "a b", "a;b", "a{b}", "a$b", "a\\b", "a#b", "a'b", "a%b", "a\nb", "é", "a(b"])
@pytest.mark.parametrize("key", ["certificate", "key", "client_ca", "tls_ca", "tls_name", "access_log", "folder"])
def test_a_value_that_could_break_out_is_refused(name, text, key):
    value = f'"{text}"'.replace('a"b', 'a\\"b').replace("a\\b", "a\\\\b").replace("\n", "\\n")
    airflow = "address: '127.0.0.1:8080', tls: true"
    tls, log, folder = "certificate: a, key: b", "", "/etc/authz"
    if key in {"certificate", "key"}:
        tls = f"{key}: {value}, {'key' if key == 'certificate' else 'certificate'}: a"
    elif key == "client_ca":
        tls = f"{tls}, client_ca: {value}"
    elif key == "folder":
        folder = f"/etc/{text}"
    elif key == "access_log":
        log = f", access_log: {value}"
    else:
        airflow = f"{airflow}, {key}: {value}"
    front = f"{{name: airflow, listen: '0.0.0.0:8443', tls: {{{tls}}}, airflow: {{{airflow}}}{log}}}"
    with pytest.raises(ConfigError, match="cannot stand in a front's configuration"):
        rendered(name, fronts=front, folder=folder)


@pytest.mark.parametrize("name", FRONTS)
def test_a_folder_that_could_break_out_is_refused(name):
    with pytest.raises(ConfigError, match="cannot stand in a front's configuration"):
        render(name, load(), "authz.yaml", Path("/etc/{env.HOME}"))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("jetty", {"http": HTTP}),
        ("lighttpd", {"http": f"{SOCKET}, {AUDIENCES}", "fronts": OVER_TLS}),
        ("apache", {"http": f"{PORT}, {AUDIENCES}", "fronts": OVER_TLS}),
        ("worker", {"fronts": FRONT.replace("'127.0.0.1:8080'", "['127.0.0.1:8080', '127.0.0.1:8082']")}),
    ],
)
def test_what_a_front_cannot_do_is_a_mistake_in_the_settings(name, changes):
    with pytest.raises(ConfigError) as caught:
        render(name, load(**changes), "authz.yaml", FOLDER)
    assert {one.file for one in caught.value.problems} == {"authz.yaml"}


def test_the_command_prints_or_writes(tmp_path):
    (tmp_path / "authz.yaml").write_text(f"version: 1\nhttp_check: {{{HTTP}}}\nfronts: [{FRONT}]\n")
    arguments = ["front", "nginx", "--settings", str(tmp_path / "authz.yaml")]
    printed = CliRunner().invoke(main, arguments)
    assert (printed.exit_code, "auth_request" in printed.stdout) == (0, True)
    written = CliRunner().invoke(main, [*arguments, "--output", str(tmp_path / "made")])
    assert (written.exit_code, written.stdout) == (0, "")
    assert (tmp_path / "made" / "nginx.conf").read_text() == printed.stdout
    assert CliRunner().invoke(main, ["front", "apache-traffic-server"]).exit_code == 2


@pytest.mark.parametrize("name", OVER_HTTP)
def test_every_worker_is_asked(name):
    text = rendered(name, http=f"{TCP if name == 'jetty' else HTTP}, workers: 2")
    gates = ("127.0.0.1:9193", "127.0.0.1:9194") if name == "jetty" else ("authz/http-0.sock", "authz/http-1.sock")
    assert [gate for gate in gates if gate not in text] == []


@pytest.mark.parametrize(
    ("name", "gate"), [("lighttpd", "/run/authz/fastcgi.sock"), ("apache", "fcgi://127.0.0.1:9192/")]
)
def test_a_front_over_fastcgi_says_where_it_listens_asks_and_forwards(name, gate):
    text = rendered(name)
    for value in ("8443", "/etc/authz/tls.crt", "/etc/authz/tls.key", gate, "8080"):
        assert value in text
    assert [one for one in IDENTITY_HEADERS if one not in text] == []
    assert text == rendered(name)


CANNOT = [
    ("lighttpd", {"http": HTTP}, "an address of `http_check.fastcgi`"),
    ("apache", {"http": HTTP}, "an address of `http_check.fastcgi`"),
    ("nginx", {"http": f"{SOCKET}, {AUDIENCES}"}, "an address of `http_check.listen`"),
    ("apache", {"http": f"{SOCKET}, {AUDIENCES}"}, "one TCP address"),
    ("apache", {"http": f"{PORT}, workers: 2, {AUDIENCES}"}, "one TCP address"),
    (
        "apache",
        {"fronts": FRONT.replace("'127.0.0.1:8080'", "['127.0.0.1:8080', '127.0.0.1:8081']")},
        "for one Airflow",
    ),
    ("apache", {"fronts": FRONT.replace("8080'", "8080', tls: true")}, "take another front"),
    ("lighttpd", {"fronts": FRONT.replace("8080'", "8080', tls: true")}, "take another front"),
    ("jetty", {"http": HTTP}, "asks over TCP"),
    ("jetty", {"fronts": FRONT.replace("'0.0.0.0:8443'", "'unix:/a/b.sock'")}, "listens over TCP"),
    ("jetty", {"fronts": FRONT.replace("'127.0.0.1:8080'", "['127.0.0.1:8080', '127.0.0.1:8081']")}, "one host:port"),
]


@pytest.mark.parametrize(("name", "changes", "told"), CANNOT)
def test_what_a_front_cannot_do_is_refused(name, changes, told):
    with pytest.raises(ConfigError) as caught:
        rendered(name, **changes)
    assert told in f"{caught.value.problems[0].message} {caught.value.problems[0].hint}"


def test_lighttpd_asks_every_worker_and_prefers_sockets():
    both = "fastcgi: [{listen: '127.0.0.1:9192', audience: airflow}, {listen: 'unix:/a/b.sock', audience: airflow}]"
    text = rendered("lighttpd", http=f"{both}, workers: 2, {AUDIENCES}")
    assert "/a/fastcgi-0.sock" in text
    assert "/a/fastcgi-1.sock" in text
    assert "9192" not in text


def test_a_base_path_is_no_pattern():
    """In the script it is in a pattern of Lua, where `-` and `.` mean something."""
    base = f"{SOCKET}, {AUDIENCES.replace('{name: airflow}', '{name: airflow, base_path: /a-b.c}')}"
    assert '"^/a%-b%.c/+execution$"' in rendered("lighttpd", http=base)


def test_what_a_worker_cannot_do_is_refused():
    two = FRONT.replace("'127.0.0.1:8080'", "['127.0.0.1:8080', '127.0.0.1:8081']")
    other = FRONT.replace("8443", "8444")
    named = (
        FRONT.replace("}}", "}, access_log: /var/log/a}").replace("8443", "8444").replace("name: airflow", "name: more")
    )
    http = HTTP.replace("{name: airflow}", "{name: airflow}, {name: more}")
    for fronts, told in ((two, "one Airflow"), (f"{FRONT}, {other}", "of one name"), (f"{FRONT}, {named}", "one log")):
        with pytest.raises(ConfigError, match=told):
            rendered("worker", fronts=fronts, http=http)


def test_a_worker_trusts_the_issuers_of_the_policy_and_the_systems_authorities_if_none_is_named():
    front = FRONT.replace("'127.0.0.1:8080'", "'airflow.internal:8443', tls: true")
    assert 'certificateHost = "airflow.internal", tlsOptions = (trustBrowserCas = true)' in rendered(
        "worker", fronts=front
    )
    trusted = json.loads(worker.issuers([issuer(discovery=False, jwks_file="/etc/authz/keys.json")], settings.Keys()))
    [one] = trusted["issuers"]
    assert (one["audiences"], one["algorithms"]) == (
        {"egress": ["airflow-egress"], "inbound": ["airflow"]},
        ["ES256", "RS256"],
    )
    assert (one["discovery"], one["jwks_uri"], trusted["keys"]["min_interval_ms"]) == (False, "", 1000)
