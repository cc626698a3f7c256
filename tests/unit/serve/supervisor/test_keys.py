"""One fetch for all workers: what is shared, for how long, and what a worker's own schedule makes of it."""

import base64
import gzip
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from authz.core.errors import KeysUnavailableError
from authz.keys import Fetched, KeyOptions, KeyStore
from authz.serve.supervisor.key_socket import KeyServer, SupervisedFetcher
from authz.serve.supervisor.shared_keys import SharedFetcher
from tests.support.factories.tokens import issuer, jwks_of, make_key
from tests.support.simulators.idp import PATIENCE_S, SimClock, SimFetcher

OLD, NEW = make_key("ES256", kid="old"), make_key("ES256", kid="new")
CORP = issuer(name="corp")
LAB = issuer(name="lab", issuer="https://lab.example.com")
OPTIONS = KeyOptions(refresh_s=300.0, min_interval_s=5.0)


class Room:
    def __init__(self, options=OPTIONS):
        self.clock = SimClock()
        self.fetcher = SimFetcher(corp=[OLD], lab=[NEW])
        self.shared = SharedFetcher(self.fetcher, self.clock, options)

    @property
    def gets(self):
        return len(self.fetcher.calls)

    def after(self, seconds, **question):
        self.clock.advance(seconds)
        return self.shared.fetch(CORP, **question)


@pytest.fixture
def room():
    return Room()


class TestSharing:
    def test_many_at_once_are_one_fetch(self, room):
        with ThreadPoolExecutor(16) as pool:
            with room.fetcher.held():
                asked = [pool.submit(room.shared.fetch, CORP, hurried=number % 2 == 0) for number in range(16)]
                room.fetcher.until_begun()
            answers = {future.result(PATIENCE_S).data for future in asked}
        assert (answers, room.gets) == ({jwks_of([OLD])}, 1)

    def test_issuers_do_not_wait_for_one_another(self, room):
        with ThreadPoolExecutor(2) as pool:
            with room.fetcher.held():
                asked = [pool.submit(room.shared.fetch, one) for one in (CORP, LAB)]
                room.fetcher.until_begun()
                room.fetcher.until_begun()
            assert [future.result(PATIENCE_S).data for future in asked] == [jwks_of([OLD]), jwks_of([NEW])]

    def test_within_the_interval_nothing_is_fetched_again_however_urgent(self, room):
        room.shared.fetch(CORP)
        assert [room.after(1.0, hurried=True).age for _ in range(4)] == [1.0, 2.0, 3.0, 4.0]
        assert room.gets == 1
        assert room.after(1.0, hurried=True).age == 0.0
        assert room.gets == 2

    def test_a_refresh_takes_what_has_half_of_its_life_before_it(self, room):
        room.shared.fetch(CORP)
        assert room.after(149.0).age == 149.0
        assert room.gets == 1
        assert room.after(1.0).age == 0.0
        assert room.gets == 2

    def test_cache_control_shortens_the_time_until_the_next_fetch(self, room):
        room.fetcher.max_age = 60
        room.shared.fetch(CORP)
        assert room.after(29.0).age == 29.0
        assert room.after(1.0).age == 0.0

    def test_that_a_key_is_missing_is_passed_on(self, room):
        room.after(0.0, hurried=True)
        assert room.fetcher.calls == [("corp", True)]

    def test_an_issuer_that_comes_from_elsewhere_now_is_another(self, room):
        room.shared.fetch(CORP)
        room.shared.fetch(issuer(name="corp", discovery=False, jwks_uri="https://other.example.com/jwks"))
        assert room.gets == 2

    def test_two_names_for_one_source_are_one_fetch(self, room):
        room.shared.fetch(CORP)
        room.shared.fetch(issuer(name="alias"))
        assert room.gets == 1


