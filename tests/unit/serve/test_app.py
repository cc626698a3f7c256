"""The wiring, in this process: what is built from the settings, what starts, what a running app shows, how it ends."""

import contextlib
import json
import logging
import re
import signal
import stat
import threading
import urllib.request
from hashlib import sha256

import grpc
import pytest

from authz import settings
from authz._generated.grpc.health.v1 import health_pb2
from authz.core import assertion
from authz.core.errors import ConfigError
from authz.engine.contract import CHECK
from authz.serve.app import App
from authz.serve.engines import engine_options
from authz.settings import gate_name
from authz.system import signals, threads
from authz.system.threads import Background
from tests.e2e.envoy_harness import wait_for
from tests.e2e.gate import token
from tests.support.factories.tokens import ISS, b64, dump, jwks_of, make_key, sign
from tests.support.ports import free_port
from tests.support.rigs.service import KEY, POLICY, message, read
from tests.support.simulators.idp import PATIENCE_S

SETTINGS = """
version: 1
listen: ["unix:{folder}/authz.sock"]
admin: {{listen: "127.0.0.1:{admin}"}}
assertion: {{issuer: "https://gate.test", keys: [assertion.pem]}}
log: {{decisions: decisions.jsonl}}
shutdown: {{drain_delay: 10ms, drain_grace: 1s}}
"""


RUNS = """
run_identity: {airflow: "http://127.0.0.1:1", issuer: "https://airflow.test", jwks_file: airflow.json}
"""


class Place:
    """A folder with settings, a policy and the issuer's keys in a file; `app()` builds from it."""

    def __init__(self, folder):
        self.folder = folder
        self.admin = free_port()
        self.policy = folder / "policy.yaml"
        self.policy.write_text(POLICY.replace("    max_lifetime", "    jwks_file: keys.json\n    max_lifetime"))
        self.keys = folder / "keys.json"
        self.keys.write_bytes(jwks_of([KEY]))
        self.text = SETTINGS.format(folder=folder, admin=self.admin)

    def app(self, **replaced):
        text = self.text
        for old, new in replaced.items():
            assert old in text
            text = text.replace(old, new)
        path = self.folder / "authz.yaml"
        path.write_text(text)
        return App(settings.load(path))

    @contextlib.contextmanager
    def built(self, **replaced):
        """An app that never runs, and gives back what it took."""
        app = self.app(**replaced)
        try:
            yield app
        finally:
            app.admin.stop()
            app.sink.close()


