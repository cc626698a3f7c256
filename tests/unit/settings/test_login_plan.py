import pytest

from authz.settings.plan.front import EnvoyPlan, Listener, Upstream
from authz.settings.plan.login import LoginPlan, endpoint
from authz.settings.plan.peers import ServerTls

GOOD = {
    "client_id": "airflow-gate",
    "client_secret": "/run/client.secret",
    "cookie_secret": "/run/cookie.secret",
    "authorization_endpoint": "https://idp.test/authorize",
    "token_endpoint": "https://idp.test/token",
    "public_url": "https://airflow.test",
}


def login(**changes):
    return LoginPlan(**GOOD | changes)


def listener(*hosts, **changes):
    upstreams = tuple(
        Upstream(name=f"u{number}", addresses=("127.0.0.1:1",), hosts=names) for number, names in enumerate(hosts)
    )
    return Listener(**{"listen": "127.0.0.1:8080", "upstreams": upstreams, "login": login()} | changes)


@pytest.mark.parametrize(
    "text", ["https://IDP.test/x", "http://gate.localhost:9", "http://[::1]:9", "http://127.0.0.1"]
)
def test_https_leads_anywhere_and_http_to_this_machine(text):
    assert endpoint(text).scheme == text.partition(":")[0]


@pytest.mark.parametrize(
    "text",
    [
        "idp.test",
        "ftp://idp.test",
        "https://user@idp.test/",
        "https://idp.test/#x",
        "https://idp.test:0/",
        "https://idp.test:70000/",
        "https://idp.test/a b",
        "https://idp.test\n",
        "http://idp.test/",
        "http://10.0.0.1/",
        "http://127.0.0.1.evil.test/",
        "https:///x",
        "//idp.test",
    ],
)
def test_what_is_no_url_of_a_login(text):
    with pytest.raises(ValueError, match=r"URL|http is for this machine|port"):
        endpoint(text)
    for place in ("authorization_endpoint", "token_endpoint", "end_session_endpoint", "public_url"):
        with pytest.raises(ValueError, match=r"URL|http is for this machine|port"):
            login(**{place: text})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_secret": ""}, "a file with the client's secret"),
        ({"cookie_secret": "/run/client.secret"}, "are one file"),
        ({"public_url": "https://airflow.test/airflow"}, "without a path"),
        ({"end_session_endpoint": "https://idp.test/logout?x=1"}, "no query"),
        ({"scopes": ("profile",)}, "openid"),
        ({"scopes": ("openid", "a b")}, "one word"),
        ({"scopes": ("openid", "")}, "one word"),
        ({"parameters": ("audience",)}, "name=value"),
        ({"parameters": ("a=b&redirect_uri=c",)}, "name=value"),
        ({"callback": "oauth2"}, "plain"),
        ({"callback": "/"}, "plain"),
        ({"callback": "/a/../b"}, "plain"),
        ({"signout": "/a?b"}, "plain"),
        ({"signout": "/a%2Fb"}, "plain"),
        ({"callback": "/x", "signout": "/x"}, "different"),
    ],
)
def test_what_cannot_be_a_login(changes, words):
    with pytest.raises(ValueError, match=words):
        login(**changes)


@pytest.mark.parametrize(
    ("hosts", "chosen"),
    [
        ([("*",)], "u0"),
        ([("*",), ("airflow.test",)], "u1"),
        ([("*.test",), ("airflow.test",)], "u1"),
        ([("*.test",), ("*",)], "u0"),
        ([("other.test",), ("*.test",)], "u1"),
    ],
)
def test_the_login_is_for_the_upstream_that_envoy_chooses_for_the_public_url(hosts, chosen):
    assert listener(*hosts).logs_in_to.name == chosen


def test_the_longest_suffix_is_chosen():
    made = listener(("*.test",), ("*.corp.test",), login=login(public_url="https://airflow.corp.test"))
    assert made.logs_in_to.name == "u1"


def test_without_a_login_nobody_logs_in():
    assert listener(("*",), login=None).logs_in_to is None


def test_a_login_that_leads_nowhere_is_refused():
    with pytest.raises(ValueError, match="no upstream serves the host"):
        listener(("other.test",))


def test_a_listener_with_tls_has_an_https_url():
    with pytest.raises(ValueError, match="its public URL is https"):
        listener(("*",), tls=ServerTls(certificate="/c", key="/k"), login=login(public_url="http://127.0.0.1:8080"))


def test_a_login_needs_a_folder_for_its_secrets():
    with pytest.raises(ValueError, match="`sds`"):
        EnvoyPlan(authz_endpoints=("127.0.0.1:1",), inbound=listener(("*",)))
