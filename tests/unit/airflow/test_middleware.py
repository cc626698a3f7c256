"""The middleware: what reaches Airflow, and as whom."""

import asyncio
import json
import threading
from concurrent.futures import Future

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from starlette._utils import get_route_path
from starlette.requests import cookie_parser

from authz.airflow import middleware
from authz.airflow.dag_grant import DagGrant
from authz.airflow.jwks_client import FetchError, KeySource, Pace
from authz.airflow.middleware import AssertionMiddleware
from authz.airflow.verifier import ASSERTION_TYPE, Expected

NOW = 1_800_000_000
KEY = ec.generate_private_key(ec.SECP256R1())
EXPECTED = Expected(issuer="https://gate.test", audience="airflow", clock_skew=5)


def key_set(*kids):
    public = ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True)
    return json.dumps({"keys": [{**public, "kid": kid} for kid in kids]}).encode()


def mint(kid="k1", **changes):
    claims = {"iss": "https://gate.test", "aud": "airflow", "sub": "u-1", "idp": "https://idp.test", "jti": "j"}
    claims |= {"iat": NOW, "nbf": NOW, "exp": NOW + 60, "roles": [], "airflow_role": "viewer", **changes}
    return jwt.encode(claims, KEY, algorithm="ES256", headers={"kid": kid, "typ": ASSERTION_TYPE}).encode()


class Airflow:
    """Records what reaches it."""

    def __init__(self):
        self.scopes = []
        self.messages = []
        self.listens = False
        self.headers, self.body = [], b"airflow"

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        if self.listens:
            self.messages.append([await receive(), await receive()])
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Origin:
    def __init__(self, answer):
        self.answer = answer
        self.calls = 0

    def __call__(self):
        self.calls += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Gate:
    """The middleware in front of a recorder."""

    def __init__(self, answer=None, *, load=True):
        self.airflow = Airflow()
        self.origin = Origin(answer or key_set("k1"))
        self.monotonic = 100.0
        self.source = KeySource(self.origin, Pace(min_interval_s=2), monotonic=lambda: self.monotonic, sleep=self.sleep)
        if load:
            self.source.load()
        self.app = AssertionMiddleware(
            self.airflow, source=self.source, expected=EXPECTED, mark=lambda who: {"user": who}, wall=lambda: NOW
        )

    def sleep(self, seconds):
        self.monotonic += seconds

    def send(self, *headers, path="/api/v2/dags", kind="http", receive=None, **scope):
        sent = []

        async def collect(message):
            sent.append(message)

        full = {"type": kind, "method": "GET", "path": path, "headers": list(headers), **scope}
        self.airflow.listens = receive is not None
        asyncio.run(self.app(full, receive, collect))
        return sent

    def status(self, *headers, **scope):
        return self.send(*headers, **scope)[0]["status"]


def assertion(token):
    return (b"x-authz-assertion", token)


@pytest.fixture
def gate():
    return Gate()


def test_an_assertion_makes_the_user(gate):
    assert gate.status(assertion(mint()), state={"kept": 1}) == 200
    (scope,) = gate.airflow.scopes
    assert scope["state"]["kept"] == 1
    assert scope["state"]["user"].subject == "u-1"
    assert scope["headers"] == []


@pytest.mark.parametrize(
    ("method", "root", "named"), [("POST", "", True), ("POST", "/airflow", True), ("GET", "", False)]
)
def test_an_answer_names_the_run_that_a_request_made(gate, method, root, named):
    gate.airflow.headers, gate.airflow.body = [(b"content-type", b"application/json")], b'{"dag_run_id":"manual__1"}'
    path = f"{root}/api/v2/dags/a/dagRuns"
    start, body = gate.send(assertion(mint()), method=method, path=path, root_path=root)
    assert dict(start["headers"]).get(b"x-authz-made-run") == (b"manual__1" if named else None)
    assert body["body"] == gate.airflow.body


def marking(gate, mark, **options):
    """The middleware with a mark of one's own."""
    return AssertionMiddleware(
        gate.airflow, source=gate.source, expected=EXPECTED, mark=mark, wall=lambda: NOW, **options
    )


