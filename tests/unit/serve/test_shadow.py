"""A candidate beside a real gate's policy, over real sockets, on both engines: absent, broken, replaced, promoted."""

import json

import pytest

from authz import settings
from authz.core.errors import ConfigError
from tests.support.rigs.service import message
from tests.unit.serve.test_app import Place, Running, bearer

ENGINES = ["aio", "cq"]


class Gate(Running):
    """A running gate that reads its own log."""

    def __init__(self, place):
        self.place = place
        super().__init__(place.app(), place.admin)

    def state(self):
        return json.loads(self.page("/readyz")[1])["shadow"]

    def until_state(self, state):
        self.until(lambda: self.state()["state"] == state, f"the candidate does not become {state}")

    def newest(self):
        """Asks once; what its record says about the candidate. The answer is the policy's, whatever the candidate."""
        answer = self.check(message(headers=bearer()))
        assert answer.http == 200
        assert self.app.sink.flush()
        lines = (self.place.folder / "decisions.jsonl").read_text().splitlines()
        return [found for found in map(json.loads, lines) if found["type"] == "decision"][-1].get("shadow")


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    place.text += "shadow: candidate.yaml\n"
    return place


@pytest.fixture(params=ENGINES)
def gate(request, place):
    place.text += f"engine: {request.param}\n"
    with Gate(place) as gate:
        gate.until(gate.serving, "it does not become ready")
        yield gate


def test_a_candidate_comes_breaks_is_mended_and_is_promoted_and_changes_no_answer_before(place, gate):
    candidate = place.folder / "candidate.yaml"
    good = place.policy.read_text()
    narrower = good.replace("roles: [viewer], operations", "roles: [copilot], operations")
    gate.until_state("absent")
    assert gate.newest() is None
    save(candidate, narrower)
    gate.until_state("compared")
    revision = gate.state()["revision"]
    for _ in range(3):
        assert gate.newest() == {"revision": revision[:12], "decision": "deny", "reason": "no_rule", "rule": ""}
    metrics = gate.page("/metrics")[1]
    assert f'authz_shadow_info{{revision="{revision[:12]}"}} 1.0' in metrics
    assert 'authz_shadow_checks_total{outcome="loss",rule="readers"} 3.0' in metrics
    assert "authz_shadow_refused 0.0" in metrics

    save(candidate, narrower.replace("rules:", "rulez:"))
    gate.until_state("refused")
    assert "rulez" in "".join(gate.state()["problems"])
    assert gate.page("/readyz")[0] == 200
    assert gate.newest() is None
    assert "authz_shadow_refused 1.0" in gate.page("/metrics")[1]

    save(candidate, good + "# the same\n")
    gate.until_state("compared")
    assert gate.newest() == {"revision": gate.state()["revision"][:12]}

    save(candidate, narrower)
    gate.until(lambda: gate.state()["revision"] == revision, "it is not replaced")
    candidate.replace(place.policy)
    gate.until(lambda: gate.check(message(headers=bearer())).http == 403, "it is not promoted")
    gate.until_state("absent")
    assert json.loads(gate.page("/readyz")[1])["revision"] == revision


def test_another_issuer_is_named_and_its_callers_are_not_compared(place, gate):
    text = place.policy.read_text()
    save(place.folder / "candidate.yaml", text.replace("max_lifetime: 1h", "max_lifetime: 2h"))
    gate.until_state("compared")
    assert gate.state()["issuers_not_compared"] == ["corp"]
    assert gate.newest()["unknown"] == "issuer"
    assert 'authz_shadow_not_compared_total{reason="issuer"} 1.0' in gate.page("/metrics")[1]
    save(place.policy, text.replace("max_lifetime: 1h", "max_lifetime: 2h") + "# now\n")
    gate.until(lambda: "issuers_not_compared" not in gate.state(), "the policy with the same issuer is not in force")
    assert gate.newest() == {"revision": gate.state()["revision"][:12]}


def test_a_gate_without_the_setting_says_nothing_about_it(tmp_path):
    place = Place(tmp_path)
    (tmp_path / "candidate.yaml").write_text("nonsense")
    with Running(place.app(), place.admin) as running:
        running.until(running.serving, "it does not become ready")
        assert "shadow" not in json.loads(running.page("/readyz")[1])
        assert running.app.service._shadow is None


def save(path, text):
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def test_the_candidate_is_beside_the_settings_and_is_not_the_policy(place):
    path = place.folder / "authz.yaml"
    path.write_text(place.text)
    assert settings.load(path).shadow == str(place.folder / "candidate.yaml")
    path.write_text(place.text.replace("candidate.yaml", "policy.yaml"))
    with pytest.raises(ConfigError, match="the same file"):
        settings.load(path)
