from authz.core.errors import ConfigError, KeysUnavailableError, PolicyError, Problem, TokenError
from authz.core.reasons import Reason


def test_a_problem_reads_as_place_message_and_what_to_do():
    assert str(Problem("p.yaml", 3, 7, "unknown key", "did you mean roles?")) == (
        "p.yaml:3:7: unknown key (did you mean roles?)"
    )
    assert str(Problem("p.yaml", 0, 0, "cannot be read")) == "p.yaml: cannot be read"


def test_problems_are_sorted_by_place():
    late, early = Problem("p.yaml", 9, 1, "b"), Problem("p.yaml", 10, 1, "a")
    assert PolicyError([early, late]).problems == (late, early)
    assert str(ConfigError([early, late])).splitlines() == ["p.yaml:9:1: b", "p.yaml:10:1: a"]


def test_a_denial_names_its_reason():
    assert str(TokenError(Reason.EXPIRED)) == "expired"
    assert str(TokenError(Reason.EXPIRED, "an hour ago")) == "expired: an hour ago"
    assert KeysUnavailableError("down").reason is Reason.KEYS_UNAVAILABLE
