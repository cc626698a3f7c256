from authz.core.errors import (
    ConfigError,
    FetchError,
    KeysUnavailableError,
    PolicyError,
    Problem,
    ReplaysFullError,
    TokenError,
)
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


def test_a_full_and_a_locked_replay_cache_are_told_apart():
    assert ReplaysFullError().reason is Reason.REPLAY_CACHE_FULL
    assert str(ReplaysFullError("64 entries")) == "replay_cache_full: 64 entries"
    locked = ReplaysFullError("another process keeps it", Reason.REPLAY_CACHE_LOCKED)
    assert (locked.reason, locked.detail) == (Reason.REPLAY_CACHE_LOCKED, "another process keeps it")


def test_a_failed_fetch_says_what_failed():
    error = FetchError("https://idp.test: 404")
    assert (error.detail, str(error)) == ("https://idp.test: 404", "https://idp.test: 404")
