"""The metrics: what is shown, that no caller can add a series, and what counting costs."""

import time

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from authz.core.model import Plane
from authz.core.reasons import Reason
from authz.ops.check_counts import MOST_RULES
from authz.ops.decision_log import SinkStatus
from authz.ops.metrics import BUCKETS, OPENMETRICS, Metrics


@pytest.fixture
def metrics():
    return Metrics()


def samples(metrics):
    text, _ = metrics.exposition()
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(metrics, name, *labels):
    return samples(metrics)[name, *sorted(labels)]


def test_checks_are_counted_by_plane_decision_and_reason(metrics):
    metrics.check(Plane.INBOUND, Reason.RULE, 60e-6)
    metrics.check(Plane.INBOUND, Reason.RULE, 60e-6)
    metrics.check(Plane.EGRESS, Reason.NO_RULE, 60e-6)
    metrics.check("", Reason.MISCONFIGURED, 60e-6)
    assert value(metrics, "authz_checks_total", "inbound", "allow", "rule") == 2
    assert value(metrics, "authz_checks_total", "egress", "deny", "no_rule") == 1
    assert value(metrics, "authz_checks_total", "none", "deny", "misconfigured") == 1
    assert sum(count for (name, *_), count in samples(metrics).items() if name == "authz_checks_total") == 4


def test_every_combination_is_there_from_the_start_so_that_rates_see_the_first_one(metrics):
    shown = [series for series in samples(metrics) if series[0] == "authz_checks_total"]
    assert len(shown) == 4 * len(Reason)  # two planes, tasks that ask who they are, and none


def hits(metrics):
    return {key[1]: count for key, count in samples(metrics).items() if key[0] == "authz_rule_hits_total"}


def test_a_check_counts_for_the_rule_that_decided(metrics):
    metrics.policy_loaded("a" * 64, ["readers", "never-delete", "unused"])
    for _ in range(3):
        metrics.check(Plane.INBOUND, Reason.RULE, 60e-6, "readers")
    metrics.check(Plane.EGRESS, Reason.DENY_RULE, 60e-6, "never-delete")
    metrics.check(Plane.INBOUND, Reason.NO_RULE, 60e-6)
    assert hits(metrics) == {"readers": 3, "never-delete": 1, "unused": 0}
    assert value(metrics, "authz_checks_total", "inbound", "allow", "rule") == 3
    assert value(metrics, "authz_checks_total", "inbound", "deny", "no_rule") == 1


def test_a_rule_that_comes_back_goes_on_where_it_was(metrics):
    metrics.policy_loaded("a" * 64, ["readers"])
    metrics.check(Plane.INBOUND, Reason.RULE, 60e-6, "readers")
    metrics.policy_loaded("b" * 64, ["writers"])
    assert hits(metrics) == {"readers": 1, "writers": 0}
    metrics.policy_restored("a" * 64, ["readers"])
    metrics.check(Plane.INBOUND, Reason.RULE, 60e-6, "readers")
    assert hits(metrics) == {"readers": 2}


def test_rules_beyond_the_first_two_thousand_share_one_series(metrics):
    metrics.policy_loaded("a" * 64, (f"rule-{number}" for number in range(5000)))
    assert len(hits(metrics)) == MOST_RULES
    for _ in range(2):
        for number in reversed(range(5000)):
            metrics.check(Plane.INBOUND, Reason.RULE, 60e-6, f"rule-{number}")
    found = hits(metrics)
    assert (len(found), sum(found.values())) == (MOST_RULES + 1, 10_000)
    assert (found["rule-4999"], found["(other)"]) == (2, 2 * (5000 - MOST_RULES))
    assert "rule-0" not in found, "0 would not be true"
    assert value(metrics, "authz_checks_total", "inbound", "allow", "rule") == 10_000


def test_the_age_of_a_policy_begins_when_it_comes_into_force():
    now = [100.0]
    metrics = Metrics(3, lambda: now[0])
    assert not [key for key in samples(metrics) if key[0] == "authz_policy_loaded_timestamp_seconds"]
    metrics.policy_loaded("a" * 64)
    now[0] = 200.0
    metrics.policy_loaded("a" * 64)  # its file can be used again
    assert value(metrics, "authz_policy_loaded_timestamp_seconds", "3", "a" * 12) == 100
    metrics.policy_loaded("b" * 64)
    assert value(metrics, "authz_policy_loaded_timestamp_seconds", "3", "b" * 12) == 200
    assert ("authz_policy_loaded_timestamp_seconds", "3", "a" * 12) not in samples(metrics)


