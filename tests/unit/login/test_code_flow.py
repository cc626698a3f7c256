"""The browser's way back, attacked: other programs on this machine, other providers, other logins."""

import socket
import threading
import time
import traceback

import httpx
import pytest

from authz.login import code_flow
from authz.login.code_flow import Callback
from authz.login.provider import LoginError, Provider
from authz.login.tokens import Client
from tests.support.simulators.provider import ScriptedProvider

SECRET = "access-token-of-ann"


@pytest.fixture
def provider():
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def callback(provider):
    with Callback(Provider(provider.url).metadata(), "our-state") as waiting:
        yield waiting


def back(callback, path="", **query):
    return httpx.get(callback.uri.removesuffix("/callback") + (path or "/callback"), params=query)


def log_in(provider, **answer):
    """A login whose browser comes back with these parameters beside code, state and issuer; the token response too."""

    def open_page(page):
        asked = httpx.URL(page).params
        nonce = answer.pop("nonce", asked["nonce"])
        provider.say(
            "/token",
            {
                "access_token": SECRET,
                "token_type": "Bearer",
                "expires_in": 300,
                "id_token": provider.id_token(int(time.time()), nonce=nonce),
                **answer.pop("token", {}),
            },
        )
        httpx.get(asked["redirect_uri"], params={"code": "c1", "state": asked["state"], "iss": provider.url, **answer})

    client = Client(issuer=provider.url, client_id="cli")
    return code_flow.log_in(Provider(provider.url), client, open_page=open_page, wait_s=30)


def test_the_code_is_redeemed_with_the_verifier_of_the_challenge(provider):
    tokens = log_in(provider)
    [form] = provider.forms("/token")
    assert (tokens.access, tokens.person) == (SECRET, "ann")
    assert (form["grant_type"], form["code"], form["client_id"]) == ("authorization_code", "c1", "cli")
    assert len(form["code_verifier"]) >= 43  # RFC 7636 §4.1
    assert SECRET not in repr(tokens)


def test_an_answer_with_another_state_changes_nothing(callback):
    for wrong in ("their-state", "", "our-stat", "our-state2", "öur-state"):
        assert back(callback, code="theirs", state=wrong).status_code == 400
    assert back(callback, code="theirs").status_code == 400
    with pytest.raises(LoginError, match="no answer from the browser"):
        callback.wait(0)
    assert back(callback, code="ours", state="our-state", iss=callback._metadata.issuer).status_code == 200
    assert callback.wait(5) == "ours"


def test_the_first_answer_with_our_state_counts_and_no_other(callback):
    issuer = callback._metadata.issuer
    assert back(callback, code="first", state="our-state", iss=issuer).status_code == 200
    assert back(callback, code="second", state="our-state", iss=issuer).status_code == 410
    assert callback.wait(5) == "first"


def test_a_parameter_that_comes_twice_is_no_answer(callback):
    uri = f"{callback.uri}?state=our-state&code=a&code=b&iss={callback._metadata.issuer}"
    assert httpx.get(uri).status_code == 400
    assert httpx.get(uri.replace("&code=b", "&" + "&".join(f"x{n}=1" for n in range(20)))).status_code == 400


@pytest.mark.parametrize("said", [{"iss": "https://evil.example"}, {}])
def test_an_answer_of_another_provider_ends_the_login(callback, said):
    assert back(callback, code="theirs", state="our-state", **said).status_code == 400
    with pytest.raises(LoginError, match="RFC 9207"):
        callback.wait(5)


def test_a_provider_that_does_not_name_itself_may_leave_it_out(provider):
    provider.metadata["authorization_response_iss_parameter_supported"] = None
    with Callback(Provider(provider.url).metadata(), "our-state") as callback:
        assert back(callback, code="ours", state="our-state").status_code == 200
        assert callback.wait(5) == "ours"


def test_other_paths_and_methods_are_nothing(callback):
    query = {"code": "theirs", "state": "our-state", "iss": callback._metadata.issuer}
    assert back(callback, "/", **query).status_code == 404
    assert back(callback, "/callback/", **query).status_code == 404
    assert httpx.post(callback.uri, params=query).status_code == 404
    with pytest.raises(LoginError):
        callback.wait(0)


