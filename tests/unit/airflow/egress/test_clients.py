"""`requests`, `httpx` and `aiohttp` with the run's identity: what the destination got, and what nobody got."""

import asyncio
import io
import json
import pickle
import re
import ssl
from types import SimpleNamespace

import aiohttp
import httpx
import pytest
import requests

pytest.importorskip("airflow")

from authz.airflow.egress import for_aiohttp, for_httpx, for_requests
from authz.airflow.egress.addresses import host_name, origin, proof_url
from authz.airflow.egress.errors import ForeignOriginError, NoRunError, RefusedError
from tests.support.simulators.egress import IDENTITY_HEADERS, EgressSimulator
from tests.support.sites.egress_task import running

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # all is plain http here: certificates need not be loaded each time


@pytest.fixture
def site():
    with EgressSimulator() as site, running(site) as comms:
        site.comms = comms
        yield site


@pytest.fixture
def elsewhere():
    with EgressSimulator() as other:
        yield other


def by_requests(site, method, path, *, follow=True, **more):
    with requests.Session() as session:
        session.auth = for_requests.RunAuth(site.url)
        got = session.request(method, site.url + path, allow_redirects=follow, **more)
    return SimpleNamespace(status=got.status_code, body=got.content, sent=got.request.headers, answer=got)


def by_httpx(site, method, path, *, follow=True, **more):
    with httpx.Client(auth=for_httpx.RunAuth(site.url), follow_redirects=follow, verify=NO_TLS) as client:
        got = client.request(method, site.url + path, **more)
    return SimpleNamespace(status=got.status_code, body=got.content, sent=got.request.headers, answer=got)


def by_httpx_async(site, method, path, *, follow=True, **more):
    async def call():
        async with httpx.AsyncClient(
            auth=for_httpx.RunAuth(site.url), follow_redirects=follow, verify=NO_TLS
        ) as client:
            return await client.request(method, site.url + path, **more)

    got = asyncio.run(call())
    return SimpleNamespace(status=got.status_code, body=got.content, sent=got.request.headers, answer=got)


def by_aiohttp(site, method, path, *, follow=True, **more):
    async def call():
        async with (
            aiohttp.ClientSession(middlewares=[for_aiohttp.RunMiddleware(site.url)]) as session,
            session.request(method, site.url + path, allow_redirects=follow, **more) as got,
        ):
            body = await got.read()
            return SimpleNamespace(status=got.status, body=body, sent=got.request_info.headers, answer=got)

    return asyncio.run(call())


CLIENTS = {"requests": by_requests, "httpx": by_httpx, "httpx-async": by_httpx_async, "aiohttp": by_aiohttp}


@pytest.fixture(params=CLIENTS)
def call(request):
    return CLIENTS[request.param]


def test_the_destination_gets_the_call_and_no_identity(site, call):
    assert call(site, "GET", "/v1/orders?page=2").status == 200
    (passed,) = site.passed
    assert (passed.method, passed.path, passed.level, passed.task) == (
        "GET",
        "/v1/orders",
        "verified",
        "sales_daily.extract",
    )
    assert set(passed.headers) & set(IDENTITY_HEADERS) == set()
    assert site.refused == []


@pytest.mark.parametrize("follow", [True, False])
def test_nothing_of_it_is_kept_with_the_answer(site, call, follow):
    site.answers["/old"] = [(302, [("location", "/older")], b"")]
    site.answers["/older"] = [(307, [("location", "/new")], b"")]
    got = call(site, "GET", "/old", follow=follow)
    assert got.status == (200 if follow else 302)
    assert {name.lower() for name in got.sent} & set(IDENTITY_HEADERS) == set()
    earlier = getattr(got.answer, "history", ())
    assert len(earlier) == (2 if follow else 0)
    for answer in earlier:
        sent = answer.request_info if isinstance(answer, aiohttp.ClientResponse) else answer.request
        assert {name.lower() for name in sent.headers} & set(IDENTITY_HEADERS) == set()
    if not isinstance(got.answer, aiohttp.ClientResponse):
        assert not [token for token in site.tokens if token.encode() in pickle.dumps(got.answer)]


def test_after_a_401_nothing_is_kept_with_the_first_answer(site, call):
    call(site, "GET", "/first")
    site.retire()
    got = call(site, "GET", "/v1/orders").answer
    if not isinstance(got, aiohttp.ClientResponse):
        assert not [token for token in site.tokens if token.encode() in pickle.dumps(got)]


def test_ten_calls_are_ten_proofs_and_one_token(site, call):
    for _ in range(10):
        assert call(site, "POST", "/v1/orders", json={}).status == 200
    assert len(site.passed) == 10
    assert len(site.tokens) == 1


def test_after_a_401_of_the_gate_it_is_tried_once_more_with_a_new_token(site, call):
    call(site, "GET", "/first")
    site.retire()
    assert call(site, "POST", "/v1/orders", json={"order": 7}).status == 200
    assert (site.passed[-1].path, json.loads(site.passed[-1].body)) == ("/v1/orders", {"order": 7})
    assert len(site.tokens) == 2
    assert site.refused == [("/v1/orders", "revoked")]


