"""The tour's visitor: it goes where it is sent, keeps what it is told to keep, and the checks of its rows can fail."""

import http.server
import json
import threading
from contextlib import contextmanager

import pytest

from demo import tour_login
from demo.tour_client import Answer
from demo.tour_visitor import AstrayError, Visitor


@contextmanager
def site(answers):
    """A server that answers by path: `(status, headers)`, and remembers who asked what."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def _answer(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            path = self.path.partition("?")[0]
            seen.append((self.command, self.path, self.headers, body))
            status, headers = answers[path]
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        do_GET = do_POST = _answer  # noqa: N815 - the names that the library calls

        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def visitor(issuer="http://127.0.0.1:1"):
    return Visitor(login="ann", issuer=issuer)


def test_redirects_are_followed_and_cookies_kept_and_dropped():
    gone = "gone=; Max-Age=0; Path=/"
    answers = {
        "/dags": (302, [("location", "/next?x=1"), ("set-cookie", "a=1; HttpOnly"), ("set-cookie", "gone=x")]),
        "/next": (302, [("location", "/end"), ("set-cookie", gone)]),
        "/end": (200, []),
    }
    with site(answers) as (url, seen):
        asked = visitor()
        assert asked.open(f"{url}/dags").status == 200
    assert [(path, headers.get("cookie")) for _, path, headers, _ in seen] == [
        ("/dags", None),
        ("/next?x=1", "a=1; gone=x"),
        ("/end", "a=1"),
    ]
    assert {headers["sec-fetch-mode"] for _, _, headers, _ in seen} == {"navigate"}
    assert "a=1" not in repr(asked)


def test_at_the_provider_the_visitor_posts_its_login():
    answers = {"/authorize": (302, [("location", "/end")]), "/end": (200, [])}
    with site(answers) as (url, seen):
        visitor(issuer=url).open(f"{url}/authorize?state=s")
    assert [(method, path, body) for method, path, _, body in seen] == [
        ("POST", "/authorize?state=s", b"login=ann"),
        ("GET", "/end", b""),
    ]


def test_a_script_asks_as_a_script():
    with site({"/x": (401, [])}) as (url, seen):
        assert visitor().fetch(f"{url}/x").status == 401
    assert seen[0][2]["sec-fetch-mode"] == "cors"


def test_circles_end():
    with site({"/a": (302, [("location", "/a")])}) as (url, seen), pytest.raises(AstrayError):
        visitor().open(f"{url}/a")
    assert len(seen) == 10


def test_the_checks_of_the_rows_can_fail():
    def body(**content):
        return Answer(status=200, decision="d", body=json.dumps(content).encode())

    assert tour_login._is_ann(body(username="ann")) == ""
    assert tour_login._is_ann(body(username="adam"))
    sales = [{"dag_id": dag} for dag in tour_login.SALES_DAGS]
    assert tour_login._only_sales(body(dags=sales)) == ""
    assert "finance" in tour_login._only_sales(body(dags=[*sales, {"dag_id": "finance_close"}]))
    assert tour_login._only_sales(body(dags=sales[:1]))
    assert tour_login._only_sales(body(dags=[]))
