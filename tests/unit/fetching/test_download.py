"""One request whose every answer counts: with its status and headers, within the same limits."""

from http.server import BaseHTTPRequestHandler

import pytest

from authz.core.errors import FetchError
from authz.core.urls import Url
from authz.fetching.download import Downloader, Reach, default_tls
from authz.fetching.guard import Deadline, system_resolver
from authz.fetching.limits import Limits
from tests.support.simulators.idp import LoopbackServer

ANYWHERE = Reach(insecure_http=True, loopback=True)
CANARY = "canary-5ecret"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path.strip("/")))
        self.send_header("Content-Type", "Text/Plain; charset=utf-8")
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(self.headers.get("x-mine", "").ljust(100).encode())

    def log_message(self, *_):
        pass


def ask(path, most=100, **more):
    downloader = Downloader(limits=Limits(max_bytes=most), tls=default_tls(), resolver=system_resolver)
    with LoopbackServer(Handler) as server:
        url = Url.parse(server.url).below(path)
        return downloader.ask(url, reach=ANYWHERE, deadline=Deadline(30), more=more)


@pytest.mark.parametrize("status", [200, 302, 401, 503])
def test_every_status_is_an_answer_and_no_redirect_is_followed(status):
    answer = ask(f"/{status}", **{"x-mine": CANARY})
    assert answer.status == status
    assert answer.headers["location"] == "/elsewhere"
    assert answer.media_type == "text/plain"
    assert answer.data.decode().strip() == CANARY
    assert CANARY not in repr(answer)


def test_an_answer_that_is_too_large_is_refused_without_its_text():
    with pytest.raises(FetchError, match="more than 99 bytes") as caught:
        ask("/200", most=99, **{"x-mine": CANARY})
    assert CANARY not in str(caught.value)


def test_no_server_there_is_said():
    downloader = Downloader(limits=Limits(), tls=default_tls(), resolver=system_resolver)
    with pytest.raises(FetchError, match="cannot connect"):
        downloader.ask(Url.parse("http://127.0.0.1:1/"), reach=ANYWHERE, deadline=Deadline(30))


@pytest.mark.parametrize("found", [["192.0.2.1"], ["127.0.0.1", "10.0.0.1"], ["::ffff:10.0.0.1"]])
def test_plain_http_to_a_name_of_this_machine_goes_to_no_other_machine_whatever_dns_says(found):
    asked = []
    downloader = Downloader(
        limits=Limits(), tls=default_tls(), resolver=lambda host, _port: asked.append(host) or found
    )
    only_here = Reach(insecure_http=False, loopback=True)
    with pytest.raises(FetchError, match="not this machine, and plain http"):
        downloader.post(
            Url.parse("http://idp.localhost:8080/token"),
            CANARY.encode(),
            media_type="text/plain",
            reach=only_here,
            deadline=Deadline(30),
        )
    assert asked == ["idp.localhost"]
