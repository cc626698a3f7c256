"""`authz serve` with `tracing`, over real sockets: who gets a span, what is in it, and that no answer waits for it."""

import threading

import grpc
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from authz.engine.contract import CHECK
from authz.ops.metrics import OPENMETRICS
from tests.e2e.certificates import Authority
from tests.e2e.gate import SETTINGS, Gate, token
from tests.support.factories.tokens import make_key
from tests.support.ports import loopback
from tests.support.rigs.service import message, read
from tests.support.simulators.collector import Collector
from tests.support.simulators.idp import IdP

KEY = make_key("ES256", kid="k1")
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"
MALFORMED = [
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
    f"00-{'0' * 32}-{SPAN}-01",
    f"00-{TRACE}-{'0' * 16}-01",
    f"ff-{TRACE}-{SPAN}-01",
    f"00-{TRACE.upper()}-{SPAN}-01",
    f"00-{TRACE}-{SPAN}-01-more",
    "x" * 9000,
]


@pytest.fixture
def idp():
    with IdP([KEY]) as idp:
        yield idp


class Asked(Gate):
    """A gate that is asked directly; `tracing` is that section."""

    def __init__(self, folder, idp, tracing="", **changes):
        text = SETTINGS + (f"tracing: {{{{{tracing}}}}}\n" if tracing else "")
        for old, new in changes.items():
            assert f"{old}: " in text
            text = text.replace(f"{old}: {new[0]}", f"{old}: {new[1]}")
        super().__init__(folder, idp, settings=text)
        self._idp = idp

    def __enter__(self):
        super().__enter__()
        self.channels = [grpc.insecure_channel(endpoint) for endpoint in self.endpoints]
        return self

    def __exit__(self, *exc):
        for channel in self.channels:
            channel.close()
        super().__exit__(*exc)

    def check(self, target="/api/v2/dags", *, header=None, called=None, credential=None, worker=0, **parts):
        """`header` is the request's `traceparent`, `called` that of the call by which Envoy asks."""
        credential = credential or token(KEY, iss=self._idp.url)
        headers = [("authorization", f"Bearer {credential}".encode())]
        headers += [("traceparent", header.encode())] if header else []
        metadata = [("traceparent", called)] if called else []
        call = self.channels[worker].unary_unary(CHECK)
        return read(call(message(target=target, headers=headers, **parts), timeout=10, metadata=metadata))

    def spans_counted(self, result):
        return self.metric(f'authz_spans_total{{result="{result}"}}')


@pytest.fixture
def collector():
    with Collector() as collector:
        yield collector


@pytest.mark.parametrize("engine", ["cq", "aio"])
def test_a_sampled_check_is_one_span_below_the_one_that_asked(tmp_path, idp, collector, engine):
    with Asked(
        tmp_path, idp, f"endpoint: '{collector.endpoint}'", policy=("policy.yaml", f"policy.yaml\nengine: {engine}")
    ) as gate:
        answer = gate.check("/api/v2/dags/secret-dag?code=hidden-code", header=SAMPLED)
        assert answer.allowed
        [span] = collector.wait_for(1)
        record = gate.decision(answer.metadata["decision_id"])
    assert (span.trace, span.parent) == (TRACE, SPAN)
    assert len(span.id) == 16
    assert span.id != SPAN
    assert (span.name, span.kind, span.failed) == ("envoy.service.auth.v3.Authorization/Check", 2, False)
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "envoy.service.auth.v3.Authorization/Check",
        "rpc.response.status_code": "OK",
        "authz.decision_id": record["id"],
        "authz.decision": "allow",
        "authz.reason": "rule",
        "authz.rule": "readers",
        "authz.operation": "dags:read",
        "authz.plane": "inbound",
        "authz.policy_revision": record["revision"],
    }
    assert record["trace"] == TRACE
    begin, end = span.nanoseconds
    assert 0 <= end - begin < 5_000_000_000
    assert span.resource["service.name"] == "airflow-envoy-authz"
    assert span.resource["service.instance.id"].endswith("/0")


