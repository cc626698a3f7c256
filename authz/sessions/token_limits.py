"""Limits on what callers without a valid token can cost a port that reads tokens.

Law 1: wrong tokens are counted per sender, per peer and in total; waiting for a key per sender and in total. A sender
is the peer, the address of the connection, together with the client that it names: Envoy overwrites `x-forwarded-for`,
and a caller that forges this header at the port itself is not counted as one of Envoy's clients.
Law 2: the total of those who sent wrong ones refuses no sender that has sent none. What a peer names is its own word,
so two limits hold for these too: that of their peer, and a last one that keeps work and memory bounded.
"""

import threading
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple

from authz.ops.http_server import Asked

_MOST_WRONG: Final = 200  # signatures that are wrong, in a second: some 2 % of a CPU
_MOST_WRONG_OF_ONE: Final = 20
_MOST_WRONG_OF_PEER: Final = 500  # of all senders that one peer names
_MOST_WRONG_AT_ALL: Final = 1000  # of senders that sent none before, too
_MOST_WAITING: Final = 20  # for a key; `authz.ops.http_server` serves 32 at a time, of temporary access 16
_MOST_WAITING_OF_ONE: Final = 8
_LONGEST_PEER: Final = 100  # characters


class Sender(NamedTuple):
    """Who sends a request: the share of the connection's peer, and of the client that it names."""

    peer: str
    client: str


class WrongTokens:
    """How many tokens with a wrong signature each sender sent in this second. Time is an argument; not thread-safe.

    Bounded by what was let through: all counts of a second are dropped when the next one begins.
    """

    def __init__(self) -> None:
        self._second = 0
        self._of: Counter[Sender] = Counter()
        self._of_peer: Counter[str] = Counter()
        self._all = 0

    def admits(self, sender: Sender, now: float) -> bool:
        """Whether another token of this sender may cost a signature check."""
        self._turn(now)
        if self._all >= _MOST_WRONG_AT_ALL or self._of_peer[sender.peer] >= _MOST_WRONG_OF_PEER:
            return False
        wrong = self._of[sender]
        return not wrong or (wrong < _MOST_WRONG_OF_ONE and self._all < _MOST_WRONG)

    def note(self, sender: Sender, now: float) -> None:
        """Count a wrong token of this sender."""
        self._turn(now)
        self._of[sender] += 1
        self._of_peer[sender.peer] += 1
        self._all += 1

    def _turn(self, now: float) -> None:
        if int(now) != self._second:
            self._second, self._all = int(now), 0
            self._of.clear()
            self._of_peer.clear()


class KeyWaits:
    """Waits until a key was fetched, for few requests at a time. Any thread.

    Args:
        want_key: asks for a key, see `authz.keys.KeyStore.request`.
        longest_s: seconds that one waits.
    """

    def __init__(self, want_key: Callable[[str, str, Callable[[], None]], bool], longest_s: float) -> None:
        self._want_key = want_key
        self._longest_s = longest_s
        self._lock = threading.Lock()
        self._waiting: Counter[Sender] = Counter()

    def wait(self, sender: Sender, issuer: str, key_id: str) -> bool | None:
        """Wait; False: the key cannot be asked for now; None: too many wait already."""
        with self._lock:
            if self._waiting[sender] >= _MOST_WAITING_OF_ONE or self._waiting.total() >= _MOST_WAITING:
                return None
            self._waiting[sender] += 1
        try:
            fetched = threading.Event()
            if not self._want_key(issuer, key_id, fetched.set):
                return False
            fetched.wait(self._longest_s)
            return True
        finally:
            with self._lock:
                self._waiting[sender] -= 1
                if not self._waiting[sender]:
                    del self._waiting[sender]


def sender_of(asked: Asked) -> Sender:
    """What a request is counted under."""
    return Sender(share_of(asked.peer), share_of(asked.forwarded))


def share_of(peer: str) -> str:
    """The key that a peer is counted under: one customer's IPv6 network has 64 bits of addresses.

    What is no address was written by the sender, and is kept for a second: not more of it than of two addresses.
    """
    try:
        address = ip_address(peer)
    except ValueError:
        return peer[:_LONGEST_PEER]
    return str(ip_network(f"{peer.partition('%')[0]}/64", strict=False)) if address.version == 6 else peer  # noqa: PLR2004 IP's own number
