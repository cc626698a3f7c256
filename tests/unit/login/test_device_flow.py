"""The device flow: how often it asks, and how it ends. Its clock is the test's."""

import time

import pytest

from authz.login import device_flow
from authz.login.provider import LoginError, Provider
from authz.login.tokens import Client
from tests.support.simulators.provider import ScriptedProvider

DEVICE = {
    "device_code": "secret-device-code",
    "user_code": "WDJB-MJHT",
    "verification_uri": "https://idp.example.com/device",
    "expires_in": 60,
    "interval": 2,
}
PENDING, SLOW = ({"error": word} for word in ("authorization_pending", "slow_down"))


@pytest.fixture
def provider():
    with ScriptedProvider() as running:
        running.say("/device", DEVICE)
        yield running


class Time:
    def __init__(self):
        self.now = 0.0
        self.slept = []

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds


def log_in(provider, when, shown=None, **client):
    client = Client(issuer=provider.url, client_id="cli", **client)
    show = (shown if shown is not None else []).append
    return device_flow.log_in(Provider(provider.url), client, show=show, sleep=when.sleep, clock=lambda: when.now)


def test_it_asks_at_the_providers_pace_and_five_seconds_slower_after_slow_down(provider):
    when, shown = Time(), []
    provider.say("/token", PENDING, SLOW, PENDING, status=400)
    provider.say(
        "/token", {"access_token": "at", "token_type": "bearer", "id_token": provider.id_token(int(time.time()))}
    )
    tokens = log_in(provider, when, shown, scope="openid profile", audience="airflow", resource="urn:airflow")
    assert (tokens.access, tokens.person, when.slept) == ("at", "ann", [2, 2, 7, 7])
    assert (shown[0].code, shown[0].page) == ("WDJB-MJHT", "https://idp.example.com/device")
    assert "secret-device-code" not in repr(shown)
    assert provider.forms("/device") == [
        {"client_id": "cli", "scope": "openid profile", "audience": "airflow", "resource": "urn:airflow"}
    ]
    assert provider.forms("/token")[0] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "secret-device-code",
        "client_id": "cli",
        "resource": "urn:airflow",
    }


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("expired_token", "has expired"),
        ("access_denied", "was refused at the provider"),
        ("invalid_client", "the provider refuses: invalid_client"),
    ],
)
def test_it_ends_when_the_provider_says_so(provider, word, why):
    provider.say("/token", PENDING, {"error": word, "error_description": "secret-device-code"}, status=400)
    when = Time()
    with pytest.raises(LoginError, match=why) as caught:
        log_in(provider, when)
    assert (len(when.slept), "secret" in str(caught.value)) == (2, False)


def test_it_ends_with_the_code_though_the_provider_says_nothing(provider):
    provider.say("/token", PENDING, status=400)
    when = Time()
    with pytest.raises(LoginError, match="has expired"):
        log_in(provider, when)
    assert when.now <= 60


@pytest.mark.parametrize(
    "changes", [{"device_code": None}, {"user_code": 7}, {"verification_uri": "http://idp.example.com"}]
)
def test_a_device_response_without_what_a_person_needs_is_refused(changes):
    with ScriptedProvider() as provider:
        provider.say("/device", DEVICE | changes)
        with pytest.raises(LoginError, match=r"device authorization|http is refused"):
            log_in(provider, Time())


def test_a_provider_without_the_flow_is_said(provider):
    provider.metadata["device_authorization_endpoint"] = None
    with pytest.raises(LoginError, match="has no device authorization endpoint"):
        log_in(provider, Time())


@pytest.mark.parametrize("interval", [0, -1, "2", True, 10**9])
def test_a_pace_that_makes_no_sense_is_five_seconds(provider, interval):
    with ScriptedProvider() as odd:
        odd.say("/device", DEVICE | {"interval": interval})
        odd.say("/token", {"access_token": "at", "token_type": "bearer"})
        when = Time()
        log_in(odd, when, scope="profile")
        assert when.slept == [5]
