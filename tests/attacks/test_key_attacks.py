"""Attacks on the keys, against a real HTTP provider: security.md d-10 (its flood), d-11, d-12 and d-13."""

import random
import threading
import time

import pytest

from authz.keys import KeyFetcher, KeyOptions, KeyStore, Limits
from tests.support.factories.tokens import issuer, jwks_of, make_key
from tests.support.simulators import idp as sim
from tests.support.simulators.idp import PATIENCE_S

GOOD, NEXT = make_key("ES256", kid="good"), make_key("ES256", kid="next")

FETCH_S = 1.0  # how long a fetch may take


class Gate:
    """A store that fetches from a real provider on a clock that the test sets."""

    def __init__(self, idp, **options):
        self.idp = idp
        self.clock = sim.SimClock()
        self.events = []
        fetcher = KeyFetcher(limits=Limits(timeout_s=FETCH_S))
        self.store = KeyStore(
            fetcher, self.clock, KeyOptions(**options), lambda *event: self.events.append(event), jitter=lambda: 0.5
        )

    def __enter__(self):
        self.store.configure([issuer(issuer=self.idp.url)])
        self.store.start()
        self.clock.until_waiting()
        return self

    def __exit__(self, *_):
        self.store.stop(PATIENCE_S)

    def later(self, seconds):
        self.clock.advance(seconds)
        self.clock.until_waiting()

    @property
    def state(self):
        return self.store.view()["corp"]

    @property
    def kids(self):
        usable = self.state.usable(self.clock.monotonic())
        return set(usable.keys) if usable else None


@pytest.fixture
def idp():
    with sim.IdP([GOOD]) as idp:
        yield idp


def test_d10_a_flood_of_random_kids_causes_one_fetch_per_interval(idp):
    randomness = random.Random(10)  # noqa: S311 the same flood every time
    with Gate(idp, min_interval_s=5.0) as gate:
        before = gate.state.keyset
        answered = []
        intervals = 4
        for _ in range(intervals):
            gets = idp.count("/jwks")
            for _ in range(2500):
                gate.store.request("corp", f"{randomness.getrandbits(128):032x}", lambda: answered.append(1))
            gate.later(5)
            assert idp.count("/jwks") - gets <= 1
        assert idp.count("/jwks") <= 1 + intervals
        assert answered
        assert gate.state.keyset is before, "the flood must not disturb the keys that serve"


def test_d10_the_flood_keeps_memory_bounded(idp):
    with Gate(idp, waiting=100, negative_kids=50) as gate:
        accepted = sum(gate.store.request("corp", f"kid-{n}", lambda: None) for n in range(10_000))
        assert accepted <= 200  # one fetch may end in between
        gate.later(5)
        schedule = gate.store._workers["corp"].schedule
        assert len(schedule._absent) <= 50
        assert len(schedule._waiting) <= 100


def test_d10_a_repeated_forged_kid_is_answered_without_a_fetch(idp):
    with Gate(idp) as gate:
        for _ in range(2):
            gate.later(5)
            told = threading.Event()
            assert gate.store.request("corp", "../../etc/passwd", told.set)
            assert told.wait(PATIENCE_S)
        gets = idp.count("/jwks")
        for _ in range(1000):
            assert not gate.store.request("corp", "../../etc/passwd", told.set)
        assert idp.count("/jwks") == gets


def test_d10_asking_is_quick_while_the_provider_hangs(idp):
    """The serving thread waits for nothing, even in the middle of a fetch that does not end."""
    with Gate(idp) as gate:
        idp.misbehave(sim.silence())
        slowest = []
        for turn in range(3):  # in one of them the machine itself may be busy for as long
            gate.clock.advance(5)
            gate.store.request("corp", f"new-{turn}", lambda: None)
            slowest.append(max(timed_request(gate, f"kid-{turn}-{n}") for n in range(700)))
        assert min(slowest) < FETCH_S / 2


def timed_request(gate, kid):
    """Seconds until a request for keys and a look at them have returned."""
    began = time.perf_counter()
    gate.store.request("corp", kid, lambda: None)
    gate.store.view()
    return time.perf_counter() - began


def test_the_first_token_of_a_rotated_key_is_served_at_once(idp):
    """The clock stands still from the request on: whatever waited for a time would wait for ever."""
    with Gate(idp) as gate:
        gate.clock.advance(5)
        idp.keys = [GOOD, NEXT]
        told = threading.Event()
        assert gate.store.request("corp", "next", told.set)
        assert told.wait(PATIENCE_S)
        assert gate.kids == {"good", "next"}


