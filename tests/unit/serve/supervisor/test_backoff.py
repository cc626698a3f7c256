from authz.serve.supervisor.backoff import BackOff


def test_crash_after_crash_waits_twice_as_long_up_to_a_limit():
    back_off = BackOff(first_s=0.1, longest_s=1.0, forget_s=30.0)
    assert [back_off.after(0.0) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_one_that_was_up_for_a_while_clears_the_past():
    back_off = BackOff(first_s=0.1, longest_s=1.0, forget_s=30.0)
    for _ in range(5):
        back_off.after(29.9)
    assert back_off.after(29.9) == 1.0
    assert back_off.after(30.0) == 0.1
    assert back_off.after(1.0) == 0.2


def test_workers_that_served_and_are_killed_again_and_again_are_replaced_within_half_a_second():
    back_off = BackOff()
    assert max(back_off.after(1.2, served=True) for _ in range(50)) <= 0.5


def test_one_that_does_not_come_to_listen_waits_long_whatever_its_predecessors_did():
    back_off = BackOff(first_s=0.1, served_s=0.4, longest_s=1.0)
    for _ in range(5):
        back_off.after(1.0, served=True)
    assert [back_off.after(1.0) for _ in range(3)] == [0.8, 1.0, 1.0]