class TestFailures:
    def test_failures_are_passed_on_and_kept_for_the_interval_only(self, room):
        room.fetcher.answers["corp"] = KeysUnavailableError("https://idp answers with status 500")
        for _ in range(5):
            with pytest.raises(KeysUnavailableError) as told:
                room.after(0.9)
            assert told.value.detail == "https://idp answers with status 500"
        assert room.gets == 1
        room.fetcher.answers["corp"] = [OLD]
        assert room.after(1.5).data == jwks_of([OLD])
        assert room.gets == 2

    def test_all_who_wait_for_a_fetch_get_its_failure(self, room):
        room.fetcher.answers["corp"] = KeysUnavailableError("down")
        with ThreadPoolExecutor(8) as pool:
            with room.fetcher.held():
                asked = [pool.submit(room.shared.fetch, CORP) for _ in range(8)]
                room.fetcher.until_begun()
            assert [future.exception(PATIENCE_S).detail for future in asked] == ["down"] * 8
        assert room.gets == 1

    def test_a_bug_in_a_fetch_is_kept_as_a_failure_and_tried_again_after_the_interval(self, room):
        room.fetcher.answers["corp"] = ZeroDivisionError()
        with pytest.raises(ZeroDivisionError):
            room.shared.fetch(CORP)
        with pytest.raises(KeysUnavailableError, match="internal error"):
            room.shared.fetch(CORP, hurried=True)
        assert room.gets == 1
        room.fetcher.answers["corp"] = [OLD]
        assert room.after(5.0).data == jwks_of([OLD])

    def test_sources_are_bounded(self, room):
        for number in range(300):
            room.shared.fetch(issuer(name="lab", issuer=f"https://{number}.example.com"))
        assert len(room.shared._flights) == 256


class TestWorkersStores:
    """Several key stores, each a worker's, on one shared fetcher."""

    @pytest.fixture
    def stores(self, room):
        made = [
            KeyStore(room.shared, room.clock, OPTIONS, lambda *_: None, jitter=lambda jitter=jitter: jitter)
            for jitter in (0.0, 0.5, 0.999)
        ]
        for store in made:
            store.configure([CORP])
            store.start()
        room.clock.until_waiting(3)
        yield made
        for store in made:
            store.stop(PATIENCE_S)

    def kids(self, stores):
        return [set(store.view()["corp"].keyset.keys) for store in stores]

    def test_the_key_stores_of_all_workers_start_from_one_fetch(self, room, stores):
        assert self.kids(stores) == [{"old"}] * 3
        assert room.gets == 1

    def test_a_round_of_refreshes_is_one_fetch(self, room, stores):
        for _ in range(65):
            room.clock.advance(1.0)
            room.clock.until_waiting(3)
        assert room.gets == 1
        for _ in range(270):
            room.clock.advance(1.0)
            room.clock.until_waiting(3)
        assert room.gets == 2, "300 seconds, give or take a tenth: one fetch for all"

    def test_the_age_of_the_keys_is_the_age_of_the_fetch(self, room, stores):
        late = KeyStore(room.shared, room.clock, OPTIONS, lambda *_: None)
        room.clock.advance(40.0)
        room.clock.until_waiting(3)
        late.configure([CORP])
        late.start()
        room.clock.until_waiting(4)
        assert late.view()["corp"].fetched_at == stores[0].view()["corp"].fetched_at
        late.stop(PATIENCE_S)

    def test_a_flood_of_unknown_keys_everywhere_is_one_fetch_per_interval(self, room, stores):
        told = [0]
        for second in range(20):
            for store in stores:
                for number in range(10):
                    store.request("corp", f"unknown-{second}-{number}-{id(store)}", lambda: told.__setitem__(0, 1))
            room.clock.advance(1.0)
            room.clock.until_waiting(3)
        assert 2 <= room.gets <= 1 + 20 / 5
        assert told == [1]

    def test_a_rotated_key_is_found_by_all_although_another_asked_a_moment_before(self, room, stores):
        """The trap of every shared result: it is older than the question, and must not be taken for an answer."""
        first, second, _third = stores
        room.clock.advance(10.0)
        room.clock.until_waiting(3)
        settled = threading.Event()
        assert first.request("corp", "nobody-has-this", settled.set)
        assert settled.wait(PATIENCE_S)
        room.clock.until_waiting(3)
        assert room.gets == 2
        room.fetcher.answers["corp"] = [OLD, NEW]
        room.clock.advance(1.0)
        room.clock.until_waiting(3)
        found = threading.Event()
        assert second.request("corp", "new", found.set)
        room.clock.until_waiting(3)
        assert not found.is_set(), "the result of a second ago settles nothing"
        assert room.gets == 2
        room.clock.advance(4.1)
        assert found.wait(PATIENCE_S)
        assert "new" in second.view()["corp"].keyset.keys
        assert room.gets == 3


