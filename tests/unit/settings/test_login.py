import pytest

from authz.core.errors import ConfigError
from authz.settings.urls import end_of_sessions, endpoint, origin, prefix
from tests.support.envoy_settings import parsed

GOOD = {
    "client_id": "airflow-gate",
    "client_secret_file": "/run/client.secret",
    "cookie_secret_file": "/run/cookie.secret",
    "authorization_endpoint": "https://idp.test/authorize",
    "token_endpoint": "https://idp.test/token",
    "public_url": "https://airflow.test",
}


def login(**changes):
    """The section."""
    return {**GOOD, **changes}


def listener(*hosts, **changes):
    """The section `inbound`, with an upstream for each list of hosts."""
    upstreams = [{"name": f"u{at}", "address": "127.0.0.1:1", "hosts": names} for at, names in enumerate(hosts)]
    return {"listen": "127.0.0.1:8080", "upstreams": upstreams, "login": login(), **changes}


def loaded(*hosts, **changes):
    section = {key: value for key, value in listener(*hosts, **changes).items() if value is not None}
    return parsed({"inbound": section}).edge.inbound


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
        with pytest.raises(ConfigError, match=r"URL|http is for this machine|port"):
            loaded(["*"], login=login(**{place: text}))


@pytest.mark.parametrize("read", [endpoint, prefix, origin, end_of_sessions])
def test_no_message_quotes_a_query(read):
    with pytest.raises(ValueError, match=r"idp\.test/x'") as caught:
        read("http://idp.test/x?api_key=s3cret")
    assert "s3cret" not in str(caught.value)
    if read is not endpoint:
        with pytest.raises(ValueError, match=r"idp\.test/x'") as caught:
            read("https://idp.test/x?api_key=s3cret")
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_secret_file": ""}, "needs the name of a file"),
        ({"cookie_secret_file": "/run/client.secret"}, "are one file"),
        ({"public_url": "https://airflow.test/airflow"}, "without a path"),
        ({"end_session_endpoint": "https://idp.test/logout?x=1"}, "no query"),
        ({"scopes": ("profile",)}, "openid"),
        ({"scopes": ("openid", "a b")}, "one word"),
        ({"scopes": ("openid", "")}, "one word"),
        ({"parameters": ("audience",)}, "name=value"),
        ({"parameters": ("a=b&redirect_uri=c",)}, "name=value"),
        ({"callback_path": "oauth2"}, "plain"),
        ({"callback_path": "/"}, "plain"),
        ({"callback_path": "/a/../b"}, "plain"),
        ({"signout_path": "/a?b"}, "plain"),
        ({"signout_path": "/a%2Fb"}, "plain"),
        ({"callback_path": "/x", "signout_path": "/x"}, "different"),
    ],
)
def test_what_cannot_be_a_login(changes, words):
    with pytest.raises(ConfigError, match=words):
        loaded(["*"], login=login(**changes))


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
    assert loaded(*hosts).logs_in_to.name == chosen


def test_the_longest_suffix_is_chosen():
    made = loaded(("*.test",), ("*.corp.test",), login=login(public_url="https://airflow.corp.test"))
    assert made.logs_in_to.name == "u1"


def test_without_a_login_no_upstream_is_the_target_of_one():
    assert loaded(("*",), login=None).logs_in_to is None


def test_a_login_that_leads_nowhere_is_refused():
    with pytest.raises(ConfigError, match="no upstream serves the host"):
        loaded(("other.test",))


def test_a_listener_with_tls_has_an_https_url():
    tls = {"certificate": "/c", "key": "/k"}
    with pytest.raises(ConfigError, match="its public URL is https"):
        loaded(("*",), tls=tls, login=login(public_url="http://127.0.0.1:8080"))


def test_a_login_needs_a_folder_for_its_secrets():
    with pytest.raises(ConfigError, match="`sds`"):
        parsed({"inbound": listener(("*",)), "sds": ""})