def test_only_this_machine_reaches_the_port_that_waits(callback):
    port = int(callback.uri.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), 5):
        pass
    for other in ("127.0.0.2", "::1"):
        with pytest.raises(OSError), socket.create_connection((other, port), 5):  # noqa: PT011 refused, or no such address
            pass


def test_an_idle_connection_does_not_hold_up_the_answer(callback):
    host, port = callback.uri.removeprefix("http://").partition("/")[0].split(":")
    with socket.create_connection((host, int(port)), 5):  # as browsers open in advance
        assert back(callback, code="ours", state="our-state", iss=callback._metadata.issuer).status_code == 200


def test_the_refusal_of_the_provider_is_said_and_no_other_text_of_the_query(callback):
    back(callback, error="access_denied", error_description="x<b>", state="our-state", iss=callback._metadata.issuer)
    with pytest.raises(LoginError, match=r"^the provider refuses: access_denied$"):
        callback.wait(5)


def test_an_id_token_of_another_login_is_refused(provider):
    with pytest.raises(LoginError, match="nonce is not ours") as caught:
        log_in(provider, nonce="of-another-login")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"iss": "https://evil.example"}, "unknown_issuer"),
        ({"aud": "another-client"}, "audience"),
        ({"exp": 1}, "claim_invalid|expired"),
    ],
)
def test_an_id_token_that_is_not_good_is_refused(provider, changes, why):
    def answer(page):
        asked = httpx.URL(page).params
        token = provider.id_token(int(time.time()), nonce=asked["nonce"], **changes)
        provider.say("/token", {"access_token": SECRET, "token_type": "Bearer", "id_token": token})
        httpx.get(asked["redirect_uri"], params={"code": "c", "state": asked["state"], "iss": provider.url})

    with pytest.raises(LoginError, match=why) as caught:
        code_flow.log_in(Provider(provider.url), Client(issuer=provider.url, client_id="cli"), open_page=answer)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "answer",
    [
        {"id_token": ""},
        {"access_token": ""},
        {"access_token": "two words"},
        {"access_token": "line\nbreak"},
        {"token_type": "DPoP"},
        {"refresh_token": "line\nbreak"},
        {"refresh_token": 7},
    ],
)
def test_a_token_response_that_is_not_one_is_refused(provider, answer):
    with pytest.raises(LoginError, match="the token endpoint gives") as caught:
        log_in(provider, token=answer)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("issuer", "why"),
    [
        ("http://idp.example.com", "http is refused"),
        ("ftp://idp.example.com", "not an http or https URL"),
        ("https://user:pw@idp.example.com", "not an http or https URL"),
    ],
)
def test_an_issuer_that_could_be_read_on_the_way_is_refused(issuer, why):
    with pytest.raises(LoginError, match=why):
        Provider(issuer)


def test_metadata_of_another_issuer_are_refused(provider):
    provider.metadata["issuer"] = "https://evil.example"
    with pytest.raises(LoginError, match="its `issuer` is not"):
        Provider(provider.url).metadata()


def test_an_endpoint_without_tls_is_not_used(provider):
    provider.metadata["authorization_endpoint"] = "http://idp.example.com/authorize"
    opened = []
    with pytest.raises(LoginError, match="http is refused"):
        code_flow.log_in(Provider(provider.url), Client(issuer=provider.url, client_id="cli"), open_page=opened.append)
    assert opened == []


def test_the_port_is_closed_after_the_login(provider):
    uris = []

    def open_page(page):
        uris.append(httpx.URL(page).params["redirect_uri"])
        raise LoginError("the person gives up")

    with pytest.raises(LoginError, match="gives up"):
        code_flow.log_in(Provider(provider.url), Client(issuer=provider.url, client_id="cli"), open_page=open_page)
    with pytest.raises(httpx.ConnectError):
        httpx.get(uris[0])
    assert not [thread for thread in threading.enumerate() if thread.name == "login-callback"]


def test_a_port_that_is_taken_is_said(provider):
    with Callback(Provider(provider.url).metadata(), "s") as first:
        port = int(first.uri.rpartition(":")[2].partition("/")[0])
        with pytest.raises(LoginError, match="cannot listen on"):
            Callback(Provider(provider.url).metadata(), "s", port=port)
