"""The fetcher against a provider that behaves and misbehaves: what it takes, what it refuses, what it says."""

import os
import socket
import ssl
import threading
import time
import tracemalloc

import httpcore
import pytest

from authz.core.errors import FetchError, KeysUnavailableError
from authz.fetching.download import default_tls, read_url
from authz.fetching.guard import Deadline, GuardedBackend, forbidden, system_resolver
from authz.keys import KeyFetcher, Limits
from authz.keys.fetch import read_file
from authz.keys.over_http import HttpFetcher
from tests.support.factories.certificates import Authority
from tests.support.factories.tokens import issuer, jwks_of, make_key
from tests.support.simulators import idp as sim

KEY = make_key("ES256", kid="k1")
NEXT = make_key("ES256", kid="k2")
QUICK = Limits(timeout_s=0.5)


@pytest.fixture
def idp():
    with sim.IdP([KEY]) as idp:
        yield idp


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


def discovered(idp, **changes):
    return issuer(issuer=idp.url, **changes)


def explicit(idp, **changes):
    return issuer(discovery=False, jwks_uri=idp.jwks_uri, **changes)


def refusal(fetcher, who, **arguments):
    with pytest.raises(KeysUnavailableError) as caught:
        fetcher.fetch(who, **arguments)
    return caught.value.detail


class TestWays:
    def test_discovery_leads_to_the_keys(self, idp):
        fetched = KeyFetcher().fetch(discovered(idp))
        assert fetched.data == jwks_of([KEY])
        assert idp.requests == ["/.well-known/openid-configuration", "/jwks"]

    @pytest.mark.parametrize("hurried", [False, True])
    def test_a_provider_that_moves_its_keys_is_followed_by_the_next_fetch(self, idp, hurried):
        fetcher, who = KeyFetcher(), discovered(idp)
        assert fetcher.fetch(who).data == jwks_of([KEY])
        with sim.IdP([NEXT]) as elsewhere:
            idp.says_jwks_uri = elsewhere.jwks_uri  # the old address goes on answering
            assert fetcher.fetch(who, hurried=hurried).data == jwks_of([NEXT])

    def test_an_explicit_uri_needs_no_discovery(self, idp):
        fetched = KeyFetcher().fetch(explicit(idp))
        assert fetched.data == jwks_of([KEY])
        assert idp.requests == ["/jwks"]

    def test_an_issuer_with_a_path_and_a_slash(self, idp):
        who = issuer(issuer=idp.url + "/realms/data/")
        assert "404" in refusal(KeyFetcher(), who)
        assert idp.requests == ["/realms/data/.well-known/openid-configuration"]

    def test_no_credentials_and_no_proxies(self, idp, monkeypatch):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        KeyFetcher().fetch(explicit(idp))
        assert set(idp.last_headers) == {"host", "accept", "accept-encoding", "connection", "user-agent"}
        assert idp.last_headers["host"] == f"localhost:{idp.port}"

    @pytest.mark.parametrize(
        ("header", "expected"),
        [
            (None, None),
            ("max-age=600", 600),
            ("public, max-age=90, must-revalidate", 90),
            ('MAX-AGE="60"', 60),
            ("no-cache", None),
            ("max-age=1e9", 1),
            ("max-age=-1", None),
            ("x-max-age=5", None),
            ("max-age=9999999999999", None),
        ],
    )
    def test_cache_control(self, idp, header, expected):
        idp.cache_control = header
        fetched = KeyFetcher().fetch(explicit(idp))
        assert fetched.max_age == expected

    def test_age_counts_against_max_age(self, idp):
        idp.misbehave(sim.body(b"{}", Cache_Control="max-age=100", Age="40"))
        assert KeyFetcher().fetch(explicit(idp)).max_age == 60
        idp.misbehave(sim.body(b"{}", Cache_Control="max-age=100", Age="400"))
        assert KeyFetcher().fetch(explicit(idp)).max_age == 0
        idp.misbehave(sim.body(b"{}", Cache_Control="max-age=100", Age="soon"))
        assert KeyFetcher().fetch(explicit(idp)).max_age == 100

    def test_a_gzipped_body_is_read(self, idp):
        idp.misbehave(sim.gzipped(jwks_of([KEY])))
        assert KeyFetcher().fetch(explicit(idp)).data == jwks_of([KEY])

    def test_redirects_on_the_same_host(self, idp):
        idp.misbehave(sim.redirect("/a"))
        idp.misbehave(sim.redirect(idp.url + "/b", 307), "/a")
        idp.misbehave(sim.redirect("/c?x=1#y", 308), "/b")
        idp.misbehave(sim.body(jwks_of([KEY])), "/c")
        assert KeyFetcher().fetch(explicit(idp)).data == jwks_of([KEY])


