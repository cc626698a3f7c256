"""The back channel over real sockets: who may end which session, and what an attacker gets."""

import json
import queue
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.core.revocation import Kind
from authz.sessions.backchannel import MOST_BODY
from authz.sessions.token_limits import share_of
from tests.support.factories.tokens import ISS, NOW, access_claims, id_claims, logout_claims, sign
from tests.support.rigs.backchannel import NEXT, THIEF, Rig
from tests.support.rigs.service import KEY, state_of
from tests.support.simulators.idp import PATIENCE_S


@pytest.fixture
def rig():
    made = Rig()
    made.server.start()
    yield made
    made.server.stop()


def test_an_issuer_ends_a_session(rig):
    assert rig.post(
        f"x=1&logout_token={sign(logout_claims(iat=NOW, aud='gate', jti='l'), KEY, {'typ': 'logout+jwt'})}"
    ) == (
        200,
        b"",
    )
    [one] = rig.attempts
    assert (one.issuer, one.kind, one.value, one.until) == (ISS, Kind.SID, "s-1", NOW + 7201)
    assert rig.revoked.any


def test_without_a_session_it_is_what_the_subject_was_issued_so_far(rig):
    assert rig.tell(sid=None, iat=NOW - 3) == 200
    [one] = rig.attempts
    assert (one.kind, one.value, one.before) == (Kind.SUBJECT, "alice", NOW - 3)


def test_a_replayed_logout_token_is_refused_and_another_is_not(rig):
    assert [rig.tell(), rig.tell(), rig.tell(jti="l-2")] == [200, 400, 200]
    assert len(rig.attempts) == 2


def test_a_token_that_was_refused_may_come_again_when_it_is_good(rig):
    assert rig.tell(key=THIEF) == 400
    assert rig.tell() == 200


@pytest.mark.parametrize("fails", [True, "bug"])
def test_what_could_not_be_recorded_is_not_said_to_be_done_and_may_come_again(rig, fails, caplog):
    rig.fails = fails
    assert rig.tell() == 400
    assert "canary" not in rig.post("logout_token=x")[1].decode()
    rig.fails = False
    assert rig.tell(jti="l-2") == 200
    if fails is True:
        assert rig.tell() == 200


@pytest.mark.parametrize(
    "change",
    [
        {"key": THIEF},
        {"typ": "JWT"},
        {"aud": "other"},
        {"iss": "https://other.test"},
        {"nonce": "n"},
        {"events": {}},
        {"iat": NOW - 600, "exp": NOW + 600},
        {"iat": NOW + 600},
    ],
    ids=" ".join,
)
def test_anything_but_a_logout_token_for_us_ends_nothing(rig, change, caplog):
    assert rig.tell(**change) == 400
    assert not rig.revoked.any
    assert "a back-channel logout was refused" in caplog.text


@pytest.mark.parametrize("claims", [access_claims(iat=NOW), id_claims(iat=NOW)])
def test_no_other_token_is_a_logout_token(rig, claims):
    status, body = rig.post(f"logout_token={sign(claims, KEY)}")
    assert (status, json.loads(body)) == (400, {"error": "invalid_request"})


def test_a_logout_token_is_no_access_token():
    from tests.support.rigs.service import Rig as Gate

    gate = Gate()
    for typ in ("logout+jwt", "at+jwt", "JWT"):
        token = sign(logout_claims(iat=NOW, aud="airflow", client_id="cli", scope="x"), KEY, {"typ": typ})
        assert gate.check(token=token).http == 401


@pytest.mark.parametrize(
    "form",
    [
        {"body": ""},
        {"body": "logout_token="},
        {"body": "logout_token=x"},
        {"body": "logout_token=a&logout_token=b"},
        {"body": "token=x"},
        {"body": b"logout_token=\xff\x00"},
        {"body": "logout_token=" + "a" * MOST_BODY},
        {"body": '{"logout_token": "x"}', "content_type": "application/json"},
        {"body": "logout_token=x", "content_type": ""},
    ],
    ids=str,
)
def test_what_is_no_such_form_is_refused(rig, form):
    assert rig.post(**form) == (400, b'{"error":"invalid_request"}')


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_only_post(rig, method):
    assert rig.post("logout_token=x", method=method)[0] == 405


