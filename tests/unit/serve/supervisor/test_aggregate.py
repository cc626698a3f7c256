"""The metrics of several workers as one text: what is summed, what is not, and what the dead leave behind."""

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as encode

from authz.ops.decision_log import SinkStatus
from authz.ops.metrics import OPENMETRICS, Metrics
from authz.serve.supervisor.aggregate import Totals


def texts_of(*metrics):
    return [((index, 1), made.exposition(OPENMETRICS)[0].decode()) for index, made in enumerate(metrics)]


def samples(totals, texts, own=()):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for metric in totals.collect(texts, own)
        for sample in metric.samples
    }


def metrics(*, hits=0, checks=(), revision="a" * 64, age=1.0, parked=0, failed=False):
    made = Metrics()
    made.engine("cq")
    made.policy_loaded(revision)
    made.watch_keys(lambda: {"corp": age})
    made.watch_sink(lambda: SinkStatus(queued=parked, failed="full" if failed else "", oldest_s=parked))
    made.parked = parked
    for _ in range(hits):
        made.token_cache("hit")
    for seconds in checks:
        made.check("inbound", "rule", seconds)
    return made


def test_counters_and_histograms_are_summed():
    found = samples(Totals(), texts_of(metrics(hits=2, checks=[0.0001, 0.2]), metrics(hits=3, checks=[0.2])))
    assert found["authz_token_cache_total", "hit"] == 5
    assert found["authz_checks_total", "allow", "inbound", "rule"] == 3
    assert found["authz_check_seconds_count",] == 3
    assert found["authz_check_seconds_sum",] == pytest.approx(0.4001)
    assert (found["authz_check_seconds_bucket", "0.0001"], found["authz_check_seconds_bucket", "+Inf"]) == (1, 3)


def test_gauges_are_summed_or_the_worst_or_united():
    one = metrics(age=3.0, parked=2, revision="a" * 64)
    two = metrics(age=7.0, parked=5, revision="b" * 64, failed=True)
    found = samples(Totals(), texts_of(one, two))
    assert found["authz_parked",] == 7
    assert found["authz_sink_queue",] == 7
    assert found["authz_sink_oldest_seconds",] == 5
    assert found["authz_sink_failed",] == 1
    assert found["authz_key_age_seconds", "corp"] == 7.0
    assert (found["authz_policy_info", "a" * 12], found["authz_policy_info", "b" * 12]) == (1, 1)
    assert found["authz_engine_info", "cq"] == 1


def test_a_rule_counts_for_all_workers_and_each_worker_says_since_when_it_has_its_policy():
    made = [Metrics(0, lambda: 100.0), Metrics(1, lambda: 101.0)]
    for worker in made:
        worker.policy_loaded("a" * 64, ["readers", "unused"])
        worker.check("inbound", "rule", 0.001, "readers")
    found = samples(Totals(), texts_of(*made))
    assert (found["authz_rule_hits_total", "readers"], found["authz_rule_hits_total", "unused"]) == (2, 0)
    since = {key[1:]: value for key, value in found.items() if key[0] == "authz_policy_loaded_timestamp_seconds"}
    assert since == {("0", "a" * 12): 100, ("1", "a" * 12): 101}


def test_a_rule_that_is_gone_keeps_what_it_counted_and_no_series_if_that_is_nothing():
    worker, totals = Metrics(), Totals()
    worker.policy_loaded("a" * 64, ["readers", "unused"])
    worker.check("inbound", "rule", 0.001, "readers")
    samples(totals, texts_of(worker))
    successor = Metrics()
    successor.policy_loaded("b" * 64, ["writers"])
    found = samples(totals, texts_of(successor))
    assert {key[1]: count for key, count in found.items() if key[0] == "authz_rule_hits_total"} == {
        "readers": 1,
        "writers": 0,
    }


def test_the_supervisors_own_metrics_take_part():
    own = [GaugeMetricFamily("process_resident_memory_bytes", "Memory.", 5.0)]
    text = "# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 7\n"
    started = "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {}\n# EOF\n"
    found = samples(Totals(), [((0, 1), text + started.format(9)), ((1, 1), text + started.format(4))], own)
    assert found["process_resident_memory_bytes",] == 19
    assert found["process_start_time_seconds",] == 4


