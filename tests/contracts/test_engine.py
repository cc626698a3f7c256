"""What every engine promises, over real sockets."""

import contextlib
import gc
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from authz.core.parked import Parked
from authz.engine import TlsFiles
from authz.engine.contract import CHECK
from tests.contracts.engines import ENGINES, Running, check
from tests.support.factories.certificates import Authority

pytestmark = pytest.mark.parametrize("kind", sorted(ENGINES))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def test_a_check_is_answered_with_the_handlers_bytes(kind):
    with Running(kind) as running, running.channel() as channel:
        assert check(channel)(b"\xff not even protobuf", timeout=5) == b"answer:\xff not even protobuf"
        assert check(channel)(b"", timeout=5) == b"answer:"


def test_traced_the_handler_gets_the_traceparent_of_each_call_with_its_bytes(kind):
    with Running(kind, traced=True) as running, running.channel() as channel:
        for metadata in ([("traceparent", "one")], [], [("other", "x"), ("traceparent", "two")]):
            assert check(channel)(b"bytes", timeout=5, metadata=metadata) == b"answer:bytes"
        call = check(channel).future(b"park:k1", timeout=10, metadata=[("traceparent", "parked")])
        running.waits.until(1)
        running.waits.finish()
        assert call.result() == b"resumed"
    assert [message.traceparent for message in running.handler.seen] == ["one", "", "two", "parked"]


def test_untraced_it_gets_the_bytes_alone(kind):
    with Running(kind) as running, running.channel() as channel:
        check(channel)(b"bytes", timeout=5, metadata=[("traceparent", "one")])
    assert [type(message) for message in running.handler.seen] == [bytes]


def test_many_at_once_are_all_answered_each_with_its_own(kind):
    with Running(kind) as running, running.channel() as channel:
        calls = [check(channel).future(b"%d" % number, timeout=20) for number in range(500)]
        assert [call.result() for call in calls] == [b"answer:%d" % number for number in range(500)]


