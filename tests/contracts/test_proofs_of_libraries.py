"""What HTTP libraries make of a URL, what the in-task client proves of it, what the gate compares it with: one thing.

A library escapes, lower-cases and shortens before it sends. The proof is for the URL that it is about to send, and the
gate sees the Host and the target that it did send. Neither side knows the library.
"""

import httpx
import pytest
import requests
import yarl

from authz.airflow.egress.run_key import RunKey
from authz.core.errors import RequestError
from authz.core.request.path import canonical_host, canonicalise
from authz.core.runs.proof import check_proof, parse_proof
from tests.support.factories.tokens import NOW

KEY = RunKey()


def by_requests(url):
    prepared = requests.Request("GET", url).prepare()
    return prepared.url, yarl.URL(prepared.url).host_port_subcomponent, prepared.path_url


def by_httpx(url):
    request = httpx.Request("GET", url)
    return str(request.url), request.headers["host"], request.url.raw_path.decode("ascii")


def by_aiohttp(url):
    sent = yarl.URL(url)
    return str(sent), sent.host_port_subcomponent, sent.raw_path_qs


LIBRARIES = pytest.mark.parametrize(
    "sent_by", [by_requests, by_httpx, by_aiohttp], ids=lambda sent_by: sent_by.__name__
)


@LIBRARIES
@pytest.mark.parametrize(
    "url",
    [
        "http://orders.test",
        "http://orders.test?x=1",
        "http://orders.test/v1/orders?x=/../y#z",
        "http://Orders.Test:80/",
        "https://orders.test:443/x",
        "http://127.0.0.1:9101/x",
        "http://[::1]:8090/x",
        "http://me:secret@orders.test/x",
        "http://orders_new.test/x",
        "http://bücher.test/x",
        "http://orders.test/a b",
        "http://orders.test/a%20b/",
        "http://orders.test/é",
        "http://orders.test/%C3%A9",
        "http://orders.test/%41%7E",
        "http://orders.test/a;b=1,c",
        "http://orders.test/a|b",
        "http://orders.test/{a}",
        "http://orders.test/[x]",
        "http://orders.test/a'b\"c",
        "http://orders.test/a^b`c",
        "http://orders.test/a/../b/./c",
    ],
)
def test_what_is_proven_is_what_is_sent(sent_by, url):
    told, host, target = sent_by(url)
    proof = parse_proof(KEY.prove(method="GET", url=told, token="t", now=NOW).encode())
    path = canonicalise(target).path
    check_proof(proof, token="t", thumbprint=KEY.thumbprint, method="GET", authority=host, path=path, now=NOW)


@LIBRARIES
@pytest.mark.parametrize(
    "url",
    [
        "http://orders.test//a",
        "http://orders.test/a\\b",
        "http://127.1/x",
        "http://2130706433/x",
        "http://0x7f000001/x",
    ],
)
def test_what_has_no_canonical_form_is_refused_before_any_proof_is_read(sent_by, url):
    _, host, target = sent_by(url)
    with pytest.raises(RequestError):
        canonical_host(host), canonicalise(target)
