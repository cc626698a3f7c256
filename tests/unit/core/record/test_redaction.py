"""What is hidden is nowhere; what is hashed is equal for the same value and salt alone."""

import hashlib

import pytest

from authz.core.reasons import ANSWERS, Reason
from authz.core.record import PEOPLE, Redactor

ALICE = {"subject": "alice", "client": "cli", "groups": ("b", "a"), "source": "192.0.2.7", "path": "/x", "rule": "r"}


def redactor(drop=(), hashed=(), salt="5a17"):
    return Redactor(frozenset(drop), frozenset(hashed), salt)


def test_without_names_nothing_changes():
    assert redactor().fields(ALICE) == ALICE
    assert redactor(salt="").is_whole


@pytest.mark.parametrize("name", [*PEOPLE, "path"])
def test_a_dropped_field_is_left_out_and_the_others_keep_their_order(name):
    found = redactor(drop=[name]).fields(ALICE)
    assert list(found) == [other for other in ALICE if other != name]


def test_a_hash_is_that_of_salt_and_value():
    expected = "sha256:" + hashlib.sha256(b"5a17alice").hexdigest()
    assert redactor(hashed=["subject"]).text("subject", "alice") == expected
    assert redactor(hashed=["subject"]).fields(ALICE) == {**ALICE, "subject": expected}


def test_groups_are_hashed_one_by_one_and_sorted_as_they_are_written():
    shown = redactor(hashed=["groups"]).fields(ALICE)["groups"]
    assert list(shown) == sorted(shown)
    assert set(shown) == {"sha256:" + hashlib.sha256(f"5a17{group}".encode()).hexdigest() for group in "ab"}
    assert redactor(hashed=["groups"]).fields({"groups": ()}) == {"groups": ()}


def test_two_salts_two_hashes():
    one, two = (redactor(hashed=["client"], salt=salt).text("client", "cli") for salt in ("1", "2"))
    assert one != two


def test_what_is_empty_stays_empty():
    assert redactor(hashed=PEOPLE).fields({"subject": "", "client": "", "source": ""}) == {
        "subject": "",
        "client": "",
        "source": "",
    }


def test_without_a_salt_what_would_be_hashed_is_left_out():
    bare = redactor(hashed=["subject", "groups"], salt="")
    assert not bare.is_whole
    assert bare.fields(ALICE) == {"client": "cli", "source": "192.0.2.7", "path": "/x", "rule": "r"}
    assert redactor(drop=["subject"], salt="").is_whole


def test_half_a_surrogate_has_a_hash_too():
    text = redactor(hashed=["subject"]).text
    assert text("subject", "a\ud800") == text("subject", "a\ufffd"), "as a log that hides nothing has it"
    assert text("subject", "a\ud800") != text("subject", "a?")


def test_what_is_no_text_stays():
    assert redactor(hashed=PEOPLE).fields({"run": None, "port": 80, "narrowed": True, "roles": ("a",)}) == {
        "run": None,
        "port": 80,
        "narrowed": True,
        "roles": ("a",),
    }


@pytest.mark.parametrize("reason", Reason)
def test_the_detail_of_a_refused_token_may_quote_it(reason):
    quotes = ANSWERS[reason].http in {302, 401}
    for name in ("subject", "user", "client", "groups"):
        assert redactor(drop=[name]).detail(reason, "azp is 'alice'") == ("" if quotes else "azp is 'alice'")
        assert redactor(hashed=[name]).detail(reason, "x") == ("" if quotes else "x")
    assert redactor(drop=["source", "path"]).detail(reason, "x") == "x"