def test_the_counters_of_an_issuer_begin_at_nought_so_that_rates_see_the_first_failure(metrics):
    metrics.key_refresh("corp", "failed")
    metrics.issuers(["corp", "airflow"])
    shown = samples(metrics)
    assert [shown["authz_key_refreshes_total", *sorted(("corp", word))] for word in ("changed", "failed")] == [0, 1]
    assert shown["authz_key_refreshes_total", "airflow", "failed"] == 0


def test_no_caller_can_add_a_series(metrics):
    before = len(samples(metrics))
    with pytest.raises(KeyError):
        metrics.check("x" * 100, Reason.RULE, 0.0)
    with pytest.raises(KeyError):
        metrics.check(Plane.INBOUND, "made_up", 0.0)
    with pytest.raises(KeyError):
        metrics.check("x" * 100, Reason.RULE, 0.0, "readers")
    with pytest.raises(KeyError):
        metrics.token_cache("made_up")
    assert len(samples(metrics)) == before


def test_the_histogram_is_fine_enough_for_fifty_microseconds(metrics):
    assert sum(bound <= 100e-6 for bound in BUCKETS) >= 4
    for seconds in (10e-6, 25e-6, 26e-6, 0.9, 1.0, 7.0):
        metrics.check(Plane.INBOUND, Reason.RULE, seconds)
    shown = samples(metrics)
    assert shown["authz_check_seconds_bucket", "2.5e-05"] == 2
    assert shown["authz_check_seconds_bucket", "5e-05"] == 3
    assert shown["authz_check_seconds_bucket", "1.0"] == 5
    assert shown["authz_check_seconds_bucket", "+Inf"] == 6
    assert shown[("authz_check_seconds_count",)] == 6
    assert shown[("authz_check_seconds_sum",)] == pytest.approx(8.900061)


def test_tokens_keys_policy_and_engine(metrics):
    metrics.token_cache("hit")
    metrics.token_cache("hit")
    metrics.token_cache("miss")
    metrics.key_refresh("corp", "changed")
    metrics.key_refresh("corp", "failed")
    metrics.key_refresh("corp", "failed")
    metrics.policy_loaded("a" * 64)
    metrics.policy_restored("c" * 64)
    metrics.policy_loaded("b" * 64)
    metrics.policy_refused("")
    metrics.engine("aio")
    metrics.watch_keys(lambda: {"corp": 12.5})
    shown = samples(metrics)
    assert shown["authz_token_cache_total", "hit"] == 2
    assert shown["authz_token_cache_total", "miss"] == 1
    assert shown["authz_key_refreshes_total", "changed", "corp"] == 1
    assert shown["authz_key_refreshes_total", "corp", "failed"] == 2
    assert shown["authz_policy_reloads_total", "ok"] == 2
    assert shown["authz_policy_reloads_total", "failed"] == 1
    assert shown["authz_policy_reloads_total", "restored"] == 1
    assert shown["authz_policy_info", "b" * 12] == 1
    assert ("authz_policy_info", "a" * 12) not in shown
    assert shown["authz_engine_info", "aio"] == 1
    assert shown["authz_key_age_seconds", "corp"] == 12.5


def test_a_refused_policy_names_the_test_that_fails_until_one_is_in_force(metrics):
    def refused():
        return {key[1]: value for key, value in samples(metrics).items() if key[0] == "authz_policy_refused"}

    assert refused() == {}
    metrics.policy_refused("readers\nread " + 200 * "x")
    [(name, value)] = refused().items()
    assert (name[:16], len(name), value) == ("readers\\nread xx", 120, 1)
    metrics.policy_refused("")
    assert refused() == {"": 1}
    metrics.policy_restored("c" * 64)
    assert refused() == {"": 1}, "the file is still refused"
    metrics.policy_loaded("b" * 64)
    assert refused() == {}


