import json
from dataclasses import fields

import pytest

from authz.core.caching.interning import shared_claims
from authz.core.errors import TokenError
from authz.core.model import Claims, Plane
from authz.core.reasons import Reason
from authz.core.tokens import bound_to, parse, read_claims
from authz.core.tokens.claims import READERS, typed_claims
from tests.support.factories.tokens import ISS, NOW, access_claims, claims, id_claims, issuer, raw_token

BAD = Reason.CLAIM_INVALID


def read(payload, **settings):
    return read_claims(parse(raw_token({"alg": "RS256"}, payload), max_bytes=100_000), issuer(**settings))


def refused(payload, **settings):
    with pytest.raises(TokenError) as caught:
        read(payload, **settings)
    return caught.value.reason, caught.value.detail


def with_claim(name, value):
    return {**access_claims(), name: value}


def test_an_access_token_becomes_claims():
    assert read(access_claims()) == Claims(
        issuer_name="corp",
        issuer=ISS,
        subject="alice",
        client_id="cli",
        username="alice.a",
        full_name="Alice A.",
        groups=frozenset({"data-readers", "data-ops"}),
        audiences=frozenset({"airflow"}),
        expires_at=NOW + 540,
        issued_at=NOW - 60,
        not_before=None,
    )


def test_every_field_gets_what_its_own_reader_reads():
    payload = access_claims(
        sub="s", azp="c", client_id=None, preferred_username="u", name="n", groups=["g"], aud=["a"], nbf=1, iat=2, exp=3
    )
    payload["reason"] = "why"
    typed = typed_claims(payload, issuer(break_glass=True))
    read_one_by_one = {name: reader(payload, issuer(break_glass=True)) for name, reader in READERS.items()}
    del read_one_by_one["token_id"], read_one_by_one["session_id"]
    assert {name: getattr(typed, name) for name in read_one_by_one} == read_one_by_one
    assert {field.name for field in fields(Claims)} - {"issuer", "issuer_name"} == set(read_one_by_one)
    assert len(set(map(str, read_one_by_one.values()))) == len(read_one_by_one)  # a mix-up would show


def test_a_break_glass_token_states_its_reason_and_others_need_none():
    assert read(access_claims(reason="down"), break_glass=True).break_glass == "down"
    assert read(access_claims(reason="down")).break_glass == ""
    assert inspected_reason(access_claims(reason=7)) == ""
    for value, detail in (
        (7, "reason must be a string that is not empty, not a number"),
        ("", "reason is empty"),
        (" ", "reason must be a string that is not empty, not a string"),
        ("two\nlines", "reason holds a character that is not printed"),
        ("x" * 2000, "reason takes more than 1024 bytes"),
    ):
        assert refused(with_claim("reason", value), break_glass=True) == (Reason.CLAIM_INVALID, detail)
    assert refused(access_claims(), break_glass=True) == (Reason.CLAIM_INVALID, "reason is missing")


def inspected_reason(payload):
    """As `inspect` reads it of a token of another issuer."""
    return READERS["break_glass"](payload, issuer())


def test_optional_claims_are_optional():
    found = read({"iss": ISS, "sub": "svc", "aud": ["airflow", "b"], "exp": 5, "scope": ""})
    assert found.audiences == {"airflow", "b"}
    assert (found.issued_at, found.not_before, found.groups) == (None, None, frozenset())
    assert (found.client_id, found.full_name) == ("", "")
    assert found.username == "svc"


WRONG = {
    "null": None,
    "true": True,
    "number": 5,
    "text": "text",
    "array": ["text"],
    "mixed": ["text", 5],
    "object": {"a": "text"},
    "empty": "",
    "none": [],
}
RIGHT = {
    "iss": set(),
    "sub": {"text"},
    "aud": {"text", "array"},
    "exp": {"number"},
    "nbf": {"number"},
    "iat": {"number"},
    "jti": {"text", "empty"},
    "sid": {"text", "empty"},
    "name": {"text", "empty"},
    "preferred_username": {"text", "empty"},
    "client_id": {"text", "empty"},
    "groups": {"text", "array", "empty", "none"},
}


@pytest.mark.parametrize("claim", RIGHT)
@pytest.mark.parametrize("kind", WRONG)
def test_a_claim_has_its_type_or_the_token_is_refused(claim, kind):
    payload = with_claim(claim, WRONG[kind])
    if kind in RIGHT[claim]:
        assert read(payload).issuer == ISS
    else:
        reason, detail = refused(payload)
        assert reason is (Reason.UNKNOWN_ISSUER if claim == "iss" else BAD)
        assert claim in detail


@pytest.mark.parametrize("claim", ["sub", "aud", "exp"])
def test_required_claims_are_required(claim):
    assert refused(access_claims(**{claim: None})) == (BAD, f"{claim} is missing")


def test_the_issuer_is_compared_again():
    assert refused(access_claims(iss=ISS + "/"))[0] is Reason.UNKNOWN_ISSUER