def test_a_span_holds_nothing_of_the_caller_and_nothing_that_was_sent(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'") as gate:
        credential = token(
            KEY, iss=idp.url, sub="s3cret-subject", preferred_username="s3cret-name", client_id="s3cret-client"
        )
        gate.check("/api/v2/dags/s3cret-dag?s3cret=s3cret", header=SAMPLED, credential=credential, host="s3cret.test")
        gate.check("/s3cret/path", header=SAMPLED, credential=credential, host="s3cret.test")
        gate.check("/api/v2/dags", header=SAMPLED, credential="s3cret.token.x")
        spans = collector.wait_for(3)
    for span in spans:
        for secret in (b"s3cret", credential.encode(), *credential.encode().split(b"."), b"192.0.2.7"):
            assert secret not in span.raw
    assert [span.attributes["authz.decision"] for span in spans] == ["allow", "deny", "deny"]


def test_what_is_not_sampled_has_no_span(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'") as gate:
        for header in (None, UNSAMPLED, *MALFORMED):
            assert gate.check(header=header).allowed
        assert gate.check(header=SAMPLED, called=UNSAMPLED).allowed, "Envoy has the last word"
        gate.check(header=SAMPLED)
    assert len(collector.spans()) == 1, "only the last one, which came after all others"


def test_where_envoy_traces_the_parent_is_the_span_of_its_question(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'") as gate:
        answer = gate.check(header=f"00-{TRACE}-{SPAN}-01", called=f"00-{TRACE}-{'ab' * 8}-01")
        other = gate.check(called=f"00-{'cd' * 16}-{'ef' * 8}-01")
        spans = {span.attributes["authz.decision_id"]: span for span in collector.wait_for(2)}
        ours, alone = spans[answer.metadata["decision_id"]], spans[other.metadata["decision_id"]]
        assert (ours.trace, ours.parent) == (TRACE, "ab" * 8)
        assert (alone.trace, alone.parent) == ("cd" * 16, "ef" * 8)
        assert gate.decision(other.metadata["decision_id"])["trace"] == "cd" * 16, "the record leads to the trace"


def test_a_check_that_waited_for_a_key_is_one_span_of_the_whole_time(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'", min_interval=("1s", "10ms")) as gate:
        new = make_key("ES256", kid="k2")
        idp.keys = [KEY, new]
        answer = gate.check(header=SAMPLED, credential=token(new, iss=idp.url))
        [span] = collector.wait_for(1)
    assert answer.allowed
    assert (span.parent, span.attributes["authz.decision"]) == (SPAN, "allow")
    assert span.nanoseconds[1] - span.nanoseconds[0] > 1_000_000, "a key was fetched over HTTP in between"


def test_a_record_that_cannot_be_written_is_an_error_of_the_span(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'", decisions=("decisions.jsonl", "/dev/full")) as gate:

        def refused():
            return gate.check(header=SAMPLED).reason == "audit_unavailable"

        gate.until(refused, "the log cannot be written")
        gate.until(lambda: any(span.failed for span in collector.spans()), "a span says so")
        [span] = [span for span in collector.spans() if span.failed][:1]
    assert span.attributes["authz.reason"] == "audit_unavailable"


def test_a_dead_collector_changes_no_answer_and_its_spans_are_counted(tmp_path, idp):
    address = loopback()
    with Asked(tmp_path, idp, f"endpoint: '{address}'") as gate:
        assert (gate.spans_counted("exported"), gate.spans_counted("dropped")) == (0, 0)
        for _ in range(20):
            assert gate.check(header=SAMPLED).allowed
        gate.until(lambda: gate.spans_counted("dropped") == 20, "all are dropped")
        said = gate.log.read_text()
        assert said.count("spans cannot be exported") == 1
        assert address in said
        with Collector(address=address) as collector:
            gate.check(header=SAMPLED)
            collector.wait_for(1)
            gate.until(lambda: gate.spans_counted("exported") == 1, "the one is counted")
        assert gate.log.read_text().count("are exported to") == 1
    assert "Traceback" not in gate.log.read_text()


def test_a_collector_that_hangs_holds_up_neither_answers_nor_the_end(tmp_path, idp):
    released = threading.Event()
    with Collector(hold=released) as collector:
        with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'") as gate:
            assert gate.check(header=SAMPLED).allowed
            collector.wait_for(1)
            assert gate.check(header=SAMPLED).allowed
            assert gate.stop(timeout=8) == 0
        released.set()


def test_what_is_queued_is_sent_at_the_end(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'") as gate:
        gate.check(header=SAMPLED)
        assert gate.stop() == 0
    assert len(collector.spans()) == 1


def test_each_worker_exports_its_own_spans(tmp_path, idp, collector):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'", workers=("1", "2")) as gate:
        for worker in range(2):
            assert gate.check(header=SAMPLED, worker=worker).allowed
        names = {span.resource["service.instance.id"].rpartition("/")[2] for span in collector.wait_for(2)}
        gate.until(lambda: gate.spans_counted("exported") == 2, "the sum of both")
    assert names == {"0", "1"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_histogram_of_latencies_names_a_trace_that_was_sampled(tmp_path, idp, collector, workers):
    with Asked(tmp_path, idp, f"endpoint: '{collector.endpoint}'", workers=("1", workers)) as gate:
        gate.check(header=f"00-{'f' * 32}-{SPAN}-00")
        assert gate.check(header=SAMPLED).allowed
        text = gate.get("/metrics", headers={"accept": OPENMETRICS}).text
    found = [(sample.name, sample.exemplar) for one in parse_openmetrics(text) for sample in one.samples]
    [(name, exemplar)] = [pair for pair in found if pair[1] is not None]
    assert (name, exemplar.labels) == ("authz_check_seconds_bucket", {"trace_id": TRACE})


def test_the_collector_must_show_the_certificate_of_the_authority(tmp_path, idp):
    for name in ("ours", "other"):
        (tmp_path / name).mkdir()
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    server = ours.issue("collector.test")
    credentials = grpc.ssl_server_credentials([(server.key.read_bytes(), server.certificate.read_bytes())])
    with Collector(credentials) as collector:
        section = f"endpoint: '{collector.endpoint}', tls: true, tls_name: collector.test, tls_ca: "
        with Asked(tmp_path / "good", idp, section + f"'{ours.ca}'") as gate:
            gate.check(header=SAMPLED)
            collector.wait_for(1)
        with Asked(tmp_path / "bad", idp, section + f"'{other.ca}'") as gate:
            assert gate.check(header=SAMPLED).allowed
            gate.until(lambda: gate.spans_counted("dropped") == 1, "it is dropped")
        assert len(collector.spans()) == 1


def test_without_the_section_opentelemetry_is_not_even_imported(tmp_path, idp, collector, monkeypatch):
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # Python names each module on standard error
    with Asked(tmp_path / "without", idp) as gate:
        assert gate.check(header=SAMPLED).allowed
        assert "authz_spans_total{" not in gate.get("/metrics").text
    with Asked(tmp_path / "with", idp, f"endpoint: '{collector.endpoint}'") as traced:
        assert traced.check(header=SAMPLED).allowed
    imported = [gate.log.read_text() for gate in (gate, traced)]
    assert ["authz.check.service" in text for text in imported] == [True, True]
    assert ["opentelemetry" in text for text in imported] == [False, True]


def test_without_the_extra_the_settings_are_refused_and_it_is_named(tmp_path, idp, monkeypatch):
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named opentelemetry', name='opentelemetry')"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    gate = Asked(tmp_path, idp, f"endpoint: '{loopback()}'")
    with pytest.raises(AssertionError, match="ended with status 2"):
        gate.start()
    assert "`pip install '.[otel]'`" in gate.log.read_text()
    assert "Traceback" not in gate.log.read_text()