def test_an_unknown_method_is_unimplemented(kind):
    with Running(kind) as running, running.channel() as channel:
        for method in ("/envoy.service.auth.v3.Authorization/Other", "/other.Service/Check"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(method)(b"", timeout=5)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert running.handler.seen == []


def test_an_oversized_message_never_reaches_the_handler(kind):
    with Running(kind, max_message_bytes=1000) as running, running.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            check(channel)(b"x" * 2000, timeout=5)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert check(channel)(b"x" * 900, timeout=5)
        assert len(running.handler.seen) == 1


def test_a_parked_check_is_answered_when_its_key_has_come(kind):
    with Running(kind) as running, running.channel() as channel:
        call = check(channel).future(b"park:k1", timeout=10)
        running.waits.until(1)
        assert running.waits.asked[0][:2] == ("corp", "park:k1")
        assert check(channel)(b"other", timeout=5) == b"answer:other"
        assert running.load.parked == 1
        running.waits.finish()
        assert call.result() == b"resumed"
        assert running.load.parked == 0


def test_a_parked_check_is_answered_at_once_when_nothing_will_be_fetched(kind):
    with Running(kind) as running, running.channel() as channel:
        running.waits.willing = False
        assert check(channel)(b"park", timeout=5) == b"resumed"


def test_a_check_may_wait_for_something_else_than_a_key(kind):
    with Running(kind) as running, running.channel() as channel:
        call = check(channel).future(b"wait", timeout=10)
        done = running.handler.waits.get(timeout=10)
        assert check(channel)(b"meanwhile", timeout=10) == b"answer:meanwhile"
        assert running.load.parked == 0  # it waits for no key
        done()
        assert call.result() == b"resumed"
        running.handler.willing = False
        assert check(channel)(b"wait", timeout=10) == b"resumed"
        assert running.waits.asked == []


def test_a_parked_check_is_answered_before_its_own_deadline(kind):
    with Running(kind) as running, running.channel() as channel:
        assert check(channel)(b"park", timeout=0.5) == b"resumed"


def test_a_parked_check_without_a_deadline_waits_no_longer_than_max_wait(kind):
    with Running(kind, max_wait=0.1) as running, running.channel() as channel:
        assert check(channel)(b"park") == b"resumed"


def test_a_deadline_that_is_nearly_over_is_not_waited_for(kind):
    with Running(kind) as running, running.channel() as channel:
        assert check(channel)(b"warm", timeout=5)
        call = check(channel).future(b"park", timeout=0.04)
        assert call.exception() is None or call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert running.waits.asked == []


def test_more_parked_checks_than_allowed_are_overloaded_at_once(kind):
    with Running(kind, max_parked=2) as running, running.channel() as channel:
        calls = [check(channel).future(b"park:%d" % number, timeout=10) for number in range(2)]
        running.waits.until(2)
        assert check(channel)(b"park:3", timeout=5) == b"overloaded"
        running.waits.finish()
        assert [call.result() for call in calls] == [b"resumed", b"resumed"]


def test_checks_that_wait_for_keys_keep_no_sign_out_from_its_answer(kind):
    """Anybody can send key ids that nobody knows; who signs out has a token."""
    with Running(kind, max_parked=2) as running, running.channel() as channel:
        keys = [check(channel).future(b"park:%d" % number, timeout=10) for number in range(2)]
        running.waits.until(2)
        leaving = [check(channel).future(b"wait", timeout=10) for _ in range(40)]
        dones = [running.handler.waits.get(timeout=5) for _ in leaving]
        assert check(channel)(b"park:3", timeout=5) == b"overloaded"
        for done in dones:
            done()
        assert [call.result() for call in leaving] == [b"resumed"] * 40
        assert running.load.parked == 2
        running.waits.finish()
        assert [call.result() for call in keys] == [b"resumed"] * 2
        assert running.load.parked == 0


def test_sign_outs_take_no_place_of_those_that_wait_for_keys(kind):
    with Running(kind, max_parked=1) as running, running.channel() as channel:
        leaving = [check(channel).future(b"wait", timeout=10) for _ in range(5)]
        dones = [running.handler.waits.get(timeout=5) for _ in leaving]
        call = check(channel).future(b"park:1", timeout=10)
        running.waits.until(1)
        for cancelled in leaving[:2]:
            cancelled.cancel()
        for done in dones:
            done()
        assert [left.result() for left in leaving[2:]] == [b"resumed"] * 3
        assert running.load.parked == 1
        running.waits.finish()
        assert call.result() == b"resumed"


def test_a_sign_out_is_answered_before_its_deadline_and_after_max_wait(kind):
    with Running(kind, max_parked=0, max_wait=0.5) as running, running.channel() as channel:
        assert check(channel)(b"wait", timeout=0.4) == b"resumed"
        assert check(channel)(b"wait") == b"resumed"
        late = [running.handler.waits.get(timeout=5) for _ in range(2)]
        for done in late:
            done()
        assert check(channel)(b"x", timeout=5) == b"answer:x"
        assert running.load.parked == 0


def test_a_sign_out_that_waits_when_the_engine_stops_is_answered(kind):
    with Running(kind, max_parked=1) as running, running.channel() as channel:
        key = check(channel).future(b"park:1", timeout=10)
        running.waits.until(1)
        leaving = check(channel).future(b"wait", timeout=10)
        done = running.handler.waits.get(timeout=5)
        running.engine.stop()
        done()
        running.waits.finish()
        assert (leaving.result(), key.result()) == (b"resumed", b"resumed")
        running.thread.join(10)
        assert not running.thread.is_alive()


# A check may wait for one thing after the other: its key, then the revocation that it asks for.


def test_a_check_may_wait_for_one_thing_after_the_other(kind):
    with Running(kind) as running, running.channel() as channel:
        call = check(channel).future(b"first", timeout=10)
        running.waits.until(1)
        assert running.load.parked == 1
        running.waits.finish()
        done = running.handler.waits.get(timeout=10)
        assert check(channel)(b"meanwhile", timeout=10) == b"answer:meanwhile"
        assert running.load.parked == 0
        assert not call.done()
        done()
        assert call.result() == b"resumed"


def test_the_end_of_one_wait_is_not_the_end_of_the_next(kind):
    with Running(kind) as running, running.channel() as channel:
        call = check(channel).future(b"both", timeout=10)
        first = running.handler.waits.get(timeout=10)
        first()
        second = running.handler.waits.get(timeout=10)
        first()  # as nobody may, and all the same
        assert check(channel)(b"meanwhile", timeout=10) == b"answer:meanwhile"
        assert not call.done()
        second()
        assert call.result() == b"resumed"


@pytest.mark.parametrize("message", [b"first", b"both"])
def test_both_waits_together_have_the_checks_own_deadline(kind, message):
    with Running(kind) as running, running.channel() as channel:
        call = check(channel).future(message, timeout=0.5)
        if message == b"first":
            running.waits.until(1)
            running.waits.finish()
        else:
            running.handler.waits.get(timeout=10)()
        running.handler.waits.get(timeout=10)
        assert call.result() == b"resumed"


def test_whose_time_is_over_waits_for_nothing_more(kind):
    with Running(kind, max_wait=0.1) as running, running.channel() as channel:
        assert check(channel)(b"first", timeout=10) == b"resumed"
        assert running.handler.waits.empty()
        running.handler.willing = False
        assert check(channel)(b"both", timeout=10) == b"resumed"


# Every call is answered.


@pytest.mark.parametrize("message", [b"park:1", b"broken wait"])
def test_a_wait_that_cannot_be_begun_leaves_no_call_without_its_answer(kind, message):
    with Running(kind) as running, running.channel() as channel:
        running.waits.fails = True
        assert check(channel)(message, timeout=5) == b"resumed"
        assert running.load.parked == 0
        running.waits.fails = False
        running.waits.finish()  # the wait was said to have failed, and ends nevertheless
        assert check(channel)(b"x", timeout=5) == b"answer:x"


@pytest.mark.parametrize("message", [b"broken", b"broken resume"])
def test_a_handler_that_raises_fails_its_own_call_at_once_and_no_other(kind, message):
    """Handlers never raise. Where one does all the same, Envoy is told, and does not wait for its timeout."""
    with Running(kind) as running, running.channel() as channel:
        running.waits.willing = False
        with pytest.raises(grpc.RpcError) as caught:
            check(channel)(message, timeout=10)
        assert caught.value.code() in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}
        assert check(channel)(b"x", timeout=5) == b"answer:x"