def test_a_body_without_a_length_is_not_read(rig):
    with socket.create_connection(("127.0.0.1", rig.server.port), PATIENCE_S) as raw:
        raw.sendall(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-www-form-urlencoded\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        assert raw.recv(99).startswith(b"HTTP/1.1 400")


def test_a_new_key_is_asked_for_once(rig):
    rig.arriving = {"corp": state_of(KEY, NEXT)}
    assert rig.tell(key=NEXT) == 200
    assert rig.asked == [("corp", "k2")]


@pytest.mark.parametrize("keys", [{}, {"corp": state_of()}, {"corp": state_of(KEY, stale_at=0.0)}])
def test_without_usable_keys_a_logout_token_is_400(rig, keys):
    rig.keys = keys
    assert rig.tell() == 400
    assert not rig.revoked.any


def test_without_a_policy_a_logout_token_is_400(rig):
    rig.policy = None
    assert rig.tell() == 400


def test_garbage_that_costs_little_takes_nothing_from_an_issuer(rig):
    """Even from its own address: whatever can be refused before the signature is."""
    cheap = [{"iat": NOW - 600}, {"aud": "other"}, {"iss": "https://other.test"}, {"events": {}}]
    for number in range(250):
        assert rig.tell(key=THIEF, **cheap[number % 4]) == 400
    assert rig.tell() == 200


def test_a_duplicate_costs_no_signature(rig):
    assert rig.tell() == 200
    assert [rig.tell() for _ in range(250)] == [400] * 250
    assert rig.tell(jti="l-2") == 200


def test_wrong_signatures_of_one_sender_take_nothing_from_another(rig):
    statuses = [rig.tell(key=THIEF, sender="127.0.0.2") for _ in range(25)]
    assert statuses == [400] * 20 + [429] * 5
    assert rig.tell() == 200
    assert rig.tell(jti="l-2", sender="127.0.0.2") == 429
    rig.clock.advance(1)
    assert rig.tell(jti="l-2", sender="127.0.0.2") == 200


def test_behind_a_proxy_a_sender_is_the_client_that_it_names(rig):
    statuses = [rig.tell(key=THIEF, client="192.0.2.1") for _ in range(25)]
    assert statuses == [400] * 20 + [429] * 5
    assert rig.tell(client="198.51.100.7") == 200
    assert rig.tell(jti="l-2", client="198.51.100.7, 192.0.2.1") == 429, "the last address is the one that Envoy added"
    # The same address, named by a peer that is not the proxy, is another sender.
    assert rig.tell(jti="l-3", sender="127.0.0.2", client="192.0.2.1") == 200


def held(rig, clients):
    """Tokens of an unknown key, one of each client, that all wait for a fetch which does not end; and its ends."""
    rig.hanging = queue.SimpleQueue()
    pool = ThreadPoolExecutor(len(clients))
    calls = [pool.submit(rig.tell, key=NEXT, client=client) for client in clients]
    ends = [rig.hanging.get(timeout=PATIENCE_S) for _ in clients]
    pool.shutdown(wait=False)
    return calls, ends


def let_go(calls, ends):
    for end in ends:
        end()
    assert {call.result(PATIENCE_S) for call in calls} == {400}


def test_tokens_of_unknown_keys_hold_no_more_connections_than_their_share(rig):
    """Each waits for a fetch: without a bound, they take every connection of the port."""
    calls, ends = held(rig, ["192.0.2.1"] * 8)
    assert rig.tell(key=NEXT, client="192.0.2.1") == 429
    assert rig.tell(client="198.51.100.7") == 200
    let_go(calls, ends)
    rig.clock.advance(1)
    rig.hanging, rig.arriving = None, {"corp": state_of(KEY, NEXT)}
    assert rig.tell(key=NEXT, jti="l-2", client="192.0.2.1") == 200


def test_all_that_wait_for_a_key_together_have_a_limit(rig):
    calls, ends = held(rig, [f"192.0.2.{number}" for number in range(20)])
    assert rig.tell(key=NEXT, client="198.51.100.7") == 429
    assert rig.tell(client="198.51.100.7") == 200
    let_go(calls, ends)


def test_all_senders_of_wrong_signatures_together_have_a_limit_and_an_issuer_is_heard(rig):
    wrong = [rig.tell(key=THIEF, sender=f"127.0.1.{1 + number % 15}") for number in range(230)]
    assert wrong.count(400) == 200
    assert rig.tell() == 200


def test_refused_tokens_do_not_fill_the_log(rig, caplog):
    for _ in range(50):
        rig.post("logout_token=x")
    assert caplog.text.count("a back-channel logout was refused") == 5


def test_an_ipv6_network_has_one_share():
    assert share_of("2001:db8::1") == share_of("2001:db8::ffff:2") != share_of("2001:db8:0:1::1")
    assert share_of("fe80::1%eth0") == share_of("fe80::2")
    assert [share_of("127.0.0.1"), share_of("")] == ["127.0.0.1", ""]


def test_a_logout_takes_the_share_of_its_subject_or_of_an_issuer_that_names_none(rig):
    assert rig.tell(sub="alice", sid="s1") == 200
    assert rig.tell(sub=None, sid="s2", jti="l-2") == 200
    assert rig.subjects == ["alice", ""]


def test_a_logout_that_could_not_be_recorded_is_logged_and_may_come_again(rig, caplog):
    rig.fails = True
    assert rig.tell() == 400
    assert "a logout failed" in caplog.text
    rig.fails = False
    assert rig.tell() == 200