def test_a_refused_file_of_a_team_is_shown_with_what_is_served_of_it_until_it_is_good(metrics):
    def refused():
        text, _ = metrics.exposition()
        families = {family.name: family for family in text_string_to_metric_families(text.decode())}
        shown = families["authz_policy_file_refused"].samples
        return {sample.labels["file"]: (sample.labels["serves"], sample.value) for sample in shown}

    assert refused() == {}
    metrics.policy_files_refused({"teams/hr.yaml": "last good", "teams/sales.yaml": "left out"})
    assert refused() == {"teams/hr.yaml": ("last good", 1), "teams/sales.yaml": ("left out", 1)}
    metrics.policy_files_refused({"teams/sales.yaml": "last good"})
    assert refused() == {"teams/sales.yaml": ("last good", 1)}
    metrics.policy_refused("a mistake of the policy file")
    assert refused() == {"teams/sales.yaml": ("last good", 1)}, "another gauge says that"
    metrics.policy_files_refused({})
    assert refused() == {}


def test_gauges_are_read_at_the_scrape(metrics):
    metrics.parked = 2
    metrics.watch_sink(lambda: SinkStatus(queued=7, dropped=5, failed="full", oldest_s=3.5))
    shown = samples(metrics)
    assert shown[("authz_parked",)] == 2
    assert shown[("authz_sink_queue",)] == 7
    assert shown[("authz_sink_dropped_total",)] == 5
    assert shown[("authz_sink_failed",)] == 1
    assert shown[("authz_sink_oldest_seconds",)] == 3.5
    assert value(Metrics(), "authz_sink_failed") == 0


def test_the_process_is_shown_too(metrics):
    assert samples(metrics)[("process_resident_memory_bytes",)] > 1_000_000


def test_both_formats_parse(metrics):
    metrics.check(Plane.INBOUND, Reason.RULE, 60e-6)
    _, plain = metrics.exposition()
    assert plain.startswith("text/plain")
    text, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(text.decode())} >= {"authz_checks", "authz_check_seconds"}


def test_an_exemplar_names_the_trace_in_its_own_bucket_and_only_where_the_format_has_them(metrics):
    metrics.check(Plane.INBOUND, Reason.RULE, 60e-6)
    metrics.exemplar(60e-6, "a" * 32)
    metrics.exemplar(2.0, "b" * 32)
    text, _ = metrics.exposition(OPENMETRICS)
    shown = {
        sample.labels["le"]: sample.exemplar
        for family in parse_openmetrics(text.decode())
        for sample in family.samples
        if sample.exemplar is not None
    }
    assert {bound: exemplar.labels for bound, exemplar in shown.items()} == {
        "7.5e-05": {"trace_id": "a" * 32},
        "+Inf": {"trace_id": "b" * 32},
    }
    assert shown["+Inf"].value == 2.0
    assert b"trace_id" not in metrics.exposition()[0]


def test_registries_are_apart():
    one, other = Metrics(), Metrics()
    one.token_cache("hit")
    assert value(other, "authz_token_cache_total", "hit") == 0


def test_counting_costs_little(metrics):
    """The aim is 1.5 µs for both calls; ten times that would be a mistake and not a slow machine."""
    best = min(_timed(metrics) for _ in range(5))
    assert best < 15e-6


def _timed(metrics, rounds=2000):
    began = time.process_time()
    for _ in range(rounds):
        metrics.check(Plane.INBOUND, Reason.RULE, 60e-6)
        metrics.token_cache("hit")
    return (time.process_time() - began) / rounds


def test_rules_beyond_the_first_two_hundred_share_one_label():
    metrics = Metrics()
    for number in range(203):
        metrics.compared(f"rule-{number}", "agree")
    for _ in range(2):
        metrics.compared("rule-0", "loss")
        metrics.compared("rule-202", "loss")
        metrics.compared("", "gain")
    text = metrics.exposition()[0].decode()
    assert text.count("authz_shadow_checks_total{") == 200 + 1 + 3
    assert 'authz_shadow_checks_total{outcome="agree",rule="(other)"} 3.0' in text
    assert 'authz_shadow_checks_total{outcome="loss",rule="rule-0"} 2.0' in text
    assert 'authz_shadow_checks_total{outcome="loss",rule="(other)"} 2.0' in text
    assert 'authz_shadow_checks_total{outcome="gain",rule="(none)"} 2.0' in text
