"""The section `http_check`: its mistakes, each with its place."""

from pathlib import Path

import pytest

from authz import settings
from authz.core.errors import ConfigError

GOOD = "listen: ['unix:/run/authz/http.sock'], audiences: [{name: airflow, audience: airflow}]"


def parsed(section, more=""):
    text = f"version: 1\nhttp_check: {{{section}}}\n{more}"
    return settings.parse(text.encode(), Path("/etc/authz/authz.yaml"), workers=1)


def listen(address, more="audiences: [{name: a}]"):
    return f"listen: ['{address}'], {more}"


def of(audience):
    return f"listen: ['127.0.0.1:9191'], audiences: [{audience}]"


def fastcgi(address, audience="a", more=""):
    audiences = "audiences: [{name: a}, {name: out, plane: egress, destination: o}]"
    return f"{more} {audiences}, fastcgi: [{{listen: '{address}', audience: {audience}}}]"


PORTAL = "{name: p, issuer: 'https://i.test', subject: r}"
OTHER = "{name: q, issuer: 'https://i.test', subject: r}"


def authzen(section):
    return f"listen: ['unix:/h'], audiences: [{{name: a}}], authzen: {{{section}}}"


@pytest.mark.parametrize(
    ("section", "at", "told"),
    [
        ("listen: ['127.0.0.1:9191']", "{", "audiences"),
        (listen("127.0.0.1:9190"), "'127", "belongs to listen[0]"),
        (listen("127.0.0.1:9180"), "'127", "belongs to admin.listen"),
        (listen("10.0.0.5:9191"), "'10.", "set `http_check.tls`"),
        (listen("127.0.0.1:9191", "client_address: x-real-ip, audiences: [{name: a}]"), "x-real-ip", "over TCP"),
        (listen("unix:/h", "client_address: X-Real-IP, audiences: [{name: a}]"), "X-Real-IP", "lower case"),
        (listen("unix:/h", "client_address: authorization, audiences: [{name: a}]"), "authorization", "not the name"),
        (of("{name: a/b}"), "a/b", "not a name"),
        (of("{name: a}, {name: a}"), "a}]", "this name is given twice"),
        (of("{name: a, base_path: airflow/}"), "airflow/", "a base path is plain"),
        (of("{name: a, narrows_dags: true}"), "true", "without an audience"),
        (of("{name: a, destination: orders}"), "orders", "no effect with `plane: inbound`"),
        (of("{name: a, plane: egress}"), "egress", "needs `destination`"),
        (of("{name: a, plane: egress, destination: b, base_path: /x}"), "/x", "no effect with `plane: egress`"),
        (of("{name: a, plane: execution}"), "execution", "inbound"),
        (of("{name: a, statuses: few}"), "few", "all"),
        ("audiences: [{name: a}]", "{", "set `listen` or `fastcgi`"),
        (fastcgi("unix:/f", "b"), "b}", "has: a, out"),
        (fastcgi("unix:/f", "out"), "out}", "is for calls of tasks"),
        (fastcgi("127.0.0.1:9190"), "'127", "belongs to listen[0]"),
        (fastcgi("10.0.0.5:9192"), "'10.", "FastCGI has no TLS"),
        (fastcgi("unix:/f", more="client_address: x-real-ip,"), "x-real-ip", "no effect without `listen`"),
        (fastcgi("unix:/f", more="tls: {certificate: a, key: b},"), "{certificate", "no effect without `listen`"),
        (fastcgi("unix:/f", more="listen: ['unix:/f'],"), "'unix", "belongs to http_check.listen[0]"),
        (authzen("audiences: [b]"), "b]}", "has: a"),
        (authzen("audiences: [a, a]"), "a]}", "this audience is given twice"),
        (authzen("audiences: []"), "[]}", "this is empty"),
        (authzen("audiences: [a], url: 'http://127.0.0.1'"), "'http:", "https"),
        (authzen("audiences: [a], url: 'https://a.test/'"), "'https:", "without a path"),
        (authzen("audiences: [a], url: 'https://a.test/pdp'"), "'https:", "without a path"),
        (authzen("audiences: [a], url: 'https://a.test?x'"), "'https:", "without a path"),
        (
            authzen(f"audiences: [a], decision_clients: [{PORTAL}, {PORTAL.replace('r}', 's}')}]"),
            "p, i",
            "this name is given",
        ),
        (authzen(f"audiences: [a], decision_clients: [{PORTAL}, {OTHER}]"), "r}]", "this subject is given twice"),
        (fastcgi("unix:/f", more="authzen: {audiences: [a]},"), "{audiences: [a]}", "no effect without `listen`"),
    ],
)
def test_a_mistake_is_refused_at_its_place(section, at, told):
    with pytest.raises(ConfigError) as caught:
        parsed(section)
    [problem] = caught.value.problems
    assert problem.line == 2
    assert told in f"{problem.message} {problem.hint}", problem
    assert problem.column == f"http_check: {{{section}}}".rindex(at) + 1 if at != "{" else problem.column == 13


def test_the_address_of_the_caller_is_taken_over_mtls():
    tls = "tls: {certificate: a.pem, key: b.pem, client_ca: c.pem}"
    found = parsed(f"listen: ['10.0.0.5:9191'], {tls}, client_address: x-real-ip, audiences: [{{name: a}}]").http_check
    assert (found.client_address, found.tls.client_ca) == ("x-real-ip", "/etc/authz/c.pem")


def test_several_workers_have_names_of_their_own():
    """Also where Envoy's sockets are in the same folder."""
    both = "listen: ['unix:/run/authz/authz.sock']\n"
    found = parsed(f"{GOOD}, workers: 2", both)
    assert (found.worker_count, found.all_workers) == (1, 3)
    with pytest.raises(ConfigError, match="belongs to listen"):
        parsed("listen: ['unix:/run/authz/authz.sock'], audiences: [{name: a}]", both)


def test_fastcgi_alone_is_enough_and_each_worker_has_its_address():
    text = "fastcgi: [{listen: 'unix:/run/authz/f.sock', audience: a}], audiences: [{name: a}], workers: 2"
    assert parsed(text).http_check.listen == ()
    more = "fastcgi: [{listen: '127.0.0.1:9192', audience: a}, {listen: '127.0.0.1:9193', audience: a}]"
    with pytest.raises(
        ConfigError, match=r"worker 0 would listen on 127\.0\.0\.1:9193, which belongs to http_check.fastcgi"
    ):
        parsed(f"{more}, audiences: [{{name: a}}], workers: 2")
