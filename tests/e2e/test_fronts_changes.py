"""nginx, Caddy and Jetty while something is away or changes, and the rarer settings of a front."""

import json
import signal
import ssl
import subprocess
import threading

import pytest

from authz.core.edge import ASSERTION, DECISION
from authz.fronts.render import OVER_FASTCGI
from demo.fronts import STARTS
from tests.e2e.certificates import Authority
from tests.e2e.front_site import HOST, OVER_TCP, FrontSite
from tests.e2e.raw_http import Connection, request

pytestmark = pytest.mark.e2e
FRONTS = sorted({*STARTS} - OVER_FASTCGI - {"worker"})  # of those: test_front_fastcgi.py, test_front_worker.py
DAGS, HEALTH = "/api/v2/dags", "/api/v2/monitor/health"


@pytest.fixture(scope="module", params=FRONTS)
def running(request, idp, tmp_path_factory):
    with FrontSite(tmp_path_factory.mktemp(request.param), idp, request.param) as site:
        yield site


@pytest.fixture
def site(running):
    running.upstream.reset()
    return running


def test_without_the_gate_nothing_is_served_and_with_it_again_it_is(site):
    caller = site.bearer("data-ops")
    with site.connect() as connection:  # kept, as those to the gate are
        connection.send(request(DAGS, caller, host=HOST))
        assert connection.response().status == 200
        site.gate.kill()
        site.upstream.reset()
        for target, method in ((DAGS, "GET"), (DAGS, "POST"), (HEALTH, "GET"), ("/api/v2/dags/../pools", "GET")):
            said = site.get(target, caller, method=method)
            assert (said.status, said.header(DECISION), said.header("content-type")) == (503, None, "application/json")
        assert site.get(HEALTH).status == 503
    assert site.upstream.requests == []
    site.gate.start()
    assert site.get(DAGS, caller).status == 200


def test_a_gate_without_a_policy_serves_nothing(site):
    """503 in the gate's words: not what `auth_request` makes of a status that it does not know."""
    good = site.gate.policy.read_text()
    site.gate.stop()
    site.gate.policy.write_text("nonsense")
    site.gate._wait_ready = False
    try:
        site.gate.start()
        site.gate.until(lambda: site.get(HEALTH).header(DECISION) is not None, "no answer of the gate")
        said = site.get(HEALTH)
        assert (said.status, site.upstream.requests) == (503, [])
        assert site.record(said.header(DECISION))["reason"] == "not_ready"
    finally:
        site.gate.policy.write_text(good)
        site.gate.until(site.gate.is_ready, "the policy is good again")


def test_airflow_away_is_503(site):
    site.upstream.close()
    said = site.get(DAGS, site.bearer("data-ops"))
    assert (said.status, json.loads(said.body)["error"]) == (503, "airflow_unavailable")
    site.upstream.open()
    assert site.get(DAGS, site.bearer("data-ops")).status == 200


@pytest.mark.parametrize("name", sorted({*FRONTS} - OVER_TCP))  # of Jetty: test_front_jetty.py
def test_with_one_worker_of_the_gate_away_the_other_answers_also_with_simple_statuses(idp, tmp_path, name):
    with FrontSite(tmp_path, idp, name, workers=2, audience="statuses: simple") as site:
        (site.gate.folder / "http-0.sock").unlink()  # it cannot be reached any more
        op = site.bearer("data-ops")
        for _ in range(6):
            assert site.get(DAGS, op, method="POST", body=b"a").status == 200
        assert len(site.upstream.requests) == 6
        found = [site.get(target, op).status for target in (DAGS, "/api/v2/pools", "/api/v2/../pools")]
        assert found == [
            200,
            403,
            400 if name == "nginx" else 403,
        ]  # Caddy passes on any status: it needs no simple ones


@pytest.mark.parametrize("name", FRONTS)
def test_certificates_of_callers_and_of_airflow_and_a_base_path(idp, tmp_path, name):
    """What else the settings can say, at once."""
    authority = Authority(
        tmp_path, "Another authority"
    )  # else OpenSSL sends the front's own along, and Java refuses that
    wrong, right, caller = (authority.issue(one) for one in ("someone.else", "airflow.internal", "caller"))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(wrong.certificate, wrong.key)
    airflow = f'tls: true, tls_ca: "{authority.ca}", tls_name: airflow.internal'
    options = {"audience": "base_path: /airflow", "airflow": airflow, "upstream_tls": tls}
    with FrontSite(tmp_path / "site", idp, name, client_ca=authority.ca, client=caller, **options) as site:
        op = site.bearer("data-ops")
        assert site.get(f"/airflow{DAGS}", op).status == 503
        assert site.upstream.requests == []
        tls.load_cert_chain(right.certificate, right.key)
        assert site.get(f"/airflow{DAGS}", op).status == 200
        assert site.upstream.only.target == f"/airflow{DAGS}"
        assert site.get(DAGS, op).status == 403
        assert site.get("/airflow/execution/x", op).status == 404
        strange = ssl.create_default_context(cafile=str(site.authority.ca))
        assert refused(site.address, strange)
        assert len(site.upstream.requests) == 1


def refused(address, tls):
    """Whether a caller without a certificate gets nothing but a refusal."""
    try:
        with Connection(address, tls) as connection:
            connection.send(request(HEALTH, host=HOST))
            return connection.response().status >= 400
    except (OSError, AssertionError):
        return True


def reload(site):
    """Read configuration and certificates again, as the page of each front says."""
    if site.name == "nginx":
        site.process.send_signal(signal.SIGHUP)
        return
    if site.name == "jetty":  # which looks itself
        return
    caddy = [STARTS["caddy"](site.place)[0], "reload", "--force", "--config", str(site.place / "caddy.json")]
    subprocess.run([*caddy, "--address", f"unix/{site.place}/caddy.sock"], check=True, capture_output=True, timeout=30)


def serial(site):
    with Connection(site.address, site.tls) as connection:
        return connection.certificate["serialNumber"]


def test_a_new_certificate_comes_without_a_lost_request(site):
    caller, before = site.bearer("data-ops"), serial(site)
    ends, statuses = threading.Event(), []

    def ask():
        while not ends.is_set():
            try:
                statuses.append(site.get(DAGS, caller).status)
            except (OSError, AssertionError) as error:  # the connection was cut
                statuses.append(str(error))

    asking = [threading.Thread(target=ask) for _ in range(3)]
    for one in asking:
        one.start()
    while len(statuses) < 20:
        site.pause(0.02)
    site.authority.issue(HOST)  # in the place of the old one
    reload(site)
    try:
        while serial(site) == before:
            site.pause(0.02)
    finally:
        ends.set()
        for one in asking:
            one.join()
    answered = statuses.count(200)
    cut = {one for one in statuses if isinstance(one, str)}  # Caddy may cut a connection that is being opened
    assert {*statuses} - cut == {200}
    assert (len(site.upstream.requests), bool(cut) and site.name != "caddy") == (answered, False)
    assert all(len(one.all(ASSERTION)) == 1 for one in site.upstream.requests)
