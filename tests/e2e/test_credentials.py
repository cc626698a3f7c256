"""Credentials of destinations: put in by Envoy after the decision, replaced while in use, seen by nobody else.

security.md d-41: whatever a task sends in its place is replaced, and it goes to its own destination only.
"""

import pytest

from authz.core.addresses import parse_address
from tests.e2e.calls import Calls
from tests.e2e.login_site import replace
from tests.e2e.raw_http import Connection, exchange, request
from tests.e2e.scripted_authz import deny
from tests.e2e.way_out import WayOut, failure
from tests.support.ports import free_port, loopback

CANARY = "canary-of-the-orders"
KEY = "canary-of-the-key"
SPELLINGS = [
    ("Authorization: Bearer mine",),
    ("Authorization: Bearer mine", "authorization: Basic bWluZQ=="),
    ("AUTHORIZATION: mine", "aUtHoRiZaTiOn: Bearer mine", "Authorization:"),
    ("X-Api-Key: mine", "x-api-key: mine", "X-API-KEY: mine"),
]


@pytest.fixture(scope="module")
def running_out(envoy_binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("credentials")
    out = WayOut(folder, envoy_binary)
    (folder / "orders.secret").write_text(CANARY)
    (folder / "key.secret").write_text(KEY)
    (folder / "empty.secret").write_text("")
    out.add("orders", credential={"secret_file": "orders.secret"})
    out.add("keyed", credential={"secret_file": "key.secret", "header": "x-api-key"})
    out.add("plain")
    out.add("kept", keep_authorization=True)
    out.add("empty", credential={"secret_file": "empty.secret"})
    out.add("missing", credential={"secret_file": "missing.secret"})
    base = {"listen": loopback(), "path": "/based"}
    out.add("based", credential={"secret_file": "orders.secret"}, **base)
    dead = f"127.0.0.1:{free_port()}"
    out.add("limping", beside=(dead,), credential={"secret_file": "orders.secret"})
    with out:
        yield out


@pytest.fixture
def out(running_out):
    running_out.reset()
    return running_out


@pytest.mark.parametrize("headers", SPELLINGS)
def test_what_a_task_sends_in_its_place_is_replaced(out, headers):
    assert out.get("orders", "/", *headers).status == 200
    assert out.sites["orders"].only.all("authorization") == [f"Bearer {CANARY}"]
    assert out.get("keyed", "/", *headers).status == 200
    assert out.sites["keyed"].only.all("x-api-key") == [KEY]
    assert out.sites["keyed"].only.all("authorization") == []


def test_a_name_with_an_underscore_is_refused_before_anything_else(out):
    assert out.get("keyed", "/", "X_Api_Key: mine").status == 400
    assert (out.sites["keyed"].requests, out.authz.checks) == ([], [])


def test_the_absolute_form_gets_the_credential_of_the_host_that_it_names(out):
    answer = exchange(out.envoy.egress, request("http://orders.test/x", "Authorization: mine", host="plain.test"))
    assert answer.status == 200
    assert out.sites["orders"].only.all("authorization") == [f"Bearer {CANARY}"]
    assert out.sites["plain"].requests == []
    answer = exchange(out.envoy.egress, request("http://plain.test/x", "Authorization: mine", host="orders.test"))
    assert answer.status == 200
    assert out.sites["plain"].only.all("authorization") == []
    assert len(out.sites["orders"].requests) == 1


def test_base_urls_have_it_too_whatever_host_is_named(out):
    (based,) = [one for one in out.envoy.section.egress.destinations if one.name == "based"]
    own = parse_address(based.listen)
    for host, status in (("127.0.0.1", 200), ("evil.test", 200), ("plain.test", 404)):
        assert exchange((own.host, own.port), request("/x", "Authorization: mine", host=host)).status == status
    assert exchange(out.envoy.egress, request("/based/x", "Authorization: mine", host="127.0.0.1")).status == 200
    seen = [(one.target, one.all("host"), one.all("authorization")) for one in out.sites["based"].requests]
    assert seen == [("/x", ["based.test"], [f"Bearer {CANARY}"])] * 3
    assert out.sites["plain"].requests == []


def test_a_tunnel_to_it_is_refused(out):
    answer = exchange(out.envoy.egress, request("orders.test:80", method="CONNECT", host="orders.test:80"))
    assert answer.status == 403
    assert CANARY not in str(answer)
    assert out.sites["orders"].requests == []


@pytest.mark.parametrize("host", ["plain.test", "PLAIN.test", "plain.test:443", "plain.test."])
def test_it_goes_to_no_other_destination(out, host):
    data = request("/", "X-Forwarded-Host: orders.test", "X-Original-URL: http://orders.test/", host=host)
    assert exchange(out.envoy.egress, data).status == 200
    assert CANARY not in str(out.sites["plain"].only.headers)
    assert [name for name, site in out.sites.items() if site.requests] == ["plain"]


@pytest.mark.parametrize("host", ["orders.test@plain.test", "orders.test,plain.test", "evil.test", "orders.test.evil"])
def test_a_host_that_is_none_of_ours_leads_nowhere(out, host):
    assert exchange(out.envoy.egress, request("/", host=host)).status in {400, 404}
    assert all(site.requests == [] for site in out.sites.values())


def test_one_connection_to_the_gate_carries_no_credential_over(out):
    with Connection(out.envoy.egress) as connection:
        for name in ("orders", "plain", "kept", "orders"):
            connection.send(request("/", "Authorization: Bearer mine", host=f"{name}.test"))
            assert connection.response().status == 200
    assert out.sites["plain"].only.all("authorization") == []
    assert out.sites["kept"].only.all("authorization") == ["Bearer mine"]


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_refused_call_reaches_no_destination_and_its_answer_has_no_credential(out, status):
    out.authz.answer = lambda *_: deny(status=status)
    answer = out.get("orders", "/", "Authorization: Bearer mine")
    assert answer.status == status
    assert CANARY not in str(answer)
    assert answer.header("x-authz-destination-error") is None, "the gate's own refusal, not the destination's"
    assert out.sites["orders"].requests == []


def test_the_authorizer_is_not_shown_it(out):
    assert out.get("orders").status == 200
    assert CANARY not in str(out.authz.only)


def test_a_second_try_has_it_too(out):
    """One of two hosts is dead: calls that went there first are tried again on the other."""
    for _ in range(8):
        assert out.get("limping").status == 200
    seen = out.sites["limping"].requests
    assert [received.all("authorization") for received in seen] == [[f"Bearer {CANARY}"]] * 8
    assert out.envoy.stat("cluster.egress.limping.upstream_rq_retry_success") > 0


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_without_a_secret_no_call_is_made(out, name):
    answer = out.get(name, "/", "Authorization: Bearer mine")
    assert failure(answer) == (503, "credential_unavailable", name)
    assert answer.header("retry-after") == "2"
    assert out.sites[name].requests == []
    assert out.get("plain").status == 200, "nobody else depends on it"


def test_a_secret_that_comes_later_is_used(out):
    assert failure(out.get("missing"))[1] == "credential_unavailable"
    replace(out.folder / "missing.secret", "late")
    out.until(lambda: out.get("missing").status == 200, "the secret is not found")
    assert out.sites["missing"].only.all("authorization") == ["Bearer late"]


def test_a_secret_with_a_newline_at_its_end_makes_no_wrong_header(out):
    """Newer Envoys leave the newline out, older ones refuse the call; none sends two lines."""
    site, secret = out.sites["missing"], out.folder / "missing.secret"
    replace(secret, "good")
    out.until(lambda: out.get("missing").status == 200, "the secret is not found")
    replace(secret, "ends\n")

    def changed():
        answer = out.get("missing")
        return answer.status != 200 or site.requests[-1].all("authorization") != ["Bearer good"]

    out.until(changed, "the new secret is not read")
    answer = out.get("missing")
    assert answer.status == 200 or failure(answer) == (503, "credential_unavailable", "missing")
    lines = {tuple(received.all("authorization")) for received in site.requests}
    assert lines <= {("Bearer late",), ("Bearer good",), ("Bearer ends",)}


def test_a_secret_is_replaced_under_load_and_no_call_fails(out):
    secrets = [CANARY, "second", "third", "fourth", CANARY]
    site = out.sites["orders"]
    with Calls(out, "orders") as calls:
        calls.more(out, 20)
        for secret in secrets[1:]:
            replace(out.folder / "orders.secret", secret)
            out.until(
                lambda s=secret: site.requests[-1].all("authorization") == [f"Bearer {s}"], f"{secret} is not used"
            )
            calls.more(out, 20)
    assert set(calls.statuses) == {200}
    assert len(site.requests) == len(calls.statuses) >= 100
    used = [received.all("authorization") for received in site.requests]
    assert {value for values in used for value in values} == {f"Bearer {secret}" for secret in secrets}
    assert all(len(values) == 1 for values in used)


def test_a_secret_that_is_taken_away_stays_in_use(out):
    (out.folder / "key.secret").unlink()
    replace(out.folder / "other", "another file of the folder")
    assert out.get("keyed").status == 200
    replace(out.folder / "key.secret", KEY)
    assert out.get("keyed").status == 200
    assert [received.all("x-api-key") for received in out.sites["keyed"].requests] == [[KEY]] * 2


def test_no_log_and_no_page_of_envoy_shows_it(out):
    for name in ("orders", "keyed", "plain"):
        assert out.get(name, "/?q=1").status == 200
    out.envoy.access_log(3)
    text = out.logged()
    assert CANARY not in text
    assert KEY not in text
    assert out.envoy.admin("/config_dump").status == 403
    config = (out.folder / "envoy.yaml").read_text() + "".join(
        path.read_text() for path in (out.folder / "sds").iterdir()
    )
    assert CANARY not in config
    assert KEY not in config