class TestFiles:
    def test_a_file(self, tmp_path):
        path = tmp_path / "jwks.json"
        path.write_bytes(jwks_of([KEY]))
        who = issuer(discovery=False, jwks_file=str(path))
        assert KeyFetcher().fetch(who).data == jwks_of([KEY])

    def test_what_is_no_such_file(self, tmp_path):
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        large = tmp_path / "large"
        large.write_bytes(b"x" * 101)
        for path, says in [
            (tmp_path / "missing", "No such file"),
            (tmp_path, "a folder, not a regular file"),
            (fifo, "not a regular file"),
            (large, "larger than 100B"),
            ("nul\0byte", "holds NUL"),
        ]:
            with pytest.raises(KeysUnavailableError, match=says):
                read_file(str(path), 100)
        large.write_bytes(b"x" * 100)
        assert len(read_file(str(large), 100)) == 100

    def test_a_file_that_breaks_while_it_is_read(self):
        with pytest.raises(KeysUnavailableError, match="Input/output error"):
            read_file("/proc/self/mem", 10)


class TestDiscoveryLies:
    @pytest.mark.parametrize("lie", ["https://evil.example", "HTTP://localhost", "{url}/"])
    def test_another_issuer(self, idp, lie):
        idp.says_issuer = lie.format(url=idp.url)
        assert "its `issuer` is not" in refusal(KeyFetcher(), discovered(idp))
        assert idp.count("/jwks") == 0

    @pytest.mark.parametrize(
        ("document", "says"),
        [
            (b"<html>", "not JSON"),
            (b"[]", "not a JSON object"),
            (b"[" * 100_000, "not JSON"),
            (b'{"issuer": "%s"}', "no jwks_uri"),
            (b'{"issuer": "%s", "jwks_uri": ["a"]}', "no jwks_uri"),
            (b'{"issuer": "%s", "jwks_uri": "ftp://localhost/x"}', "not an http or https URL"),
            (b'{"issuer": "%s", "jwks_uri": "http://user:pw@localhost/x"}', "not an http or https URL"),
            (b'{"issuer": "%s", "jwks_uri": "http://idp.example.com/x"}', "http is refused"),
            (b'{"issuer": "%s", "jwks_uri": "file:///etc/passwd"}', "not an http or https URL"),
        ],
    )
    def test_a_document_that_is_no_good(self, idp, document, says):
        document = document.replace(b"%s", idp.url.encode())
        idp.misbehave(sim.body(document), "/.well-known/openid-configuration")
        told = refusal(KeyFetcher(), discovered(idp))
        assert says in told
        assert "pw" not in told

    def test_a_public_issuer_cannot_point_at_this_machine(self, monkeypatch):
        """`loopback` is allowed by the configured URL only, never by what a document says."""
        who, fetcher = issuer(issuer="https://idp.example.com"), HttpFetcher(limits=Limits(), tls=None, resolver=None)
        with sim.IdP([KEY]) as victim:
            for uri, says in (
                (victim.jwks_uri, "http is refused"),
                (f"https://localhost:{victim.port}/jwks", "a loopback address"),
            ):
                monkeypatch.setattr(fetcher, "_discover", lambda *_, uri=uri: uri)  # what the public document names
                assert says in refusal(fetcher, who)
            assert victim.requests == []