def test_it_is_tried_once_more_only(site, call, monkeypatch):
    call(site, "GET", "/first")
    monkeypatch.setattr(site, "judge", lambda *_: (_ for _ in ()).throw(LookupError("clock")))
    assert call(site, "GET", "/v1/orders").status == 401
    assert site.refused == [("/v1/orders", "clock")] * 2
    assert len(site.tokens) == 2
    assert [passed.path for passed in site.passed] == ["/first"]


def test_a_401_of_the_destinations_own_is_left_to_the_caller(site, call):
    site.answers["/v1/orders"] = [(401, [("www-authenticate", "Basic")], {"error": "log in", "decision_id": "mine"})]
    assert call(site, "GET", "/v1/orders").status == 401
    assert len(site.passed) == 1
    assert len(site.tokens) == 1


def test_a_403_is_not_tried_again(site, call):
    site.denied["/secret"] = "deny_rule"
    assert call(site, "GET", "/secret").status == 403
    assert site.refused == [("/secret", "deny_rule")]
    assert site.passed == []


def test_where_there_is_no_identity_nothing_is_sent(site, call):
    site.exchange = (403, {"error": "run_ended"})
    with pytest.raises(RefusedError, match=r"sales_daily\.extract"):
        call(site, "GET", "/v1/orders")
    assert site.passed == site.refused == []


@pytest.mark.parametrize("status", [302, 303, 308])
def test_a_redirect_within_the_origin_is_followed_with_a_new_proof(site, call, status):
    site.answers["/old"] = [(status, [("location", "/new?a=b")], b"")]
    assert call(site, "GET", "/old").status == 200
    assert site.paths() == ["/old", "/new"]
    assert len(site.tokens) <= 2


@pytest.mark.parametrize("status", [302, 307])
def test_a_redirect_to_another_origin_is_refused_and_nothing_reaches_it(site, call, status, elsewhere):
    site.answers["/old"] = [(status, [("location", f"{elsewhere.url}/collect")], b"")]
    with pytest.raises(ForeignOriginError, match=re.escape(elsewhere.url)):
        call(site, "GET", "/old")
    assert site.paths() == ["/old"]
    assert elsewhere.passed == elsewhere.refused == []


@pytest.mark.parametrize("hidden", ["ht\ttp://", "http:/\t/", "\x01http://"])
def test_a_redirect_that_hides_its_host_from_us_and_not_from_requests_is_refused(site, hidden, elsewhere):
    site.answers["/old"] = [(302, [("location", elsewhere.url.replace("http://", hidden))], b"")]
    with pytest.raises(ForeignOriginError, match="control character"):
        by_requests(site, "GET", "/old")
    assert site.paths() == ["/old"]
    assert elsewhere.passed == elsewhere.refused == []


def test_a_redirect_to_another_host_of_the_same_address_is_refused(site, call):
    site.answers["/old"] = [(302, [("location", f"{site.url.replace('127.0.0.1', 'localhost')}/new")], b"")]
    with pytest.raises(ForeignOriginError, match="localhost"):
        call(site, "GET", "/old")
    assert site.paths() == ["/old"]


def test_a_redirect_away_that_leads_there_by_a_detour_is_refused(site, call, elsewhere):
    site.answers["/old"] = [(302, [("location", "/older")], b"")]
    site.answers["/older"] = [(302, [("location", f"{elsewhere.url}/collect")], b"")]
    with pytest.raises(ForeignOriginError):
        call(site, "GET", "/old")
    assert site.paths() == ["/old", "/older"]
    assert elsewhere.passed == elsewhere.refused == []


def test_who_does_not_follow_sees_the_redirect(site, call, elsewhere):
    site.answers["/old"] = [(302, [("location", f"{elsewhere.url}/collect")], b"")]
    assert call(site, "GET", "/old", follow=False).status == 302
    assert elsewhere.refused == []


def test_a_call_to_another_origin_is_refused(site, call, elsewhere):
    with pytest.raises(ForeignOriginError):
        call(SimpleNamespace(url=_Shifting(site.url, elsewhere.url)), "GET", "/v1/orders")
    assert elsewhere.passed == elsewhere.refused == []


class _Shifting(str):
    """A base URL that is one thing for the auth, and another for the call."""

    __slots__ = ("other",)

    def __new__(cls, first, other):
        made = super().__new__(cls, first)
        made.other = other
        return made

    def __add__(self, path):
        return self.other + path


def test_a_body_that_cannot_be_sent_twice_is_not_sent_again_after_a_401(site):
    def retired(client, **data):
        client(site, "GET", "/first")
        site.retire()
        site.refused.clear()
        return client(site, "POST", "/v1/orders", **data).status, len(site.refused)

    assert retired(by_requests, data=_Forwards(b"order")) == (401, 1)
    assert retired(by_httpx, content=_Stream(b"order"), headers={"content-length": "5"}) == (401, 1)


class _Forwards(io.BytesIO):
    """A file that cannot go back."""

    def seekable(self):
        return False

    def seek(self, *_):
        raise OSError("this goes forwards only")

    def tell(self):
        raise OSError("and does not know where it is")