def test_a_handler_that_raises_takes_no_answer_from_those_that_waited_with_it(kind):
    with Running(kind) as running, running.channel() as channel:
        broken = check(channel).future(b"broken resume", timeout=10)
        running.waits.until(1)
        others = [check(channel).future(b"park:%d" % number, timeout=10) for number in range(5)]
        running.waits.until(6)
        running.waits.finish()
        assert [call.result() for call in others] == [b"resumed"] * 5
        assert broken.exception() is not None
        assert broken.code() is not grpc.StatusCode.DEADLINE_EXCEEDED
        assert running.load.parked == 0


def test_hundreds_whose_key_comes_at_once_are_all_answered(kind):
    with Running(kind) as running, running.channel() as channel:
        calls = [check(channel).future(b"park:%d" % number, timeout=20) for number in range(250)]
        running.waits.until(250)
        running.waits.finish()
        assert check(channel)(b"x", timeout=5) == b"answer:x"
        assert [call.result() for call in calls] == [b"resumed"] * 250
        assert running.load.parked == 0


def test_hundreds_whose_time_is_over_at_once_are_all_answered(kind):
    with Running(kind, max_wait=0.3) as running, running.channel() as channel:
        calls = [check(channel).future(b"park:%d" % number) for number in range(250)]
        assert [call.result(20) for call in calls] == [b"resumed"] * 250
        assert running.load.parked == 0