def test_what_an_ended_worker_had_counted_stays_in_the_sum_and_its_gauges_go():
    totals = Totals()
    first, second = metrics(hits=2, parked=1), metrics(hits=3, parked=1)
    assert samples(totals, texts_of(first, second))["authz_token_cache_total", "hit"] == 5
    totals.ended((0, 1))
    [_, alive] = texts_of(first, second)
    found = samples(totals, [alive])
    assert (found["authz_token_cache_total", "hit"], found["authz_parked",]) == (5, 1)
    follower = ((0, 2), metrics(hits=10).exposition(OPENMETRICS)[0].decode())
    assert samples(totals, [follower, alive])["authz_token_cache_total", "hit"] == 15


def test_the_last_words_of_a_worker_count():
    totals = Totals()
    totals.saw((0, 1), metrics(hits=2).exposition(OPENMETRICS)[0].decode())
    totals.ended((0, 1), metrics(hits=9).exposition(OPENMETRICS)[0].decode())
    assert samples(totals, [])["authz_token_cache_total", "hit"] == 9
    totals.ended((0, 1), metrics(hits=9).exposition(OPENMETRICS)[0].decode())
    assert samples(totals, [])["authz_token_cache_total", "hit"] == 9, "nobody dies twice"


def test_an_answer_that_comes_after_the_end_is_not_counted_twice():
    totals = Totals()
    text = metrics(hits=2).exposition(OPENMETRICS)[0].decode()
    totals.saw((0, 1), text)
    totals.ended((0, 1))
    totals.saw((0, 1), text)
    assert samples(totals, [((0, 1), text)])["authz_token_cache_total", "hit"] == 2


def test_a_silent_worker_keeps_its_counts_and_an_overtaken_answer_changes_nothing():
    totals = Totals()
    totals.saw((0, 1), metrics(hits=8).exposition(OPENMETRICS)[0].decode())
    totals.saw((0, 1), metrics(hits=6).exposition(OPENMETRICS)[0].decode())
    found = samples(totals, [])
    assert found["authz_token_cache_total", "hit"] == 8
    assert ("authz_parked",) not in found


@pytest.mark.parametrize("text", ["", "no metrics {{{ at all", "# TYPE x counter\nx_total nonsense\n"])
def test_nonsense_is_no_answer(text):
    assert samples(Totals(), [((0, 1), text)]) == {}


def test_each_bucket_shows_the_newest_exemplar_of_all_workers():
    at = iter([100.0, 300.0, 200.0])
    one, two = Metrics(0, lambda: next(at)), Metrics(1, lambda: next(at))
    for worker, seconds, trace in ((one, 0.2, "1" * 32), (two, 0.2, "2" * 32), (one, 0.0001, "3" * 32)):
        worker.check("inbound", "rule", seconds)
        worker.exemplar(seconds, trace)
    totals = Totals()
    totals.ended((7, 1), texts_of(one)[0][1])
    texts = texts_of(two)
    shown = {
        sample.labels["le"]: (sample.exemplar.labels["trace_id"], sample.exemplar.value)
        for metric in totals.collect(texts, ())
        for sample in metric.samples
        if sample.exemplar is not None
    }
    assert shown == {"0.25": ("2" * 32, 0.2), "0.0001": ("3" * 32, 0.0001)}


def test_the_result_is_an_exposition_again():
    """What comes out can be read by the same rules as what went in: names, types, helps and the order of buckets."""
    made = metrics(hits=2, checks=[0.01])
    [(worker, text)] = texts_of(made)

    class Once:
        def collect(self):
            return Totals().collect([(worker, text)], [])

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Once())

    def of_ours(exposition):
        return sorted(line for line in exposition.splitlines() if "authz_" in line)

    assert of_ours(encode(registry).decode()) == of_ours(text)
    lines = encode(registry).decode().splitlines()
    buckets = [line for line in lines if line.startswith("authz_check_seconds_bucket")]
    assert buckets == [line for line in text.splitlines() if line.startswith("authz_check_seconds_bucket")]