class _Stream(httpx.SyncByteStream):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        yield self.data


def test_a_file_goes_back_to_its_start(site):
    by_requests(site, "GET", "/first")
    site.retire()
    assert by_requests(site, "POST", "/v1/orders", data=io.BytesIO(b"order")).status == 200
    assert site.passed[-1].body == b"order"


def test_another_auth_may_come_first(site):
    auth = for_requests.RunAuth(site.url, also=requests.auth.HTTPBasicAuth("me", "pw"))
    assert requests.get(f"{site.url}/v1/orders", auth=auth, timeout=10).status_code == 200
    assert site.passed[0].headers["authorization"].startswith("Basic ")


def test_one_auth_serves_many_threads(site):
    from concurrent.futures import ThreadPoolExecutor

    auth = for_requests.RunAuth(site.url)
    with ThreadPoolExecutor(8) as pool:
        statuses = list(
            pool.map(lambda n: requests.get(f"{site.url}/{n}", auth=auth, timeout=10).status_code, range(40))
        )
    assert statuses == [200] * 40
    assert len(site.tokens) == 1


def test_a_trace_of_the_callers_own_is_still_called(site):
    seen = []

    async def aseen(event, _info):
        seen.append(event)

    with httpx.Client(auth=for_httpx.RunAuth(site.url)) as client:
        client.get(f"{site.url}/v1/orders", extensions={"trace": lambda event, _info: seen.append(event)})
    synchronous = len(seen)

    async def main():
        async with httpx.AsyncClient(auth=for_httpx.RunAuth(site.url)) as client:
            await client.get(f"{site.url}/v1/orders", extensions={"trace": aseen})

    asyncio.run(main())
    assert 0 < synchronous < len(seen)


def test_httpx_through_a_proxy_identifies_itself_by_the_destinations_url(site):
    with httpx.Client(auth=for_httpx.RunAuth("http://orders.internal"), proxy=site.url) as client:
        assert client.get("http://orders.internal/v1/orders").status_code == 200
    assert (site.passed[0].path, site.passed[0].level) == ("/v1/orders", "verified")


def test_requests_through_a_proxy_identifies_itself_by_the_destinations_url(site):
    auth = for_requests.RunAuth("http://orders.internal")
    got = requests.get("http://orders.internal/v1/orders", auth=auth, proxies={"http": site.url}, timeout=10)
    assert got.status_code == 200
    assert site.passed[0].level == "verified"


def test_with_another_transport_a_followed_redirect_to_another_origin_raises(site):
    def answer(request):
        if request.url.path == "/old":
            return httpx.Response(302, headers={"location": "http://elsewhere.test/"})
        return httpx.Response(200)

    with (
        httpx.Client(
            auth=for_httpx.RunAuth(site.url), transport=httpx.MockTransport(answer), follow_redirects=True
        ) as c,
        pytest.raises(ForeignOriginError, match="elsewhere"),
    ):
        c.get(f"{site.url}/old")


@pytest.mark.parametrize("kind", [for_requests.RunAuth, for_httpx.RunAuth, for_aiohttp.RunMiddleware])
def test_an_origin_must_be_named_and_no_task_is_needed_for_that(kind):
    kind("http://127.0.0.1:9101/base")
    with pytest.raises(TypeError, match="base URL"):
        kind()
    with pytest.raises(ForeignOriginError):
        kind("ftp://127.0.0.1")


@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_without_a_task_nothing_is_sent(client):
    with EgressSimulator() as site:
        with pytest.raises(NoRunError):
            client(site, "GET", "/v1/orders")
        assert site.passed == site.refused == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h", "http://h:80"),
        ("HTTPS://H.Test./x", "https://h.test:443"),
        ("http://user:pw@h:81/x@y", "http://h:81"),
        ("http://[::1]/", "http://[::1]:80"),
        ("http://[::1]:8080?x", "http://[::1]:8080"),
        ("http://h:080#/", "http://h:80"),
        ("http://a@b@evil/", "http://evil:80"),
    ],
)
def test_origins(url, expected):
    assert origin(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9101/v1", "127.0.0.1"),
        ("https://Orders.Internal", "orders.internal"),
        ("http://user:word@[::1]:9101/", "::1"),
        ("orders.internal:9101", ""),
        ("", ""),
    ],
)
def test_the_host_for_lists_of_hosts_without_a_proxy(url, expected):
    assert host_name(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/x",
        "h/x",
        "ftp://h",
        "http://",
        "http:///x",
        "http://h:x/",
        "file:///etc",
        "//h",
        "http://h:\u0668",
        f"http://h:{'9' * 5000}",
    ],
)
def test_what_has_no_origin(url):
    with pytest.raises(ForeignOriginError):
        origin(url)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://h:81/a/b?c#d", "http://h:81/a/b"),
        ("http://h", "http://h/"),
        ("http://h?x", "http://h/"),
        ("http://u:p@h/a%20b#?", "http://h/a%20b"),
    ],
)
def test_what_a_proof_is_for(url, expected):
    assert proof_url(url) == expected