def outcome(call):
    """What a call was answered with, or the name of its gRPC error."""
    try:
        return call.result()
    except grpc.RpcError as error:
        return error.code().name


def test_a_burst_that_meets_a_busy_engine_is_answered_or_refused_to_the_last(kind):
    """Everything comes in one instant. Nothing is lost, mixed up or judged twice."""
    with Running(kind) as running, running.channel() as channel:
        holding = check(channel).future(b"hold", timeout=20)
        assert running.handler.held.wait(10)
        calls = [check(channel).future(b"%d" % number, timeout=20) for number in range(300)]
        running.handler.go.set()
        assert holding.result() == b"answer:hold"
        outcomes = [outcome(call) for call in calls]
        for number, told in enumerate(outcomes):
            assert told in {b"answer:%d" % number, b"overloaded", "RESOURCE_EXHAUSTED"}
        judged = [told for told in outcomes if str(told).startswith("b'answer")]
        assert len(running.handler.seen) == len(judged) + 1
        assert check(channel)(b"later", timeout=5) == b"answer:later"


def test_no_more_streams_than_allowed_are_in_flight_on_a_connection(kind):
    """The client keeps the next call to itself (RFC 9113 §5.1.2); it goes on when one has ended."""
    with Running(kind, max_streams=2, armed=1) as running, running.channel() as channel:
        calls = [check(channel).future(b"park:%d" % number, timeout=10) for number in range(2)]
        running.waits.until(2)
        third = check(channel).future(b"third", timeout=10)
        with running.channel(**{"grpc.use_local_subchannel_pool": 1}) as other:
            assert check(other)(b"other", timeout=5) == b"answer:other"
        assert b"third" not in running.handler.seen
        running.waits.finish()
        assert [call.result() for call in calls] == [b"resumed", b"resumed"]
        assert third.result() == b"answer:third"


def test_calls_that_never_send_their_message_take_no_place_from_others(kind):
    """A client that opens calls and falls silent (d-39) holds its own streams, nothing else."""
    with Running(kind, max_parked=2) as running, running.channel() as channel:
        stop = threading.Event()

        def silence():
            stop.wait(20)
            yield from ()

        with running.channel() as other:
            silent = [other.stream_unary(CHECK).future(silence(), timeout=20) for _ in range(200)]
            for number in range(50):
                assert check(channel)(b"%d" % number, timeout=5) == b"answer:%d" % number
            parked = check(channel).future(b"park:1", timeout=10)
            running.waits.until(1)
            running.waits.finish()
            assert parked.result() == b"resumed"
            for call in silent:
                call.cancel()
            stop.set()


def test_a_flood_of_frames_without_calls_delays_neither_checks_nor_the_stop(kind):
    """d-39: one connection that is always full of SETTINGS. Here gRPC's own threads read, as they do for plain TCP."""
    running = Running(kind).__enter__()
    host, _, port = running.addresses[0].rpartition(":")
    over = threading.Event()

    def flood():
        frames = (bytes(3) + b"\x04" + bytes(5)) * 4096
        with socket.create_connection((host, int(port)), timeout=1) as hostile, contextlib.suppress(OSError):
            hostile.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            while not over.is_set():
                hostile.sendall(frames)

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        with running.channel() as channel:
            for number in range(100):
                assert check(channel)(b"%d" % number, timeout=5) == b"answer:%d" % number
        running.engine.stop()
        running.thread.join(20)
        assert not running.thread.is_alive()
    finally:
        over.set()
        flooding.join()


