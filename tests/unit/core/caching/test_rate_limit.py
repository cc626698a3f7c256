from authz.core.caching.rate_limit import FairShare


def test_one_has_its_share_and_others_have_theirs():
    share = FairShare(2, 60)
    assert [share.take("a", now) for now in (100, 101, 102)] == [True, True, False]
    assert share.take("b", 103)


def test_a_window_ends_and_another_begins():
    share = FairShare(1, 60)
    assert share.take("a", 100)
    assert not share.take("a", 159.9)
    assert share.take("a", 160)
    assert not share.take("a", 219.9)


def test_a_clock_that_goes_back_begins_a_window():
    share = FairShare(1, 60)
    assert share.take("a", 100)
    assert share.take("a", 39.9)
    assert not share.take("a", 40)


def test_nothing_is_kept_of_a_window_that_is_over():
    share = FairShare(1, 60)
    assert all(share.take(str(number), 100) for number in range(1000))
    assert share.take("a", 160)
    assert len(share._taken) == 1


def test_asking_what_is_left_takes_nothing():
    share = FairShare(2, 60)
    assert [share.left("a", 100) for _ in range(5)] == [2] * 5
    assert share.take("a", 100)
    assert (share.left("a", 100), share.left("b", 100)) == (1, 2)
    assert share.take("a", 100)
    assert share.left("a", 159.9) == 0
    assert share.left("a", 160) == 2