class TestSocket:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "keys.sock"

    @pytest.fixture
    def remote(self, room, path):
        server = KeyServer(path, room.shared)
        server.start()
        yield SupervisedFetcher(path, max_bytes=256 * 1024, timeout_s=1.0)
        server.stop(PATIENCE_S)

    def test_an_answer_comes_over_as_it_is(self, room, remote):
        room.fetcher.max_age = 60
        found = remote.fetch(CORP, hurried=True)
        assert (found.data, found.max_age) == (jwks_of([OLD]), 60)
        room.clock.advance(2.0)
        assert remote.fetch(CORP, hurried=True).age == 2.0
        assert room.fetcher.calls == [("corp", True)]

    def test_bytes_that_are_no_text_come_over(self, room, remote):
        room.fetcher.answers["corp"] = data = gzip.compress(b"x" * 100) + bytes(range(256))
        assert remote.fetch(CORP).data == data

    def test_a_failure_comes_over_as_it_is(self, room, remote):
        room.fetcher.answers["corp"] = KeysUnavailableError("sends more than 262144 bytes")
        with pytest.raises(KeysUnavailableError) as told:
            remote.fetch(CORP)
        assert told.value.detail == "sends more than 262144 bytes"

    def test_where_the_keys_are_comes_over(self, path):
        seen = []

        class Curious:
            def fetch(self, issuer, *, hurried=False):
                seen.append((issuer.issuer, issuer.discovery, issuer.jwks_uri, issuer.insecure_http, hurried))
                return Fetched(data=b"{}")

        server = KeyServer(path, Curious())
        server.start()
        remote = SupervisedFetcher(path, max_bytes=1000, timeout_s=1.0)
        remote.fetch(issuer(issuer="http://idp", discovery=False, jwks_uri="http://idp/keys", insecure_http=True))
        server.stop(PATIENCE_S)
        assert seen == [("http://idp", False, "http://idp/keys", True, False)]

    def test_local_files_are_read_here(self, room, remote, tmp_path):
        file = tmp_path / "keys.json"
        file.write_bytes(jwks_of([NEW]))
        assert remote.fetch(issuer(discovery=False, jwks_file=str(file))).data == jwks_of([NEW])
        with pytest.raises(KeysUnavailableError, match="No such file"):
            remote.fetch(issuer(discovery=False, jwks_file=str(tmp_path / "none")))
        assert room.gets == 0

    def test_without_a_supervisor_there_are_no_keys(self, path):
        with pytest.raises(KeysUnavailableError, match="the supervisor does not answer"):
            SupervisedFetcher(path, max_bytes=1000, timeout_s=1.0).fetch(CORP)

    @pytest.mark.parametrize("question", [b"", b"nonsense\n", b"{}\n", b'{"about": {}}\n', b"x" * 100_000 + b"\n"])
    def test_nonsense_gets_no_answer_and_the_next_fetch_is_served(self, remote, path, question):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(path))
            try:
                client.sendall(question)
                client.shutdown(socket.SHUT_WR)
                answer = client.recv(100)
            except OSError:
                answer = b""
        assert answer == b""
        assert remote.fetch(CORP).data == jwks_of([OLD])

    def test_an_answer_that_is_too_long_is_cut_and_refused(self, path):
        class Endless:
            def fetch(self, issuer, *, hurried=False):
                return Fetched(data=b"x" * 1_000_000)

        server = KeyServer(path, Endless())
        server.start()
        with pytest.raises(KeysUnavailableError, match="the supervisor does not answer"):
            SupervisedFetcher(path, max_bytes=1000, timeout_s=1.0).fetch(CORP)
        server.stop(PATIENCE_S)

    def test_what_goes_over_the_wire_is_one_line_each_way(self, room, remote, path):
        about = {"name": "corp", "issuer": CORP.issuer, "discovery": True, "jwks_uri": None, "insecure_http": False}
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE_S)
            client.connect(str(path))
            client.sendall(json.dumps({"about": about, "hurried": False}).encode() + b"\n")
            with client.makefile("rb") as lines:
                [line] = lines.readlines()
        assert base64.b64decode(json.loads(line)["data"]) == jwks_of([OLD])