def test_a_peer_that_gives_no_sign_of_life_is_cut_off(kind):
    with Running(kind, keepalive=0.5) as running:
        host, _, port = running.addresses[0].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=20) as dead:
            dead.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
            while dead.recv(65536):  # settings and pings, none of which it answers
                pass
        with running.channel() as channel:
            assert check(channel)(b"alive", timeout=5) == b"answer:alive"


def test_a_cancelled_parked_check_gives_its_place_back(kind):
    with Running(kind, max_parked=1) as running, running.channel() as channel:
        call = check(channel).future(b"park:1", timeout=10)
        running.waits.until(1)
        call.cancel()
        for attempt in range(2, 100):
            second = check(channel).future(b"park:%d" % attempt, timeout=0.2)
            if second.result() == b"resumed":
                break
        else:
            pytest.fail("the place of a cancelled check was never free again")


def health(channel, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(channel).Check(request, timeout=5).status


def test_health_follows_what_the_app_says(kind):
    with Running(kind) as running, running.channel() as channel:
        assert health(channel) == NOT_SERVING
        running.engine.set_serving(serving=True)
        for service in ("", "envoy.service.auth.v3.Authorization"):
            assert health(channel, service) == SERVING
        with pytest.raises(grpc.RpcError) as caught:
            health(channel, "other.Service")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_health_watch_tells_every_change_and_ends_with_the_engine(kind):
    with Running(kind) as running, running.channel() as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        assert next(watch).status == NOT_SERVING
        running.engine.set_serving(serving=True)
        assert next(watch).status == SERVING
        running.engine.stop()
        assert next(watch).status == NOT_SERVING
        assert list(watch) == []


def test_a_unix_socket_works_and_a_stale_one_is_replaced(kind, tmp_path):
    address = f"unix:{tmp_path}/authz.sock"
    for _round in range(2):
        with Running(kind, listen=[address]) as running, running.channel() as channel:
            assert running.addresses == [address]
            assert check(channel)(b"1", timeout=5) == b"answer:1"
    import socket

    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "stale.sock"))
    stale = f"unix:{tmp_path}/stale.sock"
    with Running(kind, listen=[stale]) as running, running.channel(address=stale) as channel:
        assert check(channel)(b"2", timeout=5) == b"answer:2"


def test_an_address_in_use_is_an_error_not_a_half_share(kind, tmp_path):
    with Running(kind) as running:
        said = f"cannot listen on {re.escape(running.addresses[0])}: Address already in use"
        with pytest.raises(OSError, match=said), Running(kind, listen=[running.addresses[0]]):
            pass
        file = tmp_path / "plain-file"
        file.write_text("precious")
        with pytest.raises(OSError, match="not a socket is in the way"), Running(kind, listen=[f"unix:{file}"]):
            pass
        assert file.read_text() == "precious"
    live = f"unix:{tmp_path}/live.sock"
    with (
        Running(kind, listen=[live]),
        pytest.raises(OSError, match="another process does"),
        Running(kind, listen=[live]),
    ):
        pass


def test_several_addresses_serve_together(kind, tmp_path):
    with Running(kind, listen=["127.0.0.1:0", f"unix:{tmp_path}/a.sock"]) as running:
        for address in running.addresses:
            with running.channel(address=address) as channel:
                assert check(channel)(b"x", timeout=5) == b"answer:x"


def test_tls_and_mtls(kind, tmp_path):
    ours, foreign = Authority(tmp_path / "ours"), Authority(tmp_path / "foreign")
    server = ours.issue("localhost")
    tls = TlsFiles(certificate=str(server.certificate), key=str(server.key), client_ca=str(ours.certificate))

    def attempt(client, root):
        made = grpc.ssl_channel_credentials(
            root.certificate.read_bytes(),
            client.key.read_bytes() if client else None,
            client.certificate.read_bytes() if client else None,
        )
        port = running.addresses[0].rpartition(":")[2]
        with running.channel(made, f"localhost:{port}") as channel:
            return check(channel)(b"x", timeout=5)

    with Running(kind, tls=tls) as running:
        assert attempt(ours.issue("client"), ours) == b"answer:x"
        for client, root in [(None, ours), (foreign.issue("client"), ours), (ours.issue("client"), foreign)]:
            with pytest.raises(grpc.RpcError) as caught:
                attempt(client, root)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        with running.channel() as plaintext, pytest.raises(grpc.RpcError):
            check(plaintext)(b"x", timeout=2)
        assert running.handler.seen == [b"x"]