class Running:
    """An app in a thread of its own, asked over its real socket."""

    def __init__(self, app, admin):
        self.app = app
        self.admin = f"http://127.0.0.1:{admin}"
        self.status = None
        self._started = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self.status = self.app.run(self._note)
        finally:
            self._ended.set()
            self._started.set()

    def _note(self, addresses):
        self.addresses = list(addresses)
        self._started.set()

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(PATIENCE_S)
        self._channel = grpc.insecure_channel(self.addresses[0])
        return self

    def __exit__(self, *_):
        self._channel.close()
        self.app.engine.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the app does not end"

    def check(self, data):
        return read(self._channel.unary_unary(CHECK)(data, timeout=5))

    def serving(self):
        call = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check", response_deserializer=health_pb2.HealthCheckResponse.FromString
        )
        return call(b"", timeout=5).status == health_pb2.HealthCheckResponse.SERVING

    def page(self, name):
        try:
            with urllib.request.urlopen(self.admin + name, timeout=5) as answer:  # noqa: S310 our own loopback address
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def until(self, check, what):
        wait_for(check, what, pause=self._ended.wait)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def running(place):
    with Running(place.app(), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        yield running


def good_token(**changes):
    return token(KEY, **{"iss": ISS, **changes})


def bearer():
    return [("authorization", f"Bearer {good_token()}".encode())]


# --- running


def test_an_app_that_knows_runs_says_so_and_leaves_nothing_behind(place, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    place.text += RUNS
    with caplog.at_level("INFO"), Running(place.app(), place.admin) as running:
        running.until(running.serving, "Airflow's keys, which are not there, keep it from being ready")
        told = json.loads(running.page("/readyz")[1])
        assert told["run_identity"]["level"] == "asserted"
        assert any("airflow task tokens" in reason for reason in told["reasons"])
        assert list((tmp_path / "temporary").iterdir()) == []
        headers = [("x-run-identity", b"DPoP a.b.c"), ("x-run-proof", b"p")]
        refused = message("GET", "/v1/orders", headers=headers, plane="egress", host="orders.internal")
        assert running.check(refused).reason == "token_malformed"
        target = f"/execution/variables/__run_identity__/v1/proxy/{b64(dump({'d': 'a', 'r': 'b', 't': 'c', 'm': -1}))}"
        task = sign({"iss": "https://airflow.test"}, make_key("EdDSA"))
        headers = [("authorization", f"Bearer {task}".encode())]
        answer = running.check(message("GET", target, headers=headers, plane="execution", audience=""))
        assert (answer.http, answer.reason) == (503, "keys_unavailable")
    assert "run identities have assurance level asserted at most" in caplog.text


def test_airflows_keys_alone_make_no_app_ready(place):
    place.keys.unlink()
    (place.folder / "airflow.json").write_bytes(jwks_of([make_key("EdDSA")]))
    place.text += RUNS
    with Running(place.app(), place.admin) as running:
        running.until(lambda: "airflow task tokens" not in running.page("/readyz")[1], "Airflow's keys are not there")
        assert not running.serving()


def test_every_thread_that_an_app_starts_is_background_or_of_one_connection(place):
    place.text += RUNS + "revocation: {file: revoked.jsonl, backchannel: 127.0.0.1:0}\n"
    before = set(threading.enumerate())
    with Running(place.app(), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        assert running.page("/readyz")[0] == 200
        started = [thread for thread in threading.enumerate() if thread not in before and thread is not running._thread]
        doors = {thread.name for thread in started if isinstance(thread, Background)}
        # What answers one connection to a port, and the clock of that connection, end by themselves.
        # gRPC's `channel_spin` is that of this test's client.
        others = [thread for thread in started if not isinstance(thread, Background | threading.Timer)]
        assert all(re.search("process_request_thread|channel_spin", thread.name) for thread in others), others
        assert doors >= {
            *(
                "decision-log",
                "decision-log-watch",
                "readiness",
                "admin",
                "backchannel",
                "revoker",
                "watch-policy.yaml",
            ),
            *("keys-corp", "airflow-0"),
        }


def test_a_thread_that_ended_by_a_bug_is_shown(running):
    def work():
        raise ValueError

    thread = Background(work, name="work")
    thread.start()
    thread.join(PATIENCE_S)
    try:
        assert "thread work ended: internal error (ValueError" in running.page("/readyz")[1]
    finally:
        threads.forget()


def test_a_look_that_fails_takes_the_health_away_and_the_next_one_brings_it_back(running, monkeypatch, caplog):
    def fails():
        raise ValueError

    with monkeypatch.context() as changed:
        changed.setattr(running.app.revoker, "problems", fails)
        running.until(lambda: not running.serving(), "it says that it is well")
        assert "finding out whether checks can be answered" in caplog.text
    running.until(running.serving, "it does not look again")


def test_a_running_app_answers_checks_records_and_counts_them(place, running):
    answer = running.check(message(headers=bearer()))
    assert (answer.http, answer.reason) == (200, "rule")
    assert running.check(message()).http == 401
    assert running.app.sink.flush()
    records = [json.loads(line) for line in (place.folder / "decisions.jsonl").read_text().splitlines()]
    assert [record["type"] for record in records] == ["identity", "decision", "decision"]
    assert records[0]["gate"] == records[1]["gate"] == gate_name.of_this_host()
    assert [record["decision"] for record in records[1:]] == ["allow", "deny"]
    _, text = running.page("/metrics")
    assert 'authz_checks_total{decision="allow",plane="inbound",reason="rule"} 1.0' in text
    assert 'authz_token_cache_total{result="miss"} 1.0' in text
    assert 'authz_key_age_seconds{issuer="corp"}' in text
    assert 'authz_engine_info{engine="' in text
    assert "authz_sink_failed 0.0" in text


def test_a_private_log_names_no_one_and_an_erased_person_gets_a_new_salt(place):
    place.text = place.text.replace("decisions.jsonl}", "decisions.jsonl, privacy: {hash: [subject], drop: [user]}}")
    app = place.app()
    log, salts = place.folder / "decisions.jsonl", place.folder / "decisions.jsonl.salts"

    def decisions():
        assert app.sink.flush()
        return [line for line in map(json.loads, log.read_text().splitlines()) if line["type"] == "decision"]

    with Running(app, place.admin) as running:
        running.until(running.serving, "it does not become ready")
        for _ in range(2):
            assert running.check(message(headers=bearer())).http == 200
        [first] = {record["subject"] for record in decisions()}
        salt = next(line["salt"] for line in map(json.loads, salts.read_text().splitlines()) if line["subject"])
        assert first == "sha256:" + sha256(f"{salt}alice".encode()).hexdigest()
        assert '"alice' not in log.read_text()
        kept = [line for line in salts.read_text().splitlines(keepends=True) if salt not in line]
        salts.with_name("new").write_text("".join(kept))
        salts.with_name("new").chmod(0o600)
        salts.with_name("new").replace(salts)

        def has_another_hash():
            assert running.check(message(headers=bearer())).http == 200
            return decisions()[-1]["subject"] != first

        running.until(has_another_hash, "the salt is still used")
        assert decisions()[-1]["subject"].startswith("sha256:")
    assert salts.stat().st_mode & 0o777 == 0o600


def test_a_deny_rule_with_a_slip_in_its_destination_is_refused_and_the_old_policy_stays(tmp_path, caplog):
    place = Place(tmp_path)
    good = place.policy.read_text()
    rules = (
        "rules:\n"
        "  - {id: slip, deny: true, plane: egress, destinations: [ordres], methods: [DELETE]}\n"
        "  - {id: right, deny: true, plane: egress, destinations: [orders], methods: [DELETE]}\n"
    )
    slip = good.replace("rules:\n", rules)
    place.policy.write_text(slip)
    with place.built() as app:
        app.policy_watcher.begin()
        assert app.policy.current is not None  # Envoy is configured elsewhere: nobody knows which there are
    place.text += (
        "envoy: {egress: {destinations: [{name: orders, address: '10.0.0.1:80', hosts: [orders.internal]}]}}\n"
    )
    place.policy.write_text(good)
    with place.built() as app:
        app.policy_watcher.begin()
        revision = app.policy.current.revision
        place.policy.write_text(slip)
        app.policy_watcher.look()
        assert app.policy.current.revision == revision
        [told] = [reason for reason in app.readiness().reasons if "policy" in reason]
        assert "the rule `slip` names an unknown destination `ordres` (did you mean `orders`?)" in told
        assert told.removeprefix("policy: ") in caplog.text
        assert 'authz_policy_reloads_total{result="failed"} 1.0' in app.metrics.exposition()[0].decode()
        place.policy.write_text(slip.replace("ordres", "orders"))
        app.policy_watcher.look()
        assert app.policy.current.revision != revision
        assert not any("policy" in reason for reason in app.readiness().reasons)


def test_the_admin_port_shows_readiness_and_the_key_that_signs(running):
    status, text = running.page("/readyz")
    assert (status, json.loads(text)["ready"], json.loads(text)["reasons"]) == (200, True, [])
    assert json.loads(text)["revision"] == running.app.policy.current.revision
    assert [key["kty"] for key in json.loads(running.page("/jwks.json")[1])["keys"]] == ["EC"]
    assert running.page("/healthz")[0] == 200


def test_a_saved_policy_is_live_and_a_bad_one_is_not(place, running):
    good = place.policy.read_text()
    place.policy.write_text(good.replace("data-readers", "nobody"))
    running.until(lambda: running.check(message(headers=bearer())).http == 403, "the edit is not live")
    place.policy.write_text("version: 1\n")
    running.until(lambda: json.loads(running.page("/readyz")[1])["reasons"], "the bad edit is not shown")
    status, text = running.page("/readyz")
    assert (status, json.loads(text)["ready"]) == (200, True)
    assert "policy: " in json.loads(text)["reasons"][0]
    assert running.check(message(headers=bearer())).http == 403
    assert 'authz_policy_reloads_total{result="failed"} 1.0' in running.page("/metrics")[1]


def test_hanging_up_reads_the_policy_and_opens_the_log_again(place, running):
    log_file = place.folder / "decisions.jsonl"
    log_file.rename(place.folder / "decisions.1")
    running.app._hang_up()
    running.until(lambda: running.app.sink.offers, "no new log")
    running.check(message())
    assert running.app.sink.flush()
    assert len(log_file.read_text().splitlines()) == 1


def test_it_ends_with_status_0_and_everything_written(place):
    app = place.app()
    with Running(app, place.admin) as running:
        running.until(running.serving, "it does not become ready")
        for _ in range(20):
            running.check(message())
        app.engine.stop()
        running._thread.join(PATIENCE_S)
    assert running.status == 0
    assert len((place.folder / "decisions.jsonl").read_text().splitlines()) == 20
    assert not [
        thread for thread in threading.enumerate() if thread.name in {"watcher", "admin", "readiness", "keys-corp"}
    ]


def test_records_that_are_lost_at_the_end_are_counted_aloud(place, caplog):
    with caplog.at_level(logging.ERROR), Running(place.app(**{"decisions.jsonl": "/dev/full"}), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        running.check(message())
    assert "1 decision records could not be written" in caplog.text


# --- readiness


def test_without_keys_it_is_not_ready_and_says_why(place):
    place.keys.write_text("{}")
    with Running(place.app(), place.admin) as running:
        running.until(lambda: "no keys yet: " in running.page("/readyz")[1], "the failed fetch is not shown")
        status, text = running.page("/readyz")
        assert status == 503
        assert "keys of issuer corp: no keys yet: " in text
        assert not running.serving()
        assert running.check(message("GET", "/api/v2/monitor/health")).allowed, "asked all the same, it answers"
        assert running.check(message(headers=bearer())).http == 503
        place.keys.write_bytes(jwks_of([KEY]))
        running.until(running.serving, "the keys are not found")
        assert running.check(message(headers=bearer())).http == 200


def test_without_a_policy_it_serves_denials_only(place):
    place.policy.write_text("nonsense")
    with Running(place.app(), place.admin) as running:
        status, text = running.page("/readyz")
        assert (status, json.loads(text)["revision"]) == (503, "")
        assert not running.serving()
        answer = running.check(message("GET", "/api/v2/monitor/health"))
        assert (answer.http, answer.reason) == (503, "not_ready")


def test_a_log_that_cannot_be_written_is_shown(place):
    with Running(place.app(**{"decisions.jsonl": "/dev/full"}), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        running.until(lambda: running.check(message(headers=bearer())).http == 503, "it goes on without a log")
        assert "No space left on device" in running.page("/readyz")[1]
        assert "authz_sink_failed 1.0" in running.page("/metrics")[1]


# --- built from the settings


def test_a_missing_first_assertion_key_is_made_for_us_alone_and_kept(place):
    (place.folder / "deep").mkdir()
    elsewhere = {"assertion.pem": "deep/assertion.pem"}
    with place.built(**elsewhere):
        pass
    path = place.folder / "deep/assertion.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    made = path.read_bytes()
    with place.built(**elsewhere):
        pass
    assert path.read_bytes() == made
    assert [item.name for item in path.parent.iterdir()] == ["assertion.pem"]
    assertion.load_signing_key(made)


def test_an_assertion_key_in_a_folder_that_is_not_there_is_a_mistake_and_makes_no_folder(place):
    with (
        pytest.raises(ConfigError, match="cannot be used: No such file"),
        place.built(**{"assertion.pem": "typo/assertion.pem"}),
    ):
        pass
    assert not (place.folder / "typo").exists()


def test_every_assertion_key_that_cannot_be_used_is_a_problem(place):
    (place.folder / "nonsense.pem").write_text("nonsense")
    with pytest.raises(ConfigError) as caught:
        place.app(**{"[assertion.pem]": "[nonsense.pem, missing.pem, assertion.pem]"})
    assert len(caught.value.problems) == 3
    assert "openssl ecparam" in str(caught.value)
    assert "No such file or directory" in str(caught.value)
    assert not (place.folder / "missing.pem").exists(), "only the first is made"


def test_without_an_assertion_section_none_is_made(place):
    line = next(line for line in place.text.splitlines() if line.startswith("assertion:"))
    with Running(place.app(**{line: ""}), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        assert "x-authz-assertion" in running.check(message(headers=bearer())).removed
        assert json.loads(running.page("/jwks.json")[1]) == {"keys": []}


def test_the_settings_reach_the_engine(place):
    limits = "limits: {parked: 7, wait: 3s, token_bytes: 1KiB, message_bytes: 65KiB}"
    text = limits + "\ntls: {certificate: c.pem, key: k.pem, client_ca: a.pem}"
    with place.built(**{"version: 1": f"version: 1\n{text}"}) as app:
        options = engine_options(app.settings)
    assert (options.max_parked, options.max_wait, options.max_message_bytes) == (7, 3.0, 65 * 1024)
    assert (options.drain_delay, options.drain_grace) == (0.01, 1.0)
    assert options.tls.certificate == str(place.folder / "c.pem")
    assert options.tls.client_ca == str(place.folder / "a.pem")


def test_an_address_in_use_ends_the_run_with_the_address_in_the_text(place):
    with Running(place.app(), place.admin) as first:
        place.text = place.text.replace(f":{place.admin}", f":{free_port()}")
        with pytest.raises(OSError, match=r"cannot listen on unix:.*authz\.sock: another process does"):
            place.app().run()
        assert first.check(message()).http == 401


def test_an_admin_address_in_use_is_named(place):
    with Running(place.app(), place.admin), pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{place.admin}: "):
        place.app()


# --- signals


@pytest.fixture
def handlers():
    """Gives them back: a process that has handled signals ignores them until its end."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_and_one_more_does_not_end_it_badly(number):
    """systemd and a terminal send it to all processes, and then the supervisor does."""
    told = []
    with signals.handled(lambda: told.append("stop"), lambda: told.append("hang up")):
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGHUP)
    for late in (number, signal.SIGHUP):
        signal.raise_signal(late)
    assert told == ["stop", "hang up"]


def test_outside_the_main_thread_signals_are_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def inside():
        with signals.handled(lambda: None, lambda: None):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join(PATIENCE_S)
    assert seen == [before]
