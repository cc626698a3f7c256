"""Wrong tokens: limits of a sender, of a peer and of all; the work of a second is bounded whatever peers name."""

from authz.sessions.token_limits import Sender, WrongTokens


def spent(limits, senders, now=5.0):
    """How many wrong tokens were let through."""
    count = 0
    for sender in senders:
        if limits.admits(sender, now):
            limits.note(sender, now)
            count += 1
    return count


def test_clients_that_a_peer_makes_up_are_bounded_and_take_nothing_from_other_peers():
    limits = WrongTokens()
    forged = (Sender("192.0.2.1", f"198.51.{number // 250}.{number % 250}") for number in range(5000))
    assert spent(limits, forged) == 500
    assert not limits.admits(Sender("192.0.2.1", "203.0.113.1"), 5.0)
    assert limits.admits(Sender("192.0.2.2", "203.0.113.1"), 5.0)
    assert limits.admits(Sender("192.0.2.1", "203.0.113.1"), 6.0)


def test_all_peers_together_are_bounded_and_so_is_what_is_remembered():
    limits = WrongTokens()
    many = [Sender(f"10.{number // 250}.0.{number % 250}", "") for number in range(5000)]
    assert spent(limits, many) == len(limits._of) == len(limits._of_peer) == 1000
    assert not limits.admits(Sender("192.0.2.2", ""), 5.9)
    assert spent(limits, many[:1], 6.0) == len(limits._of) == 1


def test_asking_remembers_nothing():
    limits = WrongTokens()
    assert all(limits.admits(Sender(str(number), ""), 5.0) for number in range(2000))
    assert (len(limits._of), len(limits._of_peer)) == (0, 0)
