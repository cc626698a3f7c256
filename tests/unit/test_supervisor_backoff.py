from authz.supervisor.backoff import BackOff


def test_crash_after_crash_waits_twice_as_long_up_to_a_limit():
    back_off = BackOff(first_s=0.1, longest_s=1.0, forget_s=30.0)
    assert [back_off.after(0.0) for _ in range(6)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_who_was_up_for_a_while_begins_anew():
    back_off = BackOff(first_s=0.1, longest_s=1.0, forget_s=30.0)
    for _ in range(5):
        back_off.after(29.9)
    assert back_off.after(29.9) == 1.0
    assert back_off.after(30.0) == 0.1
    assert back_off.after(1.0) == 0.2