@pytest.mark.parametrize("value", [1e300, -1e300, 253_402_300_800, 10**300, "1800000000", -253_402_300_800.5])
@pytest.mark.parametrize("claim", ["exp", "nbf", "iat"])
def test_times_are_numbers_up_to_the_year_9999(claim, value):
    reason, detail = refused(with_claim(claim, value))
    assert reason is BAD
    assert claim in detail


def test_fractions_of_seconds_never_widen_the_validity():
    found = read(access_claims(exp=NOW + 0.9, nbf=NOW + 0.1, iat=NOW + 0.9))
    assert (found.expires_at, found.not_before, found.issued_at) == (NOW, NOW + 1, NOW)
    assert all(type(time) is int for time in (found.expires_at, found.not_before, found.issued_at))


@pytest.mark.parametrize("char", ["\n", "\r", "\x00", "\x7f", "\x85", "\u2028"])
def test_a_subject_has_no_control_characters(char):
    assert refused(access_claims(sub=f"alice{char}")) == (BAD, "sub holds a control character")


def test_subjects_that_look_alike_differ():
    subjects = ["admin", "Admin", "аdmin", "ádmin", "a\u0301dmin", "admin ", "\u200badmin"]  # noqa: RUF001 on purpose
    assert len({read(access_claims(sub=subject)).subject for subject in subjects}) == len(subjects)


@pytest.mark.parametrize("claim", ["azp", "client_id", "cid", "appid"])
def test_the_client_is_named_by_whichever_claim_there_is(claim):
    assert read(claims(scope="", **{claim: "svc"})).client_id == "svc"


def test_claims_that_name_different_clients_are_a_contradiction():
    assert read(access_claims(azp="cli")).client_id == "cli"
    assert refused(access_claims(azp="other")) == (BAD, "azp, client_id name different clients")
    assert refused(access_claims(azp=""))[0] is BAD


def test_the_username_falls_back_to_the_subject():
    assert read(access_claims(preferred_username=None)).username == "alice"
    assert read(access_claims(), username="sub").username == "alice"
    assert read(access_claims(), username="upn").username == "alice"


@pytest.mark.parametrize(
    ("verified", "username"), [(True, "a@x.org"), (False, "alice"), ("true", "alice"), (1, "alice"), (None, "alice")]
)
def test_an_address_counts_only_when_it_is_verified(verified, username):
    payload = access_claims(email="a@x.org", email_verified=verified)
    assert read(payload, username="email").username == username


def test_groups_are_merged_over_all_paths():
    payload = {**access_claims(), "groups": "one", "a": {"b": {"c": ["two", "three"]}}, "https://x/g": ["four"]}
    paths = (("groups",), ("a", "b", "c"), ("https://x/g",), ("missing",), ("a", "missing", "c"))
    assert read(payload, groups=paths).groups == {"one", "two", "three", "four"}
    assert read(payload, groups=()).groups == frozenset()


@pytest.mark.parametrize("value", [None, True, 5, "text", ["text"]])
def test_a_path_that_leads_through_something_else_is_refused(value):
    reason, detail = refused(with_claim("realm_access", value))
    assert reason is BAD
    assert detail.startswith("realm_access.roles must be an array of strings, not ")


@pytest.mark.parametrize(
    ("value", "word"),
    [(None, "null"), (True, "a boolean"), ("x", "a string"), ([], "empty"), ({}, "an object"), (5, "a number")],
)
def test_details_name_the_type_and_not_the_value(value, word):
    claim = "exp" if value == "x" else "aud"
    assert word in refused(with_claim(claim, value))[1]


def test_an_id_token_is_read_where_the_issuer_is_configured_for_it():
    assert read(id_claims(), tokens=frozenset({"id"})).client_id == "airflow"


@pytest.mark.parametrize(
    ("changes", "reason", "detail"),
    [
        ({"aud": ["airflow", "other"]}, Reason.AUDIENCE, "foreign audiences 'other'"),
        ({"azp": "other"}, Reason.AUDIENCE, "foreign client 'other'"),
        ({"azp": None, "aud": ["airflow", "airflow-egress"]}, BAD, "several audiences and no azp"),
    ],
)
def test_an_id_token_is_for_its_clients_alone(changes, reason, detail):
    found = refused(id_claims(**changes), tokens=frozenset({"id"}))
    assert found[0] is reason
    assert detail in found[1]


def test_an_id_token_may_name_several_of_our_clients():
    found = read(id_claims(aud=["airflow", "airflow-egress"]), tokens=frozenset({"id"}))
    assert found.audiences == {"airflow", "airflow-egress"}
    assert read(id_claims(azp=None), tokens=frozenset({"id"})).client_id == ""
    nowhere = issuer(audiences={Plane.INBOUND: frozenset()}, tokens=frozenset({"id"}))
    with pytest.raises(TokenError, match="foreign audiences"):
        read_claims(parse(raw_token({"alg": "RS256"}, id_claims()), max_bytes=9999), nowhere)