class Grants:
    """What is known of grants, and what comes of asking for one."""

    def __init__(self, known=None, answer=None):
        self.known, self.answer, self.asked = known or {}, answer, []

    def get(self, reference):
        return self.known.get(reference)

    def ask(self, reference):
        self.asked.append(reference)
        flight = Future()
        flight.set_result(self.answer)
        return flight


REFERENCE = "A" * 43
SALES = DagGrant(("sales_*",))


@pytest.mark.parametrize(
    ("grants", "asked"), [(Grants({REFERENCE: SALES}), []), (Grants(answer=SALES), [REFERENCE])], ids=["known", "asked"]
)
def test_the_dags_that_an_assertion_only_names_are_those_of_the_gate(gate, grants, asked):
    gate.app = marking(gate, lambda who: {"user": who}, grants=grants)
    assert gate.status(assertion(mint(dags_ref=REFERENCE))) == 200
    (scope,) = gate.airflow.scopes
    assert scope["state"]["user"].dags is SALES
    assert grants.asked == asked


def test_no_grant_is_503_and_never_a_request_without_dags_or_with_all(gate):
    gate.app = marking(gate, lambda who: {"user": who}, grants=Grants())
    for headers, kind in (
        ((), b"application/json"),
        (((b"sec-fetch-mode", b"navigate"),), b"text/html; charset=utf-8"),
    ):
        start, body = gate.send(assertion(mint(dags_ref=REFERENCE)), *headers)
        assert (start["status"], dict(start["headers"])[b"content-type"]) == (503, kind)
        assert dict(start["headers"])[b"retry-after"] == b"2"
        assert b"which DAGs" in body["body"]
    assert gate.airflow.scopes == []


def test_an_assertion_that_lists_its_dags_fetches_no_grant(gate):
    grants = Grants()
    gate.app = marking(gate, lambda who: {"user": who}, grants=grants)
    assert gate.status(assertion(mint(dags=["x"]))) == 200
    assert grants.asked == []


def test_without_a_source_of_grants_a_reference_grants_no_dag(gate):
    assert gate.status(assertion(mint(dags_ref=REFERENCE))) == 200
    (scope,) = gate.airflow.scopes
    assert not scope["state"]["user"].dags.permits("any")


def asking(app, **claims):
    """One request; what it is answered with is of no interest."""

    async def ignore(_message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [assertion(mint(**claims))], "state": {"kept": 1}}
    return app(scope, None, ignore)


def test_the_loop_goes_on_while_a_mark_waits_for_a_database(gate):
    """Each waits for the other's mark, and both for the loop: as requests that hold the last connections do."""
    together, loop_went_on = threading.Barrier(2), threading.Event()

    def mark(who):
        together.wait(10)
        assert loop_went_on.wait(10)
        return {"user": who}

    async def main():
        asked = [asyncio.ensure_future(asking(app, sub=name)) for name in ("a", "b")]
        await asyncio.sleep(0)
        assert gate.airflow.scopes == []
        loop_went_on.set()
        await asyncio.gather(*asked)

    app = marking(gate, mark, mark_blocks=True)
    asyncio.run(main())
    assert {scope["state"]["user"].subject for scope in gate.airflow.scopes} == {"a", "b"}
    assert {scope["state"]["kept"] for scope in gate.airflow.scopes} == {1}


def test_a_request_whose_mark_fails_in_its_thread_never_reaches_airflow(gate):
    def mark(_who):
        raise OSError("no database")

    with pytest.raises(OSError, match="no database"):
        asyncio.run(asking(marking(gate, mark, mark_blocks=True)))
    assert gate.airflow.scopes == []


def test_a_mark_that_only_computes_stays_in_the_loops_thread(gate):
    threads = []
    asyncio.run(asking(marking(gate, lambda _who: threads.append(threading.get_ident()) or {})))
    assert threads == [threading.get_ident()]


def test_a_request_without_an_assertion_passes_unchanged_and_fetches_no_keys(gate):
    state = {"kept": 1}
    assert gate.status((b"accept", b"*/*"), state=state) == 200
    (scope,) = gate.airflow.scopes
    assert scope["state"] == {"kept": 1}
    assert scope["headers"] == [(b"accept", b"*/*")]
    assert gate.origin.calls == 1  # the start-up load alone


