"""Equal values become one object, and a flood of different ones is never kept."""

from authz.sharing import Shared, SharedClaims


def copy(text):
    """An equal text that is another object."""
    return "".join(list(text))


def values(**changes):
    return {
        "subject": copy("alice"),
        "client_id": copy("the-cli"),
        "username": copy("alice.a"),
        "full_name": copy("Alice A."),
        "groups": frozenset({copy("readers"), copy("oncall")}),
        "audiences": frozenset({copy("airflow")}),
        "expires_at": int(copy("1800000000")),
        "issued_at": int(copy("1799999000")),
        "not_before": None,
        **changes,
    }


def test_what_comes_back_is_equal_and_the_first_of_its_kind():
    share = Shared()
    first, second = copy("readers"), copy("readers")
    assert first is not second
    assert share(first) is first
    assert share(second) is first
    assert second in share
    assert copy("others") not in share


def test_a_table_never_has_more_than_its_limit():
    share = Shared(limit=10)
    for number in range(1_000):
        assert share(str(number)) == str(number)
        assert len(share) <= 10


def test_after_a_flood_what_is_asked_for_again_is_shared_again():
    share = Shared(limit=10)
    before = share(copy("readers"))
    for number in range(100):
        share(str(number))
    again = share(copy("readers"))
    assert again == before
    assert share(copy("readers")) is again


def test_claims_of_two_tokens_have_their_common_values_together():
    share = SharedClaims()
    one, other = share(values()), share(values(subject=copy("bob")))
    assert one == values()
    assert other == values(subject="bob")
    for name in ("client_id", "username", "full_name", "groups", "audiences", "expires_at", "issued_at"):
        assert one[name] is other[name], name


def test_different_sets_have_their_common_members_together():
    share = SharedClaims()
    one, other = share(values()), share(values(groups=frozenset({copy("readers"), copy("admins")})))
    assert other["groups"] == {"readers", "admins"}
    mine, theirs = (next(group for group in made["groups"] if group == "readers") for made in (one, other))
    assert mine is theirs


def test_long_texts_are_not_kept():
    share = SharedClaims()
    long = "x" * 200
    one, other = share(values(username=copy(long))), share(values(username=copy(long)))
    assert one["username"] == other["username"] == long
    assert one["username"] is not other["username"]


def test_a_time_that_is_not_there_stays_so():
    assert SharedClaims()(values(issued_at=None))["issued_at"] is None
