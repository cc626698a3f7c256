"""The checks that wait, by deadline."""

from authz.engine.waiting import Waiting, WaitingRoom

PARKED = object()  # the room only keeps it


def room_of(*times):
    room = WaitingRoom()
    checks = [Waiting(object(), until) for until in times]
    for check in checks:
        room.add(check, PARKED)
    return room, checks


def test_whose_time_is_over_first_comes_first():
    room, (late, soon, later) = room_of(3.0, 1.0, 4.0)
    assert room.overdue(0.5) is None
    for check, now in ((soon, 1.0), (late, 3.5), (later, 9.0)):
        assert room.overdue(now) is check
        assert room.overdue(now) is check, "it stays until it is removed"
        assert room.remove(check) is PARKED
    assert (room.overdue(99.0), room.count) == (None, 0)


def test_two_with_one_deadline_are_both_there():
    room, checks = room_of(1.0, 1.0)
    found = [room.overdue(1.0), room.remove(checks[0]), room.overdue(1.0), room.remove(checks[1])]
    assert found == [checks[0], PARKED, checks[1], PARKED]


def test_what_was_removed_is_not_overdue_and_is_not_removed_twice():
    room, (first, second) = room_of(1.0, 2.0)
    assert room.remove(first) is PARKED
    assert (room.remove(first), room.count) == (None, 1)
    assert room.overdue(5.0) is second


def test_a_check_may_come_back_with_its_deadline():
    room, (check,) = room_of(2.0)
    room.remove(check)
    room.add(check, PARKED)
    assert (room.count, room.overdue(1.0), room.overdue(2.0)) == (1, None, check)
    assert room.remove(check) is PARKED
    assert room.overdue(9.0) is None


def test_what_is_left_of_removed_checks_is_bounded():
    """Those that are answered long before their deadline leave nothing behind that grows."""
    room, staying = room_of(*[1e9] * 10)
    for number in range(10_000):
        check = Waiting(None, 1e9 + number)
        room.add(check, PARKED)
        room.remove(check)
    assert len(room._heap) <= 2 * 10 + 65
    assert (room.count, room.overdue(2e9)) == (10, staying[0])