class TestBounds:
    def test_a_large_body(self, idp):
        idp.misbehave(sim.body(b" " * 1001))
        assert "more than 1000 bytes" in refusal(KeyFetcher(limits=Limits(max_bytes=1000)), explicit(idp))
        idp.misbehave(sim.body(b" " * 1000))
        assert len(KeyFetcher(limits=Limits(max_bytes=1000)).fetch(explicit(idp)).data) == 1000

    def test_an_endless_body(self, idp):
        idp.misbehave(sim.endless())
        assert "more than" in refusal(KeyFetcher(), explicit(idp))

    def test_a_gzip_bomb_costs_no_memory(self, idp):
        idp.misbehave(sim.gzip_bomb(200_000_000))
        tracemalloc.start()
        try:
            assert "more than" in refusal(KeyFetcher(), explicit(idp))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8_000_000

    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            (sim.body(b"x", Content_Encoding="br"), "content encoding"),
            (sim.body(b"x", Content_Encoding="gzip, gzip"), "content encoding"),
            (sim.body(b"<html>secret", Content_Encoding="gzip"), "not gzip"),
            (sim.body(b"", Content_Encoding="gzip"), "incomplete"),
            (sim.html(500), "status 500"),
            (sim.html(204), "status 204"),
            (sim.html(403), "status 403"),
            (sim.hang_up(), "does not speak HTTP"),
            (sim.hang_up(b"secret-in-the-body\r\n\r\n"), "does not speak HTTP"),
            (sim.hang_up(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsecret-in-the-body"), "does not speak HTTP"),
            (sim.hang_up(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000), "does not speak HTTP"),
            (sim.redirect(""), "not an http or https URL"),
            (sim.redirect("elsewhere"), "not an http or https URL"),
        ],
    )
    def test_answers_that_are_no_good(self, idp, answer, says):
        idp.misbehave(answer)
        told = refusal(KeyFetcher(), explicit(idp))
        assert says in told
        assert "secret" not in told

    @pytest.mark.parametrize("answer", [sim.silence(), sim.drip(), sim.drip_body()])
    def test_slowness_in_every_form(self, idp, answer):
        idp.misbehave(answer)
        began = time.monotonic()
        assert "takes too long" in refusal(KeyFetcher(limits=QUICK), explicit(idp))
        assert time.monotonic() - began < 1.5

    def test_the_time_covers_discovery_and_keys_together(self, idp):
        idp.misbehave(sim.drip(b'HTTP/1.1 200 OK\r\n\r\n{"issuer'), "/.well-known/openid-configuration")
        began = time.monotonic()
        refusal(KeyFetcher(limits=QUICK), discovered(idp))
        assert time.monotonic() - began < 1.5
        assert idp.count("/jwks") == 0

    def test_more_redirects_than_three(self, idp):
        idp.misbehave(sim.redirect("/jwks"))
        assert "more than 3 redirects" in refusal(KeyFetcher(), explicit(idp))
        assert idp.count("/jwks") == 4

    @pytest.mark.parametrize(
        "location",
        [
            "https://evil.example/jwks",
            "//evil.example/jwks",
            "http://169.254.169.254/latest",
            "http://[::1]:{port}/jwks",
        ],
    )
    def test_a_redirect_to_another_host(self, idp, location):
        idp.misbehave(sim.redirect(location.format(port=idp.port)))
        told = refusal(KeyFetcher(), explicit(idp))
        assert "redirects to another host" in told or "not an http or https URL" in told
        assert idp.requests == ["/jwks"]

    def test_a_redirect_to_another_port(self, idp):
        with sim.IdP([KEY]) as other:
            idp.misbehave(sim.redirect(other.jwks_uri))
            assert "redirects to another host" in refusal(KeyFetcher(), explicit(idp))
            assert other.requests == []

    def test_a_closed_port_is_reported_as_cannot_connect(self, idp):
        idp.stop()
        told = refusal(KeyFetcher(), explicit(idp))
        assert told == f"{idp.jwks_uri}: cannot connect"


class TestTls:
    @staticmethod
    def trusting(authority):
        return ssl.create_default_context(cafile=str(authority.certificate))

    def test_a_good_certificate(self, authority):
        with sim.IdP([KEY], tls=authority.issue("localhost")) as idp:
            assert KeyFetcher(tls=self.trusting(authority)).fetch(discovered(idp)).data == jwks_of([KEY])

    def test_a_certificate_of_an_unknown_authority_is_refused(self, authority, tmp_path):
        with sim.IdP([KEY], tls=Authority(tmp_path / "other").issue("localhost")) as idp:
            told = refusal(KeyFetcher(tls=self.trusting(authority)), explicit(idp))
            assert "certificate is not accepted" in told
            assert idp.requests == []

    def test_a_certificate_for_another_name_is_refused(self, authority):
        """The name is verified although the connection goes to an address."""
        with sim.IdP([KEY], tls=authority.issue("other.example")) as idp:
            told = refusal(KeyFetcher(tls=self.trusting(authority)), explicit(idp))
            assert "certificate is not accepted" in told
            assert "localhost" in told

    def test_https_to_a_port_that_speaks_http(self, authority, idp):
        who = issuer(discovery=False, jwks_uri=f"https://localhost:{idp.port}/jwks")
        assert "TLS handshake fails" in refusal(KeyFetcher(tls=self.trusting(authority)), who)

    def test_https_may_not_become_http(self, authority):
        with sim.IdP([KEY], tls=authority.issue("localhost")) as idp:
            idp.misbehave(sim.redirect(idp.jwks_uri.replace("https", "http")))
            told = refusal(KeyFetcher(tls=self.trusting(authority)), explicit(idp))
            assert "another host or scheme" in told

    def test_http_may_become_https(self, idp, authority):
        with sim.IdP([KEY], tls=authority.issue("localhost")) as secure:
            idp.misbehave(sim.redirect(secure.jwks_uri))
            fetcher = KeyFetcher(tls=self.trusting(authority))
            assert fetcher.fetch(explicit(idp)).data == jwks_of([KEY])

    def test_the_default_verifies(self):
        context = default_tls()
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname


