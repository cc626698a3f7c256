"""Equal values become one object, and a flood of different ones is never kept."""

from authz.core.caching.interning import NOT_SHARED, Shared, shared_claims


def copy(text):
    """An equal text that is another object."""
    return "".join(list(text))


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


def test_equal_values_of_two_tokens_are_one_object():
    share = shared_claims()
    for table, make in (
        (share.text, lambda: copy("alice.a")),
        (share.members, lambda: frozenset({copy("readers"), copy("oncall")})),
        (share.seconds, lambda: int(copy("1800000000"))),
    ):
        one, other = make(), make()
        assert one is not other
        assert table(one) == one
        assert table(other) is table(one)


def test_different_sets_and_names_have_their_common_texts_together():
    share = shared_claims()
    one = share.members(frozenset({copy("readers"), copy("oncall")}))
    other = share.members(frozenset({copy("readers"), copy("admins")}))
    assert other == {"readers", "admins"}
    mine, theirs = (next(group for group in groups if group == "readers") for groups in (one, other))
    assert mine is theirs is share.text(copy("readers"))


def test_long_texts_are_not_kept():
    share = shared_claims()
    long = "x" * 200
    assert share.text(copy(long)) == long
    assert share.text(copy(long)) is not share.text(copy(long))


def test_no_table_shares_anything_with_those_of_another():
    one, other = shared_claims(), shared_claims()
    assert one.text(copy("alice")) is not other.text(copy("alice"))


def test_what_is_not_shared_stays_the_object_that_it_was():
    for table in (NOT_SHARED.text, NOT_SHARED.members, NOT_SHARED.seconds):
        value = object()
        assert table(value) is value