WEAK = make_key("RS256", kid="weak", bits=1024)
MALICE = {
    "http_500": sim.html(500),
    "html_200": sim.html(),
    "html_404": sim.html(404),
    "huge": sim.body(b" " * 300_000),
    "endless": sim.endless(),
    "gzip_bomb": sim.gzip_bomb(50_000_000),
    "silence": sim.silence(),
    "drip_head": sim.drip(),
    "drip_body": sim.drip_body(),
    "hang_up": sim.hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"),
    "off_host_redirect": sim.redirect("https://evil.example/jwks"),
    "metadata_redirect": sim.redirect("http://169.254.169.254/latest/meta-data/"),
    "redirect_loop": sim.redirect("/jwks"),
    "not_json": sim.body(b"nonsense"),
    "deep_json": sim.body(b'{"keys":' + b"[" * 100_000),
    "empty_object": sim.body(b"{}"),
    "empty_set": sim.body(b'{"keys": []}'),
    "keys_is_a_string": sim.body(b'{"keys": "good"}'),
    "duplicate_kids": sim.body(jwks_of([GOOD, make_key("ES384", kid="good")])),
    "only_symmetric": sim.body(jwks_of([{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "kid": "good"}])),
    "only_encryption": sim.body(jwks_of([GOOD.jwk_with(use="enc")])),
    "only_weak_rsa": sim.body(jwks_of([WEAK])),
    "private_key": sim.body(jwks_of([GOOD.jwk_with(d="c2VjcmV0")])),
}


@pytest.mark.parametrize("malice", MALICE)
def test_d11_a_malicious_key_server_leaves_the_last_good_keys_in_force(idp, malice):
    with Gate(idp) as gate:
        idp.misbehave(MALICE[malice])
        gate.clock.advance(301)
        gate.clock.until_waiting()
        assert gate.kids == {"good"}
        assert gate.events[-1] == ("corp", "failed")
        assert gate.state.last_error
        for secret in ("secret", "c2VjcmV0", "nonsense", "<"):
            assert secret not in gate.state.last_error
        idp.behave()
        gate.later(300)
        assert gate.state.last_error == ""


@pytest.mark.parametrize("lie", ["https://evil.example", "http://localhost", ""])
def test_d11_keys_of_a_provider_that_names_another_issuer_are_not_taken(idp, lie):
    with Gate(idp) as gate:
        idp.says_issuer = lie or idp.url + "/"
        idp.keys = [NEXT]
        gate.later(301)
        assert gate.kids == {"good"}


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data/iam",
        "https://169.254.169.254/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:169.254.169.254]/",
        "https://2852039166/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "file:///etc/passwd",
        "gopher://localhost/",
    ],
)
def test_d11_discovery_cannot_send_us_to_forbidden_places(idp, uri):
    with Gate(idp) as gate:
        idp.says_jwks_uri = uri
        gate.later(301)
        assert gate.kids == {"good"}
        assert gate.events[-1] == ("corp", "failed")


def test_d12_an_outage_is_survived_until_max_stale_and_ends_within_one_interval(idp):
    with Gate(idp, refresh_s=300.0, max_stale_s=3600.0) as gate:
        idp.misbehave(sim.html(503))
        idp.misbehave(sim.html(503), "/.well-known/openid-configuration")
        for _ in range(11):
            gate.later(300)
            assert gate.kids == {"good"}
            assert gate.state.problem(gate.clock.monotonic()) == ""
        gate.later(301)
        assert gate.kids is None
        assert "too old" in gate.state.problem(gate.clock.monotonic())
        idp.behave()
        gate.later(300)
        assert gate.kids == {"good"}
        assert gate.state.problem(gate.clock.monotonic()) == ""


def test_d12_a_provider_that_is_down_at_the_start_is_asked_often(idp):
    idp.misbehave(sim.html(503), "/.well-known/openid-configuration")
    with Gate(idp, refresh_s=3600.0) as gate:
        assert gate.kids is None
        for _ in range(10):
            gate.later(30)
        idp.behave()
        gate.later(30)
        assert gate.kids == {"good"}


def test_d13_a_removed_key_is_gone_within_the_refresh_interval(idp):
    """Its bound is `keys.refresh` and a tenth; no Cache-Control of the provider stretches it."""
    idp.keys = [GOOD, NEXT]
    idp.cache_control = "max-age=86400"
    with Gate(idp, refresh_s=300.0) as gate:
        assert gate.kids == {"good", "next"}
        compromised = gate.state.keyset.keys["good"]
        idp.keys = [NEXT]
        gate.later(330)
        assert gate.kids == {"next"}
        assert not any(key is compromised for key in gate.state.keyset)


def test_d13_another_key_under_the_same_kid_is_another_key(idp):
    """A cache that compares keys by identity must see that the key behind the kid has changed."""
    with Gate(idp) as gate:
        before = gate.state.keyset.keys["good"]
        idp.keys = [make_key("ES384", kid="good")]
        gate.later(330)
        assert gate.kids == {"good"}
        assert gate.state.keyset.keys["good"] is not before