def test_draining_fails_no_call(kind):
    """As Envoy does: calls go on without a pause, and move on once the health check says NOT_SERVING."""
    with Running(kind, drain_delay=0.5) as first, Running(kind) as second:
        first.engine.set_serving(serving=True)
        moved, stop = threading.Event(), threading.Event()
        answered = []

        def follow_health():
            with first.channel() as channel:
                watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
                for answer in watch:
                    if answer.status == NOT_SERVING:
                        moved.set()

        def call_on():
            with first.channel() as old, second.channel() as new:
                while not stop.is_set():
                    answered.append((moved.is_set(), check(new if moved.is_set() else old)(b"x", timeout=5)))

        with ThreadPoolExecutor(5) as pool, first.channel() as channel:
            callers = [pool.submit(call_on) for _caller in range(4)]
            watcher = pool.submit(follow_health)
            while len(answered) < 50:
                pass
            parked = check(channel).future(b"park", timeout=10)
            first.waits.until(1)
            first.engine.stop()
            watcher.result(10)
            first.waits.finish()
            first.thread.join(10)
            stop.set()
            for caller in callers:
                caller.result(10)  # raises what any of its calls raised
            assert parked.result() == b"resumed"
        assert {answer for _moved, answer in answered} == {b"answer:x"}
        assert {moved_on for moved_on, _answer in answered} == {False, True}


def test_stopping_twice_and_before_the_start_is_harmless(kind):
    with Running(kind) as running:
        running.engine.stop()
        running.engine.stop()
        running.thread.join(10)
        assert not running.thread.is_alive()


def test_a_parked_check_whose_caller_left_is_freed_from_memory(kind):
    """Whoever sends unknown key ids and hangs up would otherwise fill the memory until the key's fetch."""
    with Running(kind, max_parked=500) as running, running.channel() as channel:
        before = len(gc.get_objects())
        calls = [check(channel).future(b"park:%d" % number + b"x" * 10_000, timeout=20) for number in range(300)]
        running.waits.until(300)
        for call in calls:
            call.cancel()
        del calls, call
        end = time.monotonic() + 10  # the last of them may still be about to end
        while running.load.parked or any(isinstance(item, Parked) for item in gc.get_objects()):
            assert time.monotonic() < end, "a parked check is kept"
            check(channel)(b"breathe", timeout=5)
            gc.collect()
        running.handler.seen.clear()
        assert len(gc.get_objects()) - before < 300 * 40
        running.waits.finish()
        assert check(channel)(b"x", timeout=5) == b"answer:x"


def test_a_late_key_for_a_check_that_did_not_wait_disturbs_no_other_check(kind):
    with Running(kind) as running, running.channel() as channel:
        waiting = check(channel).future(b"park:1", timeout=10)
        running.waits.until(1)
        running.waits.willing = False
        assert check(channel)(b"park:2", timeout=5) == b"resumed"
        running.waits.asked[1][2]()
        for _round in range(20):
            assert check(channel)(b"x", timeout=5) == b"answer:x"
        running.waits.asked[0][2]()
        assert waiting.result() == b"resumed"


def test_a_malformed_health_check_is_refused_and_logs_no_traceback(kind, caplog):
    with Running(kind) as running, running.channel() as channel:
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary("/grpc.health.v1.Health/Check")(b"\xff\xff", timeout=5)
        assert caught.value.code() in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNKNOWN}
        assert check(channel)(b"x", timeout=5) == b"answer:x"
    if kind == "cq":
        assert caplog.text == ""