def test_the_users_of_two_requests_do_not_meet(gate):
    shared = {}
    gate.send(assertion(mint(sub="a")), state=shared)
    gate.send(state=shared)
    assert shared == {}
    assert "user" not in gate.airflow.scopes[1]["state"]


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"garbage",
        b"\xff\xfe",
        mint(aud="other"),
        mint(exp=NOW - 5),
        mint(iss="https://evil.test"),
        mint(kid="unknown"),
        mint()[:-4] + b"AAAA",
    ],
)
def test_a_bad_assertion_ends_the_request_on_every_path(gate, token):
    for path in ("/api/v2/dags", "/ui/config", "/", "/static/x.js", "/api/v2/monitor/health"):
        sent = gate.send(assertion(token), path=path)
        assert sent[0]["status"] == 401
        body = json.loads(sent[1]["body"])
        assert body["detail"] == middleware.REFUSED["detail"]
        assert body["decision_id"] == ""
        assert (b"www-authenticate", b"Authz-Assertion") in sent[0]["headers"]
    assert gate.airflow.scopes == []


def test_two_assertions_are_refused_even_when_equal(gate):
    assert gate.status(assertion(mint()), assertion(mint())) == 401
    assert gate.airflow.scopes == []


@pytest.mark.parametrize(
    "name",
    [b"authorization", b"Authorization", b"x-authz-subject", b"X-Authz-Roles", b"x_authz_assertion", b"X-AUTHZ_user"],
)
def test_credentials_and_our_headers_never_reach_airflow(gate, name):
    gate.send((name, b"Bearer x"), (b"accept", b"*/*"), assertion(mint()))
    gate.send((name, b"Bearer x"), (b"accept", b"*/*"))
    assert [scope["headers"] for scope in gate.airflow.scopes] == [[(b"accept", b"*/*")]] * 2


def test_an_assertion_in_a_look_alike_header_makes_no_user(gate):
    gate.send((b"x_authz_assertion", mint()))
    assert "state" not in gate.airflow.scopes[0]


@pytest.mark.parametrize(
    ("cookie", "kept"),
    [
        (b"_token=abc", None),
        (b" _token = abc ;", None),
        (b"_token=abc; theme=dark", b"theme=dark"),
        (b"theme=dark; _token=abc; lang=en", b"theme=dark; lang=en"),
        (b"a=1;\xa0_token\x85=abc", b"a=1"),
        (b"x_token=1; _token2=2; _TOKEN=3", b"x_token=1; _token2=2; _TOKEN=3"),
        (b"_token=a; _token=b", None),
    ],
)
def test_airflows_session_cookie_never_reaches_it(gate, cookie, kept):
    gate.send((b"cookie", cookie), assertion(mint()))
    headers = gate.airflow.scopes[0]["headers"]
    assert headers == ([] if kept is None else [(b"cookie", kept)])
    assert all("_token" not in cookie_parser(value.decode("latin-1")) for _, value in headers)


def test_the_task_api_keeps_its_own_tokens_and_sees_no_user(gate):
    headers = [(b"authorization", b"Bearer task"), (b"x-authz-subject", b"ann"), assertion(b"garbage")]
    assert gate.status(*headers, path="/execution/task-instances/1/run") == 200
    (scope,) = gate.airflow.scopes
    assert scope["headers"] == [(b"authorization", b"Bearer task")]
    assert "state" not in scope


@pytest.mark.parametrize("path", ["/execution", "/executions/x", "/api/execution/", "//execution/", "/Execution/x"])
def test_only_the_task_api_keeps_authorization(gate, path):
    gate.send((b"authorization", b"Bearer task"), path=path)
    assert gate.airflow.scopes[0]["headers"] == []


@pytest.mark.parametrize("root", ["", "/airflow", "/execution"])
@pytest.mark.parametrize(
    "path", ["/execution/x", "/airflow/execution/x", "/airflow", "/airflowx", "/execution", "/execution/execution/x"]
)
def test_the_route_path_is_starlettes(root, path):
    scope = {"path": path, "root_path": root}
    assert middleware.route_path(scope).startswith("/execution/") == get_route_path(scope).startswith("/execution/")