class TestAddresses:
    @pytest.mark.parametrize(
        ("address", "why"),
        [
            ("169.254.169.254", "a cloud metadata address"),
            ("fd00:ec2::254", "a cloud metadata address"),
            ("fd20:ce::254", "a cloud metadata address"),
            ("100.100.100.200", "a cloud metadata address"),
            ("168.63.129.16", "a cloud metadata address"),
            ("192.0.0.192", "a cloud metadata address"),
            ("::ffff:169.254.169.254", "a cloud metadata address"),
            ("64:ff9b::a9fe:a9fe", "a cloud metadata address"),
            ("2002:a9fe:a9fe::1", "a cloud metadata address"),
            ("169.254.0.7", "a link-local address"),
            ("fe80::1", "a link-local address"),
            ("fe80::1%eth0", "a link-local address"),
            ("224.0.0.1", "a multicast address"),
            ("ff02::1", "a multicast address"),
            ("0.0.0.0", "an unspecified address"),
            ("0.1.2.3", "an unspecified address"),
            ("::", "an unspecified address"),
            ("240.0.0.1", "a reserved address"),
            ("255.255.255.255", "a reserved address"),
            ("127.0.0.1", "a loopback address"),
            ("127.8.8.8", "a loopback address"),
            ("::1", "a loopback address"),
            ("::ffff:127.0.0.1", "a loopback address"),
            ("not an address", "not an IP address"),
            ("10.0.0.1", ""),
            ("192.168.1.1", ""),
            ("172.16.0.1", ""),
            ("fd12:3456::1", ""),
            ("203.0.113.9", ""),
            ("93.184.216.34", ""),
            ("2606:2800:220:1::1", ""),
            ("64:ff9b::a00:1", ""),
        ],
    )
    def test_forbidden(self, address, why):
        assert forbidden(address, loopback=False) == why

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
    def test_loopback_where_it_is_configured(self, address):
        assert forbidden(address, loopback=True) == ""
        assert forbidden("169.254.169.254", loopback=True)

    def test_a_name_that_resolves_to_the_metadata_service(self):
        fetcher = KeyFetcher(resolver=lambda host, port: ["203.0.113.7", "169.254.169.254"])
        told = refusal(fetcher, issuer())
        assert told == ("refused: idp.example.com resolves to 169.254.169.254 (a cloud metadata address)")

    def test_insecure_http_allows_loopback_but_not_metadata(self, idp):
        who = issuer(discovery=False, jwks_uri=f"http://idp.internal:{idp.port}/jwks", insecure_http=True)
        assert KeyFetcher(resolver=lambda host, port: ["127.0.0.1"]).fetch(who).data == jwks_of([KEY])
        assert "metadata" in refusal(KeyFetcher(resolver=lambda host, port: ["169.254.169.254"]), who)

    def test_the_name_is_resolved_once(self, idp):
        """DNS rebinding: the second answer would be the forbidden one, and nobody asks for it."""
        answers = [["127.0.0.1"], ["169.254.169.254"]]
        fetcher = KeyFetcher(resolver=lambda host, port: answers.pop(0))
        assert fetcher.fetch(explicit(idp)).data == jwks_of([KEY])
        assert len(answers) == 1

    def test_a_dead_address_before_a_good_one(self, idp):
        fetcher = KeyFetcher(resolver=lambda host, port: ["127.0.0.2", "127.0.0.1"])
        assert fetcher.fetch(explicit(idp)).data == jwks_of([KEY])

    def test_names_that_do_not_resolve(self):
        def fails(host, port):
            raise socket.gaierror(8, "nodename nor servname provided")

        assert refusal(KeyFetcher(resolver=fails), issuer()) == "cannot resolve idp.example.com"
        assert refusal(KeyFetcher(resolver=lambda host, port: []), issuer()) == "cannot resolve idp.example.com"
        assert refusal(KeyFetcher(), issuer(issuer="https://" + "a" * 70 + ".invalid")).startswith("cannot resolve")

    def test_a_resolver_that_hangs(self):
        released = threading.Event()
        fetcher = KeyFetcher(limits=Limits(timeout_s=0.2), resolver=lambda host, port: released.wait(5) and [])
        began = time.monotonic()
        assert "takes too long" in refusal(fetcher, issuer())
        assert time.monotonic() - began < 2
        released.set()

    def test_the_system_resolver(self):
        assert "127.0.0.1" in system_resolver("localhost", 80)

    def test_an_unusual_spelling_of_loopback_is_judged_by_its_address(self):
        for host in ("2130706433", "0x7f.1", "127.1"):
            assert "a loopback address" in refusal(KeyFetcher(), issuer(issuer=f"https://{host}:1"))

    def test_a_deadline_that_has_passed(self):
        backend = GuardedBackend(deadline=Deadline(0), loopback=True, resolver=system_resolver)
        with pytest.raises(httpcore.ReadTimeout):
            backend.connect_tcp("localhost", 80)


def test_a_url_that_is_none_is_not_quoted():
    with pytest.raises(FetchError) as caught:
        read_url("https://user:pw@x/")
    assert "pw" not in caught.value.detail