@pytest.mark.parametrize("absent", [[], ["iat"], ["nbf"], ["iat", "nbf"]])
def test_shared_values_are_equal_values(absent):
    payload = {name: value for name, value in access_claims(nbf=NOW - 60).items() if name not in absent}
    share = shared_claims()
    one, other = (typed_claims(json.loads(json.dumps(payload)), issuer(), share) for _ in range(2))
    assert one == other == typed_claims(payload, issuer())
    for name in ("groups", "audiences", "client_id", "username", "full_name", "expires_at", "issued_at", "not_before"):
        assert getattr(one, name) is getattr(other, name)


def test_a_subject_that_cannot_be_printed_is_one_all_the_same():
    assert read(access_claims(sub="\u00ad\u3000\ue000")).subject == "\u00ad\u3000\ue000"
    for control in "\x00\x1f\x7f\x80\x9f\u2028\u2029":
        assert refused(access_claims(sub=f"a{control}b")) == (BAD, "sub holds a control character")


WIDEST = {"ascii": "x" * 1022, "quotes": '"' * 511, "three bytes": "試" * 340 + "xx", "control": "\x01" * 170 + "xx"}


@pytest.mark.parametrize("claim", ["sub", "preferred_username", "client_id"])
@pytest.mark.parametrize("widest", [pytest.param(value, id=name) for name, value in WIDEST.items()])
def test_a_name_is_at_most_as_long_as_an_assertion_has_room_for(claim, widest):
    payload = {**access_claims(), claim: widest}
    if not (claim == "sub" and "\x01" in widest):
        read(payload, username="preferred_username")
    if claim == "client_id":
        payload.pop("azp", None)
    longer = {**payload, claim: widest + "x"}
    reason, detail = refused(longer, username="preferred_username")
    assert reason is BAD
    assert claim in detail
    assert "xx" not in detail


def parsed(payload):
    return parse(raw_token({"alg": "RS256"}, payload), max_bytes=100_000)


def test_a_token_is_bound_to_the_key_that_it_names():
    assert bound_to(parsed(access_claims(cnf={"jkt": "thumbprint"}))) == "thumbprint"
    assert bound_to(parsed(access_claims())) == ""


@pytest.mark.parametrize(
    "cnf",
    [None, "jkt", ["jkt"], [], 5, {}, {"jkt": ""}, {"jkt": None}, {"jkt": 5}, {"jkt": ["x"]}, {"x5t#S256": "x"},
     {"jkt": "x", "x5t#S256": "y"}, {"JKT": "x"}],
)  # fmt: skip
def test_a_binding_that_no_proof_could_meet_refuses_the_token(cnf):
    with pytest.raises(TokenError) as caught:
        bound_to(parsed({**access_claims(), "cnf": cnf}))
    assert caught.value.reason is Reason.TOKEN_TYPE
    assert caught.value.detail == "cnf names no key that could make a proof (RFC 9449 §6.1)"


def test_a_bound_token_is_read_only_for_a_caller_that_demands_a_proof():
    token = parsed(access_claims(cnf={"jkt": "thumbprint"}))
    assert read_claims(token, issuer(), bound=True).subject == "alice"
    with pytest.raises(TokenError, match="bound to a key"):
        read_claims(token, issuer())


@pytest.mark.parametrize(
    ("claim", "value", "detail"),
    [
        ("iss", "https://evil.test", "iss is 'https://evil.test'"),
        ("sub", 5, "sub must be a string that is not empty, not a number"),
        ("sub", "", "sub is empty"),
        ("aud", {}, "aud must be a string or an array of strings, not an object"),
        ("aud", [], "aud is empty"),
        ("aud", ["a", 5], "aud must be a string or an array of strings, not an array"),
        ("exp", "1", "exp must be a number of seconds, not a string"),
        ("nbf", True, "nbf must be a number of seconds, not a boolean"),
        ("iat", 1e300, "iat is beyond the year 9999"),
        ("name", None, "name must be a string, not null"),
        ("groups", 5, "groups must be an array of strings, not a number"),
        ("sid", [], "sid must be a string, not an array"),
        ("jti", {}, "jti must be a string, not an object"),
        ("client_id", "x" * 1023, "client_id takes more than 1024 bytes"),
        ("sub", "x" * 1023, "sub takes more than 1024 bytes"),
        ("preferred_username", "x" * 1023, "preferred_username takes more than 1024 bytes"),
    ],
)
def test_a_refusal_says_what_the_claim_must_be(claim, value, detail):
    assert refused(with_claim(claim, value))[1] == detail


@pytest.mark.parametrize("time", [253_402_300_799, -253_402_300_799, 0])
def test_the_last_second_of_the_year_9999_is_a_time(time):
    assert read(access_claims(exp=time)).expires_at == time


def test_a_refused_id_token_names_who_it_is_for():
    def detail(**changes):
        return refused(id_claims(**changes), tokens=frozenset({"id"}))[1]

    assert detail(aud=["airflow", "b", "a"]) == "an ID token with foreign audiences 'a', 'b'"
    assert detail(azp="other") == "an ID token for the foreign client 'other'"
    assert detail(azp=None, aud=["airflow", "airflow-egress"]) == "an ID token with several audiences and no azp"
