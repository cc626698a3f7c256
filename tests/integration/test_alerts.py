"""The rules for Prometheus: it accepts them, each alert fires when it must and only then, the runbook has all."""

import re
from pathlib import Path

import pytest
import yaml

from authz.core.reasons import ANSWERS, Reason
from scripts.docs import slug
from tests.support.prometheus import RULES, promtool

ROOT = Path(__file__).parents[2]
CASES = yaml.safe_load(Path(__file__).with_name("alert_cases.yaml").read_text())
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"] if "alert" in rule}
RECORDED = {rule["record"]: rule["expr"] for group in GROUPS for rule in group["rules"] if "record" in rule}
OURS = ("job", "authz"), ("instance", "a")


def series(text):
    """A series with the labels that it does not have yet."""
    name, _, labels = text.rstrip("}").partition("{")
    missing = [f'{key}="{value}"' for key, value in OURS if f"{key}=" not in labels]
    return f"{name}{{{','.join([*filter(None, [labels]), *missing])}}}"


def in_words_of_promtool(name, case):
    """One case in promtool's words."""
    rule = ALERTS[name]
    expected = {time: [] for time in case.get("quiet", ())} | case.get("fires", {})
    return {
        "interval": case.get("every", "1m"),
        "name": name,
        "input_series": [{"series": series(key), "values": values} for key, values in case["series"].items()],
        "alert_rule_test": [
            {
                "eval_time": time,
                "alertname": name,
                "exp_alerts": [
                    {"exp_labels": rule["labels"] | labels, "exp_annotations": rule["annotations"]} for labels in fired
                ],
            }
            for time, fired in expected.items()
        ],
    }


def tried(folder, groups):
    """What promtool says about the cases of the alerts of these groups, each group alone; "" if all is well."""
    words = []
    for group in groups:
        cases = [(rule["alert"], case) for rule in group["rules"] if "alert" in rule for case in CASES[rule["alert"]]]
        rules = folder / "rules.yaml"
        rules.write_text(yaml.safe_dump({"groups": [group]}))
        for every in sorted({case.get("every", "1m") for _, case in cases}):
            tests = [in_words_of_promtool(name, case) for name, case in cases if case.get("every", "1m") == every]
            file = folder / "tests.yaml"
            file.write_text(yaml.safe_dump({"rule_files": [str(rules)], "evaluation_interval": every, "tests": tests}))
            status, text = promtool("test", "rules", file)
            words += [text] if status else []
    return "".join(words)


def test_prometheus_accepts_the_rules():
    status, words = promtool("check", "rules", RULES)
    assert (status, re.search(r"SUCCESS: (\d+) rules", words)[1]) == (0, str(len(ALERTS) + len(RECORDED))), words


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not():
    assert list(CASES) == list(ALERTS)
    for name, cases in CASES.items():
        assert any(case.get("fires") for case in cases), name
        assert any(case.get("quiet") for case in cases), name


def test_every_alert_fires_when_it_must_and_only_then(tmp_path):
    assert tried(tmp_path, GROUPS) == ""


@pytest.mark.full
@pytest.mark.parametrize("name", ALERTS)
def test_the_cases_notice_an_alert_that_always_fires_or_never(name, tmp_path):
    for wrong in ("vector(1) > 0", "vector(1) > 2"):
        group = {"name": "wrong", "rules": [ALERTS[name] | {"expr": wrong}]}
        assert "FAILED" in tried(tmp_path, [group])


def test_unavailable_are_the_reasons_whose_answer_is_503():
    unavailable = {str(reason) for reason, answer in ANSWERS.items() if answer.http == 503}
    for name, expression in RECORDED.items():
        if "unavailable" in name:
            assert set(re.search(r'reason=~"(.*?)"', expression)[1].split("|")) == unavailable, name


def test_alerts_name_reasons_that_exist():
    named = [
        word
        for rule in ALERTS.values()
        for text in re.findall(r'reason!?=~?"(.*?)"', rule["expr"])
        for word in text.split("|")
    ]
    assert len(named) > 10
    assert set(named) <= set(map(str, Reason))


def test_every_alert_has_its_section_in_the_runbook_and_every_section_its_alert():
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = re.findall(r"^### (.*)$", text, re.MULTILINE)
    assert sections == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{slug(name)}"
        assert rule["labels"]["severity"] in {"page", "ticket"}
        body = text.partition(f"\n### {name}\n")[2].partition("\n### ")[0]
        assert "**Means:**" in body, name
        assert "**Do:**" in body, name