def test_a_rotated_key_is_fetched_and_the_request_succeeds(gate):
    gate.origin.answer = key_set("k1", "k2")
    gate.monotonic += 2
    assert gate.status(assertion(mint(kid="k2"))) == 200
    assert gate.origin.calls == 2


def test_a_key_that_signs_right_after_a_fetch_is_found(gate):
    gate.origin.answer = key_set("k1", "k2")
    assert gate.status(assertion(mint(kid="k2"))) == 200
    assert gate.monotonic == 102


def test_unknown_kids_cause_one_fetch_per_interval(gate):
    assert {gate.status(assertion(mint(kid=f"x{number}"))) for number in range(50)} == {401}
    assert gate.origin.calls == 101
    assert gate.monotonic == 300
    assert gate.status(assertion(mint())) == 200


PEOPLE = [
    ((b"sec-fetch-mode", b"navigate"), True),
    ((b"Sec-Fetch-Mode", b"cors"), False),
    ((b"accept", b"text/html,application/xhtml+xml"), True),
    ((b"accept", b"application/json"), False),
    ((b"user-agent", b"curl"), False),
]


@pytest.mark.parametrize(("header", "page"), PEOPLE)
def test_people_who_navigate_get_a_page(gate, header, page):
    start, body = gate.send(header, assertion(b"garbage"), path="/dags")
    fields = dict(start["headers"])
    assert start["status"] == 401
    assert fields[b"www-authenticate"] == b"Authz-Assertion"
    assert fields[b"content-type"].startswith(b"text/html" if page else b"application/json")
    assert (b"could not verify who you are" in body["body"]) is page
    assert (b"<dt>Time</dt><dd><code>2027-01-15 08:00:00 UTC</code></dd>" in body["body"]) is page
    assert (fields.get(b"cache-control") == b"no-store") is page
    assert gate.airflow.scopes == []


def test_a_change_is_no_navigation(gate):
    sent = gate.send((b"accept", b"text/html"), assertion(b"garbage"), method="POST")
    assert json.loads(sent[1]["body"]) == {**middleware.REFUSED, "decision_id": ""}


def test_without_keys_the_answer_is_503_and_it_heals():
    gate = Gate(FetchError("down"), load=False)
    sent = gate.send(assertion(mint()))
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"2") in sent[0]["headers"]
    assert gate.airflow.scopes == []
    assert gate.status() == 200
    page = gate.send(assertion(mint()), (b"sec-fetch-mode", b"navigate"))
    assert (page[0]["status"], b"cannot verify anyone" in page[1]["body"]) == (503, True)
    assert b"<code>2027-01-15 08:00:00 UTC</code>" in page[1]["body"]
    gate.origin.answer = key_set("k1")
    assert gate.status(assertion(mint())) == 200


EMPTY = {"type": "http.request", "body": b"", "more_body": False}
GONE = {"type": "http.disconnect"}


def arriving(*messages):
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    return receive


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("body", [(), ({"type": "http.request", "body": b'{"dag_id": "x"}', "more_body": True}, EMPTY)])
def test_airflow_sees_no_body_of_a_get(gate, method, body):
    gate.send(assertion(mint()), method=method, receive=arriving(*body, GONE))
    assert gate.airflow.messages == [[EMPTY, GONE]]


def test_other_bodies_and_those_of_tasks_pass(gate):
    body = {"type": "http.request", "body": b"{}", "more_body": False}
    gate.send(assertion(mint()), method="POST", receive=arriving(body, GONE))
    gate.send(method="GET", path="/execution/x", receive=arriving(body, GONE))
    assert gate.airflow.messages == [[body, GONE]] * 2


def test_websockets_get_the_same_treatment(gate):
    assert gate.send(assertion(b"bad"), kind="websocket") == [{"type": "websocket.close", "code": 1008}]
    gate.send((b"authorization", b"x"), assertion(mint()), kind="websocket")
    (scope,) = gate.airflow.scopes
    assert (scope["headers"], scope["state"]["user"].subject) == ([], "u-1")


def test_the_lifespan_passes_untouched(gate):
    gate.send(kind="lifespan")
    assert gate.airflow.scopes[0]["type"] == "lifespan"
