"""Discovery against a real server on loopback; the bounds of a fetch are tested with the keys'."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from authz.envoy_config.provider import DiscoveryError, Provider, discover
from authz.fetching.limits import Limits

QUICK = Limits(timeout_s=2)


@pytest.fixture
def server():
    """`server.document` is what discovery answers: a text, or an object that becomes JSON."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            made = self.server.document
            body = (made if isinstance(made, str) else json.dumps(made)).encode()
            self.send_response(200 if self.path == "/realm/.well-known/openid-configuration" else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        made.issuer = f"http://127.0.0.1:{made.server_address[1]}/realm"
        made.document = {
            "issuer": made.issuer,
            "authorization_endpoint": "https://idp.test/authorize",
            "token_endpoint": "https://idp.test/token",
        }
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def test_the_endpoints_of_an_issuer(server):
    assert discover(server.issuer, limits=QUICK) == Provider(
        authorization_endpoint="https://idp.test/authorize", token_endpoint="https://idp.test/token", basic=True
    )
    server.document |= {
        "end_session_endpoint": "https://idp.test/logout",
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }
    found = discover(server.issuer, limits=QUICK)
    assert (found.end_session_endpoint, found.basic) == ("https://idp.test/logout", False)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "is not JSON"),
        ([], "is not a JSON object"),
        ({"issuer": "https://other.test"}, "its `issuer` is not"),
        ({"token_endpoint": None}, "no token_endpoint"),
        ({"authorization_endpoint": 7}, "no authorization_endpoint"),
        ({"authorization_endpoint": ""}, "no authorization_endpoint"),
    ],
)
def test_a_document_that_says_too_little(server, document, words):
    server.document = {**server.document, **document} if isinstance(document, dict) else document
    with pytest.raises(DiscoveryError, match=words):
        discover(server.issuer, limits=QUICK)


def test_an_issuer_that_is_not_there(server, tmp_path):
    with pytest.raises(DiscoveryError, match="status 404"):
        discover(server.issuer + "x", limits=QUICK)
    with pytest.raises(DiscoveryError, match="http is refused"):
        discover("http://idp.test", limits=QUICK)
    with pytest.raises(DiscoveryError, match="No such file"):
        discover(server.issuer, str(tmp_path / "ca.pem"), limits=QUICK)
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(DiscoveryError, match=r"ca\.pem"):
        discover(server.issuer, str(tmp_path / "ca.pem"), limits=QUICK)
